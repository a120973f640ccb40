//! Versions: commits, history, readers with pins, and the sweep.

use super::super::testing::{World, batch, integer, mixed};
use super::*;
use crate::connectors::report::ColumnKind;

#[tokio::test]
async fn a_commit_makes_the_version_current_and_numbers_go_up() {
    let world = World::new().await;
    assert_eq!(world.versions.current(&world.dataset).await.unwrap(), None);
    let one = world.pull(&[mixed(0, 10)]).await;
    let two = world.pull(&[mixed(0, 20)]).await;
    assert_eq!((one.number, two.number, two.rows), (1, 2, 20));
    assert_eq!(
        world
            .versions
            .current(&world.dataset)
            .await
            .unwrap()
            .as_ref(),
        Some(&two)
    );
    assert_eq!(
        world.versions.get(&one.id).await.unwrap().as_ref(),
        Some(&one)
    );
    assert_eq!(
        world
            .versions
            .by_number(&world.dataset, 1)
            .await
            .unwrap()
            .as_ref(),
        Some(&one)
    );
    assert_eq!(
        world.versions.list(&world.dataset).await.unwrap(),
        [two, one]
    );
}

#[tokio::test]
async fn a_commit_that_is_rolled_back_changes_nothing_and_cannot_come_twice() {
    let world = World::new().await;
    let one = world.pull(&[mixed(0, 10)]).await;
    let run = world.new_run().await;
    let written = world.write(&run, &[mixed(0, 20)]).await;
    let commit = Commit::new(&world.dataset, &run, &[], &written);
    let mut tx = world.db.write().await.unwrap();
    world.versions.commit(&mut tx, &commit).await.unwrap();
    drop(tx);
    assert_eq!(
        world.versions.current(&world.dataset).await.unwrap(),
        Some(one)
    );
    world.commit(&run, &[], &written).await;
    let mut tx = world.db.write().await.unwrap();
    assert!(world.versions.commit(&mut tx, &commit).await.is_err());
}

#[tokio::test]
async fn what_was_merged_into_another_version_than_the_current_one_is_not_committed() {
    let world = World::new().await;
    let base = world.pull(&[mixed(0, 10)]).await;
    let run = world.new_run().await;
    let written = world.write(&run, &[mixed(10, 20)]).await;
    world.end_run(&run, "failed").await;
    let order: Vec<_> = base
        .segments
        .iter()
        .cloned()
        .chain(written.iter().map(WrittenSegment::meta))
        .collect();
    let other = world.pull(&[mixed(0, 5)]).await;
    let mut tx = world.db.write().await.unwrap();
    let merged = |base| Commit {
        order: Some(&order),
        base: Some(base),
        ..Commit::new(&world.dataset, &run, &[], &written)
    };
    let refused = world
        .versions
        .commit(&mut tx, &merged(&base.id))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "version_changed");
    drop(tx);
    assert_eq!(
        world.versions.current(&world.dataset).await.unwrap(),
        Some(other)
    );
}

#[tokio::test]
async fn no_rows_make_a_version_with_the_declared_columns_and_those_that_went_away() {
    let world = World::new().await;
    let columns = world.pull(&[mixed(0, 10)]).await.columns;
    let run = world.new_run().await;
    let declared = [ColumnInfo {
        name: "id".to_owned(),
        kind: ColumnKind::Integer,
        declared: true,
    }];
    let empty = world.commit(&run, &declared, &[]).await;
    assert_eq!((empty.rows, empty.segments.len()), (0, 0));
    assert_eq!(empty.columns.len(), columns.len());
    assert_eq!(
        world.versions.current(&world.dataset).await.unwrap(),
        Some(empty)
    );
}

#[tokio::test]
async fn an_earlier_attempt_of_the_run_leaves_nothing_that_stays() {
    let world = World::new().await;
    let run = world.new_run().await;
    let lost = world.write(&run, &[mixed(0, 5)]).await;
    let kept = world.write(&run, &[mixed(0, 10)]).await;
    let version = world.commit(&run, &[], &kept).await;
    assert_eq!(version.rows, 10);
    world.clock.advance(DAY);
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport {
            deleted: 1,
            ..SweepReport::default()
        }
    );
    assert!(
        !world
            .segments
            .dir()
            .join(format!("{}.parquet", lost[0].id))
            .exists()
    );
    assert_eq!(world.files(), 1);
}

