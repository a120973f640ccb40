//! Segments: immutable Parquet files of rows. No other module accesses these files. A segment is
//! staged in the catalogue before its first byte is written, and is synced to the disk before a
//! version uses it, so that a crash leaves only files that the sweep finds. `SegmentWriter`
//! (`writer.rs`) writes segments, `OpenSegment` (`open_segment.rs`) reads them; both work on the
//! blocking pool.

mod catalogue_entry;
mod checksum;
mod damage;
pub mod digest;
mod encoder_task;
mod field_ids;
mod file;
mod file_writer;
mod footer_cache;
mod open_segment;
mod pruning;
mod writer;
mod written_segment;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;

use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, SegmentId};
pub use catalogue_entry::SegmentMeta;
pub(super) use catalogue_entry::{SegmentRow, to_i64, to_u64};
pub use checksum::Checksums;
pub use damage::MAX_CHECKED_BYTES;
use file::SegmentFile;
use footer_cache::FooterCache;
pub use open_segment::{BatchReader, OpenSegment};
pub(super) use pruning::ranges;
pub use writer::SegmentWriter;
pub(super) use writer::{MAX_SMALL_SEGMENTS, small_tail};
pub use written_segment::{WrittenSegment, discard_recorded, record};

/// The maximum number of rows in a batch.
pub const BATCH_ROWS: usize = 8_192;

/// The directory of segments. Cheap to clone; a clone shares the I/O counter of the original.
#[derive(Clone)]
pub struct Segments(Arc<Inner>, Arc<AtomicU64>);

struct Inner {
    dir: PathBuf,
    db: Db,
    clock: Clock,
    footers: std::sync::Mutex<FooterCache>,
    scans: tokio::sync::Semaphore,
    /// Damage that this process has found or loaded.
    damaged: std::sync::Mutex<HashMap<SegmentId, String>>,
}

/// The maximum number of previews that scan rows at the same time; others wait for a permit.
const MAX_SCANS: usize = 4;

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

#[cfg(test)]
mod tests;
