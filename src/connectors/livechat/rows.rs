//! Rows of one report into Arrow batches. Declared columns come first and never change; what else comes is kept at the end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use serde_json::value::RawValue;

use super::derived;
use super::values::{Cell, Take};
use super::walk::{Fields, Head, Node, Row};
use crate::clock::Millis;
use crate::connectors::report::{Column, ColumnKind, From, PeriodRows, RecordRows, Report, Shape, arrow_field};

/// A batch holds at most this many rows,
pub(super) const MOST_ROWS: usize = 8_192;
/// or about this many bytes.
const MOST_BYTES: usize = 2 << 20;
/// Columns for fields that are not declared; further ones share `_more`.
const MOST_EXTRAS: usize = 200;
/// A longer name is no column's name.
const LONGEST_NAME: usize = 120;

/// Builds the rows of one report.
pub(super) struct Rows {
    report: &'static Report,
    node: Node,
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
    /// What the call was made for, and when the vendor answered.
    choice: Option<String>,
    read_at: Millis,
}

impl Rows {
    pub fn new(report: &'static Report) -> Self {
        Self {
            report,
            node: Node::new(report.columns),
            declared: report.columns.iter().map(|column| Builder::new(column.kind)).collect(),
            extras: Vec::new(),
            extra_at: HashMap::new(),
            more: None,
            misfit: None,
            rows: 0,
            bytes: 0,
            ready: Vec::new(),
            misfits: 0,
            choice: None,
            read_at: 0,
        }
    }

    /// Gives these fields their columns before they come.
    pub fn expect(&mut self, names: &[String]) {
        for name in names.iter().take(MOST_EXTRAS) {
            self.extra_at.insert(name.clone(), self.extras.len());
            self.extras.push((name.clone(), nulls(self.rows)));
        }
    }

    /// What follows comes from a call that was made for `choice` and answered at `read_at`.
    pub fn call(&mut self, choice: Option<&str>, read_at: Millis) {
        self.choice = choice.map(str::to_owned);
        self.read_at = read_at;
    }

    /// An empty row to walk records of one page into.
    pub fn scratch<'a>(&self) -> Row<'a> {
        Row::new(self.report.columns.len())
    }

