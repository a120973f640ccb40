//! Versions: complete, immutable states of a DataSet, each an ordered list of segments. A reader
//! pins the version that it reads. Retention drops old versions in the catalogue, and the sweep
//! deletes their files a day later.

mod content;
mod integrity;
mod restore;
mod retention;
mod sweep;
pub mod trash;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::columns::{self, ColumnInfo};
use super::provenance::Provenance;
use super::segments::{self, SegmentMeta, Segments, WrittenSegment, segment_columns, to_i64};
use crate::clock::{Clock, Millis};
use crate::db::{Db, commits};
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, SegmentId, VersionId};
pub use integrity::{Integrity, VersionIntegrity};
pub use retention::{
    MAX_RETENTION_DAYS, MAX_RETENTION_VERSIONS, Retention, RetentionOverride, Sizes,
};

/// The error code for a version that retention dropped while it was read from the catalogue.
const VERSION_GONE: &str = "version_gone";
const DAY: Millis = 24 * 60 * 60 * 1_000;
/// The maximum number of segments that are dropped or deleted in one transaction, so that it takes
/// far less than a quarter of a second.
const MAX_SEGMENTS_PER_TX: i64 = 200;

/// One complete state of a DataSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub id: VersionId,
    pub dataset: DatasetId,
    /// The run that created it.
    pub run: Option<RunId>,
    /// From 1, incremented for each version of the DataSet.
    pub number: u64,
    pub rows: u64,
    /// The total length of its files.
    pub bytes: u64,
    /// In order. Segments are read by column name; a column that a segment lacks is null.
    pub columns: Vec<ColumnInfo>,
    pub created_at: Millis,
    /// In order of their rows.
    pub segments: Vec<SegmentMeta>,
}

/// The result of a finished run to commit.
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

/// The result of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Staged segments whose run has ended.
    pub dropped: u64,
    /// Files of dropped segments.
    pub deleted: u64,
    /// Files that are not in the catalogue and were moved to the trash.
    pub orphans: u64,
    /// Files deleted from the trash.
    pub emptied: u64,
}

/// The versions of all DataSets. Cheap to clone.
#[derive(Clone)]
pub struct Versions {
    db: Db,
    segments: Segments,
    clock: Clock,
    retention: Retention,
    pins: Arc<Mutex<Pins>>,
    /// The start of this process, in monotonic time.
    started_at: Millis,
}

#[derive(Default)]
struct Pins {
    /// The versions in use, each with its number of users. All users share one `Version`, because
    /// its list of segments can be large.
    versions: HashMap<VersionId, (usize, Arc<Version>)>,
    segments: HashMap<SegmentId, usize>,
}

/// A version in use. Neither retention nor the sweep deletes it before the pin is dropped.
pub struct Pin {
    version: Arc<Version>,
    pins: Arc<Mutex<Pins>>,
}

impl Deref for Pin {
    type Target = Version;

    fn deref(&self) -> &Version {
        &self.version
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = lock(&self.pins);
        let Some((count, _)) = pins.versions.get_mut(&self.version.id) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        pins.versions.remove(&self.version.id);
        for segment in &self.version.segments {
            if let Some(count) = pins.segments.get_mut(&segment.id) {
                *count -= 1;
                if *count == 0 {
                    pins.segments.remove(&segment.id);
                }
            }
        }
    }
}

