//! Segments: immutable Parquet files of rows. No other module accesses these files. A segment is
//! staged in the catalogue before its first byte is written, and is synced to the disk before a
//! version uses it, so that a crash leaves only files that the sweep finds. `SegmentWriter`
//! (`writer.rs`) writes segments, `OpenSegment` reads them; both work on the blocking pool.

mod checksum;
mod damage;
pub mod digest;
mod file;
mod file_writer;
mod pruning;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::statistics::Statistics;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns;
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, SegmentId};
pub use checksum::Checksums;
pub use damage::MAX_CHECKED_BYTES;
use digest::Digest;
use file::SegmentFile;
pub(super) use pruning::ranges;
pub(super) use writer::{MAX_SMALL_SEGMENTS, small_tail, to_i64};
pub use writer::{SegmentWriter, WrittenSegment, discard_recorded, record};

/// The maximum number of rows in a batch.
pub const BATCH_ROWS: usize = 8_192;
/// The target size of a batch, uncompressed.
const BATCH_BYTES: usize = 2 << 20;
/// The maximum total size of cached footers.
const CACHE_BYTES: usize = 16 << 20;

/// The directory of segments. Cheap to clone; a clone shares the I/O counter of the original.
#[derive(Clone)]
pub struct Segments(Arc<Inner>, Arc<AtomicU64>);

struct Inner {
    dir: PathBuf,
    db: Db,
    clock: Clock,
    footers: std::sync::Mutex<Footers>,
    scans: tokio::sync::Semaphore,
    /// Damage that this process has found or loaded.
    damaged: std::sync::Mutex<HashMap<SegmentId, String>>,
}

/// The maximum number of previews that scan rows at the same time; others wait for a permit.
const MAX_SCANS: usize = 4;

/// A segment in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    pub id: SegmentId,
    pub rows: u64,
    pub bytes: u64,
    /// `None` for a segment that is older than checksums and was not checked since.
    pub checksums: Option<Checksums>,
    /// `None` if unknown, like `checksums`.
    pub digest: Option<Digest>,
}

/// The columns of the table `segments`, with the alias `s`, that `SegmentMeta::read` reads.
macro_rules! segment_columns {
    () => {
        "s.id, s.rows, s.bytes, s.checksums, s.digest"
    };
}
pub(super) use segment_columns;

impl SegmentMeta {
    /// Reads a row of `segment_columns!`.
    pub(super) fn read(row: &SqliteRow) -> Result<Self> {
        let number =
            |at: &str| Ok::<_, Error>(u64::try_from(row.try_get::<i64, _>(at)?).unwrap_or(0));
        let (rows, checksums, digest): (u64, Option<&str>, Option<&str>) = (
            number("rows")?,
            row.try_get("checksums")?,
            row.try_get("digest")?,
        );
        let checksums = match checksums {
            Some(text) => Some(
                Checksums::parse(text)
                    .ok_or_else(|| Error::damaged("the checksums of a segment cannot be read"))?,
            ),
            None => None,
        };
        Ok(Self {
            id: row.try_get("id")?,
            rows,
            bytes: number("bytes")?,
            checksums,
            digest: digest.and_then(|text| Digest::parse(text, rows)),
        })
    }
}

impl Segments {
    /// Opens the directory of segments. Creates it if it does not exist, readable only by this
    /// user.
    pub fn new(dir: PathBuf, db: Db, clock: Clock) -> Result<Self> {
        if !dir.is_dir() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let scans = tokio::sync::Semaphore::new(MAX_SCANS);
        let inner = Inner {
            dir,
            db,
            clock,
            footers: std::sync::Mutex::default(),
            scans,
            damaged: std::sync::Mutex::default(),
        };
        Ok(Self(Arc::new(inner), Arc::default()))
    }

    /// A handle with its own I/O counter, for the stall detector of one run.
    #[must_use]
    pub fn with_own_counter(&self) -> Self {
        Self(self.0.clone(), Arc::default())
    }

