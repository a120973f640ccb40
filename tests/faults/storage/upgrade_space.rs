//! An upgrade on a disk without space for the copy of the catalogue is refused before it changes
//! anything.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::Disk;
use crate::support::data_dir::DataDir;

/// A catalogue of the previous version.
const PREVIOUS: &str = include_str!("../../fixtures/catalogue_0021.sql");

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_without_space_for_a_copy_changes_nothing() {
    // Only root can mount a small disk. The unit test of the rule runs for everyone.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let data_dir = DataDir::new();
    // Less than the margin of 8 MiB that an upgrade leaves free.
    let disk = Disk::mount(&data_dir, 6);
    let pool = SqlitePoolOptions::new()
        .connect_with(
            SqliteConnectOptions::new()
                .filename(data_dir.catalogue())
                .create_if_missing(true)
                .foreign_keys(false),
        )
        .await
        .unwrap();
    sqlx::raw_sql(PREVIOUS).execute(&pool).await.unwrap();
    pool.close().await;
    let before = std::fs::read(data_dir.catalogue()).unwrap();

    let server = data_dir.spawn(&[]);
    assert_ne!(server.exit(Duration::from_secs(60)).await, 0);
    let err = server.err();
    assert!(
        err.contains("The catalogue was not upgraded") && err.contains("MiB free"),
        "{err}"
    );
    assert_eq!(std::fs::read(data_dir.catalogue()).unwrap(), before);
    let copies: Vec<_> = std::fs::read_dir(data_dir.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".before-"))
        .collect();
    assert!(copies.is_empty(), "{copies:?}");
    drop(disk);
}
