//! One pace per account, shared by everything that asks for it: never more than so many requests in any 60 seconds, eight at once,
//! and one pause for all when the vendor asks for one.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Gauge;

/// Requests to one account at a time.
const IN_FLIGHT: usize = 8;
/// Requests that may leave at once after a quiet time.
const BURST: u32 = 4;
/// The first wait after a 429 that does not say how long; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The least a pause lasts, whatever it says; doubled each time up to the above.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// No single pause is believed beyond this, whatever a vendor says.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The pace of one account.
pub(super) struct Pace {
    /// `None`: as fast as it goes.
    bucket: Mutex<(u32, Option<Arc<DefaultDirectRateLimiter>>)>,
    permits: Arc<Semaphore>,
    /// One waits for the bucket at a time, in order of arrival, so that nobody starves and no two wake for one token.
    turn: tokio::sync::Mutex<()>,
    pause: Mutex<Pause>,
    sent: Mutex<Sent>,
}

/// How many requests left, by the second, for the last minute.
struct Sent {
    began: Instant,
    seconds: VecDeque<(u64, u32)>,
}

impl Sent {
    fn forget(&mut self) -> u64 {
        let now = self.began.elapsed().as_secs();
        while self.seconds.front().is_some_and(|(second, _)| second + 60 <= now) {
            self.seconds.pop_front();
        }
        now
    }

    fn note(&mut self) {
        let now = self.forget();
        match self.seconds.back_mut() {
            Some((second, count)) if *second == now => *count += 1,
            _ => self.seconds.push_back((now, 1)),
        }
    }

    fn in_last_minute(&mut self) -> u32 {
        self.forget();
        self.seconds.iter().map(|(_, count)| count).sum()
    }
}

#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    /// Pauses since the last good answer.
    strikes: u32,
    /// When the last of them was asked for.
    asked: Option<Instant>,
}

/// Why a request may not leave now.
pub(super) struct Paused {
    pub wait: Duration,
}

impl Pace {
    pub fn new(requests_per_minute: u32) -> Self {
        Self {
            bucket: Mutex::new((requests_per_minute, bucket(requests_per_minute))),
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
            turn: tokio::sync::Mutex::new(()),
            pause: Mutex::new(Pause::default()),
            sent: Mutex::new(Sent { began: Instant::now(), seconds: VecDeque::new() }),
        }
    }

    /// How much is asked just now.
    pub fn gauge(&self) -> Gauge {
        let in_flight = IN_FLIGHT - self.permits.available_permits().min(IN_FLIGHT);
        Gauge {
            last_minute: lock(&self.sent).in_last_minute(),
            per_minute: lock(&self.bucket).0,
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            paused: lock(&self.pause).until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now())),
        }
    }

    /// Nobody asks for so long, because the vendor said so before a restart.
    pub fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_PAUSE);
        let mut pause = lock(&self.pause);
        pause.until = Some(pause.until.map_or(until, |before| before.max(until)));
    }

    /// Takes over another number of requests a minute; nothing happens when it is the same.
    pub fn set(&self, requests_per_minute: u32) {
        let mut held = lock(&self.bucket);
        if held.0 != requests_per_minute {
            *held = (requests_per_minute, bucket(requests_per_minute));
        }
    }

    /// Waits until a request may leave and holds its place until the permit is dropped. A pause longer than `patience` is not
    /// waited for.
    pub async fn leave(&self, patience: Duration) -> Result<OwnedSemaphorePermit, Paused> {
        self.paused(patience)?;
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Paused { wait: Duration::ZERO })?;
        loop {
            let turn = self.turn.lock().await;
            let wait = match self.paused(patience)? {
                Some(wait) => wait,
                None => match self.token() {
                    None => {
                        lock(&self.sent).note();
                        return Ok(permit);
                    }
                    Some(wait) => wait,
                },
            };
            tokio::time::sleep(wait).await;
            drop(turn);
        }
    }

    /// Takes a token, or says how long until there is one.
    fn token(&self) -> Option<Duration> {
        let bucket = lock(&self.bucket).1.clone()?;
        bucket.check().err().map(|not| not.wait_time_from(bucket.clock().now()))
    }

    fn paused(&self, patience: Duration) -> Result<Option<Duration>, Paused> {
        let Some(until) = lock(&self.pause).until else { return Ok(None) };
        let wait = until.saturating_duration_since(Instant::now());
        if wait > patience { Err(Paused { wait }) } else { Ok((!wait.is_zero()).then_some(wait)) }
    }

    /// The vendor asked for a pause: nobody asks this account before it is over. `told` is what it said; without it the wait grows
    /// with every pause, but the answers to all that was on its way when the first one was asked for are one pause. Returns the wait.
    pub fn pause(&self, told: Option<Duration>) -> Duration {
        let mut pause = lock(&self.pause);
        let now = Instant::now();
        let left = pause.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if left.is_zero() {
            pause.strikes = pause.strikes.saturating_add(1);
            pause.asked = Some(now);
        }
        let wait = match told {
            // "At once", said again and again, is not believed for long.
            Some(wait) => wait.max(LEAST_WAIT.saturating_mul(1 << (pause.strikes.clamp(1, 6) - 1)).min(FIRST_WAIT)).min(LONGEST_PAUSE),
            None if !left.is_zero() => left,
            None => FIRST_WAIT.saturating_mul(1 << (pause.strikes - 1).min(8)),
        };
        drop(pause);
        self.hold(wait);
        wait
    }

    /// A good answer came to a request that left at that moment: waits begin small again, unless a pause was asked for since.
    pub fn went_well(&self, left: Instant) {
        let mut pause = lock(&self.pause);
        if pause.asked.is_none_or(|asked| asked <= left) {
            pause.strikes = 0;
        }
    }
}

