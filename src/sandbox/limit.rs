//! The vendor's own limit: so many calls in any 60 seconds, and 429 with the seconds to wait beyond that. Refused calls count for nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::clock::Millis;

const MINUTE: Millis = 60_000;

/// See above. Without a number there is no limit.
pub struct Limit {
    per_minute: Option<u32>,
    /// When the calls of the last minute came.
    recent: Mutex<VecDeque<Millis>>,
}

impl Limit {
    pub fn new(per_minute: Option<u32>) -> Self {
        Self { per_minute, recent: Mutex::default() }
    }

    /// Counts a call at this moment; `Err` is how many seconds are too early.
    pub fn take(&self, now: Millis) -> Result<(), i64> {
        let Some(most) = self.per_minute else { return Ok(()) };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|at| at + MINUTE <= now) {
            recent.pop_front();
        }
        match recent.front() {
            Some(first) if recent.len() >= most as usize => Err((first + MINUTE - now + 999) / 1_000),
            _ => {
                recent.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_any_minute_and_then_a_wait() {
        let limit = Limit::new(Some(2));
        assert_eq!([0, 10_000, 20_500].map(|at| limit.take(at)), [Ok(()), Ok(()), Err(40)]);
        assert_eq!([59_999, 60_000, 60_001].map(|at| limit.take(at)), [Err(1), Ok(()), Err(10)]);
        let free = Limit::new(None);
        assert!((0..1_000).all(|_| free.take(0).is_ok()));
    }
}
