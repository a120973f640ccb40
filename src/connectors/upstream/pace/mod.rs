//! The rate limit of an account, shared by all requests to it: a maximum number of requests in any
//! 60 seconds, eight requests at a time, and one common pause when the vendor asks for one.
//! `request_log` counts the requests of the last minute, also those before a restart.

mod request_log;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Gauge;
use crate::clock::Millis;
use request_log::RequestLog;

/// Concurrent requests to one account.
const MAX_IN_FLIGHT: usize = 8;
/// Requests that may be sent at once after a quiet time.
const BURST: u32 = 4;
/// The first wait after a 429 without a time; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(5);
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
            request_log: Mutex::new(RequestLog::new()),
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
        lock(&self.request_log).restore(recent, now);
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

#[cfg(test)]
mod tests;
