//! Detects a clock that was set back and shifts stored due times by the same amount. Without this,
//! waiting runs, retries, schedules and notifications would wait for a time that is now far ahead.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{Sqlite, Transaction};

use super::RECHECK_BROKEN_AFTER;
use crate::clock::{Millis, millis};
use crate::error::Result;
use crate::notifications::outbox;
use crate::puller::{Puller, queue};

/// Smaller changes of the clock are ignored.
const MIN_JUMP: Millis = 2 * 60_000;
/// If the clock goes back by at most this, for no known reason, no due time is repeated. If it goes
/// back further, due times are computed again.
const MAX_TOLERATED_BACKSTEP: Millis = 2 * 3_600_000;
/// How often the clock time is saved.
const SAVE_INTERVAL: Millis = 5 * 60_000;

/// The state of the detection of clock changes.
#[derive(Default)]
pub struct ClockMonitor(Mutex<ClockState>);

#[derive(Clone, Copy, Default)]
struct ClockState {
    /// Clock time and monotonic time of the last check.
    last: Option<(Millis, Millis)>,
    /// How far the clock was set forward while this process ran. Going back by that much is only a
    /// correction.
    ahead_by: Millis,
    /// When the clock time was last saved, in monotonic time.
    saved_at: Option<Millis>,
}

impl ClockMonitor {
    fn state(&self) -> MutexGuard<'_, ClockState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Detects a clock that was set back and shifts due times. Returns the latest time up to which due
/// times count as processed; later ones are computed again.
pub(super) async fn detect(puller: &Puller, now: Millis) -> Result<Millis> {
    let passed = puller.clock.monotonic();
    let mut state = *puller.clock_monitor.state();
    let expected = match state.last {
        Some((at, then)) => at + (passed - then),
        None => sqlx::query_scalar("SELECT seen_at FROM clock")
            .fetch_optional(puller.db.read())
            .await?
            .unwrap_or(now),
    };
    let back_by = expected - now;
    let mut latest = now + MAX_TOLERATED_BACKSTEP;
    if back_by > MIN_JUMP {
        tracing::warn!(
            minutes = back_by / 60_000,
            "the clock was set back; waiting times were corrected"
        );
        if state.ahead_by > 0 {
            latest = now;
        }
        state.ahead_by = (state.ahead_by - back_by).max(0);
        let mut tx = puller.db.write().await?;
        shift_due_times(&mut tx, now, back_by).await?;
        outbox::shift_times_back(&mut tx, now, back_by).await?;
        save_clock(&mut tx, now).await?;
        tx.commit().await?;
        state.saved_at = Some(passed);
        puller.wake_dispatcher.notify_one();
        puller.wake_deadlines.notify_one();
        puller.notifications.wake.notify_one();
    } else if state.saved_at.is_none_or(|at| passed - at >= SAVE_INTERVAL) {
        let mut tx = puller.db.write().await?;
        save_clock(&mut tx, now).await?;
        tx.commit().await?;
        state.saved_at = Some(passed);
    }
    // Not at the first check: the server may have been stopped for any time.
    if state.last.is_some() && -back_by > MIN_JUMP {
        state.ahead_by += -back_by;
    }
    state.last = Some((now, passed));
    *puller.clock_monitor.state() = state;
    Ok(latest)
}

async fn save_clock(tx: &mut Transaction<'static, Sqlite>, now: Millis) -> Result<()> {
    sqlx::query(
        "INSERT INTO clock (id, seen_at)
         VALUES ('seen', $1)
         ON CONFLICT (id)
         DO UPDATE SET seen_at = excluded.seen_at",
    )
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn shift_due_times(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    back_by: Millis,
) -> Result<()> {
    // Times in the future move back by the same amount.
    for moved in [
        "UPDATE runs
         SET due_at = CASE WHEN due_at - $2 > $1 THEN due_at - $2 ELSE $1 END
         WHERE state IN ('queued', 'waiting') AND due_at > $1",
        "UPDATE runs
         SET batch_wait_until = batch_wait_until - $2
         WHERE state = 'running' AND batch_wait_until - $2 > $1",
        "UPDATE datasets
         SET retry_at = CASE WHEN retry_at - $2 > $1 THEN retry_at - $2 ELSE $1 END
         WHERE retry_at > $1",
        "UPDATE backfills
         SET retry_at = CASE WHEN retry_at - $2 > $1 THEN retry_at - $2 ELSE $1 END
         WHERE retry_at > $1",
        "UPDATE accounts SET paused_until = paused_until - $2 WHERE paused_until > $1",
    ] {
        sqlx::query(moved)
            .bind(now)
            .bind(back_by)
            .execute(&mut **tx)
            .await?;
    }
    // Times of past events are at most the current time, so that new runs sort after older ones and
    // lateness is computed again.
    for happened in [
        "UPDATE runs SET queued_at = $1 WHERE queued_at > $1",
        "UPDATE runs SET started_at = $1 WHERE started_at > $1",
        "UPDATE runs SET finished_at = $1 WHERE finished_at > $1",
        "UPDATE backfills SET resumed_at = $1 WHERE resumed_at > $1",
        "UPDATE datasets SET last_success_at = $1 WHERE last_success_at > $1",
        "UPDATE datasets SET created_at = $1 WHERE created_at > $1",
        "UPDATE datasets SET stopped_at = $1 WHERE stopped_at > $1",
        "UPDATE datasets SET expected_since = $1 WHERE expected_since > $1",
        "UPDATE datasets SET reminded_at = $1 WHERE reminded_at > $1",
        "UPDATE datasets SET late_since = $1 WHERE late_since > $1",
    ] {
        sqlx::query(happened).bind(now).execute(&mut **tx).await?;
    }
    // Lateness is computed again.
    sqlx::query("UPDATE datasets SET lateness_key = NULL WHERE lateness_key IS NOT NULL")
        .execute(&mut **tx)
        .await?;
    // A lease lasts at most its duration from now on.
    sqlx::query("UPDATE runs SET lease_until = $1 WHERE state = 'running' AND lease_until > $1")
        .bind(now + millis(queue::LEASE))
        .execute(&mut **tx)
        .await?;
    // A broken schedule is checked again after the usual time.
    sqlx::query(
        "UPDATE datasets
         SET next_run_at = $1
         WHERE schedule_error IS NOT NULL AND next_run_at > $1",
    )
    .bind(now + RECHECK_BROKEN_AFTER)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
