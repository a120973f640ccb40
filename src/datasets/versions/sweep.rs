//! The sweep deletes segments that no version uses, first in the catalogue and then the files.
//! Files of finished runs that were in no version are deleted at once; files of dropped versions a
//! day later; files that the catalogue does not contain are moved to the trash (`trash.rs`).

use super::{DAY, MAX_SEGMENTS_PER_TX, SweepReport, Versions, lock};
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{RunId, SegmentId};

impl Versions {
    /// Drops and deletes staged segments of ended runs, deletes segments that were dropped a day
    /// ago or earlier, moves unknown files to the trash, and deletes what has been in the trash for
    /// a day. The sweep can be interrupted at any point and repeated.
    pub async fn sweep(&self) -> Result<SweepReport> {
        let emptied = self.tidy_trash().await?;
        let dropped = self.drop_abandoned().await?;
        Ok(SweepReport {
            dropped,
            deleted: self.delete_dropped().await?,
            orphans: self.trash_orphans().await?,
            emptied,
        })
    }

    /// Drops staged segments whose run has ended or was deleted. They were in no version, so no
    /// reader uses them and `dropped_at` is set to a time long ago.
    async fn drop_abandoned(&self) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let mut tx = self.db.write().await?;
            let done = sqlx::query(
                "UPDATE segments
                 SET state = 'dropped', dropped_at = 0
                 WHERE id IN (
                     SELECT s.id
                     FROM segments s
                     WHERE s.state = 'staged'
                         -- Its run has ended or was deleted.
                         AND NOT EXISTS (
                             SELECT 1
                             FROM runs r
                             WHERE r.id = s.run_id AND r.state IN ('queued', 'running', 'waiting')
                         )
                     LIMIT $1
                 )",
            )
            .bind(MAX_SEGMENTS_PER_TX)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            kill_point("sweep.dropped");
            tx.commit().await?;
            dropped += done;
            if done < MAX_SEGMENTS_PER_TX.unsigned_abs() {
                return Ok(dropped);
            }
        }
    }

    async fn delete_dropped(&self) -> Result<u64> {
        let before = self.clock.conservative_now() - DAY;
        let mut after = String::new();
        let mut deleted = 0;
        loop {
            let ids: Vec<SegmentId> = sqlx::query_scalar(
                "SELECT id
                 FROM segments
                 WHERE state = 'dropped'
                     AND dropped_at <= $1
                     -- Segments in use stay, so the next page begins after the last id.
                     AND id > $2
                     -- A segment that a version names is never deleted.
                     AND NOT EXISTS (
                         SELECT 1
                         FROM version_segments v
                         WHERE v.segment_id = segments.id
                     )
                 ORDER BY id
                 LIMIT $3",
            )
            .bind(before)
            .bind(&after)
            .bind(MAX_SEGMENTS_PER_TX)
            .fetch_all(self.db.read())
            .await?;
            let Some(last) = ids.last() else {
                return Ok(deleted);
            };
            after = last.as_str().to_owned();
            deleted += self.delete(ids).await?;
        }
    }

    /// Deletes the staged segments of an ended run without a version at once. Returns the number of
    /// files.
    pub async fn delete_staged(&self, run: &RunId) -> Result<u64> {
        let mut tx = self.db.write().await?;
        let ids: Vec<SegmentId> = sqlx::query_scalar(
            "UPDATE segments
             SET state = 'dropped', dropped_at = 0
             WHERE run_id = $1
                 AND state = 'staged'
                 -- The run has ended.
                 AND NOT EXISTS (
                     SELECT 1
                     FROM runs r
                     WHERE r.id = $1 AND r.state IN ('queued', 'running', 'waiting')
                 )
             RETURNING id",
        )
        .bind(run)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        self.delete(ids).await
    }

    /// Deletes the unrecorded staged files of a run, without writing to the catalogue, to free
    /// space on a full disk. Only for a run whose commit has not begun. The catalogue rows are
    /// deleted when the run ends.
    pub async fn delete_unrecorded(&self, run: &RunId) {
        let deleted = async {
            let ids: Vec<SegmentId> = sqlx::query_scalar(
                "SELECT id FROM segments WHERE run_id = $1 AND state = 'staged' AND rows = 0",
            )
            .bind(run)
            .fetch_all(self.db.read())
            .await?;
            self.delete_files(ids).await
        };
        match deleted.await {
            Ok(deleted) => tracing::info!(
                "{} files of a failed run were deleted to free space",
                deleted.len()
            ),
            Err(error) => {
                tracing::error!(
                    cause = ?error.log_cause(),
                    "the files of a failed run could not be deleted; the cleanup deletes them \
                     later: {error}"
                )
            }
        }
    }

    /// Deletes dropped segments, the files first. Segments in use stay. Returns the number of
    /// deleted segments.
    async fn delete(&self, ids: Vec<SegmentId>) -> Result<u64> {
        let deleted = self.delete_files(ids).await?;
        kill_point("sweep.file_gone");
        let mut tx = self.db.write().await?;
        for id in &deleted {
            sqlx::query("DELETE FROM segments WHERE id = $1 AND state = 'dropped'")
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        kill_point("sweep.done");
        Ok(deleted.len() as u64)
    }

    /// Deletes the files of segments that are not in use, and returns these segments.
    async fn delete_files(&self, mut ids: Vec<SegmentId>) -> Result<Vec<SegmentId>> {
        let (segments, pins) = (self.segments.clone(), self.pins.clone());
        tokio::task::spawn_blocking(move || {
            ids.retain(|id| !lock(&pins).segments.contains_key(id));
            for id in &ids {
                segments.remove(id)?;
            }
            Ok(ids)
        })
        .await
        .map_err(Error::from)?
    }
}
