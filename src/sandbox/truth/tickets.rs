//! The tickets with any activity in the days that are asked for.

use serde_json::{Value, json};

use super::super::ticket::Ticket;
use super::Asked;

pub fn answer(asked: &Asked<'_>) -> Option<Value> {
    if asked.question.report != "tickets" {
        return None;
    }
    let mut found: Vec<_> = all(asked).into_iter().filter(|ticket| ticket.steps.iter().any(|(at, _)| asked.day_is_asked(asked.local(*at).date()))).collect();
    let mut truth = json!({"count": found.len()});
    if asked.question.ids == 1 {
        found.sort_by_key(|ticket| (ticket.modified(), ticket.number));
        truth["ids"] = found.iter().rev().map(Ticket::id).collect();
    }
    Some(truth)
}

/// Those of the group, the assignee and the tag, whenever they are from.
pub fn all(asked: &Asked<'_>) -> Vec<Ticket> {
    let of_agent = |ticket: &Ticket| asked.question.agent.as_ref().is_none_or(|login| ticket.assignee.is_some_and(|agent| agent.login == login));
    asked.world.tickets().filter(|ticket| asked.group_is_asked(ticket.groups) && asked.tag_is_asked(&ticket.tags) && of_agent(ticket)).collect()
}
