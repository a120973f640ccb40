//! What is the same for all chats of a slot: who takes them, where they are routed, how they are rated. Whatever a chat is filtered or
//! counted by is here, so that a filtered count is arithmetic and a report needs no chat to be made.

use super::chat::{Dice, purpose};
use super::people::{AGENTS, GROUPS, ROUTES, TAGS};

#[derive(Clone, Debug)]
pub struct Cast {
    /// Nobody answered.
    pub missed: bool,
    pub groups: &'static [u32],
    /// Positions in `AGENTS`.
    pub agents: Vec<usize>,
    pub rating: &'static str,
    pub engagement: &'static str,
    /// Each once.
    pub tags: Vec<&'static str>,
    pub goal: Option<GoalKind>,
    /// It waited in the queue first.
    pub queued: bool,
    /// How many tickets came of it.
    pub tickets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoalKind {
    /// Told with an order.
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

impl Cast {
    pub fn make(seed: u64, slot: u64) -> Self {
        let mut dice = Dice::new(seed, slot, purpose::CAST);
        let groups = dice.pick(&ROUTES);
        let missed = dice.one_in(20);
        let everybody: Vec<usize> = (0..AGENTS.len()).collect();
        let first = groups.first().copied().unwrap_or_default();
        let able = GROUPS.iter().find(|group| group.id == first).and_then(|group| group.agents).unwrap_or(&everybody);
        let count = if missed { 0 } else { 1 + u64::from(dice.one_in(5)) + u64::from(dice.one_in(25)) };
        let rating = dice.pick(&["not_rated", "not_rated", "not_rated", "rated_good", "rated_good", "rated_bad"]);
        let goal = dice.one_in(6).then(|| if dice.one_in(2) { GoalKind::Sale } else { GoalKind::Visit });
        let tags = if dice.one_in(3) { 1 + dice.below(2) } else { 0 };
        Self {
            missed,
            groups,
            agents: some_of(&mut dice, able, count),
            rating: if missed { "not_rated" } else { rating },
            engagement: dice.pick(&["immediate_start", "immediate_start", "auto_invite", "manual_invite"]),
            tags: some_of(&mut dice, &TAGS, tags),
            goal: if missed { None } else { goal },
            queued: dice.one_in(4),
            tickets: if dice.one_in(11) { 1 + dice.below(2) } else { 0 },
        }
    }

    /// The logins of those who take part.
    pub fn logins(&self) -> impl Iterator<Item = &'static str> {
        self.agents.iter().map(|&at| AGENTS[at].login)
    }
}

/// So many throws, each find once.
fn some_of<T: Copy + PartialEq>(dice: &mut Dice, of: &[T], throws: u64) -> Vec<T> {
    let mut found = Vec::new();
    for _ in 0..throws {
        let one = dice.pick(of);
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}
