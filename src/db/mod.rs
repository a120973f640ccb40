//! The catalogue: the SQLite database that holds everything except rows. It has one writer, whose
//! transactions begin IMMEDIATE, and a pool of read-only connections. SQL statements are fixed text
//! in a portable subset and live in the module of their table, not here.

pub mod commits;
pub mod failpoints;
pub mod outages;
mod pools;
pub mod storage;
mod upgrade_copy;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteRow, SqliteSynchronous,
};
use sqlx::{FromRow, Row, Sqlite, Transaction};

use crate::error::{Error, Result};
use commits::CommitMark;
use outages::Outages;
use pools::Pools;

/// The first SQLite without the WAL-reset race, which could lose committed writes.
const MIN_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// A later version that the SQLite project withdrew.
const WITHDRAWN_SQLITE: (u32, u32, u32) = (3, 52, 0);

/// Limits of `write_in_background`: how many such writes run at a time, and how long the caller
/// waits for one.
const MAX_BACKGROUND_WRITES: usize = 8;
const BACKGROUND_WRITE_WAIT: Duration = Duration::from_millis(500);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Decodes the rows that can be decoded. A row that cannot is logged and left out.
pub fn decode_readable<T: for<'r> FromRow<'r, SqliteRow>>(rows: Vec<SqliteRow>) -> Vec<T> {
    let read = |row: SqliteRow| {
        T::from_row(&row).inspect_err(|why| {
            let id: String = row.try_get("id").unwrap_or_default();
            tracing::error!("a row of the catalogue cannot be read and is skipped ({id}): {why}");
        })
    };
    rows.into_iter().filter_map(|row| read(row).ok()).collect()
}

/// Like `decode_readable`, with `read` as the decoder. Also returns the ids of the rows that could
/// not be decoded.
pub fn decode_each<T>(
    rows: &[SqliteRow],
    read: impl Fn(&SqliteRow) -> Result<T>,
) -> (Vec<T>, Vec<String>) {
    let (mut all, mut damaged) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match read(row) {
            Ok(one) => all.push(one),
            Err(error) => {
                let id: String = row.try_get("id").unwrap_or_default();
                tracing::error!(id, cause = ?error.log_cause(), "a row of the catalogue cannot be read and is skipped: {error}");
                damaged.push(id);
            }
        }
    }
    (all, damaged)
}

/// The catalogue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// The pool for reads until `open` is set. `open` stays empty if the disk was too full to write
    /// at the start.
    initial_pool: SqlitePool,
    open: OnceLock<Pools>,
    /// When opening it for writing was last tried.
    last_open_attempt: tokio::sync::Mutex<Option<tokio::time::Instant>>,
    outages: Outages,
    /// Permits for `write_in_background`.
    background_writes: Arc<tokio::sync::Semaphore>,
    /// The last written content of the commit file; `None` in a process that does not hold the data
    /// directory.
    commit_file: tokio::sync::Mutex<Option<LastWrittenMark>>,
}

/// What was last written to the commit file, if it is known.
type LastWrittenMark = Option<CommitMark>;

impl Db {
    /// Opens the catalogue at `path`, creates it if it does not exist, and applies pending
    /// migrations. Refuses a catalogue that a newer program has written, one that is older than its
    /// commit file (`older_catalogue`), an unsupported SQLite, and settings that do not take
    /// effect. On a full disk, a catalogue without pending migrations is opened read-only; `write`
    /// then fails with `storage_full` until there is space, and works from then on.
    pub async fn open(path: &Path) -> Result<Self> {
        match Pools::open(path).await {
            Ok(pools) => Ok(Self::of(path, pools.readers.clone(), Some(pools))),
            Err(why) if storage::is_full(&why, dir_of(path)) => {
                let initial_pool = pools::open_immutable(path).await.map_err(|other| {
                    if other.code() == "older_catalogue" {
                        other
                    } else {
                        pools::disk_full_error(path, &why)
                    }
                })?;
                tracing::error!(
                    cause = ?why.log_cause(),
                    "The disk is full. Nothing can be saved. Pages and API reads work; changes are refused. {}",
                    storage::advice(dir_of(path))
                );
                Ok(Self::of(path, initial_pool, None))
            }
            Err(why) => Err(why),
        }
    }

