//! Reverts to an older version, and deletes a version on request.

use sqlx::{Row, Sqlite, Transaction};

use super::{Version, Versions, to_u64, version};
use crate::actor::Actor;
use crate::auth::audit::{self, AuditActor, AuditEvent};
use crate::datasets::segments::{SegmentMeta, segment_columns, to_i64};
use crate::datasets::{Dataset, Datasets};
use crate::db::commits;
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, VersionId};

impl Versions {
    /// Creates a new version with the segments and columns of an older one and makes it current,
    /// inside the caller's transaction. `run` is the run that records the revert. Returns the older
    /// version and the new one.
    pub async fn restore(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        dataset: &DatasetId,
        old: &VersionId,
        run: &RunId,
    ) -> Result<(Version, Version)> {
        let row = sqlx::query("SELECT * FROM versions WHERE id = $1 AND dataset_id = $2")
            .bind(old)
            .bind(dataset)
            .fetch_optional(&mut **tx)
            .await?;
        let mut old = version(&row.ok_or_else(|| Error::not_found("version"))?)?;
        let row =
            sqlx::query("SELECT current_version, next_version_number FROM datasets WHERE id = $1")
                .bind(dataset)
                .fetch_one(&mut **tx)
                .await?;
        let (current, number): (Option<VersionId>, i64) = (row.try_get(0)?, row.try_get(1)?);
        if current.as_ref() == Some(&old.id) {
            return Err(Error::conflict(
                "version_current",
                format!("Version {} is already the current version.", old.number),
            ));
        }
        for row in sqlx::query(concat!(
            "SELECT ",
            segment_columns!(),
            " FROM version_segments v
             JOIN segments s ON s.id = v.segment_id
             WHERE v.version_id = $1
             ORDER BY v.position"
        ))
        .bind(&old.id)
        .fetch_all(&mut **tx)
        .await?
        {
            old.segments.push(SegmentMeta::read(&row)?);
        }
        let new = Version {
            id: VersionId::new(),
            run: Some(run.clone()),
            number: to_u64(number),
            created_at: self.clock.now(),
            ..old.clone()
        };
        sqlx::query(
            "INSERT INTO versions (
                 id, dataset_id, run_id, number, rows, bytes, columns, created_at, provenance,
                 confirmed_at
             )
             SELECT
                 $1, dataset_id, $2, $3, rows, bytes, columns, $4, provenance,
                 COALESCE(confirmed_at, created_at)
             FROM versions
             WHERE id = $5",
        )
        .bind(&new.id)
        .bind(run)
        .bind(number)
        .bind(new.created_at)
        .bind(&old.id)
        .execute(&mut **tx)
        .await?;
        sqlx::query(
            "INSERT INTO version_segments (version_id, position, segment_id)
             SELECT $1, position, segment_id
             FROM version_segments
             WHERE version_id = $2",
        )
        .bind(&new.id)
        .bind(&old.id)
        .execute(&mut **tx)
        .await?;
        sqlx::query(
            "UPDATE datasets SET current_version = $1, next_version_number = $2 WHERE id = $3",
        )
        .bind(&new.id)
        .bind(to_i64(new.number + 1))
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
        commits::increment(tx).await?;
        Ok((old, new))
    }
}

impl Datasets {
    /// A version of a DataSet that this person may see.
    pub async fn version(
        &self,
        actor: &Actor,
        dataset: &DatasetId,
        id: &VersionId,
    ) -> Result<(Dataset, Version)> {
        let dataset = self.get(actor, dataset).await?;
        let version = self
            .versions
            .get(id)
            .await?
            .filter(|version| version.dataset == dataset.id);
        Ok((dataset, version.ok_or_else(|| Error::not_found("version"))?))
    }

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
        let row = sqlx::query("SELECT * FROM versions WHERE id = $1 AND dataset_id = $2")
            .bind(id)
            .bind(dataset)
            .fetch_optional(&mut *tx)
            .await?;
        let deleted = version(&row.ok_or_else(|| Error::not_found("version"))?)?;
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
        .bind("The new rows were discarded. The next run tries again. The existing rows are unchanged.")
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