    /// The I/O counter: increases with every batch that is read or written through this handle.
    pub fn io_count(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    fn count_io(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    /// A writer for the rows of a run.
    pub fn writer(&self, dataset: &DatasetId, run: &RunId) -> SegmentWriter {
        SegmentWriter::new(self, dataset, run)
    }

    /// A writer that continues after the segments of an interrupted attempt of the run. Fails if
    /// one of them is damaged.
    pub async fn resume(&self, dataset: &DatasetId, run: &RunId) -> Result<SegmentWriter> {
        self.writer(dataset, run).resumed().await
    }

    /// Waits for a permit to scan rows.
    pub(super) async fn scan_permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.0.scans.acquire().await.map_err(Error::internal)
    }

    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    fn path(&self, id: &SegmentId) -> PathBuf {
        self.0.dir.join(format!("{id}.parquet"))
    }

    /// The number of filled cells of each column, over these segments.
    pub async fn filled_cells(&self, of: Vec<SegmentMeta>) -> Result<BTreeMap<String, u64>> {
        let segments = self.clone();
        let counted = tokio::task::spawn_blocking(move || {
            let mut all = BTreeMap::new();
            for meta in &of {
                for (column, cells) in segments.open(meta)?.filled_cells() {
                    *all.entry(column).or_default() += cells;
                }
            }
            Ok(all)
        });
        counted.await.map_err(Error::from)?
    }

    /// Opens a segment to read. Each block is compared with its checksum when it is read. A missing
    /// or damaged file gives `data_damaged`, here and while reading. Blocks.
    pub fn open(&self, meta: &SegmentMeta) -> Result<OpenSegment> {
        let file = SegmentFile::open(&self.path(&meta.id), meta)
            .map_err(|failure| self.read_error(&meta.id, &failure))?;
        let cached = lock(&self.0.footers).get(&meta.id);
        let footer = match cached {
            Some(footer) => footer,
            None => {
                let options = ArrowReaderOptions::new()
                    .with_column_index_policy(PageIndexPolicy::Skip)
                    .with_offset_index_policy(PageIndexPolicy::Optional);
                let footer = ArrowReaderMetadata::load(&file, options)
                    .map_err(|why| self.decode_error(&meta.id, &file, &why))?;
                lock(&self.0.footers).put(meta.id.clone(), footer.clone());
                footer
            }
        };
        let rows = u64::try_from(footer.metadata().file_metadata().num_rows()).unwrap_or(0);
        if rows != meta.rows {
            return Err(self.damage_error(
                &meta.id,
                &format!(
                    "the file has {rows} rows and the catalogue says {}",
                    meta.rows
                ),
            ));
        }
        Ok(OpenSegment {
            id: meta.id.clone(),
            segments: self.clone(),
            file,
            footer,
        })
    }

    /// Whether the file of a segment exists. Blocks.
    pub(super) fn is_there(&self, id: &SegmentId) -> bool {
        self.path(id).is_file()
    }

    /// Deletes the file of a segment. A missing file is not an error. Blocks.
    pub(super) fn remove(&self, id: &SegmentId) -> Result<()> {
        lock(&self.0.footers).forget(id);
        match std::fs::remove_file(self.path(id)) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(why.into()),
            _ => Ok(()),
        }
    }

    /// The segment files that were last written before `before`. Blocks.
    pub(super) fn files_before(&self, before: Millis) -> Result<Vec<SegmentId>> {
        let mut old = Vec::new();
        for entry in std::fs::read_dir(&self.0.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(id) = name
                .to_str()
                .and_then(|name| name.strip_suffix(".parquet"))
                .and_then(SegmentId::parse)
            else {
                continue;
            };
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let written = metadata
                .modified()?
                .duration_since(std::time::UNIX_EPOCH)
                .map(|since| since.as_millis())
                .unwrap_or(0);
            if metadata.is_file() && i64::try_from(written).unwrap_or(i64::MAX) < before {
                old.push(id);
            }
        }
        Ok(old)
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Maps a Parquet error; an I/O error inside, such as a full disk, keeps its own kind.
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
    id: SegmentId,
    /// The handle that opened the segment.
    segments: Segments,
    file: SegmentFile,
    footer: ArrowReaderMetadata,
}

/// A row group of a segment.
#[derive(Clone, Debug)]
pub(super) struct RowGroup {
    pub rows: Range<u64>,
    /// The minimum and maximum of the column, for timestamps in milliseconds; `None` if the file
    /// does not contain them.
    pub bounds: Option<(i64, i64)>,
    pub has_nulls: bool,
}

/// The batches of a read operation, in order.
pub struct BatchReader {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    of: OpenSegment,
}

impl OpenSegment {
    /// Prepares for reading most rows, which uses more memory and fewer reads.
    pub fn expect_all_rows(&self) {
        self.file.expect_all_rows();
    }

    pub fn footer(&self) -> &ParquetMetaData {
        self.footer.metadata()
    }

