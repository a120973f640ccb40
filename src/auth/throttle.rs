//! Throttles password guessing. Failed sign-ins are counted per account and per client address. A
//! remembered browser has its own counter, so that a stranger's guesses cannot lock out the owner.
//! The counters are in memory and capped, and an attempt is counted before its password is
//! verified, so that concurrent guesses are counted correctly.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::audit::AttemptLog;
use crate::clock::{Clock, Millis};
use crate::connection::client_network;
use crate::error::{Error, ErrorKind, Result};

/// The wait after the first, second ... failure of an account; the last one repeats.
const WAITS: [Millis; 4] = [1_000, 3_000, 5_000, 10_000];
/// Failures expire after this long without another one.
const FORGET_AFTER: Millis = 15 * 60 * 1_000;

/// An address may fail ten times at once, then once in six seconds.
const ADDRESS: Bucket = Bucket {
    burst: 10,
    period: 6_000,
};
/// The limit for invalid tokens of an address. Scripts send many requests, and a token cannot be
/// guessed anyway.
const TOKENS: Bucket = Bucket {
    burst: 60,
    period: 1_000,
};

/// The maximum number of accounts, devices and addresses, each, that are counted.
const MAX_ENTRIES: usize = 20_000;

struct Bucket {
    burst: i64,
    period: Millis,
}

/// The counters. Cheap to clone.
#[derive(Clone)]
pub struct Throttle {
    clock: Clock,
    state: Arc<Mutex<ThrottleState>>,
    /// Aggregates rejected attempts for the audit log.
    pub attempt_log: AttemptLog,
}

#[derive(Default)]
struct ThrottleState {
    accounts: HashMap<String, Failures>,
    devices: HashMap<String, Failures>,
    /// When the address has its full burst again.
    addresses: HashMap<IpAddr, Millis>,
    tokens: HashMap<IpAddr, Millis>,
}

#[derive(Clone, Copy, Default)]
struct Failures {
    count: usize,
    /// Attempts before this time are rejected.
    until: Millis,
}

/// An attempt that was admitted and counted as a failure. Call `succeeded` when the password
/// matches.
#[must_use]
#[derive(Debug)]
pub struct Attempt {
    account: String,
    device: Option<String>,
    address: IpAddr,
}

impl Throttle {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Arc::default(),
            attempt_log: AttemptLog::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, ThrottleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits an attempt and counts it as failed, or returns when to try again. `device` is the
    /// hash of a device cookie that belongs to this account.
    pub fn admit(&self, email: &str, device: Option<&str>, address: IpAddr) -> Result<Attempt> {
        let now = self.clock.now();
        let address = client_network(address);
        let attempt = Attempt {
            account: email.to_owned(),
            device: device.map(str::to_owned),
            address,
        };
        let mut state = self.state();
        if let Some(device) = device {
            blocked_until(&state.devices, device, now).map_or(Ok(()), too_soon)?;
            record_failure(&mut state.devices, device, now);
            return Ok(attempt);
        }
        let longest = blocked_until(&state.accounts, email, now).max(ADDRESS.blocked_until(
            &state.addresses,
            address,
            now,
        ));
        longest.map_or(Ok(()), too_soon)?;
        record_failure(&mut state.accounts, email, now);
        ADDRESS.charge(&mut state.addresses, address, now);
        Ok(attempt)
    }

    /// The password matches: removes the charge of the attempt and the earlier failures.
    pub fn succeeded(&self, attempt: &Attempt) {
        let mut state = self.state();
        match &attempt.device {
            Some(device) => drop(state.devices.remove(device)),
            None => {
                state.accounts.remove(&attempt.account);
                ADDRESS.refund(&mut state.addresses, attempt.address);
            }
        }
    }

    /// The password was not verified because the server was too busy: removes the charge; earlier
    /// failures stay.
    pub fn cancel(&self, attempt: &Attempt) {
        let now = self.clock.now();
        let mut state = self.state();
        let (counts, key) = match &attempt.device {
            Some(device) => (&mut state.devices, device),
            None => (&mut state.accounts, &attempt.account),
        };
        if let Some(failures) = counts.get_mut(key) {
            *failures = Failures {
                count: failures.count.saturating_sub(1),
                until: now,
            };
        }
        if attempt.device.is_none() {
            ADDRESS.refund(&mut state.addresses, attempt.address);
        }
    }

