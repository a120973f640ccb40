//! Pages show the same values as the CSV, and sorts, filters and searches find the right rows.

mod row_model;

use super::super::export::{self, pipe::Encode};
use super::super::testing::{NOW, World, batch, integer, mixed, text, timestamp};
use super::*;

async fn csv_rows(world: &World, version: &Version) -> Vec<Vec<String>> {
    let mut encoder = export::csv(
        &world.segments,
        world.versions.pin(version),
        export::CsvOptions::default(),
    )
    .unwrap();
    let mut body = Vec::new();
    while !encoder.encode(&mut body, export::pipe::PART_BYTES).unwrap() {}
    let mut reader = ::csv::ReaderBuilder::new()
        .terminator(::csv::Terminator::CRLF)
        .from_reader(&body[..]);
    reader
        .records()
        .map(|record| record.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

fn shown(page: &RowPage) -> Vec<Vec<String>> {
    page.rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|cell| cell.csv.clone().unwrap_or_default())
                .collect()
        })
        .collect()
}

fn ids(page: &RowPage) -> Vec<i64> {
    page.rows
        .iter()
        .map(|row| row[0].csv.as_deref().unwrap().parse().unwrap())
        .collect()
}

fn asks(offset: u64, limit: usize) -> PreviewQuery {
    PreviewQuery {
        offset,
        limit,
        ..PreviewQuery::default()
    }
}

fn filter(column: &str, op: Op, value: &str) -> Filter {
    Filter {
        column: column.to_owned(),
        op,
        value: value.to_owned(),
    }
}

#[tokio::test]
async fn every_page_shows_what_the_csv_holds() {
    let world = World::new().await;
    let wide = batch(vec![
        ("id", ColumnKind::Integer, integer(vec![Some(-1)])),
        ("x_new", ColumnKind::Json, text(vec![Some("{\"a\":1}")])),
    ]);
    let version = world
        .pull(&[mixed(0, 1_234), wide, mixed(2_000, 2_345)])
        .await;
    assert!(version.segments.len() > 1);
    let rows = csv_rows(&world, &version).await;
    let mut paged = Vec::new();
    while (paged.len() as u64) < version.rows {
        let page = page(&world.segments, &version, asks(paged.len() as u64, 100))
            .await
            .unwrap();
        assert_eq!(
            (page.total_matching, page.offset),
            (Some(version.rows), paged.len() as u64)
        );
        assert!(
            page.rows
                .iter()
                .all(|row| row.len() == version.columns.len())
        );
        paged.extend(shown(&page));
    }
    assert_eq!(paged, rows);
    let nulls = page(&world.segments, &version, asks(0, 10)).await.unwrap();
    assert_eq!(nulls.rows[5][1].csv.as_deref(), Some(""));
    assert_eq!(nulls.rows[6][1].csv, None);
}

#[tokio::test]
async fn pages_reach_the_last_row_and_no_further() {
    let world = World::new().await;
    let version = world
        .pull(&[mixed(0, 70_000), mixed(70_000, 140_000)])
        .await;
    for (offset, limit, expected) in [
        (65_500, 100, 65_500..65_600),
        (139_950, 100, 139_950..140_000),
        (140_000, 10, 0..0),
        (u64::MAX, 10, 0..0),
    ] {
        let page = page(&world.segments, &version, asks(offset, limit))
            .await
            .unwrap();
        assert_eq!(ids(&page), expected.collect::<Vec<i64>>());
    }
}

