//! Reads the rows of several versions ordered by start time, each id once, with bounded memory. A
//! first pass counts the rows of each minute of the period; consecutive minutes form slices with a
//! bounded number of rows. For each slice, only start and id are read, sorted and cleared of
//! repeated ids; then the rows are read in that order in small groups. Between two rows all buffers
//! can be released; they are read again for the next row.

mod row_keys;
mod slice_plan;

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;

use crate::clock::Millis;
use crate::connectors::report::ColumnKind;
use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::segments::Segments;
use crate::datasets::versions::Pin;
use crate::error::{Error, Result};
use row_keys::RowKey;
use slice_plan::{LIMITS, Limits, SlicePlan};

/// The columns by which rows are ordered and identified.
pub const START_COLUMN: &str = "start";
pub const ID_COLUMN: &str = "id";

/// A version to read, and the columns to read of it.
pub struct VersionSource {
    pub version: Pin,
    pub columns: Vec<ColumnInfo>,
}

/// A row: number `index` of `batch`, which has the columns of source number `source`.
pub struct SourceRow<'a> {
    pub source: usize,
    pub batch: &'a RecordBatch,
    pub index: usize,
}

/// Counts of the rows read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    pub rows: u64,
    /// Rows that were skipped because their id occurs more than once.
    pub repeated: u64,
    /// Rows without a start, in all versions. They belong to no period and are skipped.
    pub without_start: u64,
}

/// Iterates over the rows that start within a period (its end excluded), ordered by start; rows
/// with the same start keep the order of the sources, then the order in which they were pulled. If
/// several rows have the same id, the first source wins, and within a source the last row. The
/// methods block.
pub struct ByStart {
    segments: Segments,
    sources: Vec<VersionSource>,
    period: Range<Millis>,
    limits: Limits,
    counts: ReadCounts,
    plan: Option<SlicePlan>,
    /// The current slice, and the number of its rows that were returned.
    slice: usize,
    handed_over: usize,
    /// The keys of the current slice, in order.
    keys: Option<Vec<RowKey>>,
    rows: Option<LoadedRows>,
    /// The number of slices whose duplicates were counted.
    counted: usize,
}

/// A group of complete rows in memory.
struct LoadedRows {
    batches: Vec<RecordBatch>,
    /// For each row: the number of its batch, and of the row in the batch.
    places: Vec<(usize, usize)>,
    /// The index of the first row among the keys of the slice.
    first: usize,
}

impl ByStart {
    pub fn new(segments: &Segments, sources: Vec<VersionSource>, period: Range<Millis>) -> Self {
        Self::with(segments, sources, period, LIMITS)
    }

    fn with(
        segments: &Segments,
        sources: Vec<VersionSource>,
        period: Range<Millis>,
        limits: Limits,
    ) -> Self {
        let segments = segments.clone();
        Self {
            segments,
            sources,
            period,
            limits,
            counts: ReadCounts::default(),
            plan: None,
            slice: 0,
            handed_over: 0,
            keys: None,
            rows: None,
            counted: 0,
        }
    }

    pub fn sources(&self) -> &[VersionSource] {
        &self.sources
    }

    /// The counts so far; complete after the last row.
    pub fn counts(&self) -> ReadCounts {
        self.counts
    }

    /// Drops all rows and keys from memory.
    pub fn release(&mut self) {
        (self.keys, self.rows) = (None, None);
    }

