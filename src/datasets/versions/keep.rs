//! How much history is kept, how much room it takes, and what retention drops.

use std::collections::HashMap;

use sqlx::Row;

use super::{DAY, Versions, lock, unsigned};
use crate::clock::Millis;
use crate::datasets::Datasets;
use crate::db::marks::step;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, VersionId};

/// How much history is kept besides the current version, which always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// At most so many, the current one included.
    pub versions: u32,
    /// None older than so many days.
    pub days: u32,
}

/// What a DataSet says of that itself; none is as the server's settings say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnKeep {
    pub versions: Option<u32>,
    pub days: Option<u32>,
}

/// The most that may be asked for.
pub const MOST_VERSIONS: u32 = 1_000;
pub const MOST_DAYS: u32 = 3_660;

impl OwnKeep {
    pub fn check(self) -> Result<Self> {
        let mut wrong = Vec::new();
        if self.versions.is_some_and(|versions| !(1..=MOST_VERSIONS).contains(&versions)) {
            wrong.push(("versions".to_owned(), format!("Versions must be from 1 to {MOST_VERSIONS}, or empty.")));
        }
        if self.days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
            wrong.push(("days".to_owned(), format!("Days must be from 1 to {MOST_DAYS}, or empty.")));
        }
        if wrong.is_empty() { Ok(self) } else { Err(Error::fields(wrong)) }
    }

    pub fn or(self, server: Keep) -> Keep {
        Keep { versions: self.versions.unwrap_or(server.versions), days: self.days.unwrap_or(server.days) }
    }
}

/// The room that a DataSet's history takes, in bytes. A file that several versions share is counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What deleting this one version would free.
    pub alone: HashMap<VersionId, u64>,
    /// All that is kept.
    pub kept: u64,
    /// What is deleted within a day, besides.
    pub going: u64,
}

impl Versions {
    /// What the server's settings say.
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// What a DataSet says itself of how much history it keeps.
    pub async fn own_keep(&self, dataset: &DatasetId) -> Result<OwnKeep> {
        let row: Option<(Option<i64>, Option<i64>)> =
            sqlx::query_as("SELECT keep_versions, keep_days FROM datasets WHERE id = $1").bind(dataset).fetch_optional(self.db.read()).await?;
        let small = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        Ok(row.map_or_else(OwnKeep::default, |(versions, days)| OwnKeep { versions: small(versions), days: small(days) }))
    }

    pub async fn sizes(&self, dataset: &DatasetId) -> Result<Sizes> {
        let rows: Vec<(VersionId, i64)> = sqlx::query_as(
            "SELECT v.id, COALESCE((SELECT SUM(s.bytes) FROM version_segments x JOIN segments s ON s.id = x.segment_id WHERE x.version_id = v.id
                AND NOT EXISTS (SELECT 1 FROM version_segments o WHERE o.segment_id = x.segment_id AND o.version_id <> v.id)), 0)
             FROM versions v WHERE v.dataset_id = $1",
        )
        .bind(dataset)
        .fetch_all(self.db.read())
        .await?;
        let (kept, going): (i64, i64) = sqlx::query_as(
            "SELECT COALESCE(SUM(CASE WHEN state = 'kept' THEN bytes ELSE 0 END), 0), COALESCE(SUM(CASE WHEN state = 'dropped' THEN bytes ELSE 0 END), 0)
             FROM segments WHERE dataset_id = $1",
        )
        .bind(dataset)
        .fetch_one(self.db.read())
        .await?;
        let alone = rows.into_iter().map(|(version, bytes)| (version, unsigned(bytes))).collect();
        Ok(Sizes { alone, kept: unsigned(kept), going: unsigned(going) })
    }

    /// Drops what is beyond the history that is kept: all but the newest few, those that another version replaced too long ago, and what was only a stage of a
    /// backfill that has gone further since. Never the current version, nor one that is held or pinned. Answers how many went. A transaction
    /// for each.
    pub async fn retain(&self, dataset: &DatasetId) -> Result<u64> {
        let keep = self.own_keep(dataset).await?.or(self.keep);
        let oldest = self.clock.certain() - i64::from(keep.days) * DAY;
        let rows = sqlx::query(
            "SELECT v.id, COALESCE((SELECT MIN(n.created_at) FROM versions n WHERE n.dataset_id = v.dataset_id AND n.number > v.number), v.created_at),
                    CASE WHEN v.id IN (d.current_version, d.held_version) THEN 1 ELSE 0 END AS current,
                    CASE WHEN EXISTS (SELECT 1 FROM runs r JOIN runs n ON n.backfill_id = r.backfill_id AND n.builds_on = r.id JOIN versions w ON w.run_id = n.id
                                      WHERE r.id = v.run_id AND w.dataset_id = v.dataset_id) THEN 1 ELSE 0 END AS stage
             FROM versions v JOIN datasets d ON d.id = v.dataset_id WHERE v.dataset_id = $1 ORDER BY current DESC, v.number DESC",
        )
        .bind(dataset)
        .fetch_all(self.db.read())
        .await?;
        let (mut gone, mut place) = (0, 0);
        for row in &rows {
            let (id, replaced_at, current, stage): (VersionId, Millis, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            let kept = stage == 0 && place < keep.versions && replaced_at >= oldest;
            place += u32::from(stage == 0);
            if current == 1 || kept || lock(&self.pins).versions.contains_key(&id) {
                continue;
            }
            let mut tx = self.db.write().await?;
            // It may have become the current one since (a revert).
            let still = sqlx::query("SELECT 1 FROM datasets WHERE current_version = $1 OR held_version = $1").bind(&id).fetch_optional(&mut *tx).await?;
            if still.is_some() {
                continue;
            }
            self.drop_version(&mut tx, &id).await?;
            step("retain.dropped");
            tx.commit().await?;
            step("retain.done");
            gone += 1;
        }
        Ok(gone)
    }
}

impl Datasets {
    /// Says how much history a DataSet keeps. What is beyond goes at once, but for the files, which go a day later.
    pub async fn keep(&self, actor: &crate::actor::Actor, dataset: &DatasetId, keep: OwnKeep) -> Result<u64> {
        self.get_to_change(actor, dataset).await?;
        let keep = keep.check()?;
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE datasets SET keep_versions = $1, keep_days = $2, updated_at = $3 WHERE id = $4")
            .bind(keep.versions.map(i64::from))
            .bind(keep.days.map(i64::from))
            .bind(self.clock.now())
            .bind(dataset)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.versions.retain(dataset).await
    }
}
