//! The tickets of the world, independent of a vendor. There is one ticket for every eight chats,
//! numbered by its own calendar. The steps of a ticket have fixed times; only steps before the
//! current time are visible.

use std::borrow::Cow;
use std::ops::Range;

use super::SandboxOptions;
use super::calendar::{ArrivalCalendar, DAY};
use super::chat::{SeededRng, purpose};
use super::people::{
    AGENT_LINES, AGENTS, Agent, FIRST_NAMES, GROUPS, LAST_NAMES, ODD_LINES, ODD_NAMES, ROUTES,
    TAGS, VISITOR_LINES,
};

/// A ticket has no steps after this number of seconds.
pub const LIFE: i64 = 8 * DAY;
const CHATS_A_TICKET: u64 = 8;

pub struct Tickets {
    seed: u64,
    calendar: ArrivalCalendar,
    first: u64,
}

/// The properties that tickets are filtered and counted by; `content` generates the rest.
#[derive(Clone, Debug)]
pub struct Ticket {
    seed: u64,
    pub number: u64,
    /// The steps so far with their unix seconds, in order; never empty.
    pub steps: Vec<(i64, TicketStep)>,
    /// `chat_window`, `mail` or `chat`.
    pub source: &'static str,
    pub groups: &'static [u32],
    pub assignee: Option<&'static Agent>,
    pub tags: Vec<&'static str>,
    rating: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketStep {
    Opened,
    Answer,
    Note,
    Reply,
    Solved,
    Reopened,
    Spam,
}

#[derive(Debug)]
pub struct TicketContent {
    pub name: Cow<'static, str>,
    pub mail: String,
    pub subject: Cow<'static, str>,
    /// The message of each step.
    pub messages: Vec<&'static str>,
}

impl Tickets {
    pub fn new(options: &SandboxOptions, now: i64) -> Self {
        let count = options.chats.div_ceil(CHATS_A_TICKET);
        let calendar = ArrivalCalendar::new(options.seed ^ purpose::TICKET, count, options.days);
        Self {
            seed: options.seed,
            first: calendar.first_from(now + 1).saturating_sub(count),
            calendar,
        }
    }

    /// The number of the newest ticket that started before `moment`.
    pub fn newest_before(&self, moment: i64) -> u64 {
        self.calendar.first_from(moment).saturating_sub(1)
    }

    /// Oldest first, in their state at `now`.
    pub fn opened_from(&self, moment: i64, now: i64) -> impl Iterator<Item = Ticket> {
        let from = self.calendar.first_from(moment).max(self.first);
        (from..self.calendar.first_from(now + 1))
            .map(move |number| Ticket::make(self.seed, number, self.calendar.starts(number), now))
    }
}

/// The id of ticket `number`: six letters and digits, unique for numbers below 2^30.
pub fn id(seed: u64, number: u64) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    const ALL: u64 = (1 << 30) - 1;
    let mut bits = number.wrapping_mul(0x2d_95f3_4c1d).wrapping_add(seed) & ALL;
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x1e_3779_b97b) & ALL;
    (0..6)
        .rev()
        .map(|place| char::from(LETTERS[(bits >> (place * 5) & 31) as usize]))
        .collect()
}

impl Ticket {
    fn make(seed: u64, number: u64, opened: i64, now: i64) -> Self {
        let mut rng = SeededRng::new(seed, number, purpose::TICKET);
        let groups = rng.pick(&ROUTES);
        let all_agents: Vec<usize> = (0..AGENTS.len()).collect();
        let able = GROUPS
            .iter()
            .find(|group| groups.first() == Some(&group.id))
            .and_then(|group| group.agents)
            .unwrap_or(&all_agents);
        let assignee = AGENTS.get(rng.pick(able)).filter(|_| !rng.one_in(6));
        let source = rng.pick(&["chat_window", "mail", "mail", "chat"]);
        let tags = if rng.one_in(3) {
            vec![rng.pick(&TAGS)]
        } else {
            Vec::new()
        };
        let rating = rng.one_in(3).then(|| !rng.one_in(4));
        let mut steps = steps(&mut rng, opened);
        steps.retain(|(at, _)| *at <= now);
        Self {
            seed,
            number,
            steps,
            source,
            groups,
            assignee,
            tags,
            rating,
        }
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

    /// The time of the first step of a kind.
    pub fn first(&self, step: TicketStep) -> Option<i64> {
        self.steps
            .iter()
            .find(|(_, happened)| *happened == step)
            .map(|(at, _)| *at)
    }

    /// `open`, `pending`, `solved` or `spam`.
    pub fn status(&self) -> &'static str {
        let last = self
            .steps
            .iter()
            .rev()
            .find(|(_, step)| *step != TicketStep::Note)
            .map(|(_, step)| *step);
        match last {
            Some(TicketStep::Answer) => "pending",
            Some(TicketStep::Solved) => "solved",
            Some(TicketStep::Spam) => "spam",
            _ => "open",
        }
    }

