//! Logs recurring failures (of claims, heartbeats, schedules) once when they begin and once when
//! the work succeeds again, however often it is retried in between.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage;
use crate::error::Error;

/// The current failures. Cheap to clone; clones share their state.
#[derive(Clone, Debug)]
pub struct Outages(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The data directory, to report its free space.
    dir: PathBuf,
    failing: Mutex<HashMap<&'static str, Outage>>,
}

#[derive(Debug)]
struct Outage {
    code: &'static str,
    times: u64,
}

impl Outages {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(Arc::new(Inner {
            dir,
            failing: Mutex::default(),
        }))
    }

    /// Records that `what` (a sentence without its full stop: "a worker could not claim a run")
    /// failed. Logs it when it succeeded before or failed for another reason. Returns whether it
    /// was logged.
    pub fn record_failure(&self, what: &'static str, error: &Error) -> bool {
        let known = {
            let mut failing = self.failing();
            let times = failing
                .get(what)
                .filter(|before| before.code == error.code())
                .map_or(0, |before| before.times);
            failing.insert(
                what,
                Outage {
                    code: error.code(),
                    times: times + 1,
                },
            );
            times > 0
        };
        if !known {
            let advice = if error.code() == "storage_full" {
                format!(" {}", storage::advice(&self.0.dir))
            } else {
                String::new()
            };
            tracing::error!(
                cause = ?error.log_cause(),
                "{what}; Chatlake retries and does not log this again until it works: \
                 {error}{advice}"
            );
        }
        !known
    }

    /// Records that `what` succeeded. Logs it when it failed before.
    pub fn record_recovery(&self, what: &'static str) {
        let ended = {
            let mut failing = self.failing();
            if failing.is_empty() {
                return;
            }
            failing.remove(what)
        };
        if let Some(Outage { times, .. }) = ended {
            tracing::info!("works again after {times} failures: {what}");
        }
    }

    /// Calls `record_failure` or `record_recovery` by the result. Returns its value.
    pub fn track<T>(&self, what: &'static str, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(done) => {
                self.record_recovery(what);
                Some(done)
            }
            Err(error) => {
                self.record_failure(what, &error);
                None
            }
        }
    }

    fn failing(&self) -> MutexGuard<'_, HashMap<&'static str, Outage>> {
        self.0
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_fails_again_and_again_is_logged_once_until_it_works_or_the_reason_changes() {
        let outages = Outages::new("/".into());
        let full = || Error::new(ErrorKind::Unavailable, "storage_full", "full");
        assert!(outages.record_failure("a claim failed", &full()));
        for _ in 0..100 {
            assert!(!outages.clone().record_failure("a claim failed", &full()));
        }
        assert!(outages.record_failure("a schedule failed", &full()));
        assert!(outages.record_failure(
            "a claim failed",
            &Error::new(ErrorKind::Unavailable, "busy", "busy")
        ));
        assert!(!outages.record_failure(
            "a claim failed",
            &Error::new(ErrorKind::Unavailable, "busy", "busy")
        ));
        outages.record_recovery("a claim failed");
        assert!(outages.record_failure("a claim failed", &full()));
        assert!(!outages.record_failure("a schedule failed", &full()));
        assert_eq!(outages.track("a claim failed", Ok(1)), Some(1));
        assert_eq!(outages.track::<()>("a claim failed", Err(full())), None);
    }
}
