//! The state of one account at its vendor, shared by all its requests: the rate limit, whether the
//! credentials are valid, the account's region, and the day on which the vendor ends the API.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::confirm::Verdict;
use super::pace::Pace;
use crate::clock::Millis;
use crate::connectors::PullError;

/// After this many rejections in a row no request is sent until the credentials change.
pub const MAX_AUTH_FAILURES: u32 = 3;

/// The state of one account at its vendor.
pub(super) struct AccountState {
    pub pace: Arc<Pace>,
    vendor_state: Mutex<VendorState>,
    /// Held by a request while the credentials are not known to be valid, so that such requests are
    /// sent one at a time.
    auth_probe: tokio::sync::Mutex<()>,
    /// The result of the last auth check call; locked while one is in flight.
    pub verdict: tokio::sync::Mutex<Option<Verdict>>,
}

#[derive(Default)]
struct VendorState {
    /// The vendor accepted the credentials and has not rejected them since.
    accepted: bool,
    /// When the newest accepted request was sent.
    accepted_at: Option<Instant>,
    /// When the recent requests were last saved.
    saved_at: Option<Instant>,
    /// Rejections in a row.
    auth_failures: u32,
    /// The region of the account, known after the vendor reported that a request went to the wrong
    /// region.
    region: Option<HeaderValue>,
    api_ends_on: Option<Date>,
}

/// What the vendor reported about an account; the database stores it over a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VendorHints {
    /// No request may be sent before this time.
    pub paused_until: Option<Millis>,
    pub region: Option<String>,
    /// The day on which the vendor ends this API, from its `Legacy` or `Deprecation` header; `None`
    /// if no header was received since the start.
    pub api_ends_on: Option<Date>,
    /// Requests of the last minute, by the start of each second.
    pub recent_requests: Vec<(Millis, u32)>,
}

/// The current load of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Requests in the last 60 seconds.
    pub last_minute: u32,
    /// The maximum per minute; 0 is no limit.
    pub per_minute: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// The rest of a pause that the vendor asked for.
    pub paused: Duration,
}

impl AccountState {
    pub fn new(requests_per_minute: u32) -> Self {
        Self::with_pace(Arc::new(Pace::new(requests_per_minute)))
    }

    /// A new state that shares only the rate limit with another one.
    pub fn with_pace(pace: Arc<Pace>) -> Self {
        Self {
            pace,
            vendor_state: Mutex::default(),
            auth_probe: tokio::sync::Mutex::default(),
            verdict: tokio::sync::Mutex::default(),
        }
    }

    /// Waits until a request may use the credentials: at once while they are known to be valid, one
    /// at a time while they are not. Fails with `CredentialsStopped` after too many rejections; no
    /// request is sent then.
    pub async fn acquire_auth_probe(
        &self,
    ) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, PullError> {
        if self.vendor_state().accepted {
            return Ok(None);
        }
        let probe = self.auth_probe.lock().await;
        let vendor_state = self.vendor_state();
        match (vendor_state.accepted, vendor_state.auth_failures) {
            (true, _) => Ok(None),
            (false, MAX_AUTH_FAILURES..) => Err(PullError::CredentialsStopped),
            (false, _) => Ok(Some(probe)),
        }
    }

    /// A request that was sent at that moment was accepted.
    pub fn record_acceptance(&self, sent_at: Instant) {
        let mut vendor_state = self.vendor_state();
        (vendor_state.accepted, vendor_state.auth_failures) = (true, 0);
        vendor_state.accepted_at = vendor_state.accepted_at.max(Some(sent_at));
    }

    /// Whether a request that was sent at this moment or later was accepted.
    pub fn was_accepted_since(&self, moment: Instant) -> bool {
        self.vendor_state()
            .accepted_at
            .is_some_and(|at| at >= moment)
    }

    /// Records a rejection. `is_probe`: the request was the only one in flight. Of several rejected
    /// requests that were in flight while the credentials were valid, only the first one counts.
    pub fn record_rejection(&self, is_probe: bool) {
        let mut vendor_state = self.vendor_state();
        if vendor_state.accepted || is_probe {
            vendor_state.auth_failures = vendor_state.auth_failures.saturating_add(1);
        }
        vendor_state.accepted = false;
    }

    pub fn reset_auth(&self) {
        self.vendor_state().auth_failures = 0;
    }

    pub fn region(&self) -> Option<HeaderValue> {
        self.vendor_state().region.clone()
    }

    pub fn set_region(&self, region: HeaderValue) {
        self.vendor_state().region = Some(region);
    }

    /// Keeps the earliest day: parts of an API may end at different times.
    pub fn record_api_end(&self, day: Date) {
        let mut vendor_state = self.vendor_state();
        vendor_state.api_ends_on = Some(
            vendor_state
                .api_ends_on
                .map_or(day, |before| before.min(day)),
        );
    }

    pub fn vendor_hints(&self, now: Millis) -> VendorHints {
        let (paused, recent_requests) = (self.pace.gauge().paused, self.pace.recent_requests(now));
        let vendor_state = self.vendor_state();
        VendorHints {
            paused_until: (!paused.is_zero())
                .then(|| now.saturating_add(i64::try_from(paused.as_millis()).unwrap_or(i64::MAX))),
            region: vendor_state
                .region
                .as_ref()
                .and_then(|region| region.to_str().ok())
                .map(str::to_owned),
            api_ends_on: vendor_state.api_ends_on,
            recent_requests,
        }
    }

