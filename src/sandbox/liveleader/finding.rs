//! Which chats an answer has, in the order of their starts. Only numbers are kept, and of those only the ones of one second.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::super::calendar::HOUR;
use super::super::changes::{EXTRA, Seen};
use super::super::chat::{Dice, purpose};
use super::super::people::AGENTS;
use super::super::session::{Session, millisecond};
use super::super::world::World;
use super::asking::Period;
use super::manner::Manner;

/// The chats of a period, made one by one.
pub fn sessions(world: Arc<World>, period: Period, manner: &Manner) -> Box<dyn Iterator<Item = Session> + Send> {
    // No chat is longer than an hour.
    let early = if manner.overlap { HOUR } else { 0 };
    let walk = Walk::new(world.clone(), period.start.div_euclid(1_000) - early..(period.stop + 999).div_euclid(1_000));
    let (overlap, several) = (manner.overlap, manner.several_operators);
    let made = move |number| {
        let mut session = Session::of(&world, number)?;
        if several {
            let more: Vec<_> = AGENTS.iter().map(|agent| agent.login).filter(|login| !session.operators.contains(login)).collect();
            session.operators.extend(more.iter().take(3usize.saturating_sub(session.operators.len())));
        }
        let from = if overlap { session.stop } else { session.start };
        (from >= period.start && session.start < period.stop).then_some(session)
    };
    match manner.shuffle {
        Some(seed) => Box::new(shuffled(walk, seed).into_iter().filter_map(made)),
        None => Box::new(walk.filter_map(made)),
    }
}

/// Never in order, unless there is but one.
fn shuffled(walk: Walk, seed: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = walk.collect();
    let before = numbers.clone();
    let mut dice = Dice::new(seed, 0, purpose::SESSION);
    for at in (1..numbers.len()).rev() {
        numbers.swap(at, dice.below(at as u64 + 1) as usize);
    }
    if numbers == before {
        numbers.reverse();
    }
    numbers
}

/// Numbers of answered chats, by the millisecond of their starts.
struct Walk {
    world: Arc<World>,
    seen: Seen,
    /// Of the closed form's chats, and of those that ended on demand: what is still to come.
    numbers: Range<u64>,
    extras: Range<usize>,
    /// When the first of `numbers` began.
    next: Option<i64>,
    /// The chats of one second, in order: their milliseconds are seeded, so their numbers are not.
    second: VecDeque<u64>,
}

impl Walk {
    /// Those that began in these unix seconds.
    fn new(world: Arc<World>, seconds: Range<i64>) -> Self {
        let (seen, archive) = (world.changes().seen(), world.numbers().archive);
        let number = |second| world.calendar().first_from(second).clamp(archive.start, archive.end);
        let extra = |second| seen.extras.partition_point(|started| *started < second);
        let numbers = number(seconds.start)..number(seconds.end);
        let extras = extra(seconds.start)..extra(seconds.end);
        let mut walk = Self { world, seen, numbers, extras, next: None, second: VecDeque::new() };
        walk.look_ahead();
        walk
    }

    fn look_ahead(&mut self) {
        self.next = (!self.numbers.is_empty()).then(|| self.world.started(self.numbers.start));
    }

    /// Takes in the chats of the next second. False when there is none.
    fn take_second(&mut self) -> bool {
        let extra = self.seen.extras[self.extras.clone()].first().copied();
        let Some(second) = self.next.into_iter().chain(extra).min() else { return false };
        let mut found = Vec::new();
        while self.next == Some(second) {
            found.push(self.numbers.start);
            self.numbers.start += 1;
            self.look_ahead();
        }
        while self.seen.extras[self.extras.clone()].first() == Some(&second) {
            found.push(EXTRA + self.extras.start as u64);
            self.extras.start += 1;
        }
        found.retain(|number| !self.seen.removed.contains(number) && !self.world.cast(*number).missed);
        found.sort_by_key(|number| (millisecond(self.world.seed(), *number, 0), *number));
        self.second.extend(found);
        true
    }
}

impl Iterator for Walk {
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
