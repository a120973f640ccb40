//! Detects a run that makes no progress.

use crate::clock::Millis;

/// A pull without progress for this long is stopped.
pub(super) const STALLED_AFTER: Millis = 5 * 60_000;

/// Watches a value that changes with progress. Uses elapsed time, not the clock.
pub(super) struct StallDetector<T> {
    mark: T,
    moved_at: Millis,
    /// The previous check already found no progress for too long. A run is stalled only after two
    /// such checks, because a process that was paused may have data in its buffers.
    overdue: bool,
}

impl<T: Default + PartialEq> StallDetector<T> {
    pub fn new(passed: Millis) -> Self {
        Self {
            mark: T::default(),
            moved_at: passed,
            overdue: false,
        }
    }

    pub fn record_progress(&mut self, passed: Millis) {
        (self.moved_at, self.overdue) = (passed, false);
    }

    /// Returns whether the run is stalled. `may_idle`: it may be idle now, for example during a
    /// vendor's rate limit.
    pub fn is_stalled(&mut self, passed: Millis, mark: T, may_idle: bool) -> bool {
        if may_idle || mark != self.mark {
            self.mark = mark;
            self.record_progress(passed);
        }
        let before = std::mem::replace(&mut self.overdue, passed - self.moved_at >= STALLED_AFTER);
        before && self.overdue
    }
}