#[tokio::test]
async fn sorting_many_rows_finds_the_best_of_all() {
    let world = World::new().await;
    let version = world.pull(&[mixed(0, 140_000)]).await;
    let ask = |column: &str, descends, offset| PreviewQuery {
        sort: vec![(column.to_owned(), descends)],
        ..asks(offset, 5)
    };
    let last = page(&world.segments, &version, ask("id", true, 0))
        .await
        .unwrap();
    assert_eq!(ids(&last), [139_999, 139_998, 139_997, 139_996, 139_995]);
    let deep = page(&world.segments, &version, ask("id", true, 99_000))
        .await
        .unwrap();
    assert_eq!(ids(&deep)[0], 40_999);
    assert_eq!(deep.total_matching, Some(140_000));
    let end = page(&world.segments, &version, ask("id", true, 99_996))
        .await
        .unwrap();
    assert_eq!(ids(&end), [40_003, 40_002, 40_001, 40_000]);
    let error = page(&world.segments, &version, ask("id", true, 100_000))
        .await
        .unwrap_err();
    assert!(
        error.message().contains("100000") && error.field_errors()[0].0 == "offset",
        "{error}"
    );
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_its_field() {
    let world = World::new().await;
    let version = world.pull(&[mixed(0, 10)]).await;
    for (ask, field) in [
        (asks(0, 0), "limit"),
        (asks(0, 1_002), "limit"),
        (
            PreviewQuery {
                sort: vec![("nope".to_owned(), false)],
                ..asks(0, 1)
            },
            "sort",
        ),
        (
            PreviewQuery {
                sort: vec![("id".to_owned(), false), ("id".to_owned(), true)],
                ..asks(0, 1)
            },
            "sort",
        ),
        (
            PreviewQuery {
                filters: vec![filter("nope", Op::IsNull, "")],
                ..asks(0, 1)
            },
            "filter",
        ),
        (
            PreviewQuery {
                filters: vec![filter("id", Op::Eq, "one")],
                ..asks(0, 1)
            },
            "filter",
        ),
        (
            PreviewQuery {
                filters: vec![filter("day", Op::Eq, "2026-13-01")],
                ..asks(0, 1)
            },
            "filter",
        ),
        (
            PreviewQuery {
                filters: vec![filter("at", Op::Eq, "noon")],
                ..asks(0, 1)
            },
            "filter",
        ),
    ] {
        let error = page(&world.segments, &version, ask).await.unwrap_err();
        assert_eq!(error.field_errors()[0].0, field, "{error}");
    }
}

#[tokio::test]
async fn what_takes_too_long_is_given_up() {
    let world = World::new().await;
    let version = world.pull(&[mixed(0, 10)]).await;
    let ask = PreviewQuery {
        search: Some("plain".to_owned()),
        ..asks(0, 10)
    };
    let error = page_within(&world.segments, &version, ask.clone(), Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unavailable, "too_slow")
    );
    assert_eq!(
        ids(&page(&world.segments, &version, ask).await.unwrap()),
        [0, 8]
    );
}

#[tokio::test]
async fn every_kind_can_be_compared_and_searched() {
    let world = World::new().await;
    let version = world.pull(&[mixed(0, 100)]).await;
    for (filter, expected) in [
        (filter("id", Op::Ge, "98"), vec![98, 99]),
        (filter("rate", Op::Eq, "0.125"), vec![1]),
        (filter("word", Op::Eq, ""), (5..100).step_by(8).collect()),
        (
            filter("word", Op::IsNull, ""),
            (6..100).step_by(8).collect(),
        ),
        (
            filter("word", Op::Contains, "SAY \"H"),
            (2..100).step_by(8).collect(),
        ),
        (
            filter("word", Op::Contains, "É"),
            (7..100).step_by(8).collect(),
        ),
        (filter("word", Op::Contains, "%"), vec![]),
        (
            filter("good", Op::Eq, "true"),
            (0..100).filter(|n| n % 5 != 0 && n % 2 == 0).collect(),
        ),
        (
            filter("good", Op::Ne, "true"),
            (0..100).filter(|n| n % 5 == 0 || n % 2 != 0).collect(),
        ),
        (filter("day", Op::Lt, "2024-10-08"), vec![1, 2, 3]),
        (filter("day", Op::Contains, "2024-10-08"), vec![4]),
        (filter("at", Op::Eq, "2026-11-20T08:15:31Z"), vec![1]),
        (filter("at", Op::Lt, "2026-11-20"), vec![]),
        (filter("at", Op::Contains, ":15:59Z"), vec![29]),
    ] {
        let ask = PreviewQuery {
            filters: vec![filter.clone()],
            ..asks(0, 1_000)
        };
        let page = page(&world.segments, &version, ask).await.unwrap();
        assert_eq!(ids(&page), expected, "{filter:?}");
        assert_eq!(page.total_matching, Some(expected.len() as u64));
    }
    assert_eq!(NOW % 1_000, 0);
}

#[tokio::test]
async fn an_operator_has_one_word() {
    for op in Op::ALL {
        assert_eq!(Op::parse(op.word()), Some(op));
        assert_eq!(serde_json::to_value(op).unwrap(), op.word());
    }
    assert_eq!(Op::parse("like"), None);
}

#[tokio::test]
async fn a_better_value_in_a_later_segment_wins() {
    let world = World::new().await;
    for before in [None, Some(0)] {
        for rows in 1..30 {
            let first = batch(vec![
                (
                    "id",
                    ColumnKind::Integer,
                    integer((0..rows).map(Some).collect()),
                ),
                (
                    "at",
                    ColumnKind::Timestamp,
                    timestamp(vec![before; rows as usize]),
                ),
            ]);
            let one = batch(vec![
                ("id", ColumnKind::Integer, integer(vec![Some(rows)])),
                ("at", ColumnKind::Timestamp, timestamp(vec![Some(-1)])),
                ("x_a", ColumnKind::Json, text(vec![None])),
            ]);
            let version = world.pull(&[first, one]).await;
            let page = page(
                &world.segments,
                &version,
                PreviewQuery {
                    sort: vec![("at".to_owned(), false)],
                    ..asks(0, 1)
                },
            )
            .await
            .unwrap();
            assert_eq!(ids(&page), [rows]);
        }
    }
}
