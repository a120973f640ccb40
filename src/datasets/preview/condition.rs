//! Selects rows: filters on columns, and a search in all text.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
    Scalar, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::kernels::cmp;
use arrow::error::ArrowError;
use arrow::util::display::ArrayFormatter;
use serde::{Deserialize, Serialize};

use super::super::columns::ColumnInfo;
use super::super::export::cell_text::{format_options, printable};
use crate::connectors::report::ColumnKind;
use crate::error::{Error, Result};

/// A filter on one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub column: String,
    pub op: Op,
    /// The value to compare with, in the format of the CSV. For a timestamp it may also be a day,
    /// which means midnight UTC. Ignored by `IsNull` and `IsNotNull`.
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Eq,
    /// Null also matches.
    Ne,
    /// The text of the value in the CSV contains this text, ignoring case.
    Contains,
    Lt,
    Le,
    Gt,
    Ge,
    IsNull,
    IsNotNull,
}

impl Op {
    pub const ALL: [Op; 9] = [
        Op::Eq,
        Op::Ne,
        Op::Contains,
        Op::Lt,
        Op::Le,
        Op::Gt,
        Op::Ge,
        Op::IsNull,
        Op::IsNotNull,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Op::Eq => "eq",
            Op::Ne => "ne",
            Op::Contains => "contains",
            Op::Lt => "lt",
            Op::Le => "le",
            Op::Gt => "gt",
            Op::Ge => "ge",
            Op::IsNull => "is_null",
            Op::IsNotNull => "is_not_null",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.word() == word)
    }
}

/// Filters and search, prepared for batches.
pub(super) struct Conditions {
    columns: Vec<ColumnInfo>,
    filters: Vec<(String, FilterTest)>,
    /// The search text in lower case, and the columns to search.
    search: Option<(Needle, Vec<String>)>,
}

enum FilterTest {
    Compare(Op, Scalar<ArrayRef>),
    Contains(Needle),
    Null(bool),
}

struct Needle(Scalar<StringArray>);

