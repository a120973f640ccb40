//! Values that are computed from a record: rates, the other unit of a time, and flattened objects.

use std::borrow::Cow;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::field_tree::RowBuffer;
use super::period_start::period_start;
use super::raw_fields::RawFields;
use super::values::Cell;
use crate::connectors::Window;
use crate::connectors::report::{Column, ColumnKind};

/// Replaces objects in undeclared fields by their fields, at any depth. Empty objects stay as they
/// are, and so do objects that are keyed by day or hour, because each key would become a column.
pub(super) fn flatten(row: &mut RowBuffer<'_>) {
    let mut flat = Vec::new();
    let mut left: Vec<(Cow<'_, str>, &str)> =
        std::mem::take(&mut row.extras).into_iter().rev().collect();
    while let Some((name, json)) = left.pop() {
        match serde_json::from_str(json) {
            Ok(RawFields(fields)) if !fields.iter().all(|(name, _)| is_period(name)) => {
                left.extend(
                    fields
                        .into_iter()
                        .rev()
                        .map(|(inner, json)| (Cow::Owned(format!("{name}_{inner}")), json)),
                );
            }
            _ => flat.push((name, json)),
        }
    }
    row.extras = flat;
}

fn is_period(name: &str) -> bool {
    period_start(
        name,
        Window {
            from: Date::ZERO,
            to: Date::ZERO,
        },
        &TimeZone::UTC,
    )
    .is_some()
}

/// Converts the choice for which the call was made into a cell of this kind; null if it does not
/// fit.
pub(super) fn choice<'a>(choice: &str, kind: ColumnKind) -> Cell<'a> {
    match kind {
        ColumnKind::Integer => choice.parse().map_or(Cell::Null, Cell::Integer),
        _ => Cell::Text(Cow::Owned(choice.to_owned())),
    }
}

/// Fills both hours and minutes if the vendor sends one of them.
pub(super) fn hours_and_minutes(columns: &[Column], row: &mut RowBuffer<'_>) {
    let at = |name: &str| columns.iter().position(|column| column.name == name);
    let (Some(hours), Some(minutes)) = (at("hours"), at("minutes")) else {
        return;
    };
    match (&row.cells[hours], &row.cells[minutes]) {
        (Cell::Number(value), Cell::Null) => {
            row.cells[minutes] = Cell::Number(rounded(value * 60.0))
        }
        (Cell::Null, Cell::Number(value)) => row.cells[hours] = Cell::Number(value / 60.0),
        _ => {}
    }
}

/// Rounds to nine decimals: 0.55 hours are 33 minutes, not 33.00000000000001.
fn rounded(number: f64) -> f64 {
    const NINE: f64 = 1e9;
    let rounded = (number * NINE).round() / NINE;
    if rounded.is_finite() { rounded } else { number }
}

/// The quotient of two cells.
pub(super) fn ratio<'a>(columns: &[Column], row: &RowBuffer<'_>, part: &str, of: &str) -> Cell<'a> {
    let value = |name: &str| {
        let at = columns.iter().position(|column| column.name == name)?;
        match row.cells[at] {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a rate is not exact beyond 2^53 anyway"
            )]
            Cell::Integer(value) => Some(value as f64),
            Cell::Number(value) => Some(value),
            _ => None,
        }
    };
    match (value(part), value(of)) {
        (Some(part), Some(of)) if of != 0.0 => Cell::Number(part / of),
        _ => Cell::Null,
    }
}
