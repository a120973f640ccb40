//! A clock that is set back: how that is noticed, and what is put right then. Whatever was written down for a moment that the clock no
//! longer comes to soon would wait for it: runs that wait, retries, schedules, what is to be told. Each is moved as far as the clock was.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{Sqlite, Transaction};

use super::PUSH_AHEAD;
use crate::clock::{Millis, millis};
use crate::error::Result;
use crate::notices::outbox;
use crate::puller::{Puller, queue};

/// A clock is set by so much at least; less is put up with.
const STEP: Millis = 2 * 60_000;
/// A clock that goes back by no more than this, for no reason that is known, makes no moment come twice; one that goes back further does.
const KEPT: Millis = 2 * 3_600_000;
/// What the clock shows is noted so often.
const NOTE_EVERY: Millis = 5 * 60_000;

/// What the scheduler knows of the clock.
#[derive(Default)]
pub struct Seen(Mutex<Known>);

#[derive(Clone, Copy, Default)]
struct Known {
    /// What it showed at the last look, and how much time had passed by then.
    last: Option<(Millis, Millis)>,
    /// By so much it was set forward while this process looked. Going back from there it is only put right.
    lead: Millis,
    /// When it was noted in the catalogue, of the time that passed.
    noted: Option<Millis>,
}

impl Seen {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notices a clock that was set, and puts right what waits for a moment under the old one. Answers up to when moments of a schedule may
/// have been dealt with: what was so later is to be counted anew.
pub(super) async fn look(puller: &Puller, now: Millis) -> Result<Millis> {
    let passed = puller.clock.passed();
    let mut known = *puller.seen.known();
    let wanted = match known.last {
        Some((at, then)) => at + (passed - then),
        None => sqlx::query_scalar("SELECT seen_at FROM clock").fetch_optional(puller.db.read()).await?.unwrap_or(now),
    };
    let back = wanted - now;
    let mut latest = now + KEPT;
    if back > STEP {
        tracing::warn!(minutes = back / 60_000, "the clock was set back; waiting times were corrected");
        if known.lead > 0 {
            latest = now;
        }
        known.lead = (known.lead - back).max(0);
        let mut tx = puller.db.write().await?;
        put_right(&mut tx, now, back).await?;
        outbox::set_back(&mut tx, now, back).await?;
        note(&mut tx, now).await?;
        tx.commit().await?;
        known.noted = Some(passed);
        puller.wake.notify_one();
        puller.kept.notify_one();
        puller.notices.wake.notify_one();
    } else if known.noted.is_none_or(|at| passed - at >= NOTE_EVERY) {
        let mut tx = puller.db.write().await?;
        note(&mut tx, now).await?;
        tx.commit().await?;
        known.noted = Some(passed);
    }
    // Before the first look nothing ran, and time may well have passed.
    if known.last.is_some() && -back > STEP {
        known.lead += -back;
    }
    known.last = Some((now, passed));
    *puller.seen.known() = known;
    Ok(latest)
}

async fn note(tx: &mut Transaction<'static, Sqlite>, now: Millis) -> Result<()> {
    sqlx::query("INSERT INTO clock (id, seen_at) VALUES ('seen', $1) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at")
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn put_right(tx: &mut Transaction<'static, Sqlite>, now: Millis, back: Millis) -> Result<()> {
    for moved in [
        "UPDATE runs SET due_at = CASE WHEN due_at - $2 > $1 THEN due_at - $2 ELSE $1 END WHERE state IN ('queued', 'waiting') AND due_at > $1",
        "UPDATE runs SET gather_until = gather_until - $2 WHERE state = 'running' AND gather_until - $2 > $1",
        "UPDATE datasets SET retry_at = CASE WHEN retry_at - $2 > $1 THEN retry_at - $2 ELSE $1 END WHERE retry_at > $1",
        "UPDATE backfills SET retry_at = CASE WHEN retry_at - $2 > $1 THEN retry_at - $2 ELSE $1 END WHERE retry_at > $1",
        "UPDATE accounts SET paused_until = paused_until - $2 WHERE paused_until > $1",
    ] {
        sqlx::query(moved).bind(now).bind(back).execute(&mut **tx).await?;
    }
    // What has happened has happened by now at the latest: new runs come behind the old ones, and data may be late again, which is
    // reckoned anew.
    for happened in [
        "UPDATE runs SET queued_at = $1 WHERE queued_at > $1",
        "UPDATE runs SET started_at = $1 WHERE started_at > $1",
        "UPDATE runs SET finished_at = $1 WHERE finished_at > $1",
        "UPDATE backfills SET resumed_at = $1 WHERE resumed_at > $1",
        "UPDATE datasets SET last_success_at = $1 WHERE last_success_at > $1",
        "UPDATE datasets SET created_at = $1 WHERE created_at > $1",
        "UPDATE datasets SET stopped_at = $1 WHERE stopped_at > $1",
        "UPDATE datasets SET expected_from = $1 WHERE expected_from > $1",
        "UPDATE datasets SET reminded_at = $1 WHERE reminded_at > $1",
        "UPDATE datasets SET late_since = $1 WHERE late_since > $1",
    ] {
        sqlx::query(happened).bind(now).execute(&mut **tx).await?;
    }
    sqlx::query("UPDATE datasets SET late_key = NULL WHERE late_key IS NOT NULL").execute(&mut **tx).await?;
    sqlx::query("UPDATE runs SET lease_until = $1 WHERE state = 'running' AND lease_until > $1").bind(now + millis(queue::LEASE)).execute(&mut **tx).await?;
    sqlx::query("UPDATE datasets SET next_run_at = $1 WHERE schedule_error IS NOT NULL AND next_run_at > $1").bind(now + PUSH_AHEAD).execute(&mut **tx).await?;
    Ok(())
}
