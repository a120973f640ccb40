//! The progress of a shared read: remaining windows and the last checkpoint.

use crate::clock::Millis;
use crate::connectors::{Window, WindowCounts};
use crate::puller::queue::{CallStats, RunPlan};

pub(super) struct ReadProgress {
    pub plan: RunPlan,
    /// The positions that are asked for, in order: what a connector calls window number n is `left[n]`.
    pub remaining: Vec<usize>,
    pub total: Option<u64>,
    pub checkpointed_at: Millis,
    /// No data arrived since the last finished window, and the read can continue after that window.
    pub settled: bool,
}

impl ReadProgress {
    /// `passed`: of the clock.
    pub fn new(plan: RunPlan, passed: Millis) -> Self {
        let total = plan.checkpointed.iter().try_fold(0_u64, |sum, (_, counts)| Some(sum + counts.total?));
        Self { remaining: plan.remaining(), plan, total, checkpointed_at: passed, settled: false }
    }

    /// What the windows cost that are there already.
    pub fn call_stats(&self) -> CallStats {
        let sum = |of: fn(&WindowCounts) -> u64| self.plan.checkpointed.iter().map(|(_, counts)| of(counts)).sum();
        CallStats { calls: sum(|t| t.calls), waited_ms: sum(|t| t.waited_ms) }
    }

    /// The window right before the first one that is left, which is there already.
    pub fn window_before(&self) -> Option<Window> {
        self.plan.windows.get(self.remaining.first()?.checked_sub(1)?).copied()
    }

    /// The position of the window that the connector means.
    pub fn position(&self, window: Option<usize>) -> usize {
        self.remaining.get(window.unwrap_or(0)).copied().unwrap_or(0)
    }
}
