//! One chat of the sandbox's world, independent of a vendor; `livechat` serializes it in LiveChat's
//! format. A chat is generated from its number on each request, always the same one, so an archive
//! of a million chats uses no memory.

use std::borrow::Cow;

use super::chat_profile::{ChatProfile, GoalKind};
use super::people::{
    AGENT_LINES, AGENTS, Agent, CAMPAIGNS, FIRST_NAMES, LAST_NAMES, ODD_LINES, ODD_NAMES, PAGES,
    PLACES, Place, USER_AGENTS, VISITOR_LINES,
};
use super::ticket;

/// The source of all random decisions: the same seed, number and purpose give the same values on
/// every machine.
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    /// `purpose` separates decisions about the same chat, so that one can be made without the
    /// others.
    pub fn new(seed: u64, number: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(number.wrapping_add(purpose.rotate_left(48)))))
    }

    /// The next value (SplitMix64).
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `sides`, which must not be 0.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.next_u64() % sides
    }

    /// True in one of `sides` cases.
    pub fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    /// A random item of a list, which must not be empty.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The purposes of decisions about a chat; see `SeededRng::new`.
pub mod purpose {
    pub const START: u64 = 1;
    pub const LENGTH: u64 = 2;
    pub const CONTENT: u64 = 3;
    pub const BLOCK: u64 = 4;
    pub const PROFILE: u64 = 5;
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
    /// No agent answered: the chat has no agents and one message.
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
    pub before: Vec<SurveyAnswer>,
    pub after: Vec<SurveyAnswer>,
    pub variables: Option<Vec<(&'static str, Cow<'static, str>)>>,
    pub goals: Vec<ReachedGoal>,
    pub queued_seconds: Option<u64>,
    pub tags: Vec<&'static str>,
    pub tickets: Vec<String>,
    pub lines: Vec<ChatLine>,
    /// URLs of files that the visitor attached after the last line.
    pub files: Vec<String>,
    pub engagement: &'static str,
    /// Selects among the formats that the vendor is known to use.
    pub variation: u64,
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

/// An answer in a survey.
#[derive(Debug)]
pub struct SurveyAnswer {
    pub key: &'static str,
    pub value: Cow<'static, str>,
    pub id: u64,
}

#[derive(Debug)]
pub struct ReachedGoal {
    pub id: u32,
    pub name: &'static str,
    pub at: i64,
    pub order: Option<GoalOrder>,
}

#[derive(Debug)]
pub struct GoalOrder {
    pub id: String,
    pub description: &'static str,
    pub price: String,
    pub currency: &'static str,
}

/// A message or an event with text.
#[derive(Debug)]
pub struct ChatLine {
    /// Unix seconds.
    pub at: i64,
    /// `None` is the visitor.
    pub by: Option<&'static Agent>,
    pub text: Cow<'static, str>,
}

/// The properties of a chat that are decided before it is generated.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'a> {
    pub number: u64,
    pub started: i64,
    /// The duration of the chat, so far if it is pending.
    pub seconds: u64,
    pub pending: bool,
    pub profile: &'a ChatProfile,
    pub messages: u64,
    /// The number of the newest ticket before the chat.
    pub ticket: u64,
}

/// The id of chat `number`: ten letters and digits, unique for numbers below 2^40.
pub fn id(seed: u64, number: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    const ALL: u64 = (1 << 40) - 1;
    // Multiplication by an odd factor and xor-shift are bijections on 40 bits.
    let mut bits = number.wrapping_mul(0x5d_95f3_4c1d).wrapping_add(mix(seed)) & ALL;
    bits = (bits ^ (bits >> 19)).wrapping_mul(0x9e_3779_b97b) & ALL;
    let mut id = String::with_capacity(10);
    id.push_str("SB");
    id.extend(
        (0..8)
            .rev()
            .map(|place| char::from(DIGITS[(bits >> (place * 5) & 31) as usize])),
    );
    id
}

