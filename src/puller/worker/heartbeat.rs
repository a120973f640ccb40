//! Sends heartbeats while a future runs, such as writing rows or waiting for a slot. It keeps the leases alive and stops the
//! future when all runs have stopped or nothing was written for too long.

use tokio::time::Interval;

use super::stall_detector::StallDetector;
use super::{EXTEND_LEASE_EVERY, PullingRun};
use crate::datasets::segments::Segments;
use crate::puller::Puller;
use crate::puller::queue::{self, Claimed, LeaseState};
use crate::puller::slots::WorkerSlot;

/// The runs whose leases are kept alive.
pub(super) struct Heartbeat {
    /// With what is shown of each.
    runs: Vec<(Claimed, String)>,
    segments: Vec<Segments>,
}

/// Why the future was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeartbeatStop {
    /// All runs have stopped.
    AllStopped,
    /// Nothing was written for too long.
    Stalled,
}

impl Heartbeat {
    pub fn of(set: &[PullingRun]) -> Self {
        let alive = || set.iter().filter(|pulling| pulling.lease_lost.is_none());
        Self {
            runs: alive().map(|pulling| (pulling.run.clone(), pulling.progress.to_json())).collect(),
            segments: alive().map(|pulling| pulling.writer.segments().clone()).collect(),
        }
    }

    /// A set that has not begun.
    pub fn for_claimed(claimed: &[Claimed]) -> Self {
        Self { runs: claimed.iter().map(|run| (run.clone(), "{}".to_owned())).collect(), segments: Vec::new() }
    }

    /// Waits for the slot. False when nobody is left to pull for, or the server stops.
    pub async fn acquire(&self, puller: &Puller, heartbeat: &mut Interval, slot: &mut WorkerSlot) -> bool {
        tokio::select! {
            biased;
            () = slot.acquire() => true,
            () = puller.stop.cancelled() => false,
            () = self.until_all_stopped(puller, heartbeat) => false,
        }
    }

    /// Returns when nobody is left to pull for.
    async fn until_all_stopped(&self, puller: &Puller, heartbeat: &mut Interval) {
        for beats in 0_u64.. {
            heartbeat.tick().await;
            if !self.send_heartbeat(puller, beats.is_multiple_of(EXTEND_LEASE_EVERY)).await {
                return;
            }
        }
    }

    /// Runs `future` while heartbeats are sent; `Err` when it was stopped. The two run concurrently: each may hold the one write
    /// connection and must be able to return it to the other.
    pub async fn guard<T>(&self, puller: &Puller, heartbeat: &mut Interval, future: impl Future<Output = T>) -> Result<T, HeartbeatStop> {
        tokio::select! {
            biased;
            done = future => Ok(done),
            halt = self.run_until_stopped(puller, heartbeat) => Err(halt),
        }
    }

    async fn run_until_stopped(&self, puller: &Puller, heartbeat: &mut Interval) -> HeartbeatStop {
        let mut stall_detector = StallDetector::new(puller.clock.monotonic());
        loop {
            heartbeat.tick().await;
            if !self.send_heartbeat(puller, true).await {
                return HeartbeatStop::AllStopped;
            }
            let moved = self.segments.iter().map(Segments::io_count).sum::<u64>();
            if stall_detector.is_stalled(puller.clock.monotonic(), moved, false) {
                return HeartbeatStop::Stalled;
            }
        }
    }

    /// False when nobody is left to pull for. `extend`: the leases are extended as well.
    async fn send_heartbeat(&self, puller: &Puller, extend: bool) -> bool {
        let mut wanted = self.runs.is_empty();
        for (run, progress) in &self.runs {
            let state = match extend {
                true => queue::extend_lease(&puller.db, &puller.clock, run, progress).await,
                false => queue::check_lease(&puller.db, run).await,
            };
            match state {
                Ok(state) => wanted |= state == LeaseState::Active,
                Err(error) => {
                    puller.db.outages().record_failure(super::LEASE_OUTAGE, &error);
                    wanted = true;
                }
            }
        }
        wanted
    }
}
