//! Finds the chats of an answer in the order of their starts. Keeps only the numbers of one second
//! in memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::super::calendar::HOUR;
use super::super::changes::{ChangesSnapshot, EXTRA};
use super::super::chat::{SeededRng, purpose};
use super::super::people::AGENTS;
use super::super::session::{ChatSession, millisecond};
use super::super::world::World;
use super::document_faults::DocumentFaults;
use super::request::RequestedPeriod;

/// The chats of a period, generated one by one.
pub fn sessions(
    world: Arc<World>,
    period: RequestedPeriod,
    document_faults: &DocumentFaults,
) -> Box<dyn Iterator<Item = ChatSession> + Send> {
    // No chat is longer than an hour.
    let early = if document_faults.overlap { HOUR } else { 0 };
    let ordered = SessionNumbers::new(
        world.clone(),
        period.start.div_euclid(1_000) - early..(period.stop + 999).div_euclid(1_000),
    );
    let (overlap, several) = (document_faults.overlap, document_faults.several_operators);
    let session_of = move |number| {
        let mut session = ChatSession::of(&world, number)?;
        if several {
            let more: Vec<_> = AGENTS
                .iter()
                .map(|agent| agent.login)
                .filter(|login| !session.operators.contains(login))
                .collect();
            session.operators.extend(
                more.iter()
                    .take(3usize.saturating_sub(session.operators.len())),
            );
        }
        let from = if overlap { session.stop } else { session.start };
        (from >= period.start && session.start < period.stop).then_some(session)
    };
    match document_faults.shuffle {
        Some(seed) => Box::new(shuffled(ordered, seed).into_iter().filter_map(session_of)),
        None => Box::new(ordered.filter_map(session_of)),
    }
}

/// Never in the original order, unless there is only one.
fn shuffled(ordered: SessionNumbers, seed: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = ordered.collect();
    let before = numbers.clone();
    let mut rng = SeededRng::new(seed, 0, purpose::SESSION);
    for at in (1..numbers.len()).rev() {
        numbers.swap(at, rng.below(at as u64 + 1) as usize);
    }
    if numbers == before {
        numbers.reverse();
    }
    numbers
}

/// Iterates over the numbers of answered chats, ordered by the milliseconds of their starts.
struct SessionNumbers {
    world: Arc<World>,
    snapshot: ChangesSnapshot,
    /// The remaining numbers: of the closed formula's chats, and of those that ended on request.
    numbers: Range<u64>,
    extras: Range<usize>,
    /// The start of the first of `numbers`.
    next: Option<i64>,
    /// The chats of one second. Their milliseconds are seeded, so they are not in the order of
    /// their numbers.
    second: VecDeque<u64>,
}

impl SessionNumbers {
    /// The chats that started in these unix seconds.
    fn new(world: Arc<World>, seconds: Range<i64>) -> Self {
        let (snapshot, archive) = (world.changes().snapshot(), world.numbers().archive);
        let number = |second| {
            world
                .calendar()
                .first_from(second)
                .clamp(archive.start, archive.end)
        };
        let extra = |second| snapshot.extras.partition_point(|started| *started < second);
        let numbers = number(seconds.start)..number(seconds.end);
        let extras = extra(seconds.start)..extra(seconds.end);
        let mut ordered = Self {
            world,
            snapshot,
            numbers,
            extras,
            next: None,
            second: VecDeque::new(),
        };
        ordered.update_next();
        ordered
    }

    fn update_next(&mut self) {
        self.next = (!self.numbers.is_empty()).then(|| self.world.started(self.numbers.start));
    }

    /// Loads the chats of the next second. Returns false if there is none.
    fn take_second(&mut self) -> bool {
        let extra = self.snapshot.extras[self.extras.clone()].first().copied();
        let Some(second) = self.next.into_iter().chain(extra).min() else {
            return false;
        };
        let mut found = Vec::new();
        while self.next == Some(second) {
            found.push(self.numbers.start);
            self.numbers.start += 1;
            self.update_next();
        }
        while self.snapshot.extras[self.extras.clone()].first() == Some(&second) {
            found.push(EXTRA + self.extras.start as u64);
            self.extras.start += 1;
        }
        found.retain(|number| {
            !self.snapshot.removed.contains(number) && !self.world.profile(*number).missed
        });
        found.sort_by_key(|number| (millisecond(self.world.seed(), *number, 0), *number));
        self.second.extend(found);
        true
    }
}

impl Iterator for SessionNumbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while self.second.is_empty() {
            if !self.take_second() {
                return None;
            }
        }
        self.second.pop_front()
    }
}
