//! Schedules from which no run would ever come: one without a next moment, one whose moments were written down under a clock that was
//! far ahead, and one that cannot be followed, which is told.

use sqlx::{Sqlite, Transaction};

use super::PUSH_AHEAD;
use crate::clock::Millis;
use crate::datasets::upkeep::Kind as Told;
use crate::error::{Kind, Result};
use crate::ids::DatasetId;
use crate::puller::Puller;
use crate::puller::schedules::Schedule;
use crate::puller::upkeep::kept_or_damaged;

/// The end of the year 9999.
const LAST_MOMENT: Millis = 253_402_300_799_999;
/// So many are dealt with in one transaction.
const AT_ONCE: usize = 500;

/// Says on the DataSet why its schedule cannot be followed, tells of it the first time, and looks again later. `read`: its next moment
/// when it was looked at; one that has been changed since is left alone.
pub(super) async fn flag(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId, read: Option<Millis>, why: &str, now: Millis) -> Result<()> {
    let before: Option<(i64,)> = sqlx::query_as(
        "SELECT CASE WHEN schedule_error IS NULL THEN 0 ELSE 1 END FROM datasets WHERE id = $1 AND next_run_at IS NOT DISTINCT FROM $2 AND paused_at IS NULL
            AND (next_run_at IS NOT NULL OR (schedule IS NOT NULL AND stopped_at IS NULL AND account_id IS NOT NULL))",
    )
    .bind(id)
    .bind(read)
    .fetch_optional(&mut **tx)
    .await?;
    let Some((before,)) = before else { return Ok(()) };
    tracing::error!(dataset = %id, "the schedule of this DataSet cannot run; Chatlake checks it again in an hour: {why}");
    sqlx::query(
        "UPDATE datasets SET next_run_at = $1, schedule_error = $2, last_due_at = CASE WHEN last_due_at > $3 THEN $3 ELSE last_due_at END WHERE id = $4",
    )
    .bind(now + PUSH_AHEAD)
    .bind(why)
    .bind(now)
    .bind(id)
    .execute(&mut **tx)
    .await?;
    if before == 0 {
        tell(tx, id, why, now).await?;
    }
    Ok(())
}

async fn tell(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId, why: &str, now: Millis) -> Result<()> {
    // What is wrong with the row may be that it cannot be read at all.
    let Some(dataset) = kept_or_damaged(tx, id).await? else { return Ok(()) };
    // So that the end of it is told as well.
    if dataset.tells(Told::Stopped) {
        sqlx::query("UPDATE datasets SET told_of_stop = 1 WHERE id = $1").bind(id).execute(&mut **tx).await?;
    }
    let words = [
        format!("The schedule cannot run. {why}"),
        "The owner of the DataSet must save the schedule again under Settings.".to_owned(),
        "No scheduled runs until then. Chatlake checks the schedule every hour. The existing rows are unchanged.".to_owned(),
    ];
    dataset.tell(tx, now, Told::Stopped, "schedule", words).await
}

/// Counts anew what has no next moment, and what was dealt with later than `latest`.
pub(super) async fn mend(puller: &Puller, now: Millis, latest: Millis) -> Result<()> {
    // No moment at all, which comes after all that are.
    let odd: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM datasets WHERE next_run_at > $1").bind(LAST_MOMENT).fetch_one(puller.db.read()).await?;
    if odd > 0 {
        let mut tx = puller.db.write().await?;
        sqlx::query("UPDATE datasets SET next_run_at = NULL WHERE next_run_at > $1").bind(LAST_MOMENT).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    let mut adrift: Vec<(DatasetId, Option<Millis>)> = sqlx::query_as(
        "SELECT id, next_run_at FROM datasets WHERE schedule IS NOT NULL AND next_run_at IS NULL AND paused_at IS NULL AND stopped_at IS NULL AND account_id IS NOT NULL LIMIT 500",
    )
    .fetch_all(puller.db.read())
    .await?;
    let ahead: Vec<(DatasetId, Option<Millis>)> = sqlx::query_as("SELECT id, next_run_at FROM datasets WHERE last_due_at > $1 AND next_run_at IS NOT NULL")
        .bind(latest)
        .fetch_all(puller.db.read())
        .await?;
    adrift.extend(ahead);
    for some in adrift.chunks(AT_ONCE) {
        let mut found = Vec::new();
        for (id, read) in some {
            let next = match puller.datasets.for_run(id).await {
                Ok(dataset) => Schedule::of(&dataset).map(|schedule| schedule.next_after(now)),
                Err(error) if error.is_damaged() || error.kind() == Kind::NotFound => Err(error),
                Err(error) => return Err(error),
            };
            found.push((id, *read, next));
        }
        let mut tx = puller.db.write().await?;
        for (id, read, next) in found {
            match next {
                Ok(Some(next)) => count_anew(&mut tx, id, read, next, now).await?,
                Ok(None) => flag(&mut tx, id, read, "This schedule has no next run.", now).await?,
                Err(why) => flag(&mut tx, id, read, why.message(), now).await?,
            }
        }
        tx.commit().await?;
        puller.notices.wake.notify_one();
    }
    Ok(())
}

pub(super) async fn count_anew(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId, read: Option<Millis>, next: Millis, now: Millis) -> Result<()> {
    let counted = sqlx::query(
        "UPDATE datasets SET next_run_at = $1, last_due_at = $2 WHERE id = $3 AND next_run_at IS NOT DISTINCT FROM $4
            AND schedule IS NOT NULL AND paused_at IS NULL AND stopped_at IS NULL AND account_id IS NOT NULL",
    )
    .bind(next)
    .bind(now)
    .bind(id)
    .bind(read)
    .execute(&mut **tx)
    .await?;
    if counted.rows_affected() > 0 {
        tracing::warn!(dataset = %id, "the next run of this DataSet did not match its schedule; its time was recalculated");
    }
    Ok(())
}
