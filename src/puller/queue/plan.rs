//! The plan of a run: its windows, fixed when it is first claimed, and which of them are
//! checkpointed. A later attempt continues from here, with the same batch number.

use sqlx::{Sqlite, Transaction};

use super::{CallStats, Claimed, LeaseState, to_i64};
use crate::clock::{Clock, Millis};
use crate::connectors::{Completeness, Window, WindowCounts};
use crate::datasets::segments::{self, WrittenSegment};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::RunId;
use crate::puller::ledger;

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPlan {
    /// In the order of reading. Empty for a report without days, which counts as one window.
    pub windows: Vec<Window>,
    /// The checkpointed positions of an earlier attempt, ascending, with their counts.
    pub checkpointed: Vec<(usize, WindowCounts)>,
    /// An earlier attempt had the same plan.
    pub resumed: bool,
}

impl RunPlan {
    /// The positions that are still to be read.
    pub fn remaining(&self) -> Vec<usize> {
        (0..self.windows.len().max(1))
            .filter(|at| {
                !self
                    .checkpointed
                    .iter()
                    .any(|(checkpointed, _)| checkpointed == at)
            })
            .collect()
    }
}

/// Stores the plan of a run, or loads the one of an earlier attempt. `key` identifies the request
/// and how it becomes rows: a plan with another key is from before the DataSet was changed and is
/// discarded with its rows. `None` when the lease is lost.
pub async fn load_or_create_plan(
    db: &Db,
    run: &Claimed,
    key: &str,
    fresh: &[Window],
) -> Result<Option<RunPlan>> {
    let mut tx = db.write().await?;
    let before: Option<Option<String>> = sqlx::query_scalar(
        "SELECT plan_key FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(&run.id)
    .bind(run.fence)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(before) = before else {
        return Ok(None);
    };
    if before.as_deref() != Some(key) {
        discard_plan(&mut tx, &run.id).await?;
        ledger::insert_planned(&mut tx, &run.id, &run.dataset_id, fresh).await?;
    }
    let resumed = before.as_deref() == Some(key);
    ledger::reset_uncheckpointed(&mut tx, &run.id).await?;
    let lines = ledger::lines_in_tx(&mut tx, &run.id).await?;
    // The counts of an earlier attempt are reset. Those of the checkpointed windows are added again
    // below.
    sqlx::query(
        "UPDATE runs
         SET
             plan_key = $1, windows_total = $2, pages = 0, calls = 0, records_read = 0,
             records_kept = 0, duplicates = 0, left_out = 0, rejected = 0, misfits = 0,
             repaired = 0, rows_written = 0, bytes_written = 0, waited_ms = 0,
             vendor_total = NULL, completeness = NULL
         WHERE id = $3",
    )
    .bind(key)
    .bind(i64::try_from(lines.len()).unwrap_or(i64::MAX))
    .bind(&run.id)
    .execute(&mut *tx)
    .await?;
    let mut checkpointed = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.done) {
        add_counts(&mut tx, &run.id, &line.counts).await?;
        checkpointed.push((at, line.counts));
    }
    tx.commit().await?;
    Ok(Some(RunPlan {
        windows: lines.iter().filter_map(|line| line.window).collect(),
        checkpointed,
        resumed,
    }))
}

/// Takes a run out of its shared read because its DataSet has changed since it was queued: it gets
/// a new key, and its plan is discarded.
pub async fn leave_shared_read(db: &Db, run: &mut Claimed, source_key: &str) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query(
        "UPDATE runs
         SET source_key = $1, shared_read_id = id, plan_key = NULL
         WHERE id = $2 AND fence = $3",
    )
    .bind(source_key)
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?;
    discard_plan(&mut tx, &run.id).await?;
    tx.commit().await?;
    source_key.clone_into(&mut run.source_key);
    run.shared_read_id = run.id.clone();
    Ok(())
}

async fn discard_plan(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    ledger::delete_windows(tx, run).await?;
    segments::discard_recorded(tx, run).await
}

/// Records that a window was read completely, with its counts and the number of rows written.
pub async fn record_window(
    db: &Db,
    clock: &Clock,
    run: &Claimed,
    position: usize,
    counts: &WindowCounts,
    rows: u64,
) -> Result<LeaseState> {
    let mut tx = db.write().await?;
    if !is_lease_held(&mut tx, run).await? {
        return Ok(LeaseState::Lost);
    }
    add_counts(&mut tx, &run.id, counts).await?;
    ledger::mark_done(&mut tx, &run.id, position, counts, rows, clock.now()).await?;
    tx.commit().await?;
    Ok(LeaseState::Active)
}

