//! Notices what does not move any more.

use crate::clock::Millis;

/// A pull that makes no progress for so long is stopped.
pub(super) const STUCK_AFTER: Millis = 5 * 60_000;

/// Whether something still moves, told by a mark that changes as it does. By the time that passes, not by what the clock shows.
pub(super) struct Watch<T> {
    mark: T,
    moved_at: Millis,
    /// It had not moved for too long when it was last looked at. A process that was stopped for a while may find much in its buffers.
    overdue: bool,
}

impl<T: Default + PartialEq> Watch<T> {
    pub fn new(passed: Millis) -> Self {
        Self { mark: T::default(), moved_at: passed, overdue: false }
    }

    pub fn moved(&mut self, passed: Millis) {
        (self.moved_at, self.overdue) = (passed, false);
    }

    /// `excused`: there is a reason not to move.
    pub fn is_stuck(&mut self, passed: Millis, mark: T, excused: bool) -> bool {
        if excused || mark != self.mark {
            self.mark = mark;
            self.moved(passed);
        }
        let before = std::mem::replace(&mut self.overdue, passed - self.moved_at >= STUCK_AFTER);
        before && self.overdue
    }
}
