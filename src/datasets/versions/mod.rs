//! Versions: complete, immutable states of a DataSet, each an ordered list of segments. A reader
//! pins the version that it reads. Retention drops old versions in the catalogue, and the sweep
//! deletes their files a day later.

mod content;
mod deletion;
mod integrity;
mod new_version;
mod pins;
mod restore;
mod retention;
mod sweep;
pub mod trash;

use std::sync::{Arc, Mutex};

use sqlx::FromRow;

use super::columns::ColumnInfo;
use super::segments::{SegmentMeta, SegmentRow, Segments, to_i64, to_u64};
use super::{Dataset, Datasets};
use crate::actor::Actor;
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, VersionId};
pub use integrity::{Integrity, VersionIntegrity};
pub use new_version::Commit;
pub use pins::Pin;
use pins::{Pins, lock};
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

/// A row of the table `versions`.
#[derive(FromRow)]
struct StoredVersionRow {
    id: VersionId,
    dataset_id: DatasetId,
    run_id: Option<RunId>,
    number: i64,
    rows: i64,
    bytes: i64,
    /// JSON.
    columns: String,
    created_at: Millis,
}

/// The version without its segments.
impl TryFrom<StoredVersionRow> for Version {
    type Error = Error;

    fn try_from(row: StoredVersionRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            dataset: row.dataset_id,
            run: row.run_id,
            number: to_u64(row.number),
            rows: to_u64(row.rows),
            bytes: to_u64(row.bytes),
            columns: serde_json::from_str(&row.columns).map_err(Error::internal)?,
            created_at: row.created_at,
            segments: Vec::new(),
        })
    }
}

/// The segments of a version, in order, as rows of type `SegmentRow`.
const SEGMENTS_OF_VERSION: &str = "SELECT s.id, s.rows, s.bytes, s.checksums, s.digest
     FROM version_segments v
     JOIN segments s ON s.id = v.segment_id
     WHERE v.version_id = $1
     ORDER BY v.position";

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
        let row = sqlx::query_as(
            "SELECT v.*
             FROM datasets d
             JOIN versions v ON v.id = d.current_version
             WHERE d.id = $1",
        )
        .bind(dataset)
        .fetch_optional(self.db.read())
        .await?;
        self.read_optional(row).await
    }

    /// The version with this id, if it still exists.
    pub async fn get(&self, id: &VersionId) -> Result<Option<Version>> {
        let row = sqlx::query_as("SELECT * FROM versions WHERE id = $1")
            .bind(id)
            .fetch_optional(self.db.read())
            .await?;
        self.read_optional(row).await
    }

    /// The version of a DataSet with this number, if it still exists.
    pub async fn by_number(&self, dataset: &DatasetId, number: u64) -> Result<Option<Version>> {
        let row = sqlx::query_as("SELECT * FROM versions WHERE dataset_id = $1 AND number = $2")
            .bind(dataset)
            .bind(to_i64(number))
            .fetch_optional(self.db.read())
            .await?;
        self.read_optional(row).await
    }

    /// The existing versions, newest first.
    pub async fn list(&self, dataset: &DatasetId) -> Result<Vec<Version>> {
        let rows: Vec<StoredVersionRow> =
            sqlx::query_as("SELECT * FROM versions WHERE dataset_id = $1 ORDER BY number DESC")
                .bind(dataset)
                .fetch_all(self.db.read())
                .await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            match self.with_segments(row.try_into()?).await {
                Ok(version) => list.push(version),
                // Retention dropped it after the list was read.
                Err(error) if error.code() == VERSION_GONE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    async fn read_optional(&self, row: Option<StoredVersionRow>) -> Result<Option<Version>> {
        match row {
            Some(row) => Ok(Some(self.with_segments(row.try_into()?).await?)),
            None => Ok(None),
        }
    }

    async fn with_segments(&self, mut version: Version) -> Result<Version> {
        let rows: Vec<SegmentRow> = sqlx::query_as(SEGMENTS_OF_VERSION)
            .bind(&version.id)
            .fetch_all(self.db.read())
            .await?;
        for row in rows {
            version.segments.push(row.try_into()?);
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
}

#[cfg(test)]
mod tests;
