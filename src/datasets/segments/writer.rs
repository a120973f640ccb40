//! Writes the rows of one run into as many segments as they need. `SegmentWriter` is the async half; `write_all` encodes on the
//! blocking pool, one `FileWriter` per file.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use sqlx::{Row, Sqlite, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::checksum::Checksums;
use super::digest::Digest;
use super::file_writer::FileWriter;
use super::{SegmentMeta, Segments, segment_columns};
use crate::datasets::columns::{self, ColumnInfo};
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, SegmentId};

/// A segment that has grown beyond this is closed, and the next batch begins another.
const SEGMENT_BYTES: u64 = 128 << 20;
/// More segments than this at the end that are smaller than that become one.
const MAX_SMALL_SEGMENTS: usize = 32;
const SMALL_SEGMENT_BYTES: u64 = 8 << 20;

/// A finished segment: on the disk, staged, and in no version yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenSegment {
    pub id: SegmentId,
    pub rows: u64,
    /// The length of the file.
    pub bytes: u64,
    pub columns: Vec<ColumnInfo>,
    /// None only for one that an older program left behind.
    pub checksums: Option<Checksums>,
    pub digest: Option<Digest>,
}

impl WrittenSegment {
    pub fn meta(&self) -> SegmentMeta {
        SegmentMeta { id: self.id.clone(), rows: self.rows, bytes: self.bytes, checksums: self.checksums.clone(), digest: self.digest }
    }
}

