//! Enqueues due runs and deletes old versions and files. One query on `next_run_at` finds the due
//! DataSets. Decisions depend only on the clock and the stored state, never on how long the process
//! waited, so that a change of the clock starts no run twice.

pub mod clock_jump;
mod repair;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{Sqlite, Transaction};

use super::schedules::{CatchUp, Schedule};
use super::{Puller, backfills, disk_space, queue};
use crate::clock::{Millis, millis};
use crate::datasets::Dataset;
use crate::error::{ErrorKind, Result};
use crate::ids::DatasetId;
use repair::{mark_broken, repair};

/// The maximum time between two checks, also when the clock is set.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// A schedule that cannot run is checked again after this time.
const RECHECK_BROKEN_AFTER: Millis = 3_600_000;
/// How often old versions and files are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// DataSets per transaction.
const BATCH_SIZE: usize = 500;
/// If more DataSets are due at once, their starts are spread: this many a second, over a minute at
/// most.
const STARTS_PER_SECOND: usize = 20;
const SPREAD_OVER: Millis = 60_000;
/// A due time that is older than this was missed; until then its run is only delayed.
const MISSED_AFTER: Millis = 5 * 60_000;
/// The maximum number of missed due times that are counted.
const MAX_MISSED: usize = 10_000;
/// 2024-01-01. An earlier clock time is wrong.
const MIN_CLOCK: Millis = 1_704_067_200_000;

/// Returns why no schedules run, if the server clock shows an impossible time.
pub fn clock_error(now: Millis) -> Option<String> {
    let shows = crate::clock::timestamp(now).strftime("%Y-%m-%d %H:%M");
    (now < MIN_CLOCK).then(|| {
        format!(
            "The server clock shows {shows} UTC, which is wrong. \
             No scheduled runs start until the clock is correct."
        )
    })
}

pub(super) async fn schedule_until_stopped(puller: Puller) {
    let mut logged = false;
    loop {
        let next = match clock_error(puller.clock.now()) {
            Some(problem) => {
                if !std::mem::replace(&mut logged, true) {
                    tracing::error!("{problem}");
                }
                None
            }
            None => {
                logged = false;
                puller
                    .db
                    .outages()
                    .track(
                        "the scheduler could not read the schedules",
                        tick(&puller).await,
                    )
                    .flatten()
            }
        };
        let latest = puller.clock.now() + millis(MAX_CHECK_INTERVAL);
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.wake_scheduler.notified() => {}
            () = puller.clock.wait_until_or_for(next.map_or(latest, |next| next.min(latest)), MAX_CHECK_INTERVAL) => {}
        }
    }
}

/// Enqueues all due runs. Returns when the next check is needed.
pub async fn tick(puller: &Puller) -> Result<Option<Millis>> {
    puller
        .metrics
        .runs_alive
        .set(queue::count_active(&puller.db).await?);
    let now = puller.clock.now();
    let latest = clock_jump::detect(puller, now).await?;
    repair(puller, now, latest).await?;
    let due: Vec<(DatasetId, Millis)> = sqlx::query_as(
        "SELECT id, next_run_at FROM datasets WHERE next_run_at <= $1 ORDER BY next_run_at, id",
    )
    .bind(now)
    .fetch_all(puller.db.read())
    .await?;
    let mut starts = StartSpreader::new(now, due.len());
    let mut any_left = false;
    for some in due.chunks(BATCH_SIZE) {
        any_left |= process_due(puller, some, now, &mut starts).await?;
    }
    // After the scheduled runs, which go first.
    backfills::enqueue_chunks(puller).await?;
    let next: Option<Millis> =
        sqlx::query_scalar("SELECT MIN(next_run_at) FROM datasets WHERE next_run_at > $1")
            .bind(now)
            .fetch_one(puller.db.read())
            .await?;
    // DataSets that are still due wait for the end of their active run.
    let soon = any_left.then_some(now + 1_000);
    let next_retry: Option<Millis> = sqlx::query_scalar(
        "SELECT MIN(retry_at) FROM backfills WHERE state = 'running' AND retry_at > $1",
    )
    .bind(now)
    .fetch_one(puller.db.read())
    .await?;
    Ok(next.into_iter().chain(soon).chain(next_retry).min())
}

/// Spreads the starts of many due runs. Runs that share a read start together.
struct StartSpreader {
    now: Millis,
    step: Millis,
    begun: HashMap<String, Millis>,
}

