//! The catalogue: everything but rows, in SQLite. One writer whose transactions begin IMMEDIATE, and a pool of readers that cannot
//! write. Statements are fixed text in the portable subset of SQL and stand in the module of their noun, never here.

pub mod marks;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{FromRow, Row, Sqlite, Transaction};

use crate::error::{Error, Result};

/// The first SQLite without the WAL-reset race, which could lose committed writes.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// A later one that its makers took back.
const WITHDRAWN_SQLITE: (u32, u32, u32) = (3, 52, 0);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The rows that can be read. One that cannot leaves the others as they are: the log tells of it.
pub fn readable<T: for<'r> FromRow<'r, SqliteRow>>(rows: Vec<SqliteRow>) -> Vec<T> {
    let read = |row: SqliteRow| {
        T::from_row(&row).inspect_err(|why| {
            let id: String = row.try_get("id").unwrap_or_default();
            tracing::error!("a row of the catalogue cannot be read and is passed over ({id}): {why}");
        })
    };
    rows.into_iter().filter_map(|row| read(row).ok()).collect()
}

/// The catalogue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Db {
    /// Opens the catalogue at `path`, making it when it is not there, and brings it to this program's shape. Refuses a file that a
    /// newer program has written, an older SQLite, and settings that do not hold.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = settings(path)?;
        let writer =
            SqlitePoolOptions::new().max_connections(1).min_connections(1).acquire_timeout(Duration::from_secs(30)).connect_with(options.clone()).await?;
        assert_settings(&writer).await?;
        MIGRATIONS.run(&writer).await.map_err(|why| match why {
            sqlx::migrate::MigrateError::VersionMissing(number) => Error::conflict(
                "newer_catalogue",
                format!(
                    "The catalogue was written by a newer Chatlake (it has migration {number}). Start that one, or restore the backup made before the upgrade."
                ),
            ),
            other => Error::internal(other),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(8)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        Ok(Self { writer, readers })
    }

    /// Opens the catalogue at `path` to look at and nothing else, beside a running server or without one. Refuses one that another
    /// program's migrations have shaped.
    pub async fn open_to_look(path: &Path) -> Result<Self> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        // Without a log nobody is writing, and the file is all there is: then nothing is put beside it either.
        let settled = !Path::new(&log).exists();
        let options = settings(path)?.read_only(true).create_if_missing(false).immutable(settled);
        let readers = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        let (there,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success = 1").fetch_one(&readers).await?;
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        if there != known {
            return Err(Error::conflict(
                "other_catalogue",
                format!("The catalogue has the shape of migration {there}, and this program knows {known}. Use the Chatlake that serves from this directory."),
            ));
        }
        Ok(Self { writer: readers.clone(), readers })
    }

    /// What SQLite itself finds wrong with the file, and rows that lead to rows which are not there; empty when all is well.
    pub async fn damage(&self) -> Result<Vec<String>> {
        let mut found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)").fetch_all(&self.readers).await?;
        found.retain(|line| line != "ok");
        for row in sqlx::query("PRAGMA foreign_key_check").fetch_all(&self.readers).await? {
            let (table, other): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            found.push(format!("a row of {table} leads to a row of {other} that is not there"));
        }
        Ok(found)
    }

    /// The pool to read with. What it hands out cannot write.
    pub fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// Begins a write. It holds the only write lock until it is committed or dropped, so it must not wait for anything but SQL.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Whether the catalogue can be read and written just now.
    pub async fn ready(&self) -> Result<()> {
        sqlx::query("SELECT COUNT(*) FROM users").execute(&self.readers).await?;
        self.write().await?.rollback().await?;
        Ok(())
    }

    /// Waits for running statements, writes the log back into the file and closes it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn settings(path: &Path) -> Result<SqliteConnectOptions> {
    Ok(SqliteConnectOptions::from_str("sqlite://")?
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .pragma("trusted_schema", "OFF")
        .pragma("secure_delete", "ON")
        .pragma("mmap_size", "0")
        .pragma("cell_size_check", "ON"))
}

async fn assert_settings(pool: &SqlitePool) -> Result<()> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    if !is_sound(&version) {
        return Err(Error::conflict(
            "old_sqlite",
            format!(
                "This program was built with SQLite {version}; it needs 3.51.3 or newer, which cannot lose committed writes, and not 3.52.0, which was withdrawn."
            ),
        ));
    }
    let wanted: [(&'static str, &str); 6] = [
        ("PRAGMA journal_mode", "wal"),
        ("PRAGMA synchronous", "2"),
        ("PRAGMA foreign_keys", "1"),
        ("PRAGMA trusted_schema", "0"),
        ("PRAGMA secure_delete", "1"),
        ("PRAGMA busy_timeout", "5000"),
    ];
    for (pragma, wanted) in wanted {
        let row = sqlx::query(pragma).fetch_one(pool).await?;
        let found = text_or_number(&row);
        if found != wanted {
            return Err(Error::conflict(
                "catalogue_settings",
                format!("The catalogue would not take its settings: {pragma} is {found}, not {wanted}. Is the data directory on a network file system?"),
            ));
        }
    }
    // One that was built without memory maps has no such setting.
    let mapped: Option<i64> = sqlx::query_scalar("PRAGMA mmap_size").fetch_optional(pool).await?;
    match mapped {
        None | Some(0) => Ok(()),
        Some(bytes) => Err(Error::conflict("catalogue_settings", format!("The catalogue would not take its settings: PRAGMA mmap_size is {bytes}, not 0."))),
    }
}

/// Whether a SQLite of this version keeps what it has committed.
fn is_sound(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    found >= OLDEST_SQLITE && found != WITHDRAWN_SQLITE
}

fn text_or_number(row: &sqlx::sqlite::SqliteRow) -> String {
    row.try_get::<String, _>(0).or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_that_may_lose_commits_or_was_withdrawn_is_not_sound() {
        for (version, sound) in [("3.51.2", false), ("3.50.9", false), ("2.99.99", false), ("", false), ("3.51.3", true), ("3.51.10", true)] {
            assert_eq!(is_sound(version), sound, "{version}");
        }
        assert!(!is_sound("3.52.0") && is_sound("3.52.1") && is_sound("3.53.0") && is_sound("4.0.0"));
    }

    #[tokio::test]
    async fn a_catalogue_that_is_mapped_into_memory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chatlake.db");
        Db::open(&path).await.unwrap().close().await;
        let with = async |mapped: &'static str| {
            let options = settings(&path).unwrap().pragma("mmap_size", mapped);
            let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
            let said = assert_settings(&pool).await;
            pool.close().await;
            said
        };
        with("0").await.unwrap();
        let refused = with("1048576").await.unwrap_err();
        assert!(refused.message().contains("mmap_size is 1048576"), "{refused}");
    }
}
