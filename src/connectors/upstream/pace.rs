//! The rate limit of an account, shared by all requests to it: a maximum number of requests in any
//! 60 seconds, eight requests at a time, and one common pause when the vendor asks for one.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Gauge;
use crate::clock::Millis;

/// Concurrent requests to one account.
const MAX_IN_FLIGHT: usize = 8;
/// Requests that may be sent at once after a quiet time.
const BURST: u32 = 4;
/// The first wait after a 429 without a time; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Requests before a restart are known by the second. They count for this long from the start of
/// that second.
const REQUEST_COUNTS_FOR: Millis = 61_000;
/// The maximum length of a pause, whatever the vendor asks for.
pub const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The rate limit of one account.
pub(super) struct Pace {
    /// `None`: no limit.
    bucket: Mutex<(u32, Option<Arc<DefaultDirectRateLimiter>>)>,
    permits: Arc<Semaphore>,
    /// Held while waiting for the bucket, so that requests are served in order of arrival and no
    /// two wake for one token.
    turn: tokio::sync::Mutex<()>,
    pause: Mutex<Pause>,
    request_log: Mutex<RequestLog>,
}

/// The number of requests in each second of the last minute.
struct RequestLog {
    began: Instant,
    seconds: VecDeque<(u64, u32)>,
    /// Requests before a restart: until when they count, and their number. `None` until they are
    /// restored.
    before_restart: Option<Vec<(Instant, u32)>>,
}

impl RequestLog {
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

    fn record(&mut self) {
        let now = self.prune();
        match self.seconds.back_mut() {
            Some((second, count)) if *second == now => *count += 1,
            _ => self.seconds.push_back((now, 1)),
        }
    }

