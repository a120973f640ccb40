//! The sandbox's world: the chats, their start times and their agents, computed from a seed and a
//! number.
//!
//! Chats are numbered by `calendar` from 1970 on. The archive starts with the newest `chats` of
//! those that had ended when the sandbox was started, and grows as the clock advances. A chat is
//! pending for an hour and then in the archive. Chats that end or are deleted on request are in
//! `changes`. The properties that chats are filtered and counted by depend on the slot of the
//! number within its block of 256 (`chat_profile`): each block contains every slot once, so a
//! filtered count is arithmetic (`selection`), and a page deep in the archive costs no more than
//! the first.

use std::ops::Range;

use super::SandboxOptions;
use super::calendar::{ArrivalCalendar, HOUR};
use super::changes::{ArchiveMark, Changes, EXTRA};
use super::chat::{self, Chat, Outline, SeededRng, purpose};
use super::chat_profile::ChatProfile;
use super::lists::GREETINGS;
use super::ticket::{Ticket, Tickets};
use crate::clock::Clock;

pub const BLOCK: u64 = 256;
/// The time for which a chat is pending, so that every chat of the archive has ended. No chat is
/// longer.
const PENDING: i64 = HOUR;
/// Chats that end on request started this number of seconds ago.
const ENDED_CHAT_AGE: i64 = 60;
/// Mutations delete chats among the newest ones, up to this number.
const MUTABLE: u64 = 20_000;

pub struct World {
    seed: u64,
    chats: ArrivalCalendar,
    /// The number of the oldest chat.
    first: u64,
    profiles: Vec<ChatProfile>,
    changes: Changes,
    tickets: Tickets,
    clock: Clock,
}

/// The numbers of the closed formula's chats at one moment.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub archive: Range<u64>,
    /// Starts where the archive ends.
    pub pending: Range<u64>,
}

impl World {
    pub fn new(options: &SandboxOptions, clock: Clock) -> Self {
        let (seed, days) = (options.seed, options.days.max(1));
        let chats = ArrivalCalendar::new(seed, options.chats, days);
        let now = clock.now().div_euclid(1_000);
        Self {
            seed,
            first: chats
                .first_from(now - PENDING + 1)
                .saturating_sub(options.chats),
            chats,
            profiles: (0..BLOCK)
                .map(|slot| ChatProfile::make(seed, slot))
                .collect(),
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

    pub fn profiles(&self) -> &[ChatProfile] {
        &self.profiles
    }

    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    pub fn calendar(&self) -> &ArrivalCalendar {
        &self.chats
    }

    /// The current chats of the closed formula, including deleted ones.
    pub fn numbers(&self) -> Numbers {
        let now = self.now();
        let ended = self.chats.first_from(now - PENDING + 1).max(self.first);
        Numbers {
            archive: self.first..ended,
            pending: ended..self.chats.first_from(now + 1).max(ended),
        }
    }

    /// Ends `count` more chats now: they become the newest of the archive.
    pub fn end_chats(&self, count: u64) {
        if count > 0 {
            self.changes.add(count, self.now() - ENDED_CHAT_AGE);
        }
    }

    /// One random change of the archive: up to three chats end and up to two are deleted, depending
    /// on the seed.
    pub fn mutate(&self, seed: u64) {
        let mut rng = SeededRng::new(seed, self.changes.next_mutation(), purpose::MUTATE);
        self.end_chats(rng.below(4));
        let archive = self.numbers().archive;
        let extras = self.changes.snapshot().extras.len() as u64;
        for _ in 0..rng.below(3) {
            let newest = (archive.end - archive.start).min(MUTABLE);
            match rng.below((newest + extras).max(1)) {
                back if back < newest => self.changes.remove(archive.end - 1 - back),
                back => extras > 0 && self.changes.remove(EXTRA + back - newest),
            };
        }
    }

    /// Remembers the current chats; see `existed`.
    pub fn mark(&self) -> u64 {
        self.changes.mark(self.now())
    }

    /// Whether chat `number` was in the archive at the mark. (Does not check whether it was deleted
    /// since.)
    pub fn existed(&self, number: u64, mark: ArchiveMark) -> bool {
        if number >= EXTRA {
            number - EXTRA < mark.extras
        } else {
            self.chats.starts(number) + PENDING <= mark.at
        }
    }

    pub fn is_pending(&self, number: u64) -> bool {
        number < EXTRA && self.chats.starts(number) + PENDING > self.now()
    }

    /// The start of chat `number` in unix seconds.
    pub fn started(&self, number: u64) -> i64 {
        if number < EXTRA {
            self.chats.starts(number)
        } else {
            self.changes.starts(number).unwrap_or_default()
        }
    }

    /// The number of messages of chat `number`, without generating it.
    pub fn messages(&self, number: u64) -> u64 {
        if self.profile(number).missed {
            1
        } else {
            2 + SeededRng::new(self.seed, number, purpose::LENGTH).below(21)
        }
    }

    /// The duration of chat `number`, so far if it is pending.
    pub fn seconds(&self, number: u64) -> u64 {
        let seconds = chat::seconds(self.seed, number, self.profile(number).missed);
        let room = if number < EXTRA {
            self.now() - self.chats.starts(number)
        } else {
            ENDED_CHAT_AGE - 5
        };
        seconds.min(room.max(1) as u64)
    }

    /// How long the visitor waited for the first answer, and for an answer on average. Seeded
    /// separately from the messages' times, because it must not require a scan of them. `None` for
    /// a missed chat.
    pub fn waits(&self, number: u64) -> Option<(u64, u64)> {
        let mut rng = SeededRng::new(self.seed, number, purpose::RESPONSE);
        (!self.profile(number).missed).then(|| (2 + rng.below(60), 10 + rng.below(90)))
    }

    /// The greeting that started chat `number`, and how often it was shown until then. `None` if no
    /// greeting started it.
    pub fn greeting(&self, number: u64) -> Option<(u32, u64)> {
        let mut rng = SeededRng::new(self.seed, number, purpose::GREETING);
        let greeting = &GREETINGS[rng.below(GREETINGS.len() as u64) as usize];
        (self.profile(number).engagement == "auto_invite").then(|| (greeting.id, 1 + rng.below(9)))
    }

    pub fn id(&self, number: u64) -> String {
        chat::id(self.seed, number)
    }

    pub fn chat(&self, number: u64) -> Chat {
        let (started, profile) = (self.started(number), self.profile(number));
        Chat::make(
            self.seed,
            &Outline {
                number,
                started,
                seconds: self.seconds(number),
                pending: self.is_pending(number),
                profile,
                messages: self.messages(number),
                // Searching the tickets takes longer than the rest of a chat.
                ticket: if profile.tickets > 0 {
                    self.tickets.newest_before(started)
                } else {
                    0
                },
            },
        )
    }

    pub fn profile(&self, number: u64) -> &ChatProfile {
        &self.profiles[self.slot(number)]
    }

    /// A different order of the slots in each block; multiplication by an odd factor is a bijection
    /// on 256.
    pub fn slot(&self, number: u64) -> usize {
        let turn = SeededRng::new(self.seed, number / BLOCK, purpose::BLOCK).next_u64();
        let factor = (turn >> 32) | 1;
        (number.wrapping_mul(factor).wrapping_add(turn) % BLOCK) as usize
    }

    /// All tickets in their current state, oldest first.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.tickets_from(i64::MIN)
    }

    /// The tickets that were opened at `moment` (unix seconds) or later, oldest first.
    pub fn tickets_from(&self, moment: i64) -> impl Iterator<Item = Ticket> {
        self.tickets.opened_from(moment, self.now())
    }
}
