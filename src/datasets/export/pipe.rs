//! From an encoder to a client that takes its time. A part of the file is encoded at a time, on a blocking thread that is given back as
//! soon as enough parts wait for the client. Each download may have a few small parts waiting; large ones, which cost less time for each
//! byte, wait in memory that all downloads share. A download that waits keeps what it reads with open for a while, unless another one
//! needs its turn: then it lets go of it, and finds its place again later. Anything that goes wrong ends the stream with an error, so
//! that a broken file never looks whole.

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

/// A part is sent when it has grown beyond this many bytes, where memory is not short.
pub const PART_BYTES: usize = 256 << 10;
/// So many large parts may wait for one client.
const WAITING_PARTS: usize = 4;
/// So many large parts may wait for all clients together: 16 MiB.
const ALL_WAITING_PARTS: usize = 64;
/// The size of the parts that each download may have waiting however short memory is, and how many of them.
const SMALL_PART_BYTES: usize = 64 << 10;
const SMALL_PARTS: usize = 2;
/// A client that takes no part for so long is given up. The connection's own limit on slow clients comes first; this is for bodies that
/// no connection reads.
const STALLED: Duration = Duration::from_secs(120);
/// So many downloads have files open and hold rows at once. Each holds a few megabytes.
const READERS: usize = 12;
/// A client that reads as fast as the server encodes lets others go first after this time.
const TURN: Duration = Duration::from_millis(500);

/// Makes a file part by part.
pub trait Encode: Send + 'static {
    /// Appends at least so many bytes to `part`, or what is left. True when that was all. Blocks.
    fn encode(&mut self, part: &mut Vec<u8>, at_least: usize) -> Result<bool>;

    /// Lets go of everything that can be read again. Called while the client takes nothing.
    fn release(&mut self);
}

/// Who may read now. Cheap to clone; all downloads of a server share one.
#[derive(Clone)]
pub struct Readers(Arc<Inner>);

struct Inner {
    turns: Arc<Semaphore>,
    /// Where parts are encoded: one thread for each core, and no others, because the allocator keeps memory for each thread that encodes.
    threads: Option<Runtime>,
    /// Large parts that may still wait.
    large_parts: Arc<Semaphore>,
    wanting: AtomicUsize,
    /// Told by everybody who does not get a turn at once.
    wanted: Notify,
}

impl Default for Readers {
    fn default() -> Self {
        Self::new(READERS, std::thread::available_parallelism().map_or(2, usize::from))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            // Without waiting for what is encoded: this may be a thread that must not wait.
            threads.shutdown_background();
        }
    }
}

/// Counts a download that wants a turn, for as long as it does.
struct Wanting<'a>(&'a AtomicUsize);

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Readers {
    fn new(turns: usize, cores: usize) -> Self {
        let threads = Builder::new_current_thread().max_blocking_threads(cores.max(1)).thread_name("encoder").build().ok();
        let (turns, large_parts) = (Arc::new(Semaphore::new(turns)), Arc::new(Semaphore::new(ALL_WAITING_PARTS)));
        Self(Arc::new(Inner { turns, threads, large_parts, wanting: AtomicUsize::new(0), wanted: Notify::new() }))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(turn) = self.0.turns.clone().try_acquire_owned() {
            return Ok(turn);
        }
        self.0.wanting.fetch_add(1, Ordering::SeqCst);
        let _wanting = Wanting(&self.0.wanting);
        // Somebody whose client is slow gives a turn up.
        self.0.wanted.notify_one();
        self.0.turns.clone().acquire_owned().await.map_err(Error::internal)
    }

    /// Runs `work` on a thread that encodes, as soon as one is free.
    fn spawn_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match &self.0.threads {
            Some(threads) => threads.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }

    fn is_wanted(&self) -> bool {
        self.0.wanting.load(Ordering::SeqCst) > 0
    }

    /// Returns once another download wants a turn.
    async fn wanted(&self) {
        while !self.is_wanted() {
            self.0.wanted.notified().await;
        }
    }
}

/// The parts of one download that wait for its client.
struct Waiting {
    all_large: Arc<Semaphore>,
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    /// How many parts were made, and how many of them are out of memory again.
    made: usize,
    gone: watch::Sender<usize>,
}

/// The place of a part among those that wait.
struct Place {
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    // Told last, when the permits are free again.
    _gone: Gone,
}

struct Gone(watch::Sender<usize>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.send_modify(|gone| *gone += 1);
    }
}

impl Waiting {
    fn new(readers: &Readers) -> Self {
        let (large, small) = (Arc::new(Semaphore::new(WAITING_PARTS)), Arc::new(Semaphore::new(SMALL_PARTS)));
        Self { all_large: readers.0.large_parts.clone(), large, small, made: 0, gone: watch::Sender::new(0) }
    }

