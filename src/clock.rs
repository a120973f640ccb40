//! The only reader of the system clock. Everything else is handed a `Clock`, so that a test can stop time and move it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

/// Milliseconds since 1970-01-01T00:00:00Z: how every moment is stored.
pub type Millis = i64;

/// Tells the time, and waits for it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    /// Counted from here.
    System(Instant, Millis),
    Test(Arc<watch::Sender<Shown>>),
}

/// Of a test clock.
#[derive(Clone, Copy)]
struct Shown {
    now: Millis,
    passed: Millis,
    began: Millis,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self(Source::System(Instant::now(), shown_by_system()))
    }

    /// A clock that stands still at `now` until it is told to move.
    pub fn stopped_at(now: Millis) -> Self {
        Self(Source::Test(Arc::new(watch::Sender::new(Shown { now, passed: 0, began: now }))))
    }

    /// Lets so much time pass on a test clock, waking whoever waits on it; a negative `by` sets it back. Does nothing to the system clock.
    pub fn advance(&self, by: Millis) {
        self.shift(by, by.max(0));
    }

    /// Sets a test clock forward or back, as a person or a time server does: what it shows changes, and no time has passed. Does nothing
    /// to the system clock.
    pub fn set_by(&self, by: Millis) {
        self.shift(by, 0);
    }

    fn shift(&self, by: Millis, passed: Millis) {
        if let Source::Test(time) = &self.0 {
            time.send_modify(|shown| *shown = Shown { now: shown.now + by, passed: shown.passed + passed, ..*shown });
        }
    }

    pub fn now(&self) -> Millis {
        match &self.0 {
            Source::System(..) => shown_by_system(),
            Source::Test(time) => time.borrow().now,
        }
    }

    /// A moment by which it certainly is: what the clock shows, but no later than the time that has passed since it was made allows. For
    /// what cannot be undone because of age: a clock that is set forward by mistake makes nothing old.
    pub fn certain(&self) -> Millis {
        let began = match &self.0 {
            Source::System(_, began) => *began,
            Source::Test(time) => time.borrow().began,
        };
        self.now().min(began.saturating_add(self.passed()))
    }

    /// How much time has passed since this clock was made. It only grows, whoever sets the clock: for time limits within this process.
    pub fn passed(&self) -> Millis {
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
                // In slices, so that a machine that slept or whose clock was set wakes soon after.
                let slice = Duration::from_millis(left.unsigned_abs()).min(Duration::from_secs(20));
                tokio::time::sleep(slice).await;
            },
            Source::Test(time) => {
                let _ = time.subscribe().wait_for(|shown| shown.now >= at).await;
            }
        }
    }

    /// Returns once the clock shows `at` or later, or `most` has passed: a clock that is set back keeps nobody waiting.
    pub async fn wait_until_or(&self, at: Millis, most: Duration) {
        tokio::select! {
            () = self.wait_until(at) => {}
            () = self.wait(most) => {}
        }
    }

    /// Returns after `wait` has passed, whoever sets the clock meanwhile.
    pub async fn wait(&self, wait: Duration) {
        match &self.0 {
            Source::System(..) => tokio::time::sleep(wait).await,
            Source::Test(time) => {
                let end = self.passed().saturating_add(millis(wait));
                let _ = time.subscribe().wait_for(|shown| shown.passed >= end).await;
            }
        }
    }
}

fn shown_by_system() -> Millis {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system clock")]
    let now = Timestamp::now();
    now.as_millisecond()
}

/// A length of time as moments are counted.
pub fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The moment that `millis` names; the ends of time for numbers beyond them.
pub fn timestamp(millis: Millis) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// `2026-11-20T08:15:30Z`: the one way a moment is written for programs.
pub fn iso(millis: Millis) -> String {
    let moment = timestamp(millis);
    let whole = Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    whole.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_passes_whoever_sets_the_clock() {
        let clock = Clock::stopped_at(1_000_000);
        let waits = tokio::spawn({
            let clock = clock.clone();
            async move { clock.wait_until_or(2_000_000, Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        clock.set_by(-500_000);
        assert_eq!((clock.now(), clock.passed(), waits.is_finished()), (500_000, 0, false));
        clock.advance(5_000);
        waits.await.unwrap();
        assert_eq!((clock.now(), clock.passed()), (505_000, 5_000));
        clock.advance(-5_000);
        assert_eq!((clock.now(), clock.passed(), clock.certain()), (500_000, 5_000, 500_000));
        clock.set_by(9_000_000);
        assert_eq!((clock.now(), clock.certain()), (9_500_000, 1_005_000));
    }
}