#[tokio::test]
async fn retention_keeps_the_newest_few_and_the_files_one_more_day() {
    let world = World::new().await;
    for n in 1..=5 {
        world.pull(&[mixed(0, n)]).await;
    }
    assert_eq!(
        world
            .versions
            .apply_retention(&world.dataset)
            .await
            .unwrap(),
        2
    );
    let numbers: Vec<_> = world
        .versions
        .list(&world.dataset)
        .await
        .unwrap()
        .iter()
        .map(|v| v.number)
        .collect();
    assert_eq!(numbers, [5, 4, 3]);
    world.clock.advance(DAY - 1);
    assert_eq!(world.versions.sweep().await.unwrap().deleted, 0);
    world.clock.advance(1);
    assert_eq!(world.versions.sweep().await.unwrap().deleted, 2);
    assert_eq!(world.files(), 3);
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport::default()
    );
}

#[tokio::test]
async fn old_versions_go_but_never_the_current_one() {
    let world = World::new().await;
    world.pull(&[mixed(0, 1)]).await;
    let two = world.pull(&[mixed(0, 2)]).await;
    world.clock.advance(31 * DAY);
    assert_eq!(
        world
            .versions
            .apply_retention(&world.dataset)
            .await
            .unwrap(),
        1
    );
    assert_eq!(world.versions.list(&world.dataset).await.unwrap(), [two]);
}

#[tokio::test]
async fn a_pinned_version_stays_until_the_last_reader_is_done() {
    let world = World::new().await;
    let old = world.pull(&[mixed(0, 9)]).await;
    let (pin, second) = (world.versions.pin(&old), world.versions.pin(&old));
    for n in 1..=4 {
        world.pull(&[mixed(0, n)]).await;
    }
    world.clock.advance(40 * DAY);
    world
        .versions
        .apply_retention(&world.dataset)
        .await
        .unwrap();
    assert!(world.versions.get(&old.id).await.unwrap().is_some());
    drop(second);
    assert_eq!(
        world
            .versions
            .apply_retention(&world.dataset)
            .await
            .unwrap(),
        0
    );

    // Deleting the DataSet ignores pins, but its files are not deleted while they are pinned.
    let mut tx = world.db.write().await.unwrap();
    world
        .versions
        .drop_all(&mut tx, &world.dataset)
        .await
        .unwrap();
    sqlx::query("DELETE FROM datasets WHERE id = $1")
        .bind(&world.dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    world.clock.advance(2 * DAY);
    world.versions.sweep().await.unwrap();
    assert_eq!(world.files(), 1);
    assert!(world.segments.open(&pin.segments[0]).is_ok());
    drop(pin);
    assert_eq!(world.versions.sweep().await.unwrap().deleted, 1);
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn a_segment_of_two_versions_stays_until_both_went() {
    let world = World::new().await;
    let one = world.pull(&[mixed(0, 10)]).await;
    let two = world.pull(&[mixed(0, 20)]).await;
    let mut tx = world.db.write().await.unwrap();
    sqlx::query(
        "INSERT INTO version_segments (version_id, position, segment_id) VALUES ($1, 1, $2)",
    )
    .bind(&two.id)
    .bind(&one.segments[0].id)
    .execute(&mut *tx)
    .await
    .unwrap();
    world.versions.drop_version(&mut tx, &one.id).await.unwrap();
    tx.commit().await.unwrap();
    world.clock.advance(2 * DAY);
    assert_eq!(world.versions.sweep().await.unwrap().deleted, 0);
}

#[tokio::test]
async fn work_in_progress_is_spared_and_what_a_crash_left_is_swept() {
    let world = World::new().await;
    let run = world.new_run().await;
    world.write(&run, &[mixed(0, 10)]).await;
    world.clock.advance(3 * DAY);
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport::default()
    );
    world.end_run(&run, "failed").await;
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport {
            dropped: 1,
            deleted: 1,
            ..SweepReport::default()
        },
        "nobody ever read it"
    );
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn the_files_of_a_run_that_failed_can_be_deleted_at_once_and_those_of_one_at_work_only_when_they_count_for_nothing()
 {
    let world = World::new().await;
    let failed = world.new_run().await;
    world.write(&failed, &[mixed(0, 10)]).await;
    assert_eq!(
        (
            world.files(),
            world.versions.delete_staged(&failed).await.unwrap()
        ),
        (1, 0),
        "its end is not written yet"
    );
    world.end_run(&failed, "failed").await;
    assert_eq!(
        (
            world.versions.delete_staged(&failed).await.unwrap(),
            world.files()
        ),
        (1, 0)
    );
    let at_work = world.new_run().await;
    let recorded = world.write(&at_work, &[mixed(0, 10)]).await;
    let mut tx = world.db.write().await.unwrap();
    segments::record(&mut tx, &recorded).await.unwrap();
    tx.commit().await.unwrap();
    world.write(&at_work, &[mixed(0, 20)]).await;
    world.versions.delete_unrecorded(&at_work).await;
    assert_eq!(world.files(), 1);
    assert!(
        world
            .segments
            .dir()
            .join(format!("{}.parquet", recorded[0].id))
            .exists()
    );
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport::default()
    );
}

