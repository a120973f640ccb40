//! An export document on its way: pieces come from the network, and a thread of its own reads chats out of them.

use std::io::{self, Read};
use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::client::{PATH, lack_in};
use super::xml::Fault;
use crate::connectors::PullError;
use crate::connectors::pull_error::Place;
use crate::connectors::upstream::{Reader, Unread};

/// Pieces that are on their way to the thread.
const AHEAD: usize = 4;
/// The first bytes, for what a document that is none says.
const HEAD: usize = 2_048;

/// A thread begins to parse once so much is there, or the end: a host that sends next to nothing takes none.
const START_AT: usize = 64 << 10;

/// Lets the documents of one pull be parsed: it takes one place among all pulls for them, while one of them is parsed.
pub(super) struct Parsers {
    all: Arc<Semaphore>,
    place: Mutex<Weak<OwnedSemaphorePermit>>,
}

impl Parsers {
    pub fn new(all: Arc<Semaphore>) -> Self {
        Self { all, place: Mutex::default() }
    }

    /// Waits for the pull's place; none if there are no places any more.
    async fn place(&self) -> Option<Arc<OwnedSemaphorePermit>> {
        let mut place = self.place.lock().await;
        if let Some(held) = place.upgrade() {
            return Some(held);
        }
        let held = Arc::new(self.all.clone().acquire_owned().await.ok()?);
        *place = Arc::downgrade(&held);
        Some(held)
    }
}

/// Why the thread stopped.
#[derive(Debug)]
pub(super) enum Stop {
    Fault(Fault),
    /// Nobody waits for it any more.
    Gone,
    /// This server's own trouble.
    Own(PullError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

/// Reads a document in a thread where it may block.
type Work<T> = Box<dyn FnOnce(Pieces, Option<String>) -> Result<T, Stop> + Send>;

/// Where the pieces go, and who reads them.
struct Running<T> {
    send: mpsc::Sender<Bytes>,
    work: JoinHandle<Result<T, Stop>>,
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// One answer on its way.
pub(super) struct Document<T> {
    parsers: Arc<Parsers>,
    work: Option<Work<T>>,
    running: Option<Running<T>>,
    head: Vec<u8>,
    /// The encoding that the head of the answer names.
    label: Option<String>,
    /// What came before the thread.
    early: BytesMut,
}

impl<T: Send + 'static> Document<T> {
    pub fn new(parsers: Arc<Parsers>, work: impl FnOnce(Pieces, Option<String>) -> Result<T, Stop> + Send + 'static) -> Self {
        Self { parsers, work: Some(Box::new(work)), running: None, head: Vec::new(), label: None, early: BytesMut::new() }
    }

    /// Starts the thread and hands it what came before; false when it wants no more.
    async fn start(&mut self) -> bool {
        let Some(work) = self.work.take() else { return false };
        let _place = self.parsers.place().await;
        let (send, come) = mpsc::channel(AHEAD);
        let (pieces, label) = (Pieces { come, piece: Bytes::new() }, self.label.take());
        let running = self.running.insert(Running { send, work: tokio::task::spawn_blocking(move || work(pieces, label)), _place });
        let early = self.early.split().freeze();
        early.is_empty() || running.send.send(early).await.is_ok()
    }
}

impl<T: Send + 'static> Reader for Document<T> {
    type Out = T;
    const ENDLESS: bool = true;

    fn begins(&mut self, headers: &HeaderMap, _: Option<u64>) {
        self.label = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(charset);
    }

    async fn piece(&mut self, piece: Bytes) -> bool {
        let room = HEAD - self.head.len().min(HEAD);
        self.head.extend_from_slice(&piece[..piece.len().min(room)]);
        if let Some(running) = &self.running {
            return running.send.send(piece).await.is_ok();
        }
        self.early.extend_from_slice(&piece);
        self.early.len() < START_AT || self.start().await
    }

    async fn end(mut self) -> Result<T, Unread> {
        if self.running.is_none() {
            self.start().await;
        }
        let Some(Running { send, work, _place }) = self.running else { return Err(Unread::Stop(PullError::Cancelled)) };
        drop(send);
        let why = match work.await {
            Ok(Ok(read)) => return Ok(read),
            Ok(Err(Stop::Own(error))) => return Err(Unread::Stop(error)),
            Ok(Err(Stop::Fault(Fault::Enough) | Stop::Gone)) => return Err(Unread::Stop(PullError::Cancelled)),
            Ok(Err(Stop::Fault(fault))) => fault,
            Err(_) => return Err(Unread::Stop(malformed("the document could not be read".to_owned()))),
        };
        if why == Fault::WebPage {
            return Err(Unread::Page);
        }
        if matches!(why, Fault::NotXml | Fault::OtherRoot(_))
            && let Some(lack) = lack_in(&self.head)
        {
            return Err(Unread::Stop(PullError::NotAllowed(lack)));
        }
        Err(if why.is_final() { Unread::Stop(malformed(why.to_string())) } else { Unread::Again(why.to_string()) })
    }

    /// That a period has no content means that it has no chats. That the export is not there means something else.
    async fn nothing(mut self, status: u16) -> Option<T> {
        let is_taken = status == 204 && self.piece(Bytes::from_static(b"<chats/>")).await;
        if is_taken { self.end().await.ok() } else { None }
    }
}

pub(super) fn malformed(why: String) -> PullError {
    PullError::Malformed { at: Place { path: PATH.to_owned(), page: 0 }, why }
}

/// `text/xml; charset="iso-8859-1"`
fn charset(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The pieces of a body as one stream, which waits for the next one. It ends when no more come.
pub(super) struct Pieces {
    come: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.come.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(parsers: &Arc<Parsers>) -> Document<usize> {
        Document::new(parsers.clone(), |mut pieces: Pieces, _| {
            let mut all = Vec::new();
            pieces.read_to_end(&mut all).map_err(|_| Stop::Gone)
        })
    }

    #[tokio::test]
    async fn what_brings_next_to_nothing_takes_no_thread_before_its_end() {
        let parsers = Arc::new(Parsers::new(Arc::new(Semaphore::new(1))));
        let mut small = document(&parsers);
        for _ in 0..1_000 {
            assert!(small.piece(Bytes::from_static(b" ")).await);
        }
        assert!(small.running.is_none());
        assert_eq!(small.end().await.ok(), Some(1_000));
        let mut large = document(&parsers);
        assert!(large.piece(Bytes::from(vec![b' '; START_AT])).await && large.running.is_some());
        assert!(large.piece(Bytes::from_static(b"end")).await);
        assert_eq!(large.end().await.ok(), Some(START_AT + 3));
    }

    #[tokio::test]
    async fn documents_of_one_pull_share_a_place_and_other_pulls_wait_for_one() {
        let all = Arc::new(Semaphore::new(1));
        let (one, other) = (Arc::new(Parsers::new(all.clone())), Arc::new(Parsers::new(all.clone())));
        let (first, second) = (one.place().await.unwrap(), one.place().await.unwrap());
        let mut waits = Box::pin(other.place());
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(first);
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(second);
        assert!(waits.await.is_some());
    }

    #[test]
    fn the_encoding_of_the_head() {
        assert_eq!(charset("text/xml; charset=utf-8").as_deref(), Some("utf-8"));
        assert_eq!(charset("text/xml;a=b; Charset=\"iso-8859-1\"").as_deref(), Some("iso-8859-1"));
        assert_eq!(charset("text/xml"), None);
    }
}
