//! Ends a run that has read everything, in one transaction: with a current version, a pending one,
//! or none.

use sqlx::{Sqlite, Transaction};

use super::approval::mark_superseded;
use super::lease::lease_state;
use super::{Claimed, LeaseState, to_i64};
use crate::clock::{Clock, Millis};
use crate::datasets::provenance::Provenance;
use crate::datasets::versions::{Commit, Version, Versions};
use crate::db::failpoints::kill_point;
use crate::db::{Db, commits};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{RunId, VersionId};
use crate::puller::run::{Failure, RunOutcome, RunState};
use crate::puller::{backfills, history, on_run_end};

/// The values that a commit records on the run, besides the version.
#[derive(Debug, Default)]
pub struct CommitStats<'a> {
    /// Rows and bytes that the run wrote; `None`: those of the version.
    pub written: Option<(u64, u64)>,
    /// Rows of the previous version; `None` if there was none.
    pub rows_before: Option<u64>,
    /// Of those, the rows that the new version no longer contains.
    pub rows_dropped: u64,
    /// JSON of a `SchemaChange`.
    pub schema_change: Option<String>,
    /// Why the version waits for approval; must agree with the commit.
    pub pending_approval: Option<&'a Failure>,
}

/// Commits a run: version, segments and the run's end in one transaction. Returns the version, or
/// the lease state if the fence is stale or the run was cancelled.
pub async fn commit(
    db: &Db,
    clock: &Clock,
    versions: &Versions,
    run: &Claimed,
    commit: &Commit<'_>,
) -> Result<std::result::Result<VersionId, LeaseState>> {
    commit_with(db, clock, versions, run, commit, &CommitStats::default()).await
}

/// Like `commit`, with the values for the run. A pending version leaves the current one unchanged
/// and ends its run as failed.
pub async fn commit_with(
    db: &Db,
    clock: &Clock,
    versions: &Versions,
    run: &Claimed,
    commit: &Commit<'_>,
    stats: &CommitStats<'_>,
) -> Result<std::result::Result<VersionId, LeaseState>> {
    let now = clock.now();
    let mut tx = db.write().await?;
    if let Some(lost) = lease_lost(&mut tx, run).await? {
        return Ok(Err(lost));
    }
    kill_point("commit.begun");
    let version = versions.commit(&mut tx, commit).await?;
    check_rows(&mut tx, run, commit, stats, version.rows).await?;
    history::record_base_run(&mut tx, &run.id, commit.base).await?;
    if stats.pending_approval.is_none() {
        backfills::chunk_committed(&mut tx, &run.id, now).await?;
    }
    end_committed(&mut tx, now, run, &version, stats).await?;
    // An older pending version is superseded.
    mark_superseded(&mut tx, &run.dataset_id, Some(&run.id)).await?;
    clear_empty_parents(&mut tx, &run.id).await?;
    match stats.pending_approval {
        None => on_run_end::on_run_succeeded(&mut tx, now, run, to_i64(version.rows)).await?,
        Some(failure) => on_run_end::on_failed(&mut tx, now, run, failure).await?,
    }
    kill_point("commit.inserted");
    tx.commit().await?;
    db.update_commit_file().await;
    kill_point("commit.done");
    Ok(Ok(version.id))
}

/// Returns an error if rows were lost or repeated between reading and the version.
async fn check_rows(
    tx: &mut Transaction<'static, Sqlite>,
    run: &Claimed,
    commit: &Commit<'_>,
    stats: &CommitStats<'_>,
    version_rows: u64,
) -> Result<()> {
    let Some((written, _)) = stats.written else {
        return Ok(());
    };
    compare_with_ledger(tx, &run.id, written).await?;
    let before = stats
        .rows_before
        .filter(|_| commit.base.is_some())
        .unwrap_or(0);
    let expected = (before + written).saturating_sub(stats.rows_dropped);
    if version_rows == expected {
        Ok(())
    } else {
        Err(rows_missing(version_rows, expected))
    }
}

