//! Rows of several versions in the order of their start, each id once, without holding more than a slice of them. A first pass counts
//! how many begin in each minute of the period; minutes in a row make slices of a bounded number of rows. For each slice only start and
//! id are read, put in order, and cleared of ids that come again; then the rows are read whole in that order, some at a time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use sha2::{Digest, Sha256};

use super::super::columns::{self, ColumnInfo};
use super::super::segments::{Batches, Segments};
use super::super::versions::Pin;
use crate::clock::Millis;
use crate::connectors::report::ColumnKind;
use crate::error::{Error, Result};

/// The columns that rows are ordered by and told apart by.
pub const START: &str = "start";
pub const ID: &str = "id";

const MINUTE: Millis = 60_000;

/// How much is held at a time.
#[derive(Clone, Copy, Debug)]
struct Caps {
    /// Starts and ids of a slice. A minute with more is a slice of its own.
    keys: usize,
    /// No minute has more than so many.
    keys_of_a_minute: u32,
    /// Rows that are read whole are about so many bytes at a time, and so many rows.
    rows_bytes: usize,
    rows: usize,
    /// When they turn out larger than this, half as many are read.
    most_bytes: usize,
}

const CAPS: Caps = Caps { keys: 128 << 10, keys_of_a_minute: 1 << 20, rows_bytes: 8 << 20, rows: 2_048, most_bytes: 24 << 20 };

/// A version to read, and the columns to read of it.
pub struct Source {
    pub version: Pin,
    pub columns: Vec<ColumnInfo>,
}

/// A row as it comes: row `index` of `batch`, whose columns are those of source number `source`.
pub struct Row<'a> {
    pub source: usize,
    pub batch: &'a RecordBatch,
    pub index: usize,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    /// Rows left out because another one has their id.
    pub repeated: u64,
    /// Rows of all versions, whatever the period, that have no start and so are in none.
    pub without_start: u64,
}

/// Hands the rows that start within `period` (its end not included) to `each`, ordered by start; those of one moment in the order of
/// `sources`, and of a source as pulled. Of rows with one id the first source has it, and within a source the last row. Blocks.
pub fn by_start(segments: &Segments, sources: &[Source], period: Range<Millis>, each: impl FnMut(Row<'_>) -> Result<()>) -> Result<Tally> {
    Reading { segments, sources, period, caps: CAPS, tally: Tally::default() }.run(each)
}

/// Where a row is, and when it starts.
#[derive(Clone, Copy, Debug)]
struct Key {
    start: Millis,
    /// None where the id is empty: such a row is like no other.
    id: Option<u128>,
    source: u32,
    segment: u32,
    row: u64,
}

struct Reading<'a> {
    segments: &'a Segments,
    sources: &'a [Source],
    period: Range<Millis>,
    caps: Caps,
    tally: Tally,
}

