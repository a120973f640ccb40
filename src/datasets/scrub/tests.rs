//! The integrity check finds damage, clears the damage of restored files, and adds checksums to
//! older files.

use sqlx::Row;

use super::super::testing::{World, mixed};
use super::super::versions::{Integrity, Version};
use super::*;

impl World {
    fn scrub(&self) -> Scrub {
        // Opens the segments again, as after a restart.
        let segments = Segments::new(
            self.segments.dir().to_owned(),
            self.db.clone(),
            self.clock.clone(),
        )
        .unwrap();
        Scrub {
            db: self.db.clone(),
            segments,
            clock: self.clock.clone(),
            metrics: Metrics::new(),
            percent: 10,
        }
    }

    async fn state(&self, version: &Version) -> Integrity {
        let known = self.versions.integrity(&self.dataset).await.unwrap();
        known
            .iter()
            .find(|of| of.version == version.id)
            .unwrap()
            .state()
    }
}

async fn round(scrub: &Scrub, mut allowance: i64) -> Scrubbed {
    scrub
        .round(&mut allowance, &CancellationToken::new())
        .await
        .unwrap()
}

#[tokio::test]
async fn damage_is_found_once_a_file_is_due_and_forgotten_when_the_file_is_back() {
    let world = World::new().await;
    let version = world.pull(&[mixed(0, 20_000)]).await;
    let path = world
        .segments
        .dir()
        .join(format!("{}.parquet", version.segments[0].id));
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x10;
    std::fs::write(&path, damaged).unwrap();
    let scrub = world.scrub();
    assert_eq!(
        round(&scrub, i64::MAX).await.files,
        0,
        "it was written just now"
    );
    world.clock.advance(10 * DAY + 1);
    let done = round(&scrub, i64::MAX).await;
    assert_eq!(
        (done.files, done.bytes, done.damaged),
        (1, version.bytes, 1)
    );
    assert_eq!(
        (
            world.state(&version).await,
            scrub.metrics.damaged_segments.get()
        ),
        (Integrity::Damaged, 1)
    );
    // Damaged files are checked once an hour, whatever the allowance.
    assert_eq!(round(&scrub, i64::MAX).await.files, 0);
    world.clock.advance(RECHECK_DAMAGED_AFTER + 1);
    assert_eq!(round(&scrub, 0).await.damaged, 1);
    std::fs::write(&path, whole).unwrap();
    world.clock.advance(RECHECK_DAMAGED_AFTER + 1);
    let done = round(&scrub, 0).await;
    assert_eq!((done.files, done.damaged), (1, 0));
    assert_eq!(
        (
            world.state(&version).await,
            scrub.metrics.damaged_segments.get()
        ),
        (Integrity::Checked, 0)
    );
    assert_eq!(round(&scrub, i64::MAX).await.files, 0);
    std::fs::remove_file(path).unwrap();
    world.clock.advance(10 * DAY + 1);
    assert_eq!(
        round(&scrub, i64::MAX).await.damaged,
        1,
        "a missing file is damage, too"
    );
}

#[tokio::test]
async fn a_file_from_before_there_were_checksums_gets_those_it_would_have_had() {
    let world = World::new().await;
    let version = world.pull(&[mixed(0, 20_000)]).await;
    let stored = async || {
        let row = sqlx::query("SELECT checksums, digest FROM segments")
            .fetch_one(world.db.read())
            .await
            .unwrap();
        (
            row.get::<Option<String>, _>(0),
            row.get::<Option<String>, _>(1),
        )
    };
    let written = stored().await;
    let mut tx = world.db.write().await.unwrap();
    sqlx::query("UPDATE segments SET checksums = NULL, digest = NULL")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.state(&version).await, Integrity::NotChecked);
    let old = world.versions.get(&version.id).await.unwrap().unwrap();
    assert_eq!(old.digest(), None);
    assert_ne!(
        old.content(),
        version.content(),
        "a version without a digest is like no other"
    );
    let done = round(&world.scrub(), 1).await;
    assert_eq!((done.files, done.damaged), (1, 0));
    assert_eq!(
        (stored().await, world.state(&version).await),
        (written, Integrity::Checked)
    );
}

#[tokio::test]
async fn a_round_reads_no_more_than_its_allowance_and_the_longest_unchecked_first() {
    let world = World::new().await;
    let mut versions = Vec::new();
    for n in 1..=3 {
        versions.push(world.pull(&[mixed(0, n * 100)]).await);
        world.clock.advance(1_000);
    }
    world.clock.advance(10 * DAY);
    let scrub = world.scrub();
    let mut left = 1;
    let done = scrub
        .round(&mut left, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((done.files, done.bytes), (1, versions[0].bytes));
    assert!(
        left <= 0,
        "a file larger than what is left uses up what comes next"
    );
    assert_eq!(round(&scrub, 1).await.bytes, versions[1].bytes);
    assert_eq!(round(&scrub, i64::MAX).await.files, 1);
    assert_eq!(round(&scrub, 0).await.files, 0);
    let stopped = CancellationToken::new();
    stopped.cancel();
    world.clock.advance(10 * DAY + 5_000);
    assert_eq!(
        scrub.round(&mut 1_000_000, &stopped).await.unwrap().files,
        0,
        "a server that stops does not wait for it"
    );
}
