//! Which old row a new row replaces: keys of all kinds of columns and values, through files,
//! compared with a simple model.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::keys::Keys;
use super::*;
use crate::connectors::report::ColumnKind;
use crate::datasets::columns::{ColumnInfo, to_schema};
use crate::datasets::segments::{SegmentMeta, WrittenSegment};
use crate::datasets::testing::{
    NOW, World, batch, boolean, column, date, integer, number, text, timestamp,
};

/// Texts of a cell; an empty or blank text is no value.
const TEXTS: [Option<&str>; 7] = [
    None,
    Some(""),
    Some(" \t"),
    Some("a"),
    Some("A"),
    Some("1"),
    Some("1.0"),
];
/// Key columns, one of each kind.
const COLUMNS: [(&str, ColumnKind); 6] = [
    ("word", ColumnKind::Text),
    ("count", ColumnKind::Integer),
    ("rate", ColumnKind::Number),
    ("good", ColumnKind::Boolean),
    ("day", ColumnKind::Date),
    ("at", ColumnKind::Timestamp),
];

/// A row: the report's key in two columns, a choice for each of the other columns, and a unique
/// number.
#[derive(Clone, Debug)]
struct Line {
    own: (usize, Option<i64>),
    chosen: [usize; COLUMNS.len()],
    number: i64,
}

impl Line {
    /// The value of a column as text; `None` if it is null, empty or blank.
    fn value(&self, name: &str) -> Option<String> {
        let text = |at: usize| {
            TEXTS[at]
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(|text| format!("text {text}"))
        };
        match COLUMNS.iter().position(|(column, _)| *column == name) {
            Some(0) => text(self.chosen[0]),
            Some(at) => (!self.chosen[at].is_multiple_of(3))
                .then(|| format!("{name} {}", self.chosen[at] % 3)),
            None if name == "id" => text(self.own.0),
            None => self.own.1.map(|part| part.to_string()),
        }
    }

    /// What identifies the row; `None` if nothing does.
    fn identity(&self, key: &[&str], fallback: &[&str]) -> Option<Vec<Option<String>>> {
        let values = |names: &[&str]| {
            names
                .iter()
                .map(|name| self.value(name))
                .collect::<Vec<_>>()
        };
        let tagged =
            |tag: &str, values: Vec<Option<String>>| [vec![Some(tag.to_owned())], values].concat();
        let by_key = values(key);
        if fallback.is_empty() {
            return by_key
                .iter()
                .any(Option::is_some)
                .then(|| tagged("key", by_key));
        }
        if by_key.iter().all(Option::is_some) {
            return Some(tagged("key", by_key));
        }
        let other = values(fallback);
        other
            .iter()
            .any(Option::is_some)
            .then(|| tagged("otherwise", other))
    }
}

fn lines(of: &[Line]) -> RecordBatch {
    let third = |at: usize| {
        of.iter()
            .map(|line| line.chosen[at] % 3)
            .map(|n| (n > 0).then_some(n as i64))
            .collect::<Vec<_>>()
    };
    batch(vec![
        (
            "id",
            ColumnKind::Text,
            text(of.iter().map(|line| TEXTS[line.own.0]).collect()),
        ),
        (
            "part",
            ColumnKind::Integer,
            integer(of.iter().map(|line| line.own.1).collect()),
        ),
        (
            "word",
            ColumnKind::Text,
            text(of.iter().map(|line| TEXTS[line.chosen[0]]).collect()),
        ),
        ("count", ColumnKind::Integer, integer(third(1))),
        (
            "rate",
            ColumnKind::Number,
            number(
                third(2)
                    .into_iter()
                    .map(|n| n.map(|n| n as f64 / 4.0))
                    .collect(),
            ),
        ),
        (
            "good",
            ColumnKind::Boolean,
            boolean(third(3).into_iter().map(|n| n.map(|n| n == 1)).collect()),
        ),
        (
            "day",
            ColumnKind::Date,
            date(third(4).into_iter().map(|n| n.map(|n| n as i32)).collect()),
        ),
        (
            "at",
            ColumnKind::Timestamp,
            timestamp(third(5).into_iter().map(|n| n.map(|n| NOW + n)).collect()),
        ),
        (
            "number",
            ColumnKind::Integer,
            integer(of.iter().map(|line| Some(line.number)).collect()),
        ),
    ])
}

async fn segment(world: &World, of: &[Line]) -> WrittenSegment {
    let run = world.new_run().await;
    let mut written = world.write(&run, &[lines(of)]).await;
    world.end_run(&run, "failed").await;
    written.remove(0)
}

fn numbers(world: &World, order: &[SegmentMeta]) -> Vec<i64> {
    let schema = to_schema(&[column("number", ColumnKind::Integer)]);
    let read = |meta: &SegmentMeta| {
        world
            .segments
            .open(meta)
            .unwrap()
            .read(&schema, None)
            .unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
    };
    order
        .iter()
        .flat_map(read)
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect()
}

