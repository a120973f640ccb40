//! The sweep: what no version names any more goes, the catalogue first and the files a day later.

use super::{CHUNK, DAY, Swept, Versions, lock};
use crate::db::marks::step;
use crate::error::{Error, Result};
use crate::ids::SegmentId;

impl Versions {
    /// Drops segments whose run is over, and deletes what was dropped a day ago or longer and the files that nothing names. It may be
    /// stopped at any point and run again.
    pub async fn sweep(&self) -> Result<Swept> {
        Ok(Swept { dropped: self.drop_left_behind().await?, deleted: self.delete_dropped().await?, orphans: self.delete_orphans().await? })
    }

    /// Staged segments of runs that are over or gone.
    async fn drop_left_behind(&self) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let mut tx = self.db.write().await?;
            let done = sqlx::query(
                "UPDATE segments SET state = 'dropped', dropped_at = $1 WHERE id IN (SELECT s.id FROM segments s WHERE s.state = 'staged' \
                 AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = s.run_id AND r.state IN ('queued', 'running', 'waiting')) LIMIT $2)",
            )
            .bind(self.clock.now())
            .bind(CHUNK)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            step("sweep.dropped");
            tx.commit().await?;
            dropped += done;
            if done < CHUNK.unsigned_abs() {
                return Ok(dropped);
            }
        }
    }

    async fn delete_dropped(&self) -> Result<u64> {
        let before = self.clock.certain() - DAY;
        let mut after = String::new();
        let mut deleted = 0;
        loop {
            let ids: Vec<SegmentId> = sqlx::query_scalar(
                "SELECT id FROM segments WHERE state = 'dropped' AND dropped_at <= $1 AND id > $2 \
                 AND NOT EXISTS (SELECT 1 FROM version_segments v WHERE v.segment_id = segments.id) ORDER BY id LIMIT $3",
            )
            .bind(before)
            .bind(&after)
            .bind(CHUNK)
            .fetch_all(self.db.read())
            .await?;
            let Some(last) = ids.last() else { return Ok(deleted) };
            after = last.as_str().to_owned();
            let gone = self.delete_files(ids).await?;
            step("sweep.file_gone");
            let mut tx = self.db.write().await?;
            for id in &gone {
                sqlx::query("DELETE FROM segments WHERE id = $1 AND state = 'dropped'").bind(id).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            step("sweep.done");
            deleted += gone.len() as u64;
        }
    }

    /// Files of ours that no row names. A row is there before its file, so a file without one is nobody's.
    async fn delete_orphans(&self) -> Result<u64> {
        let (segments, before) = (self.segments.clone(), self.clock.certain() - DAY);
        let files = tokio::task::spawn_blocking(move || segments.files_before(before)).await.map_err(Error::internal)??;
        let mut orphans = Vec::new();
        for id in files {
            if sqlx::query("SELECT 1 FROM segments WHERE id = $1").bind(&id).fetch_optional(self.db.read()).await?.is_none() {
                orphans.push(id);
            }
        }
        Ok(self.delete_files(orphans).await?.len() as u64)
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
        .map_err(Error::internal)?
    }
}
