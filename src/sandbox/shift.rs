//! When agents accept chats: for a seeded number of minutes from the start of each hour (UTC).

use std::ops::Range;

use super::calendar::{DAY, HOUR};
use super::chat::{SeededRng, purpose};
use super::people::{AGENTS, GROUPS};

/// The agents (indexes into `AGENTS`) of a group or a login: all agents without either, none if it
/// is unknown.
pub fn staff(group: Option<u32>, login: Option<&str>) -> Vec<usize> {
    let of_group = |at: &usize| match group {
        None | Some(0) => true,
        Some(id) => GROUPS
            .iter()
            .any(|group| group.id == id && group.agents.is_some_and(|agents| agents.contains(at))),
    };
    (0..AGENTS.len())
        .filter(of_group)
        .filter(|&at| login.is_none_or(|login| AGENTS[at].login == login))
        .collect()
}

/// The number of minutes in which an agent accepts chats, in an hour counted from 1970.
pub fn minutes(seed: u64, agent: usize, hour: i64) -> u64 {
    let (day, hour_of_day) = (hour.div_euclid(24), hour.rem_euclid(24));
    let begins = 5 + (agent as i64 * 5) % 14;
    let weekend = matches!(day.rem_euclid(7), 2 | 3) && !agent.is_multiple_of(3);
    let works = !weekend && (begins..begins + 8).contains(&hour_of_day);
    if works {
        30 + SeededRng::new(seed, (hour as u64) << 8 | agent as u64, purpose::SHIFT).below(31)
    } else {
        0
    }
}

/// The number of seconds in a span (unix seconds, without its end) in which at least one of these
/// agents accepts chats, until `now`.
pub fn accepting(seed: u64, staff: &[usize], span: &Range<i64>, now: i64) -> u64 {
    // A range with an absurd start or end is limited to the range of this world's calendar.
    let (from, to) = (span.start.max(0), span.end.min(now).min(400 * 366 * DAY));
    let hours = from.div_euclid(HOUR)..to.max(from).div_euclid(HOUR) + 1;
    let seconds = hours.map(|hour| {
        let max_minutes = staff
            .iter()
            .map(|&agent| minutes(seed, agent, hour))
            .max()
            .unwrap_or_default() as i64;
        ((hour * HOUR + max_minutes * 60).min(to) - (hour * HOUR).max(from)).max(0)
    });
    seconds.sum::<i64>() as u64
}
