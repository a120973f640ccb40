//! Builds Arrow batches from the records of one report.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use serde_json::value::RawValue;

use super::derived;
use super::field_tree::{FieldTree, RowBuffer};
use super::raw_fields::{RawFields, RecordHead, id_text};
use super::values::{Cell, Converter};
use crate::clock::Millis;
use crate::connectors::convert::Converted;
use crate::connectors::report::{Column, ColumnSource, PeriodRows, RecordRows, Report, Shape};
use crate::connectors::table::TableBuilder;

/// The row builder of one report.
pub(super) struct JsonRows {
    report: &'static Report,
    tree: FieldTree,
    table: TableBuilder,
    /// Ids of records without rows, since they were last taken.
    pub empty_parents: Vec<String>,
    /// The choice for which the call was made, and the time of the answer.
    choice: Option<String>,
    read_at: Millis,
}

impl JsonRows {
    pub fn new(report: &'static Report) -> Self {
        let (tree, table) = (
            FieldTree::new(report.columns, report.key),
            TableBuilder::new(report.columns),
        );
        Self {
            report,
            tree,
            table,
            empty_parents: Vec::new(),
            choice: None,
            read_at: 0,
        }
    }

    /// Adds columns for these undeclared fields before their first value.
    pub fn add_extra_columns(&mut self, names: &[String]) {
        self.table.add_extra_columns(names);
    }

    /// The next records are from a call for `choice` that was answered at `read_at`.
    pub fn begin_call(&mut self, choice: Option<&str>, read_at: Millis) {
        self.choice = choice.map(str::to_owned);
        self.read_at = read_at;
    }

    /// An empty row, reused for the records of one page.
    pub fn scratch<'a>(&self) -> RowBuffer<'a> {
        RowBuffer::new(self.report.columns.len())
    }

