//! Rows into Arrow batches, whatever vendor they come from. Declared columns come first and never change; what else comes is kept at
//! the end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use super::convert::decoded;
use super::report::{Column, ColumnKind, arrow_field};
use crate::clock::Millis;

/// A batch holds at most this many rows,
pub(super) const MOST_ROWS: usize = 8_192;
/// or about this many bytes.
const MOST_BYTES: usize = 1 << 20;
/// Columns for fields that are not declared; further ones share `_more`.
const MOST_EXTRAS: usize = 200;
/// A longer name is no column's name.
const LONGEST_NAME: usize = 120;

/// What a cell holds before it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Cell<'a> {
    #[default]
    Null,
    /// Text, and JSON as it came.
    Text(Cow<'a, str>),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// Days since 1970-01-01.
    Date(i32),
    Timestamp(Millis),
}

/// Builds the batches of one report.
pub(super) struct Table {
    columns: &'static [Column],
    declared: Vec<Builder>,
    extras: Vec<(String, StringBuilder)>,
    extra_at: HashMap<String, usize>,
    /// JSON objects: fields beyond the extra columns, and values that fit no cell. Columns from when they are first needed.
    more: Option<StringBuilder>,
    misfit: Option<StringBuilder>,
    rows: usize,
    bytes: usize,
    ready: Vec<RecordBatch>,
    /// Values that did not fit, since the start.
    pub misfits: u64,
}

impl Table {
    pub fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            declared: columns.iter().map(|column| Builder::new(column.kind)).collect(),
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

    /// Gives these fields their columns before they come.
    pub fn expect(&mut self, names: &[String]) {
        for name in names.iter().take(MOST_EXTRAS) {
            if self.extra_at.contains_key(name) {
                continue;
            }
            self.extra_at.insert(name.clone(), self.extras.len());
            self.extras.push((name.clone(), nulls(self.rows)));
        }
    }

    /// The fields that no column declares and that came so far, in the order of their columns.
    pub fn extras(&self) -> impl Iterator<Item = &str> {
        self.extras.iter().map(|(name, _)| name.as_str())
    }

    /// Writes a row to all columns: a cell for each declared one, then what is not declared and what fits no cell, by name, as JSON. A column that was never met before is null in the rows before.
    pub fn write<N: AsRef<str>, J: AsRef<str>>(&mut self, cells: &[Cell<'_>], extras: &[(N, J)], misfits: &[(N, J)]) -> Result<(), ArrowError> {
        for (builder, cell) in self.declared.iter_mut().zip(cells) {
            self.bytes += builder.push(cell);
        }
        let mut more = Vec::new();
        let mut misfits: Vec<(&str, &str)> = misfits.iter().map(|(name, json)| (name.as_ref(), json.as_ref())).collect();
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
            column.get_or_insert_with(|| nulls(self.rows)).append_value(text);
        }
        self.rows += 1;
        let rest = self.extras.iter_mut().map(|(_, builder)| builder).chain(&mut self.more).chain(&mut self.misfit);
        for builder in rest.filter(|builder| builder.len() < self.rows) {
            builder.append_null();
        }
        if self.rows >= MOST_ROWS || self.bytes >= MOST_BYTES { self.flush() } else { Ok(()) }
    }

    /// Keeps an undeclared field in a column of its own. Tells whether its text is whole; none when there is no room for a column.
    fn extra(&mut self, name: &str, json: &str) -> Option<bool> {
        let at = match self.extra_at.get(name) {
            Some(at) => *at,
            None => {
                let fits = !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('_') && self.columns.iter().all(|column| column.name != name);
                if !fits || self.extras.len() >= MOST_EXTRAS || name.chars().any(char::is_control) {
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
        let text = if json.starts_with('"') { decoded(json) } else { None };
        let (text, whole) = text.unwrap_or((Cow::Borrowed(json), true));
        self.bytes += text.len();
        builder.append_value(text);
        Some(whole)
    }

    /// Ends the batch, so that everything that was given comes out of `take`.
    pub fn flush(&mut self) -> Result<(), ArrowError> {
        if self.rows > 0 {
            let batch = self.batch()?;
            self.ready.push(batch);
        }
        Ok(())
    }

    /// The batch as it stands, with all columns; also without rows.
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

    /// The batches that are full.
    pub fn take(&mut self) -> Vec<RecordBatch> {
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

/// A JSON object of values that stay as they came.
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
enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Builder {
    fn new(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Text | ColumnKind::Json => Builder::Text(StringBuilder::new()),
            ColumnKind::Integer => Builder::Integer(Int64Builder::new()),
            ColumnKind::Number => Builder::Number(Float64Builder::new()),
            ColumnKind::Boolean => Builder::Boolean(BooleanBuilder::new()),
            ColumnKind::Date => Builder::Date(Date32Builder::new()),
            ColumnKind::Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(kind.arrow())),
        }
    }

    /// Appends the cell, null unless it is of this column's type; says about how many bytes it took.
    fn push(&mut self, cell: &Cell<'_>) -> usize {
        match (self, cell) {
            (Builder::Text(builder), Cell::Text(text)) => {
                builder.append_value(text);
                return text.len() + 4;
            }
            (Builder::Integer(builder), Cell::Integer(value)) => builder.append_value(*value),
            (Builder::Number(builder), Cell::Number(value)) => builder.append_value(*value),
            (Builder::Boolean(builder), Cell::Boolean(value)) => builder.append_value(*value),
            (Builder::Date(builder), Cell::Date(value)) => builder.append_value(*value),
            (Builder::Timestamp(builder), Cell::Timestamp(millis)) => builder.append_value(millis.saturating_mul(1_000)),
            (Builder::Text(builder), _) => builder.append_null(),
            (Builder::Integer(builder), _) => builder.append_null(),
            (Builder::Number(builder), _) => builder.append_null(),
            (Builder::Boolean(builder), _) => builder.append_null(),
            (Builder::Date(builder), _) => builder.append_null(),
            (Builder::Timestamp(builder), _) => builder.append_null(),
        }
        8
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Integer(builder) => Arc::new(builder.finish()),
            Builder::Number(builder) => Arc::new(builder.finish()),
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Batches of one pull as one. The last one has the columns of all.
pub(super) fn joined(batches: &[RecordBatch]) -> Option<RecordBatch> {
    let schema = batches.last()?.schema();
    let columns = schema.fields().iter().map(|field| {
        let of = |batch: &RecordBatch| batch.column_by_name(field.name()).cloned().unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()));
        let parts: Vec<ArrayRef> = batches.iter().map(of).collect();
        concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<_>>()).ok()
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Option<Vec<_>>>()?).ok()
}
