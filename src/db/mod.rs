//! The catalogue: the SQLite database that holds everything except rows. It has one writer, whose
//! transactions begin IMMEDIATE, and a pool of read-only connections. SQL statements are fixed text
//! in a portable subset and live in the module of their table, not here.

pub mod commits;
mod decode;
pub mod failpoints;
pub mod outages;
mod pools;
mod sqlite_settings;
pub mod storage;
mod upgrade_copy;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::sqlite::SqlitePool;
use sqlx::{FromRow, Sqlite, Transaction};

use crate::error::{Error, Result};
use commits::CommitMark;
pub use decode::{decode_each, decode_readable};
use outages::Outages;
use pools::Pools;

/// Limits of `write_in_background`: how many such writes run at a time, and how long the caller
/// waits for one.
const MAX_BACKGROUND_WRITES: usize = 8;
const BACKGROUND_WRITE_WAIT: Duration = Duration::from_millis(500);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

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

/// A row of `PRAGMA foreign_key_check`.
#[derive(FromRow)]
struct DanglingReferenceRow {
    table: String,
    parent: String,
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
                    "The disk is full. Nothing can be saved. Pages and API reads work; \
                     changes are refused. {}",
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
        let dangling: Vec<DanglingReferenceRow> = sqlx::query_as("PRAGMA foreign_key_check")
            .fetch_all(self.read())
            .await?;
        found.extend(
            dangling
                .iter()
                .map(|DanglingReferenceRow { table, parent }| {
                    format!("a row of {table} refers to a row of {parent} that does not exist")
                }),
        );
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
