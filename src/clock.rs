//! The only code that reads the system clock. Everything else takes a `Clock`, so that tests can
//! stop and move time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

/// Milliseconds since 1970-01-01T00:00:00Z: the stored form of all times.
pub type Millis = i64;

/// Tells the time and waits for it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    /// The instant of creation, and the time that the system clock showed then.
    System(Instant, Millis),
    Test(Arc<watch::Sender<TestTime>>),
}

/// The state of a test clock.
#[derive(Clone, Copy)]
struct TestTime {
    now: Millis,
    passed: Millis,
    began: Millis,
}

impl Clock {
    /// The system clock.
    pub fn system() -> Self {
        Self(Source::System(Instant::now(), system_now()))
    }

    /// A clock that is stopped at `now` until it is moved.
    pub fn stopped_at(now: Millis) -> Self {
        Self(Source::Test(Arc::new(watch::Sender::new(TestTime {
            now,
            passed: 0,
            began: now,
        }))))
    }

    /// Advances a test clock and wakes its waiters; a negative `by` sets it back. Does nothing to
    /// the system clock.
    pub fn advance(&self, by: Millis) {
        self.shift(by, by.max(0));
    }

    /// Sets a test clock forward or back, as a person or a time server does: the wall clock
    /// changes, but no monotonic time passes. Does nothing to the system clock.
    pub fn jump(&self, by: Millis) {
        self.shift(by, 0);
    }

    fn shift(&self, by: Millis, passed: Millis) {
        if let Source::Test(time) = &self.0 {
            time.send_modify(|shown| {
                *shown = TestTime {
                    now: shown.now + by,
                    passed: shown.passed + passed,
                    ..*shown
                }
            });
        }
    }

    pub fn now(&self) -> Millis {
        match &self.0 {
            Source::System(..) => system_now(),
            Source::Test(time) => time.borrow().now,
        }
    }

    /// A conservative time: the wall clock, but not more than the monotonic time since creation
    /// allows. Used for deletions by age, so that a clock that is set forward by mistake deletes
    /// nothing.
    pub fn conservative_now(&self) -> Millis {
        let began = match &self.0 {
            Source::System(_, began) => *began,
            Source::Test(time) => time.borrow().began,
        };
        self.now().min(began.saturating_add(self.monotonic()))
    }

    /// The monotonic time since this clock was created. Setting the clock does not change it. Used
    /// for time limits within this process.
    pub fn monotonic(&self) -> Millis {
        match &self.0 {
            Source::System(since, _) => millis(since.elapsed()),
            Source::Test(time) => time.borrow().passed,
        }
    }

    pub fn timestamp(&self) -> Timestamp {
        timestamp(self.now())
    }

    /// Returns once the clock shows `at` or later.
    pub async fn wait_until(&self, at: Millis) {
        match &self.0 {
            Source::System(..) => loop {
                let left = at - self.now();
                if left <= 0 {
                    return;
                }
                // Waits in slices, so that it ends soon after the machine has slept or the clock
                // was set.
                let slice = Duration::from_millis(left.unsigned_abs()).min(Duration::from_secs(20));
                tokio::time::sleep(slice).await;
            },
            Source::Test(time) => {
                let _ = time.subscribe().wait_for(|shown| shown.now >= at).await;
            }
        }
    }

    /// Returns once the clock shows `at` or later, or after `max_wait`, so that a clock that is set
    /// back does not block the caller.
    pub async fn wait_until_or_for(&self, at: Millis, max_wait: Duration) {
        tokio::select! {
            () = self.wait_until(at) => {}
            () = self.wait(max_wait) => {}
        }
    }

    /// Returns after `wait` of monotonic time.
    pub async fn wait(&self, wait: Duration) {
        match &self.0 {
            Source::System(..) => tokio::time::sleep(wait).await,
            Source::Test(time) => {
                let end = self.monotonic().saturating_add(millis(wait));
                let _ = time.subscribe().wait_for(|shown| shown.passed >= end).await;
            }
        }
    }
}

fn system_now() -> Millis {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the system clock"
    )]
    let now = Timestamp::now();
    now.as_millisecond()
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Converts `millis` to a timestamp; values out of range become the first or last timestamp.
pub fn timestamp(millis: Millis) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// Formats a time for programs: `2026-11-20T08:15:30Z`.
pub fn iso(millis: Millis) -> String {
    let moment = timestamp(millis);
    let whole = Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn setting_the_clock_does_not_change_monotonic_time() {
        let clock = Clock::stopped_at(1_000_000);
        let waits = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock
                    .wait_until_or_for(2_000_000, Duration::from_secs(5))
                    .await
            }
        });
        tokio::task::yield_now().await;
        clock.jump(-500_000);
        assert_eq!(
            (clock.now(), clock.monotonic(), waits.is_finished()),
            (500_000, 0, false)
        );
        clock.advance(5_000);
        waits.await.unwrap();
        assert_eq!((clock.now(), clock.monotonic()), (505_000, 5_000));
        clock.advance(-5_000);
        assert_eq!(
            (clock.now(), clock.monotonic(), clock.conservative_now()),
            (500_000, 5_000, 500_000)
        );
        clock.jump(9_000_000);
        assert_eq!(
            (clock.now(), clock.conservative_now()),
            (9_500_000, 1_005_000)
        );
    }
}
