//! Runs: `scheduler` queues a run when it is due, `queue` stores it, and `worker` claims it, pulls,
//! writes and commits in one of the `slots`. Start at `worker`. This file has the handle that pages
//! and the API use.

pub mod backfills;
pub mod coverage;
mod deadlines;
mod disk_space;
pub mod history;
pub mod ledger;
pub mod live;
mod on_run_end;
mod panics;
mod pausing;
pub mod queue;
pub mod retry;
pub mod run;
pub mod scheduler;
pub mod schedules;
pub mod slots;
#[cfg(test)]
mod testing;
pub mod verify_runs;
mod worker;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::actor::Actor;
use crate::auth::audit::AuditActor;
use crate::clock::{Clock, Millis};
use crate::datasets::Datasets;
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{DatasetId, RunId};
use crate::metrics::Metrics;
use crate::notifications::Notifications;
use live::LiveProgress;
use queue::{AccountLimit, WorkerLeases};
use run::{Run, Trigger};
use scheduler::clock_jump::ClockMonitor;
use slots::Slots;

/// Logged once when requeueing fails at the start, and once when it succeeds.
const REQUEUE_OUTAGE: &str =
    "interrupted runs could not be put back into the queue, so no runs start";
/// The interval between two attempts to requeue interrupted runs.
const REQUEUE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The handle of the puller. Cheap to clone.
#[derive(Clone)]
pub struct Puller(Arc<RunContext>);

/// The shared state of the puller.
pub struct RunContext {
    pub db: Db,
    pub clock: Clock,
    pub accounts: Accounts,
    pub datasets: Datasets,
    pub metrics: Metrics,
    /// Sends notifications.
    pub notifications: Notifications,
    /// The progress of running pulls.
    pub live: LiveProgress,
    /// Runs wait while the disk has fewer free bytes.
    pub min_free_bytes: u64,
    /// The leases that this process holds.
    pub leases: WorkerLeases,
    /// Detects a clock that was set.
    pub clock_monitor: ClockMonitor,
    /// Wakes the dispatcher: a run can be claimed.
    pub wake_dispatcher: Notify,
    /// Wakes the scheduler: a schedule has changed.
    pub wake_scheduler: Notify,
    /// Wakes the deadline checks: a deadline may have changed.
    pub wake_deadlines: Notify,
    /// Fires when the server stops.
    pub stop: CancellationToken,
    /// The worker slots.
    pub slots: Slots,
    /// The maximum number of runs that process or save rows at once.
    pub workers: usize,
    /// The maximum duration of a run, in milliseconds. A longer run is stopped.
    pub max_run_ms: Millis,
    /// The minimum interval between two runs of a schedule, in minutes.
    pub min_interval_minutes: u32,
}

impl RunContext {
    /// A new read of an account begins only while fewer reads than this are active, including those
    /// that wait for the vendor. The limit for runs that no person started is one less than the
    /// number of workers, so that a worker stays free for other accounts.
    pub fn account_limit(&self) -> AccountLimit {
        let limit = |workers: usize| i64::try_from(workers.max(1)).unwrap_or(i64::MAX);
        AccountLimit {
            scheduled: limit(self.workers.saturating_sub(1)),
            manual: limit(self.workers),
        }
    }
}

impl Deref for Puller {
    type Target = RunContext;

    fn deref(&self) -> &RunContext {
        &self.0
    }
}

impl Puller {
    pub fn new(context: RunContext) -> Self {
        Self(Arc::new(context))
    }

