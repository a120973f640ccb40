//! What is known of one account at its vendor, shared by all that ask for it: the pace, whether its credentials are good, the region where
//! it lives, the day on which the vendor ends this API.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::confirm::Verdict;
use super::pace::Pace;
use crate::clock::Millis;
use crate::connectors::PullError;

/// After so many refusals in a row nobody knocks any more until the credentials change.
pub const MAX_REFUSALS: u32 = 3;

/// See above.
pub(super) struct Standing {
    pub pace: Arc<Pace>,
    heard: Mutex<Heard>,
    /// Whoever knocks while it is not known that the credentials are good does so alone.
    knocking: tokio::sync::Mutex<()>,
    /// What the last check call came to; held while one is made.
    pub verdict: tokio::sync::Mutex<Option<Verdict>>,
}

#[derive(Default)]
struct Heard {
    /// The vendor accepted the credentials, and has not refused them since.
    accepted: bool,
    /// When the newest request left that it accepted.
    accepted_at: Option<Instant>,
    /// When somebody was last told to keep what left.
    kept_at: Option<Instant>,
    /// How often in a row it refused them.
    refusals: u32,
    /// Where the vendor keeps the account, once it has told that a request came to the wrong place.
    region: Option<HeaderValue>,
    ends_on: Option<Date>,
}

/// What a vendor has told of an account, for whoever keeps it over a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Nobody asks for the account before this.
    pub paused_until: Option<Millis>,
    pub region: Option<String>,
    /// The day on which the vendor ends this API, as its `Legacy` or `Deprecation` header tells; none when it told none since the start.
    pub ends_on: Option<Date>,
    /// Requests of the last minute, by the moment at which each second began.
    pub asked: Vec<(Millis, u32)>,
}

/// How much an account is asked just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Requests that left in the last 60 seconds.
    pub last_minute: u32,
    /// The most there may be; 0 is no limit.
    pub per_minute: u32,
    /// Requests that are on their way.
    pub in_flight: u32,
    /// How long nobody asks, because the vendor said so.
    pub paused: Duration,
}

impl Standing {
    pub fn new(requests_per_minute: u32) -> Self {
        Self::in_pace(Arc::new(Pace::new(requests_per_minute)))
    }

    /// One that shares only the pace with another.
    pub fn in_pace(pace: Arc<Pace>) -> Self {
        Self { pace, heard: Mutex::default(), knocking: tokio::sync::Mutex::default(), verdict: tokio::sync::Mutex::default() }
    }

    /// Waits until a request may knock with the credentials: at once while they are known to be good, one after the other while they
    /// are not, never once they were refused too often. `Withheld` is that last case; nothing is sent then.
    pub async fn turn(&self) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, PullError> {
        if self.heard().accepted {
            return Ok(None);
        }
        let alone = self.knocking.lock().await;
        let heard = self.heard();
        match (heard.accepted, heard.refusals) {
            (true, _) => Ok(None),
            (false, MAX_REFUSALS..) => Err(PullError::Withheld),
            (false, _) => Ok(Some(alone)),
        }
    }

    /// A request that left then was accepted.
    pub fn accepted(&self, left: Instant) {
        let mut heard = self.heard();
        (heard.accepted, heard.refusals) = (true, 0);
        heard.accepted_at = heard.accepted_at.max(Some(left));
    }

    /// Whether a request that left at this moment or later was accepted.
    pub fn was_accepted_since(&self, moment: Instant) -> bool {
        self.heard().accepted_at.is_some_and(|at| at >= moment)
    }

    /// `alone`: the request knocked by itself. Of those that left side by side while the credentials were good, the first one counts.
    pub fn refused(&self, alone: bool) {
        let mut heard = self.heard();
        if heard.accepted || alone {
            heard.refusals = heard.refusals.saturating_add(1);
        }
        heard.accepted = false;
    }

    pub fn trust_again(&self) {
        self.heard().refusals = 0;
    }

    pub fn region(&self) -> Option<HeaderValue> {
        self.heard().region.clone()
    }

    pub fn moved(&self, region: HeaderValue) {
        self.heard().region = Some(region);
    }

    /// The earliest of the days that were told counts: parts of an API may end one after the other.
    pub fn ends_on(&self, day: Date) {
        let mut heard = self.heard();
        heard.ends_on = Some(heard.ends_on.map_or(day, |before| before.min(day)));
    }

