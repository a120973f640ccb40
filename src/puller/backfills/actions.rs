//! Starts, cancels, resumes and interrupts backfills. A DataSet has at most one running backfill.

use sqlx::{Sqlite, Transaction};

use super::{Backfill, BackfillRange, BackfillState, StoredBackfill, get, unsupported_reason};
use crate::actor::Actor;
use crate::clock::Millis;
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{BackfillId, DatasetId, UserId};
use crate::puller::Puller;

impl Puller {
    /// Starts a backfill. A DataSet has at most one running backfill.
    pub async fn backfill(
        &self,
        actor: &Actor,
        dataset: &DatasetId,
        requested: &BackfillRange,
    ) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        if let Some(refusal) = unsupported_reason(&dataset) {
            return Err(refusal);
        }
        if let Some(account) = &dataset.account_id {
            self.accounts.usable(actor, account).await?;
        }
        let mut tx = self.db.write().await?;
        let id = insert_backfill(
            &mut tx,
            &dataset.id,
            requested,
            Some(&actor.user),
            self.clock.now(),
        )
        .await?;
        tx.commit().await?;
        kill_point("backfill.asked");
        self.wake_scheduler.notify_one();
        get(&self.db, &dataset.id, &id).await
    }

    /// The backfills of a DataSet, newest first.
    pub async fn backfills(&self, actor: &Actor, dataset: &DatasetId) -> Result<Vec<Backfill>> {
        let seen = self.datasets.get(actor, dataset).await?;
        let rows: Vec<StoredBackfill> = sqlx::query_as(select_backfill!(
            "WHERE b.dataset_id = $1 ORDER BY b.created_at DESC, b.id DESC LIMIT 100"
        ))
        .bind(dataset)
        .fetch_all(self.db.read())
        .await?;
        let as_seen = |backfill: Backfill| Backfill {
            stop_reason: backfill.stop_reason.map(|why| seen.redact(&why)),
            ..backfill
        };
        rows.into_iter()
            .map(|row| Backfill::try_from(row).map(as_seen))
            .collect()
    }

    /// The newest backfill of a DataSet. The caller has checked permission for the DataSet.
    pub async fn newest_backfill(&self, dataset: &DatasetId) -> Result<Option<Backfill>> {
        let row: Option<StoredBackfill> = sqlx::query_as(select_backfill!(
            "WHERE b.dataset_id = $1 ORDER BY b.created_at DESC, b.id DESC LIMIT 1"
        ))
        .bind(dataset)
        .fetch_optional(self.db.read())
        .await?;
        row.map(Backfill::try_from).transpose()
    }

    /// Cancels a backfill and its active run. The rows of earlier chunks stay.
    pub async fn cancel_backfill(
        &self,
        actor: &Actor,
        dataset: &DatasetId,
        id: &BackfillId,
    ) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        get(&self.db, &dataset.id, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE backfills
             SET state = 'cancelled', ended_at = $1
             WHERE id = $2 AND state IN ('running', 'stopped')",
        )
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        kill_point("backfill.cancelled");
        let backfill = get(&self.db, &dataset.id, id).await?;
        if let (BackfillState::Cancelled, Some(run)) = (backfill.state, &backfill.run) {
            self.cancel(actor, run).await?;
        }
        get(&self.db, &dataset.id, id).await
    }

    /// Resumes a stopped or cancelled backfill where it ended.
    pub async fn resume_backfill(
        &self,
        actor: &Actor,
        dataset: &DatasetId,
        id: &BackfillId,
    ) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        if let Some(account) = &dataset.account_id {
            self.accounts.usable(actor, account).await?;
        }
        let before = get(&self.db, &dataset.id, id).await?;
        if before.state == BackfillState::Finished {
            return Err(Error::conflict(
                "backfill_finished",
                "This backfill is finished.",
            ));
        }
        if let Some(refusal) = unsupported_reason(&dataset) {
            return Err(refusal);
        }
        let mut tx = self.db.write().await?;
        require_none_running(&mut tx, &dataset.id, Some(id)).await?;
        sqlx::query(
            "UPDATE backfills
             SET
                 state = 'running', stop_reason = NULL, ended_at = NULL, resumed_at = $1,
                 retries = 0, retry_at = NULL
             WHERE id = $2 AND state IN ('stopped', 'cancelled')",
        )
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        kill_point("backfill.resumed");
        self.wake_scheduler.notify_one();
        get(&self.db, &dataset.id, id).await
    }
}

/// Returns an error while another backfill of the DataSet than `but` is running.
async fn require_none_running(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    but: Option<&BackfillId>,
) -> Result<()> {
    let other: Option<BackfillId> =
        sqlx::query_scalar("SELECT id FROM backfills WHERE dataset_id = $1 AND state = 'running'")
            .bind(dataset)
            .fetch_optional(&mut **tx)
            .await?;
    if other.is_some_and(|other| Some(&other) != but) {
        return Err(Error::conflict(
            "backfill_under_way",
            "A backfill of this DataSet is already running.",
        )
        .action("Wait until it ends, or cancel it."));
    }
    Ok(())
}

/// Inserts a backfill, inside the caller's transaction.
pub(super) async fn insert_backfill(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    requested: &BackfillRange,
    by: Option<&UserId>,
    now: Millis,
) -> Result<BackfillId> {
    require_none_running(tx, dataset, None).await?;
    let id = BackfillId::new();
    sqlx::query(
        "INSERT INTO backfills (
             id, dataset_id, from_day, to_day, chunk_days, remaining_to, state, requested_by,
             created_at, resumed_at
         )
         VALUES ($1, $2, $3, $4, $5, $4, 'running', $6, $7, $7)",
    )
    .bind(&id)
    .bind(dataset)
    .bind(requested.days.from.to_string())
    .bind(requested.days.to.to_string())
    .bind(i64::from(requested.chunk_days))
    .bind(by)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// Stops the running backfill of a DataSet and cancels its chunk if that is queued or waiting,
/// inside the caller's transaction. A person may resume it.
pub(in crate::puller) async fn interrupt(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    why: &str,
    now: Millis,
) -> Result<()> {
    sqlx::query(
        "UPDATE backfills
         SET state = 'stopped', stop_reason = $1, ended_at = $2, retry_at = NULL
         WHERE dataset_id = $3 AND state = 'running'",
    )
    .bind(why)
    .bind(now)
    .bind(dataset)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE runs
         SET state = 'cancelled', finished_at = $1, cancel_requested = 1
         WHERE dataset_id = $2 AND trigger = 'backfill' AND state IN ('queued', 'waiting')",
    )
    .bind(now)
    .bind(dataset)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
