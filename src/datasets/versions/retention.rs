//! Retention: how many versions are stored, how much space they use, and which ones are dropped.

use std::collections::HashMap;

use sqlx::FromRow;

use super::{DAY, Versions, lock, to_u64};
use crate::clock::Millis;
use crate::datasets::Datasets;
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, VersionId};

/// How much history is stored in addition to the current version, which is never dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The maximum number of versions, including the current one.
    pub versions: u32,
    /// The maximum age in days.
    pub days: u32,
}

/// The retention of one DataSet; `None` means the server's setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionOverride {
    pub versions: Option<u32>,
    pub days: Option<u32>,
}

/// The upper limits of the settings.
pub const MAX_RETENTION_VERSIONS: u32 = 1_000;
pub const MAX_RETENTION_DAYS: u32 = 3_660;

impl RetentionOverride {
    pub fn check(self) -> Result<Self> {
        let mut wrong = Vec::new();
        if self
            .versions
            .is_some_and(|versions| !(1..=MAX_RETENTION_VERSIONS).contains(&versions))
        {
            wrong.push((
                "versions".to_owned(),
                format!("Versions must be from 1 to {MAX_RETENTION_VERSIONS}, or empty."),
            ));
        }
        if self
            .days
            .is_some_and(|days| !(1..=MAX_RETENTION_DAYS).contains(&days))
        {
            wrong.push((
                "days".to_owned(),
                format!("Days must be from 1 to {MAX_RETENTION_DAYS}, or empty."),
            ));
        }
        if wrong.is_empty() {
            Ok(self)
        } else {
            Err(Error::fields(wrong))
        }
    }

    pub fn or(self, server: Retention) -> Retention {
        Retention {
            versions: self.versions.unwrap_or(server.versions),
            days: self.days.unwrap_or(server.days),
        }
    }
}

/// The disk space of a DataSet's history, in bytes. A file that several versions share is counted
/// once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What deleting this one version would free.
    pub alone: HashMap<VersionId, u64>,
    /// The total of all stored versions.
    pub stored: u64,
    /// Files that will be deleted within a day, in addition.
    pub pending_deletion: u64,
}

/// A version that retention may drop.
#[derive(FromRow)]
struct RetainedVersionRow {
    id: VersionId,
    /// When the next version was created; for the newest version, when it was created itself.
    replaced_at: Millis,
    /// 1 for the current version and for one that waits for approval.
    current: i64,
    /// 1 for an intermediate version of a backfill that has continued since.
    stage: i64,
}

impl Versions {
    /// The retention in the server's settings.
    pub fn default_retention(&self) -> Retention {
        self.retention
    }

    /// The retention that is set for a DataSet.
    pub async fn retention_override(&self, dataset: &DatasetId) -> Result<RetentionOverride> {
        let row: Option<(Option<i64>, Option<i64>)> =
            sqlx::query_as("SELECT retention_versions, retention_days FROM datasets WHERE id = $1")
                .bind(dataset)
                .fetch_optional(self.db.read())
                .await?;
        let small = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        Ok(
            row.map_or_else(RetentionOverride::default, |(versions, days)| {
                RetentionOverride {
                    versions: small(versions),
                    days: small(days),
                }
            }),
        )
    }

    pub async fn sizes(&self, dataset: &DatasetId) -> Result<Sizes> {
        let rows: Vec<(VersionId, i64)> = sqlx::query_as(
            "SELECT
                 v.id,
                 COALESCE(
                     (
                         SELECT SUM(s.bytes)
                         FROM version_segments x
                         JOIN segments s ON s.id = x.segment_id
                         WHERE x.version_id = v.id
                             -- A file that another version contains is not freed.
                             AND NOT EXISTS (
                                 SELECT 1
                                 FROM version_segments o
                                 WHERE o.segment_id = x.segment_id AND o.version_id <> v.id
                             )
                     ),
                     0
                 )
             FROM versions v
             WHERE v.dataset_id = $1",
        )
        .bind(dataset)
        .fetch_all(self.db.read())
        .await?;
        let (stored, pending_deletion): (i64, i64) = sqlx::query_as(
            "SELECT
                 COALESCE(SUM(CASE WHEN state = 'kept' THEN bytes ELSE 0 END), 0),
                 COALESCE(SUM(CASE WHEN state = 'dropped' THEN bytes ELSE 0 END), 0)
             FROM segments
             WHERE dataset_id = $1",
        )
        .bind(dataset)
        .fetch_one(self.db.read())
        .await?;
        let alone = rows
            .into_iter()
            .map(|(version, bytes)| (version, to_u64(bytes)))
            .collect();
        Ok(Sizes {
            alone,
            stored: to_u64(stored),
            pending_deletion: to_u64(pending_deletion),
        })
    }

