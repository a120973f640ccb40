//! From an encoder to a client that takes its time. A part of the file is encoded at a time, on a blocking thread that is given back as
//! soon as the parts in front of it wait for the client. A download that waits keeps what it reads with open for a while, unless another
//! one needs its turn: then it lets go of it, and finds its place again later. Anything that goes wrong ends the stream with an error, so
//! that a broken file never looks whole.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Span;

use crate::clock::Clock;
use crate::error::{Error, Result};

/// A part is sent when it has grown beyond this many bytes.
pub const PART_BYTES: usize = 64 << 10;
/// So many parts may wait for a slow client.
const WAITING_PARTS: usize = 8;
/// A client that takes no part for so long is given up. The connection's own limit on slow clients comes first; this is for bodies that
/// no connection reads.
const STALLED: Duration = Duration::from_secs(120);
/// So many downloads have files open and hold rows at once. Each holds a few megabytes.
const READERS: usize = 12;
/// A client that reads as fast as the server encodes lets others go first after this time.
const TURN: Duration = Duration::from_millis(500);

/// Makes a file part by part.
pub trait Encode: Send + 'static {
    /// Appends at least `PART_BYTES` to `part`, or what is left. True when that was all. Blocks.
    fn encode(&mut self, part: &mut Vec<u8>) -> Result<bool>;

    /// Lets go of everything that can be read again. Called while the client takes nothing.
    fn release(&mut self);
}

/// Who may read now. Cheap to clone; all downloads of a server share one.
#[derive(Clone)]
pub struct Readers(Arc<Inner>);

struct Inner {
    turns: Arc<Semaphore>,
    /// Encoding takes a core.
    cores: Arc<Semaphore>,
    wanting: AtomicUsize,
    /// Told by everybody who does not get a turn at once.
    wanted: Notify,
}