/// Records the contents of complete segments, so that an interrupted run can continue after them. Unrecorded segments are ignored
/// by the next attempt.
pub async fn record(tx: &mut Transaction<'static, Sqlite>, written: &[WrittenSegment]) -> Result<()> {
    for segment in written {
        sqlx::query("UPDATE segments SET rows = $1, bytes = $2, columns = $3, checksums = $4, digest = $5 WHERE id = $6 AND state = 'staged'")
            .bind(to_i64(segment.rows))
            .bind(to_i64(segment.bytes))
            .bind(serde_json::to_string(&segment.columns).map_err(Error::internal)?)
            .bind(segment.checksums.as_ref().map(Checksums::to_text))
            .bind(segment.digest.map(Digest::to_text))
            .bind(&segment.id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Reverses `record` for a run: the next attempt ignores its segments, and they are deleted when the run ends.
pub async fn discard_recorded(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    sqlx::query("UPDATE segments SET rows = 0 WHERE run_id = $1 AND state = 'staged'").bind(run).execute(&mut **tx).await?;
    Ok(())
}

/// Writes the rows of one run into as many segments as they need. Dropping it abandons what is open: that stays staged, for the end of
/// the run or the sweep to drop.
pub struct SegmentWriter {
    segments: Segments,
    dataset: DatasetId,
    run: RunId,
    /// The position of the next segment among those that the run staged.
    next: i64,
    open: Option<OpenState>,
    task: Option<(mpsc::Sender<WriterCommand>, JoinHandle<Result<()>>)>,
    /// Complete segments on the disk, in order.
    written: Vec<WrittenSegment>,
    /// Rows may be missing, so nothing of it may be finished.
    failed: bool,
    pub(super) segment_bytes: u64,
    pub(super) max_small: usize,
}

/// The segment that is being written, seen from the async side.
struct OpenState {
    columns: Vec<ColumnInfo>,
    bytes: Arc<AtomicU64>,
}

enum WriterCommand {
    Begin {
        id: SegmentId,
        columns: Vec<ColumnInfo>,
        /// The id of each column in the file.
        field_ids: Vec<i64>,
        bytes: Arc<AtomicU64>,
    },
    /// Rows, with their digest where it is known.
    Write(RecordBatch, Option<Digest>),
    /// Closes the last segment, puts the directory on the disk, and tells what was closed since the last time.
    Close(oneshot::Sender<Vec<WrittenSegment>>),
}

impl SegmentWriter {
    pub(super) fn new(segments: &Segments, dataset: &DatasetId, run: &RunId) -> Self {
        Self {
            segments: segments.clone(),
            dataset: dataset.clone(),
            run: run.clone(),
            next: 0,
            open: None,
            task: None,
            written: Vec::new(),
            failed: false,
            segment_bytes: SEGMENT_BYTES,
            max_small: MAX_SMALL_SEGMENTS,
        }
    }

    /// Goes on after the segments of an earlier attempt that were recorded; their files must be whole. What else that
    /// attempt staged is not taken up, and goes when the run is over.
    pub(super) async fn resumed(mut self) -> Result<Self> {
        let db = &self.segments.0.db;
        let rows = sqlx::query(concat!(
            "SELECT ",
            segment_columns!(),
            ", s.columns FROM segments s WHERE s.run_id = $1 AND s.state = 'staged' AND s.rows > 0 ORDER BY s.position"
        ))
        .bind(&self.run)
        .fetch_all(db.read())
        .await?;
        self.next = sqlx::query_scalar("SELECT COALESCE(MAX(position) + 1, 0) FROM segments WHERE run_id = $1").bind(&self.run).fetch_one(db.read()).await?;
        for row in rows {
            let SegmentMeta { id, rows, bytes, checksums, digest } = SegmentMeta::read(&row)?;
            let columns = serde_json::from_str(row.try_get("columns")?).map_err(Error::internal)?;
            self.written.push(WrittenSegment { id, rows, bytes, columns, checksums, digest });
        }
        let (segments, metas) = (self.segments.clone(), self.written.iter().map(WrittenSegment::meta).collect::<Vec<_>>());
        tokio::task::spawn_blocking(move || metas.iter().try_for_each(|meta| segments.check_file(meta))).await.map_err(Error::from)??;
        Ok(self)
    }

    /// The rows in segments that are whole.
    pub fn rows(&self) -> u64 {
        self.written.iter().map(|segment| segment.rows).sum()
    }

    /// How many segments the run has staged.
    #[cfg(test)]
    pub(super) fn staged(&self) -> i64 {
        self.next
    }

    /// Columns of the segments that are whole which the report does not declare and the vendor named.
    pub fn extras(&self) -> Vec<String> {
        let all = columns::union(self.written.iter().map(|segment| segment.columns.as_slice()));
        all.into_iter().filter(|column| !column.declared && !column.name.starts_with('_')).map(|column| column.name).collect()
    }

    /// The handle that it writes through.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The segments that are whole, in order.
    pub fn written(&self) -> &[WrittenSegment] {
        &self.written
    }

    /// Writes a batch, waiting when earlier ones are not written yet. A batch with a column that the open segment lacks begins a wider
    /// segment. After an error only `abandon` makes sense.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.write_with(batch, None).await
    }

    async fn write_with(&mut self, batch: &RecordBatch, digest: Option<Digest>) -> Result<()> {
        self.check_not_failed()?;
        self.write_rows(batch, digest).await?;
        self.failed = false;
        Ok(())
    }

    /// Fails after an error, and after a call that was dropped half way: it is not known whether its rows were written.
    fn check_not_failed(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) { Err(Error::internal("a segment was written to after an error")) } else { Ok(()) }
    }

    async fn write_rows(&mut self, batch: &RecordBatch, digest: Option<Digest>) -> Result<()> {
        let pulled = columns::from_schema(batch.schema_ref())?;
        let fits = self.open.as_ref().is_some_and(|open| {
            open.bytes.load(Ordering::Relaxed) < self.segment_bytes && pulled.iter().all(|column| open.columns.iter().any(|has| has.name == column.name))
        });
        if !fits {
            let had = self.open.take().map(|open| open.columns).unwrap_or_default();
            self.begin(columns::union([had.as_slice(), pulled.as_slice()])).await?;
        }
        self.send(WriterCommand::Write(batch.clone(), digest)).await
    }

    /// Makes whole and durable what was written so far; the next batch begins another segment.
    pub async fn close(&mut self) -> Result<()> {
        self.check_not_failed()?;
        if self.task.is_some() {
            let (to, closed) = oneshot::channel();
            self.send(WriterCommand::Close(to)).await?;
            let Ok(closed) = closed.await else {
                self.join_task().await?;
                return Err(Error::internal("a segment was not closed"));
            };
            self.written.extend(closed);
        }
        self.open = None;
        self.failed = false;
        Ok(())
    }

    /// Closes the last segment and answers all of them. Many small ones at the end are written together as one before.
    pub async fn finish(mut self) -> Result<Vec<WrittenSegment>> {
        self.close().await?;
        let large = self.written.iter().rposition(|segment| segment.bytes >= SMALL_SEGMENT_BYTES).map_or(0, |at| at + 1);
        if self.written.len() - large > self.max_small {
            let small = self.written.split_off(large);
            self.rewrite(small).await?;
        }
        Ok(self.written)
    }

    async fn rewrite(&mut self, small: Vec<WrittenSegment>) -> Result<()> {
        self.copy(small.iter().map(|segment| (segment.meta(), None)).collect()).await
    }

    /// Writes rows of other segments (these ranges; none is all) as segments of this run, whole and durable when it answers.
    pub(in crate::datasets) async fn copy(&mut self, parts: Vec<(SegmentMeta, Option<Vec<Range<u64>>>)>) -> Result<()> {
        let segments = self.segments.clone();
        let (to, mut batches) = mpsc::channel(2);
        let reading = tokio::task::spawn_blocking(move || {
            let lists = parts.iter().map(|(meta, _)| columns::from_schema(segments.open(meta)?.schema())).collect::<Result<Vec<_>>>()?;
            let schema = columns::to_schema(&columns::union(lists.iter().map(Vec::as_slice)));
            for (meta, ranges) in &parts {
                let open = segments.open(meta)?;
                open.expect_all_rows();
                for batch in open.read(&schema, ranges.as_deref())? {
                    let batch = batch?;
                    // Computed here, beside the encoding, which takes longer than the reading.
                    let digest = Digest::of(&batch)?;
                    // Nobody takes it when the writing failed, which says why.
                    if to.blocking_send((batch, digest)).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok::<(), Error>(())
        });
        while let Some((batch, digest)) = batches.recv().await {
            if batch.num_rows() > 0 {
                self.write_with(&batch, Some(digest)).await?;
            }
        }
        reading.await.map_err(Error::from)??;
        self.close().await
    }

    /// Stops writing. What was written stays staged.
    pub fn abandon(self) {}

    /// Stops writing and closes the open file, without waiting for it. After it only `abandon` makes sense.
    pub fn halt(&mut self) {
        self.failed = true;
        self.task = None;
    }

    async fn begin(&mut self, columns: Vec<ColumnInfo>) -> Result<()> {
        let id = SegmentId::new();
        let mut tx = self.segments.0.db.write().await?;
        sqlx::query("INSERT INTO segments (id, dataset_id, run_id, position, state, created_at) VALUES ($1, $2, $3, $4, 'staged', $5)")
            .bind(&id)
            .bind(&self.dataset)
            .bind(&self.run)
            .bind(self.next)
            .bind(self.segments.0.clock.now())
            .execute(&mut *tx)
            .await?;
        let field_ids = field_ids(&mut tx, &self.dataset, &columns).await?;
        tx.commit().await?;
        self.next += 1;
        if self.task.is_none() {
            // Two batches may wait while one is encoded: enough to keep both sides busy, and little memory.
            let (to, from) = mpsc::channel(2);
            let segments = self.segments.clone();
            self.task = Some((to, tokio::task::spawn_blocking(move || write_all(&segments, from))));
        }
        let bytes = Arc::new(AtomicU64::new(0));
        self.send(WriterCommand::Begin { id, columns: columns.clone(), field_ids, bytes: bytes.clone() }).await?;
        self.open = Some(OpenState { columns, bytes });
        Ok(())
    }

    async fn send(&mut self, command: WriterCommand) -> Result<()> {
        let sent = match &self.task {
            Some((to, _)) => to.send(command).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // The blocking side ends early only with an error.
        self.join_task().await?;
        Err(Error::internal("a segment was written to after its end"))
    }

    async fn join_task(&mut self) -> Result<()> {
        match self.task.take() {
            Some((to, task)) => {
                drop(to);
                task.await.map_err(Error::from)?
            }
            None => Err(Error::internal("a segment was written to after its end")),
        }
    }
}

/// The field id of each of these columns: the one that the DataSet gave it first, or the next one that is free.
async fn field_ids(tx: &mut Transaction<'static, Sqlite>, dataset: &DatasetId, columns: &[ColumnInfo]) -> Result<Vec<i64>> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, field_id FROM dataset_columns WHERE dataset_id = $1").bind(dataset).fetch_all(&mut **tx).await?;
    let mut next = rows.iter().map(|(_, id)| *id).max().unwrap_or(0) + 1;
    let mut known: HashMap<String, i64> = rows.into_iter().collect();
    let mut ids = Vec::with_capacity(columns.len());
    for column in columns {
        if let Some(id) = known.get(&column.name) {
            ids.push(*id);
            continue;
        }
        sqlx::query("INSERT INTO dataset_columns (dataset_id, name, field_id) VALUES ($1, $2, $3)")
            .bind(dataset)
            .bind(&column.name)
            .bind(next)
            .execute(&mut **tx)
            .await?;
        known.insert(column.name.clone(), next);
        ids.push(next);
        next += 1;
    }
    Ok(ids)
}

/// The number as the catalogue stores it.
pub(in crate::datasets) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The blocking half of a `SegmentWriter`: encodes what comes until nobody sends any more. A file left open then stays without a footer, which
/// no reader takes for a segment.
fn write_all(segments: &Segments, mut from: mpsc::Receiver<WriterCommand>) -> Result<()> {
    let mut closed = Vec::new();
    let mut open: Option<FileWriter> = None;
    while let Some(command) = from.blocking_recv() {
        match command {
            WriterCommand::Begin { id, columns, field_ids, bytes } => {
                if let Some(done) = open.take() {
                    closed.push(done.close()?);
                }
                open = Some(FileWriter::create(segments.path(&id), id, columns, &field_ids, bytes)?);
            }
            WriterCommand::Write(batch, digest) => match &mut open {
                Some(open) => open.write(&batch, digest)?,
                None => return Err(Error::internal("a batch came before its segment")),
            },
            WriterCommand::Close(to) => {
                if let Some(done) = open.take() {
                    closed.push(done.close()?);
                }
                File::open(&segments.0.dir)?.sync_all()?;
                // Whoever does not wait for it any more has dropped the writer.
                let _ = to.send(std::mem::take(&mut closed));
            }
        }
        segments.count_io();
    }
    Ok(())
}
