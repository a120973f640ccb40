//! How a run comes into the queue: by a person, by a schedule, or to try again.

use sqlx::{Sqlite, Transaction};

use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, UserId};
use crate::puller::run::Trigger;

/// Puts a run into the queue, inside the caller's transaction. A DataSet has at most one run alive, besides a chunk of a backfill: while
/// there is one, that one is answered instead; where it has not begun, and a person wants it now, it becomes that person's.
/// `source_key`: runs with equal keys share one reading of the vendor. Errors: `not_found` when the DataSet was deleted after the caller
/// looked it up.
pub async fn enqueue_in(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
    source_key: &str,
    trigger: Trigger,
    started_by: Option<&UserId>,
) -> Result<RunId> {
    if let Some(made) = make_in(tx, now, dataset, source_key, trigger, started_by).await? {
        return Ok(made);
    }
    if matches!(trigger, Trigger::Manual | Trigger::First) {
        sqlx::query(
            "UPDATE runs SET cause = $1, started_by = $2, due_at = $3, retry_number = 0 WHERE dataset_id = $4 AND state = 'queued' AND cause IN ('schedule', 'retry')",
        )
        .bind(trigger.word())
        .bind(started_by)
        .bind(now)
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
    }
    let alive = sqlx::query_scalar("SELECT id FROM runs WHERE dataset_id = $1 AND state IN ('queued', 'running', 'waiting') AND cause <> 'backfill'")
        .bind(dataset)
        .fetch_optional(&mut **tx)
        .await?;
    alive.ok_or_else(|| Error::not_found("DataSet"))
}

/// As `enqueue_in`; none when a run is alive already, or the DataSet is not there any more.
async fn make_in(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
    source_key: &str,
    trigger: Trigger,
    started_by: Option<&UserId>,
) -> Result<Option<RunId>> {
    Ok(sqlx::query_scalar(
        "INSERT INTO runs (id, dataset_id, cause, started_by, state, source_key, queued_at, due_at, account_id)
         SELECT $1, id, $3, $4, 'queued', $5, $6, $6, account_id FROM datasets WHERE id = $2
         ON CONFLICT (dataset_id) WHERE state IN ('queued', 'running', 'waiting') AND cause <> 'backfill' DO NOTHING RETURNING id",
    )
    .bind(RunId::new())
    .bind(dataset)
    .bind(trigger.word())
    .bind(started_by)
    .bind(source_key)
    .bind(now)
    .fetch_optional(&mut **tx)
    .await?)
}

/// Makes a run by schedule that begins at `at` and stands for `missed` moments more than its own. One that is there already and has not
/// begun stands for this moment as well. False when one is at work: nothing comes of this moment.
pub async fn schedule_in(tx: &mut Transaction<'static, Sqlite>, now: Millis, dataset: &DatasetId, source_key: &str, at: Millis, missed: i64) -> Result<bool> {
    if let Some(made) = make_in(tx, now, dataset, source_key, Trigger::Schedule, None).await? {
        if at > now || missed > 0 {
            sqlx::query("UPDATE runs SET missed = $1, due_at = $2 WHERE id = $3").bind(missed).bind(at).bind(made).execute(&mut **tx).await?;
        }
        return Ok(true);
    }
    let waits = sqlx::query("UPDATE runs SET missed = missed + $1 WHERE dataset_id = $2 AND state IN ('queued', 'waiting') AND cause <> 'backfill'")
        .bind(missed + 1)
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
    Ok(waits.rows_affected() > 0)
}
