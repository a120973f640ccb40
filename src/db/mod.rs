//! The catalogue: everything but rows, in SQLite. One writer whose transactions begin IMMEDIATE, and a pool of readers that cannot
//! write. Statements are fixed text in the portable subset of SQL and stand in the module of their noun, never here.

pub mod commits;
pub mod marks;
pub mod outages;
mod pools;
pub mod storage;
mod upgrade_copy;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteRow, SqliteSynchronous};
use sqlx::{FromRow, Row, Sqlite, Transaction};

use crate::error::{Error, Result};
use commits::Mark;
use outages::Outages;
use pools::Pools;

/// The first SQLite without the WAL-reset race, which could lose committed writes.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// A later one that its makers took back.
const WITHDRAWN_SQLITE: (u32, u32, u32) = (3, 52, 0);

/// Writes that nobody waits for: at most so many at once, and the caller stays for so long.
const MAX_ASIDES: usize = 8;
const ASIDE_FOR: Duration = Duration::from_millis(500);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The rows that can be read. One that cannot leaves the others as they are: the log tells of it.
pub fn readable<T: for<'r> FromRow<'r, SqliteRow>>(rows: Vec<SqliteRow>) -> Vec<T> {
    let read = |row: SqliteRow| {
        T::from_row(&row).inspect_err(|why| {
            let id: String = row.try_get("id").unwrap_or_default();
            tracing::error!("a row of the catalogue cannot be read and is skipped ({id}): {why}");
        })
    };
    rows.into_iter().filter_map(|row| read(row).ok()).collect()
}

/// As `readable`, for what `read` makes of a row; and the ids of the rows that cannot be read.
pub fn read_each<T>(rows: &[SqliteRow], read: impl Fn(&SqliteRow) -> Result<T>) -> (Vec<T>, Vec<String>) {
    let (mut all, mut damaged) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match read(row) {
            Ok(one) => all.push(one),
            Err(error) => {
                let id: String = row.try_get("id").unwrap_or_default();
                tracing::error!(id, cause = ?error.inside(), "a row of the catalogue cannot be read and is skipped: {error}");
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
    /// Reads until `open` is set: without it the disk was too full to write at the start.
    first: SqlitePool,
    open: OnceLock<Pools>,
    /// When it was last tried to open it for writing.
    tried: tokio::sync::Mutex<Option<tokio::time::Instant>>,
    outages: Outages,
    /// Free for writes that nobody waits for.
    asides: Arc<tokio::sync::Semaphore>,
    /// What the commit file says; none for whoever does not hold the data directory.
    commit_file: tokio::sync::Mutex<Option<Written>>,
}

/// What was last written to the commit file, if it is known.
type Written = Option<Mark>;

impl Db {
    /// Opens the catalogue at `path`, making it when it is not there, and brings it to this program's shape. Refuses a file that a
    /// newer program has written, one that is older than its commit file (`older_catalogue`), an older SQLite, and settings that do not
    /// hold. On a full disk a catalogue of this program's shape is opened to read; `write` then answers `storage_full` until there is
    /// space, and works from then on.
    pub async fn open(path: &Path) -> Result<Self> {
        match Pools::open(path).await {
            Ok(pools) => Ok(Self::of(path, pools.readers.clone(), Some(pools))),
            Err(why) if storage::is_full(&why, dir_of(path)) => {
                let first =
                    pools::open_settled(path).await.map_err(|other| if other.code() == "older_catalogue" { other } else { pools::no_room(path, &why) })?;
                tracing::error!(
                    cause = ?why.inside(),
                    "The disk is full. Nothing can be saved. Pages and API reads work; changes are refused. {}",
                    storage::advice(dir_of(path))
                );
                Ok(Self::of(path, first, None))
            }
            Err(why) => Err(why),
        }
    }

    /// Opens the catalogue at `path` to look at and nothing else, beside a running server or without one. Refuses one that another
    /// program's migrations have shaped.
    pub async fn open_to_look(path: &Path) -> Result<Self> {
        let readers = pools::open_to_look(path).await?;
        Ok(Self::of(path, readers.clone(), Some(Pools { writer: readers.clone(), readers })))
    }

    fn of(path: &Path, first: SqlitePool, pools: Option<Pools>) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            first,
            open: pools.map_or_else(OnceLock::new, OnceLock::from),
            tried: tokio::sync::Mutex::default(),
            outages: Outages::new(dir_of(path).to_owned()),
            asides: Arc::new(tokio::sync::Semaphore::new(MAX_ASIDES)),
            commit_file: tokio::sync::Mutex::default(),
        }))
    }

    /// What fails again and again, for the log.
    pub fn outages(&self) -> &Outages {
        &self.0.outages
    }

    /// Which catalogue it is and how many commits of versions it holds; `None` before its first start.
    pub async fn mark(&self) -> Result<Option<Mark>> {
        commits::found(self.read()).await
    }

    /// From now on this process keeps the commit file, since it holds the data directory. A catalogue without one gets another id.
    pub async fn hold_commit_file(&self) {
        let dir = dir_of(&self.0.path).to_owned();
        let there = tokio::task::spawn_blocking(move || Mark::read(&dir)).await.ok().flatten();
        if there.is_none() {
            let renamed = async {
                let mut tx = self.write().await?;
                commits::rename(&mut tx).await?;
                Ok(tx.commit().await?)
            };
            if self.outages().watched("the catalogue could not be given an id", renamed.await).is_none() {
                return;
            }
        }
        *self.0.commit_file.lock().await = Some(there);
        self.note_commits().await;
    }

    /// Brings the commit file up to date, where this process keeps it.
    pub async fn note_commits(&self) {
        if let Some(written) = self.0.commit_file.lock().await.as_mut() {
            let noted = commits::note(dir_of(&self.0.path), self.read(), written).await;
            self.outages().watched("the commit file could not be written", noted);
        }
    }

    /// What SQLite itself finds wrong with the file, and rows that lead to rows which are not there; empty when all is well.
    pub async fn damage(&self) -> Result<Vec<String>> {
        let mut found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)").fetch_all(self.read()).await?;
        found.retain(|line| line != "ok");
        for row in sqlx::query("PRAGMA foreign_key_check").fetch_all(self.read()).await? {
            let (table, other): (String, String) = (row.try_get(0)?, row.try_get(2)?);
            found.push(format!("a row of {table} refers to a row of {other} that does not exist"));
        }
        Ok(found)
    }

    /// Fails with `catalogue_damaged` when a page of the file is not as it must be. Reads the whole file, and no rows.
    pub async fn refuse_damaged(&self) -> Result<()> {
        let found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(3)").fetch_all(self.read()).await?;
        if found == ["ok"] { Ok(()) } else { Err(Error::catalogue_damaged(found.join("; "))) }
    }

    /// The pool to read with. What it hands out cannot write.
    pub fn read(&self) -> &SqlitePool {
        self.0.open.get().map_or(&self.0.first, |pools| &pools.readers)
    }

    /// Begins a write. It holds the only write lock until it is committed or dropped, so it must not wait for anything but SQL.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        let pools = match self.0.open.get() {
            Some(pools) => pools,
            None => self.open_for_writing().await?,
        };
        Ok(pools.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Does a small write that the caller does not need, such as noting a use. It goes on by itself when it takes longer than a moment, as
    /// while another program locks the catalogue, and is left out while many others wait. `what`, a sentence without its stop, is
    /// for the log when it fails.
    pub async fn aside(&self, what: &'static str, write: impl Future<Output = Result<()>> + Send + 'static) {
        let Ok(permit) = self.0.asides.clone().try_acquire_owned() else { return };
        let outages = self.outages().clone();
        let task = tokio::spawn(async move {
            outages.watched(what, write.await);
            drop(permit);
        });
        // Dropped, the task still runs to its end.
        let _ = tokio::time::timeout(ASIDE_FOR, task).await;
    }

    /// Tries to open for writing what could only be read at the start, at most once a second.
    async fn open_for_writing(&self) -> Result<&Pools> {
        let mut tried = self.0.tried.lock().await;
        if let Some(pools) = self.0.open.get() {
            return Ok(pools);
        }
        if tried.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
            return Err(Error::storage_full());
        }
        *tried = Some(tokio::time::Instant::now());
        let full = |why: &Error| storage::is_full(why, dir_of(&self.0.path));
        let pools = Pools::open(&self.0.path).await.map_err(|why| if full(&why) { Error::storage_full().because(format!("{why:?}")) } else { why })?;
        tracing::info!("the disk has space again, and changes are saved");
        Ok(self.0.open.get_or_init(|| pools))
    }

    /// Whether the catalogue can be read and written just now.
    pub async fn ready(&self) -> Result<()> {
        sqlx::query("SELECT COUNT(*) FROM users").execute(self.read()).await?;
        self.write().await?.rollback().await?;
        Ok(())
    }

    /// Waits for running statements, writes the log back into the file and closes it.
    pub async fn close(&self) {
        self.note_commits().await;
        self.0.first.close().await;
        if let Some(pools) = self.0.open.get() {
            pools.readers.close().await;
            pools.writer.close().await;
        }
    }
}

