//! The entry of a segment in the catalogue.

use sqlx::FromRow;

use super::checksum::Checksums;
use super::digest::Digest;
use crate::error::{Error, Result};
use crate::ids::SegmentId;

/// A segment in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    pub id: SegmentId,
    pub rows: u64,
    pub bytes: u64,
    /// `None` for a segment that is older than checksums and was not checked since.
    pub checksums: Option<Checksums>,
    /// `None` if unknown, like `checksums`.
    pub digest: Option<Digest>,
}

/// The columns of the table `segments` that a `SegmentMeta` is read from.
#[derive(FromRow)]
pub(in crate::datasets) struct SegmentRow {
    id: SegmentId,
    rows: i64,
    bytes: i64,
    checksums: Option<String>,
    digest: Option<String>,
}

impl TryFrom<SegmentRow> for SegmentMeta {
    type Error = Error;

    fn try_from(row: SegmentRow) -> Result<Self> {
        let rows = to_u64(row.rows);
        let checksums = match row.checksums {
            Some(text) => Some(
                Checksums::parse(&text)
                    .ok_or_else(|| Error::damaged("the checksums of a segment cannot be read"))?,
            ),
            None => None,
        };
        Ok(Self {
            id: row.id,
            rows,
            bytes: to_u64(row.bytes),
            checksums,
            digest: row.digest.and_then(|text| Digest::parse(&text, rows)),
        })
    }
}

/// Converts a number for the catalogue.
pub(in crate::datasets) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts a number from the catalogue.
pub(in crate::datasets) fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
