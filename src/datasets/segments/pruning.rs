//! Selects the rows of a segment to read by its footer: row groups, their sizes, and the statistics
//! of a timestamp column.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::statistics::Statistics;

use super::open_segment::BATCH_BYTES;
use super::{BATCH_ROWS, BatchReader, OpenSegment};
use crate::clock::Millis;
use crate::connectors::report::ColumnKind;
use crate::error::Result;

/// The row groups of a segment that matter for a period.
#[derive(Debug, Default)]
pub struct PrunedGroups {
    /// The rows of the groups that may contain a timestamp of the period.
    pub groups: Vec<Range<u64>>,
    /// The number of empty cells of the column in all groups, if the statistics contain it.
    pub empty: u64,
}

impl OpenSegment {
    /// The rows of each row group.
    pub fn groups(&self) -> Vec<Range<u64>> {
        let mut first = 0;
        let of = |rows: i64| {
            let from = first;
            first += u64::try_from(rows).unwrap_or(0);
            from..first
        };
        self.footer()
            .row_groups()
            .iter()
            .map(|group| group.num_rows())
            .map(of)
            .collect()
    }

    /// The number of filled cells of each column, by the statistics.
    pub fn filled_cells(&self) -> BTreeMap<String, u64> {
        let mut filled = BTreeMap::new();
        for group in self.footer().row_groups() {
            for chunk in group.columns() {
                let empty = chunk
                    .statistics()
                    .and_then(Statistics::null_count_opt)
                    .unwrap_or(0);
                let cells = u64::try_from(chunk.num_values())
                    .unwrap_or(0)
                    .saturating_sub(empty);
                *filled.entry(chunk.column_path().string()).or_default() += cells;
            }
        }
        filled
    }

    /// The row groups that may have rows within `period` (its end excluded), by the statistics of a
    /// timestamp column. A segment without that column has only empty cells there.
    pub fn groups_within(&self, column: &str, period: &Range<Millis>) -> PrunedGroups {
        let all = self.groups();
        let Ok(field) = self.schema().field_with_name(column) else {
            return PrunedGroups {
                groups: Vec::new(),
                empty: all.last().map_or(0, |group| group.end),
            };
        };
        let converter = StatisticsConverter::try_new(
            column,
            self.schema(),
            self.footer().file_metadata().schema_descr(),
        )
        .ok();
        let is_moment = matches!(field.data_type(), DataType::Timestamp(..));
        // Without statistics, every group may have rows of the period.
        let Some(converter) = converter.filter(|_| is_moment) else {
            return PrunedGroups {
                groups: all,
                empty: 0,
            };
        };
        let of = self.footer().row_groups();
        let (Ok(first), Ok(last), Ok(empty)) = (
            converter.row_group_mins(of),
            converter.row_group_maxes(of),
            converter.row_group_null_counts(of),
        ) else {
            return PrunedGroups {
                groups: all,
                empty: 0,
            };
        };
        // Older segments store timestamps in milliseconds.
        let micros =
            |bounds: &dyn Array| arrow::compute::cast(bounds, &ColumnKind::Timestamp.arrow()).ok();
        let (Some(first), Some(last)) = (micros(&first), micros(&last)) else {
            return PrunedGroups {
                groups: all,
                empty: 0,
            };
        };
        let (first, last) = (
            first.as_primitive_opt::<TimestampMicrosecondType>(),
            last.as_primitive_opt::<TimestampMicrosecondType>(),
        );
        let period = period.start.saturating_mul(1_000)..period.end.saturating_mul(1_000);
        let may_hold = |index: usize| match (first, last) {
            (Some(first), Some(last)) if first.is_valid(index) && last.is_valid(index) => {
                first.value(index) < period.end && last.value(index) >= period.start
            }
            // A group of only empty cells has neither minimum nor maximum.
            _ => {
                !(empty.is_valid(index) && empty.value(index) == all[index].end - all[index].start)
            }
        };
        let groups = (0..all.len())
            .filter(|index| may_hold(*index))
            .map(|index| all[index].clone())
            .collect();
        PrunedGroups {
            groups,
            empty: empty.iter().flatten().sum(),
        }
    }

    /// Reads these rows (ascending) like `read`, in batches of bounded size even if a single row is
    /// large.
    pub fn read_rows(&self, schema: &SchemaRef, rows: &[u64]) -> Result<BatchReader> {
        let batch_rows = (BATCH_BYTES / self.row_bytes(schema))
            .clamp(1, BATCH_ROWS)
            .min(rows.len().max(1));
        self.read_in(schema, Some(&ranges(rows)), batch_rows)
    }

    /// The approximate size of a row of these columns, in bytes, in the row group with the largest
    /// rows.
    pub fn row_bytes(&self, schema: &SchemaRef) -> usize {
        let mut widest = 1_u64;
        for group in self.footer().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(1).max(1);
            let bytes: i64 = group
                .columns()
                .iter()
                .filter(|chunk| {
                    schema
                        .index_of(chunk.column_path().string().as_str())
                        .is_ok()
                })
                .map(|chunk| {
                    chunk
                        .unencoded_byte_array_data_bytes()
                        .unwrap_or(0)
                        .max(chunk.uncompressed_size())
                })
                .sum();
            widest = widest.max(u64::try_from(bytes).unwrap_or(0) / rows);
        }
        usize::try_from(widest).unwrap_or(usize::MAX)
    }
}

/// Converts ascending row numbers to ranges.
pub fn ranges(rows: &[u64]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == *row => last.end = row + 1,
            _ => ranges.push(*row..row + 1),
        }
    }
    ranges
}
