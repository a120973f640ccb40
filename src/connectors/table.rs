//! Builds Arrow batches from rows, for all connectors. Declared columns come first and never
//! change; columns for undeclared fields are added at the end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder,
    RecordBatch, StringBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use super::convert::decoded;
use super::report::{Column, ColumnKind, arrow_field};
use crate::clock::Millis;

/// The maximum number of rows in a batch.
pub(super) const MAX_ROWS: usize = 8_192;
/// The approximate maximum size of a batch.
const MAX_BYTES: usize = 1 << 20;
/// The maximum number of columns for undeclared fields; further fields are stored in `_more`.
const MAX_EXTRAS: usize = 200;
/// A field with a longer name gets no column.
const MAX_NAME_BYTES: usize = 120;

/// The value of a cell before it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Cell<'a> {
    #[default]
    Null,
    /// Text, or unchanged JSON.
    Text(Cow<'a, str>),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i32),
    Timestamp(Millis),
}

/// Builds the batches of one report.
pub(super) struct TableBuilder {
    columns: &'static [Column],
    declared: Vec<ColumnBuilder>,
    extras: Vec<(String, StringBuilder)>,
    extra_at: HashMap<String, usize>,
    /// JSON objects: `more` for fields beyond the extra columns, `misfit` for values that fit no
    /// cell. Created when first needed.
    more: Option<StringBuilder>,
    misfit: Option<StringBuilder>,
    rows: usize,
    bytes: usize,
    ready: Vec<RecordBatch>,
    /// The number of misfits since the start.
    pub misfits: u64,
}

impl TableBuilder {
    pub fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            declared: columns
                .iter()
                .map(|column| ColumnBuilder::new(column.kind))
                .collect(),
            extras: Vec::new(),
            extra_at: HashMap::new(),
            more: None,
            misfit: None,
            rows: 0,
            bytes: 0,
            ready: Vec::new(),
            misfits: 0,
        }
    }

    /// Adds columns for these undeclared fields before their first value.
    pub fn add_extra_columns(&mut self, names: &[String]) {
        for name in names.iter().take(MAX_EXTRAS) {
            if self.extra_at.contains_key(name) {
                continue;
            }
            self.extra_at.insert(name.clone(), self.extras.len());
            self.extras.push((name.clone(), nulls(self.rows)));
        }
    }

    /// The undeclared fields that have a column, in column order.
    pub fn extras(&self) -> impl Iterator<Item = &str> {
        self.extras.iter().map(|(name, _)| name.as_str())
    }

    /// Writes a row to all columns: `cells` for the declared columns, `extras` for undeclared
    /// fields and `misfits` for values that fit no cell, as JSON by name. A new column is null in
    /// the rows before.
    pub fn write<N: AsRef<str>, J: AsRef<str>>(
        &mut self,
        cells: &[Cell<'_>],
        extras: &[(N, J)],
        misfits: &[(N, J)],
    ) -> Result<(), ArrowError> {
        for (builder, cell) in self.declared.iter_mut().zip(cells) {
            self.bytes += builder.push(cell);
        }
        let mut more = Vec::new();
        let mut misfits: Vec<(&str, &str)> = misfits
            .iter()
            .map(|(name, json)| (name.as_ref(), json.as_ref()))
            .collect();
        for (name, json) in extras {
            let (name, json) = (name.as_ref(), json.as_ref());
            match self.extra(name, json) {
                Some(true) => {}
                Some(false) => misfits.push((name, json)),
                None => more.push((name, json)),
            }
        }
        self.misfits += misfits.len() as u64;
        for (column, values) in [(&mut self.more, &more), (&mut self.misfit, &misfits)] {
            if values.is_empty() {
                continue;
            }
            let text = object(values);
            self.bytes += text.len();
            column
                .get_or_insert_with(|| nulls(self.rows))
                .append_value(text);
        }
        self.rows += 1;
        let rest = self
            .extras
            .iter_mut()
            .map(|(_, builder)| builder)
            .chain(&mut self.more)
            .chain(&mut self.misfit);
        for builder in rest.filter(|builder| builder.len() < self.rows) {
            builder.append_null();
        }
        if self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Stores an undeclared field in its own column. Returns whether its text is complete, or
    /// `None` if there is no room for another column.
    fn extra(&mut self, name: &str, json: &str) -> Option<bool> {
        let at = match self.extra_at.get(name) {
            Some(at) => *at,
            None => {
                let fits = !name.is_empty()
                    && name.len() <= MAX_NAME_BYTES
                    && !name.starts_with('_')
                    && self.columns.iter().all(|column| column.name != name);
                if !fits || self.extras.len() >= MAX_EXTRAS || name.chars().any(char::is_control) {
                    return None;
                }
                self.extra_at.insert(name.to_owned(), self.extras.len());
                self.extras.push((name.to_owned(), nulls(self.rows)));
                self.extras.len() - 1
            }
        };
        let builder = &mut self.extras[at].1;
        if builder.len() > self.rows {
            return None;
        }
        if json == "null" {
            builder.append_null();
            return Some(true);
        }
        let text = if json.starts_with('"') {
            decoded(json)
        } else {
            None
        };
        let (text, whole) = text.unwrap_or((Cow::Borrowed(json), true));
        self.bytes += text.len();
        builder.append_value(text);
        Some(whole)
    }

    /// Ends the current batch, so that `take_batches` returns all rows.
    pub fn flush(&mut self) -> Result<(), ArrowError> {
        if self.rows > 0 {
            let batch = self.batch()?;
            self.ready.push(batch);
        }
        Ok(())
    }

    /// The current batch with all columns, also when it has no rows.
    pub fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (Column { name, kind, .. }, builder) in self.columns.iter().zip(&mut self.declared) {
            fields.push(arrow_field(name, *kind, true));
            arrays.push(builder.finish());
        }
        for (name, builder) in &mut self.extras {
            fields.push(arrow_field(name, ColumnKind::Text, false));
            arrays.push(Arc::new(builder.finish()));
        }
        for (name, builder) in [("_more", &mut self.more), ("_misfit", &mut self.misfit)] {
            if let Some(builder) = builder {
                fields.push(arrow_field(name, ColumnKind::Json, false));
                arrays.push(Arc::new(builder.finish()));
            }
        }
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
    }

    /// Returns the full batches.
    pub fn take_batches(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.ready)
    }
}

