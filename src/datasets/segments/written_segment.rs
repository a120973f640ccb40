//! Finished segments of a run, before a version contains them.

use sqlx::{Sqlite, Transaction};

use super::checksum::Checksums;
use super::digest::Digest;
use super::{SegmentMeta, to_i64};
use crate::datasets::columns::ColumnInfo;
use crate::error::{Error, Result};
use crate::ids::{RunId, SegmentId};

/// A finished segment: synced to the disk, staged, and not yet in a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenSegment {
    pub id: SegmentId,
    pub rows: u64,
    /// The length of the file.
    pub bytes: u64,
    pub columns: Vec<ColumnInfo>,
    /// `None` only for a segment that an older version of the program staged.
    pub checksums: Option<Checksums>,
    pub digest: Option<Digest>,
}

impl WrittenSegment {
    pub fn meta(&self) -> SegmentMeta {
        SegmentMeta {
            id: self.id.clone(),
            rows: self.rows,
            bytes: self.bytes,
            checksums: self.checksums.clone(),
            digest: self.digest,
        }
    }
}

/// Records complete segments, so that an interrupted run can continue after them. The next attempt
/// ignores segments that are not recorded.
pub async fn record(
    tx: &mut Transaction<'static, Sqlite>,
    written: &[WrittenSegment],
) -> Result<()> {
    for segment in written {
        sqlx::query(
            "UPDATE segments
             SET rows = $1, bytes = $2, columns = $3, checksums = $4, digest = $5
             WHERE id = $6 AND state = 'staged'",
        )
        .bind(to_i64(segment.rows))
        .bind(to_i64(segment.bytes))
        .bind(serde_json::to_string(&segment.columns).map_err(Error::internal)?)
        .bind(segment.checksums.as_ref().map(Checksums::to_text))
        .bind(segment.digest.map(Digest::to_text))
        .bind(&segment.id)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Reverses `record` for a run: the next attempt ignores its segments, and they are deleted when
/// the run ends.
pub async fn discard_recorded(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    sqlx::query("UPDATE segments SET rows = 0 WHERE run_id = $1 AND state = 'staged'")
        .bind(run)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
