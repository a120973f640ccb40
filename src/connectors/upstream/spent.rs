//! What a pull has cost: calls, bytes, and how long it only waited. Time counts once however many of its requests wait, and not at all
//! while one of them is on its way, so the wait is never longer than the time that passed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was asked through one `Upstream` and its clones.
#[derive(Default)]
pub(super) struct Counted {
    pub calls: AtomicU64,
    pub waits: Waits,
    /// Bytes of answers, as they came.
    pub received: AtomicU64,
}

/// What was asked through one `Upstream` and its clones, answered or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Requests that were sent, tries included.
    pub calls: u64,
    /// In which requests waited for the pace or because the vendor asked and none was on its way, in milliseconds: never more than passed.
    pub waited_ms: u64,
}

impl Counted {
    pub fn told(&self) -> Spent {
        let waited_ms = u64::try_from(self.waits.total().as_millis()).unwrap_or(u64::MAX);
        Spent { calls: self.calls.load(Ordering::Relaxed), waited_ms }
    }
}

/// What the requests of one `Upstream` and its clones are doing just now, and how long they only waited so far.
#[derive(Default)]
pub(super) struct Waits(Mutex<Now>);

#[derive(Default)]
struct Now {
    waiting: u32,
    asking: u32,
    /// Since when all that there is waits.
    since: Option<Instant>,
    total: Duration,
}

impl Now {
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let at = Instant::now();
        if let Some(since) = self.since.take() {
            self.total += at.saturating_duration_since(since);
        }
        change(self);
        self.since = (self.waiting > 0 && self.asking == 0).then_some(at);
    }
}

/// A request that waits for its turn, until this is dropped.
pub(super) struct Waiting<'w>(&'w Waits);

/// A request that is on its way, until this is dropped.
pub(super) struct Asking<'w>(&'w Waits);

impl Waits {
    /// From now on a request waits for the pace, or because the vendor asked.
    pub fn wait(&self) -> Waiting<'_> {
        self.now().change(|now| now.waiting += 1);
        Waiting(self)
    }

    /// From now on a request is on its way.
    pub fn ask(&self) -> Asking<'_> {
        self.now().change(|now| now.asking += 1);
        Asking(self)
    }

    /// All time so far in which something waited and nothing was on its way. It never goes back.
    pub fn total(&self) -> Duration {
        let now = self.now();
        now.total + now.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.now().change(|now| now.waiting -= 1);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.now().change(|now| now.asking -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn several_that_wait_at_a_time_wait_once_and_nobody_waits_while_one_is_answered() {
        let waits = Waits::default();
        let pass = async |seconds| tokio::time::advance(Duration::from_secs(seconds)).await;
        let (first, second) = (waits.wait(), waits.wait());
        pass(3).await;
        assert_eq!(waits.total().as_secs(), 3, "two that wait for three seconds wait for three seconds");
        drop(first);
        let asked = waits.ask();
        pass(10).await;
        assert_eq!(waits.total().as_secs(), 3, "something is on its way");
        drop(asked);
        pass(2).await;
        drop(second);
        pass(60).await;
        assert_eq!(waits.total().as_secs(), 5, "nothing waits");
    }
}
