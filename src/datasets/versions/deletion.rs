//! Deletes versions: one on request, one that retention drops, and all of a DataSet.

use sqlx::{Sqlite, Transaction};

use super::{StoredVersionRow, Version, Versions};
use crate::auth::audit::{self, AuditActor, AuditEvent};
use crate::datasets::Datasets;
use crate::db::commits;
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, VersionId};

impl Versions {
    /// Drops a version, and its segments that no other version contains.
    pub(super) async fn drop_version(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        id: &VersionId,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE segments
             SET state = 'dropped', dropped_at = $1
             WHERE state = 'kept'
                 AND id IN (SELECT segment_id FROM version_segments WHERE version_id = $2)
                 -- A segment that another version contains stays.
                 AND NOT EXISTS (
                     SELECT 1
                     FROM version_segments o
                     WHERE o.segment_id = segments.id AND o.version_id <> $2
                 )",
        )
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut **tx)
        .await?;
        sqlx::query("DELETE FROM versions WHERE id = $1")
            .bind(id)
            .execute(&mut **tx)
            .await?;
        commits::increment(tx).await
    }

    /// Drops all versions and segments of a DataSet. The sweep deletes the files later.
    pub async fn drop_all(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        dataset: &DatasetId,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE datasets SET current_version = NULL, pending_version = NULL WHERE id = $1",
        )
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
        sqlx::query("DELETE FROM versions WHERE dataset_id = $1")
            .bind(dataset)
            .execute(&mut **tx)
            .await?;
        sqlx::query(
            "UPDATE segments
             SET state = 'dropped', dropped_at = $1
             WHERE dataset_id = $2 AND state <> 'dropped'",
        )
        .bind(self.clock.now())
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
        commits::increment(tx).await
    }
}

impl Datasets {
    /// Deletes a version that is not the current one. Readers in progress can finish: the files are
    /// deleted a day later at the earliest, and never while they are read.
    pub async fn delete_version(
        &self,
        by: AuditActor<'_>,
        dataset: &DatasetId,
        id: &VersionId,
    ) -> Result<Version> {
        self.get_to_change(by.actor, dataset).await?;
        let mut tx = self.db.write().await?;
        let row: Option<StoredVersionRow> =
            sqlx::query_as("SELECT * FROM versions WHERE id = $1 AND dataset_id = $2")
                .bind(id)
                .bind(dataset)
                .fetch_optional(&mut *tx)
                .await?;
        let deleted = row.ok_or_else(|| Error::not_found("version"))?.try_into()?;
        if sqlx::query("SELECT 1 FROM datasets WHERE current_version = $1")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?
            .is_some()
        {
            return Err(Error::conflict(
                "version_current",
                "The current version cannot be deleted.",
            )
            .action("Revert to another version first, or delete the DataSet."));
        }
        // A deleted version can no longer be approved.
        sqlx::query("UPDATE datasets SET pending_version = NULL WHERE pending_version = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "UPDATE runs
             SET
                 outcome = 'discarded', decided_by = $1, decided_at = $2,
                 error_who = 'No action needed.', error_action = $3
             WHERE version_id = $4 AND outcome = 'held'",
        )
        .bind(&by.actor.user)
        .bind(self.clock.now())
        .bind(
            "The new rows were discarded. The next run tries again. The existing rows are \
             unchanged.",
        )
        .bind(id)
        .execute(&mut *tx)
        .await?;
        self.versions.drop_version(&mut tx, id).await?;
        audit::record(
            &mut tx,
            &self.clock,
            AuditEvent::done(Some(by), "version.delete", id.as_str()),
        )
        .await?;
        kill_point("delete_version.dropped");
        tx.commit().await?;
        kill_point("delete_version.done");
        Ok(deleted)
    }
}
