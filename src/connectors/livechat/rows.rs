//! Rows of one report into Arrow batches. Declared columns come first and never change; what else comes is kept at the end.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use serde_json::value::RawValue;

use super::derived;
use super::values::{Cell, Take};
use super::walk::{Fields, Head, Node, Row, id_text};
use crate::clock::Millis;
use crate::connectors::convert::Converted;
use crate::connectors::report::{Column, From, PeriodRows, RecordRows, Report, Shape};
use crate::connectors::table::Table;

/// Builds the rows of one report.
pub(super) struct Rows {
    report: &'static Report,
    node: Node,
    table: Table,
    /// Records that became no row, by their ids, since they were last taken.
    pub childless: Vec<String>,
    /// What the call was made for, and when the vendor answered.
    choice: Option<String>,
    read_at: Millis,
}

impl Rows {
    pub fn new(report: &'static Report) -> Self {
        let (node, table) = (Node::new(report.columns, report.key), Table::new(report.columns));
        Self { report, node, table, childless: Vec::new(), choice: None, read_at: 0 }
    }

    /// Gives these fields their columns before they come.
    pub fn expect(&mut self, names: &[String]) {
        self.table.expect(names);
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
        let Some(items) = head.list else {
            self.childless(&head);
            return Ok(());
        };
        let Ok(items) = serde_json::from_str::<Vec<&'a RawValue>>(items) else {
            self.parent(&head, 1, row);
            row.misfits.push((Cow::Borrowed(list), items));
            return self.write(row);
        };
        if items.is_empty() {
            self.childless(&head);
        }
        for (at, item) in items.into_iter().enumerate() {
            row.clear();
            if !self.whole(From::Item, item.get(), row) {
                self.node.walk(item.get(), row);
            }
            self.parent(&head, at + 1, row);
            self.write(row)?;
        }
        Ok(())
    }

    /// Notes a record that has no items, so that rows of it from before are known to be gone.
    fn childless(&mut self, head: &Head<'_>) {
        if self.report.columns.iter().any(|column| column.from == From::ParentId) {
            self.childless.extend(head.id.and_then(id_text).map(Cow::into_owned));
        }
    }

    /// Fills the columns that come from the item's record.
    fn parent<'a>(&self, head: &Head<'a>, position: usize, row: &mut Row<'a>) {
        for (at, column) in self.report.columns.iter().enumerate() {
            let (json, take) = match column.from {
                From::ParentId => (head.id, Take::of(column, self.report.key)),
                From::ParentStart => (head.start, Take::Epoch),
                From::Position => {
                    row.cells[at] = Cell::Integer(i64::try_from(position).unwrap_or(i64::MAX));
                    continue;
                }
                _ => continue,
            };
            if let Some(json) = json {
                put(row, at, column, take, json);
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
    fn whole<'a>(&self, from: From, json: &'a str, row: &mut Row<'a>) -> bool {
        if json.starts_with('{') {
            return false;
        }
        let Some((at, column)) = self.report.columns.iter().enumerate().find(|(_, column)| column.from == from) else { return false };
        put(row, at, column, Take::of(column, self.report.key), json);
        true
    }

    /// Whether the value of a period is of the report's shape: an object, a value of a report that takes such, or nothing.
    pub fn takes_period(&self, json: &str) -> bool {
        json.starts_with('{')
            || matches!(json, "null" | "[]")
            || (self.report.columns.iter().any(|column| column.from == From::Whole) && !json.starts_with('['))
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
        // Nothing is told of the period, also where an empty list stands for an object with nothing in it.
        let nothing = matches!(json, "null" | "[]");
        if !nothing && !self.whole(From::Whole, json, row) {
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

    fn write(&mut self, row: &Row<'_>) -> Result<(), ArrowError> {
        self.table.write(&row.cells, &row.extras, &row.misfits)
    }

    /// Values that did not fit, since the start.
    pub fn misfits(&self) -> u64 {
        self.table.misfits
    }

    /// Ends the batch, so that everything that was given comes out of `take`.
    pub fn flush(&mut self) -> Result<(), ArrowError> {
        self.table.flush()
    }

    /// The batch as it stands, with all columns; also without rows.
    pub fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        self.table.batch()
    }

    /// The batches that are full.
    pub fn take(&mut self) -> Vec<RecordBatch> {
        self.table.take()
    }
}

/// Puts a value into a cell, and what does not fit beside it.
fn put<'a>(row: &mut Row<'a>, at: usize, column: &'static Column, take: Take, json: &'a str) {
    let Converted { cell, fits } = take.convert(json);
    row.cells[at] = cell;
    if !fits {
        row.misfits.push((Cow::Borrowed(column.name), json));
    }
}

#[cfg(test)]
mod tests;
