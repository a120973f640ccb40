//! Entries about attempts of people who are not signed in. Anybody can make as many of these attempts as the network carries, so they are
//! counted, and an entry is written at most once a second for each address, with the number of attempts that it stands for. Attempts from
//! very many addresses at once share entries without an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Deed, insert};
use crate::clock::{Clock, Millis, millis};
use crate::connection::one_client;
use crate::db::Db;
use crate::error::Result;

/// An address has at most one entry of a kind in this time.
const PERIOD: Duration = Duration::from_secs(1);
/// So many first attempts are written at once within `PERIOD`; the others wait for its end.
const MAX_AT_ONCE: u32 = 20;
/// So many entries are written at the end of `PERIOD`; the other attempts share one entry for each kind.
const MAX_ENTRIES: usize = 100;
/// So many addresses are told apart.
const MAX_ADDRESSES: usize = 10_000;

/// What is counted together: address, action and result.
type Key = (Option<IpAddr>, &'static str, &'static str);

/// The counts. Cheap to clone.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    seen: HashMap<Key, Seen>,
    /// Entries that were written at once since `began`.
    at_once: u32,
    began: Millis,
    /// A task waits to write down what is counted.
    is_due: bool,
}

#[derive(Default)]
struct Seen {
    /// Until when attempts are only counted, by `Clock::passed`.
    quiet_until: Millis,
    attempts: i64,
    /// What they were aimed at, if that was the same for all.
    object: Option<String>,
}

impl Refusals {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt, and writes it down now or at the end of the second.
    pub async fn note(&self, db: &Db, clock: &Clock, deed: Deed<'_>) -> Result<()> {
        if !self.is_first(db, clock, &deed) {
            return Ok(());
        }
        let mut tx = db.write().await?;
        insert(&mut tx, clock.now(), deed, 1).await?;
        Ok(tx.commit().await?)
    }

    /// Whether this attempt is to be written down at once.
    fn is_first(&self, db: &Db, clock: &Clock, deed: &Deed<'_>) -> bool {
        let (now, period) = (clock.passed(), millis(PERIOD));
        let mut state = self.state();
        if now >= state.began + period {
            (state.began, state.at_once) = (now, 0);
        }
        if state.seen.len() >= MAX_ADDRESSES {
            state.seen.retain(|_, seen| seen.attempts > 0 || seen.quiet_until > now);
        }
        let mut key = (deed.address.map(one_client), deed.action, deed.result);
        if state.seen.len() >= MAX_ADDRESSES && !state.seen.contains_key(&key) {
            key.0 = None;
        }
        let may_write = state.at_once < MAX_AT_ONCE;
        let seen = state.seen.entry(key).or_default();
        if may_write && seen.attempts == 0 && seen.quiet_until <= now {
            seen.quiet_until = now + period;
            state.at_once += 1;
            return true;
        }
        if seen.attempts == 0 {
            seen.object = deed.object.map(str::to_owned);
        } else if seen.object.as_deref() != deed.object {
            seen.object = None;
        }
        seen.attempts += 1;
        if !state.is_due {
            state.is_due = true;
            let (refusals, db, clock) = (self.clone(), db.clone(), clock.clone());
            tokio::spawn(async move { refusals.write_counted(&db, &clock).await });
        }
        false
    }

    /// Writes down what was counted, once a second until there is nothing.
    async fn write_counted(&self, db: &Db, clock: &Clock) {
        loop {
            clock.wait(PERIOD).await;
            let counted = self.take_counted(clock.passed());
            if counted.is_empty() {
                return;
            }
            if let Err(error) = write(db, clock, &counted).await {
                let attempts: i64 = counted.iter().map(|(_, seen)| seen.attempts).sum();
                tracing::error!(cause = ?error.inside(), "{attempts} refused attempts could not be written to the audit log: {error}");
            }
        }
    }

    /// What was counted, as the entries that it makes.
    fn take_counted(&self, now: Millis) -> Vec<(Key, Seen)> {
        let mut state = self.state();
        let mut entries = Vec::new();
        let mut shared: HashMap<Key, Seen> = HashMap::new();
        for (key, seen) in state.seen.iter_mut().filter(|(_, seen)| seen.attempts > 0) {
            let attempts = std::mem::take(&mut seen.attempts);
            seen.quiet_until = now + millis(PERIOD);
            if entries.len() < MAX_ENTRIES {
                entries.push((*key, Seen { attempts, object: seen.object.take(), quiet_until: 0 }));
            } else {
                shared.entry((None, key.1, key.2)).or_default().attempts += attempts;
            }
        }
        entries.extend(shared);
        state.is_due = !entries.is_empty();
        entries
    }
}

async fn write(db: &Db, clock: &Clock, counted: &[(Key, Seen)]) -> Result<()> {
    let mut tx = db.write().await?;
    for ((address, action, result), seen) in counted {
        let deed = Deed { actor: None, address: *address, action, object: seen.object.as_deref(), result };
        insert(&mut tx, clock.now(), deed, seen.attempts).await?;
    }
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Entry, list};
    use super::*;
    use crate::auth::test_house::House;

    fn deed(address: u32, object: Option<&str>) -> Deed<'_> {
        Deed { actor: None, address: Some(Ipv4Addr::from(address).into()), action: "user.sign_in", object, result: "slowed" }
    }

    /// The entries, oldest first, once they stand for so many attempts.
    async fn entries(house: &House, attempts: i64) -> Vec<Entry> {
        loop {
            let entries = list(&house.db, None, 10_000).await.unwrap();
            if entries.iter().map(|entry| entry.attempts).sum::<i64>() >= attempts {
                return entries.into_iter().rev().collect();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_address_has_an_entry_a_second_that_tells_how_many_attempts_it_stands_for() {
        let (house, refusals) = (House::new().await, Refusals::default());
        for _ in 0..3 {
            for n in 0..1_000 {
                refusals.note(&house.db, &house.clock, deed(1, Some(if n == 0 { "usr_1" } else { "usr_2" }))).await.unwrap();
            }
            refusals.note(&house.db, &house.clock, deed(2, Some("usr_1"))).await.unwrap();
            tokio::task::yield_now().await;
            house.clock.advance(1_000);
            tokio::task::yield_now().await;
        }
        let entries = entries(&house, 3_003).await;
        assert_eq!(entries.iter().map(|entry| entry.attempts).sum::<i64>(), 3_003);
        assert!(entries.len() <= 8, "{entries:#?}");
        let counted: Vec<_> = entries.iter().filter(|entry| entry.attempts > 1).collect();
        assert_eq!((counted[0].attempts, counted[0].object.as_deref(), counted[0].address.as_deref()), (999, Some("usr_2"), Some("0.0.0.1")));
        assert_eq!(counted[1].object, None, "aimed at several");
    }

    #[tokio::test]
    async fn very_many_addresses_write_few_entries() {
        let (house, refusals) = (House::new().await, Refusals::default());
        for address in 0..20_000 {
            refusals.note(&house.db, &house.clock, deed(address, None)).await.unwrap();
        }
        assert!(refusals.state().seen.len() <= MAX_ADDRESSES + 1);
        tokio::task::yield_now().await;
        house.clock.advance(1_000);
        let entries = entries(&house, 20_000).await;
        assert!(entries.len() <= MAX_AT_ONCE as usize + MAX_ENTRIES + 1, "{}", entries.len());
        assert_eq!(entries.iter().map(|entry| entry.attempts).sum::<i64>(), 20_000);
        assert!(entries.iter().any(|entry| entry.address.is_none() && entry.attempts > 19_000));
    }
}