    /// Drops versions beyond the retention: all but the newest ones, those that were replaced too
    /// long ago, and intermediate versions of a backfill that has continued since. Never drops the
    /// current version, one that waits for approval, or a pinned one. Each version is dropped in
    /// its own transaction. Returns the number of dropped versions.
    pub async fn apply_retention(&self, dataset: &DatasetId) -> Result<u64> {
        let retention = self.retention_override(dataset).await?.or(self.retention);
        let oldest = self.clock.conservative_now() - i64::from(retention.days) * DAY;
        let rows: Vec<RetainedVersionRow> = sqlx::query_as(
            "SELECT
                 v.id,
                 COALESCE(
                     (
                         SELECT MIN(n.created_at)
                         FROM versions n
                         WHERE n.dataset_id = v.dataset_id AND n.number > v.number
                     ),
                     v.created_at
                 ) AS replaced_at,
                 CASE
                     WHEN v.id IN (d.current_version, d.pending_version) THEN 1
                     ELSE 0
                 END AS current,
                 -- The run of the version was a chunk of a backfill, and the next chunk has built
                 -- another version on it.
                 CASE
                     WHEN EXISTS (
                         SELECT 1
                         FROM runs r
                         JOIN runs n ON n.backfill_id = r.backfill_id AND n.builds_on = r.id
                         JOIN versions w ON w.run_id = n.id
                         WHERE r.id = v.run_id AND w.dataset_id = v.dataset_id
                     ) THEN 1
                     ELSE 0
                 END AS stage
             FROM versions v
             JOIN datasets d ON d.id = v.dataset_id
             WHERE v.dataset_id = $1
             ORDER BY current DESC, v.number DESC",
        )
        .bind(dataset)
        .fetch_all(self.db.read())
        .await?;
        let (mut dropped, mut place) = (0, 0);
        for row in rows {
            let id = row.id;
            let is_stage = row.stage == 1;
            let is_retained = !is_stage && place < retention.versions && row.replaced_at >= oldest;
            place += u32::from(!is_stage);
            if row.current == 1 || is_retained || lock(&self.pins).versions.contains_key(&id) {
                continue;
            }
            let mut tx = self.db.write().await?;
            // A revert may have made it current in the meantime.
            let still = sqlx::query(
                "SELECT 1 FROM datasets WHERE current_version = $1 OR pending_version = $1",
            )
            .bind(&id)
            .fetch_optional(&mut *tx)
            .await?;
            if still.is_some() {
                continue;
            }
            self.drop_version(&mut tx, &id).await?;
            kill_point("retain.dropped");
            tx.commit().await?;
            kill_point("retain.done");
            dropped += 1;
        }
        Ok(dropped)
    }
}

impl Datasets {
    /// Sets the retention of a DataSet. Versions beyond it are dropped at once; their files are
    /// deleted a day later.
    pub async fn set_retention(
        &self,
        actor: &crate::actor::Actor,
        dataset: &DatasetId,
        retention: RetentionOverride,
    ) -> Result<u64> {
        self.get_to_change(actor, dataset).await?;
        let retention = retention.check()?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE datasets
             SET retention_versions = $1, retention_days = $2, updated_at = $3
             WHERE id = $4",
        )
        .bind(retention.versions.map(i64::from))
        .bind(retention.days.map(i64::from))
        .bind(self.clock.now())
        .bind(dataset)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.versions.apply_retention(dataset).await
    }
}
