//! Runs. `scheduler` makes a run when one is due, `queue` holds it, `worker` claims it, pulls, writes and commits, in one of the `slots`.
//! Start at `worker.rs`. This file is the handle that pages and programs use.

pub mod backfills;
pub mod coverage;
pub mod history;
mod keeper;
pub mod live;
mod panics;
mod pausing;
pub mod queue;
pub mod retry;
pub mod run;
pub mod scheduler;
pub mod schedules;
pub mod slots;
mod space;
#[cfg(test)]
mod testing;
mod upkeep;
pub mod verify;
pub mod windows;
mod worker;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::actor::Actor;
use crate::auth::audit::By;
use crate::clock::{Clock, Millis};
use crate::datasets::Datasets;
use crate::db::Db;
use crate::error::{Error, Kind, Result};
use crate::ids::{DatasetId, RunId};
use crate::metrics::Metrics;
use crate::notices::Notices;
use live::Live;
use queue::{AccountLimit, Holder};
use run::{Run, Trigger};
use scheduler::clock_set::Seen;
use slots::Slots;

/// What is logged once when it cannot be done at the start, and once when it can.
const RESCUE: &str = "interrupted runs could not be put back into the queue, so no runs start";
/// It is tried again after this.
const RESCUE_AGAIN: Duration = Duration::from_secs(2);

/// The handle on all pulling. Cheap to clone.
#[derive(Clone)]
pub struct Puller(Arc<Parts>);

/// What pulling needs.
pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    pub accounts: Accounts,
    pub datasets: Datasets,
    pub metrics: Metrics,
    /// Who is told of what.
    pub notices: Notices,
    /// What running pulls are doing.
    pub live: Live,
    /// So many bytes of the disk stay free: a run waits when there are fewer.
    pub keep_free: u64,
    /// This incarnation of the server.
    pub holder: Holder,
    /// What is known of the clock.
    pub seen: Seen,
    /// Wakes whoever claims runs: there is one to claim.
    pub wake: Notify,
    /// Wakes the scheduler: a schedule has changed.
    pub rescheduled: Notify,
    /// Wakes the keeper: what it looks after has changed.
    pub kept: Notify,
    /// Fires when the server stops.
    pub stop: CancellationToken,
    /// Who works just now.
    pub slots: Slots,
    /// Runs that work at once.
    pub workers: usize,
    /// A run that takes longer is stopped, in milliseconds.
    pub max_run: Millis,
    /// No DataSet is pulled more often than every so many minutes.
    pub shortest_interval: u32,
}

impl Parts {
    /// How many readings of one account may be under way when another one begins, those that wait for the vendor included: fewer than there
    /// are workers when no person asked for it, so that a worker stays for others.
    pub fn account_limit(&self) -> AccountLimit {
        let limit = |workers: usize| i64::try_from(workers.max(1)).unwrap_or(i64::MAX);
        AccountLimit { scheduled: limit(self.workers.saturating_sub(1)), by_people: limit(self.workers) }
    }
}

