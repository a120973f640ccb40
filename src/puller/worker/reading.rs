//! How far the reading of a set of runs is.

use crate::clock::Millis;
use crate::connectors::{Tally, Window};
use crate::puller::queue::{Plan, Spent};

pub(super) struct Reading {
    pub plan: Plan,
    /// The positions that are asked for, in order: what a connector calls window number n is `left[n]`.
    pub left: Vec<usize>,
    pub total: Option<u64>,
    pub kept_at: Millis,
    /// Nothing came since a window was done behind which the reading can go on.
    pub settled: bool,
}

impl Reading {
    /// `passed`: of the clock.
    pub fn new(plan: Plan, passed: Millis) -> Self {
        let total = plan.kept.iter().try_fold(0_u64, |sum, (_, tally)| Some(sum + tally.total?));
        Self { left: plan.left(), plan, total, kept_at: passed, settled: false }
    }

    /// What the windows cost that are there already.
    pub fn spent(&self) -> Spent {
        let sum = |of: fn(&Tally) -> u64| self.plan.kept.iter().map(|(_, tally)| of(tally)).sum();
        Spent { calls: sum(|t| t.calls), waited_ms: sum(|t| t.waited_ms) }
    }

    /// The window right before the first one that is left, which is there already.
    pub fn behind(&self) -> Option<Window> {
        self.plan.windows.get(self.left.first()?.checked_sub(1)?).copied()
    }

    /// The position of the window that the connector means.
    pub fn position(&self, window: Option<usize>) -> usize {
        self.left.get(window.unwrap_or(0)).copied().unwrap_or(0)
    }
}