const HOUR: Millis = 60 * 60 * 1_000;

/// A segment file that the catalogue does not contain.
fn unknown(world: &World) -> SegmentId {
    let id = SegmentId::new();
    std::fs::write(
        world.segments.dir().join(format!("{id}.parquet")),
        "half a file",
    )
    .unwrap();
    id
}

#[tokio::test]
async fn a_file_that_nothing_names_is_moved_to_the_trash_after_an_hour_and_deleted_a_day_later() {
    let world = World::new().await;
    world.pull(&[mixed(0, 10)]).await;
    let id = unknown(&world);
    std::fs::write(world.segments.dir().join("notes.txt"), "not ours").unwrap();
    world.clock.advance(HOUR - 1);
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport::default(),
        "the server may have been started with the wrong catalogue"
    );
    world.clock.advance(1);
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport {
            orphans: 1,
            ..SweepReport::default()
        }
    );
    assert_eq!(world.files(), 2);
    let moved = world.versions.trash().join(format!("{id}.parquet"));
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "half a file");
    // Setting the clock forward does not age files.
    world.clock.jump(30 * DAY);
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport::default()
    );
    world.clock.jump(-30 * DAY);
    world.clock.advance(DAY - 1);
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport::default()
    );
    world.clock.advance(1);
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport {
            emptied: 1,
            ..SweepReport::default()
        }
    );
    assert!(!moved.exists());
}

#[tokio::test]
async fn a_file_in_the_trash_comes_back_with_the_catalogue_that_names_it() {
    let world = World::new().await;
    let version = world.pull(&[mixed(0, 10)]).await;
    let (id, lost) = (&version.segments[0].id, unknown(&world));
    std::fs::create_dir(world.versions.trash()).unwrap();
    for id in [id, &lost] {
        let name = format!("{id}.parquet");
        std::fs::rename(
            world.segments.dir().join(&name),
            world.versions.trash().join(&name),
        )
        .unwrap();
    }
    assert_eq!(world.versions.sweep().await.unwrap().emptied, 0);
    assert!(
        world.segments.open(&version.segments[0]).is_ok(),
        "it is back where it was"
    );
    // The trash is emptied early when the disk is nearly full.
    assert_eq!(world.versions.empty_trash().await.unwrap(), 1);
    assert_eq!(
        (
            trash::count_files(&world.versions.trash()).unwrap(),
            world.files()
        ),
        (0, 1)
    );
}

#[tokio::test]
async fn every_commit_of_a_version_and_every_one_that_is_dropped_is_counted() {
    let world = World::new().await;
    let commits = async || world.db.commit_mark().await.unwrap().unwrap().commits;
    let one = world.pull(&[mixed(0, 10)]).await;
    assert_eq!(commits().await, 1);
    world.pull(&[mixed(0, 20)]).await;
    restored(&world, &one.id).await.unwrap();
    assert_eq!(commits().await, 3);
    world.pull(&[mixed(0, 5)]).await;
    world
        .versions
        .apply_retention(&world.dataset)
        .await
        .unwrap();
    assert_eq!(commits().await, 5, "four versions, of which three are kept");
    let mut tx = world.db.write().await.unwrap();
    world
        .versions
        .drop_all(&mut tx, &world.dataset)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(commits().await, 6);
}

