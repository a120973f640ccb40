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
use crate::clock::Millis;

/// Requests to one account at a time.
const IN_FLIGHT: usize = 8;
/// Requests that may leave at once after a quiet time.
const BURST: u32 = 4;
/// The first wait after a 429 that does not say how long; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// A request that left within a second that is known counts this long from the beginning of that second.
const COUNTS_FOR: Millis = 61_000;
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
    /// Those before a restart: until when they count, and how many they are. None until they are recalled.
    before: Option<Vec<(Instant, u32)>>,
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
        let now = Instant::now();
        let before = self.before.iter_mut().flat_map(|before| {
            before.retain(|(until, _)| *until > now);
            before.iter()
        });
        before.map(|(_, count)| count).chain(self.seconds.iter().map(|(_, count)| count)).sum()
    }

    /// How long until one more may leave, for those before a restart: what left since is kept to the number by itself.
    fn wait_for_those_before(&mut self, per_minute: u32) -> Option<Duration> {
        let sent = self.in_last_minute();
        let next = self.before.iter().flatten().map(|(until, _)| *until).min()?;
        (sent >= per_minute).then(|| next.saturating_duration_since(Instant::now()))
    }

    /// By the moment at which each second began.
    fn told(&mut self, now: Millis) -> Vec<(Millis, u32)> {
        self.in_last_minute();
        let passed = millis(self.began.elapsed());
        let left = |until: &Instant| millis(until.saturating_duration_since(Instant::now()));
        let before = self.before.iter().flatten().map(|(until, count)| (now + left(until) - COUNTS_FOR, *count));
        let since = self.seconds.iter().map(|(second, count)| (now - passed + i64::try_from(second * 1_000).unwrap_or(passed), *count));
        before.chain(since).collect()
    }
}

fn millis(time: Duration) -> Millis {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
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
            sent: Mutex::new(Sent { began: Instant::now(), seconds: VecDeque::new(), before: None }),
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

    /// What left in the last minute: the moment at which each second began, and how many left in it.
    pub fn asked(&self, now: Millis) -> Vec<(Millis, u32)> {
        lock(&self.sent).told(now)
    }

    /// Counts in what left before a restart, as `asked` told it then; only the first time, since later it is known here.
    pub fn recall(&self, asked: &[(Millis, u32)], now: Millis) {
        // A clock that was set back makes no minute longer.
        let counts = |began: Millis| u64::try_from((began + COUNTS_FOR - now).min(COUNTS_FOR)).ok().filter(|left| *left > 0);
        let come = Instant::now();
        let recalled = || asked.iter().filter_map(|(began, count)| Some((come + Duration::from_millis(counts(*began)?), *count))).collect();
        lock(&self.sent).before.get_or_insert_with(recalled);
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
        let (per_minute, bucket) = lock(&self.bucket).clone();
        let bucket = bucket?;
        if let Some(wait) = lock(&self.sent).wait_for_those_before(per_minute) {
            return Some(wait);
        }
        bucket.check().err().map(|not| not.wait_time_from(bucket.clock().now()))
    }

    fn paused(&self, patience: Duration) -> Result<Option<Duration>, Paused> {
        let Some(until) = lock(&self.pause).until else { return Ok(None) };
        let wait = until.saturating_duration_since(Instant::now());
        if wait > patience { Err(Paused { wait }) } else { Ok((!wait.is_zero()).then_some(wait)) }
    }

    /// The vendor asked for a pause: nobody asks this account before it is over. `told` is what it said; without it the wait grows
    /// with every pause, but the answers to all that was on its way when the first one was asked for are one pause. A pause that is there
    /// already is never shortened. `least`: no wait is shorter than this, doubled each time. Returns the wait.
    pub fn pause(&self, told: Option<Duration>, least: Duration) -> Duration {
        let mut pause = lock(&self.pause);
        let now = Instant::now();
        let left = pause.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if left.is_zero() {
            pause.strikes = pause.strikes.saturating_add(1);
            pause.asked = Some(now);
        }
        let wait = match told {
            // "At once", said again and again, is not believed for long.
            Some(wait) => wait.max(least.saturating_mul(1 << (pause.strikes.clamp(1, 6) - 1)).min(FIRST_WAIT)).min(LONGEST_PAUSE),
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

    const LEAST: Duration = Duration::from_millis(100);

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
        pace.pause(Some(Duration::from_millis(120)), LEAST);
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
        let waits: Vec<u64> = (0..8).map(|_| pace.pause(None, LEAST).as_secs()).collect();
        assert_eq!(waits, [5; 8]);
        pace.went_well(before);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(pace.pause(None, LEAST), Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(10)).await;
        pace.went_well(Instant::now());
        assert_eq!(pace.pause(None, LEAST), Duration::from_secs(5));
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
        pace.pause(Some(Duration::from_secs(90)), LEAST);
        assert_eq!(pace.gauge().paused, Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_pause_does_not_shorten_the_one_that_is_there() {
        let pace = Pace::new(0);
        pace.pause(Some(Duration::from_secs(600)), LEAST);
        // Another answer of those that were on their way.
        pace.pause(Some(Duration::from_secs(1)), LEAST);
        assert_eq!(pace.gauge().paused, Duration::from_secs(600));
        assert!(pace.leave(Duration::from_secs(599)).await.is_err());
        // Nor does one from before a restart; a longer one lengthens it.
        pace.hold(Duration::from_secs(5));
        assert_eq!(pace.gauge().paused, Duration::from_secs(600));
        pace.pause(Some(Duration::from_secs(700)), LEAST);
        assert_eq!(pace.gauge().paused, Duration::from_secs(700));
    }

    #[tokio::test(start_paused = true)]
    async fn at_once_is_a_second_and_longer_each_time_it_is_said_again() {
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
    async fn a_restart_does_not_begin_the_minute_anew() {
        const NOW: Millis = 1_795_176_000_000;
        let before = Pace::new(60);
        for _ in 0..3 {
            drop(before.leave(Duration::ZERO).await.ok().unwrap());
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        let told = before.asked(NOW);
        assert_eq!(told, [(NOW - 10_000, 3)]);
        // 55 others left a moment ago; then the server was started again.
        let told = [told[0], (NOW - 1_000, 55)];
        let (after, start) = (Pace::new(60), Instant::now());
        after.recall(&told, NOW);
        // Once is enough: what was told before the restart is no news.
        after.recall(&told, NOW);
        assert_eq!((after.gauge().last_minute, after.asked(NOW)), (58, told.to_vec()));
        let mut left = Vec::new();
        for _ in 0..4 {
            drop(after.leave(Duration::ZERO).await.ok().unwrap());
            left.push(start.elapsed().as_secs());
        }
        assert_eq!(left, [0, 0, 51, 51], "the third leaves when the three of ten seconds before the restart count no more");
        assert_eq!(after.gauge().last_minute, 59);
        // A minute later it is forgotten, and what a clock was set back by is not waited for.
        let old = Pace::new(60);
        old.recall(&[(NOW - COUNTS_FOR, 60), (NOW + 3_600_000, 2)], NOW);
        assert_eq!(old.gauge().last_minute, 2);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!((old.gauge().last_minute, old.asked(NOW)), (0, Vec::new()));
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
