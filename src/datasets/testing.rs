//! A catalogue and a directory of segments for the tests of this folder.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

use super::columns::{ColumnInfo, to_schema};
use super::segments::{Segments, WrittenSegment};
use super::versions::{Commit, Retention, Version, Versions};
use crate::clock::Clock;
use crate::connectors::report::ColumnKind;
use crate::db::Db;
use crate::ids::{DatasetId, RunId, UserId};

pub struct World {
    _dir: tempfile::TempDir,
    pub db: Db,
    pub clock: Clock,
    pub segments: Segments,
    pub versions: Versions,
    pub dataset: DatasetId,
}

/// 2026-11-20T08:15:30Z
pub const NOW: i64 = 1_795_162_530_000;

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
        let clock = Clock::stopped_at(NOW);
        let segments =
            Segments::new(dir.path().join("segments"), db.clone(), clock.clone()).unwrap();
        let versions = Versions::new(
            db.clone(),
            segments.clone(),
            clock.clone(),
            Retention {
                versions: 3,
                days: 30,
            },
        );
        let mut world = Self {
            _dir: dir,
            db,
            clock,
            segments,
            versions,
            dataset: DatasetId::new(),
        };
        world.dataset = world.new_dataset().await;
        world
    }

    pub async fn new_dataset(&self) -> DatasetId {
        let (user, dataset) = (UserId::new(), DatasetId::new());
        let mut tx = self.db.write().await.unwrap();
        sqlx::query(
            "INSERT INTO users (id, email, name, role, created_at, updated_at)
             VALUES ($1, $1, 'Olga', 'admin', 0, 0)",
        )
        .bind(&user)
        .execute(&mut *tx)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO datasets (
                 id, owner_id, connector, report, name, description, menus, update_mode, time_zone,
                 created_at, updated_at
             )
             VALUES ($1, $2, 'livechat', 'agents', 'Agents', '', '{}', 'replace', 'UTC', 0, 0)",
        )
        .bind(&dataset)
        .bind(&user)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        dataset
    }

    pub async fn new_run(&self) -> RunId {
        let run = RunId::new();
        let mut tx = self.db.write().await.unwrap();
        sqlx::query(
            "INSERT INTO runs (id, dataset_id, trigger, state, source_key, queued_at, due_at)
             VALUES ($1, $2, 'manual', 'running', '', 0, 0)",
        )
        .bind(&run)
        .bind(&self.dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        run
    }

    pub async fn end_run(&self, run: &RunId, state: &str) {
        let mut tx = self.db.write().await.unwrap();
        sqlx::query("UPDATE runs SET state = $1, finished_at = 0 WHERE id = $2")
            .bind(state)
            .bind(run)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn write(&self, run: &RunId, batches: &[RecordBatch]) -> Vec<WrittenSegment> {
        let mut writer = self.segments.writer(&self.dataset, run);
        for batch in batches {
            writer.write(batch).await.unwrap();
        }
        writer.finish().await.unwrap()
    }

    pub async fn commit(
        &self,
        run: &RunId,
        declared: &[ColumnInfo],
        written: &[WrittenSegment],
    ) -> Version {
        let mut tx = self.db.write().await.unwrap();
        let version = self
            .versions
            .commit(&mut tx, &Commit::new(&self.dataset, run, declared, written))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.end_run(run, "succeeded").await;
        version
    }

    /// Commits a run that writes these batches.
    pub async fn pull(&self, batches: &[RecordBatch]) -> Version {
        let run = self.new_run().await;
        let written = self.write(&run, batches).await;
        let declared = batches
            .first()
            .map(|batch| super::columns::from_schema(batch.schema_ref()).unwrap())
            .unwrap_or_default();
        self.commit(&run, &declared, &written).await
    }

    /// The number of segment files.
    pub fn files(&self) -> usize {
        std::fs::read_dir(self.segments.dir()).unwrap().count()
    }
}

pub fn column(name: &str, kind: ColumnKind) -> ColumnInfo {
    ColumnInfo {
        name: name.to_owned(),
        kind,
        declared: !name.starts_with('_') && !name.starts_with("x_"),
    }
}

pub fn batch(columns: Vec<(&str, ColumnKind, ArrayRef)>) -> RecordBatch {
    let infos: Vec<_> = columns
        .iter()
        .map(|(name, kind, _)| column(name, *kind))
        .collect();
    RecordBatch::try_new(
        to_schema(&infos),
        columns.into_iter().map(|(_, _, array)| array).collect(),
    )
    .unwrap()
}

pub fn text(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

pub fn integer(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

pub fn number(values: Vec<Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

pub fn boolean(values: Vec<Option<bool>>) -> ArrayRef {
    Arc::new(BooleanArray::from(values))
}

pub fn date(values: Vec<Option<i32>>) -> ArrayRef {
    Arc::new(Date32Array::from(values))
}

/// `values` in milliseconds.
pub fn timestamp(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(
        TimestampMicrosecondArray::from_iter(
            values
                .into_iter()
                .map(|value| value.map(|millis| millis * 1_000)),
        )
        .with_timezone("UTC"),
    )
}

/// Rows `from..to` of a table with every kind of column, nulls and odd text in it.
pub fn mixed(from: i64, to: i64) -> RecordBatch {
    const WORDS: [Option<&str>; 8] = [
        Some("plain"),
        Some("a, b"),
        Some("say \"hi\""),
        Some("line\r\nbreak"),
        Some("lone\rCR"),
        Some(""),
        None,
        Some("smile \u{1f600} \0 é"),
    ];
    let of = |every: i64| move |n: i64| (n % every != 0).then_some(n);
    batch(vec![
        (
            "id",
            ColumnKind::Integer,
            integer((from..to).map(Some).collect()),
        ),
        (
            "word",
            ColumnKind::Text,
            text(
                (from..to)
                    .map(|n| WORDS[(n.rem_euclid(8)) as usize])
                    .collect(),
            ),
        ),
        (
            "rate",
            ColumnKind::Number,
            number(
                (from..to)
                    .map(of(7))
                    .map(|n| n.map(|n| n as f64 / 8.0))
                    .collect(),
            ),
        ),
        (
            "good",
            ColumnKind::Boolean,
            boolean(
                (from..to)
                    .map(of(5))
                    .map(|n| n.map(|n| n % 2 == 0))
                    .collect(),
            ),
        ),
        (
            "day",
            ColumnKind::Date,
            date(
                (from..to)
                    .map(of(11))
                    .map(|n| n.map(|n| 20_000 + (n % 400) as i32))
                    .collect(),
            ),
        ),
        (
            "at",
            ColumnKind::Timestamp,
            timestamp(
                (from..to)
                    .map(of(13))
                    .map(|n| n.map(|n| NOW + (n % 1_000) * 1_000))
                    .collect(),
            ),
        ),
    ])
}
