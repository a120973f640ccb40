//! Reads a segment's file for Parquet with random access, and compares each block with its checksum
//! before its bytes are returned. The last blocks read stay in memory while the segment is open, so
//! that neighbouring pages need only one read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::SegmentMeta;
use super::checksum::{BLOCK_BYTES, Checksums};

/// The maximum number of blocks of an open segment in memory.
const MAX_BLOCKS: usize = 6;
/// The maximum when all rows are read: the blocks of a whole row group, whose columns are read in
/// turn.
const MAX_BLOCKS_OF_ALL_ROWS: usize = 24;

/// An open file. Cheap to clone; clones share the blocks in memory.
#[derive(Clone)]
pub(super) struct SegmentFile(Arc<Inner>);

struct Inner {
    file: File,
    length: u64,
    /// `None` for a file that is older than checksums: its bytes are not checked.
    checksums: Option<Checksums>,
    recent: Mutex<VecDeque<(usize, Bytes)>>,
    max_blocks: AtomicUsize,
    failure: OnceLock<ReadFailure>,
}

/// Why bytes could not be read.
#[derive(Clone, Debug)]
pub(super) enum ReadFailure {
    /// The file does not have the written content.
    Damaged(String),
    /// The operating system could not read the file; this may be temporary.
    System(io::ErrorKind, String),
}

impl SegmentFile {
    /// Opens the file of a segment. Its length must match the catalogue.
    pub fn open(path: &Path, meta: &SegmentMeta) -> Result<Self, ReadFailure> {
        let file = File::open(path).map_err(|why| match why.kind() {
            io::ErrorKind::NotFound => ReadFailure::Damaged("its file is missing".to_owned()),
            _ => system_failure(&why),
        })?;
        let length = file.metadata().map_err(|why| system_failure(&why))?.len();
        if length != meta.bytes {
            return Err(ReadFailure::Damaged(format!(
                "its file has {length} bytes and the catalogue says {}",
                meta.bytes
            )));
        }
        Ok(Self(Arc::new(Inner {
            file,
            length,
            checksums: meta.checksums.clone(),
            recent: Mutex::default(),
            max_blocks: AtomicUsize::new(MAX_BLOCKS),
            failure: OnceLock::new(),
        })))
    }

    /// Keeps enough blocks in memory to read all rows once without reading a block twice.
    pub fn expect_all_rows(&self) {
        self.0
            .max_blocks
            .store(MAX_BLOCKS_OF_ALL_ROWS, Ordering::Relaxed);
    }

    /// The first failure while this file was read, if any.
    pub fn failure(&self) -> Option<&ReadFailure> {
        self.0.failure.get()
    }

    /// Compares every block with its checksum. Does nothing for a file without checksums.
    pub fn check(&self) -> io::Result<()> {
        if self.0.checksums.is_none() {
            return Ok(());
        }
        let mut buffer = BytesMut::zeroed(BLOCK_BYTES);
        for block in 0..self.0.length.div_ceil(BLOCK_BYTES as u64) {
            let at = block * BLOCK_BYTES as u64;
            let length = usize::try_from(self.0.length - at)
                .unwrap_or(BLOCK_BYTES)
                .min(BLOCK_BYTES);
            self.read_exact(&mut buffer[..length], at)?;
            self.verify(
                usize::try_from(block).unwrap_or(usize::MAX),
                &buffer[..length],
            )?;
        }
        Ok(())
    }

    /// Reads a range of bytes from blocks that match their checksums.
    fn bytes(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.end > self.0.length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} is beyond the end of the file", range.end),
            ));
        }
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        if self.0.checksums.is_none() {
            let mut buffer = BytesMut::zeroed(length);
            self.read_exact(&mut buffer, range.start)?;
            return Ok(buffer.freeze());
        }
        let block_bytes = BLOCK_BYTES as u64;
        let (first, last) = (
            range.start / block_bytes,
            range.end.saturating_sub(1).max(range.start) / block_bytes,
        );
        let from = usize::try_from(range.start - first * block_bytes).map_err(io::Error::other)?;
        let whole = if first == last {
            self.block(first)?
        } else {
            self.blocks(first, last)?
        };
        Ok(whole.slice(from..from + length))
    }

    /// Reads one block, from memory if possible.
    fn block(&self, block: u64) -> io::Result<Bytes> {
        let number = usize::try_from(block).map_err(io::Error::other)?;
        if let Some(bytes) = self.cached_block(number) {
            return Ok(bytes);
        }
        self.blocks(block, block)
    }

    /// Reads consecutive blocks in one call. The last one stays in memory.
    fn blocks(&self, first: u64, last: u64) -> io::Result<Bytes> {
        let block_bytes = BLOCK_BYTES as u64;
        let (start, end) = (
            first * block_bytes,
            ((last + 1) * block_bytes).min(self.0.length),
        );
        let mut buffer =
            BytesMut::zeroed(usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?);
        self.read_exact(&mut buffer, start)?;
        let whole = buffer.freeze();
        for (number, block) in
            (usize::try_from(first).map_err(io::Error::other)?..).zip(whole.chunks(BLOCK_BYTES))
        {
            self.verify(number, block)?;
        }
        if first == last {
            self.cache_block(
                usize::try_from(last).map_err(io::Error::other)?,
                whole.clone(),
            );
        }
        Ok(whole)
    }

    fn verify(&self, number: usize, block: &[u8]) -> io::Result<()> {
        if self
            .0
            .checksums
            .as_ref()
            .is_none_or(|sums| sums.matches(number, block))
        {
            return Ok(());
        }
        let why = format!("block {number} does not match its checksum");
        let _ = self.0.failure.set(ReadFailure::Damaged(why.clone()));
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    fn read_exact(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.0.file.read_exact_at(into, at).inspect_err(|why| {
            let _ = self.0.failure.set(system_failure(why));
        })
    }

    fn cached_block(&self, number: usize) -> Option<Bytes> {
        let recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .iter()
            .find(|(block, _)| *block == number)
            .map(|(_, bytes)| bytes.clone())
    }

    fn cache_block(&self, number: usize, bytes: Bytes) {
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= self.0.max_blocks.load(Ordering::Relaxed) {
            recent.pop_front();
        }
        recent.push_back((number, bytes));
    }
}

/// Classifies an I/O error: an error of the device means that the data is lost; other errors may be
/// temporary.
fn system_failure(why: &io::Error) -> ReadFailure {
    match why.kind() {
        io::ErrorKind::UnexpectedEof => {
            ReadFailure::Damaged("its file is shorter than it was".to_owned())
        }
        _ if why.raw_os_error() == Some(EIO) => {
            ReadFailure::Damaged(format!("the disk cannot read its file: {why}"))
        }
        kind => ReadFailure::System(kind, why.to_string()),
    }
}

/// The error number for a device error.
const EIO: i32 = 5;

/// Reads sequentially from a position in the file.
pub(super) struct Cursor {
    file: SegmentFile,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.file.0.length.saturating_sub(self.at);
        // Reads at most to the end of the current block, so that little unused data is read.
        let in_block = BLOCK_BYTES as u64 - self.at % BLOCK_BYTES as u64;
        let length = left.min(in_block).min(into.len() as u64);
        let bytes = self.file.bytes(self.at..self.at + length)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        self.at += length;
        Ok(bytes.len())
    }
}

impl Length for SegmentFile {
    fn len(&self) -> u64 {
        self.0.length
    }
}

impl ChunkReader for SegmentFile {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Cursor {
            file: self.clone(),
            at: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.bytes(start..start.saturating_add(length as u64))
            .map_err(ParquetError::from)
    }
}