impl StartSpreader {
    fn new(now: Millis, many: usize) -> Self {
        let over = i64::try_from(many / STARTS_PER_SECOND)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000)
            .min(SPREAD_OVER);
        Self {
            now,
            step: over / i64::try_from(many.max(1)).unwrap_or(i64::MAX),
            begun: HashMap::new(),
        }
    }

    fn start_of(&mut self, source_key: &str) -> Millis {
        let place = i64::try_from(self.begun.len()).unwrap_or(i64::MAX);
        *self
            .begun
            .entry(source_key.to_owned())
            .or_insert(self.now + place * self.step)
    }
}

/// The decision about a due DataSet.
enum ScheduleDecision {
    /// `missed`: how many more due times the run stands for. `next`: the next due time.
    /// `exclusive`: wait while the DataSet has an active run.
    Enqueue {
        source_key: String,
        missed: i64,
        due_at: Millis,
        next: Option<Millis>,
        exclusive: bool,
    },
    Skip {
        missed: i64,
        due_at: Millis,
        next: Option<Millis>,
    },
    Invalid(String),
    /// Nothing now; the DataSet stays due.
    Defer,
}

/// Processes some due DataSets. All decisions are made before the transaction that writes them.
/// Returns true if some are still due.
async fn process_due(
    puller: &Puller,
    due: &[(DatasetId, Millis)],
    now: Millis,
    starts: &mut StartSpreader,
) -> Result<bool> {
    let mut decided = Vec::with_capacity(due.len());
    for (id, seen_next_run_at) in due {
        let decision = match puller.datasets.for_run(id).await {
            // The DataSet was saved or paused meanwhile.
            Ok(dataset) if dataset.next_run_at != Some(*seen_next_run_at) => continue,
            Ok(dataset) => decide(&dataset, now),
            // Only a damaged row makes the schedule invalid; other read errors may be temporary.
            Err(error) if error.is_damaged() => {
                ScheduleDecision::Invalid(error.message().to_owned())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                tracing::error!(
                    dataset = %id, cause = ?error.log_cause(),
                    "a DataSet that is due could not be read: {error}"
                );
                ScheduleDecision::Defer
            }
        };
        let waits = matches!(
            decision,
            ScheduleDecision::Enqueue {
                exclusive: true,
                ..
            }
        ) && queue::has_active_run(&puller.db, id).await?;
        decided.push((
            id,
            *seen_next_run_at,
            if waits {
                ScheduleDecision::Defer
            } else {
                decision
            },
        ));
    }
    let mut any_left = false;
    let mut tx = puller.db.write().await?;
    for (id, seen_next_run_at, decision) in decided {
        match decision {
            ScheduleDecision::Defer => any_left = true,
            ScheduleDecision::Invalid(why) => {
                mark_broken(&mut tx, id, Some(seen_next_run_at), &why, now).await?
            }
            ScheduleDecision::Enqueue {
                source_key,
                missed,
                due_at,
                next,
                ..
            } => {
                let at = starts.start_of(&source_key);
                // With the savepoint, a failed write does not affect the other DataSets.
                sqlx::query("SAVEPOINT one").execute(&mut *tx).await?;
                match enqueue_due_run(
                    &mut tx,
                    id,
                    seen_next_run_at,
                    DueRun {
                        source_key: &source_key,
                        missed,
                        due_at,
                        next,
                        now,
                        at,
                    },
                )
                .await
                {
                    Ok(()) => any_left |= next.is_some_and(|next| next <= now),
                    Err(error) => {
                        tracing::error!(
                            dataset = %id, cause = ?error.log_cause(),
                            "a run could not be queued: {error}"
                        );
                        sqlx::query("ROLLBACK TO SAVEPOINT one")
                            .execute(&mut *tx)
                            .await?;
                        mark_broken(
                            &mut tx,
                            id,
                            Some(seen_next_run_at),
                            "Its run could not be queued.",
                            now,
                        )
                        .await?;
                    }
                }
                sqlx::query("RELEASE SAVEPOINT one")
                    .execute(&mut *tx)
                    .await?;
            }
            ScheduleDecision::Skip {
                missed,
                due_at,
                next,
            } => {
                advance(&mut tx, id, seen_next_run_at, due_at, next, missed).await?;
            }
        }
    }
    tx.commit().await?;
    puller.wake_dispatcher.notify_waiters();
    puller.wake_dispatcher.notify_one();
    puller.notifications.wake.notify_one();
    Ok(any_left)
}

