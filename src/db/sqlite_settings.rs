//! The settings of SQLite for each connection to the catalogue, and the check that they took
//! effect.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteRow, SqliteSynchronous,
};

use crate::error::{Error, Result};

/// The first SQLite without the WAL-reset race, which could lose committed writes.
const MIN_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// A later version that the SQLite project withdrew.
const WITHDRAWN_SQLITE: (u32, u32, u32) = (3, 52, 0);

/// The settings of a connection that writes.
pub(super) fn connect_options(path: &Path) -> Result<SqliteConnectOptions> {
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

/// Fails if this SQLite is not supported, or if a setting did not take effect.
pub(super) async fn assert_settings(pool: &SqlitePool) -> Result<()> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await?;
    if !is_supported_sqlite(&version) {
        return Err(Error::conflict(
            "old_sqlite",
            format!(
                "This program was built with SQLite {version}. It needs 3.51.3 or newer, but not \
                 3.52.0, which was withdrawn."
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
                format!(
                    "The catalogue did not accept a setting: {pragma} is {found}, not {wanted}. \
                     The data directory may be on a network file system."
                ),
            ));
        }
    }
    // An SQLite that was built without memory maps has no such setting.
    let mapped: Option<i64> = sqlx::query_scalar("PRAGMA mmap_size")
        .fetch_optional(pool)
        .await?;
    match mapped {
        None | Some(0) => Ok(()),
        Some(bytes) => Err(Error::conflict(
            "catalogue_settings",
            format!("The catalogue did not accept a setting: PRAGMA mmap_size is {bytes}, not 0."),
        )),
    }
}

/// Whether this SQLite version never loses committed writes.
fn is_supported_sqlite(version: &str) -> bool {
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (
        parts.next().unwrap_or(0),
        parts.next().unwrap_or(0),
        parts.next().unwrap_or(0),
    );
    found >= MIN_SQLITE && found != WITHDRAWN_SQLITE
}

fn text_or_number(row: &SqliteRow) -> String {
    row.try_get::<String, _>(0)
        .or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;
    use crate::db::Db;

    #[test]
    fn a_sqlite_that_may_lose_commits_or_was_withdrawn_is_not_sound() {
        for (version, sound) in [
            ("3.51.2", false),
            ("3.50.9", false),
            ("2.99.99", false),
            ("", false),
            ("3.51.3", true),
            ("3.51.10", true),
        ] {
            assert_eq!(is_supported_sqlite(version), sound, "{version}");
        }
        assert!(
            !is_supported_sqlite("3.52.0")
                && is_supported_sqlite("3.52.1")
                && is_supported_sqlite("3.53.0")
                && is_supported_sqlite("4.0.0")
        );
    }

    #[tokio::test]
    async fn a_catalogue_that_is_mapped_into_memory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chatlake.db");
        Db::open(&path).await.unwrap().close().await;
        let with = async |mapped: &'static str| {
            let options = connect_options(&path).unwrap().pragma("mmap_size", mapped);
            let pool = SqlitePoolOptions::new()
                .max_connections(1)
                .connect_with(options)
                .await
                .unwrap();
            let said = assert_settings(&pool).await;
            pool.close().await;
            said
        };
        with("0").await.unwrap();
        let refused = with("1048576").await.unwrap_err();
        assert!(
            refused.message().contains("mmap_size is 1048576"),
            "{refused}"
        );
    }
}
