//! Retention: which versions are dropped, pins, and the space that versions use.

use super::super::{DAY, MAX_RETENTION_VERSIONS, RetentionOverride, SweepReport, Version};
use super::restored;
use crate::datasets::testing::{World, mixed};

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