    /// One record of a list or an archive: one row, or one for each of its items.
    pub fn record<'a>(&mut self, json: &'a str, row: &mut Row<'a>) -> Result<(), ArrowError> {
        match self.report.shape {
            Shape::Archive { rows: RecordRows::Items { list, start }, .. } | Shape::List { rows: RecordRows::Items { list, start }, .. } => {
                self.items(json, list, start, row)
            }
            shape => {
                row.clear();
                self.node.walk(json, row);
                self.of_call(row);
                if shape == Shape::Single {
                    derived::flatten(row);
                }
                self.write(row)
            }
        }
    }

    fn items<'a>(&mut self, json: &'a str, list: &'static str, start: &'static str, row: &mut Row<'a>) -> Result<(), ArrowError> {
        row.clear();
        let Some(head) = Head::read(json, "id", start, list) else {
            row.misfits.push((Cow::Borrowed("_record"), json));
            return self.write(row);
        };
        let Some(items) = head.list else { return Ok(()) };
        let Ok(items) = serde_json::from_str::<Vec<&'a RawValue>>(items) else {
            self.parent(&head, 1, row);
            row.misfits.push((Cow::Borrowed(list), items));
            return self.write(row);
        };
        for (at, item) in items.into_iter().enumerate() {
            row.clear();
            if !self.whole(From::Item, Take::Verbatim, item.get(), row) {
                self.node.walk(item.get(), row);
            }
            self.parent(&head, at + 1, row);
            self.write(row)?;
        }
        Ok(())
    }

    /// Fills the columns that come from the item's record.
    fn parent<'a>(&self, head: &Head<'a>, position: usize, row: &mut Row<'a>) {
        for (at, column) in self.report.columns.iter().enumerate() {
            let (json, take) = match column.from {
                From::ParentId => (head.id, Take::As(column.kind)),
                From::ParentStart => (head.start, Take::Epoch),
                From::Position => {
                    row.cells[at] = Cell::Integer(i64::try_from(position).unwrap_or(i64::MAX));
                    continue;
                }
                _ => continue,
            };
            let Some(json) = json else { continue };
            match read(take, json) {
                Some(cell) => row.cells[at] = cell,
                None => row.misfits.push((Cow::Borrowed(column.name), json)),
            }
        }
    }

    /// Fills the columns that come from the call rather than from its answer.
    fn of_call(&self, row: &mut Row<'_>) {
        for (at, column) in self.report.columns.iter().enumerate() {
            match (column.from, &self.choice) {
                (From::ReadAt, _) => row.cells[at] = Cell::Timestamp(self.read_at),
                (From::Choice | From::PathOrChoice, Some(choice)) if row.cells[at] == Cell::Null => row.cells[at] = derived::choice(choice, column.kind),
                _ => {}
            }
        }
    }

    /// Puts a value that is no object into the column that takes such; `false` when it is one, or there is no such column.
    fn whole<'a>(&self, from: From, take: Take, json: &'a str, row: &mut Row<'a>) -> bool {
        if json.starts_with('{') {
            return false;
        }
        let Some((at, column)) = self.report.columns.iter().enumerate().find(|(_, column)| column.from == from) else { return false };
        match read(take, json) {
            Some(cell) => row.cells[at] = cell,
            None => row.misfits.push((Cow::Borrowed(column.name), json)),
        }
        true
    }

    /// One period of a period report: its name as it came, when it starts, and its value.
    pub fn period<'a>(&mut self, period: &'a str, start: Option<Millis>, json: &'a str, row: &mut Row<'a>) -> Result<(), ArrowError> {
        let rows = if let Shape::Periods(rows) = self.report.shape { rows } else { PeriodRows::Each };
        if rows == PeriodRows::Currencies
            && let Ok(Fields(fields)) = serde_json::from_str(json)
        {
            return self.currencies(period, start, fields, row);
        }
        row.clear();
        if !self.whole(From::Whole, Take::As(ColumnKind::Number), json, row) {
            self.node.walk(json, row);
        }
        if rows == PeriodRows::HoursAndMinutes {
            derived::hours_and_minutes(self.report.columns, row);
        }
        self.of_period(period, start, row);
        self.write(row)
    }

    fn of_period<'a>(&self, period: &'a str, start: Option<Millis>, row: &mut Row<'a>) {
        for (at, column) in self.report.columns.iter().enumerate() {
            match column.from {
                From::Period => row.cells[at] = Cell::Text(Cow::Borrowed(period)),
                From::PeriodStart => row.cells[at] = start.map_or(Cell::Null, Cell::Timestamp),
                From::Ratio(part, of) => row.cells[at] = derived::ratio(self.report.columns, row, part, of),
                _ => {}
            }
        }
    }

    /// A row for each currency of `value`, the period's other fields on the first one alone.
    fn currencies<'a>(&mut self, period: &'a str, start: Option<Millis>, fields: Vec<(Cow<'a, str>, &'a str)>, row: &mut Row<'a>) -> Result<(), ArrowError> {
        let (sales, own): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, json)| name == "value" && (json.starts_with('{') || *json == "[]"));
        let currencies = sales.iter().flat_map(|(_, json)| serde_json::from_str(json).map_or_else(|_| Vec::new(), |Fields(list)| list));
        let mut rows: Vec<Option<(Cow<'a, str>, &'a str)>> = currencies.map(Some).collect();
        if rows.is_empty() {
            rows.push(None);
        }
        // An empty list is how some write an object with nothing in it.
        let mut broken: Vec<_> = sales.into_iter().filter(|(_, json)| *json != "[]" && serde_json::from_str::<Fields<'a>>(json).is_err()).collect();
        for (at, currency) in rows.into_iter().enumerate() {
            row.clear();
            if at == 0 {
                self.node.fields(&own, row);
                row.misfits.append(&mut broken);
            } else {
                // What the period is, unlike what was counted in it, is told on every row.
                let dates: Vec<_> = own.iter().filter(|(name, _)| matches!(name.as_ref(), "begin" | "end")).cloned().collect();
                self.node.fields(&dates, row);
            }
            if let Some((name, json)) = currency {
                self.node.walk_more(json, row);
                if let Some(at) = self.report.columns.iter().position(|column| column.name == "currency") {
                    row.cells[at] = Cell::Text(name);
                }
            }
            self.of_period(period, start, row);
            self.write(row)?;
        }
        Ok(())
    }

    /// Writes the row to all columns. A column that was never met before is null in the rows before.
    fn write(&mut self, row: &Row<'_>) -> Result<(), ArrowError> {
        for (builder, cell) in self.declared.iter_mut().zip(&row.cells) {
            self.bytes += builder.push(cell);
        }
        let mut more = Vec::new();
        for (name, json) in &row.extras {
            if !self.extra(name, json) {
                more.push((name.clone(), *json));
            }
        }
        self.misfits += row.misfits.len() as u64;
        for (column, values) in [(&mut self.more, &more), (&mut self.misfit, &row.misfits)] {
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

    /// Keeps an undeclared field in a column of its own; `false` when there is no room for one.
    fn extra(&mut self, name: &str, json: &str) -> bool {
        let at = match self.extra_at.get(name) {
            Some(at) => *at,
            None => {
                let fits = !name.is_empty() && name.len() <= LONGEST_NAME && !name.starts_with('_') && self.report.column(name).is_none();
                if !fits || self.extras.len() >= MOST_EXTRAS || name.chars().any(char::is_control) {
                    return false;
                }
                self.extra_at.insert(name.to_owned(), self.extras.len());
                self.extras.push((name.to_owned(), nulls(self.rows)));
                self.extras.len() - 1
            }
        };
        let builder = &mut self.extras[at].1;
        if builder.len() > self.rows {
            return false;
        }
        if json == "null" {
            builder.append_null();
            return true;
        }
        let text = if json.starts_with('"') { serde_json::from_str::<String>(json).map_or(Cow::Borrowed(json), Cow::Owned) } else { Cow::Borrowed(json) };
        self.bytes += text.len();
        builder.append_value(text);
        true
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
        for (Column { name, kind, .. }, builder) in self.report.columns.iter().zip(&mut self.declared) {
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

fn read(take: Take, json: &str) -> Option<Cell<'_>> {
    use serde::de::DeserializeSeed;
    take.deserialize(&mut serde_json::Deserializer::from_str(json)).ok()
}

fn nulls(rows: usize) -> StringBuilder {
    let mut builder = StringBuilder::new();
    for _ in 0..rows {
        builder.append_null();
    }
    builder
}

/// A JSON object of values that stay as they came.
fn object(values: &[(Cow<'_, str>, &str)]) -> String {
    let mut text = String::from("{");
    for (at, (name, json)) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(name.as_ref()).to_string());
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
    Timestamp(TimestampMillisecondBuilder),
}

impl Builder {
    fn new(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Text | ColumnKind::Json => Builder::Text(StringBuilder::new()),
            ColumnKind::Integer => Builder::Integer(Int64Builder::new()),
            ColumnKind::Number => Builder::Number(Float64Builder::new()),
            ColumnKind::Boolean => Builder::Boolean(BooleanBuilder::new()),
            ColumnKind::Date => Builder::Date(Date32Builder::new()),
            ColumnKind::Timestamp => Builder::Timestamp(TimestampMillisecondBuilder::new().with_data_type(kind.arrow())),
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
            (Builder::Timestamp(builder), Cell::Timestamp(value)) => builder.append_value(*value),
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

#[cfg(test)]
mod tests;
