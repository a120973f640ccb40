//! The reports that are read from the archive, one row a chat or one row a part of it.

use serde_json::{Value, json};

use super::super::changes::EXTRA;
use super::super::chat::Chat;
use super::Asked;

pub fn answer(asked: &Asked<'_>) -> Option<Value> {
    let (world, report) = (asked.world, asked.question.report.as_str());
    // These two need no chat to be made, which makes a difference in an archive of a hundred thousand.
    if report == "chat" {
        let found = found(asked);
        let mut truth = json!({"count": found.len()});
        if asked.question.ids == 1 {
            truth["ids"] = found.iter().rev().map(|number| world.id(*number)).collect();
        }
        return Some(truth);
    }
    if report == "chat_messages" {
        return Some(inside(asked, |number| world.messages(number)));
    }
    let rows: fn(&Chat) -> usize = match report {
        "chat_agents" => |chat| chat.agents.len(),
        "chat_custom_variables" => |chat| chat.variables.as_ref().map_or(0, Vec::len),
        // What was said, a file or two in one event, and the end.
        "chat_events" => |chat| chat.lines.len() + usize::from(!chat.files.is_empty()) + usize::from(!chat.pending),
        "chat_goals" => |chat| chat.goals.len(),
        "chat_integration_variables" => |chat| usize::from(chat.whim % 41 == 3),
        "chat_postchat_survey" => |chat| chat.after.len(),
        "chat_prechat_survey" => |chat| chat.before.len(),
        "chat_supervisors" => |chat| chat.supervisors.len(),
        "chat_tags" => |chat| chat.tags.len(),
        "chat_tickets" => |chat| chat.tickets.len(),
        _ => return None,
    };
    Some(inside(asked, |number| rows(&world.chat(number)) as u64))
}

/// How many rows of a report inside chats there are; with ids, how many each chat has.
fn inside(asked: &Asked<'_>, rows: impl Fn(u64) -> u64) -> Value {
    let found: Vec<(u64, u64)> = found(asked).into_iter().map(|number| (number, rows(number))).collect();
    let mut truth = json!({"count": found.iter().map(|(_, rows)| rows).sum::<u64>(), "chats": found.len()});
    if asked.question.ids == 1 {
        truth["rows"] = found.iter().map(|(number, rows)| (asked.world.id(*number), *rows)).collect();
    }
    truth
}

/// Numbers of the chats, oldest first.
pub fn found(asked: &Asked<'_>) -> Vec<u64> {
    let (world, question, seen) = (asked.world, asked.question, asked.world.changes().seen());
    let mark = question.since.and_then(|id| world.changes().marked(id));
    let wanted = |number: &u64| {
        let cast = world.cast(*number);
        asked.day_is_asked(asked.local(world.started(*number)).date())
            && asked.group_is_asked(cast.groups)
            && asked.tag_is_asked(&cast.tags)
            && question.agent.as_ref().is_none_or(|login| cast.logins().any(|other| other == login))
            && mark.is_none_or(|mark| world.existed(*number, mark))
            && (question.include_pending == 1 || !world.is_pending(*number))
            && !seen.removed.contains(number)
    };
    let numbers = world.numbers();
    let extras = EXTRA..EXTRA + seen.extras.len() as u64;
    let mut found: Vec<u64> = (numbers.archive.start..numbers.pending.end).chain(extras).filter(wanted).collect();
    if !seen.extras.is_empty() {
        found.sort_by_key(|number| (world.started(*number), *number));
    }
    found
}
