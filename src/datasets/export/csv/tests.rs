//! Every cell of a CSV file reads back as it was, and an incomplete file is an error.

use futures_util::StreamExt;

use super::super::pipe::{EncoderPool, PART_BYTES, pipe};
use super::*;
use crate::connectors::report::ColumnKind;
use crate::datasets::testing::{World, batch, integer, mixed, number, text, timestamp};
use crate::datasets::versions::Version;

fn stream(
    world: &World,
    version: &Version,
    options: CsvOptions,
) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + use<> {
    let encoder = csv(&world.segments, world.versions.pin(version), options).unwrap();
    pipe(&world.clock, &EncoderPool::default(), encoder, |_| {})
}

async fn download(world: &World, version: &Version, options: CsvOptions) -> Vec<u8> {
    let mut stream = Box::pin(stream(world, version, options));
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.unwrap());
    }
    body
}

fn parse(body: &[u8]) -> Vec<Vec<String>> {
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .terminator(::csv::Terminator::CRLF)
        .from_reader(body);
    reader
        .records()
        .map(|record| record.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

#[tokio::test]
async fn every_cell_reads_back_as_it_was() {
    let world = World::new().await;
    let words = [
        Some("a, b"),
        Some("say \"hi\""),
        Some("x\r\ny"),
        Some("x\ny"),
        Some("lone\rCR"),
        Some("nul\0"),
        Some("\u{1f600}"),
        Some(" pad "),
        Some(""),
        None,
        Some("=1+1"),
        Some("\\"),
        Some("\""),
    ];
    let version = world
        .pull(&[batch(vec![
            ("a", ColumnKind::Text, text(words.to_vec())),
            ("b,\"\r\n", ColumnKind::Json, text(words.to_vec())),
        ])])
        .await;
    let rows = parse(&download(&world, &version, CsvOptions::default()).await);
    assert_eq!(rows[0], ["a", "b,\"\r\n"]);
    let expected: Vec<_> = words
        .iter()
        .map(|word| vec![word.unwrap_or_default().replace('\0', "\u{fffd}"); 2])
        .collect();
    assert_eq!(rows[1..], expected);
}

#[tokio::test]
async fn each_nul_is_written_as_a_replacement_character_and_counted() {
    let world = World::new().await;
    let words = vec![Some("before\0after"), Some("none"), None, Some("\0\0")];
    let clean = batch(vec![("a\0b", ColumnKind::Text, text(vec![Some("ok"); 3]))]);
    let version = world
        .pull(&[batch(vec![("a\0b", ColumnKind::Text, text(words))]), clean])
        .await;
    let mut encoder = csv(
        &world.segments,
        world.versions.pin(&version),
        CsvOptions::default(),
    )
    .unwrap();
    let mut body = Vec::new();
    while !encoder.encode(&mut body, PART_BYTES).unwrap() {}
    assert_eq!(
        String::from_utf8(body).unwrap(),
        "a\u{fffd}b\r\nbefore\u{fffd}after\r\nnone\r\n\"\"\r\n\u{fffd}\u{fffd}\r\n\
         ok\r\nok\r\nok\r\n"
    );
    assert_eq!(
        encoder.replaced_nul.get(),
        3,
        "the name of a column does not count"
    );
}

#[tokio::test]
async fn the_bytes_are_as_promised() {
    let world = World::new().await;
    let version = world
        .pull(&[batch(vec![
            (
                "at",
                ColumnKind::Timestamp,
                timestamp(vec![
                    Some(1_795_162_530_000),
                    Some(1_795_162_530_120),
                    Some(-1),
                    None,
                ]),
            ),
            (
                "rate",
                ColumnKind::Number,
                number(vec![Some(0.1), Some(-3.0), Some(1e21), None]),
            ),
            (
                "text",
                ColumnKind::Text,
                text(vec![Some("lone\rCR"), Some(""), Some("é"), None]),
            ),
        ])])
        .await;
    let body = String::from_utf8(
        download(
            &world,
            &version,
            CsvOptions {
                bom: true,
                ..CsvOptions::default()
            },
        )
        .await,
    )
    .unwrap();
    let expected = "\u{feff}at,rate,text\r\n\
                    2026-11-20T08:15:30Z,0.1,\"lone\rCR\"\r\n\
                    2026-11-20T08:15:30.120Z,-3.0,\r\n\
                    1969-12-31T23:59:59.999Z,1e21,é\r\n\
                    ,,\r\n";
    assert_eq!(body, expected);
    let body = download(
        &world,
        &version,
        CsvOptions {
            columns: Some(vec!["text".to_owned(), "at".to_owned()]),
            ..CsvOptions::default()
        },
    )
    .await;
    assert!(body.starts_with(b"text,at\r\n\"lone\rCR\",2026-11-20T08:15:30Z\r\n"));
}

#[tokio::test]
async fn a_row_of_one_empty_cell_is_a_row() {
    let world = World::new().await;
    let version = world
        .pull(&[batch(vec![(
            "a",
            ColumnKind::Text,
            text(vec![None, Some("x"), Some("")]),
        )])])
        .await;
    let body = download(&world, &version, CsvOptions::default()).await;
    assert_eq!(body, b"a\r\n\"\"\r\nx\r\n\"\"\r\n");
    assert_eq!(parse(&body).len(), 4);
}

#[tokio::test]
async fn no_rows_have_a_header_and_widening_rows_are_aligned() {
    let world = World::new().await;
    let narrow = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(1)]))]);
    let wide = batch(vec![
        ("id", ColumnKind::Integer, integer(vec![Some(2)])),
        ("x_mood", ColumnKind::Json, text(vec![Some("glad")])),
    ]);
    let version = world.pull(&[narrow.clone(), wide, narrow]).await;
    assert_eq!(
        download(&world, &version, CsvOptions::default()).await,
        b"id,x_mood\r\n1,\r\n2,glad\r\n1,\r\n"
    );
    let run = world.new_run().await;
    let empty = world.commit(&run, &[], &[]).await;
    assert_eq!(
        download(&world, &empty, CsvOptions::default()).await,
        b"id,x_mood\r\n"
    );
}

