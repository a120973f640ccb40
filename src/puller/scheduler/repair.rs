//! Repairs schedules that would never run: without a next run, or with due times from a clock that
//! was far ahead. Notifies of schedules that cannot run.

use sqlx::{Sqlite, Transaction};

use super::RECHECK_BROKEN_AFTER;
use crate::clock::Millis;
use crate::datasets::policies::NotificationKind;
use crate::error::{ErrorKind, Result};
use crate::ids::DatasetId;
use crate::puller::Puller;
use crate::puller::on_run_end::load_readable_subject;
use crate::puller::schedules::Schedule;

/// The end of the year 9999.
const MAX_TIMESTAMP: Millis = 253_402_300_799_999;
/// DataSets per transaction.
const BATCH_SIZE: usize = 500;

/// Records why the schedule cannot run, notifies the first time, and schedules another check. Does
/// nothing if the DataSet was changed since `seen_next_run_at` was read.
pub(super) async fn mark_broken(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
    seen_next_run_at: Option<Millis>,
    why: &str,
    now: Millis,
) -> Result<()> {
    let before: Option<i64> = sqlx::query_scalar(
        "SELECT CASE WHEN schedule_error IS NULL THEN 0 ELSE 1 END
         FROM datasets
         WHERE id = $1
             -- Both may be NULL.
             AND next_run_at IS NOT DISTINCT FROM $2
             AND paused_at IS NULL
             -- It has a next run, or should have one.
             AND (
                 next_run_at IS NOT NULL
                 OR (schedule IS NOT NULL AND stopped_at IS NULL AND account_id IS NOT NULL)
             )",
    )
    .bind(id)
    .bind(seen_next_run_at)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(before) = before else {
        return Ok(());
    };
    tracing::error!(
        dataset = %id,
        "the schedule of this DataSet cannot run; Chatlake checks it again in an hour: {why}"
    );
    sqlx::query(
        "UPDATE datasets
         SET
             next_run_at = $1, schedule_error = $2,
             -- A due time in the future is from a clock that was far ahead.
             last_due_at = CASE WHEN last_due_at > $3 THEN $3 ELSE last_due_at END
         WHERE id = $4",
    )
    .bind(now + RECHECK_BROKEN_AFTER)
    .bind(why)
    .bind(now)
    .bind(id)
    .execute(&mut **tx)
    .await?;
    if before == 0 {
        notify_broken(tx, id, why, now).await?;
    }
    Ok(())
}

async fn notify_broken(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
    why: &str,
    now: Millis,
) -> Result<()> {
    // A damaged row may be unreadable. Then no notification is sent.
    let Some(dataset) = load_readable_subject(tx, id).await? else {
        return Ok(());
    };
    // Makes the next success notify of the recovery.
    if dataset.notifies_on(NotificationKind::Stopped) {
        sqlx::query("UPDATE datasets SET notified_stop = 1 WHERE id = $1")
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    let words = [
        format!("The schedule cannot run. {why}"),
        "The owner of the DataSet must save the schedule again under Settings.".to_owned(),
        "No scheduled runs until then. Chatlake checks the schedule every hour. \
         The existing rows are unchanged."
            .to_owned(),
    ];
    dataset
        .notify(tx, now, NotificationKind::Stopped, "schedule", words)
        .await
}

/// Recomputes the next run of DataSets without one, and of those whose last due time is later than
/// `latest`.
pub(super) async fn repair(puller: &Puller, now: Millis, latest: Millis) -> Result<()> {
    // Such values are not valid times.
    let out_of_range: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM datasets WHERE next_run_at > $1")
            .bind(MAX_TIMESTAMP)
            .fetch_one(puller.db.read())
            .await?;
    if out_of_range > 0 {
        let mut tx = puller.db.write().await?;
        sqlx::query("UPDATE datasets SET next_run_at = NULL WHERE next_run_at > $1")
            .bind(MAX_TIMESTAMP)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    let mut unscheduled: Vec<(DatasetId, Option<Millis>)> = sqlx::query_as(
        "SELECT id, next_run_at
         FROM datasets
         WHERE schedule IS NOT NULL
             AND next_run_at IS NULL
             AND paused_at IS NULL
             AND stopped_at IS NULL
             AND account_id IS NOT NULL
         LIMIT 500",
    )
    .fetch_all(puller.db.read())
    .await?;
    let ahead: Vec<(DatasetId, Option<Millis>)> = sqlx::query_as(
        "SELECT id, next_run_at FROM datasets WHERE last_due_at > $1 AND next_run_at IS NOT NULL",
    )
    .bind(latest)
    .fetch_all(puller.db.read())
    .await?;
    unscheduled.extend(ahead);
    for some in unscheduled.chunks(BATCH_SIZE) {
        let mut found = Vec::new();
        for (id, seen_next_run_at) in some {
            let next = match puller.datasets.for_run(id).await {
                Ok(dataset) => Schedule::of(&dataset).map(|schedule| schedule.next_after(now)),
                Err(error) if error.is_damaged() || error.kind() == ErrorKind::NotFound => {
                    Err(error)
                }
                Err(error) => return Err(error),
            };
            found.push((id, *seen_next_run_at, next));
        }
        let mut tx = puller.db.write().await?;
        for (id, seen_next_run_at, next) in found {
            match next {
                Ok(Some(next)) => {
                    recompute_next_run(&mut tx, id, seen_next_run_at, next, now).await?
                }
                Ok(None) => {
                    mark_broken(
                        &mut tx,
                        id,
                        seen_next_run_at,
                        "This schedule has no next run.",
                        now,
                    )
                    .await?
                }
                Err(why) => mark_broken(&mut tx, id, seen_next_run_at, why.message(), now).await?,
            }
        }
        tx.commit().await?;
        puller.notifications.wake.notify_one();
    }
    Ok(())
}

pub(super) async fn recompute_next_run(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
    seen_next_run_at: Option<Millis>,
    next: Millis,
    now: Millis,
) -> Result<()> {
    let updated = sqlx::query(
        "UPDATE datasets
         SET next_run_at = $1, last_due_at = $2
         -- Nothing if the schedule was saved, paused or stopped since it was read.
         WHERE id = $3
             AND next_run_at IS NOT DISTINCT FROM $4
             AND schedule IS NOT NULL
             AND paused_at IS NULL
             AND stopped_at IS NULL
             AND account_id IS NOT NULL",
    )
    .bind(next)
    .bind(now)
    .bind(id)
    .bind(seen_next_run_at)
    .execute(&mut **tx)
    .await?;
    if updated.rows_affected() > 0 {
        tracing::warn!(
            dataset = %id,
            "the next run of this DataSet did not match its schedule; its time was recalculated"
        );
    }
    Ok(())
}
