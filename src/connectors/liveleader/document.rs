//! Parses an export document while it is received: the network sends chunks to a blocking thread
//! that reads the chats.

use std::io::{self, Read};
use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::client::{PATH, missing_access_in};
use super::xml::DocumentError;
use crate::connectors::PullError;
use crate::connectors::pull_error::ResponseLocation;
use crate::connectors::upstream::{BodyReader, ReadError};

/// The maximum number of chunks in the queue to the thread.
const QUEUED_CHUNKS: usize = 4;
/// The first bytes are stored to classify an answer that is no document.
const HEAD: usize = 2_048;

/// The thread starts after this number of bytes, or at the end, so that a host that sends almost
/// nothing uses no thread.
const MIN_BYTES_TO_START: usize = 64 << 10;

/// Limits how many pulls parse at the same time: while at least one document of this pull is
/// parsed, the pull holds one permit of the semaphore that all pulls share.
pub(super) struct ParserSlots {
    all: Arc<Semaphore>,
    place: Mutex<Weak<OwnedSemaphorePermit>>,
}

impl ParserSlots {
    pub fn new(all: Arc<Semaphore>) -> Self {
        Self {
            all,
            place: Mutex::default(),
        }
    }

    /// Waits for the pull's permit; `None` if the semaphore is closed.
    async fn acquire(&self) -> Option<Arc<OwnedSemaphorePermit>> {
        let mut place = self.place.lock().await;
        if let Some(permit) = place.upgrade() {
            return Some(permit);
        }
        let permit = Arc::new(self.all.clone().acquire_owned().await.ok()?);
        *place = Arc::downgrade(&permit);
        Some(permit)
    }
}

/// Why the thread stopped.
#[derive(Debug)]
pub(super) enum ParseStop {
    DocumentError(DocumentError),
    /// The receiver of the result was dropped.
    Abandoned,
    /// An error of this server.
    Internal(PullError),
}

impl From<DocumentError> for ParseStop {
    fn from(error: DocumentError) -> Self {
        ParseStop::DocumentError(error)
    }
}

/// Reads a document in a thread that may block.
type Work<T> = Box<dyn FnOnce(ChunkStream, Option<String>) -> Result<T, ParseStop> + Send>;

/// The channel to the thread and the thread's handle.
struct ParserThread<T> {
    send: mpsc::Sender<Bytes>,
    work: JoinHandle<Result<T, ParseStop>>,
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// An answer that is being received.
pub(super) struct DocumentReader<T> {
    parser_slots: Arc<ParserSlots>,
    work: Option<Work<T>>,
    running: Option<ParserThread<T>>,
    head: Vec<u8>,
    /// The encoding in the Content-Type header.
    label: Option<String>,
    /// The bytes that were received before the thread started.
    buffered: BytesMut,
}

impl<T: Send + 'static> DocumentReader<T> {
    pub fn new(
        parser_slots: Arc<ParserSlots>,
        work: impl FnOnce(ChunkStream, Option<String>) -> Result<T, ParseStop> + Send + 'static,
    ) -> Self {
        Self {
            parser_slots,
            work: Some(Box::new(work)),
            running: None,
            head: Vec::new(),
            label: None,
            buffered: BytesMut::new(),
        }
    }

    /// Starts the thread and sends it the buffered bytes; false if it needs no more.
    async fn start(&mut self) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        let _permit = self.parser_slots.acquire().await;
        let (send, receiver) = mpsc::channel(QUEUED_CHUNKS);
        let (pieces, label) = (
            ChunkStream {
                receiver,
                piece: Bytes::new(),
            },
            self.label.take(),
        );
        let running = self.running.insert(ParserThread {
            send,
            work: tokio::task::spawn_blocking(move || work(pieces, label)),
            _permit,
        });
        let buffered = self.buffered.split().freeze();
        buffered.is_empty() || running.send.send(buffered).await.is_ok()
    }
}

