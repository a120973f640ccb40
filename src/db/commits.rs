//! The commit file: `chatlake.commit` beside the catalogue names the catalogue and its newest commit of a version. A catalogue that is
//! behind its commit file is an older copy, or one that was copied without its log, and is refused.
//!
//! The number that is written was read back from the catalogue by a connection that only reads. SQLite shows a commit to readers after
//! the log has been synced, so the commit file is never ahead of what survives a power loss. It is not synced itself: after a power loss
//! it may be behind, empty or torn, which accepts the catalogue as it is. Only the server that holds the data directory writes it.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, Transaction};

use crate::error::{Error, Result};

/// The name of the file in the data directory.
pub const FILE: &str = "chatlake.commit";

/// Which catalogue it is, and how many commits of versions it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// 32 hexadecimal digits.
    pub id: String,
    pub commits: i64,
}

impl Mark {
    /// One line of always the same length, so that writing it over the one before needs no space on the disk.
    fn line(&self) -> String {
        let body = format!("chatlake-commit 1 {} {:020}", self.id, self.commits);
        let checksum = checksum(&body);
        format!("{body} {checksum}\n")
    }

    /// `None` for a line that is empty, torn or was changed by hand.
    fn parse(line: &str) -> Option<Self> {
        let (body, stated) = line.strip_suffix('\n')?.rsplit_once(' ')?;
        let mut words = body.split(' ');
        let (name, format, id, commits) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let whole = name == "chatlake-commit" && format == "1" && words.next().is_none() && checksum(body) == stated;
        whole.then(|| commits.parse().ok()).flatten().map(|commits| Self { id: id.to_owned(), commits })
    }

    /// Reads the commit file of a data directory. `None` when there is none, and when it cannot be read or is not whole. Blocks.
    pub fn read(dir: &Path) -> Option<Self> {
        let path = dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let mark = Self::parse(&text);
                if mark.is_none() {
                    tracing::warn!("{} is incomplete, for example after a power loss. It is written again.", path.display());
                }
                mark
            }
            Err(why) if why.kind() == ErrorKind::NotFound => None,
            Err(why) => {
                tracing::warn!("{} cannot be read, so the age of the catalogue is not checked: {why}", path.display());
                None
            }
        }
    }

    /// Writes the commit file of a data directory, over the one that is there. Blocks.
    fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let line = self.line();
        file.write_all(line.as_bytes())?;
        if file.metadata()?.len() != line.len() as u64 {
            file.set_len(line.len() as u64)?;
        }
        Ok(())
    }

    /// What is wrong with a catalogue that bears `found` in a directory whose commit file bears `self`, in one sentence; `None` when it
    /// is as new as the commit file or newer.
    pub fn objection(&self, found: Option<&Mark>) -> Option<String> {
        match found {
            Some(found) if found.id == self.id && found.commits >= self.commits => None,
            Some(found) if found.id == self.id => {
                Some(format!("chatlake.db is older than the data directory: it has commit {}, but {FILE} has commit {}", found.commits, self.commits))
            }
            _ => Some(format!("chatlake.db is not the catalogue of this data directory: {FILE} names another one")),
        }
    }
}

