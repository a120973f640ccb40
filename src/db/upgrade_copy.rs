//! The copy of the catalogue that is written before migrations change it, so that the previous version of the program can be started
//! again: `chatlake.db.before-NNNN`, where NNNN is the number of the first migration that is not applied yet.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use super::{MIGRATIONS, dir_of, storage};
use crate::error::{Error, ErrorKind, Result};

/// Free space that must be left after the copy: the migrations need some, too.
const MARGIN: u64 = 8 << 20;

/// Copies a catalogue that has pending migrations, checks the copy and returns its path; `None` for a new catalogue and for one without
/// pending migrations. Fails with `upgrade_space` when the disk has not enough space, before anything is written.
pub(super) async fn write(path: &Path, pool: &SqlitePool) -> Result<Option<PathBuf>> {
    let Some(number) = first_pending(pool).await? else { return Ok(None) };
    refuse_without_space(path, pool).await?;
    let copy = named(path, &format!("before-{number:04}"));
    let partial = named(path, &format!("before-{number:04}.partial"));
    let written = async {
        create_empty(&partial)?;
        // SQLite writes one consistent state, without a log beside it.
        sqlx::query("VACUUM INTO $1").bind(partial.to_string_lossy().into_owned()).execute(pool).await?;
        check(&partial, pool).await?;
        publish(&partial, &copy)
    };
    if let Err(why) = written.await {
        drop(fs::remove_file(&partial));
        return Err(why);
    }
    tracing::info!("copied the catalogue to {} before the upgrade", copy.display());
    Ok(Some(copy))
}

/// Deletes the copies of earlier upgrades once an upgrade is complete.
pub(super) fn delete_others(path: &Path, copy: &Path) {
    let prefix = named(path, "before-");
    let Some(prefix) = prefix.file_name().map(|name| name.to_string_lossy().into_owned()) else { return };
    let Ok(entries) = fs::read_dir(dir_of(path)) else { return };
    for other in entries.flatten().map(|entry| entry.path()) {
        let is_copy = other.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        if is_copy && other != copy {
            match fs::remove_file(&other) {
                Ok(()) => tracing::info!("deleted the older copy of the catalogue {}", other.display()),
                Err(why) => tracing::warn!("the older copy of the catalogue {} could not be deleted: {why}", other.display()),
            }
        }
    }
}

/// The number of the first migration that is not applied to a catalogue that has some; `None` if there is nothing to do or to copy.
async fn first_pending(pool: &SqlitePool) -> Result<Option<i64>> {
    let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'").fetch_one(pool).await?;
    if tables == 0 {
        return Ok(None);
    }
    let applied: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(pool).await?;
    let Some(applied) = applied else { return Ok(None) };
    Ok(MIGRATIONS.iter().map(|migration| migration.version).filter(|version| *version > applied).min())
}

async fn refuse_without_space(path: &Path, pool: &SqlitePool) -> Result<()> {
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(pool).await?;
    let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(pool).await?;
    // One for the copy, one for what the migrations may write.
    let needed = 2 * u64::try_from(pages * page).unwrap_or(0) + MARGIN;
    let free = storage::free_bytes(dir_of(path))?;
    if free >= needed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "upgrade_space",
        format!(
            "The catalogue was not upgraded: {} has {} free, and the upgrade needs {} for a copy of the catalogue. Nothing was changed.",
            dir_of(path).display(),
            storage::format_bytes(free),
            storage::format_bytes(needed),
        ),
    )
    .action("Free some space there and start Chatlake again, or start the previous version."))
}

/// `chatlake.db.SUFFIX` beside `chatlake.db`.
fn named(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// An empty file that only this user can read: SQLite fills it and leaves its mode.
fn create_empty(partial: &Path) -> Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(partial)?;
    Ok(())
}

/// Fails unless the copy is sound and has as many rows in each table as the catalogue.
async fn check(copy: &Path, pool: &SqlitePool) -> Result<()> {
    let options = SqliteConnectOptions::new().filename(copy).read_only(true).immutable(true);
    let copied = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    let checked = async {
        let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(3)").fetch_all(&copied).await?;
        if found != ["ok"] {
            return Err(Error::internal(format!("the copy of the catalogue is damaged: {}", found.join("; "))));
        }
        if rows_per_table(&copied).await? != rows_per_table(pool).await? {
            return Err(Error::internal("the copy of the catalogue lacks rows"));
        }
        Ok(())
    }
    .await;
    copied.close().await;
    checked
}

async fn rows_per_table(pool: &SqlitePool) -> Result<BTreeMap<String, i64>> {
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'").fetch_all(pool).await?;
    let mut rows = BTreeMap::new();
    for table in tables {
        let count = format!("SELECT COUNT(*) FROM \"{}\"", table.replace('"', "\"\""));
        rows.insert(table, sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(pool).await?);
    }
    Ok(rows)
}

/// Gives the complete copy its name, durably.
fn publish(partial: &Path, copy: &Path) -> Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, copy)?;
    File::open(dir_of(copy))?.sync_all()?;
    Ok(())
}
