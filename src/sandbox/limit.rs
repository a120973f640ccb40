//! The vendor's rate limit: a maximum number of calls in any 60 seconds. Further calls get status
//! 429 with the seconds to wait and do not count.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::clock::Millis;

const MINUTE: Millis = 60_000;

/// The rate limit. Without a number there is none.
pub struct Limit {
    per_minute: Option<u32>,
    /// The times of the calls in the last minute.
    recent: Mutex<VecDeque<Millis>>,
}

impl Limit {
    pub fn new(per_minute: Option<u32>) -> Self {
        Self {
            per_minute,
            recent: Mutex::default(),
        }
    }

    /// Counts a call; `Err` is the number of seconds to wait.
    pub fn take(&self, now: Millis) -> Result<(), i64> {
        let Some(limit) = self.per_minute else {
            return Ok(());
        };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|at| at + MINUTE <= now) {
            recent.pop_front();
        }
        match recent.front() {
            Some(first) if recent.len() >= limit as usize => {
                Err((first + MINUTE - now + 999) / 1_000)
            }
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
    fn calls_beyond_the_limit_get_the_seconds_to_wait() {
        let limit = Limit::new(Some(2));
        assert_eq!(
            [0, 10_000, 20_500].map(|at| limit.take(at)),
            [Ok(()), Ok(()), Err(40)]
        );
        assert_eq!(
            [59_999, 60_000, 60_001].map(|at| limit.take(at)),
            [Err(1), Ok(()), Err(10)]
        );
        let free = Limit::new(None);
        assert!((0..1_000).all(|_| free.take(0).is_ok()));
    }
}
