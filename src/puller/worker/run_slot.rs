//! The slot of the runs that share a read.

use tokio::time::Interval;

use super::PullingRun;
use super::heartbeat::Heartbeat;
use crate::clock::Millis;
use crate::connectors::Connector;
use crate::puller::Puller;
use crate::puller::slots::{InFlight, WorkerSlot};

/// The phase of a run that waits for a slot.
pub(super) const WAITING_FOR_WORKER: &str = "Waiting for a worker";

/// The slot of these runs, and their deadline.
pub(super) struct RunSlot {
    pub slot: WorkerSlot,
    pub in_flight: InFlight,
    /// In monotonic time: a run that has not ended by then is stopped.
    pub deadline: Millis,
}

impl RunSlot {
    /// Releases the slot while the run only waits for the vendor.
    pub fn release(&mut self, puller: &Puller, set: &[PullingRun]) {
        self.slot.release();
        self.in_flight.started();
        if let Some(first) = set.first() {
            show(puller, set, waiting_for(first.dataset.connector));
        }
    }

    /// Waits for the slot, with heartbeats. Returns false if all runs were stopped or the server
    /// stops.
    pub async fn acquire(
        &mut self,
        puller: &Puller,
        set: &[PullingRun],
        heartbeat: &mut Interval,
    ) -> bool {
        if self.slot.is_held() {
            return true;
        }
        show(puller, set, WAITING_FOR_WORKER);
        let acquired = Heartbeat::of(set)
            .acquire(puller, heartbeat, &mut self.slot)
            .await;
        show(puller, set, "Pulling");
        acquired
    }

    /// Like `acquire`, before saving: `save` sends the heartbeats.
    pub async fn acquire_to_save(&mut self, puller: &Puller, set: &[PullingRun]) {
        if !self.slot.is_held() {
            show(puller, set, WAITING_FOR_WORKER);
            self.slot.acquire().await;
        }
    }
}

fn show(puller: &Puller, set: &[PullingRun], phase: &'static str) {
    for pulling in set {
        pulling
            .progress
            .update(puller.clock.now(), |progress| progress.phase = phase);
    }
}

/// The phase of a run whose vendor has not answered.
fn waiting_for(connector: Connector) -> &'static str {
    match connector {
        Connector::LiveChat => "Waiting for LiveChat",
        Connector::LiveLeader => "Waiting for LiveLeader",
    }
}
