//! Segments: immutable Parquet files of rows, and the only place that knows files. A segment is staged in the catalogue before its
//! first byte is written and is on the disk before a version names it, so that a crash at any point leaves only what the sweep finds.
//! `Writer` makes them, `OpenSegment` reads them; both work on the blocking pool.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::columns::{self, ColumnInfo};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, SegmentId};

/// A batch has at most this many rows.
pub const BATCH_ROWS: usize = 8_192;
/// And about this many bytes, uncompressed.
const BATCH_BYTES: usize = 2 << 20;
const ROW_GROUP_ROWS: usize = 64 << 10;
const ROW_GROUP_BYTES: usize = 16 << 20;
/// A segment that has grown beyond this is closed, and the next batch begins another.
const SEGMENT_BYTES: u64 = 128 << 20;
/// Small pages let a reader of a hundred rows decode little more than these.
const PAGE_ROWS: usize = 2_048;
const PAGE_BYTES: usize = 64 << 10;
/// Footers of the files read last stay in memory up to this many bytes.
const CACHE_BYTES: usize = 16 << 20;

/// The directory of segments. Cheap to clone.
#[derive(Clone)]
pub struct Segments(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    db: Db,
    clock: Clock,
    footers: std::sync::Mutex<Footers>,
    scans: tokio::sync::Semaphore,
}

/// So many previews look through rows at once; the others wait for their turn.
const SCANS: usize = 4;

/// A segment as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    pub id: SegmentId,
    pub rows: u64,
    pub bytes: u64,
}

/// A finished segment: on the disk, staged, and in no version yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub id: SegmentId,
    pub rows: u64,
    /// The length of the file.
    pub bytes: u64,
    pub columns: Vec<ColumnInfo>,
}

impl Segments {
    /// Segments in `dir`, which is made when it is not there, readable by this user alone.
    pub fn new(dir: PathBuf, db: Db, clock: Clock) -> Result<Self> {
        if !dir.is_dir() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self(Arc::new(Inner { dir, db, clock, footers: std::sync::Mutex::default(), scans: tokio::sync::Semaphore::new(SCANS) })))
    }

    /// A writer of the rows that a run brings.
    pub fn writer(&self, dataset: &DatasetId, run: &RunId) -> Writer {
        Writer {
            segments: self.clone(),
            dataset: dataset.clone(),
            run: run.clone(),
            staged: 0,
            open: None,
            task: None,
            failed: false,
            segment_bytes: SEGMENT_BYTES,
        }
    }

    /// Waits for a turn to look through many rows.
    pub(super) async fn scan_turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.0.scans.acquire().await.map_err(Error::internal)
    }

    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    fn path(&self, id: &SegmentId) -> PathBuf {
        self.0.dir.join(format!("{id}.parquet"))
    }

    /// Opens a segment to read. Blocks.
    pub fn open(&self, meta: &SegmentMeta) -> Result<OpenSegment> {
        let damaged = |why: String| {
            Error::internal(format!("segment {}: {why}", meta.id)).action("Restore the segments directory from a backup, or run the DataSet again.")
        };
        let file = PositionedFile(Arc::new(File::open(self.path(&meta.id)).map_err(|why| damaged(why.to_string()))?));
        let cached = lock(&self.0.footers).get(&meta.id);
        let footer = match cached {
            Some(footer) => footer,
            None => {
                let options = ArrowReaderOptions::new().with_column_index_policy(PageIndexPolicy::Skip).with_offset_index_policy(PageIndexPolicy::Optional);
                let footer = ArrowReaderMetadata::load(&file, options).map_err(|why| damaged(why.to_string()))?;
                lock(&self.0.footers).put(meta.id.clone(), footer.clone());
                footer
            }
        };
        let rows = u64::try_from(footer.metadata().file_metadata().num_rows()).unwrap_or(0);
        if rows != meta.rows {
            return Err(damaged(format!("the file has {rows} rows and the catalogue says {}", meta.rows)));
        }
        Ok(OpenSegment { file, footer })
    }

    /// Deletes the file of a segment; that it is not there is as good. Blocks.
    pub(super) fn remove(&self, id: &SegmentId) -> Result<()> {
        lock(&self.0.footers).forget(id);
        match std::fs::remove_file(self.path(id)) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(why.into()),
            _ => Ok(()),
        }
    }

    /// Every segment file last written before `before`. Blocks.
    pub(super) fn files_before(&self, before: Millis) -> Result<Vec<SegmentId>> {
        let mut old = Vec::new();
        for entry in std::fs::read_dir(&self.0.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".parquet")).and_then(SegmentId::parse) else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let written = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).map(|since| since.as_millis()).unwrap_or(0);
            if metadata.is_file() && i64::try_from(written).unwrap_or(i64::MAX) < before {
                old.push(id);
            }
        }
        Ok(old)
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Writes the rows of one run into as many segments as they need. Dropping it abandons them: their rows stay staged, for the end of
/// the run or the sweep to drop.
pub struct Writer {
    segments: Segments,
    dataset: DatasetId,
    run: RunId,
    staged: i64,
    open: Option<Open>,
    task: Option<(mpsc::Sender<Command>, Blocking)>,
    /// Rows may be missing, so nothing of it may be finished.
    failed: bool,
    segment_bytes: u64,
}