    fn in_last_minute(&mut self) -> u32 {
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
    fn wait_for_earlier_requests(&mut self, per_minute: u32) -> Option<Duration> {
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
    fn snapshot(&mut self, now: Millis) -> Vec<(Millis, u32)> {
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
}

fn millis(time: Duration) -> Millis {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    /// The number of pauses since the last good answer.
    strikes: u32,
    /// When the last pause was requested.
    requested_at: Option<Instant>,
}

/// A request may not be sent now, because of a pause.
pub(super) struct PacePaused {
    pub wait: Duration,
}

impl Pace {
    pub fn new(requests_per_minute: u32) -> Self {
        Self {
            bucket: Mutex::new((requests_per_minute, bucket(requests_per_minute))),
            permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            turn: tokio::sync::Mutex::new(()),
            pause: Mutex::new(Pause::default()),
            request_log: Mutex::new(RequestLog {
                began: Instant::now(),
                seconds: VecDeque::new(),
                before_restart: None,
            }),
        }
    }

    /// The current load.
    pub fn gauge(&self) -> Gauge {
        let in_flight = MAX_IN_FLIGHT - self.permits.available_permits().min(MAX_IN_FLIGHT);
        Gauge {
            last_minute: lock(&self.request_log).in_last_minute(),
            per_minute: lock(&self.bucket).0,
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            paused: lock(&self.pause).until.map_or(Duration::ZERO, |until| {
                until.saturating_duration_since(Instant::now())
            }),
        }
    }

    /// The requests of the last minute: start of each second and number of requests in it.
    pub fn recent_requests(&self, now: Millis) -> Vec<(Millis, u32)> {
        lock(&self.request_log).snapshot(now)
    }

    /// Restores the requests before a restart from a value of `recent_requests`. Only the first
    /// call has an effect, because later requests are already counted.
    pub fn restore(&self, recent: &[(Millis, u32)], now: Millis) {
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
        lock(&self.request_log)
            .before_restart
            .get_or_insert_with(restored);
    }

    /// Restores a pause that the vendor asked for before a restart.
    pub fn extend_pause(&self, wait: Duration) {
        let until = Instant::now() + wait.min(MAX_PAUSE);
        let mut pause = lock(&self.pause);
        pause.until = Some(pause.until.map_or(until, |before| before.max(until)));
    }

    /// Changes the number of requests per minute; no effect if it is the same.
    pub fn set_rate(&self, requests_per_minute: u32) {
        let mut current = lock(&self.bucket);
        if current.0 != requests_per_minute {
            *current = (requests_per_minute, bucket(requests_per_minute));
        }
    }

    /// Waits until a request may be sent and returns a permit that must be held during the request.
    /// Fails if a pause is longer than `max_wait`.
    pub async fn acquire_permit(
        &self,
        max_wait: Duration,
    ) -> Result<OwnedSemaphorePermit, PacePaused> {
        self.paused(max_wait)?;
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| PacePaused {
                wait: Duration::ZERO,
            })?;
        loop {
            let turn = self.turn.lock().await;
            let wait = match self.paused(max_wait)? {
                Some(wait) => wait,
                None => match self.token() {
                    None => {
                        lock(&self.request_log).record();
                        return Ok(permit);
                    }
                    Some(wait) => wait,
                },
            };
            tokio::time::sleep(wait).await;
            drop(turn);
        }
    }

    /// Takes a token from the bucket, or returns how long to wait for one.
    fn token(&self) -> Option<Duration> {
        let (per_minute, bucket) = lock(&self.bucket).clone();
        let bucket = bucket?;
        if let Some(wait) = lock(&self.request_log).wait_for_earlier_requests(per_minute) {
            return Some(wait);
        }
        bucket
            .check()
            .err()
            .map(|not| not.wait_time_from(bucket.clock().now()))
    }

    fn paused(&self, max_wait: Duration) -> Result<Option<Duration>, PacePaused> {
        let Some(until) = lock(&self.pause).until else {
            return Ok(None);
        };
        let wait = until.saturating_duration_since(Instant::now());
        if wait > max_wait {
            Err(PacePaused { wait })
        } else {
            Ok((!wait.is_zero()).then_some(wait))
        }
    }

    /// The vendor asked for a pause: no request of this account is sent before it is over.
    /// `requested` is the vendor's time; without one, the wait grows with each pause. Rate limit
    /// answers to requests that were already in flight when the first pause was requested count as
    /// one pause. A running pause is never shortened. `min_wait` is the minimum, doubled each time.
    /// Returns the wait.
    pub fn pause(&self, requested: Option<Duration>, min_wait: Duration) -> Duration {
        let mut pause = lock(&self.pause);
        let now = Instant::now();
        let left = pause
            .until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if left.is_zero() {
            pause.strikes = pause.strikes.saturating_add(1);
            pause.requested_at = Some(now);
        }
        let wait = match requested {
            // A vendor that asks to retry at once again and again gets a growing wait.
            Some(wait) => wait
                .max(
                    min_wait
                        .saturating_mul(1 << (pause.strikes.clamp(1, 6) - 1))
                        .min(FIRST_WAIT),
                )
                .min(MAX_PAUSE),
            None if !left.is_zero() => left,
            None => FIRST_WAIT.saturating_mul(1 << (pause.strikes - 1).min(8)),
        };
        drop(pause);
        self.extend_pause(wait);
        wait
    }

    /// A request that was sent at that moment succeeded: the next wait starts small again, unless a
    /// pause was requested since.
    pub fn record_success(&self, sent_at: Instant) {
        let mut pause = lock(&self.pause);
        if pause
            .requested_at
            .is_none_or(|requested_at| requested_at <= sent_at)
        {
            pause.strikes = 0;
        }
    }
}

fn bucket(n: u32) -> Option<Arc<DefaultDirectRateLimiter>> {
    Some(Arc::new(RateLimiter::direct(quota(n)?)))
}

/// At most n requests in any 60 seconds: a burst, and the other n - burst spread over the minute.
/// If n is so small that a burst would be most of it, there is no burst.
fn quota(n: u32) -> Option<Quota> {
    let (burst, every) = match n {
        0 => return None,
        1..=8 => (1, Duration::from_secs(61) / n),
        _ => (BURST, Duration::from_secs(60) / (n - BURST)),
    };
    Some(Quota::with_period(every)?.allow_burst(NonZeroU32::new(burst)?))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parses `Retry-After`: seconds, or an HTTP date. `None` for anything else, such as a negative
/// number.
pub(super) fn retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        // More digits than an integer holds mean a long time, not zero.
        return Some(
            text.parse()
                .map_or(MAX_PAUSE, Duration::from_secs)
                .min(MAX_PAUSE),
        );
    }
    let at = httpdate::parse_http_date(text)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    let now = Duration::from_millis(u64::try_from(now.as_millisecond()).ok()?);
    Some(at.saturating_sub(now).min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN_WAIT: Duration = Duration::from_millis(100);

    /// The maximum number of moments within any 60 seconds.
    fn max_in_a_minute(moments: &[Duration]) -> usize {
        (0..moments.len())
            .map(|i| {
                moments[i..]
                    .iter()
                    .take_while(|m| **m < moments[i] + Duration::from_secs(60))
                    .count()
            })
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn the_rate_is_never_exceeded_and_nearly_reached() {
        for n in [1, 2, 7, 8, 9, 60, 180, 600] {
            let clock = governor::clock::FakeRelativeClock::default();
            let bucket = RateLimiter::direct_with_clock(quota(n).unwrap(), clock.clone());
            // Sends as fast as allowed for three minutes, starting with a full burst.
            let (mut now, mut moments) = (Duration::ZERO, Vec::new());
            while now < Duration::from_secs(180) {
                match bucket.check() {
                    Ok(()) => moments.push(now),
                    Err(not) => {
                        let wait = not.wait_time_from(clock.now());
                        clock.advance(wait);
                        now += wait;
                    }
                }
            }
            let n = n as usize;
            assert!(
                max_in_a_minute(&moments) <= n,
                "{n} a minute: {}",
                max_in_a_minute(&moments)
            );
            assert!(
                n == 9 || moments.len() >= (3 * n * 17 / 20).saturating_sub(3),
                "{n} a minute: only {} in three",
                moments.len()
            );
        }
    }

    #[tokio::test]
    async fn a_request_waits_for_the_end_of_a_pause_or_fails_if_it_is_too_long() {
        let pace = Pace::new(0);
        let start = Instant::now();
        pace.pause(Some(Duration::from_millis(120)), MIN_WAIT);
        assert!(pace.acquire_permit(Duration::from_millis(1)).await.is_err());
        assert!(pace.acquire_permit(Duration::from_secs(60)).await.is_ok());
        assert!(start.elapsed() >= Duration::from_millis(120));
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limit_answers_in_flight_make_one_pause_that_successes_do_not_end() {
        let pace = Pace::new(0);
        let before = Instant::now();
        tokio::time::advance(Duration::from_millis(5)).await;
        // Eight requests get status 429 at about the same time.
        let waits: Vec<u64> = (0..8)
            .map(|_| pace.pause(None, MIN_WAIT).as_secs())
            .collect();
        assert_eq!(waits, [5; 8]);
        pace.record_success(before);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(pace.pause(None, MIN_WAIT), Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(10)).await;
        pace.record_success(Instant::now());
        assert_eq!(pace.pause(None, MIN_WAIT), Duration::from_secs(5));
        assert!(pace.acquire_permit(Duration::from_secs(1)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_gauge_shows_the_last_minute_and_requests_in_flight() {
        let pace = Pace::new(180);
        let first = pace.acquire_permit(Duration::ZERO).await.ok().unwrap();
        let shown = pace.gauge();
        assert_eq!(
            (
                shown.last_minute,
                shown.per_minute,
                shown.in_flight,
                shown.paused
            ),
            (1, 180, 1, Duration::ZERO)
        );
        drop(first);
        tokio::time::advance(Duration::from_secs(30)).await;
        drop(pace.acquire_permit(Duration::ZERO).await.ok().unwrap());
        assert_eq!((pace.gauge().last_minute, pace.gauge().in_flight), (2, 0));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(pace.gauge().last_minute, 1);
        pace.pause(Some(Duration::from_secs(90)), MIN_WAIT);
        assert_eq!(pace.gauge().paused, Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_pause_does_not_shorten_the_current_one() {
        let pace = Pace::new(0);
        pace.pause(Some(Duration::from_secs(600)), MIN_WAIT);
        // Another rate limit answer to a request in flight.
        pace.pause(Some(Duration::from_secs(1)), MIN_WAIT);
        assert_eq!(pace.gauge().paused, Duration::from_secs(600));
        assert!(pace.acquire_permit(Duration::from_secs(599)).await.is_err());
        // A restored pause does not shorten it either; a longer one extends it.
        pace.extend_pause(Duration::from_secs(5));
        assert_eq!(pace.gauge().paused, Duration::from_secs(600));
        pace.pause(Some(Duration::from_secs(700)), MIN_WAIT);
        assert_eq!(pace.gauge().paused, Duration::from_secs(700));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_zero_waits_a_second_and_longer_each_time() {
        let pace = Pace::new(0);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let wait = pace.pause(Some(Duration::ZERO), Duration::from_secs(1));
            waits.push(wait.as_secs());
            tokio::time::advance(wait).await;
        }
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_before_a_restart_still_count() {
        const NOW: Millis = 1_795_176_000_000;
        let before = Pace::new(60);
        for _ in 0..3 {
            drop(before.acquire_permit(Duration::ZERO).await.ok().unwrap());
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        let recent = before.recent_requests(NOW);
        assert_eq!(recent, [(NOW - 10_000, 3)]);
        // 55 more requests a moment ago, then a restart.
        let recent = [recent[0], (NOW - 1_000, 55)];
        let (after, start) = (Pace::new(60), Instant::now());
        after.restore(&recent, NOW);
        // A second restore has no effect.
        after.restore(&recent, NOW);
        assert_eq!(
            (after.gauge().last_minute, after.recent_requests(NOW)),
            (58, recent.to_vec())
        );
        let mut sent_after = Vec::new();
        for _ in 0..4 {
            drop(after.acquire_permit(Duration::ZERO).await.ok().unwrap());
            sent_after.push(start.elapsed().as_secs());
        }
        assert_eq!(
            sent_after,
            [0, 0, 51, 51],
            "the third request waits until the oldest requests no longer count"
        );
        assert_eq!(after.gauge().last_minute, 59);
        // A minute later the requests are forgotten, and a clock that was set back does not extend
        // the wait.
        let old = Pace::new(60);
        old.restore(&[(NOW - REQUEST_COUNTS_FOR, 60), (NOW + 3_600_000, 2)], NOW);
        assert_eq!(old.gauge().last_minute, 2);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(
            (old.gauge().last_minute, old.recent_requests(NOW)),
            (0, Vec::new())
        );
    }

    #[test]
    fn retry_after_as_seconds_as_a_date_and_as_nonsense() {
        let now = jiff::Timestamp::from_second(1_000_000_000).unwrap();
        let read = |text: &str| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(read("7"), Some(7));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("315360000"), Some(86_400));
        assert_eq!(read("99999999999999999999999999"), Some(86_400));
        assert_eq!(read("-5"), None);
        assert_eq!(read("soon"), None);
        assert_eq!(read(""), None);
        assert_eq!(read("Sun, 09 Sep 2001 01:47:10 GMT"), Some(30));
        assert_eq!(read("Sun, 09 Sep 2001 01:40:00 GMT"), Some(0));
    }
}
