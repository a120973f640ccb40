//! One chunk after another: each is queued once the one before has come, is tried again when it fails, and is counted where it commits.

use jiff::ToSpan;
use jiff::civil::Date;
use sqlx::{Sqlite, Transaction};

use super::{Backfill, Row, refusal, source_key};
use crate::clock::Millis;
use crate::datasets::upkeep::Kind;
use crate::db::Db;
use crate::db::marks::step;
use crate::error::Result;
use crate::ids::{BackfillId, RunId};
use crate::puller::Puller;
use crate::puller::queue::Claimed;
use crate::puller::run::Failure;
use crate::puller::upkeep::{self, Kept};

/// Makes the next chunk of every backfill a run, once the one before has ended: for the scheduler. One whose chunk did not succeed
/// stops, and says why.
pub(in crate::puller) async fn enqueue_chunks(puller: &Puller) -> Result<()> {
    let rows: Vec<Row> = sqlx::query_as(select_backfill!(
        "WHERE b.state = 'running' AND COALESCE(b.retry_at, 0) <= $1
            AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.backfill_id = b.id AND r.state IN ('queued', 'running', 'waiting')) ORDER BY b.created_at"
    ))
    .bind(puller.clock.now())
    .fetch_all(puller.db.read())
    .await?;
    for row in rows {
        // One that cannot be read must not keep the others waiting.
        let id = row.id.clone();
        if let Err(error) = go_on(puller, row).await {
            tracing::error!(backfill = %id, cause = ?error.inside(), "the next run of a backfill could not be queued: {error}");
        }
    }
    Ok(())
}

async fn go_on(puller: &Puller, row: Row) -> Result<()> {
    let backfill = Backfill::try_from(row)?;
    let dataset = puller.datasets.for_run(&backfill.dataset_id).await?;
    let refused = refusal(&dataset).map(|error| error.message().to_owned());
    let over = match refused {
        Some(why) => Some(Failed { why, by_person: false }),
        None if backfill.retry_at.is_some() => None,
        None => failed(&puller.db, &backfill.id).await?,
    };
    if let Some(over) = over {
        stop(&puller.db, &backfill, &over, puller.clock.now()).await?;
        puller.notices.wake.notify_one();
        return Ok(());
    }
    enqueue(&puller.db, &backfill, &source_key(&dataset, backfill.next().as_ref()), puller.clock.now()).await?;
    puller.wake.notify_one();
    Ok(())
}

/// Why a backfill does not go on.
pub(super) struct Failed {
    pub why: String,
    /// Somebody stopped its chunk, who need not be told.
    pub by_person: bool,
}

/// Why the newest chunk since somebody last began or resumed it did not succeed; none when it did, or there is none.
pub(super) async fn failed(db: &Db, id: &BackfillId) -> Result<Option<Failed>> {
    let newest: Option<(String, Option<String>)> = sqlx::query_as(
        "SELECT r.state, r.error_message FROM runs r JOIN backfills b ON b.id = r.backfill_id WHERE b.id = $1 AND r.queued_at >= b.resumed_at
         AND r.finished_at > b.resumed_at ORDER BY r.queued_at DESC, r.id DESC LIMIT 1",
    )
    .bind(id)
    .fetch_optional(db.read())
    .await?;
    Ok(newest.filter(|(state, _)| state != "succeeded").map(|(state, message)| match state.as_str() {
        "cancelled" => Failed { why: "A person cancelled its run.".to_owned(), by_person: true },
        _ => Failed { why: message.unwrap_or_else(|| "One of its runs failed.".to_owned()), by_person: false },
    }))
}

/// Plans when a chunk that failed is tried again, as often as runs of its DataSet are, in the transaction of its end.
pub(in crate::puller) async fn chunk_failed(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    failure: &Failure,
    dataset: &Kept,
) -> Result<()> {
    let tried = "SELECT b.tries FROM backfills b JOIN runs r ON r.backfill_id = b.id WHERE r.id = $1";
    let Some(tries) = sqlx::query_scalar(tried).bind(&run.id).fetch_optional(&mut **tx).await? else { return Ok(()) };
    let Some(at) = upkeep::retry_at(now, run, failure, dataset, tries) else { return Ok(()) };
    sqlx::query("UPDATE backfills SET tries = tries + 1, retry_at = $1 WHERE state = 'running' AND id = (SELECT backfill_id FROM runs WHERE id = $2)")
        .bind(at)
        .bind(&run.id)
        .execute(&mut **tx)
        .await?;
    upkeep::note_retry(tx, run, failure, dataset, (at, tries + 1)).await?;
    Ok(())
}

