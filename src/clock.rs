//! The only reader of the system clock. Everything else is handed a `Clock`, so that a test can stop time and move it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// Milliseconds since 1970-01-01T00:00:00Z: how every moment is stored.
pub type Millis = i64;

/// Tells the time, and waits for it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Test(Arc<watch::Sender<Millis>>),
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `now` until it is told to move.
    pub fn stopped_at(now: Millis) -> Self {
        Self(Source::Test(Arc::new(watch::Sender::new(now))))
    }

    /// Moves a test clock by `by` (backwards too), waking whoever waits on it. Does nothing to the system clock.
    pub fn advance(&self, by: Millis) {
        if let Source::Test(time) = &self.0 {
            time.send_modify(|now| *now += by);
        }
    }

    pub fn now(&self) -> Millis {
        match &self.0 {
            Source::System => {
                #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system clock")]
                let now = Timestamp::now();
                now.as_millisecond()
            }
            Source::Test(time) => *time.borrow(),
        }
    }

    pub fn timestamp(&self) -> Timestamp {
        timestamp(self.now())
    }

    /// Returns once the clock shows `at` or later.
    pub async fn wait_until(&self, at: Millis) {
        match &self.0 {
            Source::System => loop {
                let left = at - self.now();
                if left <= 0 {
                    return;
                }
                // In slices, so that a machine that slept or whose clock was set wakes soon after.
                let slice = Duration::from_millis(left.unsigned_abs()).min(Duration::from_secs(20));
                tokio::time::sleep(slice).await;
            },
            Source::Test(time) => {
                let _ = time.subscribe().wait_for(|now| *now >= at).await;
            }
        }
    }

    /// Returns after `wait` has passed on this clock.
    pub async fn wait(&self, wait: Duration) {
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        self.wait_until(self.now().saturating_add(wait)).await;
    }
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
