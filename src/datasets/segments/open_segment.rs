//! Reads a segment: its schema, its row groups, and its rows in batches.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use super::file::SegmentFile;
use super::{BATCH_ROWS, Segments};
use crate::datasets::columns;
use crate::error::Result;
use crate::ids::SegmentId;

/// The target size of a batch, uncompressed.
pub(super) const BATCH_BYTES: usize = 2 << 20;

/// A segment open for reading. Its methods block. Cheap to clone.
#[derive(Clone)]
pub struct OpenSegment {
    pub(super) id: SegmentId,
    /// The handle that opened the segment.
    pub(super) segments: Segments,
    pub(super) file: SegmentFile,
    pub(super) footer: ArrowReaderMetadata,
}

/// A row group of a segment.
#[derive(Clone, Debug)]
pub(in crate::datasets) struct RowGroup {
    pub rows: Range<u64>,
    /// The minimum and maximum of the column, for timestamps in milliseconds; `None` if the file
    /// does not contain them.
    pub bounds: Option<(i64, i64)>,
    pub has_nulls: bool,
}

/// The batches of a read operation, in order.
pub struct BatchReader {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    of: OpenSegment,
}

impl OpenSegment {
    /// Prepares for reading most rows, which uses more memory and fewer reads.
    pub fn expect_all_rows(&self) {
        self.file.expect_all_rows();
    }

    pub fn footer(&self) -> &ParquetMetaData {
        self.footer.metadata()
    }

    /// The schema of the file.
    pub fn schema(&self) -> &SchemaRef {
        self.footer.schema()
    }

    /// The row groups, with the statistics of a column of integers, timestamps or dates.
    pub(in crate::datasets) fn groups_of(&self, column: &str) -> Vec<RowGroup> {
        let mut first = 0;
        let is_micros =
            |kind: &DataType| matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, _));
        let per_milli = if self
            .schema()
            .field_with_name(column)
            .is_ok_and(|field| is_micros(field.data_type()))
        {
            1_000
        } else {
            1
        };
        let groups = self.footer().row_groups().iter().map(|group| {
            let rows = first..first + u64::try_from(group.num_rows()).unwrap_or(0);
            first = rows.end;
            let chunk = group
                .columns()
                .iter()
                .find(|chunk| matches!(chunk.column_path().parts(), [name] if name == column));
            let statistics = chunk.and_then(|chunk| chunk.statistics());
            let bounds = match statistics {
                Some(Statistics::Int64(values)) => {
                    values.min_opt().copied().zip(values.max_opt().copied())
                }
                Some(Statistics::Int32(values)) => values
                    .min_opt()
                    .zip(values.max_opt())
                    .map(|(least, most)| (i64::from(*least), i64::from(*most))),
                _ => None,
            };
            let bounds = bounds.map(|(least, most): (i64, i64)| {
                (least.div_euclid(per_milli), most.div_euclid(per_milli))
            });
            RowGroup {
                rows,
                bounds,
                has_nulls: statistics.and_then(Statistics::null_count_opt) != Some(0),
            }
        });
        groups.collect()
    }

    /// Reads `ranges` of rows (ascending and disjoint; `None` for all rows) as batches of `schema`;
    /// columns are matched by name. Only the pages that contain these rows of these columns are
    /// decoded.
    pub fn read(&self, schema: &SchemaRef, ranges: Option<&[Range<u64>]>) -> Result<BatchReader> {
        self.read_in(schema, ranges, self.batch_rows(schema))
    }

    /// Like `read`, with a given number of rows per batch.
    pub(super) fn read_in(
        &self,
        schema: &SchemaRef,
        ranges: Option<&[Range<u64>]>,
        batch_rows: usize,
    ) -> Result<BatchReader> {
        let has = self.footer.schema();
        let wanted = schema
            .fields()
            .iter()
            .filter_map(|field| has.index_of(field.name()).ok());
        let mask = ProjectionMask::roots(self.footer.parquet_schema(), wanted);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.file.clone(),
            self.footer.clone(),
        )
        .with_projection(mask)
        .with_batch_size(batch_rows);
        if let Some(ranges) = ranges {
            let (groups, selection) = self.select(ranges);
            builder = builder
                .with_row_groups(groups)
                .with_row_selection(selection);
        }
        let reader = builder
            .build()
            .map_err(|why| self.segments.decode_error(&self.id, &self.file, &why))?;
        Ok(BatchReader {
            reader,
            schema: schema.clone(),
            of: self.clone(),
        })
    }

    /// The row groups that overlap `ranges`, and their selected rows.
    fn select(&self, ranges: &[Range<u64>]) -> (Vec<usize>, RowSelection) {
        let mut groups = Vec::new();
        let mut selectors: Vec<RowSelector> = Vec::new();
        let mut first = 0_u64;
        for (index, group) in self.footer().row_groups().iter().enumerate() {
            let end = first + u64::try_from(group.num_rows()).unwrap_or(0);
            let touched = ranges.partition_point(|range| range.end <= first)
                ..ranges.partition_point(|range| range.start < end);
            if !touched.is_empty() {
                groups.push(index);
                let mut at = first;
                for range in &ranges[touched] {
                    let (from, to) = (range.start.max(first), range.end.min(end));
                    selectors.push(RowSelector::skip((from - at) as usize));
                    selectors.push(RowSelector::select((to - from) as usize));
                    at = to;
                }
                selectors.push(RowSelector::skip((end - at) as usize));
            }
            first = end;
        }
        (groups, selectors.into())
    }

    /// The number of rows of these columns per batch, so that a batch has a bounded size.
    fn batch_rows(&self, schema: &SchemaRef) -> usize {
        (BATCH_BYTES / self.row_bytes(schema)).clamp(16, BATCH_ROWS)
    }
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        let OpenSegment {
            id, segments, file, ..
        } = &self.of;
        segments.count_io();
        Some(
            batch
                .map_err(|why| segments.decode_error(id, file, &why))
                .and_then(|batch| columns::conform(&batch, &self.schema)),
        )
    }
}