/// See `ScheduleDecision::Enqueue`. `at`: when the run starts.
struct DueRun<'a> {
    source_key: &'a str,
    missed: i64,
    due_at: Millis,
    next: Option<Millis>,
    now: Millis,
    at: Millis,
}

/// Enqueues the due run, unless the DataSet was changed since it was read.
async fn enqueue_due_run(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
    seen_next_run_at: Millis,
    due: DueRun<'_>,
) -> Result<()> {
    let DueRun {
        source_key,
        missed,
        due_at,
        next,
        now,
        at,
    } = due;
    if !advance(tx, id, seen_next_run_at, due_at, next, 0).await? {
        return Ok(());
    }
    if !queue::enqueue_scheduled(tx, now, id, source_key, at, missed).await? {
        // The running run began before this due time and does not stand for it. The next run
        // records it as missed.
        sqlx::query("UPDATE datasets SET missed = $1 WHERE id = $2")
            .bind(missed + 1)
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Decides what to do about a due DataSet, by its `catch_up`.
fn decide(dataset: &Dataset, now: Millis) -> ScheduleDecision {
    let schedule = match Schedule::of(dataset) {
        Ok(schedule) => schedule,
        Err(why) => return ScheduleDecision::Invalid(why.message().to_owned()),
    };
    if dataset.account_id.is_none() {
        return ScheduleDecision::Invalid("The account of this DataSet was deleted.".to_owned());
    }
    let Some(first) = dataset.next_run_at else {
        return ScheduleDecision::Defer;
    };
    let due_times = schedule.between(first, now, MAX_MISSED);
    let due_at = due_times.last().copied().unwrap_or(first);
    let next = schedule.next_after(now);
    if next.is_none() && due_times.is_empty() {
        return ScheduleDecision::Invalid("This schedule has no run times.".to_owned());
    }
    let before = dataset.schedule_state.missed;
    let passed = i64::try_from(due_times.len().max(1)).unwrap_or(i64::MAX);
    let source_key = dataset.source_key();
    let one = |missed, due_at, next| ScheduleDecision::Enqueue {
        source_key,
        missed,
        due_at,
        next,
        exclusive: false,
    };
    match schedule.plan().catch_up {
        CatchUp::One => one(before + passed - 1, due_at, next),
        CatchUp::All => {
            let (missed, next) = (before, due_times.get(1).copied().or(next));
            ScheduleDecision::Enqueue {
                source_key: dataset.source_key(),
                missed,
                due_at: first,
                next,
                exclusive: true,
            }
        }
        CatchUp::None if now - due_at <= MISSED_AFTER => one(before + passed - 1, due_at, next),
        CatchUp::None => ScheduleDecision::Skip {
            missed: before + passed,
            due_at,
            next,
        },
    }
}

/// Records a processed due time and sets the next one. Returns false if the DataSet was changed
/// since `seen_next_run_at` was read.
async fn advance(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
    seen_next_run_at: Millis,
    due_at: Millis,
    next: Option<Millis>,
    missed: i64,
) -> Result<bool> {
    let advanced = sqlx::query(
        "UPDATE datasets
         SET next_run_at = $1, last_due_at = $2, missed = $3, schedule_error = NULL
         -- Nothing if the schedule was saved, paused or stopped since it was read.
         WHERE id = $4 AND next_run_at = $5 AND paused_at IS NULL",
    )
    .bind(next)
    .bind(due_at)
    .bind(missed)
    .bind(id)
    .bind(seen_next_run_at)
    .execute(&mut **tx)
    .await?;
    Ok(advanced.rows_affected() > 0)
}

pub(super) async fn sweep_until_stopped(puller: Puller) {
    loop {
        puller
            .db
            .outages()
            .track("the cleanup failed", sweep(&puller).await);
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.clock.wait(SWEEP_EVERY) => {}
        }
    }
}

async fn sweep(puller: &Puller) -> Result<()> {
    let datasets: Vec<DatasetId> = sqlx::query_scalar("SELECT id FROM datasets ORDER BY id")
        .fetch_all(puller.db.read())
        .await?;
    for dataset in datasets {
        puller.datasets.versions.apply_retention(&dataset).await?;
    }
    let swept = puller.datasets.versions.sweep().await?;
    if disk_space::is_low(puller).await? {
        puller.datasets.versions.empty_trash().await?;
    }
    tracing::debug!(?swept, "swept");
    Ok(())
}
