//! An export document on its way: pieces come from the network, and a thread of its own reads chats out of them.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::{PATH, meant_by_text};
use super::xml::Fault;
use crate::connectors::PullError;
use crate::connectors::pull_error::Place;
use crate::connectors::upstream::{Reader, Unread};

/// Pieces that are on their way to the thread.
const AHEAD: usize = 4;
/// The first bytes, for what a document that is none says.
const HEAD: usize = 2_048;

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
type Running<T> = (mpsc::Sender<Bytes>, JoinHandle<Result<T, Stop>>);

/// One answer on its way.
pub(super) struct Document<T> {
    work: Option<Work<T>>,
    running: Option<Running<T>>,
    head: Vec<u8>,
}

impl<T: Send + 'static> Document<T> {
    pub fn new(work: impl FnOnce(Pieces, Option<String>) -> Result<T, Stop> + Send + 'static) -> Self {
        Self { work: Some(Box::new(work)), running: None, head: Vec::new() }
    }
}

impl<T: Send + 'static> Reader for Document<T> {
    type Out = T;
    const ENDLESS: bool = true;

    fn begins(&mut self, headers: &HeaderMap, _: Option<u64>) {
        let label = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(charset);
        if let Some(work) = self.work.take() {
            let (send, come) = mpsc::channel(AHEAD);
            let pieces = Pieces { come, piece: Bytes::new() };
            self.running = Some((send, tokio::task::spawn_blocking(move || work(pieces, label))));
        }
    }

    async fn piece(&mut self, piece: Bytes) -> bool {
        let room = HEAD - self.head.len().min(HEAD);
        self.head.extend_from_slice(&piece[..piece.len().min(room)]);
        match &self.running {
            Some((send, _)) => send.send(piece).await.is_ok(),
            None => false,
        }
    }

    async fn end(self) -> Result<T, Unread> {
        let Some((send, work)) = self.running else { return Err(Unread::Stop(PullError::Cancelled)) };
        drop(send);
        let why = match work.await {
            Ok(Ok(read)) => return Ok(read),
            Ok(Err(Stop::Own(error))) => return Err(Unread::Stop(error)),
            Ok(Err(Stop::Fault(Fault::Enough) | Stop::Gone)) => return Err(Unread::Stop(PullError::Cancelled)),
            Ok(Err(Stop::Fault(fault))) => fault,
            Err(_) => return Err(Unread::Stop(malformed("it could not be read".to_owned()))),
        };
        if matches!(why, Fault::NotXml | Fault::OtherRoot(_))
            && let Some(meant) = meant_by_text(&self.head)
        {
            return Err(Unread::Stop(meant));
        }
        Err(if why.is_final() { Unread::Stop(malformed(why.to_string())) } else { Unread::Again(why.to_string()) })
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

    #[test]
    fn the_encoding_of_the_head() {
        assert_eq!(charset("text/xml; charset=utf-8").as_deref(), Some("utf-8"));
        assert_eq!(charset("text/xml;a=b; Charset=\"iso-8859-1\"").as_deref(), Some("iso-8859-1"));
        assert_eq!(charset("text/xml"), None);
    }
}
