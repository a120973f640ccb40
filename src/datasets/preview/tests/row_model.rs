//! Compares sorts, filters and searches with a simple model that has all rows in memory.

use arrow::array::RecordBatch;
use proptest::prelude::*;

use super::{filter, ids};
use crate::connectors::report::ColumnKind;
use crate::datasets::preview::{Op, PreviewQuery, page};
use crate::datasets::testing::{World, batch, boolean, date, integer, number, text, timestamp};

/// A row of the naive model.
#[derive(Clone, Debug)]
struct Row {
    integer: Option<i64>,
    text: Option<String>,
    number: Option<f64>,
    boolean: Option<bool>,
    date: Option<i32>,
    moment: Option<i64>,
    extra: Option<String>,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::of(-3_i64..3),
        prop::option::of("[aAbBéÉ%_ ]{0,3}"),
        prop::option::of((-4_i32..4).prop_map(|n| f64::from(n) / 2.0)),
        prop::option::of(any::<bool>()),
        prop::option::of(-2_i32..2),
        prop::option::of(-2_i64..2),
        prop::option::of("[aA]{0,2}"),
    );
    prop::collection::vec(row, 0..40).prop_map(|rows| {
        rows.into_iter()
            .map(
                |(integer, text, number, boolean, date, moment, extra)| Row {
                    integer,
                    text,
                    number,
                    boolean,
                    date,
                    moment,
                    extra,
                },
            )
            .collect()
    })
}

fn table(rows: &[Row], first: usize, wide: bool) -> RecordBatch {
    let mut columns = vec![
        (
            "place",
            ColumnKind::Integer,
            integer((first..).take(rows.len()).map(|n| Some(n as i64)).collect()),
        ),
        (
            "integer",
            ColumnKind::Integer,
            integer(rows.iter().map(|row| row.integer).collect()),
        ),
        (
            "text",
            ColumnKind::Text,
            text(rows.iter().map(|row| row.text.as_deref()).collect()),
        ),
        (
            "number",
            ColumnKind::Number,
            number(rows.iter().map(|row| row.number).collect()),
        ),
        (
            "boolean",
            ColumnKind::Boolean,
            boolean(rows.iter().map(|row| row.boolean).collect()),
        ),
        (
            "date",
            ColumnKind::Date,
            date(rows.iter().map(|row| row.date).collect()),
        ),
        (
            "moment",
            ColumnKind::Timestamp,
            timestamp(rows.iter().map(|row| row.moment).collect()),
        ),
    ];
    if wide {
        columns.push((
            "x_extra",
            ColumnKind::Json,
            text(rows.iter().map(|row| row.extra.as_deref()).collect()),
        ));
    }
    batch(columns)
}

fn compare<T: PartialOrd>(value: &Option<T>, op: Op, with: &T) -> bool {
    match (value, op) {
        (_, Op::IsNull) => value.is_none(),
        (_, Op::IsNotNull) => value.is_some(),
        (None, op) => op == Op::Ne,
        (Some(value), Op::Eq) => value == with,
        (Some(value), Op::Ne) => value != with,
        (Some(value), Op::Lt) => value < with,
        (Some(value), Op::Le) => value <= with,
        (Some(value), Op::Gt) => value > with,
        (Some(value), Op::Ge) => value >= with,
        (Some(_), Op::Contains) => unreachable!(),
    }
}

fn contains(text: &Option<String>, needle: &str) -> bool {
    text.as_ref()
        .is_some_and(|text| text.to_lowercase().contains(&needle.to_lowercase()))
}

const NAMES: [&str; 7] = [
    "integer", "text", "number", "boolean", "date", "moment", "x_extra",
];

/// Orders nulls last in both directions.
fn order<T: PartialOrd>(a: &Option<T>, b: &Option<T>, descends: bool) -> std::cmp::Ordering {
    match (a, b) {
        (Some(a), Some(b)) if descends => b.partial_cmp(a).unwrap(),
        (Some(a), Some(b)) => a.partial_cmp(b).unwrap(),
        _ => b.is_some().cmp(&a.is_some()),
    }
}

fn by(a: &Row, b: &Row, column: usize, descends: bool) -> std::cmp::Ordering {
    match column {
        0 => order(&a.integer, &b.integer, descends),
        1 => order(&a.text, &b.text, descends),
        2 => order(&a.number, &b.number, descends),
        3 => order(&a.boolean, &b.boolean, descends),
        4 => order(&a.date, &b.date, descends),
        5 => order(&a.moment, &b.moment, descends),
        _ => order(&a.extra, &b.extra, descends),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn sort_filter_and_search_are_as_the_naive_model_says(
        narrow in rows(), wide in rows(),
        sort in prop::sample::subsequence((0..NAMES.len()).collect::<Vec<_>>(), 0..3),
        descends in any::<[bool; 2]>(),
        op in prop::sample::select(Op::ALL.to_vec()), value in -2_i64..2,
        needle in "[aAéÉ%_b]{0,2}", search in prop::option::of("[aAéb]{0,2}"),
        filtered in any::<bool>(),
        offset in 0_u64..20, limit in 1_usize..20,
    ) {
        let narrow: Vec<Row> = narrow.into_iter().map(|row| Row { extra: None, ..row }).collect();
        let sort: Vec<(usize, bool)> = sort.into_iter().zip(descends).collect();
        let mut expected: Vec<(usize, Row)> =
            narrow.iter().chain(&wide).cloned().enumerate().collect();
        let mut filters = Vec::new();
        if filtered && op == Op::Contains {
            filters.push(filter("text", op, &needle));
            expected.retain(|(_, row)| contains(&row.text, &needle));
        } else if filtered {
            filters.push(filter("integer", op, &value.to_string()));
            filters.push(filter("text", Op::Ne, &needle));
            filters.push(filter("moment", op, &format!("1970-01-01T00:00:00.00{}Z", value.abs())));
            expected.retain(|(_, row)| {
                compare(&row.integer, op, &value)
                    && row.text.as_deref() != Some(needle.as_str())
                    && compare(&row.moment, op, &value.abs())
            });
        }
        if let Some(needle) = search.as_ref().filter(|needle| !needle.is_empty()) {
            expected.retain(|(_, row)| contains(&row.text, needle) || contains(&row.extra, needle));
        }
        expected.sort_by(|(_, a), (_, b)| {
            sort.iter()
                .map(|(column, descends)| by(a, b, *column, *descends))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let total = expected.len() as u64;
        let expected: Vec<i64> = expected
            .iter()
            .skip(offset as usize)
            .take(limit)
            .map(|(place, _)| *place as i64)
            .collect();

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let page = runtime.block_on(async {
            let world = World::new().await;
            let version = world
                .pull(&[
                    table(&narrow, 0, false),
                    table(&wide, narrow.len(), true),
                    table(&[], 0, true),
                ])
                .await;
            let exists = |name: &str| version.columns.iter().any(|column| column.name == name);
            let sort = sort
                .iter()
                .map(|(column, descends)| (NAMES[*column].to_owned(), *descends))
                .filter(|(name, _)| exists(name))
                .collect();
            let query = PreviewQuery { offset, limit, sort, filters, search };
            page(&world.segments, &version, query).await.unwrap()
        });
        prop_assert_eq!(ids(&page), expected);
        prop_assert_eq!(page.total_matching, Some(total));
    }
}
