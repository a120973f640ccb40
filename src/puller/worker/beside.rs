//! What goes on beside putting away something that came, and beside waiting for a slot: the leases are held, and it can be stopped, also
//! when the disk hangs.

use tokio::time::Interval;

use super::watch::Watch;
use super::{EXTEND_EVERY, Pulling};
use crate::datasets::segments::Segments;
use crate::puller::Puller;
use crate::puller::queue::{self, Claimed, Held};
use crate::puller::slots::Slot;

/// The set as it is while something of it is put away.
pub(super) struct Beside {
    /// With what is shown of each.
    held: Vec<(Claimed, String)>,
    segments: Vec<Segments>,
}

/// Why something was not put away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// Nobody is left to pull for.
    Gone,
    /// Nothing was written for too long.
    Stuck,
}

impl Beside {
    pub fn of(set: &[Pulling]) -> Self {
        let alive = || set.iter().filter(|pulling| pulling.gone.is_none());
        Self {
            held: alive().map(|pulling| (pulling.run.clone(), pulling.shown.text())).collect(),
            segments: alive().map(|pulling| pulling.writer.segments().clone()).collect(),
        }
    }

    /// A set that has not begun.
    pub fn starting(claimed: &[Claimed]) -> Self {
        Self { held: claimed.iter().map(|run| (run.clone(), "{}".to_owned())).collect(), segments: Vec::new() }
    }

    /// Waits for the slot. False when nobody is left to pull for, or the server stops.
    pub async fn enter(&self, puller: &Puller, heartbeat: &mut Interval, slot: &mut Slot) -> bool {
        tokio::select! {
            biased;
            () = slot.acquire() => true,
            () = puller.stop.cancelled() => false,
            () = self.until_gone(puller, heartbeat) => false,
        }
    }

    /// Returns when nobody is left to pull for.
    async fn until_gone(&self, puller: &Puller, heartbeat: &mut Interval) {
        for beats in 0_u64.. {
            heartbeat.tick().await;
            if !self.beat(puller, beats.is_multiple_of(EXTEND_EVERY)).await {
                return;
            }
        }
    }

    /// Does it, unless it is stopped. The two go on side by side: each may hold the one connection that writes, and must be able to give
    /// it back to the other.
    pub async fn hold<T>(&self, puller: &Puller, heartbeat: &mut Interval, doing: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            done = doing => Ok(done),
            halt = self.watch(puller, heartbeat) => Err(halt),
        }
    }

    async fn watch(&self, puller: &Puller, heartbeat: &mut Interval) -> Halt {
        let mut watch = Watch::new(puller.clock.passed());
        loop {
            heartbeat.tick().await;
            if !self.beat(puller, true).await {
                return Halt::Gone;
            }
            let moved = self.segments.iter().map(Segments::moved).sum::<u64>();
            if watch.is_stuck(puller.clock.passed(), moved, false) {
                return Halt::Stuck;
            }
        }
    }

    /// False when nobody is left to pull for. `extend`: the leases are extended as well.
    async fn beat(&self, puller: &Puller, extend: bool) -> bool {
        let mut wanted = self.held.is_empty();
        for (run, shown) in &self.held {
            let held = match extend {
                true => queue::extend(&puller.db, &puller.clock, run, shown).await,
                false => queue::look(&puller.db, run).await,
            };
            match held {
                Ok(held) => wanted |= held == Held::Yes,
                Err(error) => {
                    puller.db.outages().failed(super::LEASES, &error);
                    wanted = true;
                }
            }
        }
        wanted
    }
}
