//! Processes claimed runs: pull, write, commit. `dispatch` claims them; read `process_runs` next;
//! `worker/pull_loop.rs` processes what is read; `worker/finish.rs` ends the runs. A run works in a
//! slot (`puller/slots.rs`), which it releases while it only waits for its vendor
//! (`worker/slot_demand.rs`).

mod commit;
mod dispatch;
mod events;
mod finish;
mod heartbeat;
mod prepare;
mod pull;
mod pull_loop;
mod read_progress;
mod run_slot;
mod save;
mod slot_demand;
mod stall_detector;

use tracing::Instrument;

use super::live::ProgressGuard;
use super::queue::{CallStats, Claimed, LeaseState};
use super::slots::{InFlight, WorkerSlot};
use super::{Puller, panics};
use crate::connectors::PullError;
use crate::datasets::Dataset;
use crate::datasets::segments::SegmentWriter;
use crate::datasets::update_mode::Stamp;
use crate::error::Error;
pub(super) use dispatch::dispatch_until_stopped;
use heartbeat::heartbeat_interval;
use prepare::prepare;
use pull::pull;
use run_slot::RunSlot;

/// Logged once when extending a lease fails, and once when it succeeds again.
const LEASE_OUTAGE: &str = "a lease could not be extended";
/// Of a run without a slot, only every tenth heartbeat extends the lease; the others only check
/// whether the run must stop.
const EXTEND_LEASE_EVERY: u64 = 10;

/// One of the runs that a worker pulls together.
struct PullingRun {
    run: Claimed,
    dataset: Dataset,
    writer: SegmentWriter,
    progress: ProgressGuard,
    rows: u64,
    /// Rows of the current window.
    window_rows: u64,
    /// Added to each row, except with Replace.
    stamp: Option<Stamp>,
    /// Parents of the current window that produced no row; see `tracks_empty_parents`.
    empty_parents: Vec<String>,
    /// Set once this run was cancelled or its lease was lost. The other runs continue.
    lease_lost: Option<LeaseState>,
}

/// How a pull ended, for all runs of the set.
enum PullEnd {
    /// `total`: the vendor's number of records in all windows; `None` if it does not give one.
    Pulled {
        total: Option<u64>,
    },
    Stopped(PullError),
    /// No data arrived for too long.
    Stalled,
    /// The run took longer than the maximum duration.
    TimedOut,
    InternalError(Error),
}

/// Processes runs that share a read, from their preparation to their end.
async fn process_runs(
    puller: &Puller,
    claimed: Vec<Claimed>,
    mut slot: WorkerSlot,
    in_flight: InFlight,
) {
    let mut heartbeat = heartbeat_interval();
    let progress = dispatch::wait_for_slot(puller, &claimed, &mut heartbeat, &mut slot).await;
    let mut run_slot = RunSlot {
        slot,
        in_flight,
        deadline: puller.clock.monotonic().saturating_add(puller.max_run_ms),
    };
    let mut set: Vec<PullingRun> = Vec::new();
    for (run, progress) in claimed.into_iter().zip(progress) {
        let leader = set
            .first()
            .map(|leader| leader.run.source_key_of(&leader.dataset));
        match panics::guarded(
            prepare(puller, run.clone(), progress, leader.as_deref()).instrument(run.span()),
        )
        .await
        {
            Ok(Some(pulling)) => {
                run.span().in_scope(|| {
                    tracing::info!(
                        trigger = run.trigger.word(),
                        attempt = run.attempt,
                        "the run began"
                    )
                });
                set.push(pulling);
            }
            Ok(None) => {}
            Err(error) => finish::fail(puller, &run, &error).await,
        }
    }
    if set.is_empty() {
        return;
    }
    let mut call_stats = CallStats::default();
    let credentials_read_at = puller.clock.now();
    let ended = match panics::guarded(pull(
        puller,
        &mut set,
        &mut call_stats,
        &mut run_slot,
        &mut heartbeat,
    ))
    .await
    {
        Ok(ended) => ended,
        Err(error) => PullEnd::InternalError(error),
    };
    finish::note_health(puller, &set, &ended, credentials_read_at).await;
    save::save(puller, set, &ended, call_stats, &mut run_slot).await;
}
