//! When a pull needs its slot: it is given back while nothing to speak of comes from the vendor, and taken again when something does.

use std::time::Duration;

use tokio::time::Instant;

use crate::connectors::upstream::Upstream;
use crate::puller::slots::Slot;

/// A slot is given back when nothing came for so long, after something had come; at once before that.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(1);
/// So many bytes within that time are something: a host that sends a byte now and then keeps no worker busy.
const MIN_FLOW: u64 = 4_096;
/// How often it is looked whether something came.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a pull does about its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It only waits for its vendor: the slot is for others.
    Leave,
    /// Answers come from the vendor: it needs the slot.
    Enter,
}

/// What came from the vendor during this attempt.
pub(super) struct Flow {
    /// Bytes that had come when they were last counted, and when that was.
    counted: u64,
    counted_at: Instant,
    /// When something last came; none before.
    came_at: Option<Instant>,
}

impl Flow {
    pub fn new() -> Self {
        Self { counted: 0, counted_at: Instant::now(), came_at: None }
    }

    /// Something that came was processed.
    pub fn worked(&mut self) {
        self.came_at = Some(Instant::now());
    }

    /// Returns when the slot is to be given back or taken. Cancel safe. Before the first answer a slot is given back at once, so that a
    /// host which does not answer never keeps one; later it is kept for a moment unless another run waits for it, so that a pull which goes
    /// well is not followed by ever more.
    pub async fn turn(&mut self, slot: &Slot, upstream: &Upstream) -> Turn {
        loop {
            let flows = self.flows(upstream.received());
            if !slot.is_held() {
                if flows {
                    return Turn::Enter;
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            if self.came_at.is_none_or(|at| at.elapsed() >= GIVE_BACK_AFTER) {
                return Turn::Leave;
            }
            tokio::select! {
                () = slot.wanted() => return Turn::Leave,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Whether something came since bytes were last counted.
    fn flows(&mut self, received: u64) -> bool {
        let flows = received - self.counted >= MIN_FLOW;
        if flows || self.counted_at.elapsed() >= GIVE_BACK_AFTER {
            (self.counted, self.counted_at) = (received, Instant::now());
        }
        if flows {
            self.worked();
        }
        flows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_nothing() {
        let mut flow = Flow::new();
        for second in 1..100 {
            tokio::time::advance(GIVE_BACK_AFTER).await;
            assert!(!flow.flows(second * (MIN_FLOW - 1)));
        }
        assert!(flow.came_at.is_none());
        assert!(flow.flows(101 * MIN_FLOW) && flow.came_at.is_some());
    }
}
