//! Saves the runs of a shared read one after the other while the leases of all are extended. Until
//! its commit begins, a run may still be stopped: by a person, because another process holds it, or
//! because it makes no progress.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use super::heartbeat::heartbeat_interval;
use super::run_slot::RunSlot;
use super::stall_detector::{STALLED_AFTER, StallDetector};
use super::{PullEnd, PullingRun, finish};
use crate::clock::Millis;
use crate::connectors::PullError;
use crate::datasets::segments::Segments;
use crate::puller::queue::{self, CallStats, Claimed, LeaseState, RunEnd};
use crate::puller::{Puller, panics, retry};

/// Why a run is not saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SaveStop {
    LeaseLost(LeaseState),
    /// Nothing was read or written for too long.
    Stalled,
    /// The run took longer than this maximum, in milliseconds.
    TimedOut(Millis),
}

impl SaveStop {
    pub fn end(self, had_rows: bool) -> RunEnd {
        match self {
            SaveStop::LeaseLost(lease_state) => finish::lease_lost_end(lease_state),
            SaveStop::TimedOut(max_ms) => {
                RunEnd::Failed(retry::run_too_long(max_ms / 3_600_000, had_rows))
            }
            SaveStop::Stalled => {
                RunEnd::Failed(retry::no_progress_saving(STALLED_AFTER / 60_000, had_rows))
            }
        }
    }
}

const STAGE_WAITING: u8 = 0;
const STAGE_SAVING: u8 = 1;
const STAGE_DONE: u8 = 2;

/// One run that is being saved.
pub(super) struct SavingRun {
    /// The run's own handle, which counts the reads and writes of this run.
    pub segments: Segments,
    stage: AtomicU8,
    commit_begun: AtomicBool,
    stop_reason: OnceLock<SaveStop>,
    stop_token: CancellationToken,
    stall_detector: Mutex<StallDetector<u64>>,
}

impl SavingRun {
    /// `passed`: the monotonic time.
    pub fn new(segments: Segments, passed: Millis) -> Self {
        let (stage, commit_begun) = (AtomicU8::new(STAGE_WAITING), AtomicBool::new(false));
        Self {
            segments,
            stage,
            commit_begun,
            stop_reason: OnceLock::new(),
            stop_token: CancellationToken::new(),
            stall_detector: Mutex::new(StallDetector::new(passed)),
        }
    }

    /// Runs `future` unless the run is stopped.
    pub async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Result<T, SaveStop> {
        tokio::select! {
            biased;
            () = self.stop_token.cancelled() => Err(self.stop_reason.get().copied().unwrap_or(SaveStop::LeaseLost(LeaseState::Lost))),
            done = future => Ok(done),
        }
    }

    /// From now on the run cannot be stopped: the result of the commit decides.
    pub fn begin_commit(&self) {
        self.commit_begun.store(true, Ordering::Relaxed);
    }

    /// Whether the commit has begun. Then a version may refer to the run's files, even if the
    /// commit returned an error.
    pub fn may_be_committed(&self) -> bool {
        self.commit_begun.load(Ordering::Relaxed)
    }

    fn stop(&self, why: SaveStop) {
        if !self.commit_begun.load(Ordering::Relaxed) {
            let _ = self.stop_reason.set(why);
            self.stop_token.cancel();
        }
    }

    fn is_at(&self, stage: u8) -> bool {
        self.stage.load(Ordering::Relaxed) == stage
    }

    fn set_stage(&self, stage: u8) {
        self.stage.store(stage, Ordering::Relaxed);
    }

    /// Stops the run if nothing was read or written for too long.
    fn check_progress(&self, passed: Millis) {
        let mut stall_detector = self
            .stall_detector
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if stall_detector.is_stalled(passed, self.segments.io_count(), !self.is_at(STAGE_SAVING)) {
            self.stop(SaveStop::Stalled);
        }
    }
}

/// Saves or ends all runs of the set, depending on how their read ended.
pub(super) async fn save(
    puller: &Puller,
    mut set: Vec<PullingRun>,
    ended: &PullEnd,
    call_stats: CallStats,
    run_slot: &mut RunSlot,
) {
    let deadline = run_slot.deadline;
    let full = match ended {
        PullEnd::InternalError(error) => error.is_storage_error(),
        PullEnd::Stopped(error) => matches!(error, PullError::StorageFull),
        _ => false,
    };
    if full {
        // The ends can only be written if there is disk space, which the files of the runs may use
        // up.
        for pulling in &mut set {
            pulling.writer.halt();
            puller
                .datasets
                .versions
                .delete_unrecorded(&pulling.run.id)
                .await;
        }
    }
    let all: Vec<(Claimed, SavingRun)> = set
        .iter()
        .map(|pulling| {
            (
                pulling.run.clone(),
                SavingRun::new(pulling.writer.segments().clone(), puller.clock.monotonic()),
            )
        })
        .collect();
    let saving = async {
        // Only commits need a slot. While it waits for one, a run can be cancelled at once.
        if matches!(ended, PullEnd::Pulled { .. }) {
            run_slot.acquire_to_save(puller, &set).await;
        }
        for (pulling, (run, saving)) in set.into_iter().zip(&all) {
            if saving.is_at(STAGE_DONE) {
                pulling.writer.abandon();
                continue;
            }
            saving.set_stage(STAGE_SAVING);
            let done = panics::guarded(async {
                finish::finish(puller, pulling, ended, call_stats, saving).await;
                Ok(())
            });
            if let Err(error) = done.await {
                finish::fail(puller, run, &error).await;
            }
            saving.set_stage(STAGE_DONE);
        }
    };
    // Both run concurrently, because each may hold the only write connection and must be able to
    // return it to the other.
    tokio::select! {
        () = saving => {}
        () = hold_leases(puller, &all, deadline) => {}
    }
}

/// Extends the leases and stops runs that were cancelled, lost their lease, stalled or timed out.
async fn hold_leases(puller: &Puller, all: &[(Claimed, SavingRun)], deadline: Millis) {
    let mut heartbeat = heartbeat_interval();
    loop {
        heartbeat.tick().await;
        for (run, saving) in all.iter().filter(|(_, saving)| !saving.is_at(STAGE_DONE)) {
            match queue::extend_lease(&puller.db, &puller.clock, run, "{}").await {
                Ok(LeaseState::Active) if puller.clock.monotonic() >= deadline => {
                    saving.stop(SaveStop::TimedOut(puller.max_run_ms))
                }
                Ok(LeaseState::Active) => saving.check_progress(puller.clock.monotonic()),
                // The end is written at once, so that the cancellation does not wait for the other
                // runs.
                Ok(LeaseState::CancelRequested) if saving.is_at(STAGE_WAITING) => {
                    saving.set_stage(STAGE_DONE);
                    finish::end(puller, run, &RunEnd::Cancelled, CallStats::default()).await;
                }
                Ok(lease_state) => saving.stop(SaveStop::LeaseLost(lease_state)),
                Err(error) => {
                    puller
                        .db
                        .outages()
                        .record_failure(super::LEASE_OUTAGE, &error);
                }
            }
        }
    }
}
