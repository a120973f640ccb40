//! A chat as LiveLeader knows it: to the millisecond, from the first message to the last, and with what LiveChat does not tell. A chat that
//! nobody answered is none of LiveLeader's.

use std::borrow::Cow;

use super::chat::{Dice, purpose};
use super::people::{ORGANIZATIONS, PROVIDERS, SEARCHES};
use super::world::World;
use crate::clock::Millis;

#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub referrer: Option<&'static str>,
    /// What the visitor searched for.
    pub keywords: Option<&'static str>,
    /// E-mail addresses; each once, never empty.
    pub operators: Vec<&'static str>,
    pub visitor_ip: String,
    pub start: Millis,
    pub stop: Millis,
    /// Whole seconds from start to stop.
    pub duration: i64,
    pub url: &'static str,
    /// `city`, `country`, `organization` and `isp`, those that are told.
    pub about: Vec<(&'static str, &'static str)>,
    /// Oldest first; never empty.
    pub messages: Vec<Message>,
    /// For the writer's own choices.
    pub whim: u64,
}

#[derive(Clone, Debug)]
pub struct Message {
    /// `visitor`, or an operator's e-mail address.
    pub from: &'static str,
    pub at: Millis,
    /// Neither begins nor ends with white space, which is the indent's.
    pub text: Cow<'static, str>,
    pub whim: u64,
}

impl Session {
    /// None when nobody answered, or the chat still goes on.
    pub fn of(world: &World, number: u64) -> Option<Self> {
        if world.cast(number).missed {
            return None;
        }
        let chat = world.chat(number);
        if chat.pending {
            return None;
        }
        let mut dice = Dice::new(world.seed(), number, purpose::SESSION);
        let messages: Vec<_> = (0..)
            .zip(chat.lines)
            .map(|(at, line)| Message {
                from: line.by.map_or("visitor", |agent| agent.login),
                at: line.at * 1_000 + millisecond(world.seed(), number, at),
                text: line.text,
                whim: Dice::new(world.seed(), number * 64 + at, purpose::SESSION).throw(),
            })
            .collect();
        let (start, stop) = (messages.first()?.at, messages.last()?.at);
        let place = chat.visitor.place;
        let mut about = Vec::new();
        if dice.one_in(3) {
            about.extend((!place.city.is_empty()).then_some(("city", place.city)));
            about.push(("country", place.country));
            about.extend(dice.one_in(2).then(|| ("organization", dice.pick(&ORGANIZATIONS))));
            about.push(("isp", dice.pick(&PROVIDERS)));
        }
        Some(Self {
            id: id(world.seed(), number),
            referrer: chat.referrer,
            keywords: dice.one_in(4).then(|| dice.pick(&SEARCHES)),
            operators: chat.agents.iter().map(|agent| agent.login).collect(),
            visitor_ip: chat.visitor.ip,
            start,
            stop,
            duration: (stop - start) / 1_000,
            url: chat.page,
            about,
            messages,
            whim: chat.whim,
        })
    }
}

/// In which millisecond of its second message `at` of a chat was sent; the first one's is the start's. No second has two messages of a chat.
pub fn millisecond(seed: u64, number: u64, at: u64) -> i64 {
    let mut dice = Dice::new(seed, number * 64 + at, purpose::MESSAGE);
    if dice.one_in(5) { 0 } else { dice.below(1_000) as i64 }
}

/// Shaped as a UUID of version 4. All 64 bits of the throw are in it, and the throw is one to one, so no two numbers share an id.
pub fn id(seed: u64, number: u64) -> String {
    let mut dice = Dice::new(seed, number, purpose::SESSION_ID);
    let (bits, rest) = (dice.throw(), dice.throw());
    let fourth = 0x8000 | (bits & 0xf) << 10 | (rest & 0x3ff);
    format!("{:08x}-{:04x}-4{:03x}-{fourth:04x}-{:012x}", bits >> 32, bits >> 16 & 0xffff, bits >> 4 & 0xfff, rest >> 16)
}
