//! The declared columns of a report: name, type, meaning and the source of their values.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// A declared column of a report. Declared columns never change type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The full path of a nested value, joined by `_`.
    pub name: &'static str,
    pub kind: ColumnKind,
    pub meaning: &'static str,
    pub from: ColumnSource,
}

/// The type of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    Text,
    /// 64 bits, signed.
    Integer,
    /// A 64-bit float, written in its shortest exact form.
    Number,
    Boolean,
    /// A day without a time zone.
    Date,
    /// A timestamp, milliseconds in UTC.
    Timestamp,
    /// JSON text, unchanged.
    Json,
}

impl ColumnKind {
    pub fn word(self) -> &'static str {
        match self {
            ColumnKind::Text => "text",
            ColumnKind::Integer => "integer",
            ColumnKind::Number => "number",
            ColumnKind::Boolean => "boolean",
            ColumnKind::Date => "date",
            ColumnKind::Timestamp => "timestamp",
            ColumnKind::Json => "json",
        }
    }

    /// The Arrow type of the values in memory and on disk.
    pub fn arrow(self) -> DataType {
        match self {
            ColumnKind::Text | ColumnKind::Json => DataType::Utf8,
            ColumnKind::Integer => DataType::Int64,
            ColumnKind::Number => DataType::Float64,
            ColumnKind::Boolean => DataType::Boolean,
            ColumnKind::Date => DataType::Date32,
            ColumnKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// The Arrow field of a column in every batch. Its metadata contains the kind and whether the
/// report declares the column.
pub fn arrow_field(name: &str, kind: ColumnKind, declared: bool) -> Field {
    let metadata = HashMap::from([
        ("kind".to_owned(), kind.word().to_owned()),
        ("declared".to_owned(), declared.to_string()),
    ]);
    Field::new(name, kind.arrow(), true).with_metadata(metadata)
}

/// The source of a column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// The value whose path, joined by `_`, is the column's name: `visitor_name` is both
    /// `{"visitor": {"name"}}` and the older `{"visitor_name"}`.
    Path,
    /// Like `Path`, with seconds since 1970 that become a timestamp.
    EpochSeconds,
    /// Like `Path`, with a text, or a number in its original digits.
    Verbatim,
    /// Like `Path`, with a number that may be written as a text.
    Decimal,
    /// Like `Verbatim`, or the list item itself if it is no object.
    Item,
    /// The value of the period itself, if it is no object.
    PeriodValue,
    /// The menu's choice for which the call was made.
    Choice,
    /// Like `Path`, or the choice for which the call was made if the vendor does not repeat it.
    PathOrChoice,
    /// The quotient of two values of this row; null if either is missing or the second one is 0.
    Ratio(&'static str, &'static str),
    /// The time of the vendor's answer.
    ReadAt,
    /// The number of items in the list at this path.
    Count(&'static str),
    /// The field `.1` of each item of the list at `.0`, joined by ", ".
    Joined(&'static str, &'static str),
    /// The record's id, in a row made of one of its items.
    ParentId,
    /// The record's start, in a row made of one of its items.
    ParentStart,
    /// The position of this row's item in the record's list, from 1.
    Position,
    /// The period in the vendor's spelling.
    Period,
    /// The start of the period.
    PeriodStart,
}
