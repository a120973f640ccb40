//! The known integrity of versions, from all reads and checks so far.

use sqlx::FromRow;

use super::{Versions, to_u64};
use crate::error::Result;
use crate::ids::{DatasetId, VersionId};

/// The integrity of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Every file has checksums, and none is known to be damaged.
    Checked,
    /// Some files are older than checksums and were not checked yet.
    NotChecked,
    /// At least one file is damaged or missing.
    Damaged,
}

impl Integrity {
    pub fn word(self) -> &'static str {
        match self {
            Integrity::Checked => "checked",
            Integrity::NotChecked => "not_checked",
            Integrity::Damaged => "damaged",
        }
    }
}

/// The files of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionIntegrity {
    pub version: VersionId,
    pub number: u64,
    pub segments: u64,
    /// The number of damaged or missing files, and of the rows in them.
    pub damaged: u64,
    pub damaged_rows: u64,
    /// The number of files without checksums.
    pub unchecked: u64,
}

impl VersionIntegrity {
    pub fn state(&self) -> Integrity {
        match (self.damaged, self.unchecked) {
            (0, 0) => Integrity::Checked,
            (0, _) => Integrity::NotChecked,
            _ => Integrity::Damaged,
        }
    }
}

#[derive(FromRow)]
struct VersionIntegrityRow {
    version: VersionId,
    number: i64,
    segments: i64,
    damaged: i64,
    damaged_rows: i64,
    unchecked: i64,
}

impl From<VersionIntegrityRow> for VersionIntegrity {
    fn from(row: VersionIntegrityRow) -> Self {
        Self {
            version: row.version,
            number: to_u64(row.number),
            segments: to_u64(row.segments),
            damaged: to_u64(row.damaged),
            damaged_rows: to_u64(row.damaged_rows),
            unchecked: if row.segments == 0 {
                0
            } else {
                to_u64(row.unchecked)
            },
        }
    }
}

impl Versions {
    /// The integrity of the versions of a DataSet, newest first.
    pub async fn integrity(&self, dataset: &DatasetId) -> Result<Vec<VersionIntegrity>> {
        let rows: Vec<VersionIntegrityRow> = sqlx::query_as(
            "SELECT
                 v.id AS version, v.number, COUNT(s.id) AS segments,
                 COALESCE(SUM(CASE WHEN s.damage IS NOT NULL THEN 1 ELSE 0 END), 0) AS damaged,
                 COALESCE(
                     SUM(CASE WHEN s.damage IS NOT NULL THEN s.rows ELSE 0 END), 0
                 ) AS damaged_rows,
                 -- A version without rows has no segment: the join then returns a row of nulls,
                 -- which counts here.
                 COALESCE(SUM(CASE WHEN s.checksums IS NULL THEN 1 ELSE 0 END), 0) AS unchecked
             FROM versions v
             LEFT JOIN version_segments x ON x.version_id = v.id
             LEFT JOIN segments s ON s.id = x.segment_id
             WHERE v.dataset_id = $1
             GROUP BY v.id, v.number
             ORDER BY v.number DESC",
        )
        .bind(dataset)
        .fetch_all(self.db.read())
        .await?;
        Ok(rows.into_iter().map(VersionIntegrity::from).collect())
    }
}
