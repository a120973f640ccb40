//! Segments: written rows can be read again, and an incomplete file is not a segment.

mod damaged_files;
mod file_format;

use std::ops::Range;
use std::os::unix::fs::PermissionsExt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::super::columns;
use super::super::testing::{World, batch, integer, mixed, text};
use super::file_writer::ROW_GROUP_ROWS;
use super::*;
use crate::connectors::report::ColumnKind;

async fn states(world: &World) -> Vec<(String, i64)> {
    use sqlx::Row;
    let rows = sqlx::query("SELECT state, rows FROM segments ORDER BY id")
        .fetch_all(world.db.read())
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn read(
    world: &World,
    written: &WrittenSegment,
    schema: &SchemaRef,
    ranges: Option<&[Range<u64>]>,
) -> RecordBatch {
    let meta = written.meta();
    let batches: Vec<_> = world
        .segments
        .open(&meta)
        .unwrap()
        .read(schema, ranges)
        .unwrap()
        .map(|batch| batch.unwrap())
        .collect();
    arrow::compute::concat_batches(schema, &batches).unwrap()
}

#[tokio::test]
async fn rows_come_back_as_they_were_written() {
    let world = World::new().await;
    let run = world.new_run().await;
    let rows = mixed(0, 20_000);
    let written = world
        .write(&run, &[rows.slice(0, 7_000), rows.slice(7_000, 13_000)])
        .await;
    assert_eq!(written.len(), 1);
    let path = world.segments.path(&written[0].id);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        std::fs::metadata(world.segments.dir())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), written[0].bytes);
    assert_eq!(read(&world, &written[0], rows.schema_ref(), None), rows);
    assert_eq!(
        states(&world).await,
        [("staged".to_owned(), 0)],
        "only who records them counts them"
    );
    let some = read(
        &world,
        &written[0],
        rows.schema_ref(),
        Some(&[5..6, 4_000..4_100, 19_999..20_000]),
    );
    let expected = [
        rows.slice(5, 1),
        rows.slice(4_000, 100),
        rows.slice(19_999, 1),
    ];
    assert_eq!(
        some,
        arrow::compute::concat_batches(rows.schema_ref(), &expected).unwrap()
    );
}

#[tokio::test]
async fn ranges_may_reach_over_row_groups() {
    let world = World::new().await;
    let run = world.new_run().await;
    let rows = mixed(0, 150_000);
    let written = world.write(&run, std::slice::from_ref(&rows)).await;
    let meta = written[0].meta();
    assert!(
        world
            .segments
            .open(&meta)
            .unwrap()
            .footer()
            .num_row_groups()
            >= 3
    );
    assert!(
        world
            .segments
            .open(&meta)
            .unwrap()
            .footer()
            .page_index()
            .is_some()
    );
    let at = ROW_GROUP_ROWS as u64;
    let some = read(
        &world,
        &written[0],
        rows.schema_ref(),
        Some(&[at - 3..at + 3, 149_990..150_000]),
    );
    let expected = [rows.slice(ROW_GROUP_ROWS - 3, 6), rows.slice(149_990, 10)];
    assert_eq!(
        some,
        arrow::compute::concat_batches(rows.schema_ref(), &expected).unwrap()
    );
}

#[tokio::test]
async fn a_new_column_begins_a_wider_segment_and_is_null_before() {
    let world = World::new().await;
    let run = world.new_run().await;
    let narrow = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(1)]))]);
    let misfit = batch(vec![
        ("id", ColumnKind::Integer, integer(vec![None])),
        ("_misfit", ColumnKind::Json, text(vec![Some("{}")])),
    ]);
    let wide = batch(vec![
        ("id", ColumnKind::Integer, integer(vec![Some(2)])),
        ("x_mood", ColumnKind::Json, text(vec![Some("glad")])),
    ]);
    let written = world
        .write(&run, &[narrow.clone(), misfit, wide, narrow])
        .await;
    let names = |w: &WrittenSegment| {
        w.columns
            .iter()
            .map(|c| c.name.clone())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        written.iter().map(names).collect::<Vec<_>>(),
        ["id", "id _misfit", "id x_mood _misfit"]
    );
    assert_eq!(
        written.iter().map(|w| w.rows).collect::<Vec<_>>(),
        [1, 1, 2]
    );
    let wide = columns::to_schema(&written[2].columns);
    let first = read(&world, &written[0], &wide, None);
    assert_eq!(first.column_by_name("x_mood").unwrap().null_count(), 1);
    let only_missing = columns::to_schema(&written[2].columns[1..2]);
    assert_eq!(read(&world, &written[0], &only_missing, None).num_rows(), 1);
}

#[tokio::test]
async fn a_segment_that_has_grown_is_followed_by_another() {
    let world = World::new().await;
    let run = world.new_run().await;
    let mut writer = world.segments.writer(&world.dataset, &run);
    writer.segment_bytes = 1;
    let mut all = 0;
    // The size is read while the blocking side writes, so the number of segments is at least one
    // more, but not exact.
    while all < 300 || writer.staged() < 3 {
        writer.write(&mixed(all, all + 100)).await.unwrap();
        all += 100;
    }
    let written = writer.finish().await.unwrap();
    assert!(written.len() >= 3);
    assert_eq!(written.iter().map(|w| w.rows as i64).sum::<i64>(), all);
}

