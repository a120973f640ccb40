//! The copy of the catalogue that is written before migrations change it, so that the previous
//! version of the program can be started again: `chatlake.db.before-NNNN`, where NNNN is the number
//! of the first migration that is not applied yet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use super::{MIGRATIONS, dir_of, storage};
use crate::error::{Error, Result};

/// Free space that must be left after the copy.
const MARGIN_BYTES: u64 = 8 << 20;

/// Copies a catalogue that has pending migrations, checks the copy and returns its path; `None` for
/// a new catalogue and for one without pending migrations. Fails with `upgrade_space` when the disk
/// has not enough space, before anything is written.
pub(super) async fn write(path: &Path, pool: &SqlitePool) -> Result<Option<PathBuf>> {
    let Some(applied) = newest_migration(pool).await? else {
        return Ok(None);
    };
    let Some(pending) = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .filter(|version| *version > applied)
        .min()
    else {
        return Ok(None);
    };
    refuse_without_space(
        dir_of(path),
        bytes_for_upgrade(pool).await?,
        storage::free_bytes(dir_of(path))?,
    )?;
    let copy = copy_path(path, &format!("{pending:04}"));
    // Only this user can read the file. It is deleted unless it gets its name below.
    let partial = tempfile::Builder::new()
        .prefix(&file_name(&copy))
        .suffix(".partial")
        .tempfile_in(dir_of(path))?;
    // SQLite writes one consistent state into an empty file, without a WAL.
    sqlx::query("VACUUM INTO $1")
        .bind(partial.path().to_string_lossy().into_owned())
        .execute(pool)
        .await?;
    if check(partial.path()).await? != Some(applied) {
        // Another process has upgraded the catalogue in the meantime, and has written the copy.
        return Ok(None);
    }
    partial.as_file().sync_all()?;
    partial.persist(&copy).map_err(|failed| failed.error)?;
    File::open(dir_of(path))?.sync_all()?;
    tracing::info!(
        "copied the catalogue to {} before the upgrade",
        copy.display()
    );
    Ok(Some(copy))
}

/// Deletes the copies of earlier upgrades once an upgrade is complete.
pub(super) fn delete_others(path: &Path, copy: &Path) {
    let prefix = file_name(&copy_path(path, ""));
    let Ok(entries) = fs::read_dir(dir_of(path)) else {
        return;
    };
    for other in entries.flatten().map(|entry| entry.path()) {
        if other == copy || !file_name(&other).starts_with(&prefix) {
            continue;
        }
        match fs::remove_file(&other) {
            Ok(()) => tracing::info!(
                "deleted the older copy of the catalogue {}",
                other.display()
            ),
            Err(why) => tracing::warn!(
                "the older copy of the catalogue {} could not be deleted: {why}",
                other.display()
            ),
        }
    }
}

/// The number of the newest applied migration; `None` for a new catalogue.
async fn newest_migration(pool: &SqlitePool) -> Result<Option<i64>> {
    let tables: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
            .fetch_one(pool)
            .await?;
    if tables == 0 {
        return Ok(None);
    }
    Ok(
        sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(pool)
            .await?,
    )
}

/// The space that an upgrade needs: the size of the catalogue for the copy, the same again for the
/// migrations, and a margin.
async fn bytes_for_upgrade(pool: &SqlitePool) -> Result<u64> {
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(pool)
        .await?;
    let page_bytes: i64 = sqlx::query_scalar("PRAGMA page_size")
        .fetch_one(pool)
        .await?;
    Ok(2 * u64::try_from(pages * page_bytes).unwrap_or(0) + MARGIN_BYTES)
}

fn refuse_without_space(dir: &Path, needed: u64, free: u64) -> Result<()> {
    if free >= needed {
        return Ok(());
    }
    let message = format!(
        "The catalogue was not upgraded: {} has {} free, and the upgrade needs {} for a copy of \
         the catalogue. Nothing was changed.",
        dir.display(),
        storage::format_bytes(free),
        storage::format_bytes(needed),
    );
    Err(Error::conflict("upgrade_space", message)
        .action("Free some space there and start Chatlake again, or start the previous version."))
}

/// `chatlake.db.before-NUMBER` in the directory of `chatlake.db`.
fn copy_path(path: &Path, number: &str) -> PathBuf {
    path.with_file_name(format!("{}.before-{number}", file_name(path)))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Fails when the copy is damaged. Returns the number of its newest migration.
async fn check(copy: &Path) -> Result<Option<i64>> {
    let options = SqliteConnectOptions::new()
        .filename(copy)
        .read_only(true)
        .immutable(true);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    let checked = async {
        let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(3)")
            .fetch_all(&pool)
            .await?;
        if found != ["ok"] {
            return Err(Error::internal(format!(
                "the copy of the catalogue is damaged: {}",
                found.join("; ")
            )));
        }
        newest_migration(&pool).await
    }
    .await;
    pool.close().await;
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_without_space_is_refused_with_the_sizes() {
        let dir = Path::new("/data");
        refuse_without_space(dir, 20 << 20, 20 << 20).unwrap();
        let refused = refuse_without_space(dir, 20 << 20, (20 << 20) - 1).unwrap_err();
        assert_eq!(refused.code(), "upgrade_space");
        assert!(
            refused
                .message()
                .contains("/data has 20 MiB free, and the upgrade needs 20 MiB"),
            "{refused}"
        );
    }
}
