//! The keys of the rows of a slice: read from all sources, each id once.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use sha2::{Digest, Sha256};

use super::{ByStart, ID_COLUMN, START_COLUMN, column, moments};
use crate::clock::Millis;
use crate::connectors::report::ColumnKind;
use crate::datasets::columns;
use crate::datasets::segments::BatchReader;
use crate::error::{Error, Result};

/// The place and the start of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowKey {
    pub start: Millis,
    /// `None` if the id is empty: such a row is never a duplicate.
    pub id: Option<u128>,
    pub source: u32,
    pub segment: u32,
    pub row: u64,
}

impl ByStart {
    /// Reads the keys of all rows that start in the slice.
    pub(super) fn keys(&self, slice: &Range<Millis>) -> Result<Vec<RowKey>> {
        let mut keys = Vec::new();
        for (number, source) in (0_u32..).zip(&self.sources) {
            for (segment, meta) in (0_u32..).zip(&source.version.segments) {
                let open = self.segments.open(meta)?;
                for group in open.groups_within(START_COLUMN, slice).groups {
                    let first = group.start;
                    each_key(
                        open.read(&key_schema(), Some(&[group]))?,
                        |at, start, id| {
                            if let Some(start) = start.filter(|start| slice.contains(start)) {
                                keys.push(RowKey {
                                    start,
                                    id: id.map(hash),
                                    source: number,
                                    segment,
                                    row: first + at,
                                });
                            }
                        },
                    )?;
                }
            }
        }
        Ok(keys)
    }

    /// Keeps one row per id: from the first source, and there the last row. Another source may have
    /// the same id at a time outside the slice, so whole sources are compared. Returns the number
    /// of removed rows.
    pub(super) fn leave_out_repeated(&self, keys: &mut Vec<RowKey>) -> Result<u64> {
        let before = keys.len();
        keys.sort_unstable_by(|a, b| {
            (a.id, a.source)
                .cmp(&(b.id, b.source))
                .then((b.segment, b.row).cmp(&(a.segment, a.row)))
        });
        keys.dedup_by(|next, kept| next.id.is_some() && next.id == kept.id);
        // Maps an id of this slice to the number of its source, for all sources but the first.
        let mut later: HashMap<u128, u32> = keys
            .iter()
            .filter(|key| key.source > 0)
            .filter_map(|key| Some((key.id?, key.source)))
            .collect();
        let mut elsewhere: HashSet<u128> = HashSet::new();
        for (number, source) in (0_u32..).zip(&self.sources) {
            if !later.values().any(|has| *has > number) {
                break;
            }
            for meta in &source.version.segments {
                each_key(
                    self.segments.open(meta)?.read(&key_schema(), None)?,
                    |_, start, id| {
                        // A row without a start belongs to no period, so it is not counted as a
                        // duplicate.
                        let (Some(_), Some(id)) = (start, id.map(hash)) else {
                            return;
                        };
                        if later.get(&id).is_some_and(|has| *has > number) {
                            later.remove(&id);
                            elsewhere.insert(id);
                        }
                    },
                )?;
            }
        }
        keys.retain(|key| {
            key.id
                .is_none_or(|id| key.source == 0 || !elsewhere.contains(&id))
        });
        Ok((before - keys.len()) as u64)
    }
}

fn key_schema() -> SchemaRef {
    columns::to_schema(&[
        column(START_COLUMN, ColumnKind::Timestamp),
        column(ID_COLUMN, ColumnKind::Text),
    ])
}

/// Calls `key` with the number, start and id of each row.
fn each_key(
    batches: BatchReader,
    mut key: impl FnMut(u64, Option<Millis>, Option<&str>),
) -> Result<()> {
    let mut first = 0;
    for batch in batches {
        let batch = batch?;
        for (at, (start, id)) in (first..).zip(moments(&batch)?.zip(texts(&batch)?)) {
            key(at, start, id.filter(|id| !id.is_empty()));
        }
        first += batch.num_rows() as u64;
    }
    Ok(())
}

fn texts(batch: &RecordBatch) -> Result<&StringArray> {
    batch
        .column_by_name(ID_COLUMN)
        .and_then(|column| column.as_string_opt::<i32>())
        .ok_or_else(|| Error::internal("a batch without its ids"))
}

fn hash(id: &str) -> u128 {
    let digest = Sha256::digest(id.as_bytes());
    digest
        .iter()
        .take(16)
        .fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}
