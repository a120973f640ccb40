//! The expected content of the sandbox for each report, by the report's id. It is counted chat by
//! chat and ticket by ticket and shares no code with the endpoints (number ranges, filters, sums),
//! so that a mistake there becomes visible as a difference. Chats are in `chats`, tickets in
//! `tickets`, period reports in `periods`, LiveLeader's reports in `sessions`.

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

/// The parameters of `/__truth`. Days are in `timezone` (default UTC), both included; a missing one
/// is open.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TruthQuestion {
    /// `livechat` (the default) or `liveleader`.
    pub connector: Option<String>,
    /// A report's id: `chat`, `queue_waiting_times_report` ...
    pub report: String,
    pub date_from: Option<Date>,
    pub date_to: Option<Date>,
    pub timezone: Option<String>,
    pub group: Option<u32>,
    /// A login: an agent in the chat, or the assignee of the ticket.
    pub agent: Option<String>,
    pub tag: Option<String>,
    /// `day`, `hour` or `month`, for period reports; default: by hour if both days are equal, else
    /// by day.
    pub group_by: Option<String>,
    /// `mon` to `sun`, for `simultaneous_chats_report`; default: `mon`.
    pub weekday: Option<String>,
    /// A mark: only chats that existed then and still exist.
    pub since: Option<u64>,
    /// 1: includes pending chats.
    pub include_pending: u8,
    /// 1: includes ids: of `chat` and `tickets` newest first, of lists in their order; for reports
    /// with parts of chats and visitors `rows`, the number of rows of each. Those of LiveLeader's
    /// `chats` are oldest first.
    pub ids: u8,
    /// 1: includes all fields of LiveLeader's `chats`.
    pub records: u8,
}

/// Returns `{"report", "count", ...}`, where `count` is the number of rows that a pull of the
/// report must have; `Err` describes an error in the question. Period reports also have `periods`:
/// the values by period in the vendor's format (for `chat_report` only the number);
/// `simultaneous_chats_report` and the rankings have them too. `chat_messages` and the other
/// reports with parts of chats have `chats`, the number of chats.
///
/// LiveLeader's reports are `chats`, `chat_messages` and `chat_operators`, with `chats` as well.
/// `records` of `chats` is a list, oldest first, of
/// `{"id", "referrer", "keywords", "operators", "visitorip", "start", "stop", "duration", "url", "messages"}`
/// and those of `city`, `country`, `organization` and `isp` that are known. Times are in UTC with
/// milliseconds and a Z, a missing referrer or keywords is null, a message is
/// `{"from", "time", "text"}`.
pub fn answer(world: &World, question: &TruthQuestion) -> Result<Value, String> {
    let zone = question
        .timezone
        .as_deref()
        .map_or(Ok(TimeZone::UTC), TimeZone::get)
        .map_err(|_| "There is no such time zone.".to_owned())?;
    if question
        .since
        .is_some_and(|id| world.changes().mark_by_id(id).is_none())
    {
        return Err("There is no such mark.".to_owned());
    }
    let context = TruthContext {
        world,
        question,
        zone,
    };
    let mut truth = match question.connector.as_deref() {
        None | Some("livechat") => of_livechat(&context)?,
        Some("liveleader") => sessions::answer(&context)?,
        Some(_) => return Err("There is no such connector.".to_owned()),
    }
    .ok_or_else(|| "There is no such report.".to_owned())?;
    truth["report"] = json!(question.report);
    Ok(truth)
}

fn of_livechat(context: &TruthContext<'_>) -> Result<Option<Value>, String> {
    let truth = context
        .list()
        .or_else(|| context.of_visitors())
        .or_else(|| chats::answer(context))
        .or_else(|| tickets::answer(context));
    if truth.is_some() {
        Ok(truth)
    } else {
        periods::answer(context)
    }
}

/// A question with the world and the parsed days.
struct TruthContext<'a> {
    world: &'a World,
    question: &'a TruthQuestion,
    zone: TimeZone,
}

impl TruthContext<'_> {
    fn local(&self, seconds: i64) -> DateTime {
        self.zone
            .to_datetime(Timestamp::from_second(seconds).unwrap_or_default())
    }

    fn day_matches(&self, day: Date) -> bool {
        self.question.date_from.is_none_or(|from| day >= from)
            && self.question.date_to.is_none_or(|to| day <= to)
    }

    fn group_matches(&self, groups: &[u32]) -> bool {
        self.question
            .group
            .is_none_or(|group| groups.contains(&group))
    }

    fn tag_matches(&self, tags: &[&str]) -> bool {
        self.question
            .tag
            .as_ref()
            .is_none_or(|wanted| tags.iter().any(|tag| tag == wanted))
    }

    /// The short lists. Reports with one call per agent or group have one row for each, or one row
    /// if the question names one.
    fn list(&self) -> Option<Value> {
        let TruthQuestion { group, agent, .. } = self.question;
        let groups = || {
            GROUPS
                .iter()
                .map(|one| one.id)
                .filter(|id| group.is_none_or(|group| group == *id))
        };
        let ids: Vec<Value> = match self.question.report.as_str() {
            "agents" => AGENTS.iter().map(|agent| json!(agent.login)).collect(),
            "agent_dashboard_report" => AGENTS
                .iter()
                .filter(|one| agent.as_ref().is_none_or(|login| login == one.login))
                .map(|agent| json!(agent.login))
                .collect(),
            "groups" => GROUPS.iter().map(|group| json!(group.id)).collect(),
            "group_dashboard_report" | "status_report" => groups().map(Value::from).collect(),
            "dashboard_report" => vec![Value::Null],
            "canned_responses" => CANNED
                .iter()
                .filter(|canned| group.is_none_or(|group| canned.group == group))
                .map(|canned| json!(canned.id))
                .collect(),
            "goals" => GOALS.iter().map(|goal| json!(goal.id)).collect(),
            "greetings" => GREETINGS
                .iter()
                .filter(|greeting| group.is_none_or(|group| greeting.group == group))
                .map(|greeting| json!(greeting.id))
                .collect(),
            "tags" => (0..TAGS.len())
                .filter(|at| group.is_none_or(|group| group_of_tag(*at) == group))
                .map(|at| json!(TAGS[at]))
                .collect(),
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
        let here: Vec<_> = on_site(self.world.seed(), self.world.now())
            .into_iter()
            .filter(|visitor| self.group_matches(&[visitor.group]))
            .collect();
        let count: Option<usize> = here.iter().map(rows).sum();
        let each: serde_json::Map<String, Value> = here
            .iter()
            .map(|visitor| (visitor.id.to_string(), json!(rows(visitor).unwrap_or(0))))
            .collect();
        // Zero visitors must not look like a valid answer of a report about visitors.
        count
            .filter(|_| self.question.report.starts_with("visitors"))
            .map(|count| json!({"count": count, "ids": here.iter().map(|visitor| &visitor.id).collect::<Vec<_>>(), "rows": each}))
    }
}
