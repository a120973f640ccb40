//! What goes on beside putting away something that came: the leases are held, and it can be stopped, also when the disk hangs.

use tokio::time::Interval;

use super::Pulling;
use super::watch::Watch;
use crate::datasets::segments::Segments;
use crate::puller::Puller;
use crate::puller::queue::{self, Claimed, Held};

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
            if !self.extend(puller).await {
                return Halt::Gone;
            }
            let moved = self.segments.iter().map(Segments::moved).sum::<u64>();
            if watch.is_stuck(puller.clock.passed(), moved, false) {
                return Halt::Stuck;
            }
        }
    }

    /// False when nobody is left to pull for.
    async fn extend(&self, puller: &Puller) -> bool {
        let mut wanted = self.held.is_empty();
        for (run, shown) in &self.held {
            match queue::extend(&puller.db, &puller.clock, run, shown).await {
                Ok(held) => wanted |= held == Held::Yes,
                Err(error) => {
                    tracing::error!(cause = ?error.inside(), "a lease could not be extended: {error}");
                    wanted = true;
                }
            }
        }
        wanted
    }
}
