//! Decides when a pull needs its slot: the slot is released while little data arrives from the
//! vendor, and acquired when data arrives.

use std::time::Duration;

use tokio::time::Instant;

use crate::connectors::upstream::Upstream;
use crate::puller::slots::WorkerSlot;

/// A slot is released when no data arrived for this long; before the first data, at once.
const RELEASE_AFTER: Duration = Duration::from_secs(1);
/// At least this many bytes within that time count as data: a host that sends a byte now and then
/// blocks no worker.
const MIN_BYTES: u64 = 4_096;
/// How often the received bytes are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What a pull does about its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotAction {
    /// The pull only waits for its vendor and does not need the slot.
    Release,
    /// Data arrives from the vendor: the pull needs the slot.
    Acquire,
}

/// The data that arrived from the vendor during this attempt.
pub(super) struct SlotDemand {
    /// The received bytes at the last count, and the time of that count.
    counted: u64,
    counted_at: Instant,
    /// When data last arrived or was processed; `None` before the first data.
    last_data_at: Option<Instant>,
}

impl SlotDemand {
    pub fn new() -> Self {
        Self {
            counted: 0,
            counted_at: Instant::now(),
            last_data_at: None,
        }
    }

    /// Records that received data was processed.
    pub fn record_work(&mut self) {
        self.last_data_at = Some(Instant::now());
    }

    /// Returns when the slot must be released or acquired. Cancel safe. Before the first data the
    /// slot is released at once, so that a host that does not respond never holds one. Later it is
    /// released after a second without data, or when another run waits for it: a shorter time would
    /// let the dispatcher claim more and more runs.
    pub async fn next_action(&mut self, slot: &WorkerSlot, upstream: &Upstream) -> SlotAction {
        loop {
            let has_data = self.has_data(upstream.received());
            if !slot.is_held() {
                if has_data {
                    return SlotAction::Acquire;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            if self
                .last_data_at
                .is_none_or(|at| at.elapsed() >= RELEASE_AFTER)
            {
                return SlotAction::Release;
            }
            tokio::select! {
                () = slot.wanted() => return SlotAction::Release,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Whether enough bytes arrived since the last count.
    fn has_data(&mut self, received: u64) -> bool {
        let has_data = received - self.counted >= MIN_BYTES;
        if has_data || self.counted_at.elapsed() >= RELEASE_AFTER {
            (self.counted, self.counted_at) = (received, Instant::now());
        }
        if has_data {
            self.record_work();
        }
        has_data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_bytes_now_and_then_are_not_data() {
        let mut demand = SlotDemand::new();
        for second in 1..100 {
            tokio::time::advance(RELEASE_AFTER).await;
            assert!(!demand.has_data(second * (MIN_BYTES - 1)));
        }
        assert!(demand.last_data_at.is_none());
        assert!(demand.has_data(101 * MIN_BYTES) && demand.last_data_at.is_some());
    }
}
