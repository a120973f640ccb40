//! The columns that record which run pulled a row, for DataSets with rows of several runs.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Schema;

use crate::clock::Millis;
use crate::connectors::report::{ColumnKind, arrow_field};
use crate::error::{Error, Result};

/// The number of the run within its DataSet.
pub const BATCH_ID: &str = "_batch_id";
/// When the run started.
pub const BATCH_LAST_RUN: &str = "_batch_last_run";

/// The values of the two columns for all rows of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub batch_id: i64,
    pub last_run: Millis,
}

impl Stamp {
    /// Appends both columns to the batch.
    pub fn on(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut fields: Vec<_> = batch.schema_ref().fields().iter().cloned().collect();
        fields.push(Arc::new(arrow_field(BATCH_ID, ColumnKind::Integer, false)));
        fields.push(Arc::new(arrow_field(
            BATCH_LAST_RUN,
            ColumnKind::Timestamp,
            false,
        )));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(vec![self.batch_id; rows])) as ArrayRef);
        columns.push(Arc::new(
            TimestampMicrosecondArray::from(vec![self.last_run.saturating_mul(1_000); rows])
                .with_timezone("UTC"),
        ));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(Error::internal)
    }
}
