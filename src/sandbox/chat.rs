//! One chat of the sandbox's world, told without any vendor's words: `livechat` writes it the way LiveChat would. A chat is made from
//! its number each time somebody asks, always the same one, so an archive of a million costs no memory.

use std::borrow::Cow;

use super::cast::{Cast, GoalKind};
use super::people::{AGENT_LINES, AGENTS, Agent, CAMPAIGNS, FIRST_NAMES, LAST_NAMES, ODD_LINES, ODD_NAMES, PAGES, PLACES, Place, USER_AGENTS, VISITOR_LINES};
use super::ticket;

/// What everything is made from: the same seed, number and purpose give the same throws on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// `purpose` keeps two decisions about the same chat apart, so that one can be looked up without making the other.
    pub fn new(seed: u64, number: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(number.wrapping_add(purpose.rotate_left(48)))))
    }

    /// The next throw (SplitMix64).
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 up to `sides`, not included. `sides` must not be 0.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.throw() % sides
    }

    /// True once in `sides` times.
    pub fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    /// One of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a decision about a chat is for; see `Dice::new`.
pub mod purpose {
    pub const START: u64 = 1;
    pub const LENGTH: u64 = 2;
    pub const CONTENT: u64 = 3;
    pub const BLOCK: u64 = 4;
    pub const CAST: u64 = 5;
    pub const HOUR: u64 = 6;
    pub const WEEK: u64 = 7;
    pub const SECONDS: u64 = 8;
    pub const QUEUE: u64 = 9;
    pub const SALE: u64 = 10;
    pub const RESPONSE: u64 = 11;
    pub const TICKET: u64 = 12;
    pub const VISITOR: u64 = 13;
    pub const SHIFT: u64 = 14;
    pub const GREETING: u64 = 15;
    pub const MUTATE: u64 = 16;
    pub const SESSION: u64 = 17;
    pub const SESSION_ID: u64 = 18;
    pub const MESSAGE: u64 = 19;
}

#[derive(Debug)]
pub struct Chat {
    pub id: String,
    /// Unix seconds.
    pub started: i64,
    pub ended: i64,
    /// Nobody answered: no agents and one message.
    pub missed: bool,
    pub pending: bool,
    pub visitor: Visitor,
    pub agents: Vec<&'static Agent>,
    pub supervisors: Vec<&'static Agent>,
    /// Ids of groups; never empty.
    pub groups: &'static [u32],
    pub rating: &'static str,
    pub page: &'static str,
    pub referrer: Option<&'static str>,
    pub before: Vec<Answer>,
    pub after: Vec<Answer>,
    pub variables: Option<Vec<(&'static str, Cow<'static, str>)>>,
    pub goals: Vec<Goal>,
    pub queued_seconds: Option<u64>,
    pub tags: Vec<&'static str>,
    pub tickets: Vec<String>,
    pub lines: Vec<Line>,
    /// Addresses of files the visitor attached after the last line.
    pub files: Vec<String>,
    pub engagement: &'static str,
    /// For the writer's own choices: which of several shapes the vendor is known to use.
    pub whim: u64,
}

#[derive(Debug)]
pub struct Visitor {
    pub id: String,
    pub name: Cow<'static, str>,
    pub email: Option<String>,
    pub ip: String,
    pub place: &'static Place,
    pub user_agent: &'static str,
}

/// An answer of a survey.
#[derive(Debug)]
pub struct Answer {
    pub key: &'static str,
    pub value: Cow<'static, str>,
    pub id: u64,
}

#[derive(Debug)]
pub struct Goal {
    pub id: u32,
    pub name: &'static str,
    pub at: i64,
    pub order: Option<Order>,
}

#[derive(Debug)]
pub struct Order {
    pub id: String,
    pub description: &'static str,
    pub price: String,
    pub currency: &'static str,
}

/// Something that was said.
#[derive(Debug)]
pub struct Line {
    /// Unix seconds.
    pub at: i64,
    /// The visitor when nobody.
    pub by: Option<&'static Agent>,
    pub text: Cow<'static, str>,
}

