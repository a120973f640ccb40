//! The trash: data files that the catalogue does not name are moved to `trash/` in the data
//! directory and deleted 24 hours later. They may belong to a newer catalogue: when it is restored
//! within 24 hours, its files are moved back.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::{DAY, Versions, lock};
use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::ids::SegmentId;

/// The name of the trash in the data directory.
pub const DIR: &str = "trash";
/// A process moves no files to the trash in its first hour, so that an administrator who started it
/// with the wrong catalogue has time to notice.
const MIN_PROCESS_AGE: Millis = 60 * 60 * 1_000;

/// The number of segment files in a directory, which need not exist. Blocks.
pub fn count_files(dir: &Path) -> Result<usize> {
    Ok(list(dir)?.len())
}

/// Whether the trash next to this directory of segments contains a file. Blocks.
pub fn holds(segments: &Path, id: &SegmentId) -> bool {
    file(&segments.with_file_name(DIR), id).exists()
}

/// The segment files in a directory, each with its modification time. Blocks.
fn list(dir: &Path) -> Result<Vec<(SegmentId, Millis)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why.into()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(id) = name
            .to_str()
            .and_then(|name| name.strip_suffix(".parquet"))
            .and_then(SegmentId::parse)
        else {
            continue;
        };
        // The file was deleted in the meantime.
        let Ok(about) = entry.metadata() else {
            continue;
        };
        let changed = about
            .modified()?
            .duration_since(UNIX_EPOCH)
            .map(|since| since.as_millis())
            .unwrap_or(0);
        if about.is_file() {
            found.push((id, Millis::try_from(changed).unwrap_or(Millis::MAX)));
        }
    }
    Ok(found)
}

/// Returns whether the operation succeeded; a file that no longer exists is not an error.
fn ignore_missing(done: std::io::Result<()>) -> Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(false),
        Err(why) => Err(why.into()),
    }
}

impl Versions {
    /// The path of the trash. The directory may not exist.
    pub fn trash(&self) -> PathBuf {
        self.segments.dir().with_file_name(DIR)
    }

    /// Moves files to the trash that the catalogue does not contain and that are not in use. A
    /// catalogue row is created before its file, so these files belong to no run of this catalogue.
    /// Returns their number.
    pub(super) async fn trash_orphans(&self) -> Result<u64> {
        if self.clock.monotonic() - self.started_at < MIN_PROCESS_AGE {
            return Ok(0);
        }
        let dir = self.segments.dir().to_owned();
        let mut unknown = in_background(move || list(&dir)).await?;
        let known = self.known(unknown.iter().map(|(id, _)| id)).await?;
        unknown
            .retain(|(id, _)| !known.contains(id) && !lock(&self.pins).segments.contains_key(id));
        if unknown.is_empty() {
            return Ok(0);
        }
        let (from, to, now) = (
            self.segments.dir().to_owned(),
            self.trash(),
            self.clock.now(),
        );
        let moved = in_background(move || {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&to)?;
            let mut moved = 0_u64;
            for (id, _) in &unknown {
                // The 24 hours begin at the modification time, so it is set to now.
                let at = UNIX_EPOCH + Duration::from_millis(now.unsigned_abs());
                let discard = || {
                    std::fs::File::options()
                        .write(true)
                        .open(file(&from, id))?
                        .set_modified(at)?;
                    std::fs::rename(file(&from, id), file(&to, id))
                };
                moved += u64::from(ignore_missing(discard())?);
            }
            Ok(moved)
        });
        let moved = moved.await?;
        tracing::warn!(
            "{moved} files in segments/ are not in the catalogue. They were moved to trash/ and \
             will be deleted in 24 hours. If rows are missing, restore the chatlake.db that lists \
             these files before then."
        );
        Ok(moved)
    }

    /// Moves files back from the trash that the catalogue contains, and deletes files that have
    /// been in the trash for 24 hours. Returns the number of deleted files.
    pub(super) async fn tidy_trash(&self) -> Result<u64> {
        let before = self.clock.conservative_now() - DAY;
        self.delete_from_trash(move |moved_at| moved_at <= before)
            .await
    }

    /// Empties the trash because the disk is nearly full, except for files that the catalogue
    /// contains. Returns the number of deleted files.
    pub async fn empty_trash(&self) -> Result<u64> {
        let deleted = self.delete_from_trash(|_| true).await?;
        if deleted > 0 {
            tracing::warn!(
                "{deleted} files in trash/ were deleted before their 24 hours ended, because the \
                 disk is nearly full"
            );
        }
        Ok(deleted)
    }

    async fn delete_from_trash(
        &self,
        is_old: impl Fn(Millis) -> bool + Send + 'static,
    ) -> Result<u64> {
        let trash = self.trash();
        let all = in_background(move || list(&trash)).await?;
        if all.is_empty() {
            return Ok(0);
        }
        let known = self.known(all.iter().map(|(id, _)| id)).await?;
        let (trash, segments) = (self.trash(), self.segments.dir().to_owned());
        in_background(move || {
            let mut deleted = 0_u64;
            for (id, moved_at) in &all {
                if known.contains(id) {
                    if !file(&segments, id).exists()
                        && ignore_missing(std::fs::rename(file(&trash, id), file(&segments, id)))?
                    {
                        tracing::info!(
                            "{id} was moved back from trash/, because the catalogue lists it"
                        );
                    }
                } else if is_old(*moved_at) {
                    deleted += u64::from(ignore_missing(std::fs::remove_file(file(&trash, id)))?);
                }
            }
            Ok(deleted)
        })
        .await
    }

    /// The segments that the catalogue contains.
    async fn known(&self, ids: impl Iterator<Item = &SegmentId>) -> Result<HashSet<SegmentId>> {
        let mut known = HashSet::new();
        for id in ids {
            if sqlx::query("SELECT 1 FROM segments WHERE id = $1")
                .bind(id)
                .fetch_optional(self.db.read())
                .await?
                .is_some()
            {
                known.insert(id.clone());
            }
        }
        Ok(known)
    }
}

fn file(dir: &Path, id: &SegmentId) -> PathBuf {
    dir.join(format!("{id}.parquet"))
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::from)?
}