#[tokio::test]
async fn formulas_are_marked_in_cells_and_names() {
    let world = World::new().await;
    let words = vec![
        Some("=1+1"),
        Some("-5.2"),
        Some("-5-2"),
        Some("+47 123"),
        Some("@me"),
        Some("'quoted"),
        Some("\u{ff1d}x"),
        Some("plain"),
        None,
    ];
    let version = world
        .pull(&[batch(vec![
            ("=1+1", ColumnKind::Text, text(words.clone())),
            ("n", ColumnKind::Integer, integer(vec![Some(-1); 9])),
        ])])
        .await;
    let rows = parse(
        &download(
            &world,
            &version,
            CsvOptions {
                guard: true,
                ..CsvOptions::default()
            },
        )
        .await,
    );
    let first: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(
        first,
        [
            "'=1+1",
            "'=1+1",
            "-5.2",
            "'-5-2",
            "'+47 123",
            "'@me",
            "''quoted",
            "'\u{ff1d}x",
            "plain",
            ""
        ]
    );
    assert!(rows[1..].iter().all(|row| row[1] == "-1"));
    for (row, word) in rows[1..].iter().zip(words) {
        assert_eq!(unguard(&row[0]), word.unwrap_or_default());
    }
}

#[tokio::test]
async fn columns_that_are_not_there_are_refused_at_once() {
    let world = World::new().await;
    let version = world.pull(&[mixed(0, 1)]).await;
    for columns in [vec!["nope"], vec!["id", "id"], vec![]] {
        let options = CsvOptions {
            columns: Some(columns.into_iter().map(str::to_owned).collect()),
            ..CsvOptions::default()
        };
        assert!(csv(&world.segments, world.versions.pin(&version), options).is_err());
    }
}

#[tokio::test]
async fn a_download_that_breaks_ends_with_an_error() {
    let world = World::new().await;
    let version = world
        .pull(&[
            mixed(0, 10),
            batch(vec![("x_new", ColumnKind::Text, text(vec![Some("y")]))]),
        ])
        .await;
    world.segments.remove(&version.segments[1].id).unwrap();
    let pieces: Vec<_> = stream(&world, &version, CsvOptions::default())
        .map(|piece| piece.is_ok())
        .collect()
        .await;
    assert!(!pieces.last().unwrap());
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up_and_its_pin_with_it() {
    let world = World::new().await;
    let wide = "x".repeat(64 << 10);
    let version = world
        .pull(&[batch(vec![(
            "a",
            ColumnKind::Text,
            text(vec![Some(&wide); 200]),
        )])])
        .await;
    let mut stream = Box::pin(stream(&world, &version, CsvOptions::default()));
    assert!(stream.next().await.unwrap().is_ok());
    // Reads nothing until the encoder has released the version: the rest of the stream must
    // then be an error.
    for n in 1..=4 {
        world.pull(&[mixed(0, n)]).await;
    }
    while world.versions.get(&version.id).await.unwrap().is_some() {
        world.clock.advance(10_000);
        world
            .versions
            .apply_retention(&world.dataset)
            .await
            .unwrap();
    }
    let pieces: Vec<_> = stream.map(|piece| piece.is_ok()).collect().await;
    assert!(!pieces.last().unwrap());
    assert!(pieces.len() < 40);
}

#[tokio::test]
async fn an_encoder_that_lets_go_of_its_files_after_each_part_writes_the_same() {
    const PART: usize = 64 << 10;
    let world = World::new().await;
    let wide = "x".repeat(300);
    let rows = |from: i64, count: i64| {
        let ids = integer((from..from + count).map(Some).collect());
        batch(vec![
            ("id", ColumnKind::Integer, ids),
            (
                "text",
                ColumnKind::Text,
                text(vec![Some(wide.as_str()); usize::try_from(count).unwrap()]),
            ),
        ])
    };
    let version = world
        .pull(&[rows(0, 6_000), rows(6_000, 1), rows(6_001, 4_000)])
        .await;
    let whole = download(&world, &version, CsvOptions::default()).await;
    let mut encoder = csv(
        &world.segments,
        world.versions.pin(&version),
        CsvOptions::default(),
    )
    .unwrap();
    let (mut parts, mut last) = (Vec::new(), false);
    while !last {
        let mut part = Vec::new();
        last = encoder.encode(&mut part, PART).unwrap();
        assert!(part.len() < 2 * PART, "{}", part.len());
        encoder.release();
        parts.push(part);
    }
    assert!(
        parts.len() > 10 && parts.concat() == whole,
        "{} parts",
        parts.len()
    );
    // Writes as many bytes into a buffer that is not empty.
    let mut encoder = csv(
        &world.segments,
        world.versions.pin(&version),
        CsvOptions::default(),
    )
    .unwrap();
    let mut all = Vec::new();
    while !encoder.encode(&mut all, PART).unwrap() {}
    assert!(all == whole);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_is_marked_can_be_unmarked(text in "[=+\\-@\t\r\n\0'＝＋－＠0-9.eE]{0,4}.{0,6}") {
        let marked = guard(&text);
        proptest::prop_assert_eq!(unguard(&marked), text.as_str());
        proptest::prop_assert!(!marked.starts_with(['=', '+', '@', '\t', '\r', '\n', '\0']));
    }
}
