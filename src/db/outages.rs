//! Work that is done again and again (claims, heartbeats, schedules) and fails again and again is logged once when it begins to fail and
//! once when it works again, however often it is tried meanwhile.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage;
use crate::error::Error;

/// What is failing just now. Cheap to clone; clones share what they know.
#[derive(Clone, Debug)]
pub struct Outages(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The data directory, for how much space there is.
    dir: PathBuf,
    failing: Mutex<HashMap<&'static str, Failing>>,
}

#[derive(Debug)]
struct Failing {
    code: &'static str,
    times: u64,
}

impl Outages {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(Arc::new(Inner { dir, failing: Mutex::default() }))
    }

    /// Notes that `what` (a sentence without its stop: "a worker could not claim a run") failed. Logs it when it worked before, or failed
    /// for another reason. Answers whether it was logged.
    pub fn failed(&self, what: &'static str, error: &Error) -> bool {
        let known = {
            let mut failing = self.failing();
            let times = failing.get(what).filter(|before| before.code == error.code()).map_or(0, |before| before.times);
            failing.insert(what, Failing { code: error.code(), times: times + 1 });
            times > 0
        };
        if !known {
            let advice = if error.code() == "storage_full" { format!(" {}", storage::advice(&self.0.dir)) } else { String::new() };
            tracing::error!(cause = ?error.inside(), "{what}; Chatlake retries and does not log this again until it works: {error}{advice}");
        }
        !known
    }

    /// Notes that `what` worked. Logs it when it failed before.
    pub fn ended(&self, what: &'static str) {
        let ended = {
            let mut failing = self.failing();
            if failing.is_empty() {
                return;
            }
            failing.remove(what)
        };
        if let Some(Failing { times, .. }) = ended {
            tracing::info!("works again after {times} failures: {what}");
        }
    }

    /// `failed` or `ended`, by the result, which is handed back.
    pub fn watched<T>(&self, what: &'static str, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(done) => {
                self.ended(what);
                Some(done)
            }
            Err(error) => {
                self.failed(what, &error);
                None
            }
        }
    }

    fn failing(&self) -> MutexGuard<'_, HashMap<&'static str, Failing>> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn what_fails_again_and_again_is_logged_once_until_it_works_or_the_reason_changes() {
        let outages = Outages::new("/".into());
        let full = || Error::new(Kind::Unavailable, "storage_full", "full");
        assert!(outages.failed("a claim failed", &full()));
        for _ in 0..100 {
            assert!(!outages.clone().failed("a claim failed", &full()));
        }
        assert!(outages.failed("a schedule failed", &full()));
        assert!(outages.failed("a claim failed", &Error::new(Kind::Unavailable, "busy", "busy")));
        assert!(!outages.failed("a claim failed", &Error::new(Kind::Unavailable, "busy", "busy")));
        outages.ended("a claim failed");
        assert!(outages.failed("a claim failed", &full()));
        assert!(!outages.failed("a schedule failed", &full()));
        assert_eq!(outages.watched("a claim failed", Ok(1)), Some(1));
        assert_eq!(outages.watched::<()>("a claim failed", Err(full())), None);
    }
}
