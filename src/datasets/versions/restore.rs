//! Reverts to an older version.

use sqlx::{Sqlite, Transaction};

use super::{SEGMENTS_OF_VERSION, StoredVersionRow, Version, Versions, to_u64};
use crate::datasets::segments::{SegmentRow, to_i64};
use crate::db::commits;
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
        let row: Option<StoredVersionRow> =
            sqlx::query_as("SELECT * FROM versions WHERE id = $1 AND dataset_id = $2")
                .bind(old)
                .bind(dataset)
                .fetch_optional(&mut **tx)
                .await?;
        let mut old: Version = row.ok_or_else(|| Error::not_found("version"))?.try_into()?;
        let (current, number): (Option<VersionId>, i64) = sqlx::query_as(
            "SELECT current_version, next_version_number FROM datasets WHERE id = $1",
        )
        .bind(dataset)
        .fetch_one(&mut **tx)
        .await?;
        if current.as_ref() == Some(&old.id) {
            return Err(Error::conflict(
                "version_current",
                format!("Version {} is already the current version.", old.number),
            ));
        }
        let rows: Vec<SegmentRow> = sqlx::query_as(SEGMENTS_OF_VERSION)
            .bind(&old.id)
            .fetch_all(&mut **tx)
            .await?;
        for row in rows {
            old.segments.push(row.try_into()?);
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
                 -- The rows are as old as those of the older version.
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