/// The blocking half, and what it finished.
type Blocking = JoinHandle<Result<Vec<Written>>>;

/// The segment that is being written, seen from the async side.
struct Open {
    columns: Vec<ColumnInfo>,
    bytes: Arc<AtomicU64>,
}

enum Command {
    Begin {
        id: SegmentId,
        columns: Vec<ColumnInfo>,
        bytes: Arc<AtomicU64>,
    },
    Write(RecordBatch),
    /// All is written: close the last segment and put the directory on the disk.
    Finish,
}

impl Writer {
    pub fn new(segments: &Segments, dataset: &DatasetId, run: &RunId) -> Self {
        segments.writer(dataset, run)
    }

    /// Writes a batch, waiting when earlier ones are not written yet. A batch with a column that the open segment lacks begins a wider
    /// segment. After an error only `abandon` makes sense.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.failed {
            return Err(Error::internal("a segment was written to after an error"));
        }
        // Also when this future is dropped half way: whether the batch is written is not known then.
        self.failed = true;
        self.write_rows(batch).await?;
        self.failed = false;
        Ok(())
    }

    async fn write_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let came = columns::from_schema(batch.schema_ref())?;
        let fits = self.open.as_ref().is_some_and(|open| {
            open.bytes.load(Ordering::Relaxed) < self.segment_bytes && came.iter().all(|column| open.columns.iter().any(|has| has.name == column.name))
        });
        if !fits {
            let had = self.open.take().map(|open| open.columns).unwrap_or_default();
            self.begin(columns::union([had.as_slice(), came.as_slice()])).await?;
        }
        self.send(Command::Write(batch.clone())).await
    }

    /// Closes the last segment, makes all of them durable and tells the catalogue their size. None when no row was written.
    pub async fn finish(mut self) -> Result<Vec<Written>> {
        if self.failed {
            return Err(Error::internal("a segment was finished after an error"));
        }
        if self.task.is_none() {
            return Ok(Vec::new());
        }
        self.send(Command::Finish).await?;
        let written = self.ended().await?;
        let mut tx = self.segments.0.db.write().await?;
        for segment in &written {
            sqlx::query("UPDATE segments SET rows = $1, bytes = $2, columns = $3 WHERE id = $4 AND state = 'staged'")
                .bind(stored(segment.rows))
                .bind(stored(segment.bytes))
                .bind(serde_json::to_string(&segment.columns).map_err(Error::internal)?)
                .bind(&segment.id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(written)
    }

    /// Stops writing. What was written stays staged.
    pub fn abandon(self) {}

    async fn begin(&mut self, columns: Vec<ColumnInfo>) -> Result<()> {
        let id = SegmentId::new();
        let mut tx = self.segments.0.db.write().await?;
        sqlx::query("INSERT INTO segments (id, dataset_id, run_id, position, state, created_at) VALUES ($1, $2, $3, $4, 'staged', $5)")
            .bind(&id)
            .bind(&self.dataset)
            .bind(&self.run)
            .bind(self.staged)
            .bind(self.segments.0.clock.now())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.staged += 1;
        if self.task.is_none() {
            // Two batches may wait while one is encoded: enough to keep both sides busy, and little memory.
            let (to, from) = mpsc::channel(2);
            let segments = self.segments.clone();
            self.task = Some((to, tokio::task::spawn_blocking(move || write_all(&segments, from))));
        }
        let bytes = Arc::new(AtomicU64::new(0));
        self.send(Command::Begin { id, columns: columns.clone(), bytes: bytes.clone() }).await?;
        self.open = Some(Open { columns, bytes });
        Ok(())
    }

    async fn send(&mut self, command: Command) -> Result<()> {
        let sent = match &self.task {
            Some((to, _)) => to.send(command).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // The blocking side ends early only with an error.
        self.ended().await?;
        Err(Error::internal("a segment was written to after its end"))
    }

    async fn ended(&mut self) -> Result<Vec<Written>> {
        match self.task.take() {
            Some((to, task)) => {
                drop(to);
                task.await.map_err(Error::internal)?
            }
            None => Err(Error::internal("a segment was written to after its end")),
        }
    }
}

/// The number as the catalogue stores it.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The blocking half of a `Writer`: encodes what comes until told to finish. Files left open when nobody sends any more stay without
/// a footer, which no reader takes for a segment.
fn write_all(segments: &Segments, mut from: mpsc::Receiver<Command>) -> Result<Vec<Written>> {
    let mut written = Vec::new();
    let mut open: Option<OpenFile> = None;
    while let Some(command) = from.blocking_recv() {
        match command {
            Command::Begin { id, columns, bytes } => {
                if let Some(done) = open.take() {
                    written.push(done.close()?);
                }
                open = Some(OpenFile::create(segments.path(&id), id, columns, bytes)?);
            }
            Command::Write(batch) => match &mut open {
                Some(open) => open.write(&batch)?,
                None => return Err(Error::internal("a batch came before its segment")),
            },
            Command::Finish => {
                if let Some(done) = open.take() {
                    written.push(done.close()?);
                }
                File::open(&segments.0.dir)?.sync_all()?;
                return Ok(written);
            }
        }
    }
    Ok(written)
}

struct OpenFile {
    id: SegmentId,
    columns: Vec<ColumnInfo>,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    rows: u64,
    bytes: Arc<AtomicU64>,
}

impl OpenFile {
    fn create(path: PathBuf, id: SegmentId, columns: Vec<ColumnInfo>, bytes: Arc<AtomicU64>) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(parquet)?))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_data_page_size_limit(PAGE_BYTES)
            // A reader of one page also decodes the dictionary, so that is kept as small as a page.
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .set_write_batch_size(256)
            .set_created_by(concat!("chatlake ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let schema = columns::to_schema(&columns);
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(parquet)?;
        Ok(Self { id, columns, schema, writer, rows: 0, bytes })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = columns::conform(batch, &self.schema)?;
        let mut at = 0;
        while at < batch.num_rows() {
            let rows = BATCH_ROWS.min(batch.num_rows() - at);
            self.writer.write(&batch.slice(at, rows)).map_err(parquet)?;
            at += rows;
        }
        self.rows += batch.num_rows() as u64;
        self.bytes.store((self.writer.bytes_written() + self.writer.in_progress_size()) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn close(mut self) -> Result<Written> {
        self.writer.finish().map_err(parquet)?;
        let file = self.writer.inner();
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        Ok(Written { id: self.id, rows: self.rows, bytes, columns: self.columns })
    }
}

/// Keeps a full disk apart from other trouble.
fn parquet(why: ParquetError) -> Error {
    match why {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => Error::from(*io),
            Err(other) => Error::internal(other),
        },
        other => Error::internal(other),
    }
}

/// A segment open for reading. Its methods block. Cheap to clone.
#[derive(Clone)]
pub struct OpenSegment {
    file: PositionedFile,
    footer: ArrowReaderMetadata,
}

/// The batches of a read, in order.
pub struct Batches {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
}

impl OpenSegment {
    pub fn footer(&self) -> &ParquetMetaData {
        self.footer.metadata()
    }

    /// The schema of the file.
    pub fn schema(&self) -> &SchemaRef {
        self.footer.schema()
    }

    /// Reads `ranges` of rows (ascending, apart; none is all rows) as batches of `schema`, columns found by name. Only the pages that
    /// hold these rows of these columns are decoded.
    pub fn read(&self, schema: &SchemaRef, ranges: Option<&[Range<u64>]>) -> Result<Batches> {
        let has = self.footer.schema();
        let wanted = schema.fields().iter().filter_map(|field| has.index_of(field.name()).ok());
        let mask = ProjectionMask::roots(self.footer.parquet_schema(), wanted);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.footer.clone())
            .with_projection(mask)
            .with_batch_size(self.batch_rows(schema));
        if let Some(ranges) = ranges {
            let (groups, selection) = self.select(ranges);
            builder = builder.with_row_groups(groups).with_row_selection(selection);
        }
        Ok(Batches { reader: builder.build().map_err(parquet)?, schema: schema.clone() })
    }

    /// The row groups that `ranges` touch, and which of their rows.
    fn select(&self, ranges: &[Range<u64>]) -> (Vec<usize>, RowSelection) {
        let mut groups = Vec::new();
        let mut selectors: Vec<RowSelector> = Vec::new();
        let mut first = 0_u64;
        for (index, group) in self.footer().row_groups().iter().enumerate() {
            let end = first + u64::try_from(group.num_rows()).unwrap_or(0);
            let touched = ranges.partition_point(|range| range.end <= first)..ranges.partition_point(|range| range.start < end);
            if !touched.is_empty() {
                groups.push(index);
                let mut at = first;
                for range in &ranges[touched] {
                    let (from, to) = (range.start.max(first), range.end.min(end));
                    selectors.push(RowSelector::skip((from - at) as usize));
                    selectors.push(RowSelector::select((to - from) as usize));
                    at = to;
                }
                selectors.push(RowSelector::skip((end - at) as usize));
            }
            first = end;
        }
        (groups, selectors.into())
    }

    /// How many rows of these columns make a batch of the bounded size.
    fn batch_rows(&self, schema: &SchemaRef) -> usize {
        let mut widest = 1_u64;
        for group in self.footer().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(1).max(1);
            let bytes: i64 = group
                .columns()
                .iter()
                .filter(|chunk| schema.index_of(chunk.column_path().string().as_str()).is_ok())
                .map(|chunk| chunk.unencoded_byte_array_data_bytes().unwrap_or(0).max(chunk.uncompressed_size()))
                .sum();
            widest = widest.max(u64::try_from(bytes).unwrap_or(0) / rows);
        }
        (BATCH_BYTES / usize::try_from(widest).unwrap_or(usize::MAX).max(1)).clamp(16, BATCH_ROWS)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(Error::internal).and_then(|batch| columns::conform(&batch, &self.schema)))
    }
}