#[tokio::test]
async fn many_dropped_segments_are_swept_in_chunks() {
    let world = World::new().await;
    let mut tx = world.db.write().await.unwrap();
    for _ in 0..(2 * MAX_SEGMENTS_PER_TX + 1) {
        sqlx::query(
            "INSERT INTO segments (id, dataset_id, run_id, state, created_at)
             VALUES ($1, $2, 'run_gone', 'staged', 0)",
        )
        .bind(SegmentId::new())
        .bind(&world.dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(
        world.versions.sweep().await.unwrap(),
        SweepReport {
            dropped: 401,
            deleted: 401,
            ..SweepReport::default()
        }
    );
}

#[tokio::test]
async fn a_column_of_one_segment_is_a_column_of_the_version() {
    let world = World::new().await;
    let narrow = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(1)]))]);
    let wide = batch(vec![
        ("id", ColumnKind::Integer, integer(vec![Some(2)])),
        ("x_age", ColumnKind::Integer, integer(vec![Some(3)])),
    ]);
    let version = world.pull(&[narrow, wide]).await;
    assert_eq!(
        version
            .columns
            .iter()
            .map(|c| c.name.as_str())
            .collect::<Vec<_>>(),
        ["id", "x_age"]
    );
    assert_eq!(version.segments.len(), 2);
}

async fn restored(world: &World, old: &VersionId) -> Result<Version> {
    let run = world.new_run().await;
    let mut tx = world.db.write().await.unwrap();
    let done = world
        .versions
        .restore(&mut tx, &world.dataset, old, &run)
        .await;
    if done.is_ok() {
        tx.commit().await.unwrap();
    } else {
        drop(tx);
    }
    world.end_run(&run, "succeeded").await;
    done.map(|(_, new)| new)
}

#[tokio::test]
async fn going_back_makes_a_new_version_of_the_same_files_and_columns() {
    let world = World::new().await;
    let one = world.pull(&[mixed(0, 10), mixed(10, 15)]).await;
    let two = world
        .pull(&[batch(vec![(
            "id",
            ColumnKind::Integer,
            integer(vec![Some(1)]),
        )])])
        .await;
    let three = restored(&world, &one.id).await.unwrap();
    assert_eq!(
        (three.number, three.rows, three.bytes),
        (3, one.rows, one.bytes)
    );
    assert_eq!(
        (&three.columns, &three.segments),
        (&one.columns, &one.segments)
    );
    assert_eq!(
        world
            .versions
            .current(&world.dataset)
            .await
            .unwrap()
            .as_ref(),
        Some(&three)
    );
    // Reverts to the newer version again.
    let four = restored(&world, &two.id).await.unwrap();
    assert_eq!(
        (four.number, &four.segments, &four.columns),
        (4, &two.segments, &two.columns)
    );
    assert_eq!(world.pull(&[mixed(0, 3)]).await.number, 5);
    assert_eq!(world.files(), one.segments.len() + two.segments.len() + 1);
}

#[tokio::test]
async fn nobody_goes_back_to_what_is_current_gone_or_of_another_dataset() {
    let world = World::new().await;
    let one = world.pull(&[mixed(0, 10)]).await;
    assert_eq!(
        restored(&world, &one.id).await.unwrap_err().code(),
        "version_current"
    );
    assert_eq!(
        restored(&world, &VersionId::new())
            .await
            .unwrap_err()
            .code(),
        "not_found"
    );
    let mut other = World::new().await;
    other.pull(&[mixed(0, 1)]).await;
    other.dataset = other.new_dataset().await;
    let foreign = other.versions.list(&other.dataset).await.unwrap();
    assert!(foreign.is_empty());
    let two = world.pull(&[mixed(0, 2)]).await;
    let elsewhere = world.new_dataset().await;
    let run = world.new_run().await;
    let mut tx = world.db.write().await.unwrap();
    assert_eq!(
        world
            .versions
            .restore(&mut tx, &elsewhere, &one.id, &run)
            .await
            .unwrap_err()
            .code(),
        "not_found"
    );
    drop(tx);
    assert_eq!(
        world.versions.current(&world.dataset).await.unwrap(),
        Some(two)
    );
}