/// What the world has settled about a chat before it is made.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'a> {
    pub number: u64,
    pub started: i64,
    /// How long it lasts, or has lasted by now.
    pub seconds: u64,
    pub pending: bool,
    pub cast: &'a Cast,
    pub messages: u64,
    /// The number of the newest ticket before it.
    pub ticket: u64,
}

/// The id of chat `number`: ten letters and digits, different for different numbers below 2^40.
pub fn id(seed: u64, number: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    const ALL: u64 = (1 << 40) - 1;
    // Odd factor and xor-shift are one to one on 40 bits.
    let mut bits = number.wrapping_mul(0x5d_95f3_4c1d).wrapping_add(mix(seed)) & ALL;
    bits = (bits ^ (bits >> 19)).wrapping_mul(0x9e_3779_b97b) & ALL;
    let mut id = String::with_capacity(10);
    id.push_str("SB");
    id.extend((0..8).rev().map(|place| char::from(DIGITS[(bits >> (place * 5) & 31) as usize])));
    id
}

impl Chat {
    pub fn make(seed: u64, outline: &Outline<'_>) -> Chat {
        let mut dice = Dice::new(seed, outline.number, purpose::CONTENT);
        let (number, cast) = (outline.number, outline.cast);
        let agents: Vec<_> = cast.agents.iter().map(|&at| &AGENTS[at]).collect();
        let visitor = Visitor::make(&mut dice);
        let ended = outline.started + outline.seconds as i64;
        let answered = !cast.missed;
        Chat {
            id: id(seed, outline.number),
            started: outline.started,
            ended,
            missed: cast.missed,
            pending: outline.pending,
            lines: lines(&mut dice, outline, &agents),
            supervisors: if answered && dice.one_in(23) { vec![&AGENTS[1]] } else { Vec::new() },
            groups: cast.groups,
            rating: cast.rating,
            page: dice.pick(&PAGES),
            referrer: dice.one_in(3).then(|| dice.pick(&["https://www.example.com/", "https://search.example.com/?q=sko%2C+str.+42"])),
            before: survey_before(&mut dice, &visitor),
            after: if answered && dice.one_in(4) { survey_after(&mut dice) } else { Vec::new() },
            variables: dice.one_in(3).then(|| variables(&mut dice)),
            goals: cast.goal.map(|kind| goal(&mut dice, kind, seed, number, ended)).into_iter().collect(),
            queued_seconds: cast.queued.then(|| queue_seconds(seed, number)),
            tags: cast.tags.clone(),
            tickets: (0..cast.tickets).map(|back| ticket::id(seed, outline.ticket.saturating_sub(back))).collect(),
            files: if answered && dice.one_in(13) { vec![format!("https://files.sandbox.test/{}/skjermbilde%20%231.png", outline.number)] } else { Vec::new() },
            engagement: cast.engagement,
            agents,
            visitor,
            whim: dice.throw(),
        }
    }
}

impl Visitor {
    fn make(dice: &mut Dice) -> Self {
        let number = dice.below(1_000_000_007);
        let name = match dice.below(20) {
            0..=3 => Cow::Borrowed(dice.pick(&ODD_NAMES)),
            4 => Cow::Borrowed("Visitor"),
            _ => Cow::Owned(format!("{} {}", dice.pick(&FIRST_NAMES), dice.pick(&LAST_NAMES))),
        };
        let email = (!dice.one_in(3)).then(|| format!("visitor{number}@example.com"));
        let ip = if dice.one_in(10) {
            format!("2001:db8::{:x}:{:x}", dice.below(65_536), dice.below(65_536))
        } else {
            format!("{}.{}", dice.pick(&["192.0.2", "198.51.100", "203.0.113"]), dice.below(256))
        };
        Self {
            id: format!("S{number}.{:08x}", dice.throw() as u32),
            name,
            email,
            ip,
            place: &PLACES[dice.below(PLACES.len() as u64) as usize],
            user_agent: dice.pick(&USER_AGENTS),
        }
    }
}

