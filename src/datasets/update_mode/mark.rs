//! Marks the old rows to drop: by their day for Partition, by their key for Merge. Row groups are
//! skipped by the statistics of the day column; of the others, only the day or the key columns are
//! read.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Date32Type, SchemaRef, TimestampMicrosecondType};

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Marks;
use super::keys::{KeySet, Keys, MAX_KEYS_PER_PASS};
use crate::connectors::Window;
use crate::connectors::report::ColumnKind;
use crate::datasets::columns::{ColumnInfo, to_schema, union};
use crate::datasets::segments::{OpenSegment, SegmentMeta, Segments};
use crate::error::{Error, Result};

const DAY: i64 = 24 * 60 * 60 * 1_000;

/// Which old rows are dropped.
#[derive(Clone, Debug)]
pub enum Drops {
    Nothing,
    /// Rows whose day is in one of these, or whose key is that of a new row outside these days.
    Days {
        days: DayRanges,
        key: Vec<ColumnInfo>,
    },
    /// Rows with the key of a new row, or of a record that was read and has no rows.
    Keys {
        columns: Vec<ColumnInfo>,
        /// The columns that identify a row without a value in a key column; empty for the report's
        /// own key.
        fallback: Vec<ColumnInfo>,
        /// The keys of records without rows: values of the first key column, as text.
        empty_parents: Vec<String>,
        /// The days that rows with such a key can have, apart from rows without a day.
        within: Option<DayRanges>,
    },
}

/// Ranges of one column: a timestamp, or a date, which counts as its midnight in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRanges {
    pub column: ColumnInfo,
    /// In milliseconds since 1970; ascending and disjoint.
    pub ranges: Vec<Range<i64>>,
}

impl DayRanges {
    /// The days of these windows in the time zone `zone`.
    pub fn of(column: ColumnInfo, windows: &[Window], zone: &TimeZone) -> Result<Self> {
        let start = |day: Date| -> Result<i64> {
            if column.kind == ColumnKind::Date {
                return Ok(day
                    .to_zoned(TimeZone::UTC)
                    .map_err(Error::internal)?
                    .timestamp()
                    .as_millisecond());
            }
            // A day may start after midnight because of a clock change.
            Ok(day
                .to_zoned(zone.clone())
                .and_then(|midnight| midnight.start_of_day())
                .map_err(Error::internal)?
                .timestamp()
                .as_millisecond())
        };
        let mut all = Vec::with_capacity(windows.len());
        for window in windows {
            all.push(start(window.from)?..start(window.to.tomorrow().map_err(Error::internal)?)?);
        }
        all.sort_by_key(|range| range.start);
        let mut ranges: Vec<Range<i64>> = Vec::new();
        for range in all {
            match ranges.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => ranges.push(range),
            }
        }
        Ok(Self { column, ranges })
    }

    fn has(&self, moment: i64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= moment);
        self.ranges
            .get(at)
            .is_some_and(|range| range.start <= moment)
    }

    fn touches(&self, least: i64, most: i64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= least);
        self.ranges.get(at).is_some_and(|range| range.start <= most)
    }

    /// Converts a stored bound of the column to milliseconds: timestamps are unchanged, dates are
    /// days.
    fn moment(&self, stored: i64) -> i64 {
        if self.column.kind == ColumnKind::Date {
            stored.saturating_mul(DAY)
        } else {
            stored
        }
    }

    /// The rows of a segment that may have their day in these ranges. `or_none`: also rows without
    /// a day.
    fn candidates(&self, segment: &OpenSegment, or_none: bool) -> Vec<Range<u64>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        for group in segment.groups_of(&self.column.name) {
            let touched = match group.bounds {
                Some((least, most)) => {
                    self.touches(self.moment(least), self.moment(most))
                        || (or_none && group.has_nulls)
                }
                None => true,
            };
            match found.last_mut() {
                _ if !touched => {}
                Some(last) if last.end == group.rows.start => last.end = group.rows.end,
                _ => found.push(group.rows),
            }
        }
        found
    }

    /// Widens the ranges to one range that also contains all rows of these segments, and one day
    /// more at both ends, because the vendor's days may be of another time zone. `None` if the
    /// statistics of a segment are missing.
    pub fn around(mut self, segments: &[OpenSegment]) -> Option<Self> {
        let mut ends: Vec<i64> = self
            .ranges
            .iter()
            .flat_map(|range| [range.start, range.end])
            .collect();
        for segment in segments {
            for group in segment.groups_of(&self.column.name) {
                // A row without a day can have the key of a row with any day.
                let (least, most) = group.bounds.filter(|_| !group.has_nulls)?;
                ends.extend([self.moment(least), self.moment(most)]);
            }
        }
        let whole =
            ends.iter().min()?.saturating_sub(DAY)..ends.iter().max()?.saturating_add(DAY + 1);
        self.ranges = vec![whole];
        Some(self)
    }
}

