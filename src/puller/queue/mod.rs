//! The queue of runs in the catalogue: enqueue, claim, extend, finish, cancel. All SQL that changes
//! a run's state is here. A claim carries a lease and a fence; each later write names the fence and
//! does nothing when it is stale. The claim itself increments the attempt, before any work, so that
//! a run that crashes the server is parked after three attempts. `queue/plan.rs` holds the plan of
//! a run and its checkpoints.

mod enqueue;
mod lease;
mod outcome;
mod plan;
pub mod wait_reason;
mod worker_leases;

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Sqlite, Transaction};

use super::run::{self, Failure, Run, RunRow, Trigger, select_run};
use super::{backfills, ledger, on_run_end};
use crate::actor::Actor;
use crate::clock::{Clock, Millis, millis};
use crate::connectors::Window;
pub use crate::connectors::upstream::CallStats;
use crate::datasets::Dataset;
use crate::db::Db;
use crate::db::failpoints::kill_point;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};
pub use enqueue::{enqueue, enqueue_scheduled};
pub use lease::{LeaseState, check_lease, extend_lease};
pub use outcome::{
    CommitStats, UnchangedRun, accept, batch_number, commit, commit_with, keep_existing_rows,
    note_schema, record_unchanged, require_not_running, supersede_pending,
};
pub use plan::{
    RunPlan, checkpoint, empty_parents, leave_shared_read, load_or_create_plan,
    record_empty_parents, record_window,
};
pub use wait_reason::{AccountLimit, has_active_run};
pub use worker_leases::{LeaseGuard, WorkerLeases};

/// The duration of a lease.
pub const LEASE: Duration = Duration::from_secs(60);
/// How often a lease is extended and a cancellation is noticed.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// A run that crashed the server this many times is parked.
const MAX_ATTEMPTS: i64 = 3;
/// How long the first claimed run waits for other runs with the same source key, which then share
/// its read.
pub const BATCH_WAIT: Duration = Duration::from_secs(1);
/// How long no other worker claims runs with that source key. The waiting worker ends this earlier.
const MAX_BATCH_WAIT: Duration = Duration::from_secs(30);

/// A claimed run.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub id: RunId,
    pub dataset_id: DatasetId,
    pub trigger: Trigger,
    pub fence: i64,
    pub attempt: i64,
    pub source_key: String,
    /// Identifies the read that it shares with other runs: the id of the run that was claimed
    /// first.
    pub shared_read_id: RunId,
    /// It still waits for other runs with the same source key; see `claim_same_source_runs`.
    pub awaits_batch: bool,
    /// Of a chunk of a backfill: its days.
    pub range: Option<Window>,
    /// Marks the run as held by this process until the last copy is dropped.
    _guard: Arc<LeaseGuard>,
}

impl Claimed {
    /// The current source key of the DataSet, with the days of a backfill chunk.
    pub fn source_key_of(&self, dataset: &Dataset) -> String {
        backfills::source_key(dataset, self.range.as_ref())
    }

    /// The tracing span of this run alone, also while others share its read.
    pub fn span(&self) -> tracing::Span {
        tracing::info_span!(parent: None, "run", run = %self.id, dataset = %self.dataset_id)
    }
}

/// How a run that did not succeed ends.
#[derive(Clone, Debug)]
pub enum RunEnd {
    Failed(Failure),
    /// Failed, and the vendor reported more records for this window than it returned.
    Short(Failure, Window, ShortWindow),
    Cancelled,
}

/// The records received and expected of an incomplete window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortWindow {
    pub have: u64,
    pub of: u64,
}

type ClaimedRow = (
    RunId,
    DatasetId,
    String,
    i64,
    i64,
    String,
    RunId,
    Option<i64>,
    Option<String>,
    Option<String>,
);