    /// Opens the catalogue at `path` read-only, with or without a running server. Fails when its
    /// migrations differ from this program's.
    pub async fn open_read_only(path: &Path) -> Result<Self> {
        let readers = pools::open_read_only(path).await?;
        Ok(Self::of(
            path,
            readers.clone(),
            Some(Pools {
                writer: readers.clone(),
                readers,
            }),
        ))
    }

    fn of(path: &Path, initial_pool: SqlitePool, pools: Option<Pools>) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            initial_pool,
            open: pools.map_or_else(OnceLock::new, OnceLock::from),
            last_open_attempt: tokio::sync::Mutex::default(),
            outages: Outages::new(dir_of(path).to_owned()),
            background_writes: Arc::new(tokio::sync::Semaphore::new(MAX_BACKGROUND_WRITES)),
            commit_file: tokio::sync::Mutex::default(),
        }))
    }

    /// Logs recurring failures once.
    pub fn outages(&self) -> &Outages {
        &self.0.outages
    }

    /// The id of the catalogue and its number of version commits; `None` before its first start.
    pub async fn commit_mark(&self) -> Result<Option<CommitMark>> {
        commits::read_mark(self.read()).await
    }

    /// Makes this process the writer of the commit file, because it holds the data directory. A
    /// catalogue without a commit file gets a new id.
    pub async fn start_commit_file(&self) {
        let dir = dir_of(&self.0.path).to_owned();
        let there = tokio::task::spawn_blocking(move || CommitMark::read(&dir))
            .await
            .ok()
            .flatten();
        if there.is_none() {
            let renamed = async {
                let mut tx = self.write().await?;
                commits::replace_id(&mut tx).await?;
                Ok(tx.commit().await?)
            };
            if self
                .outages()
                .track("the catalogue could not be given an id", renamed.await)
                .is_none()
            {
                return;
            }
        }
        *self.0.commit_file.lock().await = Some(there);
        self.update_commit_file().await;
    }

    /// Updates the commit file if this process is its writer.
    pub async fn update_commit_file(&self) {
        if let Some(written) = self.0.commit_file.lock().await.as_mut() {
            let noted = commits::update_file(dir_of(&self.0.path), self.read(), written).await;
            self.outages()
                .track("the commit file could not be written", noted);
        }
    }

    /// The errors that SQLite finds in the file, and rows that refer to rows that do not exist;
    /// empty for an intact catalogue.
    pub async fn find_damage(&self) -> Result<Vec<String>> {
        let mut found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)")
            .fetch_all(self.read())
            .await?;
        found.retain(|line| line != "ok");
        for row in sqlx::query("PRAGMA foreign_key_check")
            .fetch_all(self.read())
            .await?
        {
            let (table, other): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            found.push(format!(
                "a row of {table} refers to a row of {other} that does not exist"
            ));
        }
        Ok(found)
    }

    /// Fails with `catalogue_damaged` if a page of the file is damaged. Reads the whole file, but
    /// no rows.
    pub async fn refuse_damaged(&self) -> Result<()> {
        let found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(3)")
            .fetch_all(self.read())
            .await?;
        if found == ["ok"] {
            Ok(())
        } else {
            Err(Error::catalogue_damaged(found.join("; ")))
        }
    }

    /// The pool for reads. Its connections cannot write.
    pub fn read(&self) -> &SqlitePool {
        self.0
            .open
            .get()
            .map_or(&self.0.initial_pool, |pools| &pools.readers)
    }

    /// Begins a write transaction. It holds the only write lock until it is committed or dropped,
    /// so the caller must not wait for anything but SQL.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        let pools = match self.0.open.get() {
            Some(pools) => pools,
            None => self.open_for_writing().await?,
        };
        Ok(pools.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Performs a small write that the caller does not depend on, such as recording a last use. The
    /// write continues in the background when it takes longer than `BACKGROUND_WRITE_WAIT`, for
    /// example while another program locks the catalogue, and is dropped while too many others
    /// wait. `what`, a sentence without its full stop, is logged when the write fails.
    pub async fn write_in_background(
        &self,
        what: &'static str,
        write: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let Ok(permit) = self.0.background_writes.clone().try_acquire_owned() else {
            return;
        };
        let outages = self.outages().clone();
        let task = tokio::spawn(async move {
            outages.track(what, write.await);
            drop(permit);
        });
        // A task continues after its handle is dropped.
        let _ = tokio::time::timeout(BACKGROUND_WRITE_WAIT, task).await;
    }

    /// Tries to open for writing a catalogue that was opened read-only, at most once a second.
    async fn open_for_writing(&self) -> Result<&Pools> {
        let mut last_open_attempt = self.0.last_open_attempt.lock().await;
        if let Some(pools) = self.0.open.get() {
            return Ok(pools);
        }
        if last_open_attempt.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return Err(Error::storage_full());
        }
        *last_open_attempt = Some(tokio::time::Instant::now());
        let full = |why: &Error| storage::is_full(why, dir_of(&self.0.path));
        let pools = Pools::open(&self.0.path).await.map_err(|why| {
            if full(&why) {
                Error::storage_full().with_log_cause(format!("{why:?}"))
            } else {
                why
            }
        })?;
        tracing::info!("the disk has space again, and changes are saved");
        Ok(self.0.open.get_or_init(|| pools))
    }

    /// Whether the catalogue can currently be read and written.
    pub async fn ready(&self) -> Result<()> {
        sqlx::query("SELECT COUNT(*) FROM users")
            .execute(self.read())
            .await?;
        self.write().await?.rollback().await?;
        Ok(())
    }

    /// Waits for running statements, checkpoints the WAL and closes the file.
    pub async fn close(&self) {
        self.update_commit_file().await;
        self.0.initial_pool.close().await;
        if let Some(pools) = self.0.open.get() {
            pools.readers.close().await;
            pools.writer.close().await;
        }
    }
}