    /// The periods in which the ticket was not solved.
    pub fn open_spans(&self) -> Vec<(i64, Option<i64>)> {
        let mut spans = Vec::new();
        for (at, step) in &self.steps {
            match step {
                TicketStep::Opened | TicketStep::Reopened => spans.push((*at, None)),
                TicketStep::Solved | TicketStep::Spam => {
                    if let Some(last) = spans.last_mut() {
                        last.1 = Some(*at);
                    }
                }
                _ => {}
            }
        }
        spans
    }

    /// True is a good rating; `None` if the ticket is not rated, or not solved yet.
    pub fn rating(&self) -> Option<bool> {
        self.first(TicketStep::Solved).and(self.rating)
    }

    pub fn content(&self) -> TicketContent {
        let mut rng = SeededRng::new(self.seed, self.number, purpose::TICKET + 100);
        let name = if rng.one_in(6) {
            Cow::Borrowed(rng.pick(&ODD_NAMES))
        } else {
            Cow::Owned(format!(
                "{} {}",
                rng.pick(&FIRST_NAMES),
                rng.pick(&LAST_NAMES)
            ))
        };
        let subject = match rng.below(5) {
            0 => Cow::Borrowed(rng.pick(&ODD_LINES)),
            1 => Cow::Borrowed(""),
            _ => Cow::Owned(format!("Re: {}", rng.pick(&VISITOR_LINES))),
        };
        let say = |(_, step): &(i64, TicketStep)| match step {
            TicketStep::Opened | TicketStep::Reply => rng.pick(&VISITOR_LINES),
            TicketStep::Answer => rng.pick(&AGENT_LINES),
            TicketStep::Note => rng.pick(&ODD_LINES),
            TicketStep::Solved => "Status changed to solved",
            TicketStep::Reopened => "Status changed to open",
            TicketStep::Spam => "Status changed to spam",
        };
        TicketContent {
            name,
            mail: format!("visitor{}@example.com", self.number % 9_973),
            subject,
            messages: self.steps.iter().map(say).collect(),
        }
    }
}

/// All steps of a ticket: at most nine, each within a day of the one before except the first, so
/// within `LIFE`.
fn steps(rng: &mut SeededRng, opened: i64) -> Vec<(i64, TicketStep)> {
    let mut steps = vec![(opened, TicketStep::Opened)];
    let mut at = opened;
    let mut go_on = |rng: &mut SeededRng, step| {
        at += 60 + rng.below(70_000) as i64;
        steps.push((at, step));
    };
    if rng.one_in(30) {
        go_on(rng, TicketStep::Spam);
        return steps;
    }
    if rng.one_in(10) {
        return steps;
    }
    go_on(rng, TicketStep::Answer);
    if rng.one_in(4) {
        go_on(rng, TicketStep::Note);
    }
    if rng.one_in(2) {
        go_on(rng, TicketStep::Reply);
        go_on(rng, TicketStep::Answer);
    }
    if rng.one_in(4) {
        return steps;
    }
    go_on(rng, TicketStep::Solved);
    if rng.one_in(5) {
        go_on(rng, TicketStep::Reopened);
        go_on(rng, TicketStep::Answer);
        if rng.one_in(2) {
            go_on(rng, TicketStep::Solved);
        }
    }
    steps
}
