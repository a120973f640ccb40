//! The sandbox's world: how many chats there are, when each began, and who took it. All of it is worked out from a seed and a number.
//!
//! Chats are numbered from the oldest. First come the archive's `chats`, then a few that are still pending, then those that ended
//! since the sandbox started (see `end_chats`). Start times never decrease with the number, so a range of time is a range of numbers,
//! found by bisection. What a chat is filtered by comes from the slot it has in its block of 256: every block holds every slot once,
//! so a filtered count is arithmetic too, and a page deep in the archive costs no more than the first.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use super::Options;
use super::chat::{Chat, Dice, Outline, purpose};
use super::people::{AGENTS, GROUPS, ROUTES};
use crate::clock::Clock;

const HOUR: i64 = 3_600;
const BLOCK: usize = 256;
/// The base archive ends this long ago, so that each of its chats has ended.
const QUIET_HOURS: i64 = 1;
/// The longest chat, in seconds.
const LONGEST: u64 = 2_700;
/// Chats that ended since the start lasted less than this.
const SHORTEST_AGO: i64 = 60;

/// Chats in an hour of the day (UTC), relative to each other: a European shop with an evening and a few night owls.
const BY_HOUR: [u64; 24] = [9, 6, 5, 4, 5, 9, 20, 42, 68, 84, 90, 88, 74, 80, 86, 82, 70, 58, 52, 55, 50, 38, 24, 14];
/// The same for a day of the week, from Thursday, on which 1970 began.
const BY_WEEKDAY: [u64; 7] = [98, 90, 45, 40, 115, 108, 104];

/// Who takes the chats of a slot.
#[derive(Clone, Debug)]
struct Cast {
    missed: bool,
    groups: &'static [u32],
    agents: Vec<usize>,
}

/// What a query leaves over.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only chats whose group list holds this id.
    pub group: Option<u32>,
    /// Only chats that the agent with this login took part in.
    pub agent: Option<String>,
    pub include_pending: bool,
}

pub struct World {
    seed: u64,
    /// Unix seconds, on an hour.
    first: i64,
    /// Chats before the hour with that position, and at the end all chats of the archive.
    before_hour: Vec<u64>,
    archive: u64,
    pending: u64,
    /// Start times of the chats that ended since the sandbox started.
    ended: RwLock<Vec<i64>>,
    casts: Vec<Cast>,
    clock: Clock,
}

impl World {
    pub fn new(options: &Options, clock: Clock) -> Self {
        let now = clock.now().div_euclid(1_000);
        let day = now.div_euclid(24 * HOUR) * 24 * HOUR;
        let first = day - i64::from(options.days.max(1)) * 24 * HOUR;
        let hours = ((now - first) / HOUR - QUIET_HOURS).max(1) as u64;
        let seed = options.seed;
        Self {
            seed,
            first,
            before_hour: spread(seed, first, hours, options.chats),
            archive: options.chats,
            pending: if options.chats >= 100 { 3 } else { 0 },
            ended: RwLock::default(),
            casts: (0..BLOCK as u64).map(|slot| Cast::make(seed, slot)).collect(),
            clock,
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How many chats there are now, pending ones included.
    pub fn len(&self) -> u64 {
        self.archive + self.pending + self.ended.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// Lets `count` more chats end just now; they are the newest of the archive from here on.
    pub fn end_chats(&self, count: u64) {
        let now = self.clock.now().div_euclid(1_000) - SHORTEST_AGO;
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        let at = ended.last().copied().unwrap_or(now).max(now);
        ended.extend((0..count).map(|_| at));
    }

    pub fn is_pending(&self, number: u64) -> bool {
        (self.archive..self.archive + self.pending).contains(&number)
    }

    /// When chat `number` began, in unix seconds. Never decreases with the number.
    pub fn started(&self, number: u64) -> i64 {
        if number < self.archive {
            let hour = self.before_hour.partition_point(|before| *before <= number).saturating_sub(1);
            let (from, to) = (self.before_hour[hour], self.before_hour[hour + 1]);
            let jitter = Dice::new(self.seed, number, purpose::START).below(HOUR as u64);
            return self.first + hour as i64 * HOUR + (((number - from) * HOUR as u64 + jitter) / (to - from)) as i64;
        }
        let archive_end = self.first + (self.before_hour.len() as i64 - 1) * HOUR;
        let later = (number - self.archive) as usize;
        match later.checked_sub(self.pending as usize) {
            None => archive_end + later as i64 * 60,
            Some(at) => self.ended.read().unwrap_or_else(PoisonError::into_inner).get(at).copied().unwrap_or(archive_end),
        }
    }

    /// How many messages chat `number` has, without making it.
    pub fn messages(&self, number: u64) -> u64 {
        if self.cast(number).missed { 1 } else { 2 + Dice::new(self.seed, number, purpose::LENGTH).below(21) }
    }

    /// The groups of chat `number`.
    pub fn groups(&self, number: u64) -> &'static [u32] {
        self.cast(number).groups
    }

    /// The logins of those who took part in chat `number`.
    pub fn logins(&self, number: u64) -> impl Iterator<Item = &'static str> {
        self.cast(number).agents.iter().map(|&at| AGENTS[at].login)
    }

    pub fn id(&self, number: u64) -> String {
        super::chat::id(self.seed, number)
    }

    pub fn chat(&self, number: u64) -> Chat {
        let cast = self.cast(number);
        let lately = number >= self.archive;
        Chat::make(
            self.seed,
            &Outline {
                number,
                started: self.started(number),
                room: if lately { SHORTEST_AGO as u64 - 5 } else { LONGEST },
                pending: self.is_pending(number),
                missed: cast.missed,
                groups: cast.groups,
                agents: &cast.agents,
                messages: self.messages(number),
            },
        )
    }

    /// The chats that began in `span` (unix seconds, the end not included) and pass the filter, as they are at this moment.
    pub fn select(&self, span: Range<i64>, filter: &Filter) -> Selection<'_> {
        let len = self.len();
        let (from, to) = (self.first_from(span.start, len), self.first_from(span.end, len));
        let pending = self.archive..self.archive + self.pending;
        let ranges = if filter.include_pending {
            [from..to, 0..0]
        } else {
            [from.max(pending.end)..to.max(pending.end), from.min(pending.start)..to.min(pending.start)]
        };
        let wanted = (filter.group.is_some() || filter.agent.is_some()).then(|| self.wanted(filter));
        Selection { world: self, ranges, wanted }
    }

