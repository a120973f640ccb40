//! The integrity check in the background: each day it reads a share of the stored files and
//! compares them with their checksums, so that damage is found while an intact version, or the
//! vendor, still has the rows. It computes checksums for files that have none.

use std::time::Duration;

use sqlx::FromRow;
use tokio_util::sync::CancellationToken;

use super::columns::ColumnInfo;
use super::segments::digest::Digest;
use super::segments::{Checksums, SegmentMeta, SegmentRow, Segments};
use super::verify_versions::digest_of;
use crate::clock::{Clock, Millis, millis};
use crate::db::Db;
use crate::error::{DATA_DAMAGED, Error, Result};
use crate::ids::SegmentId;
use crate::metrics::Metrics;

/// How often files are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(600);
const DAY: Millis = 24 * 60 * 60 * 1_000;
/// A damaged file is checked again after this time, because it may have been restored.
const RECHECK_DAMAGED_AFTER: Millis = 60 * 60 * 1_000;
/// The number of files that are looked up at once.
const FILES_PER_ROUND: i64 = 50;

/// The integrity check.
pub struct Scrub {
    pub db: Db,
    pub segments: Segments,
    pub clock: Clock,
    pub metrics: Metrics,
    /// The percentage of all stored bytes to check per day; 0: nothing is checked.
    pub percent: u32,
}

/// The result of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    pub files: u64,
    pub bytes: u64,
    pub damaged: u64,
}

/// A segment to check.
#[derive(FromRow)]
struct DueSegmentRow {
    #[sqlx(flatten)]
    segment: SegmentRow,
    /// JSON.
    columns: String,
    /// 1 if the file is known to be damaged.
    known_damaged: i64,
}

/// The result of checking a file. Contains checksums and digest if the catalogue has none.
type CheckResult = Result<Option<(Checksums, Digest)>>;

