//! Rows of a window that is not known to be whole yet: a few in memory, the rest in a file without a name, which goes with the process.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::document::Stop;
use crate::connectors::PullError;

/// Bytes of rows that stay in memory.
const IN_MEMORY: usize = 4 << 20;

/// Whose turn it is: several windows are read at once, and only the first of them may use the disk, so that there is room for one.
pub(super) struct Turn(Mutex<State>, Condvar);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Later,
    Now,
    Gone,
}

impl Turn {
    pub fn later() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Later), Condvar::new()))
    }

    pub fn now() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Now), Condvar::new()))
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.1.notify_all();
    }

    /// This window is the first one now.
    pub fn come(&self) {
        self.set(State::Now);
    }

    /// Nobody waits for this window any more.
    pub fn give_up(&self) {
        self.set(State::Gone);
    }

    /// Waits for the turn; false when nobody waits for the window any more.
    fn wait(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.1.wait_while(state, |state| *state == State::Later).unwrap_or_else(PoisonError::into_inner);
        *state == State::Now
    }
}

/// The rows of one window, in order.
pub(super) struct Spool {
    scratch: PathBuf,
    turn: Arc<Turn>,
    memory: Vec<(usize, RecordBatch)>,
    bytes: usize,
    file: Option<Arc<File>>,
    /// Report and offset of each batch in the file.
    places: Vec<(usize, u64)>,
    end: u64,
}

impl Spool {
    pub fn new(scratch: PathBuf, turn: Arc<Turn>) -> Self {
        Self { scratch, turn, memory: Vec::new(), bytes: 0, file: None, places: Vec::new(), end: 0 }
    }

    /// Keeps a batch of report number `report`. May wait for the turn.
    pub fn push(&mut self, report: usize, batch: RecordBatch) -> Result<(), Stop> {
        let size = batch.get_array_memory_size();
        if self.file.is_none() && self.bytes + size <= IN_MEMORY {
            self.bytes += size;
            self.memory.push((report, batch));
            return Ok(());
        }
        if !self.turn.wait() {
            return Err(Stop::Gone);
        }
        self.write(report, &batch).map_err(|error| {
            tracing::error!(%error, "rows could not be stored in a temporary file");
            Stop::Own(PullError::NoRoom)
        })
    }

    fn write(&mut self, report: usize, batch: &RecordBatch) -> std::io::Result<()> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.file.insert(Arc::new(tempfile::tempfile_in(&self.scratch)?)).clone(),
        };
        let mut writer = StreamWriter::try_new(&*file, batch.schema_ref()).map_err(std::io::Error::other)?;
        writer.write(batch).and_then(|()| writer.finish()).map_err(std::io::Error::other)?;
        drop(writer);
        self.places.push((report, self.end));
        self.end = (&*file).stream_position()?;
        Ok(())
    }

    /// The batches, in order.
    pub fn batches(self) -> Batches {
        Batches { memory: self.memory.into_iter(), file: self.file, places: self.places.into_iter() }
    }
}

pub(super) struct Batches {
    memory: std::vec::IntoIter<(usize, RecordBatch)>,
    file: Option<Arc<File>>,
    places: std::vec::IntoIter<(usize, u64)>,
}

impl Batches {
    pub async fn next(&mut self) -> Result<Option<(usize, RecordBatch)>, PullError> {
        if let Some(held) = self.memory.next() {
            return Ok(Some(held));
        }
        let (Some(file), Some((report, at))) = (self.file.clone(), self.places.next()) else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || StreamReader::try_new(Part { file, at }, None).ok()?.next()?.ok());
        let batch = read.await.ok().flatten().ok_or(PullError::NoRoom)?;
        Ok(Some((report, batch)))
    }
}

/// What stands in the file from a place on.
struct Part {
    file: Arc<File>,
    at: u64,
}

impl Read for Part {
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
        RecordBatch::try_from_iter([("text", Arc::new(StringArray::from(vec![text.repeat(1 << 20); 2])) as ArrayRef)]).unwrap()
    }

    #[tokio::test]
    async fn what_has_no_room_in_memory_comes_back_from_the_disk_in_order() {
        let scratch = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(scratch.path().to_owned(), Turn::now());
        for (at, text) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            spool.push(at % 2, batch(text)).unwrap();
        }
        assert!(spool.file.is_some() && spool.memory.len() == 1);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the file has no name");
        let mut batches = spool.batches();
        for (at, text) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            assert_eq!(batches.next().await.unwrap(), Some((at % 2, batch(text))));
        }
        assert_eq!(batches.next().await.unwrap(), None);
    }

    #[test]
    fn whoever_is_not_first_waits_before_the_disk() {
        let turn = Turn::later();
        let mut spool = Spool::new(std::env::temp_dir(), turn.clone());
        spool.push(0, batch("a")).unwrap();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| {
                for text in ["b", "c"] {
                    spool.push(0, batch(text)).unwrap();
                }
                spool.push(0, batch("d"))
            });
            turn.come();
            assert!(waiting.join().unwrap().is_ok());
        });
        turn.give_up();
        assert!(matches!(spool.push(0, batch("e")), Err(Stop::Gone)));
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_this_servers_trouble() {
        let mut spool = Spool::new("/does/not/exist".into(), Turn::now());
        spool.push(0, batch("a")).unwrap();
        assert!(matches!(spool.push(0, batch("b")).and_then(|()| spool.push(0, batch("c"))), Err(Stop::Own(PullError::NoRoom))));
    }
}
