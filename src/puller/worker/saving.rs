//! What comes after the reading: one run of the set after the other is saved, while the leases of all are held. Until its commit begins
//! a run may still be stopped: by a person, because another holds it, or because nothing moves any more.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::place::Place;
use super::watch::{STUCK_AFTER, Watch};
use super::{Ended, Pulling, ends};
use crate::clock::Millis;
use crate::connectors::PullError;
use crate::datasets::segments::Segments;
use crate::puller::queue::{self, Claimed, End, Held, Spent};
use crate::puller::{Puller, panics, retry};

/// Why a run is not saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Gone(Held),
    /// Nothing was read or written for too long.
    Stuck,
    /// It took longer than a run may take: so many milliseconds.
    TooLong(Millis),
}

impl Why {
    pub fn end(self, had_rows: bool) -> End {
        match self {
            Why::Gone(held) => ends::cancelled(held),
            Why::TooLong(most) => End::Failed(retry::run_too_long(most / 3_600_000, had_rows)),
            Why::Stuck => End::Failed(retry::no_progress_saving(STUCK_AFTER / 60_000, had_rows)),
        }
    }
}

const WAITS: u8 = 0;
const AT_WORK: u8 = 1;
const OVER: u8 = 2;

/// One run that is being saved.
pub(super) struct Saving {
    /// The run's own handle, which counts what is read and written for it.
    pub segments: Segments,
    stage: AtomicU8,
    commits: AtomicBool,
    why: OnceLock<Why>,
    halt: CancellationToken,
    watch: Mutex<Watch<u64>>,
}

impl Saving {
    /// `passed`: of the clock.
    pub fn new(segments: Segments, passed: Millis) -> Self {
        let (stage, commits) = (AtomicU8::new(WAITS), AtomicBool::new(false));
        Self { segments, stage, commits, why: OnceLock::new(), halt: CancellationToken::new(), watch: Mutex::new(Watch::new(passed)) }
    }

    /// Does something unless the run is stopped meanwhile.
    pub async fn or_halt<T>(&self, doing: impl Future<Output = T>) -> Result<T, Why> {
        tokio::select! {
            biased;
            () = self.halt.cancelled() => Err(self.why.get().copied().unwrap_or(Why::Gone(Held::Lost))),
            done = doing => Ok(done),
        }
    }

    /// From now on nothing stops it: whatever the commit finds counts.
    pub fn commits(&self) {
        self.commits.store(true, Ordering::Relaxed);
    }

    /// Whether its commit was begun: then a version may name its files, even when the commit failed.
    pub fn may_be_committed(&self) -> bool {
        self.commits.load(Ordering::Relaxed)
    }

    fn halt(&self, why: Why) {
        if !self.commits.load(Ordering::Relaxed) {
            let _ = self.why.set(why);
            self.halt.cancel();
        }
    }

    fn is(&self, stage: u8) -> bool {
        self.stage.load(Ordering::Relaxed) == stage
    }

    fn becomes(&self, stage: u8) {
        self.stage.store(stage, Ordering::Relaxed);
    }

    /// Stops it when nothing was read or written for too long.
    fn look(&self, passed: Millis) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_stuck(passed, self.segments.moved(), !self.is(AT_WORK)) {
            self.halt(Why::Stuck);
        }
    }
}

/// Ends all runs of the set by how their reading ended.
pub(super) async fn save(puller: &Puller, mut set: Vec<Pulling>, ended: &Ended, spent: Spent, place: &mut Place) {
    let deadline = place.deadline;
    let full = match ended {
        Ended::OwnFault(error) => error.is_of_storage(),
        Ended::Stopped(error) => matches!(error, PullError::NoRoom),
        _ => false,
    };
    if full {
        // Their ends can only be written when there is space, which their files may be holding.
        for pulling in &mut set {
            pulling.writer.halt();
            puller.datasets.versions.delete_unrecorded(&pulling.run.id).await;
        }
    }
    let all: Vec<(Claimed, Saving)> =
        set.iter().map(|pulling| (pulling.run.clone(), Saving::new(pulling.writer.segments().clone(), puller.clock.passed()))).collect();
    let saving = async {
        // Only what is to be committed is work; until then it may be stopped like one that waits for the others of the set.
        if matches!(ended, Ended::Pulled { .. }) {
            place.enter_to_save(puller, &set).await;
        }
        for (pulling, (run, saving)) in set.into_iter().zip(&all) {
            if saving.is(OVER) {
                pulling.writer.abandon();
                continue;
            }
            saving.becomes(AT_WORK);
            let done = panics::guarded(async {
                ends::finish(puller, pulling, ended, spent, saving).await;
                Ok(())
            });
            if let Err(error) = done.await {
                ends::fail(puller, run, &error).await;
            }
            saving.becomes(OVER);
        }
    };
    // Both go on side by side: each may hold the one connection that writes, and must be able to give it back to the other.
    tokio::select! {
        () = saving => {}
        () = hold(puller, &all, deadline) => {}
    }
}

/// Holds the leases, and sees what stops a run.
async fn hold(puller: &Puller, all: &[(Claimed, Saving)], deadline: Millis) {
    let mut heartbeat = tokio::time::interval(queue::HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        heartbeat.tick().await;
        for (run, saving) in all.iter().filter(|(_, saving)| !saving.is(OVER)) {
            match queue::extend(&puller.db, &puller.clock, run, "{}").await {
                Ok(Held::Yes) if puller.clock.passed() >= deadline => saving.halt(Why::TooLong(puller.max_run)),
                Ok(Held::Yes) => saving.look(puller.clock.passed()),
                // Whoever stopped it need not wait for the others of the set.
                Ok(Held::Cancel) if saving.is(WAITS) => {
                    saving.becomes(OVER);
                    ends::end(puller, run, &End::Cancelled, Spent::default()).await;
                }
                Ok(gone) => saving.halt(Why::Gone(gone)),
                Err(error) => {
                    puller.db.outages().failed(super::LEASES, &error);
                }
            }
        }
    }
}
