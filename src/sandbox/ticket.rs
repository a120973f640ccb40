//! The tickets of the world, told without any vendor's words. One for every eight chats, numbered by a calendar of their own; what
//! happens to a ticket happens at fixed moments, and at any time only what has happened by then is told.

use std::borrow::Cow;
use std::ops::Range;

use super::Options;
use super::calendar::{Calendar, DAY};
use super::chat::{Dice, purpose};
use super::people::{AGENT_LINES, AGENTS, Agent, FIRST_NAMES, GROUPS, LAST_NAMES, ODD_LINES, ODD_NAMES, ROUTES, TAGS, VISITOR_LINES};

/// Nothing happens to a ticket after so many seconds.
pub const LIFE: i64 = 8 * DAY;
const CHATS_A_TICKET: u64 = 8;

pub struct Tickets {
    seed: u64,
    calendar: Calendar,
    first: u64,
}

/// What there is to filter and count by; `content` tells the rest.
#[derive(Clone, Debug)]
pub struct Ticket {
    seed: u64,
    pub number: u64,
    /// What has happened, never empty, at unix seconds that grow.
    pub steps: Vec<(i64, Step)>,
    /// `chat_window`, `mail` or `chat`.
    pub source: &'static str,
    pub groups: &'static [u32],
    pub assignee: Option<&'static Agent>,
    pub tags: Vec<&'static str>,
    rating: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Opened,
    Answer,
    Note,
    Reply,
    Solved,
    Reopened,
    Spam,
}

#[derive(Debug)]
pub struct Content {
    pub name: Cow<'static, str>,
    pub mail: String,
    pub subject: Cow<'static, str>,
    /// What was said at each step.
    pub messages: Vec<&'static str>,
}

impl Tickets {
    pub fn new(options: &Options, now: i64) -> Self {
        let count = options.chats.div_ceil(CHATS_A_TICKET);
        let calendar = Calendar::new(options.seed ^ purpose::TICKET, count, options.days);
        Self { seed: options.seed, first: calendar.first_from(now + 1).saturating_sub(count), calendar }
    }

    /// The number of the newest ticket that began before `moment`.
    pub fn newest_before(&self, moment: i64) -> u64 {
        self.calendar.first_from(moment).saturating_sub(1)
    }

    /// Oldest first, as they are `now`.
    pub fn opened_from(&self, moment: i64, now: i64) -> impl Iterator<Item = Ticket> {
        let from = self.calendar.first_from(moment).max(self.first);
        (from..self.calendar.first_from(now + 1)).map(move |number| Ticket::make(self.seed, number, self.calendar.starts(number), now))
    }
}

/// The id of ticket `number`: six letters and digits, different for different numbers below 2^30.
pub fn id(seed: u64, number: u64) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    const ALL: u64 = (1 << 30) - 1;
    let mut bits = number.wrapping_mul(0x2d_95f3_4c1d).wrapping_add(seed) & ALL;
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x1e_3779_b97b) & ALL;
    (0..6).rev().map(|place| char::from(LETTERS[(bits >> (place * 5) & 31) as usize])).collect()
}

impl Ticket {
    fn make(seed: u64, number: u64, opened: i64, now: i64) -> Self {
        let mut dice = Dice::new(seed, number, purpose::TICKET);
        let groups = dice.pick(&ROUTES);
        let everybody: Vec<usize> = (0..AGENTS.len()).collect();
        let able = GROUPS.iter().find(|group| groups.first() == Some(&group.id)).and_then(|group| group.agents).unwrap_or(&everybody);
        let assignee = AGENTS.get(dice.pick(able)).filter(|_| !dice.one_in(6));
        let source = dice.pick(&["chat_window", "mail", "mail", "chat"]);
        let tags = if dice.one_in(3) { vec![dice.pick(&TAGS)] } else { Vec::new() };
        let rating = dice.one_in(3).then(|| !dice.one_in(4));
        let mut steps = steps(&mut dice, opened);
        steps.retain(|(at, _)| *at <= now);
        Self { seed, number, steps, source, groups, assignee, tags, rating }
    }

