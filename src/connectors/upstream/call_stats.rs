//! The costs of a pull: API calls, bytes and waiting time. Waiting time counts once however many
//! requests wait, and not while a request is in flight, so it never exceeds the elapsed time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The counters of one `Upstream` and its clones.
#[derive(Default)]
pub(super) struct CallCounters {
    pub calls: AtomicU64,
    pub wait_clock: WaitClock,
    /// Bytes of answers, before decompression.
    pub received: AtomicU64,
}

/// The costs of all requests of one `Upstream` and its clones, with or without an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Requests that were sent, including repeated attempts.
    pub calls: u64,
    /// Time in which requests waited for the rate limit or because the vendor asked for it, and no
    /// request was in flight, in milliseconds.
    pub waited_ms: u64,
}

impl CallCounters {
    pub fn snapshot(&self) -> CallStats {
        let waited_ms = u64::try_from(self.wait_clock.total().as_millis()).unwrap_or(u64::MAX);
        CallStats {
            calls: self.calls.load(Ordering::Relaxed),
            waited_ms,
        }
    }
}

/// The waiting state of the requests of one `Upstream` and its clones, and the total waiting time
/// so far.
#[derive(Default)]
pub(super) struct WaitClock(Mutex<WaitState>);

#[derive(Default)]
struct WaitState {
    waiting: u32,
    in_flight: u32,
    /// The start of the current wait, if all requests wait.
    since: Option<Instant>,
    total: Duration,
}

impl WaitState {
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let at = Instant::now();
        if let Some(since) = self.since.take() {
            self.total += at.saturating_duration_since(since);
        }
        change(self);
        self.since = (self.waiting > 0 && self.in_flight == 0).then_some(at);
    }
}

/// A request that waits, until this guard is dropped.
pub(super) struct WaitGuard<'w>(&'w WaitClock);

/// A request in flight, until this guard is dropped.
pub(super) struct RequestGuard<'w>(&'w WaitClock);

impl WaitClock {
    /// Starts a wait for the rate limit or because the vendor asked for it.
    pub fn begin_wait(&self) -> WaitGuard<'_> {
        self.state().change(|state| state.waiting += 1);
        WaitGuard(self)
    }

    /// Starts a request.
    pub fn begin_request(&self) -> RequestGuard<'_> {
        self.state().change(|state| state.in_flight += 1);
        RequestGuard(self)
    }

    /// The total time in which a request waited and none was in flight. Never decreases.
    pub fn total(&self) -> Duration {
        let state = self.state();
        state.total + state.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn state(&self) -> MutexGuard<'_, WaitState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.state().change(|state| state.waiting -= 1);
    }
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.0.state().change(|state| state.in_flight -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn concurrent_waits_count_once_and_not_during_a_request() {
        let wait_clock = WaitClock::default();
        let pass = async |seconds| tokio::time::advance(Duration::from_secs(seconds)).await;
        let (first, second) = (wait_clock.begin_wait(), wait_clock.begin_wait());
        pass(3).await;
        assert_eq!(
            wait_clock.total().as_secs(),
            3,
            "two concurrent waits count once"
        );
        drop(first);
        let request = wait_clock.begin_request();
        pass(10).await;
        assert_eq!(wait_clock.total().as_secs(), 3, "a request is in flight");
        drop(request);
        pass(2).await;
        drop(second);
        pass(60).await;
        assert_eq!(wait_clock.total().as_secs(), 5, "nothing waits");
    }
}
