//! The tickets with activity in the requested days.

use serde_json::{Value, json};

use super::super::ticket::Ticket;
use super::TruthContext;

pub fn answer(context: &TruthContext<'_>) -> Option<Value> {
    if context.question.report != "tickets" {
        return None;
    }
    let mut found: Vec<_> = all(context)
        .into_iter()
        .filter(|ticket| {
            ticket
                .steps
                .iter()
                .any(|(at, _)| context.day_matches(context.local(*at).date()))
        })
        .collect();
    let mut truth = json!({"count": found.len()});
    if context.question.ids == 1 {
        found.sort_by_key(|ticket| (ticket.modified(), ticket.number));
        truth["ids"] = found.iter().rev().map(Ticket::id).collect();
    }
    Some(truth)
}

/// All tickets with the group, the assignee and the tag, of any day.
pub fn all(context: &TruthContext<'_>) -> Vec<Ticket> {
    let of_agent = |ticket: &Ticket| {
        context
            .question
            .agent
            .as_ref()
            .is_none_or(|login| ticket.assignee.is_some_and(|agent| agent.login == login))
    };
    context
        .world
        .tickets()
        .filter(|ticket| {
            context.group_matches(ticket.groups)
                && context.tag_matches(&ticket.tags)
                && of_agent(ticket)
        })
        .collect()
}
