//! What the sandbox holds, told for each report by the id that a catalogue gives it (its title in lower snake case). Counted chat by chat
//! and ticket by ticket from the world, and shares no code with the endpoints: neither ranges of numbers nor the arithmetic of filters
//! nor their sums, so that a mistake there shows as a difference. Chats are in `chats`, tickets in `tickets`, period reports in `periods`,
//! LiveLeader's reports in `sessions`.

mod chats;
mod periods;
mod sessions;
mod tickets;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lists::{CANNED, GOALS, GREETINGS, group_of_tag};
use super::people::{AGENTS, GROUPS, TAGS};
use super::visitor::{OnSite, on_site};
use super::world::World;

/// What is asked of `/__truth`. Days are in `timezone` (default UTC), both included; a missing one is open.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// `livechat`, which is meant when it is missing, or `liveleader`.
    pub connector: Option<String>,
    /// A report's id: `chat`, `queue_waiting_times_report` ...
    pub report: String,
    pub date_from: Option<Date>,
    pub date_to: Option<Date>,
    pub timezone: Option<String>,
    pub group: Option<u32>,
    /// A login: who took part in the chat, to whom the ticket is assigned.
    pub agent: Option<String>,
    pub tag: Option<String>,
    /// `day`, `hour` or `month`, for period reports; missing: by hour when both days are equal, else by day.
    pub group_by: Option<String>,
    /// `mon` to `sun`, for `simultaneous_chats_report`; missing: `mon`.
    pub weekday: Option<String>,
    /// A mark: only chats that were there at it and still are.
    pub since: Option<u64>,
    /// 1: pending chats count too.
    pub include_pending: u8,
    /// 1: tell the ids too: of `chat` and `tickets` newest first, of lists in their order; of reports inside chats and visitors `rows`, how
    /// many rows each of these has. Those of LiveLeader's `chats` are oldest first.
    pub ids: u8,
    /// 1: tell every field of LiveLeader's `chats` too.
    pub records: u8,
}

/// `{"report", "count", ...}`, where `count` is how many rows a pull of the report must give; the sentence says what is wrong with the
/// question. Period reports have `periods` too: the values by period as the vendor words them (for `chat_report` just the number),
/// and `simultaneous_chats_report` and the rankings likewise. `chat_messages` and the other reports inside chats have `chats`, how many
/// chats those are in.
///
/// LiveLeader's reports are `chats`, `chat_messages` and `chat_operators`, with `chats` as well. `records` of `chats` are a list, oldest
/// first, of `{"id", "referrer", "keywords", "operators", "visitorip", "start", "stop", "duration", "url", "messages"}` and what is told of
/// `city`, `country`, `organization` and `isp`: times in UTC with milliseconds and a Z, a missing referrer or keywords null, a message
/// `{"from", "time", "text"}`.
pub fn answer(world: &World, question: &Question) -> Result<Value, String> {
    let zone = question.timezone.as_deref().map_or(Ok(TimeZone::UTC), TimeZone::get).map_err(|_| "There is no such time zone.".to_owned())?;
    if question.since.is_some_and(|id| world.changes().marked(id).is_none()) {
        return Err("There is no such mark.".to_owned());
    }
    let asked = Asked { world, question, zone };
    let mut truth = match question.connector.as_deref() {
        None | Some("livechat") => of_livechat(&asked)?,
        Some("liveleader") => sessions::answer(&asked)?,
        Some(_) => return Err("There is no such connector.".to_owned()),
    }
    .ok_or_else(|| "There is no such report.".to_owned())?;
    truth["report"] = json!(question.report);
    Ok(truth)
}

fn of_livechat(asked: &Asked<'_>) -> Result<Option<Value>, String> {
    let truth = asked.list().or_else(|| asked.of_visitors()).or_else(|| chats::answer(asked)).or_else(|| tickets::answer(asked));
    if truth.is_some() { Ok(truth) } else { periods::answer(asked) }
}

/// A question with what it is about.
struct Asked<'a> {
    world: &'a World,
    question: &'a Question,
    zone: TimeZone,
}

impl Asked<'_> {
    fn local(&self, seconds: i64) -> DateTime {
        self.zone.to_datetime(Timestamp::from_second(seconds).unwrap_or_default())
    }

    fn day_is_asked(&self, day: Date) -> bool {
        self.question.date_from.is_none_or(|from| day >= from) && self.question.date_to.is_none_or(|to| day <= to)
    }

    fn group_is_asked(&self, groups: &[u32]) -> bool {
        self.question.group.is_none_or(|group| groups.contains(&group))
    }

    fn tag_is_asked(&self, tags: &[&str]) -> bool {
        self.question.tag.as_ref().is_none_or(|wanted| tags.iter().any(|tag| tag == wanted))
    }

    /// The short lists. Reports that ask once per agent or group have as many rows as there are, or one when one is named.
    fn list(&self) -> Option<Value> {
        let Question { group, agent, .. } = self.question;
        let groups = || GROUPS.iter().map(|one| one.id).filter(|id| group.is_none_or(|group| group == *id));
        let ids: Vec<Value> = match self.question.report.as_str() {
            "agents" => AGENTS.iter().map(|agent| json!(agent.login)).collect(),
            "agent_dashboard_report" => {
                AGENTS.iter().filter(|one| agent.as_ref().is_none_or(|login| login == one.login)).map(|agent| json!(agent.login)).collect()
            }
            "groups" => GROUPS.iter().map(|group| json!(group.id)).collect(),
            "group_dashboard_report" | "status_report" => groups().map(Value::from).collect(),
            "dashboard_report" => vec![Value::Null],
            "canned_responses" => CANNED.iter().filter(|canned| group.is_none_or(|group| canned.group == group)).map(|canned| json!(canned.id)).collect(),
            "goals" => GOALS.iter().map(|goal| json!(goal.id)).collect(),
            "greetings" => GREETINGS.iter().filter(|greeting| group.is_none_or(|group| greeting.group == group)).map(|greeting| json!(greeting.id)).collect(),
            "tags" => (0..TAGS.len()).filter(|at| group.is_none_or(|group| group_of_tag(*at) == group)).map(|at| json!(TAGS[at])).collect(),
            _ => return None,
        };
        Some(json!({"count": ids.len(), "ids": ids}))
    }

    fn of_visitors(&self) -> Option<Value> {
        let rows = |visitor: &OnSite| match self.question.report.as_str() {
            "visitors" => Some(1),
            "visitors_operators" => Some(visitor.operators.len()),
            "visitors_prechat_survey" => Some(visitor.survey.len()),
            "visitors_visit_path" => Some(visitor.path.len()),
            _ => None,
        };
        let here: Vec<_> = on_site(self.world.seed(), self.world.now()).into_iter().filter(|visitor| self.group_is_asked(&[visitor.group])).collect();
        let count: Option<usize> = here.iter().map(rows).sum();
        let each: serde_json::Map<String, Value> = here.iter().map(|visitor| (visitor.id.to_string(), json!(rows(visitor).unwrap_or(0)))).collect();
        // No visitor at all must not pass for a report that is about visitors.
        count
            .filter(|_| self.question.report.starts_with("visitors"))
            .map(|count| json!({"count": count, "ids": here.iter().map(|visitor| &visitor.id).collect::<Vec<_>>(), "rows": each}))
    }
}
