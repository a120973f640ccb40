//! What is due becomes a run; what nobody needs any more is swept. One query on `next_run_at` finds what is due.

use std::time::Duration;

use super::run::Trigger;
use super::schedules::Schedule;
use super::{Puller, queue};
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::error::Result;
use crate::ids::DatasetId;

/// The scheduler looks at least this often, whatever the clock did meanwhile.
const LOOK_AT_LEAST: Duration = Duration::from_secs(30);
/// A DataSet whose schedule cannot be read is looked at again after this, so that one bad row cannot stop the others.
const PUSH_AHEAD: Duration = Duration::from_secs(3600);
/// How often old versions and files are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

pub(super) async fn schedule_until_stopped(puller: Puller) {
    loop {
        let next = match tick(&puller).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(cause = ?error.inside(), "the scheduler could not look: {error}");
                None
            }
        };
        let latest = puller.clock.now() + i64::try_from(LOOK_AT_LEAST.as_millis()).unwrap_or(i64::MAX);
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.rescheduled.notified() => {}
            () = puller.clock.wait_until(next.map_or(latest, |next| next.min(latest))) => {}
        }
    }
}

/// Makes runs of all that is due and answers when the next one will be.
async fn tick(puller: &Puller) -> Result<Option<Millis>> {
    puller.metrics.runs_alive.set(queue::alive(&puller.db).await?);
    loop {
        let now = puller.clock.now();
        let due: Vec<(DatasetId,)> =
            sqlx::query_as("SELECT id FROM datasets WHERE next_run_at IS NOT NULL AND next_run_at <= $1 ORDER BY next_run_at, id LIMIT 100")
                .bind(now)
                .fetch_all(puller.db.read())
                .await?;
        if due.is_empty() {
            break;
        }
        for (id,) in due {
            start(puller, &id, now).await?;
        }
    }
    puller.datasets.next_scheduled().await
}

/// One run for what is due, however many times were missed, and the next time.
async fn start(puller: &Puller, id: &DatasetId, now: Millis) -> Result<()> {
    let dataset = puller.datasets.for_run(id).await;
    let next = match &dataset {
        Ok(dataset) => next_run(dataset, now),
        Err(_) => None,
    };
    let mut tx = puller.db.write().await?;
    match (&dataset, next) {
        (Ok(dataset), Some(_)) if dataset.account_id.is_some() => {
            queue::enqueue_in(&mut tx, now, id, &dataset.source_key(), Trigger::Schedule, None).await?;
        }
        _ => tracing::error!(dataset = %id, "this DataSet's schedule or account cannot be read; it is looked at again in an hour"),
    }
    let next = next.unwrap_or(now + i64::try_from(PUSH_AHEAD.as_millis()).unwrap_or(i64::MAX));
    sqlx::query("UPDATE datasets SET next_run_at = $1 WHERE id = $2 AND next_run_at IS NOT NULL").bind(next).bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    puller.wake.notify_one();
    Ok(())
}

fn next_run(dataset: &Dataset, now: Millis) -> Option<Millis> {
    Schedule::parse(dataset.schedule.as_deref()?, &dataset.time_zone, now).ok()?.next_after(now)
}

pub(super) async fn sweep_until_stopped(puller: Puller) {
    loop {
        if let Err(error) = sweep(&puller).await {
            tracing::error!(cause = ?error.inside(), "the sweep stopped: {error}");
        }
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.clock.wait(SWEEP_EVERY) => {}
        }
    }
}

async fn sweep(puller: &Puller) -> Result<()> {
    let datasets: Vec<(DatasetId,)> = sqlx::query_as("SELECT id FROM datasets ORDER BY id").fetch_all(puller.db.read()).await?;
    for (dataset,) in datasets {
        puller.datasets.versions.retain(&dataset).await?;
    }
    let swept = puller.datasets.versions.sweep().await?;
    tracing::debug!(?swept, "swept");
    Ok(())
}