    /// A place for one more part, and how large it may be; none when enough wait.
    fn place(&mut self) -> Option<(Place, usize)> {
        let permits = |of: &Arc<Semaphore>| of.clone().try_acquire_owned().ok();
        let large = permits(&self.large).and_then(|own| Some((own, Some(permits(&self.all_large)?), PART_BYTES)));
        let (own, shared, bytes) = large.or_else(|| Some((permits(&self.small)?, None, SMALL_PART_BYTES)))?;
        self.made += 1;
        Some((Place { _permits: (own, shared), _gone: Gone(self.gone.clone()) }, bytes))
    }

    /// How many parts wait.
    fn parts(&self) -> usize {
        self.made - *self.gone.borrow()
    }

    /// Returns once no more than so many parts wait. Fails when the client takes nothing for too long.
    async fn for_room(&self, clock: &Clock, parts: usize) -> Result<()> {
        let mut gone = self.gone.subscribe();
        loop {
            let before = *gone.borrow();
            tokio::select! {
                biased;
                _ = gone.wait_for(|gone| self.made - gone <= parts) => return Ok(()),
                () = clock.wait(STALLED) => {
                    if *self.gone.borrow() == before {
                        return Err(Error::from(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")));
                    }
                }
            }
        }
    }
}

/// Part of a file, in memory until the client has it.
struct Part {
    bytes: Vec<u8>,
    _place: Place,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

enum Piece {
    Part(Bytes),
    /// Everything was sent. A stream that ends without it is broken.
    End,
}

type Sender = mpsc::Sender<io::Result<Piece>>;

/// Streams what `encoder` makes. `broke` is told why when it fails and somebody still listens. What the encoder holds (a pinned version)
/// is let go at the latest `STALLED` after the client took its last part. A part waits until its bytes are dropped. Must be called within
/// a runtime.
pub fn pipe<E, B>(clock: &Clock, readers: &Readers, encoder: E, broke: B) -> impl Stream<Item = io::Result<Bytes>> + Send + use<E, B>
where
    E: Encode,
    B: FnOnce(&Error) + Send + 'static,
{
    // Room for all parts that may wait, and the end.
    let (to, from) = mpsc::channel(WAITING_PARTS + SMALL_PARTS + 1);
    let (clock, readers, span) = (clock.clone(), readers.clone(), Span::current());
    tokio::spawn(async move {
        let sent = send_all(&clock, &readers, Box::new(encoder), &to, &span);
        let last = tokio::select! {
            biased;
            // Nobody listens any more: there is nobody to tell.
            () = to.closed() => return,
            sent = sent => sent,
        };
        let last = last.map(|()| Piece::End).map_err(|why| {
            span.in_scope(|| broke(&why));
            io::Error::other(why)
        });
        tokio::select! {
            _ = to.send(last) => {}
            () = clock.wait(STALLED) => {}
        }
    });
    futures_util::stream::unfold(Some(from), |from| async move {
        let mut from = from?;
        match from.recv().await {
            Some(Ok(Piece::Part(part))) => Some((Ok(part), Some(from))),
            Some(Ok(Piece::End)) => None,
            Some(Err(why)) => Some((Err(why), None)),
            None => Some((Err(io::Error::other("the download broke off")), None)),
        }
    })
}

/// Why encoding paused.
enum Pause {
    Done,
    /// As many parts wait as may.
    Full,
    /// Others want a turn, and this download had a long one.
    Turn,
}

async fn send_all(clock: &Clock, readers: &Readers, mut encoder: Box<dyn Encode>, to: &Sender, span: &Span) -> Result<()> {
    let mut waiting = Waiting::new(readers);
    loop {
        let turn = readers.turn().await?;
        let until = Instant::now() + TURN;
        loop {
            let (sender, readers_too, in_request) = (to.clone(), readers.clone(), span.clone());
            let encoded = readers.spawn_blocking(move || {
                let _in_request = in_request.enter();
                let paused = encode_some(encoder.as_mut(), &sender, &mut waiting, || readers_too.is_wanted() && Instant::now() >= until);
                (encoder, waiting, paused)
            });
            let paused;
            // What a panic says may hold anything.
            (encoder, waiting, paused) = encoded.await.map_err(|_| Error::internal("the encoder of a download panicked"))?;
            match paused? {
                Pause::Done => return Ok(()),
                Pause::Turn => break,
                Pause::Full => {}
            }
            tokio::select! {
                biased;
                room = waiting.for_room(clock, waiting.parts() / 2) => room?,
                () = readers.wanted() => break,
            }
        }
        encoder.release();
        drop(turn);
        // Finding the place again costs more than going on, so there is room for all parts first.
        waiting.for_room(clock, 0).await?;
    }
}

/// Encodes and sends parts while there is room for them.
fn encode_some(encoder: &mut dyn Encode, to: &Sender, waiting: &mut Waiting, is_over: impl Fn() -> bool) -> Result<Pause> {
    loop {
        if is_over() {
            return Ok(Pause::Turn);
        }
        let Some((place, at_least)) = waiting.place() else { return Ok(Pause::Full) };
        let mut bytes = Vec::with_capacity(at_least + at_least / 2);
        let is_last = encoder.encode(&mut bytes, at_least)?;
        if !bytes.is_empty() {
            bytes.shrink_to_fit();
            let part = Part { bytes, _place: place };
            to.try_send(Ok(Piece::Part(Bytes::from_owner(part)))).map_err(|_| gone())?;
        }
        if is_last {
            return Ok(Pause::Done);
        }
    }
}

fn gone() -> Error {
    Error::from(io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"))
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    /// Writes so many parts, and counts how often it had to let go.
    struct Parts {
        left: u8,
        released: Arc<AtomicUsize>,
        fails: bool,
    }

    impl Encode for Parts {
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

    fn parts(left: u8) -> (Parts, Arc<AtomicUsize>) {
        let released = Arc::new(AtomicUsize::new(0));
        (Parts { left, released: released.clone(), fails: false }, released)
    }

    /// Whether each piece is good. The pieces themselves are dropped, as those are that a client took.
    async fn read(stream: impl Stream<Item = io::Result<Bytes>>) -> Vec<bool> {
        stream.map(|piece| piece.is_ok()).collect().await
    }

    #[tokio::test]
    async fn a_download_whose_client_waits_gives_its_turn_to_others_and_goes_on_later() {
        let (clock, readers) = (Clock::stopped_at(0), Readers::new(1, 1));
        let (slow, released) = parts(100);
        let mut slow = Box::pin(pipe(&clock, &readers, slow, |_| {}));
        assert!(slow.next().await.unwrap().is_ok());
        for _ in 0..3 {
            // Of those that are read, too, only one has its turn.
            let others: Vec<_> = (0..5).map(|_| read(pipe(&clock, &readers, parts(50).0, |_| {})).boxed()).collect();
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
    async fn a_client_that_takes_nothing_is_given_up_and_one_that_takes_a_part_now_and_then_is_not() {
        let (clock, readers) = (Clock::stopped_at(0), Readers::new(1, 1));
        let (encoder, released) = parts(20);
        let mut stream = Box::pin(pipe(&clock, &readers, encoder, |_| {}));
        for _ in 0..8 {
            assert!(stream.next().await.unwrap().is_ok());
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            clock.advance(100_000);
        }
        // All that it holds is let go of while nobody listens any more.
        while Arc::strong_count(&released) > 1 {
            clock.advance(10_000);
            tokio::task::yield_now().await;
        }
        let rest = read(stream).await;
        assert!(!rest.last().unwrap() && rest.len() <= WAITING_PARTS + SMALL_PARTS + 1, "{}", rest.len());
    }

    #[tokio::test]
    async fn what_waits_for_many_clients_that_take_nothing_is_limited_and_others_go_on() {
        let (clock, readers) = (Clock::stopped_at(0), Readers::new(2, 2));
        let downloads = 100;
        let mut waiting: Vec<_> = (0..downloads).map(|_| Box::pin(pipe(&clock, &readers, parts(50).0, |_| {}))).collect();
        for stream in &mut waiting {
            assert!(stream.next().await.unwrap().is_ok());
        }
        // Of the last large part that was free, the first one of a download, its client took.
        while readers.0.large_parts.available_permits() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(read(pipe(&clock, &readers, parts(50).0, |_| {})).await, [true; 50]);
        // What waits is read from the streams, until each has nothing at hand.
        let mut bytes = 0;
        for stream in &mut waiting {
            while let Some(Some(piece)) = tokio::task::unconstrained(stream.next()).now_or_never() {
                bytes += piece.unwrap().len();
            }
        }
        assert!(bytes >= (ALL_WAITING_PARTS - 1) * PART_BYTES, "{bytes}");
        assert!(bytes <= ALL_WAITING_PARTS * PART_BYTES + downloads * SMALL_PARTS * SMALL_PART_BYTES, "{bytes}");
        for stream in waiting {
            assert!(read(stream).await.into_iter().all(|good| good));
        }
        assert_eq!(readers.0.large_parts.available_permits(), ALL_WAITING_PARTS);
    }

    #[tokio::test]
    async fn an_encoder_that_fails_breaks_the_stream_and_tells_why() {
        let (clock, readers, told) = (Clock::stopped_at(0), Readers::new(1, 1), Arc::new(AtomicUsize::new(0)));
        let mut encoder = parts(3).0;
        encoder.fails = true;
        let heard = told.clone();
        let stream = pipe(&clock, &readers, encoder, move |_| heard.store(1, Ordering::SeqCst));
        assert_eq!((read(stream).await, told.load(Ordering::SeqCst)), (vec![true, true, true, false], 1));
    }
}
