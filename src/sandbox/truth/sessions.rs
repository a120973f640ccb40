//! LiveLeader's reports: chats that were answered, their messages and their operators.

use serde_json::{Map, Value, json};

use super::super::changes::EXTRA;
use super::super::session::Session;
use super::Asked;
use crate::clock::{Millis, timestamp};

pub fn answer(asked: &Asked<'_>) -> Result<Option<Value>, String> {
    let question = asked.question;
    let rows: fn(&Session) -> usize = match question.report.as_str() {
        "chats" => |_| 1,
        "chat_messages" => |session| session.messages.len(),
        "chat_operators" => |session| session.operators.len(),
        _ => return Ok(None),
    };
    let others = question.group.is_some() || question.tag.is_some() || question.group_by.is_some() || question.weekday.is_some();
    if others || question.include_pending == 1 {
        return Err("Of LiveLeader only days and an agent are asked.".to_owned());
    }
    let found = found(asked);
    let mut truth = json!({"count": found.iter().map(rows).sum::<usize>(), "chats": found.len()});
    if question.ids == 1 {
        match question.report.as_str() {
            "chats" => truth["ids"] = found.iter().map(|session| session.id.as_str()).collect(),
            _ => truth["rows"] = found.iter().map(|session| (session.id.clone(), json!(rows(session)))).collect::<Map<_, _>>().into(),
        }
    }
    if question.records == 1 {
        if question.report != "chats" {
            return Err("Records are told of chats only.".to_owned());
        }
        truth["records"] = found.iter().map(record).collect();
    }
    Ok(Some(truth))
}

/// Oldest first.
fn found(asked: &Asked<'_>) -> Vec<Session> {
    let (world, question, seen) = (asked.world, asked.question, asked.world.changes().seen());
    let mark = question.since.and_then(|id| world.changes().marked(id));
    let extras = EXTRA..EXTRA + seen.extras.len() as u64;
    let there = world.numbers().archive.chain(extras).filter(|number| !seen.removed.contains(number));
    let mut found: Vec<Session> = there
        .filter(|number| mark.is_none_or(|mark| world.existed(*number, mark)))
        // A look at the day of the start before the chat is made, which takes longer.
        .filter(|number| asked.day_is_asked(asked.local(world.started(*number)).date()))
        .filter_map(|number| Session::of(world, number))
        .filter(|session| question.agent.as_ref().is_none_or(|agent| session.operators.iter().any(|operator| operator == agent)))
        .collect();
    // Stable: chats of the same millisecond stay by their numbers.
    found.sort_by_key(|session| session.start);
    found
}

fn record(session: &Session) -> Value {
    let messages: Vec<_> = session.messages.iter().map(|message| json!({"from": message.from, "time": iso(message.at), "text": message.text})).collect();
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
