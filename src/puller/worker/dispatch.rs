//! Claims runs while a slot is free, and starts each set of runs that share a reading as a task of its own.

use std::time::Duration;

use tokio::time::Interval;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::beside::Beside;
use super::place::WAITING_FOR_WORKER;
use super::{ends, work};
use crate::clock::millis;
use crate::db::marks::stumble;
use crate::error::Result;
use crate::puller::live::Shown;
use crate::puller::queue::{self, Claimed};
use crate::puller::slots::{InFlight, Slot};
use crate::puller::{Puller, panics};

/// What is logged once when runs cannot be claimed, and once when they can again.
const CLAIMS: &str = "a worker could not claim a run";
/// The queue is looked at at least this often.
const LOOK_AT_LEAST: Duration = Duration::from_secs(5);

/// Claims runs until the server stops. What was claimed is pulled by tasks of `tasks`.
pub(in crate::puller) async fn dispatch_until_stopped(puller: Puller, tasks: TaskTracker) {
    loop {
        let in_flight = tokio::select! {
            biased;
            () = puller.stop.cancelled() => return,
            admitted = puller.slots.admit() => admitted,
        };
        // Whatever breaks off in here, claiming goes on.
        match panics::guarded(queue::claim(&puller.db, &puller.clock, &puller.holder, puller.account_limit())).await {
            Ok(set) if !set.is_empty() => {
                tasks.spawn(start(puller.clone(), set, in_flight));
            }
            Ok(_) => {
                drop(in_flight);
                puller.db.outages().ended(CLAIMS);
                idle(&puller).await;
            }
            Err(error) => {
                drop(in_flight);
                puller.db.outages().failed(CLAIMS, &error);
                back_off(&puller).await;
            }
        }
    }
}

async fn idle(puller: &Puller) {
    let due = queue::next_due(&puller.db).await.ok().flatten();
    let latest = puller.clock.now() + millis(LOOK_AT_LEAST);
    // Some time at least, so that a row which cannot be claimed yet does not keep a core busy.
    let until = due.map_or(latest, |due| due.clamp(puller.clock.now() + 50, latest));
    tokio::select! {
        () = puller.stop.cancelled() => {}
        () = puller.wake.notified() => {}
        () = puller.clock.wait_until_or(until, LOOK_AT_LEAST) => {}
    }
}

/// Waits before a claim that failed is tried again, however much is due.
async fn back_off(puller: &Puller) {
    tokio::select! {
        () = puller.stop.cancelled() => {}
        () = puller.clock.wait(LOOK_AT_LEAST) => {}
    }
}

/// Pulls a claimed run and those that share its reading, from the gathering to the end.
async fn start(puller: Puller, mut set: Vec<Claimed>, in_flight: InFlight) {
    let Some(leader) = set.first().cloned() else { return };
    let working = async {
        let (slot, siblings) = panics::guarded(gather(&puller, &leader)).instrument(leader.span()).await?;
        set.extend(siblings);
        let claimed = set.clone();
        let span = span_of(&claimed);
        panics::guarded(async {
            work(&puller, claimed, slot, in_flight).await;
            Ok(())
        })
        .instrument(span)
        .await
    };
    if let Err(error) = working.await {
        for run in &set {
            ends::fail(&puller, run, &error).await;
        }
    }
    // Its account may have another run, which waited for this one.
    puller.wake.notify_one();
}

/// Under what the log tells of a reading: the run itself, or the ids of all runs that share it.
fn span_of(claimed: &[Claimed]) -> tracing::Span {
    match claimed {
        [run] => run.span(),
        runs => tracing::info_span!(parent: None, "reading", runs = %runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>().join(",")),
    }
}

/// Waits a moment for others that want the leader's reading, when there are reports that could share it. Answers them, and the slot in
/// which they will work.
async fn gather(puller: &Puller, leader: &Claimed) -> Result<(Slot, Vec<Claimed>)> {
    stumble("gather");
    let dataset = puller.datasets.for_run(&leader.dataset_id).await?;
    // One without an account fails soon; it is nobody else's slot meanwhile.
    let slot = puller.slots.slot(dataset.account_id.as_ref().map_or(leader.dataset_id.as_str(), |account| account.as_str()));
    if !leader.gathers {
        return Ok((slot, Vec::new()));
    }
    if dataset.connector.shares(dataset.report) {
        tokio::select! {
            () = puller.stop.cancelled() => {}
            () = puller.clock.wait(queue::GATHER) => {}
        }
    }
    Ok((slot, queue::claim_siblings(&puller.db, &puller.clock, &puller.holder, leader).await?))
}

/// Waits for the slot of runs that have not begun, while their leases are held, and answers what is shown of each. The slot is not held
/// when nobody is left to pull for, or the server stops.
pub(super) async fn enter(puller: &Puller, claimed: &[Claimed], heartbeat: &mut Interval, slot: &mut Slot) -> Vec<Shown> {
    let now = puller.clock.now();
    let shown: Vec<Shown> = claimed.iter().map(|run| puller.live.show(&run.id, now)).collect();
    let show = |phase| shown.iter().for_each(|shown| shown.change(puller.clock.now(), |progress| progress.phase = phase));
    show(WAITING_FOR_WORKER);
    Beside::starting(claimed).enter(puller, heartbeat, slot).await;
    show("Starting");
    shown
}
