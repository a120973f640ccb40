//! Where the runs of a set work: in a slot, or waiting for their vendor or for a slot.

use tokio::time::Interval;

use super::Pulling;
use super::beside::Beside;
use crate::clock::Millis;
use crate::connectors::Connector;
use crate::puller::Puller;
use crate::puller::slots::{InFlight, Slot};

/// The phase of a run that has something to do and no slot.
pub(super) const WAITING_FOR_WORKER: &str = "Waiting for a worker";

/// Where the runs of a set work, and until when.
pub(super) struct Place {
    pub slot: Slot,
    pub in_flight: InFlight,
    /// By `Clock::passed`: a run that is not done then is stopped.
    pub deadline: Millis,
}

impl Place {
    /// Gives the slot back while nothing comes from the vendor.
    pub fn leave(&mut self, puller: &Puller, set: &[Pulling]) {
        self.slot.release();
        self.in_flight.started();
        if let Some(first) = set.first() {
            show(puller, set, waiting_for(first.dataset.connector));
        }
    }

    /// Waits for the slot while the leases are held. False when nobody is left to pull for, or the server stops.
    pub async fn enter(&mut self, puller: &Puller, set: &[Pulling], heartbeat: &mut Interval) -> bool {
        if self.slot.is_held() {
            return true;
        }
        show(puller, set, WAITING_FOR_WORKER);
        let entered = Beside::of(set).enter(puller, heartbeat, &mut self.slot).await;
        show(puller, set, "Pulling");
        entered
    }

    /// As `enter`, for rows that are to be saved; somebody else holds the leases, and sees whether there is anybody left.
    pub async fn enter_to_save(&mut self, puller: &Puller, set: &[Pulling]) {
        if !self.slot.is_held() {
            show(puller, set, WAITING_FOR_WORKER);
            self.slot.acquire().await;
        }
    }
}

fn show(puller: &Puller, set: &[Pulling], phase: &'static str) {
    for pulling in set {
        pulling.shown.change(puller.clock.now(), |progress| progress.phase = phase);
    }
}

/// The phase of a run whose vendor has not answered.
fn waiting_for(connector: Connector) -> &'static str {
    match connector {
        Connector::LiveChat => "Waiting for LiveChat",
        Connector::LiveLeader => "Waiting for LiveLeader",
    }
}