/// Claims the next due run: manual runs first, backfill chunks last, then runs of the account with
/// the fewest active reads, then the oldest. Also claims the runs that share its read. A run whose
/// lease has expired is due again, unless this process still holds it. `limit` bounds the active
/// reads of one account. The first returned run is the leader; the list is empty when nothing is
/// due.
///
/// A new read waits for other runs for a moment, in which no worker claims one with the same source
/// key. Interrupted runs are claimed together again, but third attempts run alone and one after the
/// other, so that the run that crashes the server is identified.
pub async fn claim(
    db: &Db,
    clock: &Clock,
    leases: &WorkerLeases,
    limit: impl Into<AccountLimit>,
) -> Result<Vec<Claimed>> {
    let (now, limit) = (clock.now(), limit.into());
    let mut tx = db.write().await?;
    leases.renew_expired(&mut tx, now).await?;
    park_crashing_runs(&mut tx, now).await?;
    let row: Option<ClaimedRow> = sqlx::query_as(
        "UPDATE runs
         SET
             state = 'running', deferred_reason = NULL, attempt = attempt + 1, fence = fence + 1,
             lease_holder = $1, lease_until = $2, started_at = COALESCE(started_at, $3),
             batch_wait_until = CASE WHEN shared_read_id IS NULL THEN $4 ELSE NULL END,
             shared_read_id = CASE
                 WHEN shared_read_id IS NULL OR attempt >= $5 THEN id
                 ELSE shared_read_id
             END
         WHERE id = (
             SELECT r.id
             FROM runs r
             LEFT JOIN (
                 SELECT account_id, COUNT(DISTINCT shared_read_id) AS under_way
                 FROM runs
                 WHERE state = 'running' AND lease_until >= $3
                 GROUP BY account_id
             ) b
                 ON b.account_id = r.account_id
             WHERE COALESCE(b.under_way, 0) < CASE
                 WHEN r.trigger IN ('manual', 'first') THEN $7
                 ELSE $6
             END
                 AND r.due_at <= $3
                 AND (
                     r.state IN ('queued', 'waiting')
                     OR (r.state = 'running' AND r.lease_until < $3)
                 )
                 AND (
                     r.attempt < $5
                     OR NOT EXISTS (
                         SELECT 1
                         FROM runs k
                         WHERE k.state = 'running'
                             AND k.attempt > $5
                             AND k.lease_until >= $3
                             AND k.id <> r.id
                     )
                 )
                 AND NOT EXISTS (
                     SELECT 1
                     FROM runs o
                     WHERE o.dataset_id = r.dataset_id AND o.state = 'running' AND o.id <> r.id
                 )
                 AND NOT EXISTS (
                     SELECT 1
                     FROM runs g
                     WHERE g.state = 'running'
                         AND g.source_key = r.source_key
                         AND g.batch_wait_until > $3
                         AND g.id <> r.id
                 )
             ORDER BY
                 CASE
                     WHEN r.trigger IN ('manual', 'first') THEN 0
                     WHEN r.trigger = 'backfill' THEN 2
                     ELSE 1
                 END,
                 COALESCE(b.under_way, 0), r.due_at, r.id
             LIMIT 1
         )
         RETURNING
             id, dataset_id, trigger, fence, attempt, source_key, shared_read_id,
             batch_wait_until, from_day, to_day",
    )
    .bind(leases.name())
    .bind(now + millis(LEASE))
    .bind(now)
    .bind(now + millis(MAX_BATCH_WAIT))
    .bind(MAX_ATTEMPTS - 1)
    .bind(limit.scheduled)
    .bind(limit.manual)
    .fetch_optional(&mut *tx)
    .await?;
    let mut set: Vec<Claimed> = row.into_iter().map(|row| claimed(row, leases)).collect();
    if let Some(leader) = set
        .first()
        .cloned()
        .filter(|leader| leader.attempt < MAX_ATTEMPTS)
    {
        set.extend(same_source_runs(&mut tx, now, leases, &leader).await?);
    }
    tx.commit().await?;
    Ok(set)
}

/// Claims the runs that were queued for the leader's read while it waited, and ends the waiting.
pub async fn claim_same_source_runs(
    db: &Db,
    clock: &Clock,
    leases: &WorkerLeases,
    leader: &Claimed,
) -> Result<Vec<Claimed>> {
    let mut tx = db.write().await?;
    let set = same_source_runs(&mut tx, clock.now(), leases, leader).await?;
    sqlx::query("UPDATE runs SET batch_wait_until = NULL WHERE id = $1 AND fence = $2")
        .bind(&leader.id)
        .bind(leader.fence)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(set)
}

