//! Versions: complete, immutable states of a DataSet, each an ordered list of segments. A reader pins the version it began with;
//! retention drops old ones in the catalogue first, and the sweep deletes files a day later.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::columns::{self, ColumnInfo};
use super::segments::{SegmentMeta, Segments, Written, stored};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, SegmentId, VersionId};

const DAY: Millis = 24 * 60 * 60 * 1_000;
/// So many segments are dropped or forgotten in one transaction, which keeps it far below a quarter of a second.
const CHUNK: i64 = 200;

/// One complete state of a DataSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub id: VersionId,
    pub dataset: DatasetId,
    /// The run that made it.
    pub run: Option<RunId>,
    /// From 1, one more for each version of the DataSet.
    pub number: u64,
    pub rows: u64,
    /// The length of its files.
    pub bytes: u64,
    /// In order; segments are read by name and what one lacks is null.
    pub columns: Vec<ColumnInfo>,
    pub created_at: Millis,
    /// In order of their rows.
    pub segments: Vec<SegmentMeta>,
}

/// What a finished run makes visible.
#[derive(Debug)]
pub struct Commit<'a> {
    pub dataset: &'a DatasetId,
    pub run: &'a RunId,
    /// What the report declares.
    pub declared: &'a [ColumnInfo],
    /// What the run's writer finished, in order.
    pub written: &'a [Written],
}

/// How much history is kept besides the current version, which always is.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// At most so many, the current one included.
    pub versions: u32,
    /// None older than so many days.
    pub days: u32,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Staged segments whose run is over.
    pub dropped: u64,
    /// Files of dropped segments.
    pub deleted: u64,
    /// Files that nothing names.
    pub orphans: u64,
}

/// The versions of all DataSets. Cheap to clone.
#[derive(Clone)]
pub struct Versions {
    db: Db,
    segments: Segments,
    clock: Clock,
    keep: Keep,
    pins: Arc<Mutex<Pins>>,
}

#[derive(Default)]
struct Pins {
    versions: HashMap<VersionId, usize>,
    segments: HashMap<SegmentId, usize>,
}

/// A version in use: neither retention nor the sweep touches it while this lives.
pub struct Pin {
    version: Version,
    pins: Arc<Mutex<Pins>>,
}

impl Deref for Pin {
    type Target = Version;

    fn deref(&self) -> &Version {
        &self.version
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = lock(&self.pins);
        release(&mut pins.versions, &self.version.id);
        for segment in &self.version.segments {
            release(&mut pins.segments, &segment.id);
        }
    }
}

fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn lock(pins: &Mutex<Pins>) -> MutexGuard<'_, Pins> {
    pins.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Versions {
    pub fn new(db: Db, segments: Segments, clock: Clock, keep: Keep) -> Self {
        Self { db, segments, clock, keep, pins: Arc::default() }
    }

    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The current version; none before the first.
    pub async fn current(&self, dataset: &DatasetId) -> Result<Option<Version>> {
        let row = sqlx::query("SELECT v.* FROM datasets d JOIN versions v ON v.id = d.current_version WHERE d.id = $1").bind(dataset);
        match row.fetch_optional(self.db.read()).await? {
            Some(row) => Ok(Some(self.with_segments(version(&row)?).await?)),
            None => Ok(None),
        }
    }

    /// The version with this id, if it is kept.
    pub async fn get(&self, id: &VersionId) -> Result<Option<Version>> {
        match sqlx::query("SELECT * FROM versions WHERE id = $1").bind(id).fetch_optional(self.db.read()).await? {
            Some(row) => Ok(Some(self.with_segments(version(&row)?).await?)),
            None => Ok(None),
        }
    }

    /// The version of a DataSet with this number, if it is kept.
    pub async fn by_number(&self, dataset: &DatasetId, number: u64) -> Result<Option<Version>> {
        let row = sqlx::query("SELECT * FROM versions WHERE dataset_id = $1 AND number = $2").bind(dataset).bind(stored(number));
        match row.fetch_optional(self.db.read()).await? {
            Some(row) => Ok(Some(self.with_segments(version(&row)?).await?)),
            None => Ok(None),
        }
    }

    /// The versions that are kept, newest first.
    pub async fn list(&self, dataset: &DatasetId) -> Result<Vec<Version>> {
        let rows = sqlx::query("SELECT * FROM versions WHERE dataset_id = $1 ORDER BY number DESC").bind(dataset).fetch_all(self.db.read()).await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            list.push(self.with_segments(version(&row)?).await?);
        }
        Ok(list)
    }

    async fn with_segments(&self, mut version: Version) -> Result<Version> {
        let rows = sqlx::query(
            "SELECT s.id, s.rows, s.bytes FROM version_segments v JOIN segments s ON s.id = v.segment_id WHERE v.version_id = $1 ORDER BY v.position",
        )
        .bind(&version.id)
        .fetch_all(self.db.read())
        .await?;
        for row in rows {
            version.segments.push(SegmentMeta { id: row.try_get(0)?, rows: unsigned(row.try_get(1)?), bytes: unsigned(row.try_get(2)?) });
        }
        // Read in two statements: a version that retention dropped between them has lost its segments.
        if version.segments.iter().map(|segment| segment.rows).sum::<u64>() != version.rows {
            return Err(
                Error::conflict("version_gone", "This version was removed just now, because newer ones took its place.").action("Open the current one.")
            );
        }
        Ok(version)
    }

    /// Keeps a version's rows readable for as long as the pin lives.
    pub fn pin(&self, version: &Version) -> Pin {
        let mut pins = lock(&self.pins);
        *pins.versions.entry(version.id.clone()).or_default() += 1;
        for segment in &version.segments {
            *pins.segments.entry(segment.id.clone()).or_default() += 1;
        }
        Pin { version: version.clone(), pins: self.pins.clone() }
    }

    /// Makes what a run wrote the current version, inside the caller's transaction, which has checked the run's fence. Other segments
    /// that the run staged (an earlier attempt's) are dropped.
    pub async fn commit(&self, tx: &mut Transaction<'_, Sqlite>, commit: &Commit<'_>) -> Result<Version> {
        let now = self.clock.now();
        let row = sqlx::query("SELECT d.next_number, v.columns FROM datasets d LEFT JOIN versions v ON v.id = d.current_version WHERE d.id = $1")
            .bind(commit.dataset)
            .fetch_optional(&mut **tx)
            .await?
            .ok_or_else(|| Error::conflict("dataset_gone", "The DataSet was deleted while it was pulled, so its rows are not kept."))?;
        let number: i64 = row.try_get(0)?;
        let before: Vec<ColumnInfo> = match row.try_get::<Option<String>, _>(1)? {
            Some(text) => serde_json::from_str(&text).map_err(Error::internal)?,
            None => Vec::new(),
        };
        let came = columns::union(commit.written.iter().map(|segment| segment.columns.as_slice()));
        let version = Version {
            id: VersionId::new(),
            dataset: commit.dataset.clone(),
            run: Some(commit.run.clone()),
            number: unsigned(number),
            rows: commit.written.iter().map(|segment| segment.rows).sum(),
            bytes: commit.written.iter().map(|segment| segment.bytes).sum(),
            columns: columns::next_version(commit.declared, &came, &before),
            created_at: now,
            segments: commit.written.iter().map(|s| SegmentMeta { id: s.id.clone(), rows: s.rows, bytes: s.bytes }).collect(),
        };
        sqlx::query("INSERT INTO versions (id, dataset_id, run_id, number, rows, bytes, columns, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(&version.id)
            .bind(commit.dataset)
            .bind(commit.run)
            .bind(number)
            .bind(stored(version.rows))
            .bind(stored(version.bytes))
            .bind(serde_json::to_string(&version.columns).map_err(Error::internal)?)
            .bind(now)
            .execute(&mut **tx)
            .await?;
        for (position, segment) in (0_i64..).zip(&version.segments) {
            let kept = sqlx::query("UPDATE segments SET state = 'kept' WHERE id = $1 AND dataset_id = $2 AND run_id = $3 AND state = 'staged' AND rows = $4")
                .bind(&segment.id)
                .bind(commit.dataset)
                .bind(commit.run)
                .bind(stored(segment.rows))
                .execute(&mut **tx)
                .await?;
            if kept.rows_affected() != 1 {
                return Err(Error::internal(format!("segment {} of {} is not staged any more", segment.id, commit.run)));
            }
            sqlx::query("INSERT INTO version_segments (version_id, position, segment_id) VALUES ($1, $2, $3)")
                .bind(&version.id)
                .bind(position)
                .bind(&segment.id)
                .execute(&mut **tx)
                .await?;
        }
        sqlx::query("UPDATE segments SET state = 'dropped', dropped_at = $1 WHERE run_id = $2 AND state = 'staged'")
            .bind(now)
            .bind(commit.run)
            .execute(&mut **tx)
            .await?;
        sqlx::query("UPDATE datasets SET current_version = $1, next_number = $2 WHERE id = $3")
            .bind(&version.id)
            .bind(number + 1)
            .bind(commit.dataset)
            .execute(&mut **tx)
            .await?;
        Ok(version)
    }

    /// Drops what is beyond the history that is kept: all but the newest few, and those that are too old. Never the current version
    /// nor one that is pinned. Answers how many went. A transaction for each.
    pub async fn retain(&self, dataset: &DatasetId) -> Result<u64> {
        let oldest = self.clock.now() - i64::from(self.keep.days) * DAY;
        let rows = sqlx::query(
            "SELECT v.id, v.created_at, CASE WHEN d.current_version = v.id THEN 1 ELSE 0 END AS current FROM versions v JOIN datasets d ON d.id = v.dataset_id \
             WHERE v.dataset_id = $1 ORDER BY current DESC, v.number DESC",
        )
        .bind(dataset)
        .fetch_all(self.db.read())
        .await?;
        let mut gone = 0;
        for (place, row) in rows.iter().enumerate() {
            let (id, created_at, current): (VersionId, Millis, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let kept = place < self.keep.versions as usize && created_at >= oldest;
            if current == 1 || kept || lock(&self.pins).versions.contains_key(&id) {
                continue;
            }
            let mut tx = self.db.write().await?;
            // It may have become the current one since (a revert).
            let still = sqlx::query("SELECT 1 FROM datasets WHERE current_version = $1").bind(&id).fetch_optional(&mut *tx).await?;
            if still.is_some() {
                continue;
            }
            self.drop_version(&mut tx, &id).await?;
            tx.commit().await?;
            gone += 1;
        }
        Ok(gone)
    }

    async fn drop_version(&self, tx: &mut Transaction<'_, Sqlite>, id: &VersionId) -> Result<()> {
        sqlx::query(
            "UPDATE segments SET state = 'dropped', dropped_at = $1 WHERE state = 'kept' \
             AND id IN (SELECT segment_id FROM version_segments WHERE version_id = $2) \
             AND NOT EXISTS (SELECT 1 FROM version_segments o WHERE o.segment_id = segments.id AND o.version_id <> $2)",
        )
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut **tx)
        .await?;
        sqlx::query("DELETE FROM versions WHERE id = $1").bind(id).execute(&mut **tx).await?;
        Ok(())
    }

    /// Drops every version and segment of a DataSet, which then has no data. The files follow with the sweep.
    pub async fn drop_all(&self, tx: &mut Transaction<'_, Sqlite>, dataset: &DatasetId) -> Result<()> {
        sqlx::query("UPDATE datasets SET current_version = NULL WHERE id = $1").bind(dataset).execute(&mut **tx).await?;
        sqlx::query("DELETE FROM versions WHERE dataset_id = $1").bind(dataset).execute(&mut **tx).await?;
        sqlx::query("UPDATE segments SET state = 'dropped', dropped_at = $1 WHERE dataset_id = $2 AND state <> 'dropped'")
            .bind(self.clock.now())
            .bind(dataset)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }

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
            tx.commit().await?;
            dropped += done;
            if done < CHUNK.unsigned_abs() {
                return Ok(dropped);
            }
        }
    }

    async fn delete_dropped(&self) -> Result<u64> {
        let before = self.clock.now() - DAY;
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
            let mut tx = self.db.write().await?;
            for id in &gone {
                sqlx::query("DELETE FROM segments WHERE id = $1 AND state = 'dropped'").bind(id).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            deleted += gone.len() as u64;
        }
    }

    /// Files of ours that no row names. A row is there before its file, so a file without one is nobody's.
    async fn delete_orphans(&self) -> Result<u64> {
        let (segments, before) = (self.segments.clone(), self.clock.now() - DAY);
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

/// The number as it was before it was stored.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn version(row: &SqliteRow) -> Result<Version> {
    Ok(Version {
        id: row.try_get("id")?,
        dataset: row.try_get("dataset_id")?,
        run: row.try_get("run_id")?,
        number: unsigned(row.try_get("number")?),
        rows: unsigned(row.try_get("rows")?),
        bytes: unsigned(row.try_get("bytes")?),
        columns: serde_json::from_str(row.try_get("columns")?).map_err(Error::internal)?,
        created_at: row.try_get("created_at")?,
        segments: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{World, batch, integer, mixed};
    use super::*;
    use crate::connectors::report::ColumnKind;

    #[tokio::test]
    async fn a_commit_makes_the_version_current_and_numbers_go_up() {
        let world = World::new().await;
        assert_eq!(world.versions.current(&world.dataset).await.unwrap(), None);
        let one = world.pull(&[mixed(0, 10)]).await;
        let two = world.pull(&[mixed(0, 20)]).await;
        assert_eq!((one.number, two.number, two.rows), (1, 2, 20));
        assert_eq!(world.versions.current(&world.dataset).await.unwrap().as_ref(), Some(&two));
        assert_eq!(world.versions.get(&one.id).await.unwrap().as_ref(), Some(&one));
        assert_eq!(world.versions.by_number(&world.dataset, 1).await.unwrap().as_ref(), Some(&one));
        assert_eq!(world.versions.list(&world.dataset).await.unwrap(), [two, one]);
    }

    #[tokio::test]
    async fn a_commit_that_is_rolled_back_changes_nothing_and_cannot_come_twice() {
        let world = World::new().await;
        let one = world.pull(&[mixed(0, 10)]).await;
        let run = world.new_run().await;
        let written = world.write(&run, &[mixed(0, 20)]).await;
        let commit = Commit { dataset: &world.dataset, run: &run, declared: &[], written: &written };
        let mut tx = world.db.write().await.unwrap();
        world.versions.commit(&mut tx, &commit).await.unwrap();
        drop(tx);
        assert_eq!(world.versions.current(&world.dataset).await.unwrap(), Some(one));
        world.commit(&run, &[], &written).await;
        let mut tx = world.db.write().await.unwrap();
        assert!(world.versions.commit(&mut tx, &commit).await.is_err());
    }

    #[tokio::test]
    async fn no_rows_make_a_version_with_the_declared_columns_and_those_that_went_away() {
        let world = World::new().await;
        let columns = world.pull(&[mixed(0, 10)]).await.columns;
        let run = world.new_run().await;
        let declared = [ColumnInfo { name: "id".to_owned(), kind: ColumnKind::Integer, declared: true }];
        let empty = world.commit(&run, &declared, &[]).await;
        assert_eq!((empty.rows, empty.segments.len()), (0, 0));
        assert_eq!(empty.columns.len(), columns.len());
        assert_eq!(world.versions.current(&world.dataset).await.unwrap(), Some(empty));
    }

    #[tokio::test]
    async fn an_earlier_attempt_of_the_run_leaves_nothing_that_stays() {
        let world = World::new().await;
        let run = world.new_run().await;
        let lost = world.write(&run, &[mixed(0, 5)]).await;
        let kept = world.write(&run, &[mixed(0, 10)]).await;
        let version = world.commit(&run, &[], &kept).await;
        assert_eq!(version.rows, 10);
        world.clock.advance(DAY);
        assert_eq!(world.versions.sweep().await.unwrap(), Swept { dropped: 0, deleted: 1, orphans: 0 });
        assert!(!world.segments.dir().join(format!("{}.parquet", lost[0].id)).exists());
        assert_eq!(world.files(), 1);
    }

    #[tokio::test]
    async fn retention_keeps_the_newest_few_and_the_files_one_more_day() {
        let world = World::new().await;
        for n in 1..=5 {
            world.pull(&[mixed(0, n)]).await;
        }
        assert_eq!(world.versions.retain(&world.dataset).await.unwrap(), 2);
        let numbers: Vec<_> = world.versions.list(&world.dataset).await.unwrap().iter().map(|v| v.number).collect();
        assert_eq!(numbers, [5, 4, 3]);
        world.clock.advance(DAY - 1);
        assert_eq!(world.versions.sweep().await.unwrap().deleted, 0);
        world.clock.advance(1);
        assert_eq!(world.versions.sweep().await.unwrap().deleted, 2);
        assert_eq!(world.files(), 3);
        assert_eq!(world.versions.sweep().await.unwrap(), Swept::default());
    }

    #[tokio::test]
    async fn old_versions_go_but_never_the_current_one() {
        let world = World::new().await;
        world.pull(&[mixed(0, 1)]).await;
        let two = world.pull(&[mixed(0, 2)]).await;
        world.clock.advance(31 * DAY);
        assert_eq!(world.versions.retain(&world.dataset).await.unwrap(), 1);
        assert_eq!(world.versions.list(&world.dataset).await.unwrap(), [two]);
    }

    #[tokio::test]
    async fn a_pinned_version_stays_until_the_last_reader_is_done() {
        let world = World::new().await;
        let old = world.pull(&[mixed(0, 9)]).await;
        let (pin, second) = (world.versions.pin(&old), world.versions.pin(&old));
        for n in 1..=4 {
            world.pull(&[mixed(0, n)]).await;
        }
        world.clock.advance(40 * DAY);
        world.versions.retain(&world.dataset).await.unwrap();
        assert!(world.versions.get(&old.id).await.unwrap().is_some());
        drop(second);
        assert_eq!(world.versions.retain(&world.dataset).await.unwrap(), 0);

        // Deleting the DataSet does not ask for pins, but its files wait for them.
        let mut tx = world.db.write().await.unwrap();
        world.versions.drop_all(&mut tx, &world.dataset).await.unwrap();
        sqlx::query("DELETE FROM datasets WHERE id = $1").bind(&world.dataset).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        world.clock.advance(2 * DAY);
        world.versions.sweep().await.unwrap();
        assert_eq!(world.files(), 1);
        assert!(world.segments.open(&pin.segments[0]).is_ok());
        drop(pin);
        assert_eq!(world.versions.sweep().await.unwrap().deleted, 1);
        assert_eq!(world.files(), 0);
    }

    #[tokio::test]
    async fn a_segment_of_two_versions_stays_until_both_went() {
        let world = World::new().await;
        let one = world.pull(&[mixed(0, 10)]).await;
        let two = world.pull(&[mixed(0, 20)]).await;
        let mut tx = world.db.write().await.unwrap();
        sqlx::query("INSERT INTO version_segments (version_id, position, segment_id) VALUES ($1, 1, $2)")
            .bind(&two.id)
            .bind(&one.segments[0].id)
            .execute(&mut *tx)
            .await
            .unwrap();
        world.versions.drop_version(&mut tx, &one.id).await.unwrap();
        tx.commit().await.unwrap();
        world.clock.advance(2 * DAY);
        assert_eq!(world.versions.sweep().await.unwrap().deleted, 0);
    }

    #[tokio::test]
    async fn work_in_progress_is_spared_and_what_a_crash_left_is_swept() {
        let world = World::new().await;
        let run = world.new_run().await;
        world.write(&run, &[mixed(0, 10)]).await;
        world.clock.advance(3 * DAY);
        assert_eq!(world.versions.sweep().await.unwrap(), Swept::default());
        world.end_run(&run, "failed").await;
        assert_eq!(world.versions.sweep().await.unwrap(), Swept { dropped: 1, deleted: 0, orphans: 0 });
        world.clock.advance(DAY);
        assert_eq!(world.versions.sweep().await.unwrap(), Swept { dropped: 0, deleted: 1, orphans: 0 });
        assert_eq!(world.files(), 0);
    }

    #[tokio::test]
    async fn a_file_that_nothing_names_goes_after_a_day() {
        let world = World::new().await;
        let path = world.segments.dir().join(format!("{}.parquet", SegmentId::new()));
        std::fs::write(&path, "half a file").unwrap();
        let written = std::time::UNIX_EPOCH + std::time::Duration::from_millis(world.clock.now().unsigned_abs());
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
        std::fs::write(world.segments.dir().join("notes.txt"), "not ours").unwrap();
        assert_eq!(world.versions.sweep().await.unwrap().orphans, 0);
        world.clock.advance(DAY + 1);
        assert_eq!(world.versions.sweep().await.unwrap().orphans, 1);
        assert_eq!(world.files(), 1);
    }

    #[tokio::test]
    async fn many_dropped_segments_are_swept_in_chunks() {
        let world = World::new().await;
        let mut tx = world.db.write().await.unwrap();
        for _ in 0..(2 * CHUNK + 1) {
            sqlx::query("INSERT INTO segments (id, dataset_id, run_id, state, created_at) VALUES ($1, $2, 'run_gone', 'staged', 0)")
                .bind(SegmentId::new())
                .bind(&world.dataset)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(world.versions.sweep().await.unwrap().dropped, 401);
        world.clock.advance(DAY);
        assert_eq!(world.versions.sweep().await.unwrap().deleted, 401);
    }

    #[tokio::test]
    async fn a_column_of_one_segment_is_a_column_of_the_version() {
        let world = World::new().await;
        let narrow = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(1)]))]);
        let wide = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(2)])), ("x_age", ColumnKind::Integer, integer(vec![Some(3)]))]);
        let version = world.pull(&[narrow, wide]).await;
        assert_eq!(version.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["id", "x_age"]);
        assert_eq!(version.segments.len(), 2);
    }
}
