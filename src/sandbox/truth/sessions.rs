//! LiveLeader's reports: answered chats, their messages and their operators.

use serde_json::{Map, Value, json};

use super::super::changes::EXTRA;
use super::super::session::ChatSession;
use super::TruthContext;
use crate::clock::{Millis, timestamp};

pub fn answer(context: &TruthContext<'_>) -> Result<Option<Value>, String> {
    let question = context.question;
    let rows: fn(&ChatSession) -> usize = match question.report.as_str() {
        "chats" => |_| 1,
        "chat_messages" => |session| session.messages.len(),
        "chat_operators" => |session| session.operators.len(),
        _ => return Ok(None),
    };
    let has_other_filter = question.group.is_some()
        || question.tag.is_some()
        || question.group_by.is_some()
        || question.weekday.is_some();
    if has_other_filter || question.include_pending == 1 {
        return Err("LiveLeader's reports have no filter except days, agent and since.".to_owned());
    }
    let found = found(context);
    let mut truth = json!({"count": found.iter().map(rows).sum::<usize>(), "chats": found.len()});
    if question.ids == 1 {
        match question.report.as_str() {
            "chats" => truth["ids"] = found.iter().map(|session| session.id.as_str()).collect(),
            _ => {
                truth["rows"] = found
                    .iter()
                    .map(|session| (session.id.clone(), json!(rows(session))))
                    .collect::<Map<_, _>>()
                    .into()
            }
        }
    }
    if question.records == 1 {
        if question.report != "chats" {
            return Err("Only the report chats has records.".to_owned());
        }
        truth["records"] = found.iter().map(record).collect();
    }
    Ok(Some(truth))
}

/// Oldest first.
fn found(context: &TruthContext<'_>) -> Vec<ChatSession> {
    let (world, question, snapshot) = (
        context.world,
        context.question,
        context.world.changes().snapshot(),
    );
    let mark = question.since.and_then(|id| world.changes().mark_by_id(id));
    let extras = EXTRA..EXTRA + snapshot.extras.len() as u64;
    let there = world
        .numbers()
        .archive
        .chain(extras)
        .filter(|number| !snapshot.removed.contains(number));
    let mut found: Vec<ChatSession> = there
        .filter(|number| mark.is_none_or(|mark| world.existed(*number, mark)))
        // Checks the day of the start first, because generating the chat takes longer.
        .filter(|number| context.day_matches(context.local(world.started(*number)).date()))
        .filter_map(|number| ChatSession::of(world, number))
        .filter(|session| {
            question
                .agent
                .as_ref()
                .is_none_or(|agent| session.operators.iter().any(|operator| operator == agent))
        })
        .collect();
    // A stable sort: chats of the same millisecond stay ordered by their numbers.
    found.sort_by_key(|session| session.start);
    found
}

fn record(session: &ChatSession) -> Value {
    let messages: Vec<_> = session
        .messages
        .iter()
        .map(|message| json!({"from": message.from, "time": iso(message.at), "text": message.text}))
        .collect();
    let mut record = json!({
        "id": session.id,
        "referrer": session.referrer,
        "keywords": session.keywords,
        "operators": session.operators,
        "visitorip": session.visitor_ip,
        "start": iso(session.start),
        "stop": iso(session.stop),
        "duration": session.duration,
        "url": session.url,
        "messages": messages,
    });
    for (name, text) in &session.about {
        record[*name] = json!(text);
    }
    record
}

/// `2026-11-20T08:15:30.120Z`
fn iso(at: Millis) -> String {
    format!("{:.3}", timestamp(at))
}
