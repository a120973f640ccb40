//! Sends heartbeats for a set of runs, also while a future runs, such as writing rows or waiting for
//! a slot. The heartbeats extend the leases. The future is stopped when all runs were stopped, or
//! when nothing was read or written for too long.

use tokio::time::{Interval, MissedTickBehavior};

use super::stall_detector::StallDetector;
use super::{EXTEND_LEASE_EVERY, LEASE_OUTAGE, PullingRun, finish};
use crate::datasets::segments::Segments;
use crate::error::{ErrorKind, Result};
use crate::puller::Puller;
use crate::puller::queue::{self, CallStats, Claimed, LeaseState, RunEnd};
use crate::puller::slots::WorkerSlot;

/// The times at which heartbeats are sent.
pub(super) fn heartbeat_interval() -> Interval {
    let mut interval = tokio::time::interval(queue::HEARTBEAT);
    // After a pause of the process, missed heartbeats are not sent.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The runs whose leases are extended.
pub(super) struct Heartbeat {
    /// With the progress of each run as JSON.
    runs: Vec<(Claimed, String)>,
    segments: Vec<Segments>,
}

/// Why the future was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeartbeatStop {
    /// All runs were cancelled or lost their leases.
    AllStopped,
    /// Nothing was read or written for too long.
    Stalled,
}

impl Heartbeat {
    pub fn of(set: &[PullingRun]) -> Self {
        let alive = || set.iter().filter(|pulling| pulling.lease_lost.is_none());
        Self {
            runs: alive()
                .map(|pulling| (pulling.run.clone(), pulling.progress.to_json()))
                .collect(),
            segments: alive()
                .map(|pulling| pulling.writer.segments().clone())
                .collect(),
        }
    }

    /// For claimed runs that have not started.
    pub fn for_claimed(claimed: &[Claimed]) -> Self {
        Self {
            runs: claimed
                .iter()
                .map(|run| (run.clone(), "{}".to_owned()))
                .collect(),
            segments: Vec::new(),
        }
    }

    /// Waits for the slot. Returns false if all runs were stopped or the server stops.
    pub async fn acquire(
        &self,
        puller: &Puller,
        heartbeat: &mut Interval,
        slot: &mut WorkerSlot,
    ) -> bool {
        tokio::select! {
            biased;
            () = slot.acquire() => true,
            () = puller.stop.cancelled() => false,
            () = self.until_all_stopped(puller, heartbeat) => false,
        }
    }

    /// Sends heartbeats and returns when all runs were stopped.
    async fn until_all_stopped(&self, puller: &Puller, heartbeat: &mut Interval) {
        for beats in 0_u64.. {
            heartbeat.tick().await;
            if !self
                .send_heartbeat(puller, beats.is_multiple_of(EXTEND_LEASE_EVERY))
                .await
            {
                return;
            }
        }
    }

    /// Runs `future` while heartbeats are sent; `Err` if it was stopped. Both run concurrently,
    /// because each may hold the only write connection and must be able to return it to the other.
    pub async fn guard<T>(
        &self,
        puller: &Puller,
        heartbeat: &mut Interval,
        future: impl Future<Output = T>,
    ) -> Result<T, HeartbeatStop> {
        tokio::select! {
            biased;
            done = future => Ok(done),
            stopped = self.run_until_stopped(puller, heartbeat) => Err(stopped),
        }
    }

    async fn run_until_stopped(&self, puller: &Puller, heartbeat: &mut Interval) -> HeartbeatStop {
        let mut stall_detector = StallDetector::new(puller.clock.monotonic());
        loop {
            heartbeat.tick().await;
            if !self.send_heartbeat(puller, true).await {
                return HeartbeatStop::AllStopped;
            }
            let io_count = self.segments.iter().map(Segments::io_count).sum::<u64>();
            if stall_detector.is_stalled(puller.clock.monotonic(), io_count, false) {
                return HeartbeatStop::Stalled;
            }
        }
    }

    /// Returns false if all runs were stopped. `extend`: also extends the leases.
    async fn send_heartbeat(&self, puller: &Puller, extend: bool) -> bool {
        let mut any_active = self.runs.is_empty();
        for (run, progress) in &self.runs {
            let state = match extend {
                true => queue::extend_lease(&puller.db, &puller.clock, run, progress).await,
                false => queue::check_lease(&puller.db, run).await,
            };
            match state {
                Ok(state) => any_active |= state == LeaseState::Active,
                Err(error) => {
                    puller.db.outages().record_failure(LEASE_OUTAGE, &error);
                    any_active = true;
                }
            }
        }
        any_active
    }
}

/// Sends a heartbeat for every run; `extend`: also extends the leases. Returns false when all runs
/// have stopped.
pub(super) async fn send_heartbeat(
    puller: &Puller,
    set: &mut [PullingRun],
    extend: bool,
) -> Result<bool> {
    for pulling in set.iter_mut().filter(|p| p.lease_lost.is_none()) {
        let state = match extend {
            true => {
                queue::extend_lease(
                    &puller.db,
                    &puller.clock,
                    &pulling.run,
                    &pulling.progress.to_json(),
                )
                .await
            }
            false => queue::check_lease(&puller.db, &pulling.run).await,
        };
        match state {
            // No other worker claims the run while this process holds it in `WorkerLeases`.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                puller.db.outages().record_failure(LEASE_OUTAGE, &error);
                continue;
            }
            _ if extend => puller.db.outages().record_recovery(LEASE_OUTAGE),
            _ => {}
        }
        match state? {
            LeaseState::Active => {}
            lease_state => {
                // The end is written at once, so that the cancellation does not wait for the other
                // runs.
                if lease_state == LeaseState::CancelRequested {
                    finish::end(
                        puller,
                        &pulling.run,
                        &RunEnd::Cancelled,
                        CallStats::default(),
                    )
                    .await;
                }
                pulling.lease_lost = Some(lease_state);
            }
        }
    }
    Ok(set.iter().any(|p| p.lease_lost.is_none()))
}
