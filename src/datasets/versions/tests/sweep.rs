//! The sweep and the trash: which files are deleted, and when.

use super::super::{DAY, MAX_SEGMENTS_PER_TX, SweepReport, trash};
use crate::clock::Millis;
use crate::datasets::segments;
use crate::datasets::testing::{World, mixed};
use crate::ids::SegmentId;

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
