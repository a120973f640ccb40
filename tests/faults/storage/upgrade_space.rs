//! An upgrade on a disk without space for the copy of the catalogue is refused before it changes
//! anything.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use super::Disk;
use crate::support::data_dir::DataDir;

/// A catalogue of the previous version.
const PREVIOUS: &str = include_str!("../../fixtures/catalogue_0021.sql");

async fn open(data_dir: &DataDir) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(data_dir.catalogue())
        .create_if_missing(true)
        .foreign_keys(false);
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap()
}

/// The newest migration, and the number of rows of a table.
async fn newest_migration_and_runs(pool: &SqlitePool) -> (i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT MAX(version) FROM _sqlx_migrations), (SELECT COUNT(*) FROM runs)",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_without_space_for_a_copy_changes_nothing() {
    // Only root can mount a small disk. The unit test of the rule runs for everyone.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let data_dir = DataDir::new();
    // Less than the margin of 8 MiB that an upgrade leaves free.
    let disk = Disk::mount(&data_dir, 6);
    let pool = open(&data_dir).await;
    sqlx::raw_sql(PREVIOUS).execute(&pool).await.unwrap();
    let before = newest_migration_and_runs(&pool).await;
    pool.close().await;

    let server = data_dir.spawn(&[]);
    assert_ne!(server.exit(Duration::from_secs(60)).await, 0);
    let err = server.err();
    assert!(
        err.contains("The catalogue was not upgraded") && err.contains("MiB free"),
        "{err}"
    );
    let pool = open(&data_dir).await;
    assert_eq!(newest_migration_and_runs(&pool).await, before);
    pool.close().await;
    let copies: Vec<_> = std::fs::read_dir(data_dir.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".before-"))
        .collect();
    assert!(copies.is_empty(), "{copies:?}");
    drop(disk);
}