/// The visitor begins; then it is mostly turn by turn, several agents sharing their turns.
fn lines(dice: &mut Dice, outline: &Outline<'_>, agents: &[&'static Agent]) -> Vec<Line> {
    let (count, seconds) = (outline.messages, outline.seconds);
    (0..count)
        .map(|at| {
            let by = if at == 0 || agents.is_empty() || dice.below(5) < 2 { None } else { Some(agents[(at * agents.len() as u64 / count) as usize]) };
            let text = match (dice.below(24), by) {
                (0..=1, _) => Cow::Borrowed(dice.pick(&ODD_LINES)),
                (2, None) => {
                    Cow::Owned(format!("My order number is {}, placed on {:02}/{:02}.", dice.below(10_000_000), 1 + dice.below(12), 1 + dice.below(28)))
                }
                (2, Some(agent)) => Cow::Owned(format!("My name is {}, ticket #{}.", agent.name, dice.below(100_000))),
                (_, None) => Cow::Borrowed(dice.pick(&VISITOR_LINES)),
                (_, Some(_)) => Cow::Borrowed(dice.pick(&AGENT_LINES)),
            };
            Line { at: outline.started + (seconds * at / count) as i64, by, text }
        })
        .collect()
}

fn survey_before(dice: &mut Dice, visitor: &Visitor) -> Vec<Answer> {
    if dice.one_in(3) {
        return Vec::new();
    }
    let mut answers = vec![Answer { key: "Name:", value: visitor.name.clone(), id: 2001 }];
    if let Some(email) = &visitor.email {
        answers.push(Answer { key: "E-mail:", value: Cow::Owned(email.clone()), id: 2002 });
    }
    if dice.one_in(2) {
        answers.push(Answer { key: "Ordrenummer, \"hvis du har\":", value: Cow::Owned(dice.below(10_000_000).to_string()), id: 2003 });
    }
    answers
}

fn survey_after(dice: &mut Dice) -> Vec<Answer> {
    vec![
        Answer { key: "Were you satisfied?", value: Cow::Borrowed(dice.pick(&["Yes", "No", "Så som så"])), id: 3001 },
        Answer { key: "What could we do better?", value: Cow::Borrowed(dice.pick(&["", "Faster answers", "Nothing!\nYou were great", "=A1"])), id: 3002 },
    ]
}

fn variables(dice: &mut Dice) -> Vec<(&'static str, Cow<'static, str>)> {
    let mut variables = vec![("customer_id", Cow::Owned(dice.below(1 << 50).to_string())), ("campaign", Cow::Borrowed(dice.pick(&CAMPAIGNS)))];
    if dice.one_in(5) {
        // The same key twice is allowed.
        variables.push(("campaign", Cow::Borrowed(dice.pick(&CAMPAIGNS))));
    }
    variables
}

fn goal(dice: &mut Dice, kind: GoalKind, seed: u64, number: u64, at: i64) -> Goal {
    if kind == GoalKind::Visit {
        return Goal { id: kind.id(), name: "Read the guide", at, order: None };
    }
    let (cents, currency) = sale(seed, number);
    let order = Order {
        id: format!("NO-{}", dice.below(1_000_000)),
        description: dice.pick(&["Sko, blå", "Gift card \"50\"", ""]),
        price: format!("{}.{:02}", cents / 100, cents % 100),
        currency,
    };
    Goal { id: kind.id(), name: "Bought something", at, order: Some(order) }
}

/// What was sold in a chat with that goal: hundredths, and of what.
pub fn sale(seed: u64, number: u64) -> (u64, &'static str) {
    let mut dice = Dice::new(seed, number, purpose::SALE);
    (dice.below(500_000), dice.pick(&["NOK", "EUR", "JPY"]))
}

/// How long the visitor of a chat that was queued waited.
pub fn queue_seconds(seed: u64, number: u64) -> u64 {
    Dice::new(seed, number, purpose::QUEUE).below(600)
}

/// How long a chat lasts in the end; at most 2,430 seconds.
pub fn seconds(seed: u64, number: u64, missed: bool) -> u64 {
    let mut dice = Dice::new(seed, number, purpose::SECONDS);
    if missed { 1 + dice.below(20) } else { 30 + dice.below(2_400) }
}
