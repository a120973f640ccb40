//! The visitors who are on the site now. They change every ten minutes.

use std::borrow::Cow;

use super::chat::{SeededRng, purpose};
use super::people::{
    AGENTS, Agent, FIRST_NAMES, GROUPS, LAST_NAMES, ODD_NAMES, PAGES, PLACES, Place,
};

const STAY: i64 = 600;
const MAX_VISITORS: u64 = 45;

#[derive(Debug)]
pub struct OnSite {
    pub id: String,
    pub name: Cow<'static, str>,
    pub ip: String,
    pub place: &'static Place,
    /// `browsing`, `chatting`, `queued` ...
    pub state: &'static str,
    pub group: u32,
    pub operators: Vec<&'static Agent>,
    /// Question and answer.
    pub survey: Vec<(&'static str, Cow<'static, str>)>,
    pub variables: Option<&'static str>,
    /// Unix seconds and page, oldest first; never empty.
    pub path: Vec<(i64, &'static str)>,
    /// Selects among the formats of the vendor.
    pub variation: u64,
}

/// All current visitors; `now` in unix seconds.
pub fn on_site(seed: u64, now: i64) -> Vec<OnSite> {
    let slot = now.div_euclid(STAY);
    let count = 12 + SeededRng::new(seed, slot as u64, purpose::VISITOR).below(MAX_VISITORS - 12);
    (0..count).map(|at| OnSite::make(seed, slot, at)).collect()
}

impl OnSite {
    fn make(seed: u64, slot: i64, at: u64) -> Self {
        let mut rng = SeededRng::new(seed, slot as u64 * 64 + at, purpose::VISITOR + 100);
        let state = rng.pick(&[
            "browsing",
            "browsing",
            "browsing",
            "chatting",
            "logging into chat",
            "queued",
            "invited",
            "refused invitation",
            "chat closed",
        ]);
        let name = if rng.one_in(4) {
            Cow::Borrowed(rng.pick(&ODD_NAMES))
        } else {
            Cow::Owned(format!(
                "{} {}",
                rng.pick(&FIRST_NAMES),
                rng.pick(&LAST_NAMES)
            ))
        };
        let talks = matches!(state, "chatting" | "chat closed");
        let operators = if talks { 1 + rng.below(2) } else { 0 };
        let first = rng.below(AGENTS.len() as u64 - 1);
        let survey = if talks || state == "queued" {
            vec![
                ("Name:", name.clone()),
                (
                    "Ordrenummer, \"hvis du har\":",
                    Cow::Owned(rng.below(1_000_000).to_string()),
                ),
            ]
        } else {
            Vec::new()
        };
        let steps = 1 + rng.below(6) as i64;
        let begun = slot * STAY - 60 * steps;
        Self {
            id: format!(
                "S{}.{:08x}",
                rng.below(1_000_000_007),
                rng.next_u64() as u32
            ),
            name,
            ip: format!("198.51.100.{}", rng.below(256)),
            place: &PLACES[rng.below(PLACES.len() as u64) as usize],
            state,
            group: GROUPS[rng.below(GROUPS.len() as u64) as usize].id,
            operators: (0..operators)
                .map(|more| &AGENTS[(first + more) as usize])
                .collect(),
            survey,
            variables: rng.one_in(3).then(|| rng.pick(&["gold", "=silver", ""])),
            path: (0..steps)
                .map(|step| (begun + 60 * step, rng.pick(&PAGES)))
                .collect(),
            variation: rng.next_u64(),
        }
    }
}