    pub fn restore(&self, hints: &VendorHints, now: Millis) {
        if let Some(remaining) = hints
            .paused_until
            .and_then(|until| u64::try_from(until - now).ok())
            .filter(|remaining| *remaining > 0)
        {
            self.pace.extend_pause(Duration::from_millis(remaining));
        }
        self.pace.restore(&hints.recent_requests, now);
        let mut vendor_state = self.vendor_state();
        if vendor_state.region.is_none() {
            vendor_state.region = hints.region.as_deref().and_then(region);
        }
    }

    /// Whether the recent requests should be saved: there are some, and the last save is at least
    /// `every` ago.
    pub fn is_save_due(&self, every: Duration) -> bool {
        let has_requests = self.pace.gauge().last_minute > 0;
        let mut vendor_state = self.vendor_state();
        let due = has_requests && vendor_state.saved_at.is_none_or(|at| at.elapsed() >= every);
        if due {
            vendor_state.saved_at = Some(Instant::now());
        }
        due
    }

    pub fn gauge(&self) -> Gauge {
        self.pace.gauge()
    }

    fn vendor_state(&self) -> MutexGuard<'_, VendorState> {
        self.vendor_state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Validates the name of a region, because it is sent in a header.
pub(super) fn region(name: &str) -> Option<HeaderValue> {
    let plain = (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    plain.then(|| HeaderValue::from_str(name).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn vendor_hints_are_restored_after_a_restart() {
        let before = AccountState::new(180);
        drop(
            before
                .pace
                .acquire_permit(Duration::ZERO)
                .await
                .ok()
                .unwrap(),
        );
        before
            .pace
            .pause(Some(Duration::from_secs(3_600)), Duration::ZERO);
        before.set_region(region("fra").unwrap());
        before.record_api_end("2027-06-30".parse().unwrap());
        let hints = before.vendor_hints(1_000);
        let api_ends_on = Some("2027-06-30".parse().unwrap());
        assert_eq!(
            hints,
            VendorHints {
                paused_until: Some(3_601_000),
                region: Some("fra".to_owned()),
                api_ends_on,
                recent_requests: vec![(1_000, 1)]
            }
        );
        let after = AccountState::new(180);
        after.restore(&hints, 601_000);
        let hints = VendorHints {
            recent_requests: Vec::new(),
            ..hints
        };
        assert_eq!(
            after.vendor_hints(601_000),
            VendorHints {
                api_ends_on: None,
                ..hints.clone()
            },
            "the day is not restored"
        );
        assert!(
            after
                .pace
                .acquire_permit(Duration::from_secs(60))
                .await
                .is_err(),
            "the pause continues"
        );
        // A pause that is over has no effect, and newer values take precedence.
        after.restore(
            &VendorHints {
                paused_until: Some(5),
                region: Some("dal".to_owned()),
                ..VendorHints::default()
            },
            601_000,
        );
        assert_eq!(
            after.vendor_hints(601_000),
            VendorHints {
                api_ends_on: None,
                ..hints
            }
        );
        after.record_api_end("2027-08-01".parse().unwrap());
        after.record_api_end("2027-07-01".parse().unwrap());
        after.record_api_end("2027-09-01".parse().unwrap());
        assert_eq!(
            after.vendor_hints(0).api_ends_on,
            Some("2027-07-01".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn unproven_credentials_are_probed_one_at_a_time_and_three_times_at_most() {
        let account_state = AccountState::new(0);
        for _ in 0..MAX_AUTH_FAILURES {
            let probe = account_state.acquire_auth_probe().await.unwrap();
            assert!(probe.is_some());
            assert!(
                tokio::time::timeout(Duration::from_millis(5), account_state.acquire_auth_probe())
                    .await
                    .is_err(),
                "the next one waits"
            );
            account_state.record_rejection(true);
            drop(probe);
        }
        assert!(matches!(
            account_state.acquire_auth_probe().await,
            Err(PullError::CredentialsStopped)
        ));
        account_state.reset_auth();
        assert!(account_state.acquire_auth_probe().await.unwrap().is_some());
        let now = Instant::now();
        account_state.record_acceptance(now);
        assert!(
            account_state.was_accepted_since(now)
                && !account_state.was_accepted_since(now + Duration::from_millis(1))
        );
        assert!(
            account_state.acquire_auth_probe().await.unwrap().is_none(),
            "accepted credentials need no probe"
        );
        for _ in 0..8 {
            account_state.record_rejection(false);
        }
        assert!(
            account_state.acquire_auth_probe().await.unwrap().is_some(),
            "eight rejections of requests in flight count as one"
        );
    }

    #[test]
    fn a_region_is_a_plain_word() {
        assert!(
            ["fra", "us-east_1"]
                .iter()
                .all(|name| region(name).is_some())
        );
        assert!(
            ["", "a b", "a\r\nx: y", "æ"]
                .iter()
                .all(|name| region(name).is_none())
        );
    }
}
