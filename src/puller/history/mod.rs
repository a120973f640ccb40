//! Records which run a version builds on, and reverts to an older version with a run that records
//! who did it.

use sqlx::{Sqlite, Transaction};

use super::run::Run;
use super::{Puller, backfills, queue};
use crate::actor::Actor;
use crate::auth::audit::{self, AuditActor, AuditEvent};
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, VersionId};

/// Records on a run the run that created `base`, because the new version also contains its rows.
/// Called in the transaction of the commit.
pub(super) async fn record_base_run(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
    base: Option<&VersionId>,
) -> Result<()> {
    sqlx::query(
        "UPDATE runs
         SET builds_on = (SELECT v.run_id FROM versions v WHERE v.id = $1)
         WHERE id = $2",
    )
    .bind(base)
    .bind(run)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

impl Puller {
    /// Creates a new current version with the rows and columns of an older one, and records it as a
    /// run with the trigger `revert`. Fails while a run of the DataSet is running, because that run
    /// would replace the rows when it ends.
    pub async fn revert(
        &self,
        by: AuditActor<'_>,
        dataset: &DatasetId,
        version: &VersionId,
    ) -> Result<Run> {
        self.datasets.get_to_change(by.actor, dataset).await?;
        // A damaged version is not made current.
        if let Some(old) = self
            .datasets
            .versions
            .get(version)
            .await?
            .filter(|old| old.dataset == *dataset)
        {
            self.datasets.segments.check(&old.segments).await?;
        }
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        queue::require_not_running(&mut tx, dataset).await?;
        let run = RunId::new();
        sqlx::query(
            "INSERT INTO runs (
                 id, dataset_id, trigger, started_by, state, source_key, queued_at, due_at,
                 started_at, finished_at
             )
             VALUES ($1, $2, 'revert', $3, 'succeeded', '', $4, $4, $4, $4)",
        )
        .bind(&run)
        .bind(dataset)
        .bind(&by.actor.user)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        let before: Option<i64> = sqlx::query_scalar(
            "SELECT v.rows
             FROM datasets d
             JOIN versions v ON v.id = d.current_version
             WHERE d.id = $1",
        )
        .bind(dataset)
        .fetch_optional(&mut *tx)
        .await?;
        kill_point("revert.run_written");
        let (old, new) = self
            .datasets
            .versions
            .restore(&mut tx, dataset, version, &run)
            .await?;
        // The pending version and the running backfill were based on the version that is replaced.
        queue::supersede_pending(&mut tx, dataset).await?;
        backfills::interrupt(
            &mut tx,
            dataset,
            &format!("The DataSet was reverted to version {}.", old.number),
            now,
        )
        .await?;
        // The restored version has the rows of the run that created it, so the revert builds on
        // that run.
        sqlx::query(
            "UPDATE runs
             SET
                 version_id = $1, reverted_to = $2, rows_after = $3, builds_on = $4,
                 rows_before = $5
             WHERE id = $6",
        )
        .bind(&new.id)
        .bind(i64::try_from(old.number).unwrap_or(i64::MAX))
        .bind(i64::try_from(new.rows).unwrap_or(i64::MAX))
        .bind(&old.run)
        .bind(before)
        .bind(&run)
        .execute(&mut *tx)
        .await?;
        audit::record(
            &mut tx,
            &self.clock,
            AuditEvent::done(Some(by), "version.revert", old.id.as_str()),
        )
        .await?;
        kill_point("revert.inserted");
        tx.commit().await?;
        self.db.update_commit_file().await;
        kill_point("revert.done");
        self.datasets.versions.apply_retention(dataset).await?;
        queue::get(&self.db, &run)
            .await?
            .ok_or_else(|| Error::not_found("run"))
    }
}

impl Puller {
    /// Copies the settings of a DataSet that this person may see into one of theirs, if they may
    /// use its account: see `Datasets::duplicate`.
    pub async fn duplicate(&self, actor: &Actor, dataset: &DatasetId) -> Result<DatasetId> {
        let original = self.datasets.get(actor, dataset).await?;
        if let Some(account) = original.account_id.as_ref().filter(|_| actor.may_edit())
            && self.accounts.usable(actor, account).await.is_err()
        {
            return Err(Error::forbidden(
                "The account of this DataSet is not shared with you. A copy could not run.",
            )
            .action("Ask the owner of the account to share it."));
        }
        let copy = self.datasets.duplicate(actor, dataset).await?;
        self.wake_scheduler.notify_one();
        Ok(copy)
    }
}

#[cfg(test)]
mod tests;
