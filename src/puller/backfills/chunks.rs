//! Queues the chunks of a backfill one after the other, retries a chunk that fails, and counts it
//! in the transaction of its commit.

use jiff::ToSpan;
use jiff::civil::Date;
use sqlx::{Sqlite, Transaction};

use super::{Backfill, StoredBackfill, source_key, unsupported_reason};
use crate::clock::Millis;
use crate::datasets::policies::NotificationKind;
use crate::db::Db;
use crate::db::failpoints::kill_point;
use crate::error::Result;
use crate::ids::{BackfillId, RunId};
use crate::puller::Puller;
use crate::puller::on_run_end::{self, AlertSubject};
use crate::puller::queue::Claimed;
use crate::puller::run::{Failure, RunState};

/// Queues the next chunk of every running backfill whose previous chunk has ended. A backfill whose
/// chunk failed is stopped with the reason. Called by the scheduler.
pub(in crate::puller) async fn enqueue_chunks(puller: &Puller) -> Result<()> {
    let rows: Vec<StoredBackfill> = sqlx::query_as(select_backfill!(
        "WHERE b.state = 'running'
             -- Not while it waits for the retry of a chunk.
             AND COALESCE(b.retry_at, 0) <= $1
             -- Not while a chunk is active.
             AND NOT EXISTS (
                 SELECT 1
                 FROM runs r
                 WHERE r.backfill_id = b.id AND r.state IN ('queued', 'running', 'waiting')
             )
         ORDER BY b.created_at"
    ))
    .bind(puller.clock.now())
    .fetch_all(puller.db.read())
    .await?;
    for row in rows {
        // A backfill that cannot be read does not block the others.
        let id = row.id.clone();
        if let Err(error) = enqueue_next_chunk(puller, row).await {
            tracing::error!(
                backfill = %id, cause = ?error.log_cause(),
                "the next run of a backfill could not be queued: {error}"
            );
        }
    }
    Ok(())
}

async fn enqueue_next_chunk(puller: &Puller, row: StoredBackfill) -> Result<()> {
    let backfill = Backfill::try_from(row)?;
    let dataset = puller.datasets.for_run(&backfill.dataset_id).await?;
    let refused = unsupported_reason(&dataset).map(|error| error.message().to_owned());
    let failure = match refused {
        Some(why) => Some(ChunkFailure {
            why,
            by_person: false,
        }),
        None if backfill.retry_at.is_some() => None,
        None => last_chunk_failure(&puller.db, &backfill.id).await?,
    };
    if let Some(failure) = failure {
        stop_backfill(&puller.db, &backfill, &failure, puller.clock.now()).await?;
        puller.notifications.wake.notify_one();
        return Ok(());
    }
    enqueue_chunk(
        &puller.db,
        &backfill,
        &source_key(&dataset, backfill.next().as_ref()),
        puller.clock.now(),
    )
    .await?;
    puller.wake_dispatcher.notify_one();
    Ok(())
}

/// Why a backfill stops.
pub(super) struct ChunkFailure {
    pub why: String,
    /// A person cancelled the chunk, so no notification is sent.
    pub by_person: bool,
}

/// Returns why the newest chunk since the backfill began or was resumed did not succeed; `None`
/// when it did, or there is none.
pub(super) async fn last_chunk_failure(db: &Db, id: &BackfillId) -> Result<Option<ChunkFailure>> {
    let newest: Option<(RunState, Option<String>)> = sqlx::query_as(
        "SELECT r.state, r.error_message
         FROM runs r
         JOIN backfills b ON b.id = r.backfill_id
         WHERE b.id = $1
             -- A chunk of before does not count after the backfill was resumed.
             AND r.queued_at >= b.resumed_at
             AND r.finished_at > b.resumed_at
         ORDER BY r.queued_at DESC, r.id DESC
         LIMIT 1",
    )
    .bind(id)
    .fetch_optional(db.read())
    .await?;
    Ok(newest
        .filter(|(state, _)| *state != RunState::Succeeded)
        .map(|(state, message)| match state {
            RunState::Cancelled => ChunkFailure {
                why: "A person cancelled its run.".to_owned(),
                by_person: true,
            },
            _ => ChunkFailure {
                why: message.unwrap_or_else(|| "One of its runs failed.".to_owned()),
                by_person: false,
            },
        }))
}