/// Marks the rows of `old` to drop. Blocks.
pub fn mark(
    segments: &Segments,
    old: &[SegmentMeta],
    new: &[SegmentMeta],
    drops: &Drops,
) -> Result<Vec<Marks>> {
    mark_with(segments, old, new, drops, MAX_KEYS_PER_PASS)
}

/// Like `mark`, with about `max_keys` keys per pass.
pub(super) fn mark_with(
    segments: &Segments,
    old: &[SegmentMeta],
    new: &[SegmentMeta],
    drops: &Drops,
    max_keys: usize,
) -> Result<Vec<Marks>> {
    let mut marks: Vec<Marks> = old.iter().map(|segment| Marks::new(segment.rows)).collect();
    match drops {
        Drops::Nothing => {}
        Drops::Days { days, key } => {
            for (segment, marks) in old.iter().zip(&mut marks) {
                mark_days(&segments.open(segment)?, days, marks)?;
            }
            mark_strays(segments, old, new, days, key, &mut marks)?;
        }
        Drops::Keys {
            columns,
            fallback,
            empty_parents,
            within,
        } => {
            let schema = to_schema(&union([columns.as_slice(), fallback.as_slice()]));
            let keys = Keys::new(&schema, columns, fallback)?;
            let opened: Vec<OpenSegment> = new
                .iter()
                .map(|segment| segments.open(segment))
                .collect::<Result<_>>()?;
            let within = within.clone().and_then(|days| days.around(&opened));
            let mut new_keys = NewKeys::new(&opened, empty_parents, &schema)?;
            loop {
                let set = new_keys.next_set(&keys, &schema, max_keys)?;
                if set.is_empty() {
                    break;
                }
                for (segment, marks) in old.iter().zip(&mut marks) {
                    mark_keys(
                        &segments.open(segment)?,
                        within.as_ref(),
                        &keys,
                        &schema,
                        &set,
                        marks,
                    )?;
                }
            }
        }
    }
    Ok(marks)
}

fn mark_days(segment: &OpenSegment, days: &DayRanges, marks: &mut Marks) -> Result<()> {
    if segment.schema().index_of(&days.column.name).is_err() {
        return Ok(());
    }
    let schema = to_schema(std::slice::from_ref(&days.column));
    scan(
        segment,
        &schema,
        &days.candidates(segment, false),
        |batch, row_of| {
            let column = batch.column(0);
            for at in (0..batch.num_rows()).filter(|at| !column.is_null(*at)) {
                if moment(column, at).is_some_and(|moment| days.has(moment)) {
                    marks.mark(row_of(at));
                }
            }
            Ok(())
        },
    )
}

/// New rows outside the requested days replace only old rows with the same key. There are few of
/// them: chats over midnight, and rows without a day.
fn mark_strays(
    segments: &Segments,
    old: &[SegmentMeta],
    new: &[SegmentMeta],
    days: &DayRanges,
    key: &[ColumnInfo],
    marks: &mut [Marks],
) -> Result<()> {
    if key.is_empty() {
        return Ok(());
    }
    let (schema, with_day) = (
        to_schema(key),
        to_schema(&[key, std::slice::from_ref(&days.column)].concat()),
    );
    let keys = Keys::new(&schema, key, &[])?;
    let mut set = KeySet::default();
    for segment in new {
        for batch in segments.open(segment)?.read(&with_day, None)? {
            let batch = batch?;
            let day = batch.column(key.len());
            let strays: BooleanArray = (0..batch.num_rows())
                .map(|at| {
                    Some(day.is_null(at) || !moment(day, at).is_some_and(|moment| days.has(moment)))
                })
                .collect();
            if strays.true_count() > 0 {
                let strays = filter_record_batch(
                    &batch
                        .project(&(0..key.len()).collect::<Vec<_>>())
                        .map_err(Error::internal)?,
                    &strays,
                )
                .map_err(Error::internal)?;
                set.extend(keys.of(&strays)?.into_iter().flatten());
            }
        }
    }
    if set.is_empty() {
        return Ok(());
    }
    for (segment, marks) in old.iter().zip(marks) {
        mark_keys(&segments.open(segment)?, None, &keys, &schema, &set, marks)?;
    }
    Ok(())
}