    /// Whether this address may send tokens, or has sent too many invalid ones.
    pub fn check_token_attempts(&self, address: IpAddr) -> Result<()> {
        TOKENS
            .blocked_until(
                &self.state().tokens,
                client_network(address),
                self.clock.now(),
            )
            .map_or(Ok(()), too_soon)
    }

    /// Counts an invalid token of this address.
    pub fn record_bad_token(&self, address: IpAddr) {
        TOKENS.charge(
            &mut self.state().tokens,
            client_network(address),
            self.clock.now(),
        );
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Throttle(...)")
    }
}

fn too_soon(until: Millis) -> Result<()> {
    Err(Error::new(
        ErrorKind::TooMany { until },
        "too_many_attempts",
        "Too many failed attempts.",
    )
    .action("Wait a moment, then try again."))
}

fn blocked_until(counts: &HashMap<String, Failures>, key: &str, now: Millis) -> Option<Millis> {
    counts
        .get(key)
        .map(|failures| failures.until)
        .filter(|until| *until > now)
}

fn record_failure(counts: &mut HashMap<String, Failures>, key: &str, now: Millis) {
    evict(counts, |failures| failures.until, now - FORGET_AFTER);
    let failures = counts.entry(key.to_owned()).or_default();
    if failures.until < now - FORGET_AFTER {
        failures.count = 0;
    }
    failures.until = now
        + WAITS
            .get(failures.count)
            .or(WAITS.last())
            .copied()
            .unwrap_or_default();
    failures.count += 1;
}

impl Bucket {
    /// `full_at` moves one period ahead with each charge; it may be one burst ahead of now.
    fn blocked_until(
        &self,
        full_at: &HashMap<IpAddr, Millis>,
        address: IpAddr,
        now: Millis,
    ) -> Option<Millis> {
        let room_at = full_at.get(&address)? - (self.burst - 1) * self.period;
        (room_at > now).then_some(room_at)
    }

    fn charge(&self, full_at: &mut HashMap<IpAddr, Millis>, address: IpAddr, now: Millis) {
        evict(full_at, |at| *at, now);
        let at = full_at.entry(address).or_insert(now);
        *at = (*at).max(now) + self.period;
    }

    fn refund(&self, full_at: &mut HashMap<IpAddr, Millis>, address: IpAddr) {
        if let Some(at) = full_at.get_mut(&address) {
            *at -= self.period;
        }
    }
}