/// Writes the end of a run with a new version: succeeded, or failed if the version is pending.
async fn end_committed(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    version: &Version,
    stats: &CommitStats<'_>,
) -> Result<()> {
    let (rows, bytes) = stats.written.unwrap_or((version.rows, version.bytes));
    let failure = stats.pending_approval;
    let (state, outcome) = match failure {
        Some(_) => (RunState::Failed, Some(RunOutcome::PendingApproval)),
        None => (RunState::Succeeded, None),
    };
    sqlx::query(
        "UPDATE runs
         SET
             state = $1, finished_at = $2, lease_until = NULL, version_id = $3, rows_written = $4,
             bytes_written = $5, progress = '{}', rows_before = $6, rows_after = $7,
             rows_dropped = $8, schema_change = $9, outcome = $10, error_code = $11,
             error_message = $12, error_who = $13, error_action = $14
         WHERE id = $15 AND fence = $16",
    )
    .bind(state)
    .bind(now)
    .bind(&version.id)
    .bind(to_i64(rows))
    .bind(to_i64(bytes))
    .bind(stats.rows_before.map(to_i64))
    .bind(to_i64(version.rows))
    .bind(to_i64(stats.rows_dropped))
    .bind(&stats.schema_change)
    .bind(outcome)
    .bind(failure.map(|f| f.code.as_str()))
    .bind(failure.map(|f| f.message.as_str()))
    .bind(failure.map(|f| f.who.as_str()))
    .bind(failure.map(|f| f.action.as_str()))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes the empty parents of all windows of a run. They are not needed after its commit.
async fn clear_empty_parents(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    sqlx::query(
        "UPDATE windows SET empty_parents = NULL WHERE run_id = $1 AND empty_parents IS NOT NULL",
    )
    .bind(run)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A run whose rows are those of the current version.
#[derive(Debug)]
pub struct UnchangedRun<'a> {
    /// The version that must still be current at the commit.
    pub version: &'a Version,
    /// The new provenance of the version.
    pub provenance: &'a Provenance,
    /// Rows that the run read.
    pub written: u64,
    /// JSON of a `SchemaChange`.
    pub schema_change: Option<String>,
}

/// Ends a run that changes nothing: it succeeds, creates no version and refers to the current one.
pub async fn record_unchanged(
    db: &Db,
    clock: &Clock,
    run: &Claimed,
    unchanged: &UnchangedRun<'_>,
) -> Result<std::result::Result<(), LeaseState>> {
    let UnchangedRun {
        version,
        provenance,
        written,
        schema_change,
    } = unchanged;
    let now = clock.now();
    let mut tx = db.write().await?;
    if let Some(lost) = lease_lost(&mut tx, run).await? {
        return Ok(Err(lost));
    }
    compare_with_ledger(&mut tx, &run.id, *written).await?;
    // Fails if another version is current. A pending version is superseded below.
    let current = sqlx::query(
        "UPDATE datasets SET pending_version = NULL WHERE id = $1 AND current_version = $2",
    )
    .bind(&run.dataset_id)
    .bind(&version.id)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if current != 1 {
        return Err(Error::conflict(
            "version_changed",
            "The current version changed while this run was being saved.",
        ));
    }
    sqlx::query("UPDATE versions SET provenance = $1, confirmed_at = $2 WHERE id = $3")
        .bind(serde_json::to_string(provenance).map_err(Error::internal)?)
        .bind(now)
        .bind(&version.id)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "UPDATE runs
         SET
             state = 'succeeded', finished_at = $1, lease_until = NULL, progress = '{}',
             outcome = 'unchanged', version_id = $2, rows_written = $3, rows_before = $4,
             rows_after = $4, schema_change = $5
         WHERE id = $6 AND fence = $7",
    )
    .bind(now)
    .bind(&version.id)
    .bind(to_i64(*written))
    .bind(to_i64(version.rows))
    .bind(schema_change)
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?;
    // No reader ever used these files, so the sweep need not wait a day.
    sqlx::query(
        "UPDATE segments
         SET state = 'dropped', dropped_at = 0
         WHERE run_id = $1 AND state = 'staged'",
    )
    .bind(&run.id)
    .execute(&mut *tx)
    .await?;
    history::record_base_run(&mut tx, &run.id, Some(&version.id)).await?;
    mark_superseded(&mut tx, &run.dataset_id, Some(&run.id)).await?;
    clear_empty_parents(&mut tx, &run.id).await?;
    backfills::chunk_committed(&mut tx, &run.id, now).await?;
    on_run_end::on_run_succeeded(&mut tx, now, run, to_i64(version.rows)).await?;
    commits::increment(&mut tx).await?;
    kill_point("unchanged.written");
    tx.commit().await?;
    db.update_commit_file().await;
    kill_point("unchanged.done");
    Ok(Ok(()))
}