    /// The schema of the file.
    pub fn schema(&self) -> &SchemaRef {
        self.footer.schema()
    }

    /// The row groups, with the statistics of a column of integers, timestamps or dates.
    pub(super) fn groups_of(&self, column: &str) -> Vec<RowGroup> {
        let mut first = 0;
        let is_micros =
            |kind: &DataType| matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, _));
        let per_milli = if self
            .schema()
            .field_with_name(column)
            .is_ok_and(|field| is_micros(field.data_type()))
        {
            1_000
        } else {
            1
        };
        let groups = self.footer().row_groups().iter().map(|group| {
            let rows = first..first + u64::try_from(group.num_rows()).unwrap_or(0);
            first = rows.end;
            let chunk = group
                .columns()
                .iter()
                .find(|chunk| matches!(chunk.column_path().parts(), [name] if name == column));
            let statistics = chunk.and_then(|chunk| chunk.statistics());
            let bounds = match statistics {
                Some(Statistics::Int64(values)) => {
                    values.min_opt().copied().zip(values.max_opt().copied())
                }
                Some(Statistics::Int32(values)) => values
                    .min_opt()
                    .zip(values.max_opt())
                    .map(|(least, most)| (i64::from(*least), i64::from(*most))),
                _ => None,
            };
            let bounds = bounds.map(|(least, most): (i64, i64)| {
                (least.div_euclid(per_milli), most.div_euclid(per_milli))
            });
            RowGroup {
                rows,
                bounds,
                has_nulls: statistics.and_then(Statistics::null_count_opt) != Some(0),
            }
        });
        groups.collect()
    }

    /// Reads `ranges` of rows (ascending and disjoint; `None` for all rows) as batches of `schema`;
    /// columns are matched by name. Only the pages that contain these rows of these columns are
    /// decoded.
    pub fn read(&self, schema: &SchemaRef, ranges: Option<&[Range<u64>]>) -> Result<BatchReader> {
        self.read_in(schema, ranges, self.batch_rows(schema))
    }

    /// Like `read`, with a given number of rows per batch.
    fn read_in(
        &self,
        schema: &SchemaRef,
        ranges: Option<&[Range<u64>]>,
        batch_rows: usize,
    ) -> Result<BatchReader> {
        let has = self.footer.schema();
        let wanted = schema
            .fields()
            .iter()
            .filter_map(|field| has.index_of(field.name()).ok());
        let mask = ProjectionMask::roots(self.footer.parquet_schema(), wanted);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.file.clone(),
            self.footer.clone(),
        )
        .with_projection(mask)
        .with_batch_size(batch_rows);
        if let Some(ranges) = ranges {
            let (groups, selection) = self.select(ranges);
            builder = builder
                .with_row_groups(groups)
                .with_row_selection(selection);
        }
        let reader = builder
            .build()
            .map_err(|why| self.segments.decode_error(&self.id, &self.file, &why))?;
        Ok(BatchReader {
            reader,
            schema: schema.clone(),
            of: self.clone(),
        })
    }

    /// The row groups that overlap `ranges`, and their selected rows.
    fn select(&self, ranges: &[Range<u64>]) -> (Vec<usize>, RowSelection) {
        let mut groups = Vec::new();
        let mut selectors: Vec<RowSelector> = Vec::new();
        let mut first = 0_u64;
        for (index, group) in self.footer().row_groups().iter().enumerate() {
            let end = first + u64::try_from(group.num_rows()).unwrap_or(0);
            let touched = ranges.partition_point(|range| range.end <= first)
                ..ranges.partition_point(|range| range.start < end);
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

    /// The number of rows of these columns per batch, so that a batch has a bounded size.
    fn batch_rows(&self, schema: &SchemaRef) -> usize {
        (BATCH_BYTES / self.row_bytes(schema)).clamp(16, BATCH_ROWS)
    }
}

impl Iterator for BatchReader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        let OpenSegment {
            id, segments, file, ..
        } = &self.of;
        segments.count_io();
        Some(
            batch
                .map_err(|why| segments.decode_error(id, file, &why))
                .and_then(|batch| columns::conform(&batch, &self.schema)),
        )
    }
}

/// The most recently read footers.
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
            let Some(oldest) = self
                .of
                .iter()
                .min_by_key(|(_, (_, _, used))| *used)
                .map(|(id, _)| id.clone())
            else {
                break;
            };
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
mod damage_tests;
#[cfg(test)]
mod tests;