async fn same_source_runs(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    leases: &WorkerLeases,
    leader: &Claimed,
) -> Result<Vec<Claimed>> {
    let rows: Vec<ClaimedRow> = sqlx::query_as(
        "UPDATE runs
         SET
             state = 'running', deferred_reason = NULL, attempt = attempt + 1, fence = fence + 1,
             lease_holder = $1, lease_until = $2, started_at = COALESCE(started_at, $3),
             shared_read_id = $4, batch_wait_until = NULL
         WHERE state IN ('queued', 'waiting')
             AND due_at <= $3
             AND attempt < $5
             AND id <> $6
             AND (
                 (shared_read_id IS NULL AND $7 = 1 AND source_key = $8)
                 OR (shared_read_id = $4 AND $7 = 0)
             )
             AND NOT EXISTS (
                 SELECT 1
                 FROM runs o
                 WHERE o.dataset_id = runs.dataset_id AND o.state = 'running' AND o.id <> runs.id
             )
         RETURNING
             id, dataset_id, trigger, fence, attempt, source_key, shared_read_id,
             batch_wait_until, from_day, to_day",
    )
    .bind(leases.name())
    .bind(now + millis(LEASE))
    .bind(now)
    .bind(&leader.shared_read_id)
    .bind(MAX_ATTEMPTS - 1)
    .bind(&leader.id)
    .bind(i64::from(leader.awaits_batch))
    .bind(&leader.source_key)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| claimed(row, leases)).collect())
}

fn claimed(
    (
        id,
        dataset_id,
        trigger,
        fence,
        attempt,
        source_key,
        shared_read_id,
        batch_wait_until,
        from,
        to,
    ): ClaimedRow,
    leases: &WorkerLeases,
) -> Claimed {
    let trigger = Trigger::parse(&trigger).unwrap_or(Trigger::Manual);
    let _guard = leases.acquire(&id, fence);
    Claimed {
        id,
        dataset_id,
        trigger,
        fence,
        attempt,
        source_key,
        shared_read_id,
        awaits_batch: batch_wait_until.is_some(),
        range: run::range(from, to),
        _guard,
    }
}

async fn park_crashing_runs(tx: &mut Transaction<'static, Sqlite>, now: Millis) -> Result<()> {
    let parked: Vec<(DatasetId, String)> = sqlx::query_as(
        "UPDATE runs
         SET
             state = 'parked', finished_at = $1, lease_until = NULL, error_code = 'parked',
             error_message = 'The server stopped three times during this run.',
             error_who = 'A server administrator must check memory, disk and log.',
             error_action =
                 'Chatlake does not retry it. Press Resume or Run now to try again. The existing rows are unchanged.'
         WHERE state IN ('running', 'queued')
             AND attempt >= $2
             AND (lease_until IS NULL OR lease_until < $1)
         RETURNING dataset_id, trigger",
    )
    .bind(now)
    .bind(MAX_ATTEMPTS)
    .fetch_all(&mut **tx)
    .await?;
    for (dataset, _) in parked
        .into_iter()
        .filter(|(_, trigger)| trigger != Trigger::Backfill.word())
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
        RunEnd::Failed(failure) | RunEnd::Short(failure, ..) => ("failed", Some(failure)),
        RunEnd::Cancelled => ("cancelled", None),
    };
    let mut tx = db.write().await?;
    let ended = sqlx::query(
        "UPDATE runs
         SET
             state = $1, finished_at = $2, lease_until = NULL, batch_wait_until = NULL,
             error_code = $3, error_message = $4, error_who = $5, error_action = $6
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
    let back: Option<(String,)> = sqlx::query_as(
        "UPDATE runs
         SET
             state = CASE
                 WHEN cancel_requested = 1 THEN 'cancelled'
                 WHEN $1 IS NULL THEN 'queued'
                 ELSE 'waiting'
             END,
             finished_at = CASE WHEN cancel_requested = 1 THEN $2 ELSE NULL END,
             due_at = COALESCE($1, due_at), attempt = attempt - 1, lease_holder = NULL,
             lease_until = NULL, batch_wait_until = NULL
         WHERE id = $3 AND fence = $4 AND state = 'running'
         RETURNING state",
    )
    .bind(wait_until)
    .bind(clock.now())
    .bind(&run.id)
    .bind(run.fence)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some((state,)) = back {
        plan::add_call_stats(&mut tx, run, call_stats).await?;
        if state == "cancelled" {
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

/// When the next run is due or the next lease expires.
pub async fn next_due(db: &Db) -> Result<Option<Millis>> {
    Ok(sqlx::query_scalar(
        "SELECT MIN(CASE WHEN state = 'running' THEN lease_until ELSE due_at END)
         FROM runs
         WHERE state IN ('queued', 'waiting', 'running')",
    )
    .fetch_one(db.read())
    .await?)
}

/// Whether the previous run ended with this error: of the DataSet, or for a backfill chunk, of the
/// same days of the same backfill.
pub async fn last_run_failed_with(db: &Db, run: &Claimed, code: &str) -> Result<bool> {
    let last: Option<(Option<String>,)> = sqlx::query_as(
        "SELECT o.error_code
         FROM runs r
         JOIN runs o ON o.dataset_id = r.dataset_id
             AND o.id <> r.id
             AND COALESCE(o.backfill_id, '') = COALESCE(r.backfill_id, '')
             AND COALESCE(o.from_day, '') = COALESCE(r.from_day, '')
             AND COALESCE(o.to_day, '') = COALESCE(r.to_day, '')
         WHERE r.id = $1
             AND o.state IN ('succeeded', 'failed', 'parked')
             AND o.trigger <> 'revert'
         ORDER BY o.queued_at DESC, o.id DESC
         LIMIT 1",
    )
    .bind(&run.id)
    .fetch_optional(db.read())
    .await?;
    Ok(last.is_some_and(|(last,)| last.as_deref() == Some(code)))
}

/// How many runs are queued, running or waiting.
pub async fn count_active(db: &Db) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'running', 'waiting')",
    )
    .fetch_one(db.read())
    .await?)
}

