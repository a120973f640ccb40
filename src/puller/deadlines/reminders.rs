//! Sends reminders for DataSets that are run by hand and have not run for the chosen time.

use super::HOUR;
use crate::clock::Millis;
use crate::datasets::policies::NotificationKind;
use crate::db::decode_readable;
use crate::error::Result;
use crate::ids::DatasetId;
use crate::notifications::REMINDER;
use crate::puller::Puller;
use crate::puller::on_run_end::load_readable_subject;
use crate::puller::schedules::Schedule;

/// A DataSet that is run by hand, with a reminder.
#[derive(sqlx::FromRow)]
struct ManualDataset {
    id: DatasetId,
    schedule_plan: String,
    time_zone: String,
    since: i64,
    reminded_at: Option<i64>,
}

impl ManualDataset {
    /// When the next reminder is due, if any; always the same time after the last success or
    /// reminder.
    fn due(&self) -> Option<Millis> {
        let schedule =
            Schedule::from_stored(Some(&self.schedule_plan), None, &self.time_zone).ok()?;
        let after = i64::from(schedule.plan().remind_after()?) * HOUR;
        Some(self.reminded_at.unwrap_or(self.since).max(self.since) + after)
    }
}

/// Sends reminders for DataSets that are run by hand and have not run for the chosen time.
pub(super) async fn send_reminders(puller: &Puller, now: Millis) -> Result<()> {
    let all: Vec<ManualDataset> = decode_readable(
        sqlx::query(
            "SELECT
                 id, schedule_plan, time_zone, COALESCE(last_success_at, created_at) AS since,
                 reminded_at
             FROM datasets
             WHERE schedule IS NULL AND schedule_plan IS NOT NULL AND account_id IS NOT NULL
             ORDER BY id",
        )
        .fetch_all(puller.db.read())
        .await?,
    );
    for one in all
        .iter()
        .filter(|one| one.due().is_some_and(|due| due <= now))
    {
        let mut tx = puller.db.write().await?;
        sqlx::query("UPDATE datasets SET reminded_at = $1 WHERE id = $2")
            .bind(now)
            .bind(&one.id)
            .execute(&mut *tx)
            .await?;
        if let Some(dataset) = load_readable_subject(&mut tx, &one.id).await? {
            let words = [
                format!(
                    "Reminder: no run has succeeded since {}.",
                    dataset.format_time(one.since)
                ),
                "The owner of the DataSet must press Run now.".to_owned(),
                "No run is scheduled. The existing rows are unchanged.".to_owned(),
            ];
            dataset
                .notify(&mut tx, now, NotificationKind::Late, REMINDER, words)
                .await?;
        }
        tx.commit().await?;
        puller.notifications.wake.notify_one();
    }
    Ok(())
}
