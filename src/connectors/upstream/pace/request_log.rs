//! The requests to one account in the last minute, by second, also those before a restart.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Millis;

/// Requests before a restart are known by the second. They count for this long from the start of
/// that second.
pub(super) const REQUEST_COUNTS_FOR: Millis = 61_000;

/// The number of requests in each second of the last minute.
pub(super) struct RequestLog {
    began: Instant,
    seconds: VecDeque<(u64, u32)>,
    /// Requests before a restart: until when they count, and their number. `None` until they are
    /// restored.
    before_restart: Option<Vec<(Instant, u32)>>,
}

impl RequestLog {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            seconds: VecDeque::new(),
            before_restart: None,
        }
    }

    fn prune(&mut self) -> u64 {
        let now = self.began.elapsed().as_secs();
        while self
            .seconds
            .front()
            .is_some_and(|(second, _)| second + 60 <= now)
        {
            self.seconds.pop_front();
        }
        now
    }

    pub fn record(&mut self) {
        let now = self.prune();
        match self.seconds.back_mut() {
            Some((second, count)) if *second == now => *count += 1,
            _ => self.seconds.push_back((now, 1)),
        }
    }

    pub fn in_last_minute(&mut self) -> u32 {
        self.prune();
        let now = Instant::now();
        let before = self.before_restart.iter_mut().flat_map(|before| {
            before.retain(|(until, _)| *until > now);
            before.iter()
        });
        before
            .map(|(_, count)| count)
            .chain(self.seconds.iter().map(|(_, count)| count))
            .sum()
    }

    /// How long the next request must wait because of requests before the restart. Requests since
    /// then are limited by the bucket.
    pub fn wait_for_earlier_requests(&mut self, per_minute: u32) -> Option<Duration> {
        let in_last_minute = self.in_last_minute();
        let next = self
            .before_restart
            .iter()
            .flatten()
            .map(|(until, _)| *until)
            .min()?;
        (in_last_minute >= per_minute).then(|| next.saturating_duration_since(Instant::now()))
    }

    /// The requests of the last minute: start of each second and number of requests.
    pub fn snapshot(&mut self, now: Millis) -> Vec<(Millis, u32)> {
        self.in_last_minute();
        let passed = millis(self.began.elapsed());
        let left = |until: &Instant| millis(until.saturating_duration_since(Instant::now()));
        let before = self
            .before_restart
            .iter()
            .flatten()
            .map(|(until, count)| (now + left(until) - REQUEST_COUNTS_FOR, *count));
        let since = self.seconds.iter().map(|(second, count)| {
            (
                now - passed + i64::try_from(second * 1_000).unwrap_or(passed),
                *count,
            )
        });
        before.chain(since).collect()
    }

    /// Restores the requests before a restart from a value of `snapshot`. Only the first call has
    /// an effect, because later requests are already counted.
    pub fn restore(&mut self, recent: &[(Millis, u32)], now: Millis) {
        // If the clock was set back, the minute does not become longer.
        let counts = |began: Millis| {
            u64::try_from((began + REQUEST_COUNTS_FOR - now).min(REQUEST_COUNTS_FOR))
                .ok()
                .filter(|left| *left > 0)
        };
        let restored_at = Instant::now();
        let restored = || {
            recent
                .iter()
                .filter_map(|(began, count)| {
                    Some((restored_at + Duration::from_millis(counts(*began)?), *count))
                })
                .collect()
        };
        self.before_restart.get_or_insert_with(restored);
    }
}

fn millis(time: Duration) -> Millis {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
