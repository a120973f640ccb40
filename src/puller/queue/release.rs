//! Ends claims without a commit, and puts runs back into the queue: failures, cancellations,
//! deferrals, and runs that crash the server.

use sqlx::{Sqlite, Transaction};

use super::{CallStats, Claimed, MAX_ATTEMPTS, RunEnd, plan};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::db::failpoints::kill_point;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};
use crate::puller::run::{RunState, Trigger};
use crate::puller::{ledger, on_run_end};

/// Parks the runs that were active during `MAX_ATTEMPTS` crashes of the server.
pub(super) async fn park_crashing_runs(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
) -> Result<()> {
    let parked: Vec<(DatasetId, Trigger)> = sqlx::query_as(
        "UPDATE runs
         SET
             state = 'parked', finished_at = $1, lease_until = NULL, error_code = 'parked',
             error_message = 'The server stopped three times during this run.',
             error_who = 'A server administrator must check memory, disk and log.',
             error_action = $3
         WHERE state IN ('running', 'queued')
             -- Each claim counts an attempt, and a run that is requeued gives it back.
             AND attempt >= $2
             -- A running run with a valid lease is in its last attempt.
             AND (lease_until IS NULL OR lease_until < $1)
         RETURNING dataset_id, trigger",
    )
    .bind(now)
    .bind(MAX_ATTEMPTS)
    .bind(
        "Chatlake does not retry it. Press Resume or Run now to try again. \
         The existing rows are unchanged.",
    )
    .fetch_all(&mut **tx)
    .await?;
    // A parked chunk stops its backfill, not the schedule.
    for (dataset, _) in parked
        .into_iter()
        .filter(|(_, trigger)| *trigger != Trigger::Backfill)
    {
        on_run_end::on_parked(tx, now, &dataset).await?;
    }
    Ok(())
}

/// Requeues at once all runs that a previous process was working on. The data directory is locked,
/// so no other process works on them. Returns how many there were.
pub async fn requeue_interrupted(db: &Db, clock: &Clock) -> Result<u64> {
    let mut tx = db.write().await?;
    let requeued = sqlx::query(
        "UPDATE runs
         SET state = 'queued', lease_holder = NULL, lease_until = NULL, batch_wait_until = NULL
         WHERE state = 'running'",
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    park_crashing_runs(&mut tx, clock.now()).await?;
    tx.commit().await?;
    Ok(requeued)
}

/// Ends a run that did not succeed. Its staged segments are left to the sweep. Does nothing when
/// the fence is stale.
pub async fn end_run(
    db: &Db,
    clock: &Clock,
    run: &Claimed,
    run_end: &RunEnd,
    call_stats: CallStats,
) -> Result<()> {
    let (state, failure) = match run_end {
        RunEnd::Failed(failure) | RunEnd::Short(failure, ..) => (RunState::Failed, Some(failure)),
        RunEnd::Cancelled => (RunState::Cancelled, None),
    };
    let mut tx = db.write().await?;
    let ended = sqlx::query(
        "UPDATE runs
         SET
             state = $1, finished_at = $2, lease_until = NULL, batch_wait_until = NULL,
             error_code = $3, error_message = $4, error_who = $5, error_action = $6
         -- Another process may have claimed the run, or a person may have ended it.
         WHERE id = $7 AND fence = $8 AND state = 'running'",
    )
    .bind(state)
    .bind(clock.now())
    .bind(failure.map(|f| f.code.as_str()))
    .bind(failure.map(|f| f.message.as_str()))
    .bind(failure.map(|f| f.who.as_str()))
    .bind(failure.map(|f| f.action.as_str()))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if ended == 1 {
        if let RunEnd::Short(_, window, short) = run_end {
            ledger::mark_short(&mut tx, &run.id, window, *short, clock.now()).await?;
        }
        plan::add_call_stats(&mut tx, run, call_stats).await?;
        match failure {
            Some(failure) => on_run_end::on_failed(&mut tx, clock.now(), run, failure).await?,
            None => on_run_end::on_cancelled(&mut tx, &run.id).await?,
        }
    }
    tx.commit().await?;
    kill_point("end.done");
    Ok(())
}

/// Requeues a run: `waiting` until `wait_until`, or `queued` when the server stops. Its attempt
/// does not count. A run with a requested cancellation ends here.
pub async fn requeue(
    db: &Db,
    clock: &Clock,
    run: &Claimed,
    wait_until: Option<Millis>,
    call_stats: CallStats,
) -> Result<()> {
    let mut tx = db.write().await?;
    let state: Option<RunState> = sqlx::query_scalar(
        "UPDATE runs
         SET
             state = CASE
                 WHEN cancel_requested = 1 THEN 'cancelled'
                 WHEN $1 IS NULL THEN 'queued'
                 ELSE 'waiting'
             END,
             finished_at = CASE WHEN cancel_requested = 1 THEN $2 ELSE NULL END,
             due_at = COALESCE($1, due_at),
             -- The claim counted an attempt. Only attempts that end in a crash stay counted.
             attempt = attempt - 1,
             lease_holder = NULL, lease_until = NULL, batch_wait_until = NULL
         WHERE id = $3 AND fence = $4 AND state = 'running'
         RETURNING state",
    )
    .bind(wait_until)
    .bind(clock.now())
    .bind(&run.id)
    .bind(run.fence)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(state) = state {
        plan::add_call_stats(&mut tx, run, call_stats).await?;
        if state == RunState::Cancelled {
            on_run_end::on_cancelled(&mut tx, &run.id).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Defers a run until `until` for a reason of Chatlake's own; `why` is shown to people.
pub async fn defer(db: &Db, clock: &Clock, run: &Claimed, until: Millis, why: &str) -> Result<()> {
    requeue(db, clock, run, Some(until), CallStats::default()).await?;
    let mut tx = db.write().await?;
    sqlx::query(
        "UPDATE runs SET deferred_reason = $1 WHERE id = $2 AND fence = $3 AND state = 'waiting'",
    )
    .bind(why)
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Cancels a run. A queued or waiting run ends at once, a running one at its next heartbeat.
/// Returns whether there was a run to cancel.
pub async fn cancel(db: &Db, clock: &Clock, run: &RunId) -> Result<bool> {
    let mut tx = db.write().await?;
    let ended = sqlx::query(
        "UPDATE runs
         SET state = 'cancelled', finished_at = $1, cancel_requested = 1
         WHERE id = $2 AND state IN ('queued', 'waiting')",
    )
    .bind(clock.now())
    .bind(run)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if ended == 1 {
        on_run_end::on_cancelled(&mut tx, run).await?;
    }
    let running =
        sqlx::query("UPDATE runs SET cancel_requested = 1 WHERE id = $1 AND state = 'running'")
            .bind(run)
            .execute(&mut *tx)
            .await?
            .rows_affected();
    tx.commit().await?;
    Ok(ended + running > 0)
}