impl Conditions {
    pub fn new(all: &[ColumnInfo], filters: &[Filter], search: Option<&str>) -> Result<Self> {
        let mut columns: Vec<ColumnInfo> = Vec::new();
        let mut need = |column: &ColumnInfo| {
            if !columns.iter().any(|has| has.name == column.name) {
                columns.push(column.clone());
            }
        };
        let mut tests = Vec::with_capacity(filters.len());
        for filter in filters {
            let column = all.iter().find(|column| column.name == filter.column);
            let column = column.ok_or_else(|| {
                Error::field(
                    "filter",
                    format!("Column {:?} does not exist.", filter.column),
                )
            })?;
            need(column);
            tests.push((column.name.clone(), test(column, filter)?));
        }
        let search = search.map(|text| {
            let texts: Vec<_> = all
                .iter()
                .filter(|column| matches!(column.kind, ColumnKind::Text | ColumnKind::Json))
                .collect();
            texts.iter().for_each(|column| need(column));
            (
                Needle::new(text),
                texts.iter().map(|column| column.name.clone()).collect(),
            )
        });
        Ok(Self {
            columns,
            filters: tests,
            search,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty() && self.search.is_none()
    }

    /// The columns that must be read.
    pub fn columns(&self) -> &[ColumnInfo] {
        &self.columns
    }

    /// Which rows of the batch match.
    pub fn matches(&self, batch: &RecordBatch) -> Result<BooleanBuffer> {
        let mut holds = BooleanBuffer::new_set(batch.num_rows());
        for (name, test) in &self.filters {
            // Skips the other tests when no row is left.
            if holds.count_set_bits() == 0 {
                return Ok(holds);
            }
            holds = &holds
                & &test
                    .matches(column(batch, name)?)
                    .map_err(Error::internal)?;
        }
        if let Some((needle, names)) = &self.search {
            let mut found = BooleanBuffer::new_unset(batch.num_rows());
            for name in names {
                found = &found
                    | &needle
                        .is_in(column(batch, name)?)
                        .map_err(Error::internal)?;
            }
            holds = &holds & &found;
        }
        Ok(holds)
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| Error::internal(format!("the batch lacks {name:?}")))
}

fn test(column: &ColumnInfo, filter: &Filter) -> Result<FilterTest> {
    Ok(match filter.op {
        Op::IsNull => FilterTest::Null(true),
        Op::IsNotNull => FilterTest::Null(false),
        Op::Contains => FilterTest::Contains(Needle::new(&filter.value)),
        op => FilterTest::Compare(op, scalar(column, &filter.value)?),
    })
}

/// Parses `text` as a value of the column's type.
fn scalar(column: &ColumnInfo, text: &str) -> Result<Scalar<ArrayRef>> {
    let wrong = |what: &str| {
        Error::field(
            "filter",
            format!("Column {:?} requires {what}, not {:?}.", column.name, text),
        )
    };
    let array: ArrayRef = match column.kind {
        ColumnKind::Text | ColumnKind::Json => Arc::new(StringArray::from(vec![text])),
        ColumnKind::Integer => Arc::new(Int64Array::from(vec![
            i64::from_str(text).map_err(|_| wrong("a whole number"))?,
        ])),
        ColumnKind::Number => Arc::new(Float64Array::from(vec![
            f64::from_str(text).map_err(|_| wrong("a number"))?,
        ])),
        ColumnKind::Boolean => Arc::new(BooleanArray::from(vec![
            bool::from_str(text).map_err(|_| wrong("true or false"))?,
        ])),
        ColumnKind::Date => {
            let date = jiff::civil::Date::from_str(text)
                .map_err(|_| wrong("a date such as 2026-11-20"))?;
            let days = (date - jiff::civil::date(1970, 1, 1)).get_days();
            Arc::new(Date32Array::from(vec![days]))
        }
        ColumnKind::Timestamp => {
            let midnight = || {
                jiff::civil::Date::from_str(text)
                    .ok()?
                    .to_zoned(jiff::tz::TimeZone::UTC)
                    .ok()
                    .map(|moment| moment.timestamp())
            };
            let moment = jiff::Timestamp::from_str(text).ok().or_else(midnight);
            let moment = moment.ok_or_else(|| wrong("a time such as 2026-11-20T08:15:30Z"))?;
            Arc::new(
                TimestampMicrosecondArray::from(vec![moment.as_microsecond()]).with_timezone("UTC"),
            )
        }
    };
    Ok(Scalar::new(array))
}

impl FilterTest {
    fn matches(&self, array: &ArrayRef) -> Result<BooleanBuffer, ArrowError> {
        let compared = match self {
            FilterTest::Null(wanted) => {
                let nulls = array.logical_nulls().map_or_else(
                    || BooleanBuffer::new_set(array.len()),
                    |nulls| nulls.into_inner(),
                );
                return Ok(if *wanted { !&nulls } else { nulls });
            }
            FilterTest::Contains(needle) => return needle.is_in(array),
            FilterTest::Compare(Op::Ne, value) => {
                return Ok(!&true_where_valid(cmp::eq(array, value)?));
            }
            FilterTest::Compare(Op::Lt, value) => cmp::lt(array, value)?,
            FilterTest::Compare(Op::Le, value) => cmp::lt_eq(array, value)?,
            FilterTest::Compare(Op::Gt, value) => cmp::gt(array, value)?,
            FilterTest::Compare(Op::Ge, value) => cmp::gt_eq(array, value)?,
            FilterTest::Compare(_, value) => cmp::eq(array, value)?,
        };
        Ok(true_where_valid(compared))
    }
}

/// Converts null to false.
fn true_where_valid(answer: BooleanArray) -> BooleanBuffer {
    let (values, nulls) = answer.into_parts();
    match nulls {
        Some(nulls) => &values & nulls.inner(),
        None => values,
    }
}

impl Needle {
    fn new(text: &str) -> Self {
        Self(Scalar::new(StringArray::from(vec![text.to_lowercase()])))
    }

    fn is_in(&self, array: &ArrayRef) -> Result<BooleanBuffer, ArrowError> {
        let lower = match array.as_string_opt::<i32>() {
            Some(texts) => lowered(texts)?,
            None => lowered(&texts(array)?)?,
        };
        Ok(true_where_valid(
            arrow::compute::kernels::comparison::contains(&lower, &self.0)?,
        ))
    }
}

/// The text of each value in the CSV.
fn texts(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    let whole = |why: Error| ArrowError::ComputeError(why.to_string());
    let named = RecordBatch::try_from_iter([("value", array.clone())])?;
    let named = printable(&named).map_err(whole)?;
    let options = format_options();
    let formatter = ArrayFormatter::try_new(named.column(0), &options)?;
    let mut texts = StringBuilder::new();
    for index in 0..array.len() {
        if array.is_null(index) {
            texts.append_null();
        } else {
            texts.append_value(formatter.value(index).try_to_string()?);
        }
    }
    Ok(texts.finish())
}

/// Converts texts to lower case. ASCII text, the common case, is converted in one pass over the
/// whole buffer.
fn lowered(texts: &StringArray) -> Result<StringArray, ArrowError> {
    let (Some(first), Some(last)) = (texts.value_offsets().first(), texts.value_offsets().last())
    else {
        return Ok(texts.clone());
    };
    let used = &texts.value_data()[*first as usize..*last as usize];
    if used.is_ascii() && *first == 0 {
        return StringArray::try_new(
            texts.offsets().clone(),
            Buffer::from_vec(used.to_ascii_lowercase()),
            texts.nulls().cloned(),
        );
    }
    let mut lower = StringBuilder::with_capacity(texts.len(), used.len() + 16);
    for text in texts {
        lower.append_option(text.map(|text| {
            if text.is_ascii() {
                text.to_ascii_lowercase()
            } else {
                text.to_lowercase()
            }
        }));
    }
    Ok(lower.finish())
}