#[tokio::test]
async fn what_is_abandoned_stays_staged_and_is_no_segment() {
    let world = World::new().await;
    let run = world.new_run().await;
    let mut writer = world.segments.writer(&world.dataset, &run);
    writer.write(&mixed(0, 10)).await.unwrap();
    writer.abandon();
    assert_eq!(states(&world).await, [("staged".to_owned(), 0)]);
    assert!(world.write(&run, &[mixed(0, 0)]).await.is_empty());
}

#[tokio::test]
async fn a_cut_or_missing_file_is_an_error() {
    let world = World::new().await;
    let run = world.new_run().await;
    let written = world.write(&run, &[mixed(0, 1_000)]).await;
    let meta = SegmentMeta {
        rows: 1_000,
        ..written[0].meta()
    };
    let path = world.segments.path(&meta.id);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(world.segments.open(&meta).is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(world.segments.open(&meta).is_err());
    assert!(world.segments.remove(&meta.id).is_ok());
}

#[tokio::test]
async fn writing_where_nothing_can_be_written_is_an_error() {
    let world = World::new().await;
    let run = world.new_run().await;
    let mut writer = world.segments.writer(&world.dataset, &run);
    std::fs::remove_dir_all(world.segments.dir()).unwrap();
    let mut failed = false;
    for _ in 0..10 {
        failed |= writer.write(&mixed(0, 10)).await.is_err();
    }
    assert!(failed);
    assert!(writer.finish().await.is_err());
}

#[tokio::test]
async fn what_was_recorded_is_gone_on_after_and_the_rest_of_an_attempt_is_not() {
    let world = World::new().await;
    let run = world.new_run().await;
    let mut first = world.segments.writer(&world.dataset, &run);
    first.write(&mixed(0, 100)).await.unwrap();
    first.close().await.unwrap();
    first.write(&mixed(100, 150)).await.unwrap();
    first.close().await.unwrap();
    let mut tx = world.db.write().await.unwrap();
    record(&mut tx, first.written()).await.unwrap();
    tx.commit().await.unwrap();
    // One closed segment that was never recorded, and one that was still open.
    first.write(&mixed(150, 170)).await.unwrap();
    first.close().await.unwrap();
    first.write(&mixed(170, 180)).await.unwrap();
    drop(first);

    let mut second = world.segments.resume(&world.dataset, &run).await.unwrap();
    assert_eq!((second.rows(), second.written().len()), (150, 2));
    second.write(&mixed(150, 200)).await.unwrap();
    let written = second.finish().await.unwrap();
    let version = world.commit(&run, &[], &written).await;
    assert_eq!((version.rows, version.segments.len()), (200, 3));
    let schema = columns::to_schema(&version.columns);
    let all: Vec<RecordBatch> = written
        .iter()
        .map(|one| read(&world, one, &schema, None))
        .collect();
    assert_eq!(
        arrow::compute::concat_batches(&schema, &all).unwrap(),
        columns::conform(&mixed(0, 200), &schema).unwrap()
    );
    let kept = states(&world)
        .await
        .into_iter()
        .filter(|(state, _)| state == "kept")
        .count();
    assert_eq!(kept, 3);
    // A damaged file is found before new rows are added to it.
    let other = world.new_run().await;
    let written = world.write(&other, &[mixed(0, 10)]).await;
    let mut tx = world.db.write().await.unwrap();
    record(&mut tx, &written).await.unwrap();
    tx.commit().await.unwrap();
    std::fs::write(world.segments.path(&written[0].id), b"PAR1").unwrap();
    assert!(world.segments.resume(&world.dataset, &other).await.is_err());
}

#[tokio::test]
async fn many_small_segments_at_the_end_become_one_and_no_row_moves() {
    let world = World::new().await;
    let run = world.new_run().await;
    let mut writer = world.segments.writer(&world.dataset, &run);
    writer.max_small = 4;
    for part in 0..6 {
        writer
            .write(&mixed(part * 50, (part + 1) * 50))
            .await
            .unwrap();
        writer.close().await.unwrap();
    }
    assert_eq!(writer.written().len(), 6);
    let written = writer.finish().await.unwrap();
    assert_eq!((written.len(), written[0].rows), (1, 300));
    let schema = columns::to_schema(&written[0].columns);
    assert_eq!(
        read(&world, &written[0], &schema, None),
        columns::conform(&mixed(0, 300), &schema).unwrap()
    );
    let version = world.commit(&run, &[], &written).await;
    assert_eq!(version.rows, 300);
    let dropped = states(&world)
        .await
        .into_iter()
        .filter(|(state, _)| state == "dropped")
        .count();
    assert_eq!(dropped, 6, "the small ones go with the sweep");
}

#[test]
fn only_small_segments_after_the_last_large_one_are_merged() {
    assert_eq!(small_tail(&[1; 32], MAX_SMALL_SEGMENTS), None);
    assert_eq!(small_tail(&[1; 33], MAX_SMALL_SEGMENTS), Some(0));
    let mut bytes = vec![1; 40];
    bytes[6] = writer::SMALL_SEGMENT_BYTES;
    assert_eq!(small_tail(&bytes, MAX_SMALL_SEGMENTS), Some(7));
    bytes[10] = writer::SMALL_SEGMENT_BYTES;
    assert_eq!(
        small_tail(&bytes, MAX_SMALL_SEGMENTS),
        None,
        "29 at the end are not many"
    );
}