impl<T: Send + 'static> BodyReader for DocumentReader<T> {
    type Out = T;
    const STREAMED: bool = true;

    fn on_head(&mut self, headers: &HeaderMap, _: Option<u64>) {
        self.label = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(charset);
    }

    async fn piece(&mut self, piece: Bytes) -> bool {
        let room = HEAD - self.head.len().min(HEAD);
        self.head.extend_from_slice(&piece[..piece.len().min(room)]);
        if let Some(running) = &self.running {
            return running.send.send(piece).await.is_ok();
        }
        self.buffered.extend_from_slice(&piece);
        self.buffered.len() < MIN_BYTES_TO_START || self.start().await
    }

    async fn end(mut self) -> Result<T, ReadError> {
        if self.running.is_none() {
            self.start().await;
        }
        let Some(ParserThread {
            send,
            work,
            _permit,
        }) = self.running
        else {
            return Err(ReadError::Fatal(PullError::Cancelled));
        };
        drop(send);
        let why = match work.await {
            Ok(Ok(read)) => return Ok(read),
            Ok(Err(ParseStop::Internal(error))) => return Err(ReadError::Fatal(error)),
            Ok(Err(ParseStop::DocumentError(DocumentError::Stopped) | ParseStop::Abandoned)) => {
                return Err(ReadError::Fatal(PullError::Cancelled));
            }
            Ok(Err(ParseStop::DocumentError(error))) => error,
            Err(_) => {
                return Err(ReadError::Fatal(malformed(
                    "the document could not be read".to_owned(),
                )));
            }
        };
        if why == DocumentError::WebPage {
            return Err(ReadError::WebPage);
        }
        if matches!(why, DocumentError::NotXml | DocumentError::OtherRoot(_))
            && let Some(missing) = missing_access_in(&self.head)
        {
            return Err(ReadError::Fatal(PullError::NotAllowed(missing)));
        }
        Err(if why.is_final() {
            ReadError::Fatal(malformed(why.to_string()))
        } else {
            ReadError::Retry(why.to_string())
        })
    }

    /// An answer without content means that the period has no chats. Status 404 means that the
    /// export does not exist.
    async fn on_empty(mut self, status: u16) -> Option<T> {
        let is_taken = status == 204 && self.piece(Bytes::from_static(b"<chats/>")).await;
        if is_taken {
            self.end().await.ok()
        } else {
            None
        }
    }
}

pub(super) fn malformed(why: String) -> PullError {
    PullError::Malformed {
        at: ResponseLocation {
            path: PATH.to_owned(),
            page: 0,
        },
        why,
    }
}

/// `text/xml; charset="iso-8859-1"`
fn charset(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The chunks of a body as a blocking reader. Ends when the sender is dropped.
pub(super) struct ChunkStream {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for ChunkStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
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

    fn document(parser_slots: &Arc<ParserSlots>) -> DocumentReader<usize> {
        DocumentReader::new(parser_slots.clone(), |mut pieces: ChunkStream, _| {
            let mut all = Vec::new();
            pieces
                .read_to_end(&mut all)
                .map_err(|_| ParseStop::Abandoned)
        })
    }

    #[tokio::test]
    async fn a_tiny_document_starts_no_thread_before_its_end() {
        let parser_slots = Arc::new(ParserSlots::new(Arc::new(Semaphore::new(1))));
        let mut small = document(&parser_slots);
        for _ in 0..1_000 {
            assert!(small.piece(Bytes::from_static(b" ")).await);
        }
        assert!(small.running.is_none());
        assert_eq!(small.end().await.ok(), Some(1_000));
        let mut large = document(&parser_slots);
        assert!(
            large
                .piece(Bytes::from(vec![b' '; MIN_BYTES_TO_START]))
                .await
                && large.running.is_some()
        );
        assert!(large.piece(Bytes::from_static(b"end")).await);
        assert_eq!(large.end().await.ok(), Some(MIN_BYTES_TO_START + 3));
    }

    #[tokio::test]
    async fn documents_of_one_pull_share_a_parser_slot() {
        let all = Arc::new(Semaphore::new(1));
        let (one, other) = (
            Arc::new(ParserSlots::new(all.clone())),
            Arc::new(ParserSlots::new(all.clone())),
        );
        let (first, second) = (one.acquire().await.unwrap(), one.acquire().await.unwrap());
        let mut waiting = Box::pin(other.acquire());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(second);
        assert!(waiting.await.is_some());
    }

    #[test]
    fn the_encoding_of_the_head() {
        assert_eq!(charset("text/xml; charset=utf-8").as_deref(), Some("utf-8"));
        assert_eq!(
            charset("text/xml;a=b; Charset=\"iso-8859-1\"").as_deref(),
            Some("iso-8859-1")
        );
        assert_eq!(charset("text/xml"), None);
    }
}
