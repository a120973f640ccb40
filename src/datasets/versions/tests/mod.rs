//! Versions: commits, history and reverts.

mod retention;
mod sweep;

use super::super::columns::ColumnInfo;
use super::super::segments::WrittenSegment;
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
