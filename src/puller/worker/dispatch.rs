//! Claims runs while a slot is free, and starts each set of runs that share a read as one task.

use std::time::Duration;

use tokio::time::Interval;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::heartbeat::Heartbeat;
use super::run_slot::WAITING_FOR_WORKER;
use super::{finish, process_runs};
use crate::clock::millis;
use crate::db::failpoints::panic_point;
use crate::error::Result;
use crate::puller::live::ProgressGuard;
use crate::puller::queue::{self, Claimed};
use crate::puller::slots::{InFlight, WorkerSlot};
use crate::puller::{Puller, panics};

/// Logged once when claiming fails, and once when it succeeds again.
const CLAIM_OUTAGE: &str = "a worker could not claim a run";
/// The maximum time between two attempts to claim.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Claims runs until the server stops, and processes them in tasks of `tasks`.
pub(in crate::puller) async fn dispatch_until_stopped(puller: Puller, tasks: TaskTracker) {
    loop {
        let in_flight = tokio::select! {
            biased;
            () = puller.stop.cancelled() => return,
            admitted = puller.slots.admit() => admitted,
        };
        // Claiming continues after a panic in `claim`.
        match panics::guarded(queue::claim(
            &puller.db,
            &puller.clock,
            &puller.leases,
            puller.account_limit(),
        ))
        .await
        {
            Ok(set) if !set.is_empty() => {
                tasks.spawn(run_set(puller.clone(), set, in_flight));
            }
            Ok(_) => {
                drop(in_flight);
                puller.db.outages().record_recovery(CLAIM_OUTAGE);
                idle(&puller).await;
            }
            Err(error) => {
                drop(in_flight);
                puller.db.outages().record_failure(CLAIM_OUTAGE, &error);
                back_off(&puller).await;
            }
        }
    }
}

async fn idle(puller: &Puller) {
    let due = queue::next_due(&puller.db).await.ok().flatten();
    let latest = puller.clock.now() + millis(MAX_CHECK_INTERVAL);
    // At least 50 ms, so that a run that is due but cannot be claimed yet does not keep a core
    // busy.
    let until = due.map_or(latest, |due| due.clamp(puller.clock.now() + 50, latest));
    tokio::select! {
        () = puller.stop.cancelled() => {}
        () = puller.wake_dispatcher.notified() => {}
        () = puller.clock.wait_until_or_for(until, MAX_CHECK_INTERVAL) => {}
    }
}

/// Waits after a failed claim, even if runs are due.
async fn back_off(puller: &Puller) {
    tokio::select! {
        () = puller.stop.cancelled() => {}
        () = puller.clock.wait(MAX_CHECK_INTERVAL) => {}
    }
}

/// Waits for runs that share the read of the claimed runs, and processes all of them.
async fn run_set(puller: Puller, mut set: Vec<Claimed>, in_flight: InFlight) {
    let Some(leader) = set.first().cloned() else {
        return;
    };
    let working = async {
        let (slot, same_source_runs) = panics::guarded(batch_wait(&puller, &leader))
            .instrument(leader.span())
            .await?;
        set.extend(same_source_runs);
        let claimed = set.clone();
        let span = span_of(&claimed);
        panics::guarded(async {
            process_runs(&puller, claimed, slot, in_flight).await;
            Ok(())
        })
        .instrument(span)
        .await
    };
    if let Err(error) = working.await {
        for run in &set {
            finish::fail(&puller, run, &error).await;
        }
    }
    // Another run of the account may have waited for this one.
    puller.wake_dispatcher.notify_one();
}

/// The tracing span of a read: the span of the run, or one with the ids of all runs that share the
/// read.
fn span_of(claimed: &[Claimed]) -> tracing::Span {
    match claimed {
        [run] => run.span(),
        runs => {
            tracing::info_span!(parent: None, "reading", runs = %runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>().join(","))
        }
    }
}

/// Waits a moment for other runs with the leader's source key, if the report can share its read.
/// Returns them, and the slot in which all will work.
async fn batch_wait(puller: &Puller, leader: &Claimed) -> Result<(WorkerSlot, Vec<Claimed>)> {
    panic_point("batch_wait");
    let dataset = puller.datasets.for_run(&leader.dataset_id).await?;
    // A DataSet without an account fails soon. Until then, its slot counts for no account.
    let slot = puller.slots.slot(
        dataset
            .account_id
            .as_ref()
            .map_or(leader.dataset_id.as_str(), |account| account.as_str()),
    );
    if !leader.awaits_batch {
        return Ok((slot, Vec::new()));
    }
    if dataset.connector.can_share_request(dataset.report) {
        tokio::select! {
            () = puller.stop.cancelled() => {}
            () = puller.clock.wait(queue::BATCH_WAIT) => {}
        }
    }
    Ok((
        slot,
        queue::claim_same_source_runs(&puller.db, &puller.clock, &puller.leases, leader).await?,
    ))
}

/// Waits for a slot for claimed runs, with heartbeats. Returns the progress guard of each run. The
/// slot is not held if all runs were stopped or the server stops.
pub(super) async fn wait_for_slot(
    puller: &Puller,
    claimed: &[Claimed],
    heartbeat: &mut Interval,
    slot: &mut WorkerSlot,
) -> Vec<ProgressGuard> {
    let now = puller.clock.now();
    let progress: Vec<ProgressGuard> = claimed
        .iter()
        .map(|run| puller.live.track(&run.id, now))
        .collect();
    let show = |phase| {
        progress.iter().for_each(|progress| {
            progress.update(puller.clock.now(), |progress| progress.phase = phase)
        })
    };
    show(WAITING_FOR_WORKER);
    Heartbeat::for_claimed(claimed)
        .acquire(puller, heartbeat, slot)
        .await;
    show("Starting");
    progress
}
