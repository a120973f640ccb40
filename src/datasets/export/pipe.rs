//! Streams the output of an encoder to a slow client. One part of the file is encoded at a time on
//! a blocking thread, which is released when enough parts wait for the client. Each download may
//! have a few small waiting parts; large parts, which cost less time per byte, wait in memory that
//! all downloads share. A waiting download keeps its files open for a while, unless another
//! download needs its turn: then it closes them and reopens them later. Any failure ends the stream
//! with an error, so that an incomplete file never looks complete.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::Span;

use crate::clock::Clock;
use crate::error::{Error, Result};

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
/// The maximum number of downloads that have open files and rows in memory at the same time. Each
/// needs a few megabytes.
const MAX_READERS: usize = 12;
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

/// Limits and threads for encoding. Cheap to clone; all downloads of a server share one pool.
#[derive(Clone)]
pub struct EncoderPool(Arc<Inner>);

struct Inner {
    turns: Arc<Semaphore>,
    /// The encoding threads: one per core. The allocator keeps memory for each thread that encodes,
    /// so no other threads are used.
    threads: Option<Runtime>,
    /// Permits for large parts.
    large_parts: Arc<Semaphore>,
    turns_requested: AtomicUsize,
    /// Notified by each download that has to wait for a turn.
    turn_wanted: Notify,
}

impl Default for EncoderPool {
    fn default() -> Self {
        Self::new(
            MAX_READERS,
            std::thread::available_parallelism().map_or(2, usize::from),
        )
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            // Does not wait for parts in progress, because this thread may not be allowed to block.
            threads.shutdown_background();
        }
    }
}

/// Counts a download as waiting for a turn until it is dropped.
struct TurnRequest<'a>(&'a AtomicUsize);

impl Drop for TurnRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl EncoderPool {
    fn new(turns: usize, cores: usize) -> Self {
        let threads = Builder::new_current_thread()
            .max_blocking_threads(cores.max(1))
            .thread_name("encoder")
            .build()
            .ok();
        let (turns, large_parts) = (
            Arc::new(Semaphore::new(turns)),
            Arc::new(Semaphore::new(MAX_WAITING_PARTS_TOTAL)),
        );
        Self(Arc::new(Inner {
            turns,
            threads,
            large_parts,
            turns_requested: AtomicUsize::new(0),
            turn_wanted: Notify::new(),
        }))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(turn) = self.0.turns.clone().try_acquire_owned() {
            return Ok(turn);
        }
        self.0.turns_requested.fetch_add(1, Ordering::SeqCst);
        let _turn_request = TurnRequest(&self.0.turns_requested);
        // A download whose client is slow gives up its turn.
        self.0.turn_wanted.notify_one();
        self.0
            .turns
            .clone()
            .acquire_owned()
            .await
            .map_err(Error::internal)
    }

    /// Runs `work` on an encoding thread when one is free.
    fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.0.threads {
            Some(threads) => threads.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }

    fn is_wanted(&self) -> bool {
        self.0.turns_requested.load(Ordering::SeqCst) > 0
    }

    /// Returns once another download wants a turn.
    async fn wanted(&self) {
        while !self.is_wanted() {
            self.0.turn_wanted.notified().await;
        }
    }
}

/// The parts of one download that wait for its client.
struct PartQueue {
    all_large: Arc<Semaphore>,
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    /// The number of parts that were made, and of those that were dropped.
    made: usize,
    dropped: watch::Sender<usize>,
}

/// A permit for one waiting part.
struct PartPermit {
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    // Dropped last: notifies when the permits are free again.
    _dropped: PartDropped,
}

struct PartDropped(watch::Sender<usize>);

impl Drop for PartDropped {
    fn drop(&mut self) {
        self.0.send_modify(|dropped| *dropped += 1);
    }
}

impl PartQueue {
    fn new(pool: &EncoderPool) -> Self {
        let (large, small) = (
            Arc::new(Semaphore::new(MAX_WAITING_PARTS)),
            Arc::new(Semaphore::new(MAX_SMALL_PARTS)),
        );
        Self {
            all_large: pool.0.large_parts.clone(),
            large,
            small,
            made: 0,
            dropped: watch::Sender::new(0),
        }
    }

    /// A permit and the size for one more part; `None` if enough parts wait.
    fn permit(&mut self) -> Option<(PartPermit, usize)> {
        let permits = |of: &Arc<Semaphore>| of.clone().try_acquire_owned().ok();
        let large = permits(&self.large)
            .and_then(|own| Some((own, Some(permits(&self.all_large)?), PART_BYTES)));
        let (own, shared, bytes) =
            large.or_else(|| Some((permits(&self.small)?, None, SMALL_PART_BYTES)))?;
        self.made += 1;
        Some((
            PartPermit {
                _permits: (own, shared),
                _dropped: PartDropped(self.dropped.clone()),
            },
            bytes,
        ))
    }

    /// The number of waiting parts.
    fn parts(&self) -> usize {
        self.made - *self.dropped.borrow()
    }

