//! The commit file `chatlake.commit` is stored next to the catalogue and contains the catalogue's
//! id and its number of version commits. A catalogue with a lower number than its commit file is an
//! older copy, or was copied without its WAL, and is refused.
//!
//! The number is read back from the catalogue through a read-only connection before it is written
//! to the file. SQLite shows a commit to readers after the WAL was synced, so the commit file is
//! never ahead of what survives a power loss. The file itself is not synced: after a power loss it
//! may be behind, empty or torn, and then the catalogue is accepted. Only the server that holds the
//! data directory writes it.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use sqlx::sqlite::SqlitePool;
use sqlx::{FromRow, Sqlite, Transaction};

use crate::error::{Error, Result};

/// The name of the file in the data directory.
pub const FILE: &str = "chatlake.commit";

/// The identity of a catalogue and the number of version commits in it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct CommitMark {
    /// 32 hexadecimal digits.
    pub id: String,
    pub commits: i64,
}

impl CommitMark {
    /// One line of fixed length, so that overwriting it needs no disk space.
    fn line(&self) -> String {
        let body = format!("chatlake-commit 1 {} {:020}", self.id, self.commits);
        let checksum = checksum(&body);
        format!("{body} {checksum}\n")
    }

    /// `None` for a line that is empty, incomplete or edited.
    fn parse(line: &str) -> Option<Self> {
        let (body, stated) = line.strip_suffix('\n')?.rsplit_once(' ')?;
        let mut words = body.split(' ');
        let (name, format, id, commits) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let whole = name == "chatlake-commit"
            && format == "1"
            && words.next().is_none()
            && checksum(body) == stated;
        whole
            .then(|| commits.parse().ok())
            .flatten()
            .map(|commits| Self {
                id: id.to_owned(),
                commits,
            })
    }

    /// Reads the commit file of a data directory. `None` if it does not exist, cannot be read or is
    /// incomplete. Blocks.
    pub fn read(dir: &Path) -> Option<Self> {
        let path = dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let mark = Self::parse(&text);
                if mark.is_none() {
                    tracing::warn!(
                        "{} is incomplete, for example after a power loss. It is written again.",
                        path.display()
                    );
                }
                mark
            }
            Err(why) if why.kind() == ErrorKind::NotFound => None,
            Err(why) => {
                tracing::warn!(
                    "{} cannot be read, so the age of the catalogue is not checked: {why}",
                    path.display()
                );
                None
            }
        }
    }

    /// Writes the commit file of a data directory over the existing one. Blocks.
    fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        let line = self.line();
        file.write_all(line.as_bytes())?;
        if file.metadata()?.len() != line.len() as u64 {
            file.set_len(line.len() as u64)?;
        }
        Ok(())
    }

    /// Compares the catalogue's mark `found` with the commit file's mark `self`. Returns one
    /// sentence that says what is wrong; `None` when the catalogue is as new as the commit file or
    /// newer.
    pub fn mismatch(&self, found: Option<&CommitMark>) -> Option<String> {
        match found {
            Some(found) if found.id == self.id && found.commits >= self.commits => None,
            Some(found) if found.id == self.id => Some(format!(
                "chatlake.db is older than the data directory: it has commit {}, but {FILE} has \
                 commit {}",
                found.commits, self.commits
            )),
            _ => Some(format!(
                "chatlake.db is not the catalogue of this data directory: {FILE} names another one"
            )),
        }
    }
}

