//! From a blocking thread that reads and writes rows to a client that takes its time: a short channel of chunks. Anything that goes
//! wrong ends the stream with an error, so that a broken file never looks whole.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::error::{Error, Result};

/// A chunk is sent when it has grown beyond this.
const CHUNK: usize = 256 << 10;
/// So many chunks may wait for a slow client.
const WAITING: usize = 4;
/// A client that takes no chunk for so long is given up.
pub const STALLED: Duration = Duration::from_secs(60);

enum Piece {
    Chunk(Bytes),
    /// Everything was sent. A stream that ends without it is broken.
    End,
}

/// Streams what `write` writes. `broke` is told why when it fails and somebody still listens. What `write` holds (a pinned version, a
/// place among the downloads) is let go when it returns: at the latest `stalled` after the client took its last chunk. Must be called
/// within a runtime.
pub fn pipe<W, B>(stalled: Duration, write: W, broke: B) -> impl Stream<Item = io::Result<Bytes>> + Send + use<W, B>
where
    W: FnOnce(&mut Chunks) -> Result<()> + Send + 'static,
    B: FnOnce(&Error) + Send + 'static,
{
    let (to, from) = mpsc::channel(WAITING);
    let (handle, span) = (Handle::current(), tracing::Span::current());
    tokio::task::spawn_blocking(move || {
        let _in_request = span.enter();
        let mut out = Chunks { to, handle, stalled, buffer: Vec::with_capacity(CHUNK + CHUNK / 4) };
        let ended = match write(&mut out) {
            Ok(()) => out.send_rest().and_then(|()| out.send(Ok(Piece::End))),
            Err(why) => {
                if !out.to.is_closed() {
                    broke(&why);
                }
                out.send(Err(io::Error::other(why)))
            }
        };
        // Nobody listens any more: there is nobody to tell.
        drop(ended);
    });
    futures_util::stream::unfold(Some(from), |from| async move {
        let mut from = from?;
        match from.recv().await {
            Some(Ok(Piece::Chunk(chunk))) => Some((Ok(chunk), Some(from))),
            Some(Ok(Piece::End)) => None,
            Some(Err(why)) => Some((Err(why), None)),
            None => Some((Err(io::Error::other("the download broke off")), None)),
        }
    })
}

/// Collects what is written into chunks, and waits a bounded time for a slow client.
pub struct Chunks {
    to: mpsc::Sender<io::Result<Piece>>,
    handle: Handle,
    stalled: Duration,
    buffer: Vec<u8>,
}

impl Chunks {
    fn send(&self, piece: io::Result<Piece>) -> io::Result<()> {
        match self.handle.block_on(async { tokio::time::timeout(self.stalled, self.to.send(piece)).await }) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client went away")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")),
        }
    }

    fn send_rest(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK + CHUNK / 4));
        self.send(Ok(Piece::Chunk(chunk.into())))
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send_rest()?;
        }
        Ok(bytes.len())
    }

    /// Writers flush after each batch; chunks go when they are full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