    /// Waits until at most `parts` parts wait. Fails if the client reads nothing for too long.
    async fn for_room(&self, clock: &Clock, parts: usize) -> Result<()> {
        let mut dropped = self.dropped.subscribe();
        loop {
            let before = *dropped.borrow();
            tokio::select! {
                biased;
                _ = dropped.wait_for(|dropped| self.made - dropped <= parts) => return Ok(()),
                () = clock.wait(CLIENT_TIMEOUT) => {
                    if *self.dropped.borrow() == before {
                        return Err(Error::from(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")));
                    }
                }
            }
        }
    }
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
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    /// Writes a number of parts, and counts how often it was released.
    struct TestEncoder {
        left: u8,
        released: Arc<AtomicUsize>,
        fails: bool,
    }

    impl Encode for TestEncoder {
        fn encode(&mut self, part: &mut Vec<u8>, at_least: usize) -> Result<bool> {
            if self.left == 0 && self.fails {
                return Err(Error::internal("it broke"));
            }
            part.resize(at_least, self.left);
            self.left = self.left.saturating_sub(1);
            Ok(self.left == 0 && !self.fails)
        }

        fn release(&mut self) {
            self.released.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn parts(left: u8) -> (TestEncoder, Arc<AtomicUsize>) {
        let released = Arc::new(AtomicUsize::new(0));
        (
            TestEncoder {
                left,
                released: released.clone(),
                fails: false,
            },
            released,
        )
    }

    /// Returns for each item whether it was a part. The parts are dropped, as after sending.
    async fn read(stream: impl Stream<Item = io::Result<Bytes>>) -> Vec<bool> {
        stream.map(|piece| piece.is_ok()).collect().await
    }

    #[tokio::test]
    async fn a_download_whose_client_waits_gives_its_turn_to_others_and_goes_on_later() {
        let (clock, pool) = (Clock::stopped_at(0), EncoderPool::new(1, 1));
        let (slow, released) = parts(100);
        let mut slow = Box::pin(pipe(&clock, &pool, slow, |_| {}));
        assert!(slow.next().await.unwrap().is_ok());
        for _ in 0..3 {
            // Downloads whose clients read also take turns one after the other.
            let others: Vec<_> = (0..5)
                .map(|_| read(pipe(&clock, &pool, parts(50).0, |_| {})).boxed())
                .collect();
            for other in futures_util::future::join_all(others).await {
                assert_eq!(other, [true; 50]);
            }
            for _ in 0..10 {
                assert!(slow.next().await.unwrap().is_ok());
            }
        }
        assert!(released.load(Ordering::SeqCst) >= 3);
        assert_eq!(read(slow).await, [true; 69]);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up_and_one_that_takes_a_part_now_and_then_is_not()
    {
        let (clock, pool) = (Clock::stopped_at(0), EncoderPool::new(1, 1));
        let (encoder, released) = parts(20);
        let mut stream = Box::pin(pipe(&clock, &pool, encoder, |_| {}));
        for _ in 0..8 {
            assert!(stream.next().await.unwrap().is_ok());
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            clock.advance(100_000);
        }
        // The encoder is dropped after the timeout, while the client reads nothing.
        while Arc::strong_count(&released) > 1 {
            clock.advance(10_000);
            tokio::task::yield_now().await;
        }
        let rest = read(stream).await;
        assert!(
            !rest.last().unwrap() && rest.len() <= MAX_WAITING_PARTS + MAX_SMALL_PARTS + 1,
            "{}",
            rest.len()
        );
    }

    #[tokio::test]
    async fn what_waits_for_many_clients_that_take_nothing_is_limited_and_others_go_on() {
        let (clock, pool) = (Clock::stopped_at(0), EncoderPool::new(2, 2));
        let downloads = 100;
        let mut waiting: Vec<_> = (0..downloads)
            .map(|_| Box::pin(pipe(&clock, &pool, parts(50).0, |_| {})))
            .collect();
        for stream in &mut waiting {
            assert!(stream.next().await.unwrap().is_ok());
        }
        // Waits until at most one permit for a large part is free: that of a first part that its
        // client has taken.
        while pool.0.large_parts.available_permits() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            read(pipe(&clock, &pool, parts(50).0, |_| {})).await,
            [true; 50]
        );
        // Reads the waiting parts until no stream has any.
        let mut bytes = 0;
        for stream in &mut waiting {
            while let Some(Some(piece)) = tokio::task::unconstrained(stream.next()).now_or_never() {
                bytes += piece.unwrap().len();
            }
        }
        assert!(
            bytes >= (MAX_WAITING_PARTS_TOTAL - 1) * PART_BYTES,
            "{bytes}"
        );
        assert!(
            bytes
                <= MAX_WAITING_PARTS_TOTAL * PART_BYTES
                    + downloads * MAX_SMALL_PARTS * SMALL_PART_BYTES,
            "{bytes}"
        );
        for stream in waiting {
            assert!(read(stream).await.into_iter().all(|good| good));
        }
        assert_eq!(
            pool.0.large_parts.available_permits(),
            MAX_WAITING_PARTS_TOTAL
        );
    }

    #[tokio::test]
    async fn an_encoder_that_fails_breaks_the_stream_and_tells_why() {
        let (clock, pool, told) = (
            Clock::stopped_at(0),
            EncoderPool::new(1, 1),
            Arc::new(AtomicUsize::new(0)),
        );
        let mut encoder = parts(3).0;
        encoder.fails = true;
        let heard = told.clone();
        let stream = pipe(&clock, &pool, encoder, move |_| {
            heard.store(1, Ordering::SeqCst)
        });
        assert_eq!(
            (read(stream).await, told.load(Ordering::SeqCst)),
            (vec![true, true, true, false], 1)
        );
    }
}
