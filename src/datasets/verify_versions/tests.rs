//! Every kind of damage is found, and intact data gives no findings.

use super::super::testing::{World, mixed};
use super::*;
use crate::datasets::versions::Version;

async fn broken(world: &World, statement: &'static str) {
    let mut tx = world.db.write().await.unwrap();
    sqlx::query(statement).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn found(world: &World, deep: bool) -> Vec<&'static str> {
    verify(&world.db, &world.segments, deep)
        .await
        .unwrap()
        .into_iter()
        .map(|finding| finding.check)
        .collect()
}

async fn of_two() -> (World, Version, Version) {
    let world = World::new().await;
    let one = world.pull(&[mixed(0, 40)]).await;
    let two = world.pull(&[mixed(0, 90)]).await;
    assert!(found(&world, true).await.is_empty());
    (world, one, two)
}

#[tokio::test]
async fn work_in_progress_and_what_is_to_be_swept_are_no_findings() {
    let (world, ..) = of_two().await;
    let run = world.new_run().await;
    world.write(&run, &[mixed(0, 10)]).await;
    assert!(found(&world, true).await.is_empty());
    world.end_run(&run, "failed").await;
    for n in 1..=3 {
        world.pull(&[mixed(0, n)]).await;
    }
    world
        .versions
        .apply_retention(&world.dataset)
        .await
        .unwrap();
    assert!(found(&world, true).await.is_empty());
}

#[tokio::test]
async fn what_is_broken_in_the_catalogue_is_found() {
    for (statement, checks) in [
        (
            "UPDATE versions SET rows = rows + 1 WHERE number = 1",
            vec!["version_rows"],
        ),
        (
            "UPDATE version_segments
             SET position = 7
             WHERE version_id = (SELECT id FROM versions WHERE number = 1)",
            vec!["version_order"],
        ),
        (
            "UPDATE segments SET state = 'dropped' WHERE id = (SELECT MIN(id) FROM segments)",
            vec!["version_segment"],
        ),
        (
            "UPDATE segments SET dataset_id = 'ds_other' WHERE id = (SELECT MIN(id) FROM segments)",
            vec!["segment_dataset"],
        ),
        (
            "DELETE FROM version_segments
             WHERE version_id = (SELECT id FROM versions WHERE number = 1)",
            vec!["version_rows", "segment_unnamed"],
        ),
        (
            "UPDATE datasets SET current_version = 'ver_none' WHERE current_version IS NOT NULL",
            vec!["current_pointer", "current_newest"],
        ),
        (
            "UPDATE datasets SET current_version = (SELECT id FROM versions WHERE number = 1)",
            vec!["current_newest"],
        ),
        (
            "UPDATE datasets SET next_version_number = 2",
            vec!["next_number"],
        ),
        (
            "UPDATE segments SET rows = rows + 1 WHERE id = (SELECT MIN(id) FROM segments)",
            vec!["version_rows", "segment_file"],
        ),
        (
            "UPDATE segments SET bytes = bytes + 1 WHERE id = (SELECT MIN(id) FROM segments)",
            vec!["segment_file"],
        ),
        (
            "UPDATE segments SET columns = '[]' WHERE id = (SELECT MIN(id) FROM segments)",
            vec!["segment_columns"],
        ),
        (
            "UPDATE versions SET columns = '[]' WHERE number = 1",
            vec!["version_columns"],
        ),
        ("DELETE FROM segments WHERE state = 'nothing'", vec![]),
    ] {
        let (world, ..) = of_two().await;
        broken(&world, statement).await;
        assert_eq!(found(&world, false).await, checks, "{statement}");
    }
}

#[tokio::test]
async fn what_is_broken_on_the_disk_is_found() {
    let (world, one, two) = of_two().await;
    let path = |version: &Version| {
        world
            .segments
            .dir()
            .join(format!("{}.parquet", version.segments[0].id))
    };
    std::fs::write(
        world
            .segments
            .dir()
            .join(format!("{}.parquet", SegmentId::new())),
        "nobody's",
    )
    .unwrap();
    assert_eq!(found(&world, false).await, ["orphan"]);
    std::fs::remove_file(path(&one)).unwrap();
    assert_eq!(found(&world, false).await, ["segment_file", "orphan"]);
    // Damages a page in the middle, which only the checksums detect.
    let mut bytes = std::fs::read(path(&two)).unwrap();
    let middle = bytes.len() / 4;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(path(&two), bytes).unwrap();
    assert_eq!(
        found(&world, true).await,
        ["segment_file", "segment_file", "orphan"]
    );
}
