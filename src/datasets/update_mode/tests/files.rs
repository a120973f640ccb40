//! Merges and partitions files: the right rows are dropped, and only the needed rows are read.

use std::os::unix::fs::FileExt;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use jiff::civil::date;
use jiff::tz::TimeZone;

use super::super::mark::mark_with;
use super::*;
use crate::connectors::Window;
use crate::connectors::report::ColumnKind;
use crate::datasets::columns::{ColumnInfo, to_schema};
use crate::datasets::segments::{SegmentMeta, WrittenSegment};
use crate::datasets::testing::{World, batch, column, integer, text, timestamp};

const DAY: i64 = 86_400_000;
pub(super) const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A row: key, day since 1970 and number. `None` is an empty cell.
pub(super) type Line = (Option<i64>, Option<i64>, i64);

fn lines(of: &[Line]) -> RecordBatch {
    batch(vec![
        (
            "key",
            ColumnKind::Text,
            text(
                of.iter()
                    .map(|line| line.0.map(|key| KEYS[key as usize]))
                    .collect(),
            ),
        ),
        (
            "at",
            ColumnKind::Timestamp,
            timestamp(
                of.iter()
                    .map(|line| line.1.map(|day| day * DAY + line.2 % 1_000))
                    .collect(),
            ),
        ),
        (
            "number",
            ColumnKind::Integer,
            integer(of.iter().map(|line| Some(line.2)).collect()),
        ),
    ])
}

pub(super) fn key_column() -> ColumnInfo {
    column("key", ColumnKind::Text)
}

pub(super) fn days(from: i8, to: i8) -> DayRanges {
    let window = Window {
        from: date(1970, 1, from),
        to: date(1970, 1, to),
    };
    DayRanges::of(
        column("at", ColumnKind::Timestamp),
        &[window],
        &TimeZone::UTC,
    )
    .unwrap()
}

pub(super) async fn segment(world: &World, of: &[Line]) -> WrittenSegment {
    let run = world.new_run().await;
    let mut written = world.write(&run, &[lines(of)]).await;
    world.end_run(&run, "failed").await;
    written.remove(0)
}

