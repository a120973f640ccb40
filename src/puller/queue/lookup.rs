//! Reads runs: one run, lists of runs, and statistics. Changes nothing.

use super::Claimed;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::db::Db;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};
use crate::puller::run::{Run, StoredRun, select_run};

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
    let last: Option<Option<String>> = sqlx::query_scalar(
        "SELECT earlier.error_code
         FROM runs r
         -- Of the same DataSet, and of the same days of the same backfill. Both are NULL for a
         -- run that is no chunk of a backfill.
         JOIN runs earlier ON earlier.dataset_id = r.dataset_id
             AND earlier.id <> r.id
             AND COALESCE(earlier.backfill_id, '') = COALESCE(r.backfill_id, '')
             AND COALESCE(earlier.from_day, '') = COALESCE(r.from_day, '')
             AND COALESCE(earlier.to_day, '') = COALESCE(r.to_day, '')
         WHERE r.id = $1
             -- Cancelled runs and reverts have read nothing.
             AND earlier.state IN ('succeeded', 'failed', 'parked')
             AND earlier.trigger <> 'revert'
         ORDER BY earlier.queued_at DESC, earlier.id DESC
         LIMIT 1",
    )
    .bind(&run.id)
    .fetch_optional(db.read())
    .await?;
    Ok(last.flatten().as_deref() == Some(code))
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
    let row: Option<StoredRun> = sqlx::query_as(select_run!("WHERE r.id = $1"))
        .bind(run)
        .fetch_optional(db.read())
        .await?;
    Ok(row.map(Run::from))
}

/// A DataSet's runs, newest first, from number `offset` on.
pub async fn of_dataset(db: &Db, dataset: &DatasetId, offset: i64, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<StoredRun> = sqlx::query_as(select_run!(
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

/// The counts of `RunSummary`.
#[derive(sqlx::FromRow)]
struct RunCountsRow {
    ended: i64,
    succeeded: i64,
    /// The duration of all runs that succeeded.
    took_ms: Millis,
}

pub async fn summary(db: &Db, dataset: &DatasetId) -> Result<RunSummary> {
    let counts: RunCountsRow = sqlx::query_as(
        "SELECT
             COUNT(*) AS ended,
             COALESCE(SUM(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END), 0) AS succeeded,
             COALESCE(
                 SUM(
                     CASE
                         -- A run without a start took no time.
                         WHEN state = 'succeeded'
                             THEN finished_at - COALESCE(started_at, finished_at)
                         ELSE 0
                     END
                 ),
                 0
             ) AS took_ms
         FROM runs
         WHERE dataset_id = $1
             AND state IN ('succeeded', 'failed', 'parked')
             AND trigger NOT IN ('backfill', 'revert')",
    )
    .bind(dataset)
    .fetch_one(db.read())
    .await?;
    let last: Option<StoredRun> = sqlx::query_as(select_run!(
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
        over: counts.ended,
        succeeded: counts.succeeded,
        average_ms: counts.took_ms / counts.succeeded.max(1),
        last_success: last.map(Run::from),
    })
}

/// Like `of_dataset`, without backfill chunks that have ended.
pub async fn recent(db: &Db, dataset: &DatasetId, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<StoredRun> = sqlx::query_as(select_run!(
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
    let rows: Vec<StoredRun> = sqlx::query_as(select_run!(
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
