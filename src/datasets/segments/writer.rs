//! Writes the rows of one run into as many segments as they need. `SegmentWriter` is the async
//! side; `encoder_task.rs` encodes on the blocking pool.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use sqlx::FromRow;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::digest::Digest;
use super::encoder_task::{WriterCommand, write_all};
use super::field_ids::field_ids;
use super::{SegmentMeta, SegmentRow, Segments, WrittenSegment};
use crate::datasets::columns::{self, ColumnInfo};
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, SegmentId};

/// A segment larger than this is closed, and the next batch starts another one.
const SEGMENT_BYTES: u64 = 128 << 20;
/// If more than `MAX_SMALL_SEGMENTS` segments at the end are smaller than `SMALL_SEGMENT_BYTES`,
/// they are merged into one.
pub(in crate::datasets) const MAX_SMALL_SEGMENTS: usize = 32;
pub(super) const SMALL_SEGMENT_BYTES: u64 = 8 << 20;

/// Writes the rows of one run into as many segments as they need. Dropping the writer abandons the
/// open segment: it stays staged until the run ends or the sweep deletes it.
pub struct SegmentWriter {
    segments: Segments,
    dataset: DatasetId,
    run: RunId,
    /// The position of the next segment among the staged segments of the run.
    next: i64,
    open: Option<OpenState>,
    task: Option<(mpsc::Sender<WriterCommand>, JoinHandle<Result<()>>)>,
    /// Complete segments on the disk, in order.
    written: Vec<WrittenSegment>,
    /// Set after an error: rows may be missing, so the writer must not finish.
    failed: bool,
    pub(super) segment_bytes: u64,
    pub(super) max_small: usize,
}

/// The async side's state of the segment that is being written.
struct OpenState {
    columns: Vec<ColumnInfo>,
    bytes: Arc<AtomicU64>,
}

/// A segment of an earlier attempt.
#[derive(FromRow)]
struct StagedSegmentRow {
    #[sqlx(flatten)]
    segment: SegmentRow,
    /// JSON.
    columns: String,
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

    /// Continues after the recorded segments of an earlier attempt; their files must be undamaged.
    /// Other staged segments of that attempt are ignored and deleted when the run ends.
    pub(super) async fn resumed(mut self) -> Result<Self> {
        let db = &self.segments.0.db;
        let rows: Vec<StagedSegmentRow> = sqlx::query_as(
            "SELECT id, rows, bytes, checksums, digest, columns
             FROM segments
             -- A segment that is not recorded has no rows.
             WHERE run_id = $1 AND state = 'staged' AND rows > 0
             ORDER BY position",
        )
        .bind(&self.run)
        .fetch_all(db.read())
        .await?;
        self.next = sqlx::query_scalar(
            "SELECT COALESCE(MAX(position) + 1, 0) FROM segments WHERE run_id = $1",
        )
        .bind(&self.run)
        .fetch_one(db.read())
        .await?;
        for row in rows {
            let SegmentMeta {
                id,
                rows,
                bytes,
                checksums,
                digest,
            } = row.segment.try_into()?;
            let columns = serde_json::from_str(&row.columns).map_err(Error::internal)?;
            self.written.push(WrittenSegment {
                id,
                rows,
                bytes,
                columns,
                checksums,
                digest,
            });
        }
        let (segments, metas) = (
            self.segments.clone(),
            self.written
                .iter()
                .map(WrittenSegment::meta)
                .collect::<Vec<_>>(),
        );
        tokio::task::spawn_blocking(move || {
            metas.iter().try_for_each(|meta| segments.check_file(meta))
        })
        .await
        .map_err(Error::from)??;
        Ok(self)
    }

    /// The number of rows in complete segments.
    pub fn rows(&self) -> u64 {
        self.written.iter().map(|segment| segment.rows).sum()
    }

    /// The number of segments that the run has staged.
    #[cfg(test)]
    pub(super) fn staged(&self) -> i64 {
        self.next
    }

    /// Columns of the complete segments that the report does not declare and the vendor sent.
    pub fn extras(&self) -> Vec<String> {
        let all = columns::union(
            self.written
                .iter()
                .map(|segment| segment.columns.as_slice()),
        );
        all.into_iter()
            .filter(|column| !column.declared && !column.name.starts_with('_'))
            .map(|column| column.name)
            .collect()
    }

    /// The handle used for writing.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The complete segments, in order.
    pub fn written(&self) -> &[WrittenSegment] {
        &self.written
    }