impl Chat {
    pub fn make(seed: u64, outline: &Outline<'_>) -> Chat {
        let mut rng = SeededRng::new(seed, outline.number, purpose::CONTENT);
        let (number, profile) = (outline.number, outline.profile);
        let agents: Vec<_> = profile.agents.iter().map(|&at| &AGENTS[at]).collect();
        let visitor = Visitor::make(&mut rng);
        let ended = outline.started + outline.seconds as i64;
        let answered = !profile.missed;
        Chat {
            id: id(seed, outline.number),
            started: outline.started,
            ended,
            missed: profile.missed,
            pending: outline.pending,
            lines: lines(&mut rng, outline, &agents),
            supervisors: if answered && rng.one_in(23) {
                vec![&AGENTS[1]]
            } else {
                Vec::new()
            },
            groups: profile.groups,
            rating: profile.rating,
            page: rng.pick(&PAGES),
            referrer: rng.one_in(3).then(|| {
                rng.pick(&[
                    "https://www.example.com/",
                    "https://search.example.com/?q=sko%2C+str.+42",
                ])
            }),
            before: survey_before(&mut rng, &visitor),
            after: if answered && rng.one_in(4) {
                survey_after(&mut rng)
            } else {
                Vec::new()
            },
            variables: rng.one_in(3).then(|| variables(&mut rng)),
            goals: profile
                .goal
                .map(|kind| goal(&mut rng, kind, seed, number, ended))
                .into_iter()
                .collect(),
            queued_seconds: profile.queued.then(|| queue_seconds(seed, number)),
            tags: profile.tags.clone(),
            tickets: (0..profile.tickets)
                .map(|back| ticket::id(seed, outline.ticket.saturating_sub(back)))
                .collect(),
            files: if answered && rng.one_in(13) {
                vec![format!(
                    "https://files.sandbox.test/{}/skjermbilde%20%231.png",
                    outline.number
                )]
            } else {
                Vec::new()
            },
            engagement: profile.engagement,
            agents,
            visitor,
            variation: rng.next_u64(),
        }
    }
}

impl Visitor {
    fn make(rng: &mut SeededRng) -> Self {
        let number = rng.below(1_000_000_007);
        let name = match rng.below(20) {
            0..=3 => Cow::Borrowed(rng.pick(&ODD_NAMES)),
            4 => Cow::Borrowed("Visitor"),
            _ => Cow::Owned(format!(
                "{} {}",
                rng.pick(&FIRST_NAMES),
                rng.pick(&LAST_NAMES)
            )),
        };
        let email = (!rng.one_in(3)).then(|| format!("visitor{number}@example.com"));
        let ip = if rng.one_in(10) {
            format!("2001:db8::{:x}:{:x}", rng.below(65_536), rng.below(65_536))
        } else {
            format!(
                "{}.{}",
                rng.pick(&["192.0.2", "198.51.100", "203.0.113"]),
                rng.below(256)
            )
        };
        Self {
            id: format!("S{number}.{:08x}", rng.next_u64() as u32),
            name,
            email,
            ip,
            place: &PLACES[rng.below(PLACES.len() as u64) as usize],
            user_agent: rng.pick(&USER_AGENTS),
        }
    }
}

/// The visitor writes first; then visitor and agents mostly alternate.
fn lines(rng: &mut SeededRng, outline: &Outline<'_>, agents: &[&'static Agent]) -> Vec<ChatLine> {
    let (count, seconds) = (outline.messages, outline.seconds);
    (0..count)
        .map(|at| {
            let by = if at == 0 || agents.is_empty() || rng.below(5) < 2 {
                None
            } else {
                Some(agents[(at * agents.len() as u64 / count) as usize])
            };
            let text = match (rng.below(24), by) {
                (0..=1, _) => Cow::Borrowed(rng.pick(&ODD_LINES)),
                (2, None) => Cow::Owned(format!(
                    "My order number is {}, placed on {:02}/{:02}.",
                    rng.below(10_000_000),
                    1 + rng.below(12),
                    1 + rng.below(28)
                )),
                (2, Some(agent)) => Cow::Owned(format!(
                    "My name is {}, ticket #{}.",
                    agent.name,
                    rng.below(100_000)
                )),
                (_, None) => Cow::Borrowed(rng.pick(&VISITOR_LINES)),
                (_, Some(_)) => Cow::Borrowed(rng.pick(&AGENT_LINES)),
            };
            ChatLine {
                at: outline.started + (seconds * at / count) as i64,
                by,
                text,
            }
        })
        .collect()
}