fn checksum(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The error of a catalogue that is refused because of `objection`.
pub(super) fn refused(dir: &Path, objection: &str) -> Error {
    let file = dir.join(FILE);
    Error::conflict(
        "older_catalogue",
        format!("{objection}. Restore chatlake.db together with its chatlake.db-wal, or delete {} to continue with the present chatlake.db.", file.display()),
    )
}

/// Counts a commit inside its transaction: a version that was made, or one that was dropped.
pub async fn count(tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    sqlx::query("UPDATE catalogue SET commits = commits + 1").execute(&mut **tx).await?;
    Ok(())
}

/// What the catalogue bears; `None` before its first start.
pub(super) async fn found(pool: &SqlitePool) -> Result<Option<Mark>> {
    let there: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'catalogue'").fetch_one(pool).await?;
    if there == 0 {
        return Ok(None);
    }
    let row: Option<(String, i64)> = sqlx::query_as("SELECT id, commits FROM catalogue").fetch_optional(pool).await?;
    Ok(row.map(|(id, commits)| Mark { id, commits }))
}

/// Gives a new catalogue its id.
pub(super) async fn name(tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    sqlx::query("INSERT INTO catalogue (id) SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM catalogue)")
        .bind(uuid::Uuid::new_v4().simple().to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Gives the catalogue another id: it goes on from here without the commits that other copies of it may hold.
pub(super) async fn rename(tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    sqlx::query("UPDATE catalogue SET id = $1 WHERE commits > 0").bind(uuid::Uuid::new_v4().simple().to_string()).execute(&mut **tx).await?;
    Ok(())
}

/// Writes the commit file when it does not say this yet; `written` is what it says.
pub(super) async fn note(dir: &Path, pool: &SqlitePool, written: &mut Option<Mark>) -> Result<()> {
    let Some(found) = found(pool).await? else { return Ok(()) };
    if written.as_ref() == Some(&found) {
        return Ok(());
    }
    let (dir, mark) = (dir.to_owned(), found.clone());
    tokio::task::spawn_blocking(move || mark.write(&dir)).await.map_err(Error::from)??;
    *written = Some(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;

    fn mark(id: &str, commits: i64) -> Mark {
        Mark { id: id.to_owned(), commits }
    }

    #[test]
    fn a_commit_file_that_is_torn_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()), None);
        let whole = mark("0123456789abcdef0123456789abcdef", 41);
        whole.write(dir.path()).unwrap();
        assert_eq!(Mark::read(dir.path()), Some(whole.clone()));
        let (old, new) = (whole.line(), mark(&whole.id, 123_456).line());
        assert_eq!(old.len(), new.len());
        for at in 0..old.len() {
            let torn = format!("{}{}", &new[..at], &old[at..]);
            assert!(torn == old || torn == new || Mark::parse(&torn).is_none(), "torn at {at}: {torn}");
            assert_eq!(Mark::parse(&old[..at]), None, "cut at {at}");
        }
        std::fs::write(dir.path().join(FILE), "\0".repeat(200)).unwrap();
        assert_eq!(Mark::read(dir.path()), None);
        whole.write(dir.path()).unwrap();
        assert_eq!(Mark::read(dir.path()), Some(whole));
    }

    #[test]
    fn a_catalogue_is_refused_when_it_is_older_or_another_one() {
        let side = mark("a", 7);
        for (found, refused) in [(Some(mark("a", 7)), false), (Some(mark("a", 8)), false), (Some(mark("a", 6)), true), (Some(mark("b", 9)), true), (None, true)]
        {
            assert_eq!(side.objection(found.as_ref()).is_some(), refused, "{found:?}");
        }
    }

    #[tokio::test]
    async fn the_commit_file_follows_the_catalogue_and_an_older_copy_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chatlake.db");
        let db = Db::open(&path).await.unwrap();
        assert_eq!(Mark::read(dir.path()), None, "whoever does not hold the directory writes nothing");
        db.hold_commit_file().await;
        let first = Mark::read(dir.path()).unwrap();
        assert_eq!(first.commits, 0);
        db.close().await;
        std::fs::copy(&path, dir.path().join("older.db")).unwrap();

        let db = Db::open(&path).await.unwrap();
        db.hold_commit_file().await;
        let mut tx = db.write().await.unwrap();
        count(&mut tx).await.unwrap();
        db.note_commits().await;
        assert_eq!(Mark::read(dir.path()).unwrap(), first, "a commit that is not done yet is not named");
        tx.commit().await.unwrap();
        db.note_commits().await;
        assert_eq!(Mark::read(dir.path()).unwrap(), Mark { commits: 1, ..first.clone() });
        db.close().await;

        std::fs::copy(&path, dir.path().join("newer.db")).unwrap();
        std::fs::copy(dir.path().join("older.db"), &path).unwrap();
        let refused = Db::open(&path).await.unwrap_err();
        assert_eq!(refused.code(), "older_catalogue", "{refused}");
        assert!(refused.message().contains("has commit 0") && refused.message().contains("delete"), "{refused}");
        std::fs::copy(dir.path().join("newer.db"), &path).unwrap();
        Db::open(&path).await.unwrap().close().await;

        // Accepted: from then on it is another catalogue, and the newer one is refused.
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let db = Db::open(&path).await.unwrap();
        db.hold_commit_file().await;
        assert_ne!(Mark::read(dir.path()).unwrap().id, first.id);
        db.close().await;
        std::fs::copy(dir.path().join("newer.db"), &path).unwrap();
        let refused = Db::open(&path).await.unwrap_err();
        assert!(refused.message().contains("another one"), "{refused}");
    }
}
