//! The reports that are read from the archive, with one row for each chat or for each part of it.

use serde_json::{Value, json};

use super::super::changes::EXTRA;
use super::super::chat::Chat;
use super::TruthContext;

pub fn answer(context: &TruthContext<'_>) -> Option<Value> {
    let (world, report) = (context.world, context.question.report.as_str());
    // These two reports generate no chat, which matters in an archive of a hundred thousand chats.
    if report == "chat" {
        let found = found(context);
        let mut truth = json!({"count": found.len()});
        if context.question.ids == 1 {
            truth["ids"] = found.iter().rev().map(|number| world.id(*number)).collect();
        }
        return Some(truth);
    }
    if report == "chat_messages" {
        return Some(inside(context, |number| world.messages(number)));
    }
    let rows: fn(&Chat) -> usize = match report {
        "chat_agents" => |chat| chat.agents.len(),
        "chat_custom_variables" => |chat| chat.variables.as_ref().map_or(0, Vec::len),
        // The messages, one event with all files, and the end.
        "chat_events" => |chat| {
            chat.lines.len() + usize::from(!chat.files.is_empty()) + usize::from(!chat.pending)
        },
        "chat_goals" => |chat| chat.goals.len(),
        "chat_integration_variables" => |chat| usize::from(chat.variation % 41 == 3),
        "chat_postchat_survey" => |chat| chat.after.len(),
        "chat_prechat_survey" => |chat| chat.before.len(),
        "chat_supervisors" => |chat| chat.supervisors.len(),
        "chat_tags" => |chat| chat.tags.len(),
        "chat_tickets" => |chat| chat.tickets.len(),
        _ => return None,
    };
    Some(inside(context, |number| rows(&world.chat(number)) as u64))
}

/// The number of rows of a report with parts of chats; with ids, the number of rows of each chat.
fn inside(context: &TruthContext<'_>, rows: impl Fn(u64) -> u64) -> Value {
    let found: Vec<(u64, u64)> = found(context)
        .into_iter()
        .map(|number| (number, rows(number)))
        .collect();
    let mut truth =
        json!({"count": found.iter().map(|(_, rows)| rows).sum::<u64>(), "chats": found.len()});
    if context.question.ids == 1 {
        truth["rows"] = found
            .iter()
            .map(|(number, rows)| (context.world.id(*number), *rows))
            .collect();
    }
    truth
}

/// The numbers of the chats, oldest first.
pub fn found(context: &TruthContext<'_>) -> Vec<u64> {
    let (world, question, snapshot) = (
        context.world,
        context.question,
        context.world.changes().snapshot(),
    );
    let mark = question.since.and_then(|id| world.changes().mark_by_id(id));
    let wanted = |number: &u64| {
        let profile = world.profile(*number);
        context.day_matches(context.local(world.started(*number)).date())
            && context.group_matches(profile.groups)
            && context.tag_matches(&profile.tags)
            && question
                .agent
                .as_ref()
                .is_none_or(|login| profile.logins().any(|other| other == login))
            && mark.is_none_or(|mark| world.existed(*number, mark))
            && (question.include_pending == 1 || !world.is_pending(*number))
            && !snapshot.removed.contains(number)
    };
    let numbers = world.numbers();
    let extras = EXTRA..EXTRA + snapshot.extras.len() as u64;
    let mut found: Vec<u64> = (numbers.archive.start..numbers.pending.end)
        .chain(extras)
        .filter(wanted)
        .collect();
    if !snapshot.extras.is_empty() {
        found.sort_by_key(|number| (world.started(*number), *number));
    }
    found
}
