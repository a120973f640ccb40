//! Pauses and resumes a schedule by hand. An active run continues. Due times that pass during the
//! pause get no run.

use sqlx::{Sqlite, Transaction};

use super::Puller;
use super::on_run_end::load_readable_subject;
use super::schedules::Schedule;
use crate::auth::audit::{self, AuditActor, AuditEvent};
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::datasets::policies::NotificationKind;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, UserId};

impl Puller {
    /// Pauses the schedule and returns the DataSet. A DataSet that is already paused is not
    /// changed.
    pub async fn pause(&self, by: AuditActor<'_>, id: &DatasetId) -> Result<Dataset> {
        let dataset = self.datasets.get_to_change(by.actor, id).await?;
        if dataset.schedule.is_none() {
            return Err(Error::conflict(
                "no_schedule",
                "This DataSet has no schedule to pause. It runs only with Run now.",
            )
            .action("No action needed."));
        }
        let mut tx = self.db.write().await?;
        let paused = sqlx::query(
            "UPDATE datasets
             SET paused_at = $1, paused_by = $2, next_run_at = NULL, retry_at = NULL
             WHERE id = $3 AND paused_at IS NULL AND schedule IS NOT NULL",
        )
        .bind(self.clock.now())
        .bind(&by.actor.user)
        .bind(id)
        .execute(&mut *tx)
        .await?;
        if paused.rows_affected() > 0 {
            audit::record(
                &mut tx,
                &self.clock,
                AuditEvent::done(Some(by), "dataset.pause", id.as_str()),
            )
            .await?;
            notify_paused(&mut tx, self.clock.now(), &by.actor.user, id).await?;
        }
        tx.commit().await?;
        self.notifications.wake.notify_one();
        self.datasets.get(by.actor, id).await
    }

    /// Resumes the schedule from now on and returns the DataSet. A DataSet that is not paused is
    /// not changed.
    pub async fn resume(&self, by: AuditActor<'_>, id: &DatasetId) -> Result<Dataset> {
        let dataset = self.datasets.get_to_change(by.actor, id).await?;
        if dataset.schedule_state.paused.is_none() {
            return Ok(dataset);
        }
        let now = self.clock.now();
        let next = Schedule::of(&dataset)?.next_after(now);
        let mut tx = self.db.write().await?;
        let resumed = sqlx::query(
            "UPDATE datasets
             SET
                 paused_at = NULL, paused_by = NULL, missed = 0, expected_since = $3,
                 last_due_at = $3,
                 -- A schedule that is also stopped waits for its restart.
                 next_run_at = CASE
                     WHEN account_id IS NULL OR stopped_at IS NOT NULL THEN NULL
                     ELSE $1
                 END
             WHERE id = $2 AND paused_at IS NOT NULL",
        )
        .bind(next)
        .bind(id)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        if resumed.rows_affected() > 0 {
            audit::record(
                &mut tx,
                &self.clock,
                AuditEvent::done(Some(by), "dataset.resume", id.as_str()),
            )
            .await?;
        }
        tx.commit().await?;
        self.wake_scheduler.notify_one();
        self.datasets.get(by.actor, id).await
    }
}

/// Notifies that a person paused the schedule.
async fn notify_paused(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    by: &UserId,
    id: &DatasetId,
) -> Result<()> {
    let Some(dataset) = load_readable_subject(tx, id).await? else {
        return Ok(());
    };
    let name: Option<String> = sqlx::query_scalar("SELECT name FROM users WHERE id = $1")
        .bind(by)
        .fetch_optional(&mut **tx)
        .await?;
    let words = [
        format!(
            "{} paused the schedule.",
            name.unwrap_or_else(|| "A person".to_owned())
        ),
        "The owner of the DataSet or an admin can resume the schedule on its page.".to_owned(),
        "No scheduled runs until then. The existing rows are unchanged.".to_owned(),
    ];
    dataset
        .notify(tx, now, NotificationKind::Stopped, "paused", words)
        .await
}