fn survey_before(rng: &mut SeededRng, visitor: &Visitor) -> Vec<SurveyAnswer> {
    if rng.one_in(3) {
        return Vec::new();
    }
    let mut answers = vec![SurveyAnswer {
        key: "Name:",
        value: visitor.name.clone(),
        id: 2001,
    }];
    if let Some(email) = &visitor.email {
        answers.push(SurveyAnswer {
            key: "E-mail:",
            value: Cow::Owned(email.clone()),
            id: 2002,
        });
    }
    if rng.one_in(2) {
        answers.push(SurveyAnswer {
            key: "Ordrenummer, \"hvis du har\":",
            value: Cow::Owned(rng.below(10_000_000).to_string()),
            id: 2003,
        });
    }
    answers
}

fn survey_after(rng: &mut SeededRng) -> Vec<SurveyAnswer> {
    vec![
        SurveyAnswer {
            key: "Were you satisfied?",
            value: Cow::Borrowed(rng.pick(&["Yes", "No", "Så som så"])),
            id: 3001,
        },
        SurveyAnswer {
            key: "What could we do better?",
            value: Cow::Borrowed(rng.pick(&[
                "",
                "Faster answers",
                "Nothing!\nYou were great",
                "=A1",
            ])),
            id: 3002,
        },
    ]
}

fn variables(rng: &mut SeededRng) -> Vec<(&'static str, Cow<'static, str>)> {
    let mut variables = vec![
        ("customer_id", Cow::Owned(rng.below(1 << 50).to_string())),
        ("campaign", Cow::Borrowed(rng.pick(&CAMPAIGNS))),
    ];
    if rng.one_in(5) {
        // The same key twice is allowed.
        variables.push(("campaign", Cow::Borrowed(rng.pick(&CAMPAIGNS))));
    }
    variables
}

fn goal(rng: &mut SeededRng, kind: GoalKind, seed: u64, number: u64, at: i64) -> ReachedGoal {
    if kind == GoalKind::Visit {
        return ReachedGoal {
            id: kind.id(),
            name: "Read the guide",
            at,
            order: None,
        };
    }
    let (cents, currency) = sale(seed, number);
    let order = GoalOrder {
        id: format!("NO-{}", rng.below(1_000_000)),
        description: rng.pick(&["Sko, blå", "Gift card \"50\"", ""]),
        price: format!("{}.{:02}", cents / 100, cents % 100),
        currency,
    };
    ReachedGoal {
        id: kind.id(),
        name: "Bought something",
        at,
        order: Some(order),
    }
}

/// The sale of a chat with that goal: hundredths of the currency unit, and the currency.
pub fn sale(seed: u64, number: u64) -> (u64, &'static str) {
    let mut rng = SeededRng::new(seed, number, purpose::SALE);
    (rng.below(500_000), rng.pick(&["NOK", "EUR", "JPY"]))
}

/// How long the visitor of a queued chat waited.
pub fn queue_seconds(seed: u64, number: u64) -> u64 {
    SeededRng::new(seed, number, purpose::QUEUE).below(600)
}

/// The final duration of a chat; at most 2,430 seconds.
pub fn seconds(seed: u64, number: u64, missed: bool) -> u64 {
    let mut rng = SeededRng::new(seed, number, purpose::SECONDS);
    if missed {
        1 + rng.below(20)
    } else {
        30 + rng.below(2_400)
    }
}
