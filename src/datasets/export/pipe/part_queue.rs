//! Limits the parts of one download that wait for its client.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    CLIENT_TIMEOUT, EncoderPool, MAX_SMALL_PARTS, MAX_WAITING_PARTS, PART_BYTES, SMALL_PART_BYTES,
};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// The parts of one download that wait for its client.
pub(super) struct PartQueue {
    all_large: Arc<Semaphore>,
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    /// The number of parts that were made, and of those that were dropped.
    made: usize,
    dropped: watch::Sender<usize>,
}

/// A permit for one waiting part.
pub(super) struct PartPermit {
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
    pub fn new(pool: &EncoderPool) -> Self {
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
    pub fn permit(&mut self) -> Option<(PartPermit, usize)> {
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
    pub fn parts(&self) -> usize {
        self.made - *self.dropped.borrow()
    }

    /// Waits until at most `parts` parts wait. Fails if the client reads nothing for too long.
    pub async fn for_room(&self, clock: &Clock, parts: usize) -> Result<()> {
        let mut dropped = self.dropped.subscribe();
        loop {
            let before = *dropped.borrow();
            tokio::select! {
                biased;
                _ = dropped.wait_for(|dropped| self.made - dropped <= parts) => return Ok(()),
                () = clock.wait(CLIENT_TIMEOUT) => {
                    if *self.dropped.borrow() == before {
                        return Err(Error::from(io::Error::new(
                            io::ErrorKind::TimedOut,
                            "the client took nothing for too long",
                        )));
                    }
                }
            }
        }
    }
}