pub(super) fn numbers(world: &World, order: &[SegmentMeta]) -> Vec<i64> {
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

pub(super) async fn built(
    world: &World,
    mode: UpdateMode,
    old: &[WrittenSegment],
    new: &[WrittenSegment],
    drops: Drops,
) -> BuiltSegments {
    let run = world.new_run().await;
    let metas: Vec<SegmentMeta> = old.iter().map(WrittenSegment::meta).collect();
    let built = build(
        &world.segments,
        (&world.dataset, &run),
        mode,
        &metas,
        new.to_vec(),
        drops,
    )
    .await
    .unwrap();
    world.end_run(&run, "failed").await;
    built
}

pub(super) fn by_key(within: Option<DayRanges>) -> Drops {
    Drops::Keys {
        columns: vec![key_column()],
        fallback: Vec::new(),
        empty_parents: Vec::new(),
        within,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_days_rule_out_is_not_read() {
    let world = World::new().await;
    let many = |first: i64, day: i64| {
        (0..20_000)
            .map(|n| (Some(n % 8), Some(day), first + n))
            .collect::<Vec<Line>>()
    };
    let (far, near) = (
        segment(&world, &many(0, 3)).await,
        segment(&world, &many(100_000, 20)).await,
    );
    // A segment without checksums, like an old one, of which only the needed parts are read.
    let far = WrittenSegment {
        checksums: None,
        ..far
    };
    let new = segment(&world, &[(Some(1), Some(20), 900_000)]).await;
    // Damages every page of the segment that cannot contain such rows; the footer stays intact.
    let path = world.segments.dir().join(format!("{}.parquet", far.id));
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xff; (far.bytes / 2) as usize], 4)
        .unwrap();
    let got = built(
        &world,
        UpdateMode::Merge,
        &[far.clone(), near.clone()],
        std::slice::from_ref(&new),
        by_key(Some(days(20, 21))),
    )
    .await;
    assert_eq!(
        (got.dropped, got.order.len(), &got.order[0]),
        (2_500, 3, &far.meta())
    );
    let got = built(
        &world,
        UpdateMode::Partition,
        &[far.clone(), near],
        &[new],
        Drops::Days {
            days: days(21, 21),
            key: vec![key_column()],
        },
    )
    .await;
    assert_eq!(
        (got.dropped, got.order.len(), &got.order[0]),
        (20_000, 2, &far.meta())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_day_is_replaced_whatever_the_days_beside_it() {
    let world = World::new().await;
    // Days far from the pulled ones.
    let old = segment(
        &world,
        &[
            (Some(1), Some(3), 1),
            (Some(2), None, 2),
            (Some(3), Some(4), 3),
        ],
    )
    .await;
    let without = segment(&world, &[(Some(4), None, 4), (Some(5), None, 5)]).await;
    let new = segment(
        &world,
        &[(Some(2), Some(20), 100), (Some(5), Some(20), 101)],
    )
    .await;
    let got = built(
        &world,
        UpdateMode::Merge,
        &[old, without],
        &[new],
        by_key(Some(days(20, 20))),
    )
    .await;
    assert_eq!(
        (got.dropped, numbers(&world, &got.order)),
        (2, vec![1, 3, 4, 100, 101])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_a_pass_takes_are_several_passes() {
    let world = World::new().await;
    let old = segment(
        &world,
        &(0..64).map(|n| (Some(n % 8), None, n)).collect::<Vec<_>>(),
    )
    .await;
    let new = segment(
        &world,
        &(0..7).map(|n| (Some(n), None, 100 + n)).collect::<Vec<_>>(),
    )
    .await;
    let empty_parents = ["g", "h", "nobody"].map(str::to_owned).to_vec();
    let drops = Drops::Keys {
        columns: vec![key_column()],
        fallback: Vec::new(),
        empty_parents,
        within: None,
    };
    let (segments, old, new) = (world.segments.clone(), vec![old.meta()], vec![new.meta()]);
    for most in [1, 2, 100] {
        let (segments, old, new, drops) =
            (segments.clone(), old.clone(), new.clone(), drops.clone());
        let marks = tokio::task::spawn_blocking(move || {
            mark_with(&segments, &old, &new, &drops, most).unwrap()
        })
        .await
        .unwrap();
        assert_eq!(marks[0].marked(), 64, "all eight keys go, {most} a pass");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_segments_become_one_and_keep_the_order_of_their_rows() {
    let world = World::new().await;
    let mut old = Vec::new();
    for n in 0..40 {
        old.push(segment(&world, &[(Some(n % 8), Some(1), n)]).await);
    }
    let new = segment(&world, &[(Some(0), Some(2), 40)]).await;
    let got = built(&world, UpdateMode::Append, &old, &[new], Drops::Nothing).await;
    assert_eq!((got.order.len(), got.written.len(), got.dropped), (1, 1, 0));
    assert_eq!(numbers(&world, &got.order), (0..=40).collect::<Vec<_>>());
}

#[test]
fn days_are_those_of_the_zone_also_where_they_begin_late_or_have_23_hours() {
    let ranges = |zone: &str, from, to| {
        let windows = [Window { from, to }];
        DayRanges::of(
            column("at", ColumnKind::Timestamp),
            &windows,
            &TimeZone::get(zone).unwrap(),
        )
        .unwrap()
        .ranges
    };
    let text = |ranges: Vec<Range<i64>>| {
        ranges
            .iter()
            .map(|range| {
                format!(
                    "{} {}",
                    crate::clock::iso(range.start),
                    crate::clock::iso(range.end)
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        text(ranges("Europe/Oslo", date(2027, 3, 28), date(2027, 3, 28))),
        ["2027-03-27T23:00:00Z 2027-03-28T22:00:00Z"]
    );
    // Midnight of that day does not exist in Beirut.
    assert_eq!(
        text(ranges("Asia/Beirut", date(2027, 3, 28), date(2027, 3, 28))),
        ["2027-03-27T22:00:00Z 2027-03-28T21:00:00Z"]
    );
    let windows = [
        Window {
            from: date(2027, 1, 2),
            to: date(2027, 1, 2),
        },
        Window {
            from: date(2027, 1, 1),
            to: date(2027, 1, 1),
        },
    ];
    let joined = DayRanges::of(
        column("day", ColumnKind::Date),
        &windows,
        &TimeZone::get("Europe/Oslo").unwrap(),
    )
    .unwrap()
    .ranges;
    assert_eq!(
        text(joined),
        ["2027-01-01T00:00:00Z 2027-01-03T00:00:00Z"],
        "a date has no zone"
    );
}