    /// Writes one record of a list or an archive: one row, or one for each of its items.
    pub fn record<'a>(&mut self, json: &'a str, row: &mut RowBuffer<'a>) -> Result<(), ArrowError> {
        match self.report.shape {
            Shape::Archive {
                rows: RecordRows::Items { list, start },
                ..
            }
            | Shape::List {
                rows: RecordRows::Items { list, start },
                ..
            } => self.items(json, list, start, row),
            shape => {
                row.clear();
                self.tree.extract(json, row);
                self.fill_call_columns(row);
                if shape == Shape::Single {
                    derived::flatten(row);
                }
                self.write(row)
            }
        }
    }

    fn items<'a>(
        &mut self,
        json: &'a str,
        list: &'static str,
        start: &'static str,
        row: &mut RowBuffer<'a>,
    ) -> Result<(), ArrowError> {
        row.clear();
        let Some(head) = RecordHead::read(json, "id", start, list) else {
            row.misfits.push((Cow::Borrowed("_record"), json));
            return self.write(row);
        };
        let Some(items) = head.list else {
            self.note_empty_parent(&head);
            return Ok(());
        };
        let Ok(items) = serde_json::from_str::<Vec<&'a RawValue>>(items) else {
            self.fill_parent_columns(&head, 1, row);
            row.misfits.push((Cow::Borrowed(list), items));
            return self.write(row);
        };
        if items.is_empty() {
            self.note_empty_parent(&head);
        }
        for (at, item) in items.into_iter().enumerate() {
            row.clear();
            if !self.fill_value(ColumnSource::Item, item.get(), row) {
                self.tree.extract(item.get(), row);
            }
            self.fill_parent_columns(&head, at + 1, row);
            self.write(row)?;
        }
        Ok(())
    }

    /// Records the id of a record without items, so that its existing rows are deleted.
    fn note_empty_parent(&mut self, head: &RecordHead<'_>) {
        if self
            .report
            .columns
            .iter()
            .any(|column| column.from == ColumnSource::ParentId)
        {
            self.empty_parents
                .extend(head.id.and_then(id_text).map(Cow::into_owned));
        }
    }

    /// Fills the columns that come from the item's record.
    fn fill_parent_columns<'a>(
        &self,
        head: &RecordHead<'a>,
        position: usize,
        row: &mut RowBuffer<'a>,
    ) {
        for (at, column) in self.report.columns.iter().enumerate() {
            let (json, converter) = match column.from {
                ColumnSource::ParentId => (head.id, Converter::of(column, self.report.key)),
                ColumnSource::ParentStart => (head.start, Converter::Epoch),
                ColumnSource::Position => {
                    row.cells[at] = Cell::Integer(i64::try_from(position).unwrap_or(i64::MAX));
                    continue;
                }
                _ => continue,
            };
            if let Some(json) = json {
                convert_into(row, at, column, converter, json);
            }
        }
    }

    /// Fills the columns that come from the call instead of its answer.
    fn fill_call_columns(&self, row: &mut RowBuffer<'_>) {
        for (at, column) in self.report.columns.iter().enumerate() {
            match (column.from, &self.choice) {
                (ColumnSource::ReadAt, _) => row.cells[at] = Cell::Timestamp(self.read_at),
                (ColumnSource::Choice | ColumnSource::PathOrChoice, Some(choice))
                    if row.cells[at] == Cell::Null =>
                {
                    row.cells[at] = derived::choice(choice, column.kind)
                }
                _ => {}
            }
        }
    }

    /// Writes a value that is no object into the column for such values; `false` if it is an object
    /// or there is no such column.
    fn fill_value<'a>(&self, from: ColumnSource, json: &'a str, row: &mut RowBuffer<'a>) -> bool {
        if json.starts_with('{') {
            return false;
        }
        let Some((at, column)) = self
            .report
            .columns
            .iter()
            .enumerate()
            .find(|(_, column)| column.from == from)
        else {
            return false;
        };
        convert_into(
            row,
            at,
            column,
            Converter::of(column, self.report.key),
            json,
        );
        true
    }

    /// Whether the value of a period has the report's shape: an object, a plain value if the report
    /// has a column for it, or empty.
    pub fn accepts_period(&self, json: &str) -> bool {
        json.starts_with('{')
            || matches!(json, "null" | "[]")
            || (self
                .report
                .columns
                .iter()
                .any(|column| column.from == ColumnSource::PeriodValue)
                && !json.starts_with('['))
    }

    /// Writes one period of a period report: its name, its start and its value.
    pub fn period<'a>(
        &mut self,
        period: &'a str,
        start: Option<Millis>,
        json: &'a str,
        row: &mut RowBuffer<'a>,
    ) -> Result<(), ArrowError> {
        let rows = if let Shape::Periods(rows) = self.report.shape {
            rows
        } else {
            PeriodRows::Each
        };
        if rows == PeriodRows::Currencies
            && let Ok(RawFields(fields)) = serde_json::from_str(json)
        {
            return self.currencies(period, start, fields, row);
        }
        row.clear();
        // The period has no data; some JSON writers encode an empty object as a list.
        let nothing = matches!(json, "null" | "[]");
        if !nothing && !self.fill_value(ColumnSource::PeriodValue, json, row) {
            self.tree.extract(json, row);
        }
        if rows == PeriodRows::HoursAndMinutes {
            derived::hours_and_minutes(self.report.columns, row);
        }
        self.fill_period_columns(period, start, row);
        self.write(row)
    }

    fn fill_period_columns<'a>(
        &self,
        period: &'a str,
        start: Option<Millis>,
        row: &mut RowBuffer<'a>,
    ) {
        for (at, column) in self.report.columns.iter().enumerate() {
            match column.from {
                ColumnSource::Period => row.cells[at] = Cell::Text(Cow::Borrowed(period)),
                ColumnSource::PeriodStart => {
                    row.cells[at] = start.map_or(Cell::Null, Cell::Timestamp)
                }
                ColumnSource::Ratio(part, of) => {
                    row.cells[at] = derived::ratio(self.report.columns, row, part, of)
                }
                _ => {}
            }
        }
    }

    /// Writes a row for each currency of `value`; the period's other fields are only in the first
    /// row.
    fn currencies<'a>(
        &mut self,
        period: &'a str,
        start: Option<Millis>,
        fields: Vec<(Cow<'a, str>, &'a str)>,
        row: &mut RowBuffer<'a>,
    ) -> Result<(), ArrowError> {
        let (sales, own): (Vec<_>, Vec<_>) = fields
            .into_iter()
            .partition(|(name, json)| name == "value" && (json.starts_with('{') || *json == "[]"));
        let currencies = sales.iter().flat_map(|(_, json)| {
            serde_json::from_str(json).map_or_else(|_| Vec::new(), |RawFields(list)| list)
        });
        let mut rows: Vec<Option<(Cow<'a, str>, &'a str)>> = currencies.map(Some).collect();
        if rows.is_empty() {
            rows.push(None);
        }
        // Some JSON writers encode an empty object as an empty list.
        let mut broken: Vec<_> = sales
            .into_iter()
            .filter(|(_, json)| {
                *json != "[]" && serde_json::from_str::<RawFields<'a>>(json).is_err()
            })
            .collect();
        for (at, currency) in rows.into_iter().enumerate() {
            row.clear();
            if at == 0 {
                self.tree.fields(&own, row);
                row.misfits.append(&mut broken);
            } else {
                // The period's dates are in every row, its counts only in the first one.
                let dates: Vec<_> = own
                    .iter()
                    .filter(|(name, _)| matches!(name.as_ref(), "begin" | "end"))
                    .cloned()
                    .collect();
                self.tree.fields(&dates, row);
            }
            if let Some((name, json)) = currency {
                self.tree.extract_more(json, row);
                if let Some(at) = self
                    .report
                    .columns
                    .iter()
                    .position(|column| column.name == "currency")
                {
                    row.cells[at] = Cell::Text(name);
                }
            }
            self.fill_period_columns(period, start, row);
            self.write(row)?;
        }
        Ok(())
    }

    fn write(&mut self, row: &RowBuffer<'_>) -> Result<(), ArrowError> {
        self.table.write(&row.cells, &row.extras, &row.misfits)
    }

    /// The number of misfits since the start.
    pub fn misfits(&self) -> u64 {
        self.table.misfits
    }

    /// Ends the current batch, so that `take_batches` returns all rows.
    pub fn flush(&mut self) -> Result<(), ArrowError> {
        self.table.flush()
    }

    /// The current batch with all columns, also when it has no rows.
    pub fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        self.table.batch()
    }

    /// Returns the full batches.
    pub fn take_batches(&mut self) -> Vec<RecordBatch> {
        self.table.take_batches()
    }
}

/// Converts a value into its cell, and stores it as a misfit if it does not fit.
fn convert_into<'a>(
    row: &mut RowBuffer<'a>,
    at: usize,
    column: &'static Column,
    converter: Converter,
    json: &'a str,
) {
    let Converted { cell, fits } = converter.convert(json);
    row.cells[at] = cell;
    if !fits {
        row.misfits.push((Cow::Borrowed(column.name), json));
    }
}

#[cfg(test)]
mod tests;
