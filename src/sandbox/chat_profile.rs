//! The profile of a slot: properties that all chats of the slot share, such as agents, groups and
//! rating. It has everything that chats are filtered or counted by, so a filtered count is
//! arithmetic and a report generates no chat.

use super::chat::{SeededRng, purpose};
use super::people::{AGENTS, GROUPS, ROUTES, TAGS};

#[derive(Clone, Debug)]
pub struct ChatProfile {
    /// No agent answered.
    pub missed: bool,
    pub groups: &'static [u32],
    /// Indexes into `AGENTS`.
    pub agents: Vec<usize>,
    pub rating: &'static str,
    pub engagement: &'static str,
    /// Without duplicates.
    pub tags: Vec<&'static str>,
    pub goal: Option<GoalKind>,
    /// The chat waited in the queue first.
    pub queued: bool,
    /// The number of tickets that were created from the chat.
    pub tickets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoalKind {
    /// Reached with an order.
    Sale,
    Visit,
}

impl GoalKind {
    pub fn id(self) -> u32 {
        match self {
            Self::Sale => 1041,
            Self::Visit => 1043,
        }
    }
}

impl ChatProfile {
    pub fn make(seed: u64, slot: u64) -> Self {
        let mut rng = SeededRng::new(seed, slot, purpose::PROFILE);
        let groups = rng.pick(&ROUTES);
        let missed = rng.one_in(20);
        let all_agents: Vec<usize> = (0..AGENTS.len()).collect();
        let first = groups.first().copied().unwrap_or_default();
        let able = GROUPS
            .iter()
            .find(|group| group.id == first)
            .and_then(|group| group.agents)
            .unwrap_or(&all_agents);
        let count = if missed {
            0
        } else {
            1 + u64::from(rng.one_in(5)) + u64::from(rng.one_in(25))
        };
        let rating = rng.pick(&[
            "not_rated",
            "not_rated",
            "not_rated",
            "rated_good",
            "rated_good",
            "rated_bad",
        ]);
        let goal = rng.one_in(6).then(|| {
            if rng.one_in(2) {
                GoalKind::Sale
            } else {
                GoalKind::Visit
            }
        });
        let tags = if rng.one_in(3) { 1 + rng.below(2) } else { 0 };
        Self {
            missed,
            groups,
            agents: some_of(&mut rng, able, count),
            rating: if missed { "not_rated" } else { rating },
            engagement: rng.pick(&[
                "immediate_start",
                "immediate_start",
                "auto_invite",
                "manual_invite",
            ]),
            tags: some_of(&mut rng, &TAGS, tags),
            goal: if missed { None } else { goal },
            queued: rng.one_in(4),
            tickets: if rng.one_in(11) { 1 + rng.below(2) } else { 0 },
        }
    }

    /// The logins of the agents in the chat.
    pub fn logins(&self) -> impl Iterator<Item = &'static str> {
        self.agents.iter().map(|&at| AGENTS[at].login)
    }
}

/// Picks `count` random items and drops duplicates.
fn some_of<T: Copy + PartialEq>(rng: &mut SeededRng, of: &[T], count: u64) -> Vec<T> {
    let mut found = Vec::new();
    for _ in 0..count {
        let one = rng.pick(of);
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}
