//! Restarts stopped schedules whose reason has ended, stops those of unshared accounts, and notifies
//! of deleted accounts.

use super::BATCH_SIZE;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::connectors::upstream::MAX_AUTH_FAILURES;
use crate::datasets::Dataset;
use crate::datasets::policies::{NotificationKind, StopReason, clear_stop};
use crate::db::decode_readable;
use crate::error::{Error, Result};
use crate::ids::DatasetId;
use crate::puller::Puller;
use crate::puller::on_run_end::{load_readable_subject, stop_unshared_schedules};
use crate::puller::schedules::Schedule;

/// Stops the schedules of DataSets whose account is no longer shared with their owner.
pub(super) async fn check_unshared(puller: &Puller, now: Millis) -> Result<()> {
    let any: i64 = sqlx::query_scalar(
        "SELECT COUNT(*)
         FROM datasets d
         JOIN accounts a ON a.id = d.account_id
         JOIN users o ON o.id = d.owner_id
         -- An admin may use every account, and an owner their own.
         WHERE a.shared = 0
             AND a.owner_id <> d.owner_id
             AND o.role <> 'admin'
             -- There is something to stop: the schedule, or a running run.
             AND (
                 d.next_run_at IS NOT NULL
                 OR EXISTS (
                     SELECT 1
                     FROM runs r
                     WHERE r.dataset_id = d.id AND r.state = 'running' AND r.cancel_requested = 0
                 )
             )",
    )
    .fetch_one(puller.db.read())
    .await?;
    if any == 0 {
        return Ok(());
    }
    let mut tx = puller.db.write().await?;
    stop_unshared_schedules(&mut tx, now).await?;
    tx.commit().await?;
    puller.notifications.wake.notify_one();
    puller.wake_scheduler.notify_one();
    Ok(())
}

/// Restarts stopped schedules whose reason has ended: rejected credentials that work again, a
/// parked run followed by a success, an account that is shared again.
pub(super) async fn restart_recovered(puller: &Puller, now: Millis) -> Result<()> {
    let recovered: Vec<DatasetId> = sqlx::query_scalar(
        "SELECT d.id
         FROM datasets d
         JOIN accounts a ON a.id = d.account_id
         JOIN users o ON o.id = d.owner_id
         WHERE d.stopped_at IS NOT NULL
             AND d.next_run_at IS NULL
             AND (
                 -- The vendor accepts the credentials again.
                 (d.stop_reason = 'credentials' AND a.health = 'valid' AND a.auth_failures = 0)
                 -- The owner may use the account again.
                 OR (
                     d.stop_reason = 'unshared'
                     AND (a.shared = 1 OR a.owner_id = d.owner_id OR o.role = 'admin')
                 )
                 -- A run that a person started succeeded.
                 OR (d.stop_reason <> 'unshared' AND d.last_success_at > d.stopped_at)
             )
         ORDER BY d.id",
    )
    .fetch_all(puller.db.read())
    .await?;
    for id in recovered {
        if let Ok(dataset) = puller.datasets.for_run(&id).await {
            restart(puller, &dataset, now).await?;
        }
    }
    Ok(())
}

/// Restarts the schedule of a DataSet, if it is stopped.
async fn restart(puller: &Puller, dataset: &Dataset, now: Millis) -> Result<()> {
    let next = Schedule::of(dataset)
        .ok()
        .and_then(|schedule| schedule.next_after(now));
    let mut tx = puller.db.write().await?;
    let back = sqlx::query(
        "UPDATE datasets
         SET
             next_run_at = CASE WHEN paused_at IS NULL THEN $1 ELSE NULL END, expected_since = $3,
             last_due_at = $3
         -- Still stopped. A paused schedule gets its next run when it is resumed.
         WHERE id = $2 AND stopped_at IS NOT NULL AND next_run_at IS NULL",
    )
    .bind(next)
    .bind(&dataset.id)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    if back.rows_affected() > 0 {
        clear_stop(&mut tx, &dataset.id).await?;
    }
    tx.commit().await?;
    puller.wake_scheduler.notify_one();
    Ok(())
}

impl Puller {
    /// Restarts the stopped schedule of a DataSet. Errors: `not_stopped`, `credentials_stopped`
    /// while the credentials are still rejected, `account_not_shared`.
    pub async fn restart_schedule(&self, actor: &Actor, id: &DatasetId) -> Result<Dataset> {
        let dataset = self.datasets.get_to_change(actor, id).await?;
        let Some(stopped) = dataset.stopped() else {
            return Err(Error::conflict(
                "not_stopped",
                "The schedule of this DataSet is not stopped.",
            ));
        };
        if let (StopReason::Unshared, Some(account)) = (stopped.reason, &dataset.account_id) {
            self.accounts
                .ensure_usable_by(account, &dataset.owner_id)
                .await?;
        }
        if stopped.reason == StopReason::Credentials {
            let account = dataset.account_id.as_ref().ok_or_else(|| {
                Error::conflict(
                    "account_missing",
                    "The account of this DataSet was deleted.",
                )
            })?;
            let refusals: Option<i64> =
                sqlx::query_scalar("SELECT auth_failures FROM accounts WHERE id = $1")
                    .bind(account)
                    .fetch_optional(self.db.read())
                    .await?;
            if refusals.is_none_or(|refusals| refusals >= i64::from(MAX_AUTH_FAILURES)) {
                return Err(Error::conflict(
                    "credentials_stopped",
                    format!(
                        "{} still rejects the credentials of the account.",
                        dataset.connector.title()
                    ),
                )
                .action(
                    "Enter new credentials under Accounts, or press Test there. \
                     The schedule then resumes automatically.",
                ));
            }
        }
        restart(self, &dataset, self.clock.now()).await?;
        self.datasets.get(actor, id).await
    }
}

/// Notifies that a schedule stopped because its account was deleted.
pub(super) async fn notify_deleted_accounts(puller: &Puller, now: Millis) -> Result<()> {
    let deleted: Vec<(DatasetId, String)> = decode_readable(
        sqlx::query(
            "SELECT id, deleted_account_name
             FROM datasets
             WHERE deleted_account_name IS NOT NULL
             ORDER BY id",
        )
        .fetch_all(puller.db.read())
        .await?,
    );
    for some in deleted.chunks(BATCH_SIZE) {
        let mut tx = puller.db.write().await?;
        for (id, account) in some {
            let Some(dataset) = load_readable_subject(&mut tx, id).await? else {
                continue;
            };
            let notifies = i64::from(dataset.notifies_on(NotificationKind::Stopped));
            sqlx::query(
                "UPDATE datasets
                 SET
                     deleted_account_name = NULL,
                     notified_stop = CASE WHEN $1 = 1 THEN 1 ELSE notified_stop END
                 WHERE id = $2",
            )
            .bind(notifies)
            .bind(id)
            .execute(&mut *tx)
            .await?;
            let words = [
                format!("The account “{account}” of this DataSet was deleted."),
                "The owner of the DataSet must choose another account under Settings.".to_owned(),
                "The schedule is stopped until then. The existing rows are unchanged.".to_owned(),
            ];
            dataset
                .notify(
                    &mut tx,
                    now,
                    NotificationKind::Stopped,
                    "account_missing",
                    words,
                )
                .await?;
        }
        tx.commit().await?;
        puller.notifications.wake.notify_one();
    }
    Ok(())
}
