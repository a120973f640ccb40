//! Decides when a pull needs its slot: the slot is released while little data arrives from the vendor, and acquired when data
//! arrives.

use std::time::Duration;

use tokio::time::Instant;

use crate::connectors::upstream::Upstream;
use crate::puller::slots::WorkerSlot;

/// A slot is released when no data arrived for this long; before the first data, at once.
const RELEASE_AFTER: Duration = Duration::from_secs(1);
/// At least this many bytes within that time count as data: a host that sends a byte now and then blocks no worker.
const MIN_BYTES: u64 = 4_096;
/// How often it is looked whether something came.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What a pull does about its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotAction {
    /// It only waits for its vendor: the slot is for others.
    Release,
    /// Answers come from the vendor: it needs the slot.
    Acquire,
}

/// The data that arrived from the vendor during this attempt.
pub(super) struct SlotDemand {
    /// Bytes that had come when they were last counted, and when that was.
    counted: u64,
    counted_at: Instant,
    /// When something last came; none before.
    last_data_at: Option<Instant>,
}

impl SlotDemand {
    pub fn new() -> Self {
        Self { counted: 0, counted_at: Instant::now(), last_data_at: None }
    }

    /// Something that came was processed.
    pub fn record_work(&mut self) {
        self.last_data_at = Some(Instant::now());
    }

    /// Returns when the slot is to be given back or taken. Cancel safe. Before the first answer a slot is given back at once, so that a
    /// host which does not answer never keeps one; later it is kept for a moment unless another run waits for it, so that a pull which goes
    /// well is not followed by ever more.
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
            if self.last_data_at.is_none_or(|at| at.elapsed() >= RELEASE_AFTER) {
                return SlotAction::Release;
            }
            tokio::select! {
                () = slot.wanted() => return SlotAction::Release,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Whether something came since bytes were last counted.
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
    async fn a_byte_now_and_then_is_nothing() {
        let mut slot_demand = SlotDemand::new();
        for second in 1..100 {
            tokio::time::advance(RELEASE_AFTER).await;
            assert!(!slot_demand.has_data(second * (MIN_BYTES - 1)));
        }
        assert!(slot_demand.last_data_at.is_none());
        assert!(slot_demand.has_data(101 * MIN_BYTES) && slot_demand.last_data_at.is_some());
    }
}