pub(super) async fn stop(db: &Db, backfill: &Backfill, over: &Failed, now: Millis) -> Result<()> {
    let mut tx = db.write().await?;
    let stopped = sqlx::query("UPDATE backfills SET state = 'stopped', why = $1, ended_at = $2, retry_at = NULL WHERE id = $3 AND state = 'running'")
        .bind(&over.why)
        .bind(now)
        .bind(&backfill.id)
        .execute(&mut *tx)
        .await?;
    if stopped.rows_affected() > 0
        && !over.by_person
        && let Some(dataset) = upkeep::kept(&mut tx, &backfill.dataset_id).await?
    {
        let words = [
            format!("The backfill of {} has stopped: {}", backfill.days, over.why),
            "The owner of the DataSet or an admin can resume it under History, Backfill, once the cause is fixed.".to_owned(),
            "The days that were already pulled are saved. The schedule continues.".to_owned(),
        ];
        dataset.tell(&mut tx, now, Kind::Failure, "backfill_stopped", words).await?;
    }
    tx.commit().await?;
    step("backfill.stopped");
    Ok(())
}

pub(super) async fn enqueue(db: &Db, backfill: &Backfill, source_key: &str, now: Millis) -> Result<()> {
    let Some(days) = backfill.next() else { return Ok(()) };
    let mut tx = db.write().await?;
    sqlx::query(
        "INSERT INTO runs (id, dataset_id, cause, started_by, state, source_key, queued_at, due_at, account_id, backfill_id, from_day, to_day)
         SELECT $1, b.dataset_id, 'backfill', b.asked_by, 'queued', $2, $3, $3, d.account_id, b.id, $4, $5
         FROM backfills b JOIN datasets d ON d.id = b.dataset_id WHERE b.id = $6 AND b.state = 'running'
         ON CONFLICT (dataset_id) WHERE state IN ('queued', 'running', 'waiting') AND cause = 'backfill' DO NOTHING",
    )
    .bind(RunId::new())
    .bind(source_key)
    .bind(now)
    .bind(days.from.to_string())
    .bind(days.to.to_string())
    .bind(&backfill.id)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE backfills SET retry_at = NULL WHERE id = $1").bind(&backfill.id).execute(&mut *tx).await?;
    tx.commit().await?;
    step("backfill.chunk_queued");
    Ok(())
}

/// Counts a chunk in the transaction of its commit: what is left begins before its first day.
pub(in crate::puller) async fn chunk_committed(tx: &mut Transaction<'static, Sqlite>, run: &RunId, now: Millis) -> Result<()> {
    let chunk: Option<(BackfillId, String, String)> =
        sqlx::query_as("SELECT b.id, b.from_day, r.from_day FROM runs r JOIN backfills b ON b.id = r.backfill_id WHERE r.id = $1")
            .bind(run)
            .fetch_optional(&mut **tx)
            .await?;
    let Some((id, first, came)) = chunk else { return Ok(()) };
    let day_before = came.parse::<Date>().ok().and_then(|day| day.checked_sub(1.day()).ok());
    let left = day_before.filter(|_| came > first).map(|day| day.to_string());
    sqlx::query(
        "UPDATE backfills SET left_to = $1, tries = 0, retry_at = NULL, state = CASE WHEN $1 IS NULL THEN 'finished' ELSE state END, ended_at = CASE WHEN $1 IS NULL THEN $2 ELSE ended_at END WHERE id = $3",
    )
    .bind(left)
    .bind(now)
    .bind(id)
    .execute(&mut **tx)
    .await?;
    step("backfill.chunk_counted");
    Ok(())
}
