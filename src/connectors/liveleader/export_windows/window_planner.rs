//! Decides which consecutive windows are requested together, by the sizes of the answers so far.

use std::ops::Range;

use crate::connectors::Window;

/// The maximum number of windows in one request: a month of days.
const MAX_WINDOWS_PER_REQUEST: usize = 31;
/// An answer below the first size is small, one above the second is large, in bytes.
const SMALL_ANSWER_BYTES: u64 = 1 << 20;
const LARGE_ANSWER_BYTES: u64 = 8 << 20;

/// Decides which windows are requested together.
pub(super) struct WindowPlanner<'w> {
    windows: &'w [Window],
    next: usize,
    windows_per_request: usize,
}

impl<'w> WindowPlanner<'w> {
    pub fn new(windows: &'w [Window]) -> Self {
        Self {
            windows,
            next: 0,
            windows_per_request: 1,
        }
    }

    /// The next group of consecutive windows.
    pub fn next(&mut self) -> Option<Range<usize>> {
        let from = self.next;
        self.windows.get(from)?;
        let follows =
            |at: &usize| self.windows[at - 1].to.tomorrow().ok() == Some(self.windows[*at].from);
        self.next = from
            + 1
            + (from + 1..self.windows.len().min(from + self.windows_per_request))
                .take_while(follows)
                .count();
        Some(from..self.next)
    }

    /// Adapts the number of windows per request to the size of an answer.
    pub fn adapt(&mut self, bytes: u64) {
        if bytes < SMALL_ANSWER_BYTES {
            self.windows_per_request = (self.windows_per_request * 2).min(MAX_WINDOWS_PER_REQUEST);
        } else if bytes > LARGE_ANSWER_BYTES {
            self.windows_per_request = (self.windows_per_request / 2).max(1);
        }
    }

    /// The next request has one window, for example after an error.
    pub fn restart_small(&mut self) {
        self.windows_per_request = 1;
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn small_answers_grow_to_a_month_and_gaps_are_not_bridged() {
        let day = |d: i8| Window {
            from: date(2026, 10, d),
            to: date(2026, 10, d),
        };
        let windows: Vec<Window> = (1..=9).chain(12..=31).map(day).collect();
        let mut planner = WindowPlanner::new(&windows);
        let mut sizes = Vec::new();
        while let Some(range) = planner.next() {
            sizes.push(range.len());
            planner.adapt(10);
        }
        assert_eq!(sizes, [1, 2, 4, 2, 16, 4]);
        planner.adapt(LARGE_ANSWER_BYTES + 1);
        assert_eq!(planner.windows_per_request, 15);
        planner.adapt(SMALL_ANSWER_BYTES);
        assert_eq!(planner.windows_per_request, 15);
    }
}