    pub fn id(&self) -> String {
        id(self.seed, self.number)
    }

    /// Unix seconds.
    pub fn opened(&self) -> i64 {
        self.steps.first().map(|(at, _)| *at).unwrap_or_default()
    }

    pub fn modified(&self) -> i64 {
        self.steps.last().map(|(at, _)| *at).unwrap_or_default()
    }

    pub fn active_in(&self, span: &Range<i64>) -> bool {
        self.steps.iter().any(|(at, _)| span.contains(at))
    }

    /// When the first of a kind of step happened.
    pub fn first(&self, step: Step) -> Option<i64> {
        self.steps.iter().find(|(_, happened)| *happened == step).map(|(at, _)| *at)
    }

    /// `open`, `pending`, `solved` or `spam`.
    pub fn status(&self) -> &'static str {
        let last = self.steps.iter().rev().find(|(_, step)| *step != Step::Note).map(|(_, step)| *step);
        match last {
            Some(Step::Answer) => "pending",
            Some(Step::Solved) => "solved",
            Some(Step::Spam) => "spam",
            _ => "open",
        }
    }

    /// From when until when it was not solved.
    pub fn open_spans(&self) -> Vec<(i64, Option<i64>)> {
        let mut spans = Vec::new();
        for (at, step) in &self.steps {
            match step {
                Step::Opened | Step::Reopened => spans.push((*at, None)),
                Step::Solved | Step::Spam => {
                    if let Some(last) = spans.last_mut() {
                        last.1 = Some(*at);
                    }
                }
                _ => {}
            }
        }
        spans
    }

    /// True for good; given when it was solved.
    pub fn rating(&self) -> Option<bool> {
        self.first(Step::Solved).and(self.rating)
    }

    pub fn content(&self) -> Content {
        let mut dice = Dice::new(self.seed, self.number, purpose::TICKET + 100);
        let name =
            if dice.one_in(6) { Cow::Borrowed(dice.pick(&ODD_NAMES)) } else { Cow::Owned(format!("{} {}", dice.pick(&FIRST_NAMES), dice.pick(&LAST_NAMES))) };
        let subject = match dice.below(5) {
            0 => Cow::Borrowed(dice.pick(&ODD_LINES)),
            1 => Cow::Borrowed(""),
            _ => Cow::Owned(format!("Re: {}", dice.pick(&VISITOR_LINES))),
        };
        let say = |(_, step): &(i64, Step)| match step {
            Step::Opened | Step::Reply => dice.pick(&VISITOR_LINES),
            Step::Answer => dice.pick(&AGENT_LINES),
            Step::Note => dice.pick(&ODD_LINES),
            Step::Solved => "Status changed to solved",
            Step::Reopened => "Status changed to open",
            Step::Spam => "Status changed to spam",
        };
        Content { name, mail: format!("visitor{}@example.com", self.number % 9_973), subject, messages: self.steps.iter().map(say).collect() }
    }
}

/// A whole life: at most nine steps, less than a day each but the first, and so within `LIFE`.
fn steps(dice: &mut Dice, opened: i64) -> Vec<(i64, Step)> {
    let mut steps = vec![(opened, Step::Opened)];
    let mut at = opened;
    let mut go_on = |dice: &mut Dice, step| {
        at += 60 + dice.below(70_000) as i64;
        steps.push((at, step));
    };
    if dice.one_in(30) {
        go_on(dice, Step::Spam);
        return steps;
    }
    if dice.one_in(10) {
        return steps;
    }
    go_on(dice, Step::Answer);
    if dice.one_in(4) {
        go_on(dice, Step::Note);
    }
    if dice.one_in(2) {
        go_on(dice, Step::Reply);
        go_on(dice, Step::Answer);
    }
    if dice.one_in(4) {
        return steps;
    }
    go_on(dice, Step::Solved);
    if dice.one_in(5) {
        go_on(dice, Step::Reopened);
        go_on(dice, Step::Answer);
        if dice.one_in(2) {
            go_on(dice, Step::Solved);
        }
    }
    steps
}