impl Scrub {
    /// Checks files until `stop` fires.
    pub async fn run_until_stopped(self, stop: CancellationToken) {
        if self.percent == 0 {
            return;
        }
        // In bytes. Negative after a file that was larger than the remaining allowance.
        let mut allowance = 0_i64;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.wait(CHECK_INTERVAL) => {}
            }
            match self.byte_budget(CHECK_INTERVAL).await {
                Ok(share) => allowance = (allowance + share).min(share.saturating_mul(6)),
                Err(error) => {
                    tracing::error!(
                        cause = ?error.log_cause(),
                        "the integrity check could not read the catalogue: {error}"
                    )
                }
            }
            match self.round(&mut allowance, &stop).await {
                Ok(done) if done.damaged > 0 => tracing::error!(
                    files = done.files,
                    damaged = done.damaged,
                    "the integrity check found damaged files"
                ),
                Ok(done) => tracing::debug!(
                    files = done.files,
                    bytes = done.bytes,
                    "the integrity check found nothing wrong"
                ),
                Err(error) => {
                    tracing::error!(
                        cause = ?error.log_cause(),
                        "the integrity check stopped: {error}"
                    )
                }
            }
        }
    }

    /// The number of bytes to check in this time; at least one, so that small installations are
    /// checked too.
    async fn byte_budget(&self, time: Duration) -> Result<i64> {
        let all: i64 =
            sqlx::query_scalar("SELECT COALESCE(SUM(bytes), 0) FROM segments WHERE state = 'kept'")
                .fetch_one(self.db.read())
                .await?;
        Ok((all / 100 * i64::from(self.percent) / (DAY / millis(time))).max(1))
    }

    /// Checks files while `allowance` is positive, starting with those that were not checked for
    /// the longest time. Before them, once an hour, it checks files that are known to be damaged;
    /// these do not use the allowance, so that they cannot block the others.
    pub async fn round(&self, allowance: &mut i64, stop: &CancellationToken) -> Result<Scrubbed> {
        let mut done = Scrubbed::default();
        let due_before =
            self.clock.conservative_now() - DAY * 100 / i64::from(self.percent.clamp(1, 100));
        let rows: Vec<DueSegmentRow> = sqlx::query_as(
            "SELECT
                 id, rows, bytes, checksums, digest, columns,
                 CASE WHEN damage IS NOT NULL THEN 1 ELSE 0 END AS known_damaged
             FROM segments
             WHERE state = 'kept'
                 -- A damaged file is due if it was last checked before $3, another one before $1.
                 AND CASE
                     WHEN damage IS NOT NULL THEN COALESCE(checked_at, 0) < $3
                     ELSE checksums IS NULL OR COALESCE(checked_at, created_at) < $1
                 END
             -- Damaged files first, then those without checksums.
             ORDER BY
                 CASE WHEN damage IS NOT NULL THEN 0 WHEN checksums IS NULL THEN 1 ELSE 2 END,
                 COALESCE(checked_at, created_at), id
             LIMIT $2",
        )
        .bind(due_before)
        .bind(FILES_PER_ROUND)
        .bind(self.clock.now() - RECHECK_DAMAGED_AFTER)
        .fetch_all(self.db.read())
        .await?;
        for row in rows {
            let known_damaged = row.known_damaged != 0;
            if (*allowance <= 0 && !known_damaged) || stop.is_cancelled() {
                break;
            }
            let meta: SegmentMeta = row.segment.try_into()?;
            let columns: Vec<ColumnInfo> =
                serde_json::from_str(&row.columns).map_err(Error::damaged)?;
            done.files += 1;
            done.bytes += meta.bytes;
            let cost = i64::try_from(meta.bytes).unwrap_or(i64::MAX).max(1);
            *allowance = allowance.saturating_sub(if known_damaged { 0 } else { cost });
            let (segments, id) = (self.segments.clone(), meta.id.clone());
            let checked = tokio::task::spawn_blocking(move || check(&segments, &meta, &columns))
                .await
                .map_err(Error::from)?;
            done.damaged += u64::from(self.record_result(&id, checked).await?);
        }
        let damaged: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM segments WHERE state = 'kept' AND damage IS NOT NULL",
        )
        .fetch_one(self.db.read())
        .await?;
        self.metrics.damaged_segments.set(damaged);
        Ok(done)
    }

    /// Records the result of a check. Returns whether the file is damaged.
    async fn record_result(&self, id: &SegmentId, checked: CheckResult) -> Result<bool> {
        let (sums, damage) = match checked {
            Ok(sums) => (sums, None),
            Err(error) if error.code() == DATA_DAMAGED => (None, self.segments.known_damage(id)),
            // A disk error may be temporary, so the file is checked again later.
            Err(error) => {
                tracing::warn!(
                    cause = ?error.log_cause(),
                    segment = %id,
                    "a segment could not be checked: {error}"
                );
                return Ok(false);
            }
        };
        let damaged = damage.is_some();
        if !damaged {
            self.segments.forget_damage(id);
        }
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE segments
             SET
                 checked_at = $1, damage = $2, checksums = COALESCE(checksums, $3),
                 digest = COALESCE(digest, $4)
             WHERE id = $5",
        )
        .bind(self.clock.now())
        .bind(damage)
        .bind(sums.as_ref().map(|(checksums, _)| checksums.to_text()))
        .bind(sums.as_ref().map(|(_, digest)| digest.to_text()))
        .bind(id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(damaged)
    }
}

/// Compares a file with its checksums. Without checksums, decodes the whole file and computes them.
/// Blocks.
fn check(segments: &Segments, meta: &SegmentMeta, columns: &[ColumnInfo]) -> CheckResult {
    if meta.checksums.is_some() {
        return segments.check_file(meta).map(|()| None);
    }
    let checksums = segments.checksums_of(meta)?;
    // Decodes with the new checksums, so that both are of the same bytes.
    let open = segments.open(&SegmentMeta {
        checksums: Some(checksums.clone()),
        ..meta.clone()
    })?;
    Ok(Some((checksums, digest_of(&open, columns)?)))
}

#[cfg(test)]
mod tests;
