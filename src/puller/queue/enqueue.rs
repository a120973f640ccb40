//! Enqueues manual runs, scheduled runs and retries.

use sqlx::{Sqlite, Transaction};

use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, UserId};
use crate::puller::run::Trigger;

/// Enqueues a run, inside the caller's transaction. A DataSet has at most one active run, besides a
/// backfill chunk. If there is one, its id is returned instead; if a person starts a run while a
/// scheduled one or a retry is queued, that run becomes the person's. `source_key`: runs with equal
/// keys share one read. Error: `not_found` if the DataSet was deleted meanwhile.
pub async fn enqueue(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
    source_key: &str,
    trigger: Trigger,
    started_by: Option<&UserId>,
) -> Result<RunId> {
    if let Some(created) = insert_run(tx, now, dataset, source_key, trigger, started_by).await? {
        return Ok(created);
    }
    if matches!(trigger, Trigger::Manual | Trigger::First) {
        sqlx::query(
            "UPDATE runs
             SET trigger = $1, started_by = $2, due_at = $3, retry_number = 0
             -- A deferred or running run, and one that another person started, stays as it is.
             WHERE dataset_id = $4 AND state = 'queued' AND trigger IN ('schedule', 'retry')",
        )
        .bind(trigger)
        .bind(started_by)
        .bind(now)
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
    }
    let active = sqlx::query_scalar(
        "SELECT id
         FROM runs
         WHERE dataset_id = $1
             AND state IN ('queued', 'running', 'waiting')
             AND trigger <> 'backfill'",
    )
    .bind(dataset)
    .fetch_optional(&mut **tx)
    .await?;
    active.ok_or_else(|| Error::not_found("DataSet"))
}

/// Inserts a run; `None` if the DataSet has an active run or was deleted.
async fn insert_run(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
    source_key: &str,
    trigger: Trigger,
    started_by: Option<&UserId>,
) -> Result<Option<RunId>> {
    Ok(sqlx::query_scalar(
        "INSERT INTO runs (
             id, dataset_id, trigger, started_by, state, source_key, queued_at, due_at, account_id
         )
         SELECT $1, id, $3, $4, 'queued', $5, $6, $6, account_id
         FROM datasets
         WHERE id = $2
         -- The index `one_run_alive`: at most one active run besides a backfill chunk.
         ON CONFLICT (dataset_id)
         WHERE state IN ('queued', 'running', 'waiting') AND trigger <> 'backfill' DO NOTHING
         RETURNING id",
    )
    .bind(RunId::new())
    .bind(dataset)
    .bind(trigger)
    .bind(started_by)
    .bind(source_key)
    .bind(now)
    .fetch_optional(&mut **tx)
    .await?)
}

/// Enqueues a scheduled run that is due at `at` and also stands for `missed` earlier due times. If
/// a run is already queued or waiting, it stands for these due times as well. Returns false if a
/// run is running: it does not stand for them.
pub async fn enqueue_scheduled(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
    source_key: &str,
    at: Millis,
    missed: i64,
) -> Result<bool> {
    if let Some(created) = insert_run(tx, now, dataset, source_key, Trigger::Schedule, None).await?
    {
        if at > now || missed > 0 {
            sqlx::query("UPDATE runs SET missed = $1, due_at = $2 WHERE id = $3")
                .bind(missed)
                .bind(at)
                .bind(created)
                .execute(&mut **tx)
                .await?;
        }
        return Ok(true);
    }
    let waits = sqlx::query(
        "UPDATE runs
         SET missed = missed + $1
         WHERE dataset_id = $2 AND state IN ('queued', 'waiting') AND trigger <> 'backfill'",
    )
    .bind(missed + 1)
    .bind(dataset)
    .execute(&mut **tx)
    .await?;
    Ok(waits.rows_affected() > 0)
}
