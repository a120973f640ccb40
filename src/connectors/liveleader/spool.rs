//! Stores the rows of a window until its document is known to be complete: a few in memory, the
//! rest in an unlinked file that disappears with the process.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::document::ParseStop;
use crate::connectors::PullError;

/// The number of bytes of rows that stay in memory.
const MAX_MEMORY_BYTES: usize = 4 << 20;

/// Decides which window may use the disk: several windows are read at once, but only the first of
/// them may write, so that space for one window is enough.
pub(super) struct DiskTurn(Mutex<TurnState>, Condvar);

#[derive(Clone, Copy, PartialEq, Eq)]
enum TurnState {
    Waiting,
    Granted,
    Abandoned,
}

impl DiskTurn {
    pub fn waiting() -> Arc<Self> {
        Arc::new(Self(Mutex::new(TurnState::Waiting), Condvar::new()))
    }

    pub fn granted() -> Arc<Self> {
        Arc::new(Self(Mutex::new(TurnState::Granted), Condvar::new()))
    }

    fn set(&self, state: TurnState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.1.notify_all();
    }

    /// Grants the turn: this window is the first one now.
    pub fn grant(&self) {
        self.set(TurnState::Granted);
    }

    /// Abandons the window: its result is not needed any more.
    pub fn abandon(&self) {
        self.set(TurnState::Abandoned);
    }

    /// Waits for the turn; false if the window was abandoned.
    fn wait(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self
            .1
            .wait_while(state, |state| *state == TurnState::Waiting)
            .unwrap_or_else(PoisonError::into_inner);
        *state == TurnState::Granted
    }
}

/// The rows of one window, in order.
pub(super) struct Spool {
    scratch: PathBuf,
    turn: Arc<DiskTurn>,
    memory: Vec<(usize, RecordBatch)>,
    bytes: usize,
    file: Option<Arc<File>>,
    /// Report and offset of each batch in the file.
    offsets: Vec<(usize, u64)>,
    end: u64,
}

impl Spool {
    pub fn new(scratch: PathBuf, turn: Arc<DiskTurn>) -> Self {
        Self {
            scratch,
            turn,
            memory: Vec::new(),
            bytes: 0,
            file: None,
            offsets: Vec::new(),
            end: 0,
        }
    }

    /// Stores a batch of report number `report`. May wait for the turn.
    pub fn push(&mut self, report: usize, batch: RecordBatch) -> Result<(), ParseStop> {
        let size = batch.get_array_memory_size();
        if self.file.is_none() && self.bytes + size <= MAX_MEMORY_BYTES {
            self.bytes += size;
            self.memory.push((report, batch));
            return Ok(());
        }
        if !self.turn.wait() {
            return Err(ParseStop::Abandoned);
        }
        self.write(report, &batch).map_err(|error| {
            tracing::error!(%error, "rows could not be stored in a temporary file");
            ParseStop::Internal(PullError::StorageFull)
        })
    }

    fn write(&mut self, report: usize, batch: &RecordBatch) -> std::io::Result<()> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self
                .file
                .insert(Arc::new(tempfile::tempfile_in(&self.scratch)?))
                .clone(),
        };
        let mut writer =
            StreamWriter::try_new(&*file, batch.schema_ref()).map_err(std::io::Error::other)?;
        writer
            .write(batch)
            .and_then(|()| writer.finish())
            .map_err(std::io::Error::other)?;
        drop(writer);
        self.offsets.push((report, self.end));
        self.end = (&*file).stream_position()?;
        Ok(())
    }

    /// The batches, in order.
    pub fn batches(self) -> Batches {
        Batches {
            memory: self.memory.into_iter(),
            file: self.file,
            offsets: self.offsets.into_iter(),
        }
    }
}

pub(super) struct Batches {
    memory: std::vec::IntoIter<(usize, RecordBatch)>,
    file: Option<Arc<File>>,
    offsets: std::vec::IntoIter<(usize, u64)>,
}

impl Batches {
    pub async fn next(&mut self) -> Result<Option<(usize, RecordBatch)>, PullError> {
        if let Some(batch) = self.memory.next() {
            return Ok(Some(batch));
        }
        let (Some(file), Some((report, at))) = (self.file.clone(), self.offsets.next()) else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            StreamReader::try_new(FileSection { file, at }, None)
                .ok()?
                .next()?
                .ok()
        });
        let batch = read.await.ok().flatten().ok_or(PullError::StorageFull)?;
        Ok(Some((report, batch)))
    }
}

/// Reads the file from an offset.
struct FileSection {
    file: Arc<File>,
    at: u64,
}

impl Read for FileSection {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    fn batch(text: &str) -> RecordBatch {
        RecordBatch::try_from_iter([(
            "text",
            Arc::new(StringArray::from(vec![text.repeat(1 << 20); 2])) as ArrayRef,
        )])
        .unwrap()
    }

    #[tokio::test]
    async fn spooled_batches_come_back_in_order() {
        let scratch = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(scratch.path().to_owned(), DiskTurn::granted());
        for (at, text) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            spool.push(at % 2, batch(text)).unwrap();
        }
        assert!(spool.file.is_some() && spool.memory.len() == 1);
        assert_eq!(
            std::fs::read_dir(scratch.path()).unwrap().count(),
            0,
            "the file has no name"
        );
        let mut batches = spool.batches();
        for (at, text) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            assert_eq!(batches.next().await.unwrap(), Some((at % 2, batch(text))));
        }
        assert_eq!(batches.next().await.unwrap(), None);
    }

    #[test]
    fn a_window_waits_for_its_turn_before_it_writes_to_disk() {
        let turn = DiskTurn::waiting();
        let mut spool = Spool::new(std::env::temp_dir(), turn.clone());
        spool.push(0, batch("a")).unwrap();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| {
                for text in ["b", "c"] {
                    spool.push(0, batch(text)).unwrap();
                }
                spool.push(0, batch("d"))
            });
            turn.grant();
            assert!(waiting.join().unwrap().is_ok());
        });
        turn.abandon();
        assert!(matches!(
            spool.push(0, batch("e")),
            Err(ParseStop::Abandoned)
        ));
    }

    #[test]
    fn a_failed_write_is_reported_as_full_storage() {
        let mut spool = Spool::new("/does/not/exist".into(), DiskTurn::granted());
        spool.push(0, batch("a")).unwrap();
        assert!(matches!(
            spool
                .push(0, batch("b"))
                .and_then(|()| spool.push(0, batch("c"))),
            Err(ParseStop::Internal(PullError::StorageFull))
        ));
    }
}