/// Returns an error if the ledger of the run counted another number of rows.
async fn compare_with_ledger(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
    rows: u64,
) -> Result<()> {
    let (counted, uncounted): (i64, i64) = sqlx::query_as(
        "SELECT
             COALESCE(SUM(rows), 0),
             -- Windows that an older version of the program finished have no count of rows.
             COALESCE(SUM(CASE WHEN rows IS NULL THEN 1 ELSE 0 END), 0)
         FROM windows
         WHERE run_id = $1",
    )
    .bind(run)
    .fetch_one(&mut **tx)
    .await?;
    if uncounted > 0 || counted == to_i64(rows) {
        Ok(())
    } else {
        Err(rows_missing(rows, counted))
    }
}

/// The error for rows that were lost or repeated between reading and saving.
fn rows_missing(stored: u64, expected: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Internal,
        "rows_missing",
        format!(
            "Chatlake pulled {expected} rows but stored {stored}, so it did not save this run."
        ),
    )
    .action("A server administrator can find the cause in the log under this run's ID.")
    .with_log_cause(format!(
        "{stored} rows are in segments and {expected} are expected"
    ))
}

/// Ends a run without rows that leaves the existing rows: it succeeds and makes no version. `base`:
/// the version that has all rows of its days; `None` where the rows stay as a precaution.
pub async fn keep_existing_rows(
    db: &Db,
    clock: &Clock,
    run: &Claimed,
    before: u64,
    base: Option<&VersionId>,
) -> Result<std::result::Result<(), LeaseState>> {
    let mut tx = db.write().await?;
    if let Some(lost) = lease_lost(&mut tx, run).await? {
        return Ok(Err(lost));
    }
    sqlx::query(
        "UPDATE runs
         SET
             state = 'succeeded', finished_at = $1, lease_until = NULL, progress = '{}',
             outcome = 'kept', rows_before = $2, rows_after = $2
         WHERE id = $3 AND fence = $4",
    )
    .bind(clock.now())
    .bind(to_i64(before))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?;
    history::record_base_run(&mut tx, &run.id, base).await?;
    backfills::chunk_committed(&mut tx, &run.id, clock.now()).await?;
    on_run_end::on_run_succeeded(&mut tx, clock.now(), run, to_i64(before)).await?;
    kill_point("keep.written");
    tx.commit().await?;
    kill_point("keep.done");
    Ok(Ok(()))
}

/// Saves the column changes on a run that they stop.
pub async fn note_schema(db: &Db, run: &Claimed, change: &str) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE runs SET schema_change = $1 WHERE id = $2 AND fence = $3")
        .bind(change)
        .bind(&run.id)
        .bind(run.fence)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Why the run must not be committed: its lease is lost or it was cancelled.
async fn lease_lost(
    tx: &mut Transaction<'static, Sqlite>,
    run: &Claimed,
) -> Result<Option<LeaseState>> {
    let cancel_requested: Option<i64> = sqlx::query_scalar(
        "SELECT cancel_requested FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(&run.id)
    .bind(run.fence)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(Some(lease_state(cancel_requested)).filter(|state| *state != LeaseState::Active))
}