impl Default for Readers {
    fn default() -> Self {
        Self::new(READERS, std::thread::available_parallelism().map_or(2, usize::from))
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
        let (turns, cores) = (Arc::new(Semaphore::new(turns)), Arc::new(Semaphore::new(cores.max(1))));
        Self(Arc::new(Inner { turns, cores, wanting: AtomicUsize::new(0), wanted: Notify::new() }))
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

enum Piece {
    Part(Bytes),
    /// Everything was sent. A stream that ends without it is broken.
    End,
}

type Sender = mpsc::Sender<io::Result<Piece>>;

/// Streams what `encoder` makes. `broke` is told why when it fails and somebody still listens. What the encoder holds (a pinned version)
/// is let go at the latest `STALLED` after the client took its last part. Must be called within a runtime.
pub fn pipe<E, B>(clock: &Clock, readers: &Readers, encoder: E, broke: B) -> impl Stream<Item = io::Result<Bytes>> + Send + use<E, B>
where
    E: Encode,
    B: FnOnce(&Error) + Send + 'static,
{
    let (to, from) = mpsc::channel(WAITING_PARTS);
    let (clock, readers, span, taken) = (clock.clone(), readers.clone(), Span::current(), Arc::new(AtomicUsize::new(0)));
    let taken_here = taken.clone();
    tokio::spawn(async move {
        let last = match send_all(&clock, &readers, Box::new(encoder), &to, &taken, &span).await {
            Ok(()) => Ok(Piece::End),
            Err(why) => {
                if !to.is_closed() {
                    span.in_scope(|| broke(&why));
                }
                Err(io::Error::other(why))
            }
        };
        // Nobody listens any more: there is nobody to tell.
        tokio::select! {
            _ = to.send(last) => {}
            () = clock.wait(STALLED) => {}
        }
    });
    futures_util::stream::unfold(Some((from, taken_here)), |state| async move {
        let (mut from, taken) = state?;
        match from.recv().await {
            Some(Ok(Piece::Part(part))) => {
                taken.fetch_add(1, Ordering::Relaxed);
                Some((Ok(part), Some((from, taken))))
            }
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

async fn send_all(clock: &Clock, readers: &Readers, mut encoder: Box<dyn Encode>, to: &Sender, taken: &AtomicUsize, span: &Span) -> Result<()> {
    loop {
        let turn = readers.turn().await?;
        let until = Instant::now() + TURN;
        loop {
            let core = readers.0.cores.clone().acquire_owned().await.map_err(Error::internal)?;
            let (sender, readers_too, in_request) = (to.clone(), readers.clone(), span.clone());
            let encoded = tokio::task::spawn_blocking(move || {
                let (_core, _in_request) = (core, in_request.enter());
                let paused = encode_some(encoder.as_mut(), &sender, || readers_too.is_wanted() && Instant::now() >= until);
                (encoder, paused)
            });
            let paused;
            // What a panic says may hold anything.
            (encoder, paused) = encoded.await.map_err(|_| Error::internal("the encoder of a download panicked"))?;
            match paused? {
                Pause::Done => return Ok(()),
                Pause::Turn => break,
                Pause::Full => {}
            }
            tokio::select! {
                biased;
                room = room(clock, to, taken, WAITING_PARTS / 2) => room?,
                () = readers.wanted() => break,
            }
        }
        encoder.release();
        drop(turn);
        // Finding the place again costs more than going on, so there is room for all parts first.
        room(clock, to, taken, WAITING_PARTS).await?;
    }
}

/// Returns once there is room for `parts`. Fails when the client went away or takes nothing for too long.
async fn room(clock: &Clock, to: &Sender, taken: &AtomicUsize, parts: usize) -> Result<()> {
    let room = to.reserve_many(parts);
    tokio::pin!(room);
    loop {
        let before = taken.load(Ordering::Relaxed);
        tokio::select! {
            biased;
            room = &mut room => return room.map(drop).map_err(|_| gone()),
            () = clock.wait(STALLED) => {
                if taken.load(Ordering::Relaxed) == before {
                    return Err(Error::from(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")));
                }
            }
        }
    }
}

/// Encodes and sends parts while there is room for them.
fn encode_some(encoder: &mut dyn Encode, to: &Sender, is_over: impl Fn() -> bool) -> Result<Pause> {
    loop {
        // Nobody else sends, so what is free now stays free.
        if to.capacity() == 0 {
            return Ok(Pause::Full);
        }
        if is_over() {
            return Ok(Pause::Turn);
        }
        let mut part = Vec::with_capacity(PART_BYTES + PART_BYTES / 2);
        let is_last = encoder.encode(&mut part)?;
        if !part.is_empty() {
            to.try_send(Ok(Piece::Part(part.into()))).map_err(|_| gone())?;
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
        fn encode(&mut self, part: &mut Vec<u8>) -> Result<bool> {
            if self.left == 0 && self.fails {
                return Err(Error::internal("it broke"));
            }
            part.resize(PART_BYTES, self.left);
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

    #[tokio::test]
    async fn a_download_whose_client_waits_gives_its_turn_to_others_and_goes_on_later() {
        let (clock, readers) = (Clock::stopped_at(0), Readers::new(1, 1));
        let (slow, released) = parts(100);
        let mut slow = Box::pin(pipe(&clock, &readers, slow, |_| {}));
        assert!(slow.next().await.unwrap().is_ok());
        for _ in 0..3 {
            // Of those that are read, too, only one has its turn.
            let others: Vec<_> = (0..5).map(|_| pipe(&clock, &readers, parts(50).0, |_| {}).collect::<Vec<_>>().boxed()).collect();
            for other in futures_util::future::join_all(others).await {
                assert_eq!((other.len(), other.iter().all(Result::is_ok)), (50, true));
            }
            for _ in 0..10 {
                assert!(slow.next().await.unwrap().is_ok());
            }
        }
        assert!(released.load(Ordering::SeqCst) >= 3);
        let rest: Vec<_> = slow.collect().await;
        assert_eq!((rest.len(), rest.iter().all(Result::is_ok)), (69, true));
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
        let rest: Vec<_> = stream.collect().await;
        assert!(rest.last().unwrap().is_err() && rest.len() <= WAITING_PARTS + 4, "{}", rest.len());
    }

    #[tokio::test]
    async fn an_encoder_that_fails_breaks_the_stream_and_tells_why() {
        let (clock, readers, told) = (Clock::stopped_at(0), Readers::new(1, 1), Arc::new(AtomicUsize::new(0)));
        let mut encoder = parts(3).0;
        encoder.fails = true;
        let heard = told.clone();
        let stream = pipe(&clock, &readers, encoder, move |_| heard.store(1, Ordering::SeqCst));
        let pieces: Vec<_> = stream.collect().await;
        assert_eq!((pieces.len(), pieces[3].is_err(), told.load(Ordering::SeqCst)), (4, true, 1));
    }
}