fn nulls(rows: usize) -> StringBuilder {
    let mut builder = StringBuilder::new();
    for _ in 0..rows {
        builder.append_null();
    }
    builder
}

/// A JSON object with the unchanged values.
fn object(values: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (at, (name, json)) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(*name).to_string());
        text.push(':');
        text.push_str(json);
    }
    text.push('}');
    text
}

/// The builder of one declared column.
enum ColumnBuilder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl ColumnBuilder {
    fn new(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Text | ColumnKind::Json => ColumnBuilder::Text(StringBuilder::new()),
            ColumnKind::Integer => ColumnBuilder::Integer(Int64Builder::new()),
            ColumnKind::Number => ColumnBuilder::Number(Float64Builder::new()),
            ColumnKind::Boolean => ColumnBuilder::Boolean(BooleanBuilder::new()),
            ColumnKind::Date => ColumnBuilder::Date(Date32Builder::new()),
            ColumnKind::Timestamp => ColumnBuilder::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(kind.arrow()),
            ),
        }
    }

    /// Appends the cell, or null if it has another type. Returns its approximate size in bytes.
    fn push(&mut self, cell: &Cell<'_>) -> usize {
        match (self, cell) {
            (ColumnBuilder::Text(builder), Cell::Text(text)) => {
                builder.append_value(text);
                return text.len() + 4;
            }
            (ColumnBuilder::Integer(builder), Cell::Integer(value)) => builder.append_value(*value),
            (ColumnBuilder::Number(builder), Cell::Number(value)) => builder.append_value(*value),
            (ColumnBuilder::Boolean(builder), Cell::Boolean(value)) => builder.append_value(*value),
            (ColumnBuilder::Date(builder), Cell::Date(value)) => builder.append_value(*value),
            (ColumnBuilder::Timestamp(builder), Cell::Timestamp(millis)) => {
                builder.append_value(millis.saturating_mul(1_000))
            }
            (ColumnBuilder::Text(builder), _) => builder.append_null(),
            (ColumnBuilder::Integer(builder), _) => builder.append_null(),
            (ColumnBuilder::Number(builder), _) => builder.append_null(),
            (ColumnBuilder::Boolean(builder), _) => builder.append_null(),
            (ColumnBuilder::Date(builder), _) => builder.append_null(),
            (ColumnBuilder::Timestamp(builder), _) => builder.append_null(),
        }
        8
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::Text(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Integer(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Number(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Boolean(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Date(builder) => Arc::new(builder.finish()),
            ColumnBuilder::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Concatenates the batches of a pull. The last batch has the columns of all of them.
pub(super) fn concat_batches(batches: &[RecordBatch]) -> Option<RecordBatch> {
    let schema = batches.last()?.schema();
    let columns = schema.fields().iter().map(|field| {
        let of = |batch: &RecordBatch| {
            batch
                .column_by_name(field.name())
                .cloned()
                .unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
        };
        let parts: Vec<ArrayRef> = batches.iter().map(of).collect();
        concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>()).ok()
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Option<Vec<_>>>()?).ok()
}