    /// The number of the first chat that began at `moment` or later; `len` when there is none.
    fn first_from(&self, moment: i64, len: u64) -> u64 {
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.started(middle) < moment { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn wanted(&self, filter: &Filter) -> Wanted {
        let slots: Vec<bool> = self
            .casts
            .iter()
            .map(|cast| {
                filter.group.is_none_or(|group| cast.groups.contains(&group))
                    && filter.agent.as_ref().is_none_or(|login| cast.agents.iter().any(|&at| AGENTS[at].login == login))
            })
            .collect();
        Wanted { each_block: slots.iter().filter(|wanted| **wanted).count() as u64, slots }
    }

    fn cast(&self, number: u64) -> &Cast {
        &self.casts[self.slot(number)]
    }

    /// A different order of the slots in each block; an odd factor is one to one on 256.
    fn slot(&self, number: u64) -> usize {
        let turn = Dice::new(self.seed, number / BLOCK as u64, purpose::BLOCK).throw();
        let factor = (turn >> 32) | 1;
        (number.wrapping_mul(factor).wrapping_add(turn) % BLOCK as u64) as usize
    }
}

impl Cast {
    fn make(seed: u64, slot: u64) -> Self {
        let mut dice = Dice::new(seed, slot, purpose::CAST);
        let groups = dice.pick(&ROUTES);
        let missed = dice.one_in(20);
        let everybody: Vec<usize> = (0..AGENTS.len()).collect();
        let first = groups.first().copied().unwrap_or_default();
        let able = GROUPS.iter().find(|group| group.id == first).and_then(|group| group.agents).unwrap_or(&everybody);
        let count = if missed { 0 } else { 1 + u64::from(dice.one_in(5)) + u64::from(dice.one_in(25)) };
        let mut agents = Vec::new();
        for _ in 0..count {
            let agent = dice.pick(able);
            if !agents.contains(&agent) {
                agents.push(agent);
            }
        }
        Self { missed, groups, agents }
    }
}

/// Shares `chats` out over the hours by their weight. The result has one entry more than there are hours.
fn spread(seed: u64, first: i64, hours: u64, chats: u64) -> Vec<u64> {
    let weights = (0..hours).map(|hour| {
        let at = first.div_euclid(HOUR) as u64 + hour;
        let noise = 70 + Dice::new(seed, at, purpose::HOUR).below(61);
        BY_HOUR[(at % 24) as usize] * BY_WEEKDAY[(at / 24 % 7) as usize] * noise
    });
    let mut sums = vec![0u64];
    for weight in weights {
        sums.push(sums.last().copied().unwrap_or_default() + weight);
    }
    let all = u128::from(sums.last().copied().unwrap_or_default().max(1));
    sums.into_iter().map(|sum| (u128::from(chats) * u128::from(sum) / all) as u64).collect()
}

/// The slots that pass a filter.
struct Wanted {
    slots: Vec<bool>,
    each_block: u64,
}

/// Chats that a query finds, newest first.
pub struct Selection<'a> {
    world: &'a World,
    /// Newer range first.
    ranges: [Range<u64>; 2],
    wanted: Option<Wanted>,
}

impl Selection<'_> {
    pub fn total(&self) -> u64 {
        self.ranges.iter().map(|range| self.rank(range.end) - self.rank(range.start)).sum()
    }

    /// The numbers of the chats after the newest `skip`, at most `take` of them.
    pub fn numbers(&self, skip: u64, take: u64) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(take.min(1_000) as usize);
        let mut skip = skip;
        for range in &self.ranges {
            let (low, high) = (self.rank(range.start), self.rank(range.end));
            let here = high - low;
            let left = take - numbers.len() as u64;
            let newest = high - skip.min(here);
            numbers.extend((low..newest).rev().take(left as usize).map(|rank| self.number(rank)));
            skip = skip.saturating_sub(here);
        }
        numbers
    }

    /// How many wanted chats have a number below `number`.
    fn rank(&self, number: u64) -> u64 {
        let Some(wanted) = &self.wanted else { return number };
        let block = number / BLOCK as u64;
        let rest = (block * BLOCK as u64..number).filter(|n| wanted.slots[self.world.slot(*n)]).count() as u64;
        block * wanted.each_block + rest
    }

    /// The number of the wanted chat with `rank` wanted ones below it.
    fn number(&self, rank: u64) -> u64 {
        let Some(wanted) = &self.wanted else { return rank };
        let (block, nth) = (rank / wanted.each_block.max(1), rank % wanted.each_block.max(1));
        let mut candidates = (block * BLOCK as u64..(block + 1) * BLOCK as u64).filter(|n| wanted.slots[self.world.slot(*n)]);
        candidates.nth(nth as usize).unwrap_or_default()
    }
}