impl Reading<'_> {
    fn run(mut self, mut each: impl FnMut(Row<'_>) -> Result<()>) -> Result<Tally> {
        let (slices, row_bytes) = self.plan()?;
        let at_once = (self.caps.rows_bytes / row_bytes.max(1)).clamp(1, self.caps.rows);
        for slice in slices {
            let mut keys = self.keys(&slice)?;
            self.leave_out_repeated(&mut keys)?;
            keys.sort_unstable_by_key(|key| (key.start, key.source, key.segment, key.row));
            for some in keys.chunks(at_once) {
                self.hand_over(some, &mut each)?;
            }
        }
        Ok(self.tally)
    }

    /// The slices of the period that hold anything, and how large its rows are.
    fn plan(&mut self) -> Result<(Vec<Range<Millis>>, usize)> {
        let minutes = usize::try_from((self.period.end - self.period.start + MINUTE - 1) / MINUTE).unwrap_or(0);
        let mut counts = vec![0_u32; minutes];
        let schema = columns::to_schema(&[column(START, ColumnKind::Timestamp)]);
        let mut row_bytes = 1;
        for source in self.sources {
            let whole = columns::to_schema(&source.columns);
            for meta in &source.version.segments {
                let open = self.segments.open(meta)?;
                let within = open.within(START, &self.period);
                self.tally.without_start += within.empty;
                if within.groups.is_empty() {
                    continue;
                }
                row_bytes = row_bytes.max(open.row_bytes(&whole));
                for batch in open.read(&schema, Some(&within.groups))? {
                    for start in moments(&batch?)?.flatten().filter(|start| self.period.contains(start)) {
                        let minute = usize::try_from((start - self.period.start) / MINUTE).unwrap_or(usize::MAX);
                        if let Some(count) = counts.get_mut(minute) {
                            *count += 1;
                            if *count > self.caps.keys_of_a_minute {
                                return Err(Error::internal("more rows start in one minute than can be put in order"));
                            }
                        }
                    }
                }
            }
        }
        Ok((self.slices(&counts), row_bytes))
    }

    fn slices(&self, counts: &[u32]) -> Vec<Range<Millis>> {
        let mut slices: Vec<Range<Millis>> = Vec::new();
        let mut held = 0;
        for (start, count) in (self.period.start..).step_by(MINUTE as usize).zip(counts).filter(|(_, count)| **count > 0) {
            let (count, end) = (*count as usize, (start + MINUTE).min(self.period.end));
            match slices.last_mut() {
                Some(last) if held + count <= self.caps.keys => {
                    last.end = end;
                    held += count;
                }
                _ => {
                    slices.push(start..end);
                    held = count;
                }
            }
        }
        slices
    }

    /// The keys of all rows that start in the slice.
    fn keys(&self, slice: &Range<Millis>) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        for (number, source) in (0_u32..).zip(self.sources) {
            for (segment, meta) in (0_u32..).zip(&source.version.segments) {
                let open = self.segments.open(meta)?;
                for group in open.within(START, slice).groups {
                    let first = group.start;
                    each_key(open.read(&key_schema(), Some(&[group]))?, |at, start, id| {
                        if let Some(start) = start.filter(|start| slice.contains(start)) {
                            keys.push(Key { start, id: id.map(hash), source: number, segment, row: first + at });
                        }
                    })?;
                }
            }
        }
        Ok(keys)
    }

    /// Leaves one row for each id: of the first source, and the last of that. Another source may have it at another time, outside of
    /// the slice.
    fn leave_out_repeated(&mut self, keys: &mut Vec<Key>) -> Result<()> {
        let before = keys.len();
        keys.sort_unstable_by(|a, b| (a.id, a.source).cmp(&(b.id, b.source)).then((b.segment, b.row).cmp(&(a.segment, a.row))));
        keys.dedup_by(|next, kept| next.id.is_some() && next.id == kept.id);
        // By id, in which source it is here.
        let mut later: HashMap<u128, u32> = keys.iter().filter(|key| key.source > 0).filter_map(|key| Some((key.id?, key.source))).collect();
        let mut elsewhere: HashSet<u128> = HashSet::new();
        for (number, source) in (0_u32..).zip(self.sources) {
            if !later.values().any(|has| *has > number) {
                break;
            }
            for meta in &source.version.segments {
                each_key(self.segments.open(meta)?.read(&key_schema(), None)?, |_, start, id| {
                    // A row without a start is in no period, so it takes nobody's place.
                    let (Some(_), Some(id)) = (start, id.map(hash)) else { return };
                    if later.get(&id).is_some_and(|has| *has > number) {
                        later.remove(&id);
                        elsewhere.insert(id);
                    }
                })?;
            }
        }
        keys.retain(|key| key.id.is_none_or(|id| key.source == 0 || !elsewhere.contains(&id)));
        self.tally.repeated += (before - keys.len()) as u64;
        Ok(())
    }

    /// Reads these rows whole and hands them over in this order; in halves, when they are larger than expected.
    fn hand_over(&mut self, keys: &[Key], each: &mut impl FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let Some((batches, places)) = self.rows(keys)? else {
            let (first, second) = keys.split_at(keys.len() / 2);
            self.hand_over(first, each)?;
            return self.hand_over(second, each);
        };
        for (key, (batch, index)) in keys.iter().zip(places) {
            let batch = batches.get(batch).ok_or_else(|| Error::internal("a row without its batch"))?;
            each(Row { source: key.source as usize, batch, index })?;
            self.tally.rows += 1;
        }
        Ok(())
    }

    /// The batches that hold these rows, and where in them each row is; none when several rows are too large together.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn rows(&self, keys: &[Key]) -> Result<Option<(Vec<RecordBatch>, Vec<(usize, usize)>)>> {
        let mut of: BTreeMap<(u32, u32), Vec<(u64, usize)>> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            of.entry((key.source, key.segment)).or_default().push((key.row, place));
        }
        let (mut batches, mut places, mut bytes) = (Vec::new(), vec![None; keys.len()], 0);
        for ((source, segment), mut wanted) in of {
            wanted.sort_unstable();
            let source = self.sources.get(source as usize).ok_or_else(|| Error::internal("a row without its source"))?;
            let meta = source.version.segments.get(segment as usize).ok_or_else(|| Error::internal("a row without its segment"))?;
            let numbers: Vec<u64> = wanted.iter().map(|(row, _)| *row).collect();
            let mut wanted = wanted.iter();
            for batch in self.segments.open(meta)?.read_rows(&columns::to_schema(&source.columns), &numbers)? {
                let batch = batch?;
                bytes += batch.get_array_memory_size();
                if bytes > self.caps.most_bytes && keys.len() > 1 {
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
    ColumnInfo { name: name.to_owned(), kind, declared: true }
}

fn key_schema() -> SchemaRef {
    columns::to_schema(&[column(START, ColumnKind::Timestamp), column(ID, ColumnKind::Text)])
}

/// Start and id of each row that is read, with its number among them.
fn each_key(batches: Batches, mut key: impl FnMut(u64, Option<Millis>, Option<&str>)) -> Result<()> {
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

/// The start of each row, in milliseconds.
fn moments(batch: &RecordBatch) -> Result<impl Iterator<Item = Option<Millis>> + '_> {
    let column = batch.column_by_name(START).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let column = column.ok_or_else(|| Error::internal("a batch without its moments"))?;
    Ok(column.iter().map(|micros| micros.map(|micros| micros.div_euclid(1_000))))
}

fn texts(batch: &RecordBatch) -> Result<&StringArray> {
    batch.column_by_name(ID).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(|| Error::internal("a batch without its ids"))
}

fn hash(id: &str) -> u128 {
    let digest = Sha256::digest(id.as_bytes());
    digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests;
