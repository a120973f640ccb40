//! A chat in LiveLeader's view: with milliseconds, from the first message to the last, and with
//! data that LiveChat does not have. LiveLeader has only chats that were answered.

use std::borrow::Cow;

use super::chat::{SeededRng, purpose};
use super::people::{ORGANIZATIONS, PROVIDERS, SEARCHES};
use super::world::World;
use crate::clock::Millis;

#[derive(Clone, Debug)]
pub struct ChatSession {
    pub id: String,
    pub referrer: Option<&'static str>,
    /// The visitor's search term.
    pub keywords: Option<&'static str>,
    /// Email addresses without duplicates; never empty.
    pub operators: Vec<&'static str>,
    pub visitor_ip: String,
    pub start: Millis,
    pub stop: Millis,
    /// Whole seconds from start to stop.
    pub duration: i64,
    pub url: &'static str,
    /// `city`, `country`, `organization` and `isp`, as far as they are known.
    pub about: Vec<(&'static str, &'static str)>,
    /// Oldest first; never empty.
    pub messages: Vec<SessionMessage>,
    /// Selects among the formats of the document.
    pub variation: u64,
}

#[derive(Clone, Debug)]
pub struct SessionMessage {
    /// `visitor`, or an operator's email address.
    pub from: &'static str,
    pub at: Millis,
    /// Neither starts nor ends with white space, because that would be read as indentation.
    pub text: Cow<'static, str>,
    pub variation: u64,
}

impl ChatSession {
    /// `None` if the chat was not answered or is pending.
    pub fn of(world: &World, number: u64) -> Option<Self> {
        if world.profile(number).missed {
            return None;
        }
        let chat = world.chat(number);
        if chat.pending {
            return None;
        }
        let mut rng = SeededRng::new(world.seed(), number, purpose::SESSION);
        let messages: Vec<_> = (0..)
            .zip(chat.lines)
            .map(|(at, line)| SessionMessage {
                from: line.by.map_or("visitor", |agent| agent.login),
                at: line.at * 1_000 + millisecond(world.seed(), number, at),
                text: line.text,
                variation: SeededRng::new(world.seed(), number * 64 + at, purpose::SESSION)
                    .next_u64(),
            })
            .collect();
        let (start, stop) = (messages.first()?.at, messages.last()?.at);
        let place = chat.visitor.place;
        let mut about = Vec::new();
        if rng.one_in(3) {
            about.extend((!place.city.is_empty()).then_some(("city", place.city)));
            about.push(("country", place.country));
            about.extend(
                rng.one_in(2)
                    .then(|| ("organization", rng.pick(&ORGANIZATIONS))),
            );
            about.push(("isp", rng.pick(&PROVIDERS)));
        }
        Some(Self {
            id: id(world.seed(), number),
            referrer: chat.referrer,
            keywords: rng.one_in(4).then(|| rng.pick(&SEARCHES)),
            operators: chat.agents.iter().map(|agent| agent.login).collect(),
            visitor_ip: chat.visitor.ip,
            start,
            stop,
            duration: (stop - start) / 1_000,
            url: chat.page,
            about,
            messages,
            variation: chat.variation,
        })
    }
}

/// The milliseconds of message number `at` of a chat, in addition to its second. Those of the first
/// message are also those of the chat's start. A chat never has two messages in one second, so the
/// order of its messages stays.
pub fn millisecond(seed: u64, number: u64, at: u64) -> i64 {
    let mut rng = SeededRng::new(seed, number * 64 + at, purpose::MESSAGE);
    if rng.one_in(5) {
        0
    } else {
        rng.below(1_000) as i64
    }
}

/// Has the form of a UUID version 4. It contains all 64 bits of a bijective random value, so ids
/// are unique.
pub fn id(seed: u64, number: u64) -> String {
    let mut rng = SeededRng::new(seed, number, purpose::SESSION_ID);
    let (bits, rest) = (rng.next_u64(), rng.next_u64());
    let fourth = 0x8000 | (bits & 0xf) << 10 | (rest & 0x3ff);
    format!(
        "{:08x}-{:04x}-4{:03x}-{fourth:04x}-{:012x}",
        bits >> 32,
        bits >> 16 & 0xffff,
        bits >> 4 & 0xfff,
        rest >> 16
    )
}