    /// Requeues interrupted runs, then starts the dispatcher, the scheduler, the sweep, the
    /// deadline checks and the notification sender. They end when `stop` fires.
    pub async fn start(&self, tasks: &TaskTracker) -> Result<()> {
        panics::install_hook();
        match self.requeue_interrupted().await {
            Ok(()) => self.start_loops(tasks),
            // The catalogue cannot be written: the server starts, because reading works, and
            // requeues later.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                self.db.outages().record_failure(REQUEUE_OUTAGE, &error);
                let (puller, tracker) = (self.clone(), tasks.clone());
                tasks.spawn(async move {
                    loop {
                        tokio::select! {
                            () = puller.stop.cancelled() => return,
                            () = puller.clock.wait(REQUEUE_RETRY_INTERVAL) => {}
                        }
                        if puller
                            .db
                            .outages()
                            .track(REQUEUE_OUTAGE, puller.requeue_interrupted().await)
                            .is_some()
                        {
                            return puller.start_loops(&tracker);
                        }
                    }
                });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Puts interrupted runs back into the queue.
    async fn requeue_interrupted(&self) -> Result<()> {
        let rescued = queue::requeue_interrupted(&self.db, &self.clock).await?;
        if rescued > 0 {
            tracing::info!(
                rescued,
                "runs interrupted by the last stop are back in the queue"
            );
        }
        Ok(())
    }

    fn start_loops(&self, tasks: &TaskTracker) {
        tasks.spawn(worker::dispatch_until_stopped(self.clone(), tasks.clone()));
        tasks.spawn(scheduler::schedule_until_stopped(self.clone()));
        tasks.spawn(scheduler::sweep_until_stopped(self.clone()));
        tasks.spawn(deadlines::check_until_stopped(self.clone()));
        self.notifications.start(&self.stop, tasks);
    }

    /// Queues a run now, or returns the run that is already active.
    pub async fn run_now(
        &self,
        actor: &Actor,
        dataset: &DatasetId,
        trigger: Trigger,
    ) -> Result<Run> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        let Some(account) = &dataset.account_id else {
            return Err(Error::conflict(
                "account_missing",
                "The account of this DataSet was deleted. The DataSet cannot run.",
            )
            .action("Choose another account under Settings."));
        };
        self.accounts
            .ensure_usable_by(account, &dataset.owner_id)
            .await?;
        self.accounts.usable(actor, account).await?;
        let mut tx = self.db.write().await?;
        let run = queue::enqueue(
            &mut tx,
            self.clock.now(),
            &dataset.id,
            &dataset.source_key(),
            trigger,
            Some(&actor.user),
        )
        .await?;
        tx.commit().await?;
        self.wake_dispatcher.notify_one();
        self.reload(&run).await
    }

    /// Cancels a run that is queued, waiting or running. Returns the run; a run that has ended is
    /// not changed.
    pub async fn cancel(&self, actor: &Actor, run: &RunId) -> Result<Run> {
        let run = self.get(actor, run).await?;
        self.datasets.get_to_run(actor, &run.dataset_id).await?;
        if queue::cancel(&self.db, &self.clock, &run.id).await? {
            self.wake_dispatcher.notify_waiters();
        }
        self.reload(&run.id).await
    }

    /// Makes the pending version of a run the current one. Returns the run.
    pub async fn accept(&self, actor: &Actor, run: &RunId) -> Result<Run> {
        let run = self.get(actor, run).await?;
        self.datasets.get_to_change(actor, &run.dataset_id).await?;
        queue::accept(&self.db, &self.clock, &run.id, &run.dataset_id, &actor.user).await?;
        self.datasets
            .versions
            .apply_retention(&run.dataset_id)
            .await?;
        self.reload(&run.id).await
    }

    /// Discards the pending version of a run; the current version stays. Returns the run.
    pub async fn discard(&self, by: AuditActor<'_>, run: &RunId) -> Result<Run> {
        let run = self.get(by.actor, run).await?;
        self.datasets
            .get_to_change(by.actor, &run.dataset_id)
            .await?;
        let Some(version) = run
            .version_id
            .as_ref()
            .filter(|_| run.outcome == Some(run::RunOutcome::PendingApproval))
        else {
            return Err(Error::conflict(
                "not_held",
                "No version of this run is waiting for approval.",
            )
            .action("See the newest runs under History."));
        };
        self.datasets
            .delete_version(by, &run.dataset_id, version)
            .await?;
        self.reload(&run.id).await
    }

    /// One run, if this person may see its DataSet.
    pub async fn get(&self, actor: &Actor, run: &RunId) -> Result<Run> {
        let missing = || Error::not_found("run");
        let mut run = queue::get(&self.db, run).await?.ok_or_else(missing)?;
        let dataset = self
            .datasets
            .get(actor, &run.dataset_id)
            .await
            .map_err(|_| missing())?;
        run.wait_reason = self.wait_reason(&run).await?;
        Ok(run.redacted_with(&dataset))
    }

    /// What a queued run waits for; `None` for a run that is not queued.
    pub async fn wait_reason(&self, run: &Run) -> Result<Option<queue::wait_reason::WaitReason>> {
        if run.state != run::RunState::Queued {
            return Ok(None);
        }
        queue::wait_reason::wait_reason(&self.db, &self.clock, &run.id, self.account_limit()).await
    }

    async fn reload(&self, run: &RunId) -> Result<Run> {
        let mut run = queue::get(&self.db, run)
            .await?
            .ok_or_else(|| Error::not_found("run"))?;
        run.wait_reason = self.wait_reason(&run).await?;
        Ok(run)
    }
}
