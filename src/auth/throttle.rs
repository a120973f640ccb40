//! Slows down guessing. Failed sign-ins are counted per account and per client address; a browser that signed in before is counted
//! by itself instead, so that a stranger who guesses cannot keep the owner out. All in memory, capped, and charged before the
//! password is looked at, so that many guesses at once are counted as many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::audit::Refusals;
use crate::clock::{Clock, Millis};
use crate::connection::one_client;
use crate::error::{Error, Kind, Result};

/// How long an account waits after its first, second ... failure; the last one repeats.
const WAITS: [Millis; 4] = [1_000, 3_000, 5_000, 10_000];
/// Failures are forgotten after this long without another.
const FORGET: Millis = 15 * 60 * 1_000;

/// An address may fail ten times at once, then once in six seconds.
const ADDRESS: Bucket = Bucket { burst: 10, period: 6_000 };
/// Bad tokens of an address: scripts ask often, and a token is beyond guessing anyway.
const TOKENS: Bucket = Bucket { burst: 60, period: 1_000 };

/// At most so many accounts, devices and addresses are remembered of each kind.
const MOST: usize = 20_000;

struct Bucket {
    burst: i64,
    period: Millis,
}

/// The counters. Cheap to clone.
#[derive(Clone)]
pub struct Throttle {
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// What becomes of refused attempts in the audit log.
    pub refusals: Refusals,
}

#[derive(Default)]
struct State {
    accounts: HashMap<String, Failures>,
    devices: HashMap<String, Failures>,
    /// When the address has its whole burst back.
    addresses: HashMap<IpAddr, Millis>,
    tokens: HashMap<IpAddr, Millis>,
}

#[derive(Clone, Copy, Default)]
struct Failures {
    count: usize,
    /// The next attempt is looked at from here on.
    until: Millis,
}

/// An attempt that was let through and is charged for. Tell it when the password fits.
#[must_use]
#[derive(Debug)]
pub struct Attempt {
    account: String,
    device: Option<String>,
    address: IpAddr,
}

impl Throttle {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), refusals: Refusals::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an attempt through and charges it as failed, or says when to come back. `device` is the hash of a device cookie that
    /// was seen to belong to this account.
    pub fn admit(&self, email: &str, device: Option<&str>, address: IpAddr) -> Result<Attempt> {
        let now = self.clock.now();
        let address = one_client(address);
        let attempt = Attempt { account: email.to_owned(), device: device.map(str::to_owned), address };
        let mut state = self.state();
        if let Some(device) = device {
            wait_of(&state.devices, device, now).map_or(Ok(()), too_soon)?;
            fail(&mut state.devices, device, now);
            return Ok(attempt);
        }
        let longest = wait_of(&state.accounts, email, now).max(ADDRESS.wait(&state.addresses, address, now));
        longest.map_or(Ok(()), too_soon)?;
        fail(&mut state.accounts, email, now);
        ADDRESS.charge(&mut state.addresses, address, now);
        Ok(attempt)
    }

    /// The password fits: gives back what the attempt was charged and forgets the failures before it.
    pub fn succeeded(&self, attempt: &Attempt) {
        let mut state = self.state();
        match &attempt.device {
            Some(device) => drop(state.devices.remove(device)),
            None => {
                state.accounts.remove(&attempt.account);
                ADDRESS.give_back(&mut state.addresses, attempt.address);
            }
        }
    }

    /// The password was not looked at, since the server was too busy: gives back the charge, and the failures before it stay.
    pub fn not_looked_at(&self, attempt: &Attempt) {
        let now = self.clock.now();
        let mut state = self.state();
        let (counts, key) = match &attempt.device {
            Some(device) => (&mut state.devices, device),
            None => (&mut state.accounts, &attempt.account),
        };
        if let Some(failures) = counts.get_mut(key) {
            *failures = Failures { count: failures.count.saturating_sub(1), until: now };
        }
        if attempt.device.is_none() {
            ADDRESS.give_back(&mut state.addresses, attempt.address);
        }
    }

    /// Whether this address may try tokens, or has tried too many bad ones.
    pub fn tokens_of(&self, address: IpAddr) -> Result<()> {
        TOKENS.wait(&self.state().tokens, one_client(address), self.clock.now()).map_or(Ok(()), too_soon)
    }

    /// This address brought a token that is not good.
    pub fn bad_token(&self, address: IpAddr) {
        TOKENS.charge(&mut self.state().tokens, one_client(address), self.clock.now());
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Throttle(...)")
    }
}

fn too_soon(until: Millis) -> Result<()> {
    Err(Error::new(Kind::TooMany { until }, "too_many_attempts", "Too many failed attempts.").action("Wait a moment, then try again."))
}

fn wait_of(counts: &HashMap<String, Failures>, key: &str, now: Millis) -> Option<Millis> {
    counts.get(key).map(|failures| failures.until).filter(|until| *until > now)
}