/// Stores the parents of a window that produced no row, before the window is marked as done, so
/// that a later attempt knows them. A window that is read again overwrites them.
pub async fn record_empty_parents(
    db: &Db,
    run: &Claimed,
    position: usize,
    parents: &[String],
) -> Result<()> {
    let mut tx = db.write().await?;
    if is_lease_held(&mut tx, run).await? {
        sqlx::query("UPDATE windows SET empty_parents = $1 WHERE run_id = $2 AND position = $3")
            .bind(serde_json::to_string(parents).map_err(Error::internal)?)
            .bind(&run.id)
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The parents of all windows of a run that produced no row.
pub async fn empty_parents(db: &Db, run: &RunId) -> Result<Vec<String>> {
    let lists: Vec<String> = sqlx::query_scalar(
        "SELECT empty_parents
         FROM windows
         WHERE run_id = $1 AND empty_parents IS NOT NULL
         ORDER BY position",
    )
    .bind(run)
    .fetch_all(db.read())
    .await?;
    let mut all = Vec::new();
    for list in lists {
        all.append(&mut serde_json::from_str::<Vec<String>>(&list).map_err(Error::internal)?);
    }
    Ok(all)
}

/// Checkpoints all runs of a shared read: every finished window has its rows in complete segments.
/// A run whose lease is lost is skipped.
pub async fn checkpoint(db: &Db, set: &[(&Claimed, &[WrittenSegment])]) -> Result<()> {
    let mut tx = db.write().await?;
    for (run, written) in set {
        if is_lease_held(&mut tx, run).await? {
            segments::record(&mut tx, written).await?;
            ledger::checkpoint(&mut tx, &run.id).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// The batch number of a run, if it has one, and the next one of its DataSet.
#[derive(sqlx::FromRow)]
struct BatchNumberRow {
    batch_number: Option<i64>,
    next_batch_number: i64,
    started_at: Option<i64>,
}

/// The batch number of a run within its DataSet, and its start time. Both are the same for all
/// attempts.
pub async fn batch_number(db: &Db, run: &Claimed) -> Result<(i64, Millis)> {
    let mut tx = db.write().await?;
    let row: Option<BatchNumberRow> = sqlx::query_as(
        "SELECT r.batch_number, d.next_batch_number, r.started_at
         FROM runs r
         JOIN datasets d ON d.id = r.dataset_id
         WHERE r.id = $1",
    )
    .bind(&run.id)
    .fetch_optional(&mut *tx)
    .await?;
    let row = row.ok_or_else(|| Error::not_found("run"))?;
    let (next, started_at) = (row.next_batch_number, row.started_at.unwrap_or_default());
    if let Some(batch) = row.batch_number {
        return Ok((batch, started_at));
    }
    sqlx::query("UPDATE runs SET batch_number = $1 WHERE id = $2 AND fence = $3")
        .bind(next)
        .bind(&run.id)
        .bind(run.fence)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE datasets SET next_batch_number = $1 WHERE id = $2")
        .bind(next + 1)
        .bind(&run.dataset_id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok((next, started_at))
}

async fn is_lease_held(tx: &mut Transaction<'static, Sqlite>, run: &Claimed) -> Result<bool> {
    let held: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'")
            .bind(&run.id)
            .bind(run.fence)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(held.is_some())
}

async fn add_counts(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
    counts: &WindowCounts,
) -> Result<()> {
    let before: Option<String> = sqlx::query_scalar("SELECT completeness FROM runs WHERE id = $1")
        .bind(run)
        .fetch_one(&mut **tx)
        .await?;
    let before = before.as_deref().and_then(Completeness::parse);
    // A run is as complete as the weakest of its windows.
    let completeness = counts
        .completeness
        .map(|completeness| completeness.with(before))
        .or(before);
    sqlx::query(
        "UPDATE runs
         SET
             pages = pages + $1, calls = calls + $2, records_read = records_read + $3,
             records_kept = records_kept + $4, duplicates = duplicates + $5,
             left_out = left_out + $6, rejected = rejected + $7, misfits = misfits + $8,
             waited_ms = waited_ms + $9,
             -- Without a total of this window, the total stays that of the other windows.
             vendor_total = CASE
                 WHEN $10 IS NULL THEN vendor_total
                 ELSE COALESCE(vendor_total, 0) + $10
             END,
             completeness = $11, repaired = repaired + $12
         WHERE id = $13",
    )
    .bind(to_i64(counts.pages))
    .bind(to_i64(counts.calls))
    .bind(to_i64(counts.read))
    .bind(to_i64(counts.kept))
    .bind(to_i64(counts.duplicates))
    .bind(to_i64(counts.left_out))
    .bind(to_i64(counts.rejected))
    .bind(to_i64(counts.misfits))
    .bind(to_i64(counts.waited_ms))
    .bind(counts.total.map(to_i64))
    .bind(completeness.map(Completeness::word))
    .bind(to_i64(counts.repaired))
    .bind(run)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds the calls and waiting time of an attempt, including unfinished windows.
pub(super) async fn add_call_stats(
    tx: &mut Transaction<'static, Sqlite>,
    run: &Claimed,
    call_stats: CallStats,
) -> Result<()> {
    sqlx::query(
        "UPDATE runs
         SET
             -- These counts include those of the finished windows, which are already added.
             calls = CASE WHEN calls < $1 THEN $1 ELSE calls END,
             waited_ms = CASE WHEN waited_ms < $2 THEN $2 ELSE waited_ms END
         WHERE id = $3",
    )
    .bind(to_i64(call_stats.calls))
    .bind(to_i64(call_stats.waited_ms))
    .bind(&run.id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
