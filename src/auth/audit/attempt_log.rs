//! Aggregates audit entries about attempts of people who are not signed in. Such attempts can be
//! arbitrarily frequent, so they are counted, and at most one entry per second and address is
//! written, with the number of attempts. Attempts from very many addresses at once share entries
//! without an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{AuditEvent, AuditResult, insert};
use crate::clock::{Clock, Millis, millis};
use crate::connection::client_network;
use crate::db::Db;
use crate::error::Result;

/// An address gets at most one entry of a kind in this period.
const PERIOD: Duration = Duration::from_secs(1);
/// The number of first attempts that are written at once within `PERIOD`; further ones are written
/// at its end.
const MAX_AT_ONCE: u32 = 20;
/// The maximum number of entries written at the end of `PERIOD`; further attempts share one entry
/// per kind.
const MAX_ENTRIES: usize = 100;
/// The maximum number of addresses that are counted separately.
const MAX_ADDRESSES: usize = 10_000;

/// The key of a count: address, action and result.
type AttemptKey = (Option<IpAddr>, &'static str, AuditResult);

/// The counts. Cheap to clone.
#[derive(Clone, Default)]
pub struct AttemptLog(Arc<Mutex<AttemptState>>);

#[derive(Default)]
struct AttemptState {
    counts: HashMap<AttemptKey, AttemptCount>,
    /// Entries that were written at once since `began`.
    at_once: u32,
    began: Millis,
    /// Whether a task is scheduled to write the counts.
    is_write_scheduled: bool,
}

#[derive(Default)]
struct AttemptCount {
    /// Until when attempts are only counted, by `Clock::monotonic`.
    quiet_until: Millis,
    attempts: i64,
    /// The object of the attempts, if it was the same for all.
    object: Option<String>,
}

impl AttemptLog {
    fn state(&self) -> MutexGuard<'_, AttemptState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt, and records it at once or at the end of the period.
    pub async fn record(&self, db: &Db, clock: &Clock, event: AuditEvent<'_>) -> Result<()> {
        if !self.should_write_now(db, clock, &event) {
            return Ok(());
        }
        let mut tx = db.write().await?;
        insert(&mut tx, clock.now(), event, 1).await?;
        Ok(tx.commit().await?)
    }

    /// Whether this attempt is recorded at once.
    fn should_write_now(&self, db: &Db, clock: &Clock, event: &AuditEvent<'_>) -> bool {
        let (now, period) = (clock.monotonic(), millis(PERIOD));
        let mut state = self.state();
        if now >= state.began + period {
            (state.began, state.at_once) = (now, 0);
        }
        if state.counts.len() >= MAX_ADDRESSES {
            state
                .counts
                .retain(|_, count| count.attempts > 0 || count.quiet_until > now);
        }
        let mut key = (
            event.address.map(client_network),
            event.action,
            event.result,
        );
        if state.counts.len() >= MAX_ADDRESSES && !state.counts.contains_key(&key) {
            key.0 = None;
        }
        let may_write = state.at_once < MAX_AT_ONCE;
        let count = state.counts.entry(key).or_default();
        if may_write && count.attempts == 0 && count.quiet_until <= now {
            count.quiet_until = now + period;
            state.at_once += 1;
            return true;
        }
        if count.attempts == 0 {
            count.object = event.object.map(str::to_owned);
        } else if count.object.as_deref() != event.object {
            count.object = None;
        }
        count.attempts += 1;
        if !state.is_write_scheduled {
            state.is_write_scheduled = true;
            let (attempt_log, db, clock) = (self.clone(), db.clone(), clock.clone());
            tokio::spawn(async move { attempt_log.write_pending(&db, &clock).await });
        }
        false
    }

    /// Writes the counts once per period until none are left.
    async fn write_pending(&self, db: &Db, clock: &Clock) {
        loop {
            clock.wait(PERIOD).await;
            let pending = self.take_pending(clock.monotonic());
            if pending.is_empty() {
                return;
            }
            if let Err(error) = write(db, clock, &pending).await {
                let attempts: i64 = pending.iter().map(|(_, count)| count.attempts).sum();
                tracing::error!(
                    cause = ?error.log_cause(),
                    "{attempts} refused attempts could not be written to the audit log: {error}"
                );
            }
        }
    }

    /// Takes the counts and converts them to entries.
    fn take_pending(&self, now: Millis) -> Vec<(AttemptKey, AttemptCount)> {
        let mut state = self.state();
        let mut entries = Vec::new();
        let mut shared: HashMap<AttemptKey, AttemptCount> = HashMap::new();
        for (key, count) in state
            .counts
            .iter_mut()
            .filter(|(_, count)| count.attempts > 0)
        {
            let attempts = std::mem::take(&mut count.attempts);
            count.quiet_until = now + millis(PERIOD);
            if entries.len() < MAX_ENTRIES {
                entries.push((
                    *key,
                    AttemptCount {
                        attempts,
                        object: count.object.take(),
                        quiet_until: 0,
                    },
                ));
            } else {
                shared.entry((None, key.1, key.2)).or_default().attempts += attempts;
            }
        }
        entries.extend(shared);
        state.is_write_scheduled = !entries.is_empty();
        entries
    }
}

async fn write(db: &Db, clock: &Clock, pending: &[(AttemptKey, AttemptCount)]) -> Result<()> {
    let mut tx = db.write().await?;
    for ((address, action, result), count) in pending {
        let event = AuditEvent {
            actor: None,
            address: *address,
            action,
            object: count.object.as_deref(),
            result: *result,
        };
        insert(&mut tx, clock.now(), event, count.attempts).await?;
    }
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{AuditEntry, list};
    use super::*;
    use crate::auth::test_support::AuthFixture;

    fn event(address: u32, object: Option<&str>) -> AuditEvent<'_> {
        AuditEvent {
            actor: None,
            address: Some(Ipv4Addr::from(address).into()),
            action: "user.sign_in",
            object,
            result: AuditResult::Slowed,
        }
    }

    /// Waits until the entries count `attempts` attempts, and returns them, oldest first.
    async fn entries(fixture: &AuthFixture, attempts: i64) -> Vec<AuditEntry> {
        loop {
            let entries = list(&fixture.db, None, 10_000).await.unwrap();
            if entries.iter().map(|entry| entry.attempts).sum::<i64>() >= attempts {
                return entries.into_iter().rev().collect();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_address_gets_one_entry_per_second_with_the_number_of_attempts() {
        let (fixture, attempt_log) = (AuthFixture::new().await, AttemptLog::default());
        for _ in 0..3 {
            for n in 0..1_000 {
                attempt_log
                    .record(
                        &fixture.db,
                        &fixture.clock,
                        event(1, Some(if n == 0 { "usr_1" } else { "usr_2" })),
                    )
                    .await
                    .unwrap();
            }
            attempt_log
                .record(&fixture.db, &fixture.clock, event(2, Some("usr_1")))
                .await
                .unwrap();
            tokio::task::yield_now().await;
            fixture.clock.advance(1_000);
            tokio::task::yield_now().await;
        }
        let entries = entries(&fixture, 3_003).await;
        assert_eq!(
            entries.iter().map(|entry| entry.attempts).sum::<i64>(),
            3_003
        );
        assert!(entries.len() <= 8, "{entries:#?}");
        let counted: Vec<_> = entries.iter().filter(|entry| entry.attempts > 1).collect();
        assert_eq!(
            (
                counted[0].attempts,
                counted[0].object.as_deref(),
                counted[0].address.as_deref()
            ),
            (999, Some("usr_2"), Some("0.0.0.1"))
        );
        assert_eq!(counted[1].object, None, "aimed at several");
    }

    #[tokio::test]
    async fn very_many_addresses_write_few_entries() {
        let (fixture, attempt_log) = (AuthFixture::new().await, AttemptLog::default());
        for address in 0..20_000 {
            attempt_log
                .record(&fixture.db, &fixture.clock, event(address, None))
                .await
                .unwrap();
        }
        assert!(attempt_log.state().counts.len() <= MAX_ADDRESSES + 1);
        tokio::task::yield_now().await;
        fixture.clock.advance(1_000);
        let entries = entries(&fixture, 20_000).await;
        assert!(
            entries.len() <= MAX_AT_ONCE as usize + MAX_ENTRIES + 1,
            "{}",
            entries.len()
        );
        assert_eq!(
            entries.iter().map(|entry| entry.attempts).sum::<i64>(),
            20_000
        );
        assert!(
            entries
                .iter()
                .any(|entry| entry.address.is_none() && entry.attempts > 19_000)
        );
    }
}