/// When the map is full, deletes expired entries, or else the quarter that expires first.
fn evict<K: Eq + std::hash::Hash, V>(
    map: &mut HashMap<K, V>,
    until: impl Fn(&V) -> Millis,
    now: Millis,
) {
    if map.len() < MAX_ENTRIES {
        return;
    }
    map.retain(|_, value| until(value) > now);
    if map.len() >= MAX_ENTRIES {
        let mut ends: Vec<Millis> = map.values().map(&until).collect();
        ends.sort_unstable();
        let line = ends.get(MAX_ENTRIES / 4).copied().unwrap_or(Millis::MAX);
        map.retain(|_, value| until(value) > line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "owner@house.test";

    fn throttle() -> (Clock, Throttle) {
        let clock = Clock::stopped_at(1_795_262_400_000);
        (clock.clone(), Throttle::new(clock))
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    fn wait(error: &Error, clock: &Clock) -> Millis {
        let ErrorKind::TooMany { until } = error.kind() else {
            panic!("{error}")
        };
        until - clock.now()
    }

    #[test]
    fn failures_of_an_account_are_slowed_more_each_time() {
        let (clock, throttle) = throttle();
        for expected in [1_000, 3_000, 5_000, 10_000, 10_000] {
            let _attempt = throttle.admit(OWNER, None, address(1)).unwrap();
            let error = throttle.admit(OWNER, None, address(2)).unwrap_err();
            assert_eq!(wait(&error, &clock), expected);
            clock.advance(expected);
        }
    }

    #[test]
    fn a_stranger_with_many_addresses_gets_few_guesses_and_the_owners_browser_gets_in() {
        let (clock, throttle) = throttle();
        let mut let_through = 0;
        for n in 0..3_000 {
            let_through += usize::from(throttle.admit(OWNER, None, address(n % 200)).is_ok());
            clock.advance(100);
        }
        assert!(let_through <= 50, "{let_through} guesses in five minutes");
        let attempt = throttle.admit(OWNER, Some("device"), address(1)).unwrap();
        throttle.succeeded(&attempt);
        assert!(throttle.admit(OWNER, Some("device"), address(1)).is_ok());
    }

    #[test]
    fn an_address_fails_ten_times_then_once_in_six_seconds() {
        let (clock, throttle) = throttle();
        let passed = |throttle: &Throttle| {
            (0..100)
                .filter(|n| {
                    throttle
                        .admit(&format!("{n}@house.test"), None, address(1))
                        .is_ok()
                })
                .count()
        };
        assert_eq!(passed(&throttle), 10);
        clock.advance(6_000);
        let error = throttle
            .admit("new@house.test", None, address(1))
            .map(|_| throttle.admit("other@house.test", None, address(1)));
        assert_eq!(wait(&error.unwrap().unwrap_err(), &clock), 6_000);
        clock.advance(3_600_000);
        assert_eq!(passed(&throttle), 10);
    }

    #[test]
    fn an_ipv6_client_is_its_whole_network() {
        let (_clock, throttle) = throttle();
        let passed = (0..100_u128).filter(|n| {
            let address = IpAddr::V6((0x2001_0db8_u128 << 96 | n << 40 | n).into());
            throttle
                .admit(&format!("{n}@house.test"), None, address)
                .is_ok()
        });
        assert_eq!(passed.count(), 10);
        let mapped: IpAddr = "::ffff:10.0.0.9".parse().unwrap();
        assert_eq!(
            client_network(mapped),
            "10.0.0.9".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn success_gives_back_what_was_charged() {
        let (_clock, throttle) = throttle();
        for _ in 0..100 {
            let attempt = throttle.admit(OWNER, None, address(1)).unwrap();
            throttle.succeeded(&attempt);
        }
    }

    #[test]
    fn an_attempt_that_was_not_looked_at_is_not_charged() {
        let (clock, throttle) = throttle();
        let _first = throttle.admit(OWNER, None, address(1)).unwrap();
        clock.advance(1_000);
        for _ in 0..100 {
            let attempt = throttle.admit(OWNER, None, address(1)).unwrap();
            throttle.cancel(&attempt);
        }
        let _second = throttle.admit(OWNER, None, address(1)).unwrap();
        assert_eq!(
            wait(
                &throttle.admit(OWNER, None, address(1)).unwrap_err(),
                &clock
            ),
            3_000
        );
    }

    #[test]
    fn memory_is_capped_and_throttled_entries_are_dropped_last() {
        let (clock, throttle) = throttle();
        for _ in 0..6 {
            let _attempt = throttle.admit(OWNER, None, address(0)).unwrap();
            clock.advance(10_000);
        }
        let _attempt = throttle.admit(OWNER, None, address(0)).unwrap();
        for n in 1..30_000 {
            let _attempt = throttle
                .admit(&format!("{n}@house.test"), None, address(n))
                .unwrap();
        }
        assert!(
            throttle.state().accounts.len() <= MAX_ENTRIES
                && throttle.state().addresses.len() <= MAX_ENTRIES
        );
        assert!(throttle.admit(OWNER, None, address(40_000)).is_err());
    }

    #[test]
    fn bad_tokens_of_an_address_are_limited() {
        let (clock, throttle) = throttle();
        for _ in 0..60 {
            throttle.check_token_attempts(address(1)).unwrap();
            throttle.record_bad_token(address(1));
        }
        assert!(throttle.check_token_attempts(address(1)).is_err());
        throttle.check_token_attempts(address(2)).unwrap();
        clock.advance(1_000);
        throttle.check_token_attempts(address(1)).unwrap();
    }
}