/// A file read at given places, so that several columns can be read from one descriptor without sharing a cursor.
#[derive(Clone)]
struct PositionedFile(Arc<File>);

struct Cursor {
    file: Arc<File>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Length for PositionedFile {
    fn len(&self) -> u64 {
        self.0.metadata().map(|metadata| metadata.len()).unwrap_or(0)
    }
}

impl ChunkReader for PositionedFile {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Cursor { file: self.0.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.saturating_add(length as u64);
        if end > self.len() {
            return Err(ParquetError::EOF(format!("{end} is beyond the end of the file")));
        }
        let mut buffer = vec![0; length];
        self.0.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// The footers read last.
#[derive(Default)]
struct Footers {
    of: HashMap<SegmentId, (ArrowReaderMetadata, usize, u64)>,
    bytes: usize,
    uses: u64,
}

impl Footers {
    fn get(&mut self, id: &SegmentId) -> Option<ArrowReaderMetadata> {
        self.uses += 1;
        let (footer, _, used) = self.of.get_mut(id)?;
        *used = self.uses;
        Some(footer.clone())
    }

    fn put(&mut self, id: SegmentId, footer: ArrowReaderMetadata) {
        self.forget(&id);
        let bytes = footer.metadata().memory_size();
        while self.bytes + bytes > CACHE_BYTES {
            let Some(oldest) = self.of.iter().min_by_key(|(_, (_, _, used))| *used).map(|(id, _)| id.clone()) else { break };
            self.forget(&oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.of.insert(id, (footer, bytes, self.uses));
    }

    fn forget(&mut self, id: &SegmentId) {
        if let Some((_, bytes, _)) = self.of.remove(id) {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::testing::{World, batch, integer, mixed, text};
    use super::*;
    use crate::connectors::report::ColumnKind;

    async fn states(world: &World) -> Vec<(String, i64)> {
        use sqlx::Row;
        let rows = sqlx::query("SELECT state, rows FROM segments ORDER BY id").fetch_all(world.db.read()).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    fn read(world: &World, written: &Written, schema: &SchemaRef, ranges: Option<&[Range<u64>]>) -> RecordBatch {
        let meta = SegmentMeta { id: written.id.clone(), rows: written.rows, bytes: written.bytes };
        let batches: Vec<_> = world.segments.open(&meta).unwrap().read(schema, ranges).unwrap().map(|batch| batch.unwrap()).collect();
        arrow::compute::concat_batches(schema, &batches).unwrap()
    }

    #[tokio::test]
    async fn rows_come_back_as_they_were_written() {
        let world = World::new().await;
        let run = world.new_run().await;
        let rows = mixed(0, 20_000);
        let written = world.write(&run, &[rows.slice(0, 7_000), rows.slice(7_000, 13_000)]).await;
        assert_eq!(written.len(), 1);
        let path = world.segments.path(&written[0].id);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(world.segments.dir()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), written[0].bytes);
        assert_eq!(read(&world, &written[0], rows.schema_ref(), None), rows);
        assert_eq!(states(&world).await, [("staged".to_owned(), 20_000)]);
        let some = read(&world, &written[0], rows.schema_ref(), Some(&[5..6, 4_000..4_100, 19_999..20_000]));
        let expected = [rows.slice(5, 1), rows.slice(4_000, 100), rows.slice(19_999, 1)];
        assert_eq!(some, arrow::compute::concat_batches(rows.schema_ref(), &expected).unwrap());
    }

    #[tokio::test]
    async fn ranges_may_reach_over_row_groups() {
        let world = World::new().await;
        let run = world.new_run().await;
        let rows = mixed(0, 150_000);
        let written = world.write(&run, std::slice::from_ref(&rows)).await;
        let meta = SegmentMeta { id: written[0].id.clone(), rows: written[0].rows, bytes: written[0].bytes };
        assert!(world.segments.open(&meta).unwrap().footer().num_row_groups() >= 3);
        assert!(world.segments.open(&meta).unwrap().footer().page_index().is_some());
        let at = ROW_GROUP_ROWS as u64;
        let some = read(&world, &written[0], rows.schema_ref(), Some(&[at - 3..at + 3, 149_990..150_000]));
        let expected = [rows.slice(ROW_GROUP_ROWS - 3, 6), rows.slice(149_990, 10)];
        assert_eq!(some, arrow::compute::concat_batches(rows.schema_ref(), &expected).unwrap());
    }

    #[tokio::test]
    async fn a_new_column_begins_a_wider_segment_and_is_null_before() {
        let world = World::new().await;
        let run = world.new_run().await;
        let narrow = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(1)]))]);
        let misfit = batch(vec![("id", ColumnKind::Integer, integer(vec![None])), ("_misfit", ColumnKind::Json, text(vec![Some("{}")]))]);
        let wide = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(2)])), ("x_mood", ColumnKind::Json, text(vec![Some("glad")]))]);
        let written = world.write(&run, &[narrow.clone(), misfit, wide, narrow]).await;
        let names = |w: &Written| w.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(written.iter().map(names).collect::<Vec<_>>(), ["id", "id _misfit", "id x_mood _misfit"]);
        assert_eq!(written.iter().map(|w| w.rows).collect::<Vec<_>>(), [1, 1, 2]);
        let wide = columns::to_schema(&written[2].columns);
        let first = read(&world, &written[0], &wide, None);
        assert_eq!(first.column_by_name("x_mood").unwrap().null_count(), 1);
        let only_missing = columns::to_schema(&written[2].columns[1..2]);
        assert_eq!(read(&world, &written[0], &only_missing, None).num_rows(), 1);
    }

    #[tokio::test]
    async fn a_segment_that_has_grown_is_followed_by_another() {
        let world = World::new().await;
        let run = world.new_run().await;
        let mut writer = Writer::new(&world.segments, &world.dataset, &run);
        writer.segment_bytes = 1;
        let mut all = 0;
        // The size is read while the other side writes, so at least one roll, not a certain number.
        while writer.staged < 3 {
            writer.write(&mixed(all, all + 100)).await.unwrap();
            all += 100;
        }
        let written = writer.finish().await.unwrap();
        assert_eq!(written.len(), 3);
        assert_eq!(written.iter().map(|w| w.rows as i64).sum::<i64>(), all);
    }

    #[tokio::test]
    async fn what_is_abandoned_stays_staged_and_is_no_segment() {
        let world = World::new().await;
        let run = world.new_run().await;
        let mut writer = Writer::new(&world.segments, &world.dataset, &run);
        writer.write(&mixed(0, 10)).await.unwrap();
        writer.abandon();
        assert_eq!(states(&world).await, [("staged".to_owned(), 0)]);
        assert!(world.write(&run, &[mixed(0, 0)]).await.is_empty());
    }

    #[tokio::test]
    async fn a_cut_or_missing_file_is_an_error() {
        let world = World::new().await;
        let run = world.new_run().await;
        let written = world.write(&run, &[mixed(0, 1_000)]).await;
        let meta = SegmentMeta { id: written[0].id.clone(), rows: 1_000, bytes: written[0].bytes };
        let path = world.segments.path(&meta.id);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(world.segments.open(&meta).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(world.segments.open(&meta).is_err());
        assert!(world.segments.remove(&meta.id).is_ok());
    }

    #[tokio::test]
    async fn writing_where_nothing_can_be_written_is_an_error() {
        let world = World::new().await;
        let run = world.new_run().await;
        let mut writer = Writer::new(&world.segments, &world.dataset, &run);
        std::fs::remove_dir_all(world.segments.dir()).unwrap();
        let mut failed = false;
        for _ in 0..10 {
            failed |= writer.write(&mixed(0, 10)).await.is_err();
        }
        assert!(failed);
        assert!(writer.finish().await.is_err());
    }
}
