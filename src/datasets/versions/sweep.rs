//! The sweep deletes segments that no version names, first in the catalogue and then the files. Files of finished runs that were
//! in no version are deleted at once; files of dropped versions a day later; files that the catalogue does not name are moved to
//! the trash (`trash.rs`).

use super::{DAY, MAX_SEGMENTS_PER_TX, SweepReport, Versions, lock};
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{RunId, SegmentId};

impl Versions {
    /// Drops segments whose run is over and deletes them, deletes what was dropped a day ago or longer, moves files that nothing names to
    /// the trash, and deletes what has been there for a day. It may be stopped at any point and run again.
    pub async fn sweep(&self) -> Result<SweepReport> {
        let emptied = self.tidy_trash().await?;
        let dropped = self.drop_abandoned().await?;
        Ok(SweepReport { dropped, deleted: self.delete_dropped().await?, orphans: self.trash_orphans().await?, emptied })
    }

    /// Staged segments of runs that are over or gone. They were in no version, so nobody reads them and `dropped_at` is long ago.
    async fn drop_abandoned(&self) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let mut tx = self.db.write().await?;
            let done = sqlx::query(
                "UPDATE segments SET state = 'dropped', dropped_at = 0 WHERE id IN (SELECT s.id FROM segments s WHERE s.state = 'staged' \
                 AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = s.run_id AND r.state IN ('queued', 'running', 'waiting')) LIMIT $1)",
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
                "SELECT id FROM segments WHERE state = 'dropped' AND dropped_at <= $1 AND id > $2 \
                 AND NOT EXISTS (SELECT 1 FROM version_segments v WHERE v.segment_id = segments.id) ORDER BY id LIMIT $3",
            )
            .bind(before)
            .bind(&after)
            .bind(MAX_SEGMENTS_PER_TX)
            .fetch_all(self.db.read())
            .await?;
            let Some(last) = ids.last() else { return Ok(deleted) };
            after = last.as_str().to_owned();
            deleted += self.delete(ids).await?;
        }
    }

    /// Deletes at once what a run staged that is over and made no version. Answers how many files.
    pub async fn delete_staged(&self, run: &RunId) -> Result<u64> {
        let mut tx = self.db.write().await?;
        let ids: Vec<SegmentId> = sqlx::query_scalar(
            "UPDATE segments SET state = 'dropped', dropped_at = 0 WHERE run_id = $1 AND state = 'staged' \
             AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = $1 AND r.state IN ('queued', 'running', 'waiting')) RETURNING id",
        )
        .bind(run)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        self.delete(ids).await
    }

    /// Deletes the files that a run staged and that count for nothing, because what is in them was never recorded: to make room on a full
    /// disk, without writing to the catalogue. Only for a run whose commit was not begun. Their rows go with the end of the run.
    pub async fn delete_unrecorded(&self, run: &RunId) {
        let deleted = async {
            let ids: Vec<SegmentId> =
                sqlx::query_scalar("SELECT id FROM segments WHERE run_id = $1 AND state = 'staged' AND rows = 0").bind(run).fetch_all(self.db.read()).await?;
            self.delete_files(ids).await
        };
        match deleted.await {
            Ok(deleted) => tracing::info!("{} files of a failed run were deleted to free space", deleted.len()),
            Err(error) => {
                tracing::error!(cause = ?error.log_cause(), "the files of a failed run could not be deleted; the cleanup deletes them later: {error}")
            }
        }
    }

    /// Deletes dropped segments, the files first. Answers how many; those that somebody reads stay.
    async fn delete(&self, ids: Vec<SegmentId>) -> Result<u64> {
        let deleted = self.delete_files(ids).await?;
        kill_point("sweep.file_gone");
        let mut tx = self.db.write().await?;
        for id in &deleted {
            sqlx::query("DELETE FROM segments WHERE id = $1 AND state = 'dropped'").bind(id).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        kill_point("sweep.done");
        Ok(deleted.len() as u64)
    }

    /// Deletes the files of the segments that nobody reads, and answers which those were.
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
