//! The progress of a shared read: remaining windows and the last checkpoint.

use crate::clock::Millis;
use crate::connectors::{Window, WindowCounts};
use crate::puller::queue::{CallStats, RunPlan};

pub(super) struct ReadProgress {
    pub plan: RunPlan,
    /// The positions that are still to be read, in order. The connector's window number n is
    /// `remaining[n]`.
    pub remaining: Vec<usize>,
    pub total: Option<u64>,
    pub checkpointed_at: Millis,
    /// No data arrived since the last finished window, and the read can continue after that window.
    pub settled: bool,
}

impl ReadProgress {
    /// `passed`: the monotonic time.
    pub fn new(plan: RunPlan, passed: Millis) -> Self {
        let total = plan
            .checkpointed
            .iter()
            .try_fold(0_u64, |sum, (_, counts)| Some(sum + counts.total?));
        Self {
            remaining: plan.remaining(),
            plan,
            total,
            checkpointed_at: passed,
            settled: false,
        }
    }

    /// The calls and waiting time of the checkpointed windows.
    pub fn call_stats(&self) -> CallStats {
        let sum = |of: fn(&WindowCounts) -> u64| {
            self.plan
                .checkpointed
                .iter()
                .map(|(_, counts)| of(counts))
                .sum()
        };
        CallStats {
            calls: sum(|t| t.calls),
            waited_ms: sum(|t| t.waited_ms),
        }
    }

    /// The window before the first remaining one; it is already read.
    pub fn window_before(&self) -> Option<Window> {
        self.plan
            .windows
            .get(self.remaining.first()?.checked_sub(1)?)
            .copied()
    }

    /// The position of the connector's window number `window`.
    pub fn position(&self, window: Option<usize>) -> usize {
        self.remaining
            .get(window.unwrap_or(0))
            .copied()
            .unwrap_or(0)
    }
}