/// One run's record.
pub async fn get(db: &Db, run: &RunId) -> Result<Option<Run>> {
    let row: Option<RunRow> = sqlx::query_as(select_run!("WHERE r.id = $1"))
        .bind(run)
        .fetch_optional(db.read())
        .await?;
    Ok(row.map(Run::from))
}

/// A DataSet's runs, newest first, from number `offset` on.
pub async fn of_dataset(db: &Db, dataset: &DatasetId, offset: i64, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<RunRow> = sqlx::query_as(select_run!(
        "WHERE r.dataset_id = $1 ORDER BY r.queued_at DESC, r.id DESC LIMIT $2 OFFSET $3"
    ))
    .bind(dataset)
    .bind(limit)
    .bind(offset)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// Statistics of the runs of a DataSet, without cancelled runs, backfill chunks and reverts.
pub struct RunSummary {
    /// Runs that have ended.
    pub over: i64,
    pub succeeded: i64,
    /// The average duration of those that succeeded.
    pub average_ms: Millis,
    pub last_success: Option<Run>,
}

pub async fn summary(db: &Db, dataset: &DatasetId) -> Result<RunSummary> {
    let (over, succeeded, took): (i64, i64, i64) = sqlx::query_as(
        "SELECT
             COUNT(*), COALESCE(SUM(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END), 0),
             COALESCE(
                 SUM(
                     CASE
                         WHEN state = 'succeeded' THEN finished_at - COALESCE(
                             started_at, finished_at
                         )
                         ELSE 0
                     END
                 ),
                 0
             )
         FROM runs
         WHERE dataset_id = $1
             AND state IN ('succeeded', 'failed', 'parked')
             AND trigger NOT IN ('backfill', 'revert')",
    )
    .bind(dataset)
    .fetch_one(db.read())
    .await?;
    let last: Option<RunRow> = sqlx::query_as(select_run!(
        "WHERE r.dataset_id = $1
             AND r.state = 'succeeded'
             AND r.trigger NOT IN ('backfill', 'revert')
         ORDER BY r.queued_at DESC, r.id DESC
         LIMIT 1"
    ))
    .bind(dataset)
    .fetch_optional(db.read())
    .await?;
    Ok(RunSummary {
        over,
        succeeded,
        average_ms: took / succeeded.max(1),
        last_success: last.map(Run::from),
    })
}

/// Like `of_dataset`, without backfill chunks that have ended.
pub async fn recent(db: &Db, dataset: &DatasetId, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<RunRow> = sqlx::query_as(select_run!(
        "WHERE r.dataset_id = $1 AND (r.trigger <> 'backfill' OR r.finished_at IS NULL)
         ORDER BY r.queued_at DESC, r.id DESC
         LIMIT $2"
    ))
    .bind(dataset)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// How many runs a DataSet has had.
pub async fn count(db: &Db, dataset: &DatasetId) -> Result<i64> {
    Ok(
        sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE dataset_id = $1")
            .bind(dataset)
            .fetch_one(db.read())
            .await?,
    )
}

/// The newest runs of all DataSets that this person may see, newest first.
pub async fn newest(db: &Db, actor: &Actor, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<RunRow> = sqlx::query_as(select_run!(
        "JOIN datasets d ON d.id = r.dataset_id
         WHERE ($1 = 1 OR d.owner_id = $2 OR d.shared = 1)
         ORDER BY r.queued_at DESC, r.id DESC
         LIMIT $3"
    ))
    .bind(i64::from(actor.is_admin()))
    .bind(&actor.user)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

fn to_i64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
