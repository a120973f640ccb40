//! Columns: their Arrow types, and the rules for changed columns. Columns are only added: a column
//! that the vendor no longer sends stays, with empty cells. Rows are read by column name.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use super::update_mode::{BATCH_ID, BATCH_LAST_RUN};
use crate::connectors::report::{ColumnKind, Report, arrow_field};
use crate::error::{Error, Result};

/// The column that holds values of the wrong type, as JSON.
pub const MISFIT: &str = "_misfit";
/// The column that holds, as JSON, the undeclared fields beyond the first `MAX_EXTRA_COLUMNS`.
pub const MORE: &str = "_more";
/// The columns that always come last, in this order.
const TAIL: [&str; 4] = [BATCH_ID, BATCH_LAST_RUN, MISFIT, MORE];
/// A version has at most this many columns that its report does not declare.
pub const MAX_EXTRA_COLUMNS: usize = 200;

/// A column of a segment or of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnInfo {
    pub name: String,
    pub kind: ColumnKind,
    /// Whether the report declares it. A declared column never changes its kind.
    pub declared: bool,
}

impl ColumnInfo {
    /// The Arrow field of this column: nullable, with `kind` and `declared` in its metadata.
    pub fn field(&self) -> Field {
        arrow_field(&self.name, self.kind, self.declared)
    }

    fn of(field: &Field) -> Result<Self> {
        let word = field.metadata().get("kind").map(String::as_str);
        let kind = match (word, field.data_type()) {
            (Some("json"), DataType::Utf8) => ColumnKind::Json,
            (_, DataType::Utf8) => ColumnKind::Text,
            (_, DataType::Int64) => ColumnKind::Integer,
            (_, DataType::Float64) => ColumnKind::Number,
            (_, DataType::Boolean) => ColumnKind::Boolean,
            (_, DataType::Date32) => ColumnKind::Date,
            // Older segments store timestamps in milliseconds.
            (_, DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond, Some(_))) => {
                ColumnKind::Timestamp
            }
            (_, other) => {
                return Err(Error::internal(format!(
                    "column {:?} has the type {other}, which no column kind has",
                    field.name()
                )));
            }
        };
        let declared = field
            .metadata()
            .get("declared")
            .is_some_and(|word| word == "true");
        Ok(Self {
            name: field.name().clone(),
            kind,
            declared,
        })
    }

    /// Whether the column is one of `TAIL`.
    fn is_tail(&self) -> bool {
        TAIL.contains(&self.name.as_str())
    }
}

/// The columns that a report declares, in its order.
pub fn columns_of(report: &Report) -> Vec<ColumnInfo> {
    report
        .columns
        .iter()
        .map(|column| ColumnInfo {
            name: column.name.to_owned(),
            kind: column.kind,
            declared: true,
        })
        .collect()
}

/// The columns of a batch or file.
pub fn from_schema(schema: &Schema) -> Result<Vec<ColumnInfo>> {
    schema
        .fields()
        .iter()
        .map(|field| ColumnInfo::of(field))
        .collect()
}

/// The Arrow schema of these columns.
pub fn to_schema(columns: &[ColumnInfo]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(ColumnInfo::field).collect::<Vec<_>>(),
    ))
}

/// The union of several lists: declared columns first, then the others, both in order of first
/// appearance, then those of `TAIL`. If two lists disagree about a column, the first list wins.
pub fn union<'a>(lists: impl IntoIterator<Item = &'a [ColumnInfo]>) -> Vec<ColumnInfo> {
    let mut all: Vec<ColumnInfo> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for column in lists.into_iter().flatten() {
        if seen.insert(column.name.as_str()) {
            all.push(column.clone());
        }
    }
    let place = |column: &ColumnInfo| match TAIL.iter().position(|name| column.name == *name) {
        Some(at) => 2 + at,
        None if column.declared => 0,
        None => 1,
    };
    all.sort_by_key(place);
    all
}

/// The columns of a new version: the declared ones, those of the pulled rows, and those of the
/// previous version, which stay with empty cells. Columns of `TAIL` are only included if the pulled
/// rows have them. Above `MAX_EXTRA_COLUMNS`, columns that the vendor no longer sends are dropped
/// first.
pub fn next_version(
    declared: &[ColumnInfo],
    pulled: &[ColumnInfo],
    before: &[ColumnInfo],
) -> Vec<ColumnInfo> {
    let mut columns = union([declared, pulled]);
    let room = MAX_EXTRA_COLUMNS.saturating_sub(
        columns
            .iter()
            .filter(|column| !column.declared && !column.is_tail())
            .count(),
    );
    let stays: Vec<ColumnInfo> = before
        .iter()
        .filter(|old| !old.is_tail() && !columns.iter().any(|column| column.name == old.name))
        .take(room)
        .map(|old| ColumnInfo {
            declared: false,
            ..old.clone()
        })
        .collect();
    columns = union([columns.as_slice(), stays.as_slice()]);
    columns
}