/// The directory of the catalogue.
fn dir_of(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn connect_options(path: &Path) -> Result<SqliteConnectOptions> {
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
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await?;
    if !is_supported_sqlite(&version) {
        return Err(Error::conflict(
            "old_sqlite",
            format!(
                "This program was built with SQLite {version}. It needs 3.51.3 or newer, but not 3.52.0, which was withdrawn."
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
                    "The catalogue did not accept a setting: {pragma} is {found}, not {wanted}. The data directory may be on a network file system."
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

fn text_or_number(row: &sqlx::sqlite::SqliteRow) -> String {
    row.try_get::<String, _>(0)
        .or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

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

    /// Simulates SQLite on a full disk or after an I/O error: SQLite rolls the transaction back
    /// without the caller.
    async fn rolled_back_by_sqlite(db: &Db) {
        let mut tx = db.write().await.unwrap();
        sqlx::query("ROLLBACK").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap_err();
    }

    #[tokio::test]
    async fn a_connection_whose_transaction_sqlite_ended_by_itself_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
        for _ in 0..3 {
            rolled_back_by_sqlite(&db).await;
            let mut tx = db.write().await.unwrap();
            commits::increment(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            db.ready().await.unwrap();
        }
        assert_eq!(db.commit_mark().await.unwrap().unwrap().commits, 3);
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_half_way_is_undone_and_the_next_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
        for _ in 0..20 {
            let mut tx = db.write().await.unwrap();
            commits::increment(&mut tx).await.unwrap();
            drop(tx);
        }
        db.ready().await.unwrap();
        assert_eq!(db.commit_mark().await.unwrap().unwrap().commits, 0);
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
