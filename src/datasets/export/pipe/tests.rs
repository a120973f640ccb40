//! Slow and fast clients share threads and memory, and a failure ends the stream with an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
async fn a_client_that_takes_nothing_is_given_up_and_one_that_takes_a_part_now_and_then_is_not() {
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
    let (clock, pool, logged) = (
        Clock::stopped_at(0),
        EncoderPool::new(1, 1),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut encoder = parts(3).0;
    encoder.fails = true;
    let counter = logged.clone();
    let stream = pipe(&clock, &pool, encoder, move |_| {
        counter.store(1, Ordering::SeqCst)
    });
    assert_eq!(
        (read(stream).await, logged.load(Ordering::SeqCst)),
        (vec![true, true, true, false], 1)
    );
}