impl Deref for Puller {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Puller {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Puts interrupted runs back, then starts the claiming of runs, the scheduler and the sweep. They end when `stop` fires.
    pub async fn start(&self, tasks: &TaskTracker) -> Result<()> {
        panics::note_places();
        match self.rescue().await {
            Ok(()) => self.start_loops(tasks),
            // Reading works meanwhile.
            Err(error) if error.kind() == Kind::Unavailable => {
                self.db.outages().failed(RESCUE, &error);
                let (puller, more) = (self.clone(), tasks.clone());
                tasks.spawn(async move {
                    loop {
                        tokio::select! {
                            () = puller.stop.cancelled() => return,
                            () = puller.clock.wait(RESCUE_AGAIN) => {}
                        }
                        if puller.db.outages().watched(RESCUE, puller.rescue().await).is_some() {
                            return puller.start_loops(&more);
                        }
                    }
                });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Puts interrupted runs back into the queue.
    async fn rescue(&self) -> Result<()> {
        let rescued = queue::rescue(&self.db, &self.clock).await?;
        if rescued > 0 {
            tracing::info!(rescued, "runs interrupted by the last stop are back in the queue");
        }
        Ok(())
    }

    fn start_loops(&self, tasks: &TaskTracker) {
        tasks.spawn(worker::dispatch_until_stopped(self.clone(), tasks.clone()));
        tasks.spawn(scheduler::schedule_until_stopped(self.clone()));
        tasks.spawn(scheduler::sweep_until_stopped(self.clone()));
        tasks.spawn(keeper::keep_until_stopped(self.clone()));
        self.notices.start(&self.stop, tasks);
    }

    /// Starts a run now, or answers the one that is alive already.
    pub async fn run_now(&self, actor: &Actor, dataset: &DatasetId, trigger: Trigger) -> Result<Run> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        let Some(account) = &dataset.account_id else {
            return Err(Error::conflict("account_missing", "The account of this DataSet was deleted. The DataSet cannot run.")
                .action("Choose another account under Settings."));
        };
        self.accounts.feeds(account, &dataset.owner_id).await?;
        self.accounts.usable(actor, account).await?;
        let mut tx = self.db.write().await?;
        let run = queue::enqueue_in(&mut tx, self.clock.now(), &dataset.id, &dataset.source_key(), trigger, Some(&actor.user)).await?;
        tx.commit().await?;
        self.wake.notify_one();
        self.found(&run).await
    }

    /// Stops a run that is queued, waiting or running. Answers the run; one that is over stays as it is.
    pub async fn cancel(&self, actor: &Actor, run: &RunId) -> Result<Run> {
        let run = self.get(actor, run).await?;
        self.datasets.get_to_run(actor, &run.dataset_id).await?;
        if queue::cancel(&self.db, &self.clock, &run.id).await? {
            self.wake.notify_waiters();
        }
        self.found(&run.id).await
    }

    /// Makes the version that a run left held the current one. Answers the run.
    pub async fn accept(&self, actor: &Actor, run: &RunId) -> Result<Run> {
        let run = self.get(actor, run).await?;
        self.datasets.get_to_change(actor, &run.dataset_id).await?;
        queue::accept(&self.db, &self.clock, &run.id, &run.dataset_id, &actor.user).await?;
        self.datasets.versions.retain(&run.dataset_id).await?;
        self.found(&run.id).await
    }

    /// Discards the version that a run left held: the rows from before stay. Answers the run.
    pub async fn discard(&self, by: By<'_>, run: &RunId) -> Result<Run> {
        let run = self.get(by.actor, run).await?;
        self.datasets.get_to_change(by.actor, &run.dataset_id).await?;
        let Some(version) = run.version_id.as_ref().filter(|_| run.outcome == Some(run::Outcome::Held)) else {
            return Err(Error::conflict("not_held", "No version of this run is waiting for approval.").action("See the newest runs under History."));
        };
        self.datasets.delete_version(by, &run.dataset_id, version).await?;
        self.found(&run.id).await
    }

    /// One run, if this person may see its DataSet.
    pub async fn get(&self, actor: &Actor, run: &RunId) -> Result<Run> {
        let missing = || Error::not_found("run");
        let mut run = queue::get(&self.db, run).await?.ok_or_else(missing)?;
        let dataset = self.datasets.get(actor, &run.dataset_id).await.map_err(|_| missing())?;
        run.waits_for = self.waits_for(&run).await?;
        Ok(run.seen_with(&dataset))
    }

    /// What a queued run waits for; none for one that is not queued.
    pub async fn waits_for(&self, run: &Run) -> Result<Option<queue::turns::Wait>> {
        if run.state != run::State::Queued {
            return Ok(None);
        }
        queue::turns::waits_for(&self.db, &self.clock, &run.id, self.account_limit()).await
    }

    async fn found(&self, run: &RunId) -> Result<Run> {
        let mut run = queue::get(&self.db, run).await?.ok_or_else(|| Error::not_found("run"))?;
        run.waits_for = self.waits_for(&run).await?;
        Ok(run)
    }
}
