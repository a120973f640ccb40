//! Streams the output of an encoder to a slow client. One part of the file is encoded at a time on
//! a blocking thread, which is released when enough parts wait for the client. Each download may
//! have a few small waiting parts; large parts, which cost less time per byte, wait in memory that
//! all downloads share. A waiting download keeps its files open for a while, unless another
//! download needs its turn: then it closes them and reopens them later. Any failure ends the stream
//! with an error, so that an incomplete file never looks complete.

mod encoder_pool;
mod part_queue;

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tracing::Span;

use crate::clock::Clock;
use crate::error::{Error, Result};
pub use encoder_pool::EncoderPool;
use part_queue::{PartPermit, PartQueue};

/// The target size of a part, if enough memory is free.
pub const PART_BYTES: usize = 256 << 10;
/// The maximum number of large parts that wait for one client.
const MAX_WAITING_PARTS: usize = 4;
/// The maximum number of large parts that wait for all clients together: 16 MiB.
const MAX_WAITING_PARTS_TOTAL: usize = 64;
/// The size and the number of small parts that each download may have waiting, even if no memory
/// for large parts is free.
const SMALL_PART_BYTES: usize = 64 << 10;
const MAX_SMALL_PARTS: usize = 2;
/// A client that reads nothing for this time is disconnected. The connection's own limit for slow
/// clients applies first; this limit is for bodies that no connection reads.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);
/// A download whose client reads as fast as the server encodes yields its turn after this time.
const MAX_TURN: Duration = Duration::from_millis(500);

/// Encodes a file part by part.
pub trait Encode: Send + 'static {
    /// Appends at least `at_least` bytes to `part`, or the rest of the file. Returns true at the
    /// end of the file. Blocks.
    fn encode(&mut self, part: &mut Vec<u8>, at_least: usize) -> Result<bool>;

    /// Releases everything that can be read again. Called while the client reads nothing.
    fn release(&mut self);
}

/// A part of a file, in memory until it was sent to the client.
struct FilePart {
    bytes: Vec<u8>,
    _permit: PartPermit,
}

impl AsRef<[u8]> for FilePart {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

enum StreamItem {
    Part(Bytes),
    /// Everything was sent. A stream that ends without this item is incomplete.
    End,
}

type PartSender = mpsc::Sender<io::Result<StreamItem>>;

/// Streams the output of `encoder`. `on_error` is called if the encoder fails while the client
/// still reads. The encoder, and with it the pinned version, is dropped at most `CLIENT_TIMEOUT`
/// after the client took its last part. A part counts as waiting until its bytes are dropped. Must
/// be called within a runtime.
pub fn pipe<E, B>(
    clock: &Clock,
    pool: &EncoderPool,
    encoder: E,
    on_error: B,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<E, B>
where
    E: Encode,
    B: FnOnce(&Error) + Send + 'static,
{
    // Capacity for all parts that may wait, and for the end.
    let (to, from) = mpsc::channel(MAX_WAITING_PARTS + MAX_SMALL_PARTS + 1);
    let (clock, pool, span) = (clock.clone(), pool.clone(), Span::current());
    tokio::spawn(async move {
        let sent = send_all(&clock, &pool, Box::new(encoder), &to, &span);
        let last = tokio::select! {
            biased;
            // The client has disconnected, so no error is sent.
            () = to.closed() => return,
            sent = sent => sent,
        };
        let last = last.map(|()| StreamItem::End).map_err(|why| {
            span.in_scope(|| on_error(&why));
            io::Error::other(why)
        });
        tokio::select! {
            _ = to.send(last) => {}
            () = clock.wait(CLIENT_TIMEOUT) => {}
        }
    });
    futures_util::stream::unfold(Some(from), |from| async move {
        let mut from = from?;
        match from.recv().await {
            Some(Ok(StreamItem::Part(part))) => Some((Ok(part), Some(from))),
            Some(Ok(StreamItem::End)) => None,
            Some(Err(why)) => Some((Err(why), None)),
            None => Some((Err(io::Error::other("the download broke off")), None)),
        }
    })
}

/// Why encoding paused.
enum PauseReason {
    Done,
    /// The maximum number of parts wait.
    Full,
    /// Other downloads want a turn, and this one has used its time.
    Turn,
}

async fn send_all(
    clock: &Clock,
    pool: &EncoderPool,
    mut encoder: Box<dyn Encode>,
    to: &PartSender,
    span: &Span,
) -> Result<()> {
    let mut waiting = PartQueue::new(pool);
    loop {
        let turn = pool.turn().await?;
        let until = Instant::now() + MAX_TURN;
        loop {
            let (sender, pool_too, in_request) = (to.clone(), pool.clone(), span.clone());
            let encoded = pool.spawn_blocking(move || {
                let _in_request = in_request.enter();
                let paused = encode_some(encoder.as_mut(), &sender, &mut waiting, || {
                    pool_too.is_wanted() && Instant::now() >= until
                });
                (encoder, waiting, paused)
            });
            let paused;
            // The panic message is not shown, because it may contain rows.
            (encoder, waiting, paused) = encoded
                .await
                .map_err(|_| Error::internal("the encoder of a download panicked"))?;
            match paused? {
                PauseReason::Done => return Ok(()),
                PauseReason::Turn => break,
                PauseReason::Full => {}
            }
            tokio::select! {
                biased;
                room = waiting.for_room(clock, waiting.parts() / 2) => room?,
                () = pool.wanted() => break,
            }
        }
        encoder.release();
        drop(turn);
        // Reopening files is more expensive than continuing, so the download waits until all its
        // parts are sent.
        waiting.for_room(clock, 0).await?;
    }
}

/// Encodes and sends parts while there is room for them.
fn encode_some(
    encoder: &mut dyn Encode,
    to: &PartSender,
    waiting: &mut PartQueue,
    is_over: impl Fn() -> bool,
) -> Result<PauseReason> {
    loop {
        if is_over() {
            return Ok(PauseReason::Turn);
        }
        let Some((permit, at_least)) = waiting.permit() else {
            return Ok(PauseReason::Full);
        };
        let mut bytes = Vec::with_capacity(at_least + at_least / 2);
        let is_last = encoder.encode(&mut bytes, at_least)?;
        if !bytes.is_empty() {
            bytes.shrink_to_fit();
            let part = FilePart {
                bytes,
                _permit: permit,
            };
            to.try_send(Ok(StreamItem::Part(Bytes::from_owner(part))))
                .map_err(|_| client_gone())?;
        }
        if is_last {
            return Ok(PauseReason::Done);
        }
    }
}

fn client_gone() -> Error {
    Error::from(io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the client went away",
    ))
}

#[cfg(test)]
mod tests;
