//! Commits the segments of a run as a new version.

use std::collections::HashMap;

use sqlx::{FromRow, Sqlite, Transaction};

use super::{Version, Versions, to_u64};
use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::provenance::Provenance;
use crate::datasets::segments::{self, SegmentMeta, WrittenSegment, to_i64};
use crate::db::commits;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, SegmentId, VersionId};

/// The rows of a finished run to commit.
#[derive(Debug)]
pub struct Commit<'a> {
    pub dataset: &'a DatasetId,
    pub run: &'a RunId,
    /// The columns that the report declares.
    pub declared: &'a [ColumnInfo],
    /// The segments that the run wrote, in order.
    pub written: &'a [WrittenSegment],
    /// All segments of the version in the order of their rows, if old segments are included;
    /// otherwise `written`.
    pub order: Option<&'a [SegmentMeta]>,
    /// The version on which the commit is based. If it is set and another version is current, the
    /// commit fails.
    pub base: Option<&'a VersionId>,
    pub provenance: Option<&'a Provenance>,
    /// Whether the version waits for approval; the current version then stays.
    pub pending_approval: bool,
}

impl<'a> Commit<'a> {
    /// A commit that makes the segments of a run the current version, whichever version is current
    /// now.
    pub fn new(
        dataset: &'a DatasetId,
        run: &'a RunId,
        declared: &'a [ColumnInfo],
        written: &'a [WrittenSegment],
    ) -> Self {
        Self {
            dataset,
            run,
            declared,
            written,
            order: None,
            base: None,
            provenance: None,
            pending_approval: false,
        }
    }
}

/// The current version of a DataSet and the number of the next one.
#[derive(FromRow)]
struct CurrentVersionRow {
    next_version_number: i64,
    /// The columns of the current version, as JSON; `None` before the first version.
    columns: Option<String>,
    current_version: Option<VersionId>,
}

impl Versions {
    /// Makes the segments of a run the current version, inside the caller's transaction, which has
    /// checked the run's fence. Other segments that the run staged in an earlier attempt are
    /// dropped.
    pub async fn commit(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        commit: &Commit<'_>,
    ) -> Result<Version> {
        let now = self.clock.now();
        commits::increment(tx).await?;
        segments::record(tx, commit.written).await?;
        let current: CurrentVersionRow = sqlx::query_as(
            "SELECT d.next_version_number, v.columns, d.current_version
             FROM datasets d
             LEFT JOIN versions v ON v.id = d.current_version
             WHERE d.id = $1",
        )
        .bind(commit.dataset)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or_else(|| {
            Error::conflict(
                "dataset_gone",
                "The DataSet was deleted during the run. The new rows were not saved.",
            )
        })?;
        let number = current.next_version_number;
        let before: Vec<ColumnInfo> = match current.columns {
            Some(text) => serde_json::from_str(&text).map_err(Error::internal)?,
            None => Vec::new(),
        };
        if commit.base.is_some() && current.current_version.as_ref() != commit.base {
            return Err(Error::conflict(
                "version_changed",
                "Another version became current while this run merged its rows. The new rows were \
                 not saved.",
            ));
        }
        let mut parts: Vec<Vec<ColumnInfo>> = Vec::new();
        let mut list: Vec<SegmentMeta> = commit.written.iter().map(WrittenSegment::meta).collect();
        if let Some(order) = commit.order {
            order.clone_into(&mut list);
            parts = self.old_columns(tx, commit).await?;
        }
        parts.extend(commit.written.iter().map(|segment| segment.columns.clone()));
        let pulled = columns::union(parts.iter().map(Vec::as_slice));
        let version = Version {
            id: VersionId::new(),
            dataset: commit.dataset.clone(),
            run: Some(commit.run.clone()),
            number: to_u64(number),
            rows: list.iter().map(|segment| segment.rows).sum(),
            bytes: list.iter().map(|segment| segment.bytes).sum(),
            columns: columns::next_version(commit.declared, &pulled, &before),
            created_at: now,
            segments: list,
        };
        sqlx::query(
            "INSERT INTO versions (
                 id, dataset_id, run_id, number, rows, bytes, columns, created_at, provenance
             )
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&version.id)
        .bind(commit.dataset)
        .bind(commit.run)
        .bind(number)
        .bind(to_i64(version.rows))
        .bind(to_i64(version.bytes))
        .bind(serde_json::to_string(&version.columns).map_err(Error::internal)?)
        .bind(now)
        .bind(
            commit
                .provenance
                .map(serde_json::to_string)
                .transpose()
                .map_err(Error::internal)?,
        )
        .execute(&mut **tx)
        .await?;
        for segment in commit.written {
            // Changes no row if the segment was dropped in the meantime, or belongs to another run.
            let updated = sqlx::query(
                "UPDATE segments
                 SET state = 'kept'
                 WHERE id = $1 AND dataset_id = $2 AND run_id = $3 AND state = 'staged'",
            )
            .bind(&segment.id)
            .bind(commit.dataset)
            .bind(commit.run)
            .execute(&mut **tx)
            .await?;
            if updated.rows_affected() != 1 {
                return Err(Error::internal(format!(
                    "segment {} of {} is not staged any more",
                    segment.id, commit.run
                )));
            }
        }
        for (position, segment) in (0_i64..).zip(&version.segments) {
            sqlx::query(
                "INSERT INTO version_segments (version_id, position, segment_id)
                 VALUES ($1, $2, $3)",
            )
            .bind(&version.id)
            .bind(position)
            .bind(&segment.id)
            .execute(&mut **tx)
            .await?;
        }
        // The segments that are still staged are of an earlier attempt.
        sqlx::query(
            "UPDATE segments
             SET state = 'dropped', dropped_at = $1
             WHERE run_id = $2 AND state = 'staged'",
        )
        .bind(now)
        .bind(commit.run)
        .execute(&mut **tx)
        .await?;
        sqlx::query(
            "UPDATE datasets
             SET
                 -- $4: the new version waits for approval. A committed version replaces one that
                 -- waited before.
                 current_version = CASE WHEN $4 = 1 THEN current_version ELSE $1 END,
                 pending_version = CASE WHEN $4 = 1 THEN $1 ELSE NULL END,
                 next_version_number = $2
             WHERE id = $3",
        )
        .bind(&version.id)
        .bind(number + 1)
        .bind(commit.dataset)
        .bind(i64::from(commit.pending_approval))
        .execute(&mut **tx)
        .await?;
        Ok(version)
    }

    /// The columns of the reused segments. They must belong to the version that the commit is based
    /// on.
    async fn old_columns(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        commit: &Commit<'_>,
    ) -> Result<Vec<Vec<ColumnInfo>>> {
        let rows: Vec<(SegmentId, String)> = sqlx::query_as(
            "SELECT s.id, s.columns
             FROM version_segments v
             JOIN segments s ON s.id = v.segment_id
             WHERE v.version_id = $1 AND s.state = 'kept'",
        )
        .bind(commit.base)
        .fetch_all(&mut **tx)
        .await?;
        let mut of: HashMap<SegmentId, String> = rows.into_iter().collect();
        let is_new = |id: &SegmentId| commit.written.iter().any(|segment| segment.id == *id);
        let old = commit
            .order
            .unwrap_or_default()
            .iter()
            .filter(|segment| !is_new(&segment.id));
        old.map(|segment| {
            let columns = of.remove(&segment.id);
            let columns = columns.ok_or_else(|| {
                Error::internal(format!(
                    "segment {} is not one of the version before",
                    segment.id
                ))
            })?;
            serde_json::from_str(&columns).map_err(Error::internal)
        })
        .collect()
    }
}
