//! Tests of the rate limit, of pauses and of the requests before a restart.

use super::request_log::REQUEST_COUNTS_FOR;
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