    /// The next row; `None` after the last one.
    pub fn next_row(&mut self) -> Result<Option<SourceRow<'_>>> {
        let (slices, at_once) = match &self.plan {
            Some(plan) => (plan.slices.len(), plan.at_once),
            None => {
                let plan = self.make_plan()?;
                let planned = (plan.slices.len(), plan.at_once);
                self.plan = Some(plan);
                planned
            }
        };
        while self.slice < slices {
            let keys = match self.keys.take() {
                Some(keys) => keys,
                None => self.keys_in_order()?,
            };
            let Some(key) = keys.get(self.handed_over).copied() else {
                (self.slice, self.handed_over, self.rows) = (self.slice + 1, 0, None);
                continue;
            };
            let is_read = |rows: &LoadedRows| {
                (rows.first..rows.first + rows.places.len()).contains(&self.handed_over)
            };
            if !self.rows.as_ref().is_some_and(is_read) {
                self.rows = None;
                self.rows = Some(self.rows_from(&keys, at_once)?);
            }
            self.keys = Some(keys);
            let at = self.handed_over;
            self.handed_over += 1;
            self.counts.rows += 1;
            let rows = self
                .rows
                .as_ref()
                .ok_or_else(|| Error::internal("rows that were not read"))?;
            let (batch, index) = rows
                .places
                .get(at - rows.first)
                .copied()
                .ok_or_else(|| Error::internal("a row without its place"))?;
            let batch = rows
                .batches
                .get(batch)
                .ok_or_else(|| Error::internal("a row without its batch"))?;
            return Ok(Some(SourceRow {
                source: key.source as usize,
                batch,
                index,
            }));
        }
        self.release();
        Ok(None)
    }

    /// The keys of the current slice, sorted.
    fn keys_in_order(&mut self) -> Result<Vec<RowKey>> {
        let slice = self
            .plan
            .as_ref()
            .and_then(|plan| plan.slices.get(self.slice))
            .cloned()
            .ok_or_else(|| Error::internal("no such slice"))?;
        let mut keys = self.keys(&slice)?;
        let repeated = self.leave_out_repeated(&mut keys)?;
        if self.counted == self.slice {
            self.counted += 1;
            self.counts.repeated += repeated;
        }
        keys.sort_unstable_by_key(|key| (key.start, key.source, key.segment, key.row));
        Ok(keys)
    }

    /// Reads complete rows, starting with the next one; reads fewer if they are larger than
    /// expected.
    fn rows_from(&self, keys: &[RowKey], at_once: usize) -> Result<LoadedRows> {
        let first = self.handed_over;
        let mut some = keys
            .get(first..keys.len().min(first + at_once))
            .unwrap_or_default();
        loop {
            if let Some((batches, places)) = self.rows(some)? {
                return Ok(LoadedRows {
                    batches,
                    places,
                    first,
                });
            }
            some = some.get(..(some.len() / 2).max(1)).unwrap_or_default();
        }
    }

    /// Reads the batches that contain these rows, and the place of each row in them. `None` if
    /// several rows together are too large.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn rows(&self, keys: &[RowKey]) -> Result<Option<(Vec<RecordBatch>, Vec<(usize, usize)>)>> {
        let mut of: BTreeMap<(u32, u32), Vec<(u64, usize)>> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            of.entry((key.source, key.segment))
                .or_default()
                .push((key.row, place));
        }
        let (mut batches, mut places, mut bytes) = (Vec::new(), vec![None; keys.len()], 0);
        for ((source, segment), mut wanted) in of {
            wanted.sort_unstable();
            let source = self
                .sources
                .get(source as usize)
                .ok_or_else(|| Error::internal("a row without its source"))?;
            let meta = source
                .version
                .segments
                .get(segment as usize)
                .ok_or_else(|| Error::internal("a row without its segment"))?;
            let numbers: Vec<u64> = wanted.iter().map(|(row, _)| *row).collect();
            let mut wanted = wanted.iter();
            for batch in self
                .segments
                .open(meta)?
                .read_rows(&columns::to_schema(&source.columns), &numbers)?
            {
                let batch = batch?;
                bytes += batch.get_array_memory_size();
                if bytes > self.limits.max_bytes && keys.len() > 1 {
                    return Ok(None);
                }
                for (index, (_, place)) in (0..batch.num_rows()).zip(&mut wanted) {
                    places[*place] = Some((batches.len(), index));
                }
                batches.push(batch);
            }
        }
        let places: Option<Vec<(usize, usize)>> = places.into_iter().collect();
        let places = places.ok_or_else(|| Error::internal("a segment ended before its rows"))?;
        Ok(Some((batches, places)))
    }
}

fn column(name: &str, kind: ColumnKind) -> ColumnInfo {
    ColumnInfo {
        name: name.to_owned(),
        kind,
        declared: true,
    }
}

/// The start of each row in milliseconds.
fn moments(batch: &RecordBatch) -> Result<impl Iterator<Item = Option<Millis>> + '_> {
    let column = batch
        .column_by_name(START_COLUMN)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let column = column.ok_or_else(|| Error::internal("a batch without its moments"))?;
    Ok(column
        .iter()
        .map(|micros| micros.map(|micros| micros.div_euclid(1_000))))
}

#[cfg(test)]
mod tests;
