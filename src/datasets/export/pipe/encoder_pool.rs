//! Limits and threads for the encoding of all downloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::MAX_WAITING_PARTS_TOTAL;
use crate::error::{Error, Result};

/// The maximum number of downloads that have open files and rows in memory at the same time. Each
/// needs a few megabytes.
const MAX_READERS: usize = 12;

/// Limits and threads for encoding. Cheap to clone; all downloads of a server share one pool.
#[derive(Clone)]
pub struct EncoderPool(pub(super) Arc<PoolLimits>);

pub(super) struct PoolLimits {
    turns: Arc<Semaphore>,
    /// The encoding threads: one per core. The allocator keeps memory for each thread that encodes,
    /// so no other threads are used.
    threads: Option<Runtime>,
    /// Permits for large parts.
    pub large_parts: Arc<Semaphore>,
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

impl Drop for PoolLimits {
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
    pub(super) fn new(turns: usize, cores: usize) -> Self {
        let threads = Builder::new_current_thread()
            .max_blocking_threads(cores.max(1))
            .thread_name("encoder")
            .build()
            .ok();
        let (turns, large_parts) = (
            Arc::new(Semaphore::new(turns)),
            Arc::new(Semaphore::new(MAX_WAITING_PARTS_TOTAL)),
        );
        Self(Arc::new(PoolLimits {
            turns,
            threads,
            large_parts,
            turns_requested: AtomicUsize::new(0),
            turn_wanted: Notify::new(),
        }))
    }

    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit> {
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
    pub(super) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.0.threads {
            Some(threads) => threads.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.0.turns_requested.load(Ordering::SeqCst) > 0
    }

    /// Returns once another download wants a turn.
    pub(super) async fn wanted(&self) {
        while !self.is_wanted() {
            self.0.turn_wanted.notified().await;
        }
    }
}