fn infos(names: &[&str]) -> Vec<ColumnInfo> {
    let kind = |name: &str| match name {
        "id" => ColumnKind::Text,
        "part" | "number" => ColumnKind::Integer,
        other => {
            COLUMNS
                .iter()
                .find(|(column, _)| *column == other)
                .unwrap()
                .1
        }
    };
    names.iter().map(|name| column(name, kind(name))).collect()
}

#[test]
fn a_row_without_a_value_in_a_custom_key_never_replaces_another_row() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let rows = |first: i64| {
        let row = (
            0..TEXTS.len(),
            prop::option::weighted(0.8, 0_i64..2),
            prop::array::uniform6(0..TEXTS.len()),
        );
        prop::collection::vec(row, 1..14).prop_map(move |cells| {
            cells
                .into_iter()
                .zip(first..)
                .map(|((id, part, chosen), number)| Line {
                    own: (id, part),
                    chosen,
                    number,
                })
                .collect::<Vec<_>>()
        })
    };
    let mut keys: Vec<Vec<&str>> = COLUMNS.iter().map(|(name, _)| vec![*name]).collect();
    keys.extend([
        vec!["word", "count"],
        vec!["good", "day", "word"],
        vec!["id"],
        vec!["part", "word"],
    ]);
    let cases = (rows(0), rows(100), rows(1_000), prop::sample::select(keys));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let world = runtime.block_on(World::new());
    runner
        .run(&cases, |(first, second, new, key)| {
            runtime.block_on(async {
                let before = [
                    segment(&world, &first).await,
                    segment(&world, &second).await,
                ];
                let new_segments = segment(&world, &new).await;
                let content: Vec<&str> = ["id", "part"]
                    .into_iter()
                    .chain(COLUMNS.iter().map(|(name, _)| *name))
                    .collect();
                // A custom key with the report's key as fallback, a custom key for a report without
                // a key, and the report's key alone.
                for (key, fallback) in [
                    (key.as_slice(), &["id", "part"][..]),
                    (&key, &content),
                    (&["id", "part"], &[]),
                ] {
                    let identities: BTreeSet<_> = new
                        .iter()
                        .filter_map(|line| line.identity(key, fallback))
                        .collect();
                    let stays = |line: &&Line| {
                        line.identity(key, fallback)
                            .is_none_or(|identity| !identities.contains(&identity))
                    };
                    let wanted: Vec<i64> = first
                        .iter()
                        .chain(&second)
                        .filter(stays)
                        .chain(&new)
                        .map(|line| line.number)
                        .collect();
                    let drops = Drops::Keys {
                        columns: infos(key),
                        fallback: infos(fallback),
                        empty_parents: Vec::new(),
                        within: None,
                    };
                    let metas = before.each_ref().map(WrittenSegment::meta);
                    let run = world.new_run().await;
                    let got = build(
                        &world.segments,
                        (&world.dataset, &run),
                        UpdateMode::Merge,
                        &metas,
                        vec![new_segments.clone()],
                        drops,
                    )
                    .await
                    .unwrap();
                    world.end_run(&run, "failed").await;
                    assert_eq!(numbers(&world, &got.order), wanted, "{key:?} {fallback:?}");
                }
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn empty_cells_of_the_reports_key_are_values_and_empty_keys_are_like_no_other() {
    let texts = vec![
        Some("a"),
        Some("a"),
        None,
        None,
        Some(""),
        Some(" "),
        Some(""),
    ];
    let both = batch(vec![
        ("name", ColumnKind::Text, text(texts)),
        (
            "n",
            ColumnKind::Integer,
            integer(vec![Some(1), None, Some(1), None, None, Some(1), Some(2)]),
        ),
    ]);
    let key = [
        column("name", ColumnKind::Text),
        column("n", ColumnKind::Integer),
    ];
    let keys = Keys::new(both.schema_ref(), &key, &[])
        .unwrap()
        .of(&both)
        .unwrap();
    assert_eq!(
        keys.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, true, true, false, false, true, true]
    );
    assert_eq!(keys[2], keys[5], "null, empty and blank are one value");
    assert_eq!(
        keys.iter()
            .flatten()
            .collect::<std::collections::HashSet<_>>()
            .len(),
        4
    );
    // A column can be in the key and in the fallback.
    let keys = Keys::new(both.schema_ref(), &key[..1], &key)
        .unwrap()
        .of(&both)
        .unwrap();
    assert_eq!(
        keys.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, true, true, false, false, true, true]
    );
    assert_eq!((keys[0], keys[2]), (keys[1], keys[5]));
    assert!(keys[0] != keys[2] && keys[2] != keys[6]);
}
