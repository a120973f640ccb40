//! The sandbox's world: which chats there are, when each began, and who took it. All of it is worked out from a seed and a number.
//!
//! Chats are numbered by `calendar` from 1970 on; the archive begins with the newest `chats` of those that had ended when the sandbox
//! started, and grows as the clock goes on. A chat is in it an hour after it began; until then it is pending. What ends or goes on demand
//! is in `changes`. What a chat is filtered and counted by comes from the slot it has in its block of 256 (`cast`): every block holds
//! every slot once, so a filtered count is arithmetic (`selection`), and a page deep in the archive costs no more than the first.

use std::ops::Range;

use super::Options;
use super::calendar::{Calendar, HOUR};
use super::cast::Cast;
use super::changes::{Changes, EXTRA, Mark};
use super::chat::{self, Chat, Dice, Outline, purpose};
use super::lists::GREETINGS;
use super::ticket::{Ticket, Tickets};
use crate::clock::Clock;

pub const BLOCK: u64 = 256;
/// A chat is pending for so long, so that each of the archive has ended. No chat is longer.
const PENDING: i64 = HOUR;
/// Chats that end on demand began so long ago.
const SHORTEST_AGO: i64 = 60;
/// Mutations take away some of the newest so many chats, or of all when there are fewer.
const MUTABLE: u64 = 20_000;

pub struct World {
    seed: u64,
    chats: Calendar,
    /// The number of the oldest chat.
    first: u64,
    casts: Vec<Cast>,
    changes: Changes,
    tickets: Tickets,
    clock: Clock,
}

/// The numbers of the closed form's chats at one moment.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub archive: Range<u64>,
    /// Begins where the archive ends.
    pub pending: Range<u64>,
}

impl World {
    pub fn new(options: &Options, clock: Clock) -> Self {
        let (seed, days) = (options.seed, options.days.max(1));
        let chats = Calendar::new(seed, options.chats, days);
        let now = clock.now().div_euclid(1_000);
        Self {
            seed,
            first: chats.first_from(now - PENDING + 1).saturating_sub(options.chats),
            chats,
            casts: (0..BLOCK).map(|slot| Cast::make(seed, slot)).collect(),
            changes: Changes::default(),
            tickets: Tickets::new(options, now),
            clock,
        }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Unix seconds.
    pub fn now(&self) -> i64 {
        self.clock.now().div_euclid(1_000)
    }

    pub fn casts(&self) -> &[Cast] {
        &self.casts
    }

    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    pub fn calendar(&self) -> &Calendar {
        &self.chats
    }

    /// The closed form's chats now; the removed ones are not left out.
    pub fn numbers(&self) -> Numbers {
        let now = self.now();
        let ended = self.chats.first_from(now - PENDING + 1).max(self.first);
        Numbers { archive: self.first..ended, pending: ended..self.chats.first_from(now + 1).max(ended) }
    }

    /// Lets `count` more chats end just now; they are the newest of the archive from here on.
    pub fn end_chats(&self, count: u64) {
        if count > 0 {
            self.changes.add(count, self.now() - SHORTEST_AGO);
        }
    }

    /// A step of the archive's restlessness: by the seed, up to three chats end and up to two are taken away.
    pub fn mutate(&self, seed: u64) {
        let mut dice = Dice::new(seed, self.changes.next_mutation(), purpose::MUTATE);
        self.end_chats(dice.below(4));
        let archive = self.numbers().archive;
        let extras = self.changes.seen().extras.len() as u64;
        for _ in 0..dice.below(3) {
            let newest = (archive.end - archive.start).min(MUTABLE);
            match dice.below((newest + extras).max(1)) {
                back if back < newest => self.changes.remove(archive.end - 1 - back),
                back => extras > 0 && self.changes.remove(EXTRA + back - newest),
            };
        }
    }

    /// Remembers which chats there are now; see `existed`.
    pub fn mark(&self) -> u64 {
        self.changes.mark(self.now())
    }

    /// Whether chat `number` was in the archive at the mark. (What was removed since is not asked for here.)
    pub fn existed(&self, number: u64, mark: Mark) -> bool {
        if number >= EXTRA { number - EXTRA < mark.extras } else { self.chats.starts(number) + PENDING <= mark.at }
    }

    pub fn is_pending(&self, number: u64) -> bool {
        number < EXTRA && self.chats.starts(number) + PENDING > self.now()
    }

    /// When chat `number` began, in unix seconds.
    pub fn started(&self, number: u64) -> i64 {
        if number < EXTRA { self.chats.starts(number) } else { self.changes.starts(number).unwrap_or_default() }
    }

    /// How many messages chat `number` has, without making it.
    pub fn messages(&self, number: u64) -> u64 {
        if self.cast(number).missed { 1 } else { 2 + Dice::new(self.seed, number, purpose::LENGTH).below(21) }
    }

    /// How long chat `number` lasted, or has lasted by now.
    pub fn seconds(&self, number: u64) -> u64 {
        let seconds = chat::seconds(self.seed, number, self.cast(number).missed);
        let room = if number < EXTRA { self.now() - self.chats.starts(number) } else { SHORTEST_AGO - 5 };
        seconds.min(room.max(1) as u64)
    }

    /// How long the visitor waited for the first answer, and for an answer on average: seeded apart from the messages' times, for it
    /// must not take a walk over them. None of a missed chat.
    pub fn waits(&self, number: u64) -> Option<(u64, u64)> {
        let mut dice = Dice::new(self.seed, number, purpose::RESPONSE);
        (!self.cast(number).missed).then(|| (2 + dice.below(60), 10 + dice.below(90)))
    }

    /// The greeting that began chat `number`, and how often it was shown until then. None when it was not begun by one.
    pub fn greeting(&self, number: u64) -> Option<(u32, u64)> {
        let mut dice = Dice::new(self.seed, number, purpose::GREETING);
        let greeting = &GREETINGS[dice.below(GREETINGS.len() as u64) as usize];
        (self.cast(number).engagement == "auto_invite").then(|| (greeting.id, 1 + dice.below(9)))
    }

    pub fn id(&self, number: u64) -> String {
        chat::id(self.seed, number)
    }

    pub fn chat(&self, number: u64) -> Chat {
        let (started, cast) = (self.started(number), self.cast(number));
        Chat::make(
            self.seed,
            &Outline {
                number,
                started,
                seconds: self.seconds(number),
                pending: self.is_pending(number),
                cast,
                messages: self.messages(number),
                // A search among the tickets takes longer than all the rest of a chat.
                ticket: if cast.tickets > 0 { self.tickets.newest_before(started) } else { 0 },
            },
        )
    }

    pub fn cast(&self, number: u64) -> &Cast {
        &self.casts[self.slot(number)]
    }

    /// A different order of the slots in each block; an odd factor is one to one on 256.
    pub fn slot(&self, number: u64) -> usize {
        let turn = Dice::new(self.seed, number / BLOCK, purpose::BLOCK).throw();
        let factor = (turn >> 32) | 1;
        (number.wrapping_mul(factor).wrapping_add(turn) % BLOCK) as usize
    }

    /// All tickets as they are now, oldest first.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.tickets_from(i64::MIN)
    }

    /// The tickets that were opened at `moment` (unix seconds) or later, oldest first.
    pub fn tickets_from(&self, moment: i64) -> impl Iterator<Item = Ticket> {
        self.tickets.opened_from(moment, self.now())
    }
}