#[tokio::test]
async fn a_dataset_may_keep_more_or_fewer_than_the_server_says() {
    let world = World::new().await;
    let keep = async |versions: Option<i64>, days: Option<i64>| {
        let mut tx = world.db.write().await.unwrap();
        sqlx::query(
            "UPDATE datasets SET retention_versions = $1, retention_days = $2 WHERE id = $3",
        )
        .bind(versions)
        .bind(days)
        .bind(&world.dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
    };
    for n in 1..=6 {
        world.pull(&[mixed(0, n)]).await;
    }
    keep(Some(5), None).await;
    assert_eq!(
        world
            .versions
            .apply_retention(&world.dataset)
            .await
            .unwrap(),
        1
    );
    keep(Some(2), None).await;
    assert_eq!(
        world
            .versions
            .apply_retention(&world.dataset)
            .await
            .unwrap(),
        3
    );
    keep(Some(100), Some(2)).await;
    world.clock.advance(DAY);
    world.pull(&[mixed(0, 7)]).await;
    world.clock.advance(DAY + 1);
    assert_eq!(
        world
            .versions
            .apply_retention(&world.dataset)
            .await
            .unwrap(),
        1,
        "one was replaced more than two days ago, and one yesterday"
    );
    assert_eq!(
        world
            .versions
            .retention_override(&world.dataset)
            .await
            .unwrap(),
        RetentionOverride {
            versions: Some(100),
            days: Some(2)
        }
    );
    for (versions, days, good) in [
        (Some(0), None, false),
        (Some(1), Some(1), true),
        (None, Some(0), false),
        (Some(MAX_RETENTION_VERSIONS + 1), None, false),
        (None, None, true),
    ] {
        assert_eq!(
            RetentionOverride { versions, days }.check().is_ok(),
            good,
            "{versions:?} {days:?}"
        );
    }
}

#[tokio::test]
async fn a_file_that_versions_share_is_counted_once() {
    let world = World::new().await;
    let one = world.pull(&[mixed(0, 10)]).await;
    let two = world.pull(&[mixed(0, 500)]).await;
    let sizes = world.versions.sizes(&world.dataset).await.unwrap();
    assert_eq!(
        (
            sizes.alone[&one.id],
            sizes.alone[&two.id],
            sizes.stored,
            sizes.pending_deletion
        ),
        (one.bytes, two.bytes, one.bytes + two.bytes, 0)
    );
    let three = restored(&world, &one.id).await.unwrap();
    let sizes = world.versions.sizes(&world.dataset).await.unwrap();
    assert_eq!(
        (sizes.alone[&one.id], sizes.alone[&three.id], sizes.stored),
        (0, 0, one.bytes + two.bytes)
    );
    let mut tx = world.db.write().await.unwrap();
    world.versions.drop_version(&mut tx, &two.id).await.unwrap();
    tx.commit().await.unwrap();
    let sizes = world.versions.sizes(&world.dataset).await.unwrap();
    assert_eq!(
        (sizes.stored, sizes.pending_deletion),
        (one.bytes, two.bytes)
    );
}

#[tokio::test]
async fn the_stages_of_a_backfill_leave_one_version_in_the_history() {
    let world = World::new().await;
    let before = world.pull(&[mixed(0, 1)]).await;
    let mut of_backfill: Vec<Version> = Vec::new();
    for n in 2..=8 {
        let version = world.pull(&[mixed(0, n)]).await;
        let mut tx = world.db.write().await.unwrap();
        // Before the last chunk, a person reverted to the version from which the backfill started.
        let base = if n == 8 {
            before.run.clone()
        } else {
            of_backfill.last().and_then(|last| last.run.clone())
        };
        sqlx::query("UPDATE runs SET backfill_id = 'bf_1', builds_on = $1 WHERE id = $2")
            .bind(base)
            .bind(&version.run)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        of_backfill.push(version);
        world
            .versions
            .apply_retention(&world.dataset)
            .await
            .unwrap();
    }
    let (last, left) = (of_backfill.pop().unwrap(), of_backfill.pop().unwrap());
    assert_eq!(
        world.versions.list(&world.dataset).await.unwrap(),
        [last, left, before],
        "what nothing builds on is no stage"
    );
}
