//! The connection pools of an open catalogue, and the ways to open it: for writing, read-only, and
//! read-only on a full disk.

use std::path::Path;
use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};

use super::commits::{self, CommitMark};
use super::sqlite_settings::{assert_settings, connect_options};
use super::{MIGRATIONS, dir_of, storage, upgrade_copy};
use crate::error::{Error, ErrorKind, Result};

/// The connections of a catalogue that is open for writing.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    pub writer: SqlitePool,
    pub readers: SqlitePool,
}

impl Pools {
    /// Opens the catalogue for writing, creates it if it does not exist, and applies pending
    /// migrations. Closes everything if it fails.
    pub async fn open(path: &Path) -> Result<Self> {
        // The commit file is read first: another server may be writing both, and the catalogue's
        // number only grows.
        let mark = read_commit_file(path).await?;
        let options = connect_options(path)?;
        let writer = pool_options()
            .max_connections(1)
            .min_connections(1)
            .connect_with(options.clone())
            .await?;
        let prepared = async {
            assert_settings(&writer).await?;
            check_commit_mark(path, mark.as_ref(), &writer).await?;
            let copy = upgrade_copy::write(path, &writer).await?;
            MIGRATIONS.run(&writer).await.map_err(migration_error)?;
            if let Some(copy) = copy {
                upgrade_copy::delete_others(path, &copy);
            }
            if commits::read_mark(&writer).await?.is_none() {
                let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
                commits::assign_id(&mut tx).await?;
                tx.commit().await?;
            }
            let options = options.read_only(true).create_if_missing(false);
            Ok(pool_options()
                .max_connections(8)
                .min_connections(1)
                .connect_with(options)
                .await?)
        };
        match prepared.await {
            Ok(readers) => Ok(Self { writer, readers }),
            Err(why) => {
                writer.close().await;
                Err(why)
            }
        }
    }
}

/// The pool settings. When the disk is full or fails, SQLite rolls a transaction back by itself.
/// The driver's rollback then fails, and the driver still counts the transaction as open, so that
/// no transaction could be started on this connection again. Such a connection is closed instead of
/// reused.
fn pool_options() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .acquire_timeout(Duration::from_secs(30))
        .after_release(|connection, _| {
            Box::pin(async move {
                // A rollback may still be in progress; the ping completes after it.
                connection.ping().await?;
                let is_over = !connection.is_in_transaction();
                if !is_over {
                    tracing::debug!(
                        "a connection to the catalogue is closed, because its transaction ended \
                         with an error of the disk"
                    );
                }
                Ok(is_over)
            })
        })
}

fn migration_error(why: sqlx::migrate::MigrateError) -> Error {
    match why {
        sqlx::migrate::MigrateError::VersionMissing(number) => Error::conflict(
            "newer_catalogue",
            format!(
                "The catalogue was written by a newer Chatlake (it has migration {number}). \
                 Start the newer version, or restore the copy or the backup of the catalogue from \
                 before the upgrade."
            ),
        ),
        sqlx::migrate::MigrateError::Execute(why)
        | sqlx::migrate::MigrateError::ExecuteMigration(why, _) => why.into(),
        other => Error::internal(other),
    }
}

async fn read_commit_file(path: &Path) -> Result<Option<CommitMark>> {
    let dir = dir_of(path).to_owned();
    tokio::task::spawn_blocking(move || CommitMark::read(&dir))
        .await
        .map_err(Error::from)
}

/// Refuses a catalogue that is older than its commit file.
async fn check_commit_mark(
    path: &Path,
    mark: Option<&CommitMark>,
    pool: &SqlitePool,
) -> Result<()> {
    let Some(mark) = mark else { return Ok(()) };
    match mark.mismatch(commits::read_mark(pool).await?.as_ref()) {
        Some(mismatch) => Err(commits::older_catalogue_error(dir_of(path), &mismatch)),
        None => Ok(()),
    }
}

/// Opens the catalogue read-only, with or without a running server.
pub(super) async fn open_read_only(path: &Path) -> Result<SqlitePool> {
    // Without a WAL, no process writes and the file is complete, so it can be opened without
    // creating files next to it.
    let settled = wal_bytes(path).is_none();
    let options = connect_options(path)?
        .read_only(true)
        .create_if_missing(false)
        .immutable(settled);
    let readers = SqlitePoolOptions::new()
        .max_connections(2)
        .connect_with(options)
        .await?;
    check_migration_version(&readers).await?;
    Ok(readers)
}

/// Opens a properly closed catalogue read-only and immutable. This creates no file next to it,
/// because there may be no space for one.
pub(super) async fn open_immutable(path: &Path) -> Result<SqlitePool> {
    if wal_bytes(path).is_some_and(|bytes| bytes > 0) {
        checkpoint_wal(path).await?;
    }
    let mark = read_commit_file(path).await?;
    let options = connect_options(path)?
        .read_only(true)
        .create_if_missing(false)
        .immutable(true);
    let readers = SqlitePoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options)
        .await?;
    check_migration_version(&readers).await?;
    check_commit_mark(path, mark.as_ref(), &readers).await?;
    Ok(readers)
}

/// Checkpoints the WAL of a catalogue whose server has crashed. Uses exclusive mode, which needs no
/// shared index file, because there is no space for one. Fails if the catalogue would have to grow.
async fn checkpoint_wal(path: &Path) -> Result<()> {
    let options = connect_options(path)?
        .create_if_missing(false)
        .locking_mode(sqlx::sqlite::SqliteLockingMode::Exclusive);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    let done = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&pool)
        .await;
    pool.close().await;
    match done? {
        0 => Ok(()),
        _ => Err(Error::internal("the log could not be written back")),
    }
}

/// The length of the WAL; `None` without one.
fn wal_bytes(path: &Path) -> Option<u64> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).ok().map(|about| about.len())
}

async fn check_migration_version(pool: &SqlitePool) -> Result<()> {
    let there: i64 = sqlx::query_scalar(
        "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success = 1",
    )
    .fetch_one(pool)
    .await?;
    let known = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    if there == known {
        return Ok(());
    }
    Err(Error::conflict(
        "other_catalogue",
        format!(
            "The catalogue has migration {there}, but this program has migration {known}. \
             Use the Chatlake version that serves this directory."
        ),
    ))
}

/// The error of a start that fails even read-only because the disk is full.
pub(super) fn disk_full_error(path: &Path, why: &Error) -> Error {
    let advice = storage::advice_to_start(dir_of(path));
    let mut error = Error::new(
        ErrorKind::Unavailable,
        "storage_full",
        "The disk is full, so the catalogue cannot be opened. Nothing was changed.",
    )
    .action(advice);
    if let Some(cause) = &why.log_cause().0 {
        error = error.with_log_cause(cause);
    }
    error
}