/// Schedules the retry of a failed chunk under the retry policy of its DataSet, in the transaction
/// that ends the run.
pub(in crate::puller) async fn chunk_failed(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    failure: &Failure,
    dataset: &AlertSubject,
) -> Result<()> {
    let select_retries =
        "SELECT b.retries FROM backfills b JOIN runs r ON r.backfill_id = b.id WHERE r.id = $1";
    let Some(retries) = sqlx::query_scalar(select_retries)
        .bind(&run.id)
        .fetch_optional(&mut **tx)
        .await?
    else {
        return Ok(());
    };
    let Some(at) = on_run_end::retry_at(now, run, failure, dataset, retries) else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE backfills
         SET retries = retries + 1, retry_at = $1
         WHERE state = 'running' AND id = (SELECT backfill_id FROM runs WHERE id = $2)",
    )
    .bind(at)
    .bind(&run.id)
    .execute(&mut **tx)
    .await?;
    on_run_end::record_retry(tx, run, failure, dataset, (at, retries + 1)).await?;
    Ok(())
}

pub(super) async fn stop_backfill(
    db: &Db,
    backfill: &Backfill,
    failure: &ChunkFailure,
    now: Millis,
) -> Result<()> {
    let mut tx = db.write().await?;
    let stopped = sqlx::query(
        "UPDATE backfills
         SET state = 'stopped', stop_reason = $1, ended_at = $2, retry_at = NULL
         WHERE id = $3 AND state = 'running'",
    )
    .bind(&failure.why)
    .bind(now)
    .bind(&backfill.id)
    .execute(&mut *tx)
    .await?;
    if stopped.rows_affected() > 0
        && !failure.by_person
        && let Some(dataset) = on_run_end::load_subject(&mut tx, &backfill.dataset_id).await?
    {
        let words = [
            format!(
                "The backfill of {} has stopped: {}",
                backfill.days, failure.why
            ),
            "The owner of the DataSet or an admin can resume it under History, Backfill, \
             once the cause is fixed."
                .to_owned(),
            "The days that were already pulled are saved. The schedule continues.".to_owned(),
        ];
        dataset
            .notify(
                &mut tx,
                now,
                NotificationKind::Failure,
                "backfill_stopped",
                words,
            )
            .await?;
    }
    tx.commit().await?;
    kill_point("backfill.stopped");
    Ok(())
}

pub(super) async fn enqueue_chunk(
    db: &Db,
    backfill: &Backfill,
    source_key: &str,
    now: Millis,
) -> Result<()> {
    let Some(days) = backfill.next() else {
        return Ok(());
    };
    let mut tx = db.write().await?;
    sqlx::query(
        "INSERT INTO runs (
             id, dataset_id, trigger, started_by, state, source_key, queued_at, due_at,
             account_id, backfill_id, from_day, to_day
         )
         SELECT
             $1, b.dataset_id, 'backfill', b.requested_by, 'queued', $2, $3, $3, d.account_id,
             b.id, $4, $5
         FROM backfills b
         JOIN datasets d ON d.id = b.dataset_id
         WHERE b.id = $6 AND b.state = 'running'
         -- The index `one_chunk_alive`: at most one active chunk of a DataSet.
         ON CONFLICT (dataset_id)
         WHERE state IN ('queued', 'running', 'waiting') AND trigger = 'backfill' DO NOTHING",
    )
    .bind(RunId::new())
    .bind(source_key)
    .bind(now)
    .bind(days.from.to_string())
    .bind(days.to.to_string())
    .bind(&backfill.id)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE backfills SET retry_at = NULL WHERE id = $1")
        .bind(&backfill.id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    kill_point("backfill.chunk_queued");
    Ok(())
}

/// The first days of a backfill and of one of its chunks.
#[derive(sqlx::FromRow)]
struct CommittedChunkRow {
    id: BackfillId,
    first_day: String,
    chunk_start: String,
}

/// Records a chunk as done in the transaction of its commit: the remaining days end before its
/// first day.
pub(in crate::puller) async fn chunk_committed(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
    now: Millis,
) -> Result<()> {
    let chunk: Option<CommittedChunkRow> = sqlx::query_as(
        "SELECT b.id, b.from_day AS first_day, r.from_day AS chunk_start
         FROM runs r
         JOIN backfills b ON b.id = r.backfill_id
         WHERE r.id = $1",
    )
    .bind(run)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(chunk) = chunk else {
        return Ok(());
    };
    let day_before = chunk
        .chunk_start
        .parse::<Date>()
        .ok()
        .and_then(|day| day.checked_sub(1.day()).ok());
    let left = day_before
        .filter(|_| chunk.chunk_start > chunk.first_day)
        .map(|day| day.to_string());
    sqlx::query(
        "UPDATE backfills
         SET
             remaining_to = $1, retries = 0, retry_at = NULL,
             -- Without remaining days it is finished, also if a person cancelled it meanwhile.
             state = CASE WHEN $1 IS NULL THEN 'finished' ELSE state END,
             ended_at = CASE WHEN $1 IS NULL THEN $2 ELSE ended_at END
         WHERE id = $3",
    )
    .bind(left)
    .bind(now)
    .bind(chunk.id)
    .execute(&mut **tx)
    .await?;
    kill_point("backfill.chunk_counted");
    Ok(())
}