fn lock(pins: &Mutex<Pins>) -> MutexGuard<'_, Pins> {
    pins.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Versions {
    pub fn new(db: Db, segments: Segments, clock: Clock, retention: Retention) -> Self {
        let started_at = clock.monotonic();
        Self {
            db,
            segments,
            clock,
            retention,
            pins: Arc::default(),
            started_at,
        }
    }

    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The current version; `None` before the first one.
    pub async fn current(&self, dataset: &DatasetId) -> Result<Option<Version>> {
        let row = sqlx::query(
            "SELECT v.*
             FROM datasets d
             JOIN versions v ON v.id = d.current_version
             WHERE d.id = $1",
        )
        .bind(dataset);
        match row.fetch_optional(self.db.read()).await? {
            Some(row) => Ok(Some(self.with_segments(version(&row)?).await?)),
            None => Ok(None),
        }
    }

    /// The version with this id, if it still exists.
    pub async fn get(&self, id: &VersionId) -> Result<Option<Version>> {
        match sqlx::query("SELECT * FROM versions WHERE id = $1")
            .bind(id)
            .fetch_optional(self.db.read())
            .await?
        {
            Some(row) => Ok(Some(self.with_segments(version(&row)?).await?)),
            None => Ok(None),
        }
    }

    /// The version of a DataSet with this number, if it still exists.
    pub async fn by_number(&self, dataset: &DatasetId, number: u64) -> Result<Option<Version>> {
        let row = sqlx::query("SELECT * FROM versions WHERE dataset_id = $1 AND number = $2")
            .bind(dataset)
            .bind(to_i64(number));
        match row.fetch_optional(self.db.read()).await? {
            Some(row) => Ok(Some(self.with_segments(version(&row)?).await?)),
            None => Ok(None),
        }
    }

    /// The existing versions, newest first.
    pub async fn list(&self, dataset: &DatasetId) -> Result<Vec<Version>> {
        let rows = sqlx::query("SELECT * FROM versions WHERE dataset_id = $1 ORDER BY number DESC")
            .bind(dataset)
            .fetch_all(self.db.read())
            .await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            match self.with_segments(version(&row)?).await {
                Ok(version) => list.push(version),
                // Retention dropped it after the list was read.
                Err(error) if error.code() == VERSION_GONE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    async fn with_segments(&self, mut version: Version) -> Result<Version> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            segment_columns!(),
            " FROM version_segments v
             JOIN segments s ON s.id = v.segment_id
             WHERE v.version_id = $1
             ORDER BY v.position"
        ))
        .bind(&version.id)
        .fetch_all(self.db.read())
        .await?;
        for row in rows {
            version.segments.push(SegmentMeta::read(&row)?);
        }
        // The version is read in two statements: if retention dropped it between them, it has no
        // segments.
        if version
            .segments
            .iter()
            .map(|segment| segment.rows)
            .sum::<u64>()
            != version.rows
        {
            return Err(Error::conflict(
                VERSION_GONE,
                "This version was just deleted, because there are newer versions.",
            )
            .action("Open the current version."));
        }
        Ok(version)
    }

    /// Keeps the rows of a version readable until the pin is dropped.
    pub fn pin(&self, version: &Version) -> Pin {
        let mut pins = lock(&self.pins);
        if let Some((count, version)) = pins.versions.get_mut(&version.id) {
            *count += 1;
            return Pin {
                version: version.clone(),
                pins: self.pins.clone(),
            };
        }
        for segment in &version.segments {
            *pins.segments.entry(segment.id.clone()).or_default() += 1;
        }
        let version = Arc::new(version.clone());
        pins.versions
            .insert(version.id.clone(), (1, version.clone()));
        Pin {
            version,
            pins: self.pins.clone(),
        }
    }

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
        let row = sqlx::query(
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
        let number: i64 = row.try_get(0)?;
        let before: Vec<ColumnInfo> = match row.try_get::<Option<String>, _>(1)? {
            Some(text) => serde_json::from_str(&text).map_err(Error::internal)?,
            None => Vec::new(),
        };
        if commit.base.is_some() && row.try_get::<Option<VersionId>, _>(2)?.as_ref() != commit.base
        {
            return Err(Error::conflict(
                "version_changed",
                "Another version became current while this run merged its rows. The new rows were not saved.",
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
            let kept = sqlx::query(
                "UPDATE segments
                 SET state = 'kept'
                 WHERE id = $1 AND dataset_id = $2 AND run_id = $3 AND state = 'staged'",
            )
            .bind(&segment.id)
            .bind(commit.dataset)
            .bind(commit.run)
            .execute(&mut **tx)
            .await?;
            if kept.rows_affected() != 1 {
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
        let rows = sqlx::query(
            "SELECT s.id, s.columns
             FROM version_segments v
             JOIN segments s ON s.id = v.segment_id
             WHERE v.version_id = $1 AND s.state = 'kept'",
        )
        .bind(commit.base)
        .fetch_all(&mut **tx)
        .await?;
        let mut of: HashMap<SegmentId, String> = HashMap::new();
        for row in rows {
            of.insert(row.try_get(0)?, row.try_get(1)?);
        }
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

    async fn drop_version(&self, tx: &mut Transaction<'_, Sqlite>, id: &VersionId) -> Result<()> {
        sqlx::query(
            "UPDATE segments
             SET state = 'dropped', dropped_at = $1
             WHERE state = 'kept'
                 AND id IN (SELECT segment_id FROM version_segments WHERE version_id = $2)
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

/// Converts a number from the catalogue.
fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn version(row: &SqliteRow) -> Result<Version> {
    Ok(Version {
        id: row.try_get("id")?,
        dataset: row.try_get("dataset_id")?,
        run: row.try_get("run_id")?,
        number: to_u64(row.try_get("number")?),
        rows: to_u64(row.try_get("rows")?),
        bytes: to_u64(row.try_get("bytes")?),
        columns: serde_json::from_str(row.try_get("columns")?).map_err(Error::internal)?,
        created_at: row.try_get("created_at")?,
        segments: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
