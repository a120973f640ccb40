//! The file format: field ids, timestamps, and files that older versions of Chatlake wrote.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};

use crate::connectors::report::ColumnKind;
use crate::datasets::columns;
use crate::datasets::preview::{self, PreviewQuery};
use crate::datasets::segments::SegmentMeta;
use crate::datasets::testing::{World, batch, integer, text, timestamp};
use crate::datasets::versions::Version;
use crate::ids::SegmentId;

#[tokio::test]
async fn columns_keep_their_field_ids_and_timestamps_are_in_microseconds() {
    let world = World::new().await;
    let ids = |segment: &SegmentMeta| -> Vec<(String, Option<i32>)> {
        let open = world.segments.open(segment).unwrap();
        let schema = open
            .footer()
            .file_metadata()
            .schema_descr()
            .root_schema()
            .clone();
        let of = |field: &parquet::schema::types::TypePtr| {
            let info = field.get_basic_info();
            (info.name().to_owned(), info.has_id().then(|| info.id()))
        };
        schema.get_fields().iter().map(of).collect()
    };
    let narrow = batch(vec![
        ("id", ColumnKind::Integer, integer(vec![Some(1)])),
        ("at", ColumnKind::Timestamp, timestamp(vec![Some(5)])),
    ]);
    let wide = batch(vec![
        ("x_new", ColumnKind::Text, text(vec![Some("a")])),
        ("id", ColumnKind::Integer, integer(vec![Some(2)])),
    ]);
    let first = world.pull(&[narrow]).await;
    assert_eq!(
        ids(&first.segments[0]),
        [("id".to_owned(), Some(1)), ("at".to_owned(), Some(2))]
    );
    let second = world.pull(&[wide]).await;
    assert_eq!(
        ids(&second.segments[0]),
        [("id".to_owned(), Some(1)), ("x_new".to_owned(), Some(3))],
        "an id is never given to another column"
    );
    let open = world.segments.open(&first.segments[0]).unwrap();
    assert_eq!(
        open.schema().field_with_name("at").unwrap().data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    );
}

#[tokio::test]
async fn older_files_with_milliseconds_are_read_sorted_and_pruned_with_newer_ones() {
    let world = World::new().await;
    let newer = world
        .pull(&[batch(vec![(
            "start",
            ColumnKind::Timestamp,
            timestamp(vec![Some(3_000), Some(9_000)]),
        )])])
        .await;
    // A file in the format of older versions: timestamps in milliseconds, and no field ids.
    let millis =
        TimestampMillisecondArray::from(vec![Some(1_000), None, Some(-500)]).with_timezone("UTC");
    let metadata = HashMap::from([
        ("kind".to_owned(), "timestamp".to_owned()),
        ("declared".to_owned(), "true".to_owned()),
    ]);
    let field = Field::new(
        "start",
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        true,
    )
    .with_metadata(metadata);
    let schema = Arc::new(Schema::new(vec![field]));
    let old = RecordBatch::try_new(schema.clone(), vec![Arc::new(millis)]).unwrap();
    let id = SegmentId::new();
    let mut writer = parquet::arrow::arrow_writer::ArrowWriter::try_new(
        File::create(world.segments.path(&id)).unwrap(),
        schema,
        None,
    )
    .unwrap();
    writer.write(&old).unwrap();
    writer.close().unwrap();
    let bytes = std::fs::metadata(world.segments.path(&id)).unwrap().len();
    let meta = SegmentMeta {
        id,
        rows: 3,
        bytes,
        checksums: None,
        digest: None,
    };
    let open = world.segments.open(&meta).unwrap();
    let schema = columns::to_schema(&newer.columns);
    let read: Vec<_> = open
        .read(&schema, None)
        .unwrap()
        .map(|batch| batch.unwrap())
        .collect();
    let values: Vec<_> = read[0]
        .column(0)
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .collect();
    assert_eq!(values, [Some(1_000_000), None, Some(-500_000)]);
    assert_eq!(
        open.groups_of("start")[0].bounds,
        Some((-500, 1_000)),
        "bounds are in milliseconds"
    );
    assert_eq!(
        world
            .segments
            .open(&newer.segments[0])
            .unwrap()
            .groups_of("start")[0]
            .bounds,
        Some((3_000, 9_000))
    );
    for (period, rows) in [(0..900, 1), (1_001..5_000, 0), (1_000..1_001, 1)] {
        assert_eq!(
            open.groups_within("start", &period).groups.len(),
            rows,
            "{period:?}"
        );
    }
    let mixed_version = Version {
        rows: 5,
        segments: vec![newer.segments[0].clone(), meta],
        ..newer.clone()
    };
    let ask = PreviewQuery {
        limit: 10,
        sort: vec![("start".to_owned(), false)],
        ..PreviewQuery::default()
    };
    let page = preview::page(&world.segments, &mixed_version, ask)
        .await
        .unwrap();
    let sorted: Vec<_> = page.rows.iter().map(|row| row[0].csv.clone()).collect();
    let at = |text: &str| Some(text.to_owned());
    assert_eq!(
        sorted,
        [
            at("1969-12-31T23:59:59.500Z"),
            at("1970-01-01T00:00:01Z"),
            at("1970-01-01T00:00:03Z"),
            at("1970-01-01T00:00:09Z"),
            None
        ]
    );
}
