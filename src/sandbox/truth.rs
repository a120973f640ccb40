//! What the sandbox holds, counted chat by chat from the world. Shares no code with the endpoints: neither ranges of numbers nor the
//! arithmetic of filters, so that a mistake there shows as a difference.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::people::{AGENTS, GROUPS};
use super::world::World;

/// What is asked of `/__truth`. Days are in `timezone` (default UTC), both included; a missing one is open.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// `agents`, `groups`, `chat`, `chat_messages` or `chat_report`.
    pub report: String,
    pub date_from: Option<Date>,
    pub date_to: Option<Date>,
    pub timezone: Option<String>,
    pub group: Option<u32>,
    pub agent: Option<String>,
    /// 1: pending chats count too.
    pub include_pending: u8,
    /// 1: tell the chats' ids too, newest first.
    pub ids: u8,
}

/// `{"report", "count", ...}`; the sentence says what is wrong with the question.
pub fn answer(world: &World, question: &Question) -> Result<Value, String> {
    let zone = question.timezone.as_deref().map_or(Ok(TimeZone::UTC), TimeZone::get).map_err(|_| "There is no such time zone.".to_owned())?;
    let report = question.report.as_str();
    match report {
        "agents" => Ok(json!({"report": report, "count": AGENTS.len(), "ids": AGENTS.iter().map(|agent| agent.login).collect::<Vec<_>>()})),
        "groups" => Ok(json!({"report": report, "count": GROUPS.len(), "ids": GROUPS.iter().map(|group| group.id).collect::<Vec<_>>()})),
        "chat" => {
            let found = found(world, question, &zone);
            let mut truth = json!({"report": report, "count": found.len()});
            if question.ids == 1 {
                truth["ids"] = found.iter().rev().map(|number| world.id(*number)).collect();
            }
            Ok(truth)
        }
        "chat_messages" => {
            let found = found(world, question, &zone);
            let messages: u64 = found.iter().map(|number| world.messages(*number)).sum();
            Ok(json!({"report": report, "count": messages, "chats": found.len()}))
        }
        "chat_report" => {
            let by_hour = question.date_from.is_some() && question.date_from == question.date_to;
            let periods = periods(world, question, &zone, by_hour);
            Ok(json!({"report": report, "count": periods.len(), "periods": periods}))
        }
        _ => Err("Reports with a truth are agents, groups, chat, chat_messages and chat_report.".to_owned()),
    }
}

/// Numbers of the chats, oldest first.
fn found(world: &World, question: &Question, zone: &TimeZone) -> Vec<u64> {
    let wanted = |number: &u64| {
        let day = day_and_hour(world, *number, zone).0;
        question.date_from.is_none_or(|from| day >= from)
            && question.date_to.is_none_or(|to| day <= to)
            && question.group.is_none_or(|group| world.groups(*number).contains(&group))
            && question.agent.as_ref().is_none_or(|login| world.logins(*number).any(|other| other == login))
            && (question.include_pending == 1 || !world.is_pending(*number))
    };
    (0..world.len()).filter(wanted).collect()
}

/// Chats by day, or by hour of the one day; periods without chats are there too when both days are given.
fn periods(world: &World, question: &Question, zone: &TimeZone, by_hour: bool) -> BTreeMap<String, u64> {
    let mut periods = BTreeMap::new();
    if by_hour {
        periods.extend((0..24).map(|hour| (format!("{hour:02}:00"), 0)));
    } else if let (Some(from), Some(to)) = (question.date_from, question.date_to) {
        let mut day = from;
        while day <= to {
            periods.insert(day.to_string(), 0);
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
    }
    for number in found(world, question, zone) {
        let (day, hour) = day_and_hour(world, number, zone);
        *periods.entry(if by_hour { format!("{hour:02}:00") } else { day.to_string() }).or_default() += 1;
    }
    periods
}

fn day_and_hour(world: &World, number: u64, zone: &TimeZone) -> (Date, i8) {
    let moment = zone.to_datetime(Timestamp::from_second(world.started(number)).unwrap_or_default());
    (moment.date(), moment.hour())
}