    pub fn told(&self, now: Millis) -> Told {
        let (paused, asked) = (self.pace.gauge().paused, self.pace.asked(now));
        let heard = self.heard();
        Told {
            paused_until: (!paused.is_zero()).then(|| now.saturating_add(i64::try_from(paused.as_millis()).unwrap_or(i64::MAX))),
            region: heard.region.as_ref().and_then(|region| region.to_str().ok()).map(str::to_owned),
            ends_on: heard.ends_on,
            asked,
        }
    }

    pub fn recall(&self, told: &Told, now: Millis) {
        if let Some(left) = told.paused_until.and_then(|until| u64::try_from(until - now).ok()).filter(|left| *left > 0) {
            self.pace.hold(Duration::from_millis(left));
        }
        self.pace.recall(&told.asked, now);
        let mut heard = self.heard();
        if heard.region.is_none() {
            heard.region = told.region.as_deref().and_then(region);
        }
    }

    /// Whether it is time to keep what left, since requests left and nobody did so for this long.
    pub fn is_to_be_kept(&self, every: Duration) -> bool {
        let asked = self.pace.gauge().last_minute > 0;
        let mut heard = self.heard();
        let due = asked && heard.kept_at.is_none_or(|at| at.elapsed() >= every);
        if due {
            heard.kept_at = Some(Instant::now());
        }
        due
    }

    pub fn gauge(&self) -> Gauge {
        self.pace.gauge()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a region, if it could be one: it goes into a header.
pub(super) fn region(name: &str) -> Option<HeaderValue> {
    let plain = (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    plain.then(|| HeaderValue::from_str(name).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_vendor_told_comes_back_after_a_restart() {
        let before = Standing::new(180);
        drop(before.pace.leave(Duration::ZERO).await.ok().unwrap());
        before.pace.pause(Some(Duration::from_secs(3_600)), Duration::ZERO);
        before.moved(region("fra").unwrap());
        before.ends_on("2027-06-30".parse().unwrap());
        let told = before.told(1_000);
        let ends_on = Some("2027-06-30".parse().unwrap());
        assert_eq!(told, Told { paused_until: Some(3_601_000), region: Some("fra".to_owned()), ends_on, asked: vec![(1_000, 1)] });
        let after = Standing::new(180);
        after.recall(&told, 601_000);
        let told = Told { asked: Vec::new(), ..told };
        assert_eq!(after.told(601_000), Told { ends_on: None, ..told.clone() }, "the vendor tells the day again");
        assert!(after.pace.leave(Duration::from_secs(60)).await.is_err(), "the pause goes on");
        // A pause that is over is none, and what is known already counts more.
        after.recall(&Told { paused_until: Some(5), region: Some("dal".to_owned()), ..Told::default() }, 601_000);
        assert_eq!(after.told(601_000), Told { ends_on: None, ..told });
        after.ends_on("2027-08-01".parse().unwrap());
        after.ends_on("2027-07-01".parse().unwrap());
        after.ends_on("2027-09-01".parse().unwrap());
        assert_eq!(after.told(0).ends_on, Some("2027-07-01".parse().unwrap()));
    }

    #[tokio::test]
    async fn whoever_knocks_with_untried_credentials_knocks_alone_and_three_times_at_most() {
        let standing = Standing::new(0);
        for _ in 0..MAX_REFUSALS {
            let alone = standing.turn().await.unwrap();
            assert!(alone.is_some());
            assert!(tokio::time::timeout(Duration::from_millis(5), standing.turn()).await.is_err(), "the next one waits");
            standing.refused(true);
            drop(alone);
        }
        assert!(matches!(standing.turn().await, Err(PullError::Withheld)));
        standing.trust_again();
        assert!(standing.turn().await.unwrap().is_some());
        let now = Instant::now();
        standing.accepted(now);
        assert!(standing.was_accepted_since(now) && !standing.was_accepted_since(now + Duration::from_millis(1)));
        assert!(standing.turn().await.unwrap().is_none(), "good ones go side by side");
        for _ in 0..8 {
            standing.refused(false);
        }
        assert!(standing.turn().await.unwrap().is_some(), "eight that were on their way are one refusal");
    }

    #[test]
    fn a_region_is_a_plain_word() {
        assert!(["fra", "us-east_1"].iter().all(|name| region(name).is_some()));
        assert!(["", "a b", "a\r\nx: y", "æ"].iter().all(|name| region(name).is_none()));
    }
}