/// The value in milliseconds since 1970.
fn moment(column: &ArrayRef, at: usize) -> Option<i64> {
    let timestamp = column
        .as_primitive_opt::<TimestampMicrosecondType>()
        .map(|column| column.value(at).div_euclid(1_000));
    timestamp.or_else(|| {
        column
            .as_primitive_opt::<Date32Type>()
            .map(|column| i64::from(column.value(at)) * DAY)
    })
}

fn mark_keys(
    segment: &OpenSegment,
    within: Option<&DayRanges>,
    keys: &Keys,
    schema: &SchemaRef,
    set: &KeySet,
    marks: &mut Marks,
) -> Result<()> {
    // A segment without any of the columns has no keys.
    if !schema
        .fields()
        .iter()
        .any(|field| segment.schema().index_of(field.name()).is_ok())
    {
        return Ok(());
    }
    let candidates = match within {
        Some(days) => days.candidates(segment, true),
        None => std::iter::once(0..marks.rows)
            .filter(|rows| !rows.is_empty())
            .collect(),
    };
    scan(segment, schema, &candidates, |batch, row_of| {
        for (at, key) in keys.of(batch)?.into_iter().enumerate() {
            if key.is_some_and(|key| set.contains(&key)) {
                marks.mark(row_of(at));
            }
        }
        Ok(())
    })
}

/// Reads these rows. `take` gets each batch, and a function from the position in the batch to the
/// number of the row in the segment.
fn scan(
    segment: &OpenSegment,
    schema: &SchemaRef,
    ranges: &[Range<u64>],
    mut take: impl FnMut(&RecordBatch, &dyn Fn(usize) -> u64) -> Result<()>,
) -> Result<()> {
    if ranges.is_empty() {
        return Ok(());
    }
    let mut rows = ranges.iter().cloned().flatten();
    for batch in segment.read(schema, Some(ranges))? {
        let batch = batch?;
        let numbers: Vec<u64> = rows.by_ref().take(batch.num_rows()).collect();
        take(&batch, &|at| numbers[at])?;
    }
    Ok(())
}

/// The keys of a run, in sets of limited size.
struct NewKeys<'a> {
    segments: std::slice::Iter<'a, OpenSegment>,
    open: Option<crate::datasets::segments::BatchReader>,
    empty_parents: Option<ArrayRef>,
}

impl<'a> NewKeys<'a> {
    fn new(
        segments: &'a [OpenSegment],
        empty_parents: &[String],
        schema: &SchemaRef,
    ) -> Result<Self> {
        let empty_parents = match schema.fields().first() {
            Some(field) if !empty_parents.is_empty() => {
                let text: ArrayRef = Arc::new(StringArray::from_iter_values(empty_parents));
                Some(arrow::compute::cast(&text, field.data_type()).map_err(Error::internal)?)
            }
            _ => None,
        };
        Ok(Self {
            segments: segments.iter(),
            open: None,
            empty_parents,
        })
    }

    /// The next set of about `max_keys` keys; empty at the end.
    fn next_set(&mut self, keys: &Keys, schema: &SchemaRef, max_keys: usize) -> Result<KeySet> {
        let mut set = KeySet::default();
        while let Some(empty_parents) = self.empty_parents.take() {
            // The number of these keys is bounded by the windows that were read, but they are also
            // split into sets.
            let (now, later) = (
                empty_parents.len().min(max_keys),
                empty_parents.len().saturating_sub(max_keys),
            );
            let part = empty_parents.slice(0, now);
            set.extend(
                keys.of_columns(std::slice::from_ref(&part), now)?
                    .into_iter()
                    .flatten(),
            );
            if later > 0 {
                self.empty_parents = Some(empty_parents.slice(now, later));
                return Ok(set);
            }
        }
        while set.len() < max_keys {
            if self.open.is_none() {
                let Some(segment) = self.segments.next() else {
                    break;
                };
                self.open = Some(segment.read(schema, None)?);
            }
            match self.open.as_mut().and_then(Iterator::next) {
                Some(batch) => set.extend(keys.of(&batch?)?.into_iter().flatten()),
                None => self.open = None,
            }
        }
        Ok(set)
    }
}
