//! Finds the first rows of a sorted version in one pass that keeps only the best rows so far.

use std::collections::BinaryHeap;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar, UInt64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp;
use arrow::compute::{SortOptions, filter};
use arrow::datatypes::UInt64Type;
use arrow::row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;

use super::super::columns::ColumnInfo;
use super::super::segments::OpenSegment;
use super::RowPlace;
use crate::error::{Error, Result};

/// The maximum total size of the sort keys in memory.
const MAX_KEY_BYTES: usize = 64 << 20;

pub(super) struct SortOrder {
    columns: Vec<ColumnInfo>,
    /// Whether the order of the first column is descending.
    descends: bool,
    converter: RowConverter,
    limit: usize,
    /// The best rows so far; the worst of them is on top of the heap.
    best: BinaryHeap<(Box<[u8]>, RowPlace)>,
    bytes: usize,
    /// The first column of the worst row, once there are enough rows; rows beyond it are skipped.
    worst: Option<Scalar<ArrayRef>>,
}

impl SortOrder {
    /// `None` without sort columns.
    pub fn new(all: &[ColumnInfo], sort: &[(String, bool)]) -> Result<Option<Self>> {
        let mut columns: Vec<ColumnInfo> = Vec::with_capacity(sort.len());
        let mut fields = Vec::with_capacity(sort.len());
        for (name, descends) in sort {
            let column = all
                .iter()
                .find(|column| &column.name == name)
                .ok_or_else(|| Error::field("sort", format!("Column {name:?} does not exist.")))?;
            if columns.iter().any(|has| &has.name == name) {
                return Err(Error::field(
                    "sort",
                    format!("Column {name:?} is listed twice."),
                ));
            }
            columns.push(column.clone());
            fields.push(SortField::new_with_options(
                column.kind.arrow(),
                SortOptions {
                    descending: *descends,
                    nulls_first: false,
                },
            ));
        }
        let Some((_, descends)) = sort.first() else {
            return Ok(None);
        };
        let converter = RowConverter::new(fields).map_err(Error::internal)?;
        Ok(Some(Self {
            columns,
            descends: *descends,
            converter,
            limit: 0,
            best: BinaryHeap::new(),
            bytes: 0,
            worst: None,
        }))
    }

    pub fn columns(&self) -> &[ColumnInfo] {
        &self.columns
    }

    /// Sets the number of rows to keep.
    pub fn set_limit(&mut self, rows: usize) {
        self.limit = rows;
    }

    /// Whether a row group can contain one of the best rows, by the statistics of the first column.
    pub fn may_improve(&self, open: &OpenSegment, group: usize) -> Result<bool> {
        let (Some(worst), Some(column)) = (&self.worst, self.columns.first()) else {
            return Ok(true);
        };
        let footer = open.footer();
        // The converter finds the column by its position, so it needs the schema of this file.
        let Ok(statistics) = StatisticsConverter::try_new(
            &column.name,
            open.schema(),
            footer.file_metadata().schema_descr(),
        ) else {
            return Ok(true);
        };
        let groups = [footer.row_group(group)];
        let edge = if self.descends {
            statistics.row_group_maxes(groups)
        } else {
            statistics.row_group_mins(groups)
        };
        let edge = edge.map_err(Error::internal)?;
        // Older segments store timestamps in milliseconds.
        let Ok(edge) = arrow::compute::cast(&edge, &column.kind.arrow()) else {
            return Ok(true);
        };
        if edge.is_null(0) {
            return Ok(true);
        }
        Ok(self.beats(&edge, worst)?.value(0))
    }

    /// Which values are at least as good as the worst kept one. Null is never.
    fn beats(&self, values: &ArrayRef, worst: &Scalar<ArrayRef>) -> Result<BooleanBuffer> {
        let beats = if self.descends {
            cmp::gt_eq(values, worst)
        } else {
            cmp::lt_eq(values, worst)
        };
        let (values, nulls) = beats.map_err(Error::internal)?.into_parts();
        Ok(match nulls {
            Some(nulls) => &values & nulls.inner(),
            None => values,
        })
    }

    /// Adds the rows of a batch, or those in `mask`. `first`: the place of the batch's first row.
    pub fn add(
        &mut self,
        batch: &RecordBatch,
        mask: Option<BooleanBuffer>,
        first: RowPlace,
    ) -> Result<()> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            arrays.push(
                batch
                    .column_by_name(&column.name)
                    .cloned()
                    .ok_or_else(|| Error::internal(format!("the batch lacks {:?}", column.name)))?,
            );
        }
        let mask = match &self.worst {
            Some(worst) => {
                let beats = self.beats(&arrays[0], worst)?;
                Some(mask.map_or(beats.clone(), |mask| &mask & &beats))
            }
            None => mask,
        };
        let mut numbers = UInt64Array::from_iter_values(0..batch.num_rows() as u64);
        if let Some(mask) = mask {
            if mask.count_set_bits() == 0 {
                return Ok(());
            }
            let mask = BooleanArray::new(mask, None);
            for array in &mut arrays {
                *array = filter(array, &mask).map_err(Error::internal)?;
            }
            numbers = arrow::array::AsArray::as_primitive::<UInt64Type>(
                &filter(&numbers, &mask).map_err(Error::internal)?,
            )
            .clone();
        }
        let keys = self
            .converter
            .convert_columns(&arrays)
            .map_err(Error::internal)?;
        let mut changed = false;
        for (key, number) in keys.iter().zip(numbers.values()) {
            let key: &[u8] = key.as_ref();
            if self.best.len() == self.limit {
                // Of rows with equal keys, the earlier one comes first.
                if self.best.peek().is_some_and(|(worst, _)| key >= &worst[..]) {
                    continue;
                }
                if let Some((gone, _)) = self.best.pop() {
                    self.bytes -= gone.len();
                }
            }
            self.bytes += key.len();
            self.best.push((key.into(), (first.0, first.1 + number)));
            changed = true;
        }
        if self.bytes > MAX_KEY_BYTES {
            return Err(Error::field(
                "sort",
                "The values of this column are too long to sort this many rows. Sort by another \
                 column, or filter first.",
            ));
        }
        if changed && self.best.len() == self.limit {
            self.worst = self.worst_value()?;
        }
        Ok(())
    }

    fn worst_value(&self) -> Result<Option<Scalar<ArrayRef>>> {
        let Some((key, _)) = self.best.peek() else {
            return Ok(None);
        };
        let parser = self.converter.parser();
        let arrays = self
            .converter
            .convert_rows([parser.parse(key)])
            .map_err(Error::internal)?;
        Ok(arrays
            .into_iter()
            .next()
            .filter(|array| array.is_valid(0))
            .map(Scalar::new))
    }

    /// The places of the best rows, in sorted order.
    pub fn into_places(self) -> Vec<RowPlace> {
        self.best
            .into_sorted_vec()
            .into_iter()
            .map(|(_, place)| place)
            .collect()
    }
}