/// Returns `batch` with exactly the columns of `schema`, matched by name. A column that the batch
/// lacks is null; one that the schema lacks is dropped; one of another type is cast, and a value
/// that cannot be cast becomes null.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let rows = batch.num_rows();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        arrays.push(match batch.column_by_name(field.name()) {
            Some(array) if array.data_type() == field.data_type() => array.clone(),
            Some(array) => {
                arrow::compute::cast(array, field.data_type()).map_err(Error::internal)?
            }
            None => new_null_array(field.data_type(), rows),
        });
    }
    RecordBatch::try_new_with_options(
        schema.clone(),
        arrays,
        &RecordBatchOptions::new().with_row_count(Some(rows)),
    )
    .map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, Int64Array, StringArray};

    fn column(name: &str, kind: ColumnKind, declared: bool) -> ColumnInfo {
        ColumnInfo {
            name: name.to_owned(),
            kind,
            declared,
        }
    }

    fn names(columns: &[ColumnInfo]) -> Vec<&str> {
        columns.iter().map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn every_kind_survives_the_way_through_a_schema() {
        use ColumnKind::*;
        let columns: Vec<_> = [Text, Integer, Number, Boolean, Date, Timestamp, Json]
            .into_iter()
            .enumerate()
            .map(|(at, kind)| column(&format!("c{at}"), kind, at % 2 == 0))
            .collect();
        assert_eq!(from_schema(&to_schema(&columns)).unwrap(), columns);
        let text = serde_json::to_string(&columns).unwrap();
        assert_eq!(
            serde_json::from_str::<Vec<ColumnInfo>>(&text).unwrap(),
            columns
        );
    }

    #[test]
    fn a_union_has_declared_columns_first_and_what_did_not_fit_last() {
        let one = [
            column("id", ColumnKind::Text, true),
            column("mood", ColumnKind::Json, false),
            column(MISFIT, ColumnKind::Json, false),
        ];
        let two = [
            column("id", ColumnKind::Text, true),
            column("rate", ColumnKind::Number, true),
            column(MORE, ColumnKind::Json, false),
        ];
        let three = [column("age", ColumnKind::Json, false)];
        assert_eq!(
            names(&union([&one[..], &two[..], &three[..]])),
            ["id", "rate", "mood", "age", MISFIT, MORE]
        );
    }

    #[test]
    fn a_column_that_went_away_stays_and_the_oldest_go_beyond_the_most() {
        let declared = [column("id", ColumnKind::Text, true)];
        let before = [
            column("id", ColumnKind::Text, true),
            column("retired", ColumnKind::Integer, true),
            column("mood", ColumnKind::Json, false),
            column(MISFIT, ColumnKind::Json, false),
        ];
        let pulled = [
            column("id", ColumnKind::Text, true),
            column("new", ColumnKind::Json, false),
        ];
        let next = next_version(&declared, &pulled, &before);
        assert_eq!(names(&next), ["id", "new", "retired", "mood"]);
        assert!(!next[2].declared);

        let many: Vec<_> = (0..MAX_EXTRA_COLUMNS - 1)
            .map(|n| column(&format!("x{n}"), ColumnKind::Json, false))
            .collect();
        let next = next_version(&declared, &many, &before);
        assert_eq!(next.len(), 1 + MAX_EXTRA_COLUMNS);
        assert_eq!(next.last().unwrap().name, "retired");
    }

    #[test]
    fn columns_are_found_by_name_and_missing_is_null() {
        let batch = RecordBatch::try_new(
            to_schema(&[
                column("b", ColumnKind::Integer, true),
                column("gone", ColumnKind::Text, true),
            ]),
            vec![
                Arc::new(Int64Array::from(vec![1, 2])),
                Arc::new(StringArray::from(vec!["x", "y"])),
            ],
        )
        .unwrap();
        let wide = to_schema(&[
            column("a", ColumnKind::Text, true),
            column("b", ColumnKind::Integer, true),
        ]);
        let conformed = conform(&batch, &wide).unwrap();
        assert_eq!(conformed.column(0).null_count(), 2);
        assert_eq!(conformed.column(1).len(), 2);
        let none = conform(&batch, &to_schema(&[])).unwrap();
        assert_eq!(none.num_rows(), 2);
    }
}