fn checksum(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The error of a catalogue that is refused because of `mismatch`.
pub(super) fn older_catalogue_error(dir: &Path, mismatch: &str) -> Error {
    let file = dir.join(FILE);
    Error::conflict(
        "older_catalogue",
        format!(
            "{mismatch}. Restore chatlake.db together with its chatlake.db-wal, or delete {} to \
             continue with the present chatlake.db.",
            file.display()
        ),
    )
}

/// Increments the commit number inside the caller's transaction. Called for each version that is
/// created or dropped.
pub async fn increment(tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    sqlx::query("UPDATE catalogue SET commits = commits + 1")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Reads the commit mark of the catalogue; `None` before its first start.
pub(super) async fn read_mark(pool: &SqlitePool) -> Result<Option<CommitMark>> {
    let there: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'catalogue'",
    )
    .fetch_one(pool)
    .await?;
    if there == 0 {
        return Ok(None);
    }
    Ok(sqlx::query_as("SELECT id, commits FROM catalogue")
        .fetch_optional(pool)
        .await?)
}

/// Gives a new catalogue its id.
pub(super) async fn assign_id(tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    // Another process may have done so already.
    sqlx::query("INSERT INTO catalogue (id) SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM catalogue)")
        .bind(uuid::Uuid::new_v4().simple().to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Replaces the id of the catalogue, so that other copies of it, which may hold later commits, no
/// longer match.
pub(super) async fn replace_id(tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    // A new catalogue, without commits, keeps its id.
    sqlx::query("UPDATE catalogue SET id = $1 WHERE commits > 0")
        .bind(uuid::Uuid::new_v4().simple().to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes the commit file if `written`, its last known content, differs from the catalogue's mark.
pub(super) async fn update_file(
    dir: &Path,
    pool: &SqlitePool,
    written: &mut Option<CommitMark>,
) -> Result<()> {
    let Some(found) = read_mark(pool).await? else {
        return Ok(());
    };
    if written.as_ref() == Some(&found) {
        return Ok(());
    }
    let (dir, mark) = (dir.to_owned(), found.clone());
    tokio::task::spawn_blocking(move || mark.write(&dir))
        .await
        .map_err(Error::from)??;
    *written = Some(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;

    fn mark(id: &str, commits: i64) -> CommitMark {
        CommitMark {
            id: id.to_owned(),
            commits,
        }
    }

    #[test]
    fn a_commit_file_that_is_torn_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(CommitMark::read(dir.path()), None);
        let whole = mark("0123456789abcdef0123456789abcdef", 41);
        whole.write(dir.path()).unwrap();
        assert_eq!(CommitMark::read(dir.path()), Some(whole.clone()));
        let (old, new) = (whole.line(), mark(&whole.id, 123_456).line());
        assert_eq!(old.len(), new.len());
        for at in 0..old.len() {
            let torn = format!("{}{}", &new[..at], &old[at..]);
            assert!(
                torn == old || torn == new || CommitMark::parse(&torn).is_none(),
                "torn at {at}: {torn}"
            );
            assert_eq!(CommitMark::parse(&old[..at]), None, "cut at {at}");
        }
        std::fs::write(dir.path().join(FILE), "\0".repeat(200)).unwrap();
        assert_eq!(CommitMark::read(dir.path()), None);
        whole.write(dir.path()).unwrap();
        assert_eq!(CommitMark::read(dir.path()), Some(whole));
    }

    #[test]
    fn a_catalogue_is_refused_when_it_is_older_or_another_one() {
        let side = mark("a", 7);
        for (found, refused) in [
            (Some(mark("a", 7)), false),
            (Some(mark("a", 8)), false),
            (Some(mark("a", 6)), true),
            (Some(mark("b", 9)), true),
            (None, true),
        ] {
            assert_eq!(
                side.mismatch(found.as_ref()).is_some(),
                refused,
                "{found:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_commit_file_follows_the_catalogue_and_an_older_copy_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chatlake.db");
        let db = Db::open(&path).await.unwrap();
        assert_eq!(
            CommitMark::read(dir.path()),
            None,
            "a process that does not hold the directory writes nothing"
        );
        db.start_commit_file().await;
        let first = CommitMark::read(dir.path()).unwrap();
        assert_eq!(first.commits, 0);
        db.close().await;
        std::fs::copy(&path, dir.path().join("older.db")).unwrap();

        let db = Db::open(&path).await.unwrap();
        db.start_commit_file().await;
        let mut tx = db.write().await.unwrap();
        increment(&mut tx).await.unwrap();
        db.update_commit_file().await;
        assert_eq!(
            CommitMark::read(dir.path()).unwrap(),
            first,
            "a commit that is not done yet is not named"
        );
        tx.commit().await.unwrap();
        db.update_commit_file().await;
        assert_eq!(
            CommitMark::read(dir.path()).unwrap(),
            CommitMark {
                commits: 1,
                ..first.clone()
            }
        );
        db.close().await;

        std::fs::copy(&path, dir.path().join("newer.db")).unwrap();
        std::fs::copy(dir.path().join("older.db"), &path).unwrap();
        let refused = Db::open(&path).await.unwrap_err();
        assert_eq!(refused.code(), "older_catalogue", "{refused}");
        assert!(
            refused.message().contains("has commit 0") && refused.message().contains("delete"),
            "{refused}"
        );
        std::fs::copy(dir.path().join("newer.db"), &path).unwrap();
        Db::open(&path).await.unwrap().close().await;

        // Once accepted, the catalogue gets a new id, and the newer copy is refused.
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let db = Db::open(&path).await.unwrap();
        db.start_commit_file().await;
        assert_ne!(CommitMark::read(dir.path()).unwrap().id, first.id);
        db.close().await;
        std::fs::copy(dir.path().join("newer.db"), &path).unwrap();
        let refused = Db::open(&path).await.unwrap_err();
        assert!(refused.message().contains("another one"), "{refused}");
    }
}