fn bucket(n: u32) -> Option<Arc<DefaultDirectRateLimiter>> {
    Some(Arc::new(RateLimiter::direct(quota(n)?)))
}

/// At most n in any 60 seconds: a burst and n - burst spread over the minute. So few that a burst would be most of them go one by one.
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

/// How long `Retry-After` asks to wait: seconds, or a moment as an HTTP date. `None` for what is neither (negative numbers among it).
pub(super) fn retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        // More digits than a number holds is a long time, not no time.
        return Some(text.parse().map_or(LONGEST_PAUSE, Duration::from_secs).min(LONGEST_PAUSE));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(u64::try_from(now.as_millisecond()).ok()?);
    Some(at.saturating_sub(now).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest number of moments within any 60 seconds.
    fn most_in_a_minute(moments: &[Duration]) -> usize {
        (0..moments.len()).map(|i| moments[i..].iter().take_while(|m| **m < moments[i] + Duration::from_secs(60)).count()).max().unwrap_or(0)
    }

    #[test]
    fn never_more_than_the_number_in_any_minute_and_nearly_as_many() {
        for n in [1, 2, 7, 8, 9, 60, 180, 600] {
            let clock = governor::clock::FakeRelativeClock::default();
            let bucket = RateLimiter::direct_with_clock(quota(n).unwrap(), clock.clone());
            // As fast as it goes for three minutes, from a full burst.
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
            assert!(most_in_a_minute(&moments) <= n, "{n} a minute: {}", most_in_a_minute(&moments));
            assert!(n == 9 || moments.len() >= (3 * n * 17 / 20).saturating_sub(3), "{n} a minute: only {} in three", moments.len());
        }
    }

    #[tokio::test]
    async fn a_pause_holds_everybody_and_grows_when_the_vendor_does_not_say() {
        let pace = Pace::new(0);
        let start = Instant::now();
        pace.pause(Some(Duration::from_millis(120)));
        assert!(pace.leave(Duration::from_millis(1)).await.is_err());
        assert!(pace.leave(Duration::from_secs(60)).await.is_ok());
        assert!(start.elapsed() >= Duration::from_millis(120));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_what_was_on_its_way_are_one_pause_and_good_ones_among_them_end_nothing() {
        let pace = Pace::new(0);
        let before = Instant::now();
        tokio::time::advance(Duration::from_millis(5)).await;
        // Eight requests are answered with 429 at about the same time.
        let waits: Vec<u64> = (0..8).map(|_| pace.pause(None).as_secs()).collect();
        assert_eq!(waits, [5; 8]);
        pace.went_well(before);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(pace.pause(None), Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(10)).await;
        pace.went_well(Instant::now());
        assert_eq!(pace.pause(None), Duration::from_secs(5));
        assert!(pace.leave(Duration::from_secs(1)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_gauge_tells_the_last_minute_and_what_is_on_its_way() {
        let pace = Pace::new(180);
        let first = pace.leave(Duration::ZERO).await.ok().unwrap();
        let shown = pace.gauge();
        assert_eq!((shown.last_minute, shown.per_minute, shown.in_flight, shown.paused), (1, 180, 1, Duration::ZERO));
        drop(first);
        tokio::time::advance(Duration::from_secs(30)).await;
        drop(pace.leave(Duration::ZERO).await.ok().unwrap());
        assert_eq!((pace.gauge().last_minute, pace.gauge().in_flight), (2, 0));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(pace.gauge().last_minute, 1);
        pace.pause(Some(Duration::from_secs(90)));
        assert_eq!(pace.gauge().paused, Duration::from_secs(90));
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
