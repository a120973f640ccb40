//! Acts on deadlines: retries that are due, late data, reminders, stopped schedules that can
//! restart, deleted or unshared accounts, and the end of a vendor's API. Each action is one
//! transaction together with its notification.

mod api_sunsets;
mod lateness;
mod reminders;
mod retries;
mod stopped_schedules;

use std::time::Duration;

use super::Puller;
use crate::clock::Millis;
use crate::error::Result;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
/// The maximum time between two checks, also when the clock is set.
const MAX_CHECK_INTERVAL: Millis = 30_000;
/// DataSets per transaction.
const BATCH_SIZE: usize = 100;

/// Processes deadlines until the server stops.
pub(super) async fn check_until_stopped(puller: Puller) {
    loop {
        let began = puller.clock.now();
        let next = puller
            .db
            .outages()
            .track(
                "retries and late DataSets could not be checked",
                tick(&puller).await,
            )
            .flatten();
        // Computed from the time before the check, so that a deadline that passed during the check
        // is handled next. At least 50 ms, so that a row that cannot be processed does not keep a
        // core busy.
        let until = next.map_or(began + MAX_CHECK_INTERVAL, |next| {
            next.clamp(began + 50, began + MAX_CHECK_INTERVAL)
        });
        let latest = Duration::from_millis(MAX_CHECK_INTERVAL.unsigned_abs());
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.wake_deadlines.notified() => {}
            () = puller.clock.wait_until_or_for(until, latest) => {}
        }
    }
}

/// Processes all deadlines that have passed. Returns the time of the next one.
async fn tick(puller: &Puller) -> Result<Option<Millis>> {
    let now = puller.clock.now();
    retries::enqueue_due_retries(puller, now).await?;
    stopped_schedules::restart_recovered(puller, now).await?;
    stopped_schedules::check_unshared(puller, now).await?;
    lateness::check_lateness(puller, now).await?;
    reminders::send_reminders(puller, now).await?;
    stopped_schedules::notify_deleted_accounts(puller, now).await?;
    api_sunsets::notify_api_sunsets(puller, now).await?;
    Ok(sqlx::query_scalar(
        "SELECT MIN(at)
         FROM (
             SELECT MIN(retry_at) AS at
             FROM datasets
             WHERE retry_at IS NOT NULL
             UNION ALL
             -- Data that is late already has no further deadline.
             SELECT MIN(late_at)
             FROM datasets
             WHERE late_at IS NOT NULL AND late_since IS NULL
         ) AS coming",
    )
    .fetch_one(puller.db.read())
    .await?)
}
