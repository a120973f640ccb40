//! Damaged segments: one error code for all readers, one log line and one catalogue entry per
//! segment, and the check of whole files before their rows are used.

use std::fmt::Display;

use super::file::ReadFailure;
use super::{Checksums, SegmentFile, SegmentMeta, Segments, lock};
use crate::error::{Error, Result};
use crate::ids::SegmentId;

/// If files have at most this many bytes together, they are checked completely before their first
/// row is used; otherwise each block is checked when it is read.
pub const MAX_CHECKED_BYTES: u64 = 256 << 20;

impl Segments {
    /// Compares the files of these segments with their checksums if they have at most
    /// `MAX_CHECKED_BYTES` together; otherwise checks only that each file exists with its length
    /// and is not known to be damaged. Fails with `data_damaged`.
    pub async fn check(&self, all: &[SegmentMeta]) -> Result<()> {
        let (segments, all) = (self.clone(), all.to_vec());
        let whole = all.iter().map(|meta| meta.bytes).sum::<u64>() <= MAX_CHECKED_BYTES;
        let checking = move || {
            all.iter().try_for_each(|meta| {
                if whole {
                    segments.check_file(meta)
                } else {
                    segments.check_known(meta)
                }
            })
        };
        tokio::task::spawn_blocking(checking)
            .await
            .map_err(Error::from)?
    }

    /// Compares the file of a segment with its checksums. Without checksums, checks that the footer
    /// can be read. Blocks.
    pub fn check_file(&self, meta: &SegmentMeta) -> Result<()> {
        let file = SegmentFile::open(&self.path(&meta.id), meta)
            .map_err(|failure| self.read_error(&meta.id, &failure))?;
        file.check()
            .map_err(|why| self.decode_error(&meta.id, &file, &why))?;
        self.count_io();
        if meta.checksums.is_none() {
            self.open(meta).map(drop)
        } else {
            Ok(())
        }
    }

    /// Computes the checksums of a segment's file. Blocks.
    pub(in crate::datasets) fn checksums_of(&self, meta: &SegmentMeta) -> Result<Checksums> {
        let read =
            std::fs::File::open(self.path(&meta.id)).and_then(|file| Checksums::of_file(&file));
        let (checksums, length) = match read {
            Ok(read) => read,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                return Err(self.damage_error(&meta.id, "its file is missing"));
            }
            Err(why) => return Err(why.into()),
        };
        self.count_io();
        if length == meta.bytes {
            return Ok(checksums);
        }
        Err(self.damage_error(
            &meta.id,
            &format!(
                "its file has {length} bytes and the catalogue says {}",
                meta.bytes
            ),
        ))
    }

    fn check_known(&self, meta: &SegmentMeta) -> Result<()> {
        SegmentFile::open(&self.path(&meta.id), meta)
            .map_err(|failure| self.read_error(&meta.id, &failure))?;
        self.count_io();
        match self.known_damage(&meta.id) {
            Some(why) => Err(Error::data_damaged(format!("segment {}: {why}", meta.id))),
            None => Ok(()),
        }
    }

    /// Loads the damage that earlier processes recorded. Called once at startup.
    pub async fn load_damage(&self) -> Result<()> {
        let rows: Vec<(SegmentId, String)> = sqlx::query_as(
            "SELECT id, damage FROM segments WHERE state <> 'dropped' AND damage IS NOT NULL",
        )
        .fetch_all(self.0.db.read())
        .await?;
        lock(&self.0.damaged).extend(rows);
        Ok(())
    }

    /// Saves the known damage of these segments in the catalogue.
    pub async fn save_damage(&self, all: &[SegmentMeta]) -> Result<()> {
        let mut tx = self.0.db.write().await?;
        for meta in all {
            if let Some(why) = self.known_damage(&meta.id) {
                sqlx::query("UPDATE segments SET damage = $1 WHERE id = $2")
                    .bind(why)
                    .bind(&meta.id)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// The known damage of a segment.
    pub fn known_damage(&self, id: &SegmentId) -> Option<String> {
        lock(&self.0.damaged).get(id).cloned()
    }

    /// Clears the damage of a segment whose file was restored.
    pub(in crate::datasets) fn forget_damage(&self, id: &SegmentId) {
        lock(&self.0.damaged).remove(id);
        lock(&self.0.footers).forget(id);
    }

    pub(super) fn read_error(&self, id: &SegmentId, failure: &ReadFailure) -> Error {
        match failure {
            ReadFailure::Damaged(why) => self.damage_error(id, why),
            ReadFailure::System(kind, why) => {
                Error::from(std::io::Error::new(*kind, format!("segment {id}: {why}")))
            }
        }
    }

    /// Maps a read error. Bytes that the disk returned but that cannot be decoded are damage.
    pub(super) fn decode_error(
        &self,
        id: &SegmentId,
        file: &SegmentFile,
        why: &dyn Display,
    ) -> Error {
        match file.failure() {
            Some(failure) => self.read_error(id, failure),
            None => self.damage_error(id, &format!("its file cannot be decoded: {why}")),
        }
    }

    /// The error of a damaged segment. The first time, the damage is logged and saved in the
    /// catalogue.
    pub(super) fn damage_error(&self, id: &SegmentId, why: &str) -> Error {
        if lock(&self.0.damaged)
            .insert(id.clone(), why.to_owned())
            .is_none()
        {
            tracing::error!(segment = %id, "a segment is damaged: {why}");
            self.record_damage(id.clone(), why.to_owned());
        }
        Error::data_damaged(format!("segment {id}: {why}"))
    }

    /// Saves the damage in the catalogue in a separate task.
    fn record_damage(&self, id: SegmentId, why: String) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let db = self.0.db.clone();
        runtime.spawn(async move {
            let saved = async {
                let mut tx = db.write().await?;
                sqlx::query("UPDATE segments SET damage = $1 WHERE id = $2")
                    .bind(why)
                    .bind(&id)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await.map_err(Error::from)
            };
            // A read-only command cannot save the damage; its user sees the error itself.
            if let Err(error) = saved.await {
                tracing::debug!(
                    cause = ?error.log_cause(),
                    "the damage of a segment could not be saved: {error}"
                );
            }
        });
    }
}