fn fail(counts: &mut HashMap<String, Failures>, key: &str, now: Millis) {
    make_room(counts, |failures| failures.until, now - FORGET);
    let failures = counts.entry(key.to_owned()).or_default();
    if failures.until < now - FORGET {
        failures.count = 0;
    }
    failures.until = now + WAITS.get(failures.count).or(WAITS.last()).copied().unwrap_or_default();
    failures.count += 1;
}

impl Bucket {
    /// `full_at` moves one period ahead with each charge; it may be one burst ahead of now.
    fn wait(&self, full_at: &HashMap<IpAddr, Millis>, address: IpAddr, now: Millis) -> Option<Millis> {
        let room_at = full_at.get(&address)? - (self.burst - 1) * self.period;
        (room_at > now).then_some(room_at)
    }

    fn charge(&self, full_at: &mut HashMap<IpAddr, Millis>, address: IpAddr, now: Millis) {
        make_room(full_at, |at| *at, now);
        let at = full_at.entry(address).or_insert(now);
        *at = (*at).max(now) + self.period;
    }

    fn give_back(&self, full_at: &mut HashMap<IpAddr, Millis>, address: IpAddr) {
        if let Some(at) = full_at.get_mut(&address) {
            *at -= self.period;
        }
    }
}

/// When full, forgets what no longer counts, and if that is nothing, the quarter that counts for the shortest time.
fn make_room<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, until: impl Fn(&V) -> Millis, now: Millis) {
    if map.len() < MOST {
        return;
    }
    map.retain(|_, value| until(value) > now);
    if map.len() >= MOST {
        let mut ends: Vec<Millis> = map.values().map(&until).collect();
        ends.sort_unstable();
        let line = ends.get(MOST / 4).copied().unwrap_or(Millis::MAX);
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
        let Kind::TooMany { until } = error.kind() else { panic!("{error}") };
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
        let mut looked_at = 0;
        for n in 0..3_000 {
            looked_at += usize::from(throttle.admit(OWNER, None, address(n % 200)).is_ok());
            clock.advance(100);
        }
        assert!(looked_at <= 50, "{looked_at} guesses in five minutes");
        let attempt = throttle.admit(OWNER, Some("device"), address(1)).unwrap();
        throttle.succeeded(&attempt);
        assert!(throttle.admit(OWNER, Some("device"), address(1)).is_ok());
    }

    #[test]
    fn an_address_fails_ten_times_then_once_in_six_seconds() {
        let (clock, throttle) = throttle();
        let passed = |throttle: &Throttle| (0..100).filter(|n| throttle.admit(&format!("{n}@house.test"), None, address(1)).is_ok()).count();
        assert_eq!(passed(&throttle), 10);
        clock.advance(6_000);
        let error = throttle.admit("new@house.test", None, address(1)).map(|_| throttle.admit("other@house.test", None, address(1)));
        assert_eq!(wait(&error.unwrap().unwrap_err(), &clock), 6_000);
        clock.advance(3_600_000);
        assert_eq!(passed(&throttle), 10);
    }

    #[test]
    fn an_ipv6_client_is_its_whole_network() {
        let (_clock, throttle) = throttle();
        let passed = (0..100_u128).filter(|n| {
            let address = IpAddr::V6((0x2001_0db8_u128 << 96 | n << 40 | n).into());
            throttle.admit(&format!("{n}@house.test"), None, address).is_ok()
        });
        assert_eq!(passed.count(), 10);
        let mapped: IpAddr = "::ffff:10.0.0.9".parse().unwrap();
        assert_eq!(one_client(mapped), "10.0.0.9".parse::<IpAddr>().unwrap());
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
            throttle.not_looked_at(&attempt);
        }
        let _second = throttle.admit(OWNER, None, address(1)).unwrap();
        assert_eq!(wait(&throttle.admit(OWNER, None, address(1)).unwrap_err(), &clock), 3_000);
    }

    #[test]
    fn memory_is_capped_and_the_slowed_are_kept_longest() {
        let (clock, throttle) = throttle();
        for _ in 0..6 {
            let _attempt = throttle.admit(OWNER, None, address(0)).unwrap();
            clock.advance(10_000);
        }
        let _attempt = throttle.admit(OWNER, None, address(0)).unwrap();
        for n in 1..30_000 {
            let _attempt = throttle.admit(&format!("{n}@house.test"), None, address(n)).unwrap();
        }
        assert!(throttle.state().accounts.len() <= MOST && throttle.state().addresses.len() <= MOST);
        assert!(throttle.admit(OWNER, None, address(40_000)).is_err());
    }

    #[test]
    fn bad_tokens_of_an_address_are_limited() {
        let (clock, throttle) = throttle();
        for _ in 0..60 {
            throttle.tokens_of(address(1)).unwrap();
            throttle.bad_token(address(1));
        }
        assert!(throttle.tokens_of(address(1)).is_err());
        throttle.tokens_of(address(2)).unwrap();
        clock.advance(1_000);
        throttle.tokens_of(address(1)).unwrap();
    }
}