/// The directory of the catalogue.
fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
            format!("This program was built with SQLite {version}. It needs 3.51.3 or newer, but not 3.52.0, which was withdrawn."),
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
                format!("The catalogue did not accept a setting: {pragma} is {found}, not {wanted}. The data directory may be on a network file system."),
            ));
        }
    }
    // One that was built without memory maps has no such setting.
    let mapped: Option<i64> = sqlx::query_scalar("PRAGMA mmap_size").fetch_optional(pool).await?;
    match mapped {
        None | Some(0) => Ok(()),
        Some(bytes) => Err(Error::conflict("catalogue_settings", format!("The catalogue did not accept a setting: PRAGMA mmap_size is {bytes}, not 0."))),
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
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

    #[test]
    fn a_sqlite_that_may_lose_commits_or_was_withdrawn_is_not_sound() {
        for (version, sound) in [("3.51.2", false), ("3.50.9", false), ("2.99.99", false), ("", false), ("3.51.3", true), ("3.51.10", true)] {
            assert_eq!(is_sound(version), sound, "{version}");
        }
        assert!(!is_sound("3.52.0") && is_sound("3.52.1") && is_sound("3.53.0") && is_sound("4.0.0"));
    }

    /// As SQLite does at a full disk or an I/O error: the transaction ends behind the back of whoever began it.
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
            commits::count(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            db.ready().await.unwrap();
        }
        assert_eq!(db.mark().await.unwrap().unwrap().commits, 3);
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_half_way_is_undone_and_the_next_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
        for _ in 0..20 {
            let mut tx = db.write().await.unwrap();
            commits::count(&mut tx).await.unwrap();
            drop(tx);
        }
        db.ready().await.unwrap();
        assert_eq!(db.mark().await.unwrap().unwrap().commits, 0);
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