    /// Writes a batch. Waits if earlier batches are not written yet. A batch with a column that the
    /// open segment lacks starts a wider segment. After an error, only `abandon` may be called.
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

    /// Fails after an error, and after a call that was dropped before it completed: its rows may or
    /// may not have been written.
    fn check_not_failed(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            Err(Error::internal("a segment was written to after an error"))
        } else {
            Ok(())
        }
    }

    async fn write_rows(&mut self, batch: &RecordBatch, digest: Option<Digest>) -> Result<()> {
        let pulled = columns::from_schema(batch.schema_ref())?;
        let fits = self.open.as_ref().is_some_and(|open| {
            open.bytes.load(Ordering::Relaxed) < self.segment_bytes
                && pulled
                    .iter()
                    .all(|column| open.columns.iter().any(|has| has.name == column.name))
        });
        if !fits {
            let had = self
                .open
                .take()
                .map(|open| open.columns)
                .unwrap_or_default();
            self.begin(columns::union([had.as_slice(), pulled.as_slice()]))
                .await?;
        }
        self.send(WriterCommand::Write(batch.clone(), digest)).await
    }

    /// Completes and syncs everything written so far; the next batch starts another segment.
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

    /// Closes the last segment and returns all segments. Many small segments at the end are first
    /// merged into one.
    pub async fn finish(mut self) -> Result<Vec<WrittenSegment>> {
        self.close().await?;
        if let Some(begin) = small_tail(
            &self
                .written
                .iter()
                .map(|segment| segment.bytes)
                .collect::<Vec<_>>(),
            self.max_small,
        ) {
            let small = self.written.split_off(begin);
            self.copy(small.iter().map(|segment| (segment.meta(), None)).collect())
                .await?;
        }
        Ok(self.written)
    }

    /// Writes rows of other segments (these ranges; `None` for all rows) as complete, synced
    /// segments of this run.
    pub(in crate::datasets) async fn copy(
        &mut self,
        parts: Vec<(SegmentMeta, Option<Vec<Range<u64>>>)>,
    ) -> Result<()> {
        let segments = self.segments.clone();
        let (to, mut batches) = mpsc::channel(2);
        let reading = tokio::task::spawn_blocking(move || {
            let lists = parts
                .iter()
                .map(|(meta, _)| columns::from_schema(segments.open(meta)?.schema()))
                .collect::<Result<Vec<_>>>()?;
            let schema = columns::to_schema(&columns::union(lists.iter().map(Vec::as_slice)));
            for (meta, ranges) in &parts {
                let open = segments.open(meta)?;
                open.expect_all_rows();
                for batch in open.read(&schema, ranges.as_deref())? {
                    let batch = batch?;
                    // Computed in this task, in parallel with the encoding, because encoding takes
                    // longer than reading.
                    let digest = Digest::of(&batch)?;
                    // The receiver is gone when writing failed; its error is reported below.
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

    /// Stops writing. Written segments stay staged.
    pub fn abandon(self) {}

    /// Stops writing and closes the open file without waiting. Afterwards only `abandon` may be
    /// called.
    pub fn halt(&mut self) {
        self.failed = true;
        self.task = None;
    }

    async fn begin(&mut self, columns: Vec<ColumnInfo>) -> Result<()> {
        let id = SegmentId::new();
        let mut tx = self.segments.0.db.write().await?;
        sqlx::query(
            "INSERT INTO segments (id, dataset_id, run_id, position, state, created_at)
             VALUES ($1, $2, $3, $4, 'staged', $5)",
        )
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
            // Two batches may wait while one is encoded: enough to keep both sides busy with little
            // memory.
            let (to, from) = mpsc::channel(2);
            let segments = self.segments.clone();
            self.task = Some((
                to,
                tokio::task::spawn_blocking(move || write_all(&segments, from)),
            ));
        }
        let bytes = Arc::new(AtomicU64::new(0));
        self.send(WriterCommand::Begin {
            id,
            columns: columns.clone(),
            field_ids,
            bytes: bytes.clone(),
        })
        .await?;
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
        // The blocking side ends early only after an error.
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

/// Returns the index at which the small segments at the end begin, if there are more than
/// `max_small` of them. `bytes`: the sizes of all segments, in order.
pub(in crate::datasets) fn small_tail(bytes: &[u64], max_small: usize) -> Option<usize> {
    let begin = bytes
        .iter()
        .rposition(|bytes| *bytes >= SMALL_SEGMENT_BYTES)
        .map_or(0, |at| at + 1);
    (bytes.len() - begin > max_small).then_some(begin)
}
