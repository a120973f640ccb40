//! What is due becomes a run; what nobody needs any more is swept. One query on `next_run_at` finds what is due. Nothing is decided by
//! how long the process waited, only by what the clock shows and what is written down, so a clock that is set makes no run come twice.

pub mod clock_set;
mod mend;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{Sqlite, Transaction};

use super::schedules::{CatchUp, Schedule};
use super::{Puller, backfills, queue, space};
use crate::clock::{Millis, millis};
use crate::datasets::Dataset;
use crate::error::{Kind, Result};
use crate::ids::DatasetId;
use mend::{flag, mend};

/// The scheduler looks at least this often, whatever the clock did meanwhile.
const LOOK_AT_LEAST: Duration = Duration::from_secs(30);
/// A DataSet whose schedule cannot be followed is looked at again after this.
const PUSH_AHEAD: Millis = 3_600_000;
/// How often old versions and files are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// So many DataSets are dealt with in one transaction.
const AT_ONCE: usize = 500;
/// Where more than this become due together their starts are spread: so many a second, over a minute at most.
const STARTS_PER_SECOND: usize = 20;
const SPREAD_OVER: Millis = 60_000;
/// A moment that passed longer ago than this was missed; until then its run is merely late.
const LATE: Millis = 5 * 60_000;
/// Missed moments are counted up to this.
const MOST_MISSED: usize = 10_000;
/// 2024-01-01: no earlier time is believed.
const EARLIEST: Millis = 1_704_067_200_000;

/// Why nothing is scheduled just now, if so: the machine's clock shows a time that cannot be.
pub fn clock_trouble(now: Millis) -> Option<String> {
    let shows = crate::clock::timestamp(now).strftime("%Y-%m-%d %H:%M");
    (now < EARLIEST).then(|| format!("The server clock shows {shows} UTC, which is wrong. No scheduled runs start until the clock is correct."))
}

pub(super) async fn schedule_until_stopped(puller: Puller) {
    let mut told = false;
    loop {
        let next = match clock_trouble(puller.clock.now()) {
            Some(trouble) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!("{trouble}");
                }
                None
            }
            None => {
                told = false;
                puller.db.outages().watched("the scheduler could not read the schedules", tick(&puller).await).flatten()
            }
        };
        let latest = puller.clock.now() + millis(LOOK_AT_LEAST);
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.rescheduled.notified() => {}
            () = puller.clock.wait_until_or(next.map_or(latest, |next| next.min(latest)), LOOK_AT_LEAST) => {}
        }
    }
}

/// Makes runs of all that is due and answers when the next one will be.
pub async fn tick(puller: &Puller) -> Result<Option<Millis>> {
    puller.metrics.runs_alive.set(queue::alive(&puller.db).await?);
    let now = puller.clock.now();
    let latest = clock_set::look(puller, now).await?;
    mend(puller, now, latest).await?;
    let due: Vec<(DatasetId, Millis)> =
        sqlx::query_as("SELECT id, next_run_at FROM datasets WHERE next_run_at <= $1 ORDER BY next_run_at, id").bind(now).fetch_all(puller.db.read()).await?;
    let mut starts = Starts::new(now, due.len());
    let mut left = false;
    for some in due.chunks(AT_ONCE) {
        left |= start(puller, some, now, &mut starts).await?;
    }
    // After what the schedules want, which goes first.
    backfills::enqueue_chunks(puller).await?;
    let next: Option<Millis> = sqlx::query_scalar("SELECT MIN(next_run_at) FROM datasets WHERE next_run_at > $1").bind(now).fetch_one(puller.db.read()).await?;
    // What is still due waits for a run of its own to end.
    let soon = left.then_some(now + 1_000);
    let again: Option<Millis> =
        sqlx::query_scalar("SELECT MIN(retry_at) FROM backfills WHERE state = 'running' AND retry_at > $1").bind(now).fetch_one(puller.db.read()).await?;
    Ok(next.into_iter().chain(soon).chain(again).min())
}

/// When each of many begins. Those that share a reading of the vendor begin together.
struct Starts {
    now: Millis,
    step: Millis,
    begun: HashMap<String, Millis>,
}

impl Starts {
    fn new(now: Millis, many: usize) -> Self {
        let over = i64::try_from(many / STARTS_PER_SECOND).unwrap_or(i64::MAX).saturating_mul(1_000).min(SPREAD_OVER);
        Self { now, step: over / i64::try_from(many.max(1)).unwrap_or(i64::MAX), begun: HashMap::new() }
    }

    fn of(&mut self, source_key: &str) -> Millis {
        let place = i64::try_from(self.begun.len()).unwrap_or(i64::MAX);
        *self.begun.entry(source_key.to_owned()).or_insert(self.now + place * self.step)
    }
}

/// What is to be done about a DataSet that is due.
enum Due {
    /// `missed`: so many moments more than the one that the run stands for. `next`: the moment after.
    /// `one_by_one`: not while another run of it is alive.
    Run {
        source_key: String,
        missed: i64,
        slot: Millis,
        next: Option<Millis>,
        one_by_one: bool,
    },
    LeftOut {
        missed: i64,
        slot: Millis,
        next: Option<Millis>,
    },
    Wrong(String),
    /// Its run goes on.
    Wait,
}

/// Deals with some that are due. Everything is read and worked out before the one transaction that writes. True when some are left due.
async fn start(puller: &Puller, due: &[(DatasetId, Millis)], now: Millis, starts: &mut Starts) -> Result<bool> {
    let mut decided = Vec::with_capacity(due.len());
    for (id, read) in due {
        let deed = match puller.datasets.for_run(id).await {
            // It was saved anew or paused meanwhile.
            Ok(dataset) if dataset.next_run_at != Some(*read) => continue,
            Ok(dataset) => decide(&dataset, now),
            // A row that cannot be read is the trouble of that row; that nothing can be read just now is not.
            Err(error) if error.is_damaged() => Due::Wrong(error.message().to_owned()),
            Err(error) if error.kind() == Kind::NotFound => continue,
            Err(error) => {
                tracing::error!(dataset = %id, cause = ?error.inside(), "a DataSet that is due could not be read: {error}");
                Due::Wait
            }
        };
        let waits = matches!(deed, Due::Run { one_by_one: true, .. }) && queue::is_alive(&puller.db, id).await?;
        decided.push((id, *read, if waits { Due::Wait } else { deed }));
    }
    let mut left = false;
    let mut tx = puller.db.write().await?;
    for (id, read, deed) in decided {
        match deed {
            Due::Wait => left = true,
            Due::Wrong(why) => flag(&mut tx, id, Some(read), &why, now).await?,
            Due::Run { source_key, missed, slot, next, .. } => {
                let at = starts.of(&source_key);
                // One that cannot be written leaves the others as they are.
                sqlx::query("SAVEPOINT one").execute(&mut *tx).await?;
                match begin(&mut tx, id, read, Begin { source_key: &source_key, missed, slot, next, now, at }).await {
                    Ok(()) => left |= next.is_some_and(|next| next <= now),
                    Err(error) => {
                        tracing::error!(dataset = %id, cause = ?error.inside(), "a run could not be queued: {error}");
                        sqlx::query("ROLLBACK TO SAVEPOINT one").execute(&mut *tx).await?;
                        flag(&mut tx, id, Some(read), "Its run could not be queued.", now).await?;
                    }
                }
                sqlx::query("RELEASE SAVEPOINT one").execute(&mut *tx).await?;
            }
            Due::LeftOut { missed, slot, next } => {
                advance(&mut tx, id, read, slot, next, missed).await?;
            }
        }
    }
    tx.commit().await?;
    puller.wake.notify_waiters();
    puller.wake.notify_one();
    puller.notices.wake.notify_one();
    Ok(left)
}

/// See `Due::Run`.
struct Begin<'a> {
    source_key: &'a str,
    missed: i64,
    slot: Millis,
    next: Option<Millis>,
    now: Millis,
    at: Millis,
}

/// Makes a run of what is due, unless the DataSet has been changed since it was read.
async fn begin(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId, read: Millis, due: Begin<'_>) -> Result<()> {
    let Begin { source_key, missed, slot, next, now, at } = due;
    if !advance(tx, id, read, slot, next, 0).await? {
        return Ok(());
    }
    if !queue::schedule_in(tx, now, id, source_key, at, missed).await? {
        // The run at work began before this moment, and does not stand for it. The next one tells.
        sqlx::query("UPDATE datasets SET missed = $1 WHERE id = $2").bind(missed + 1).bind(id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// What a DataSet whose moment has come wants, by its `catch_up`.
fn decide(dataset: &Dataset, now: Millis) -> Due {
    let schedule = match Schedule::of(dataset) {
        Ok(schedule) => schedule,
        Err(why) => return Due::Wrong(why.message().to_owned()),
    };
    if dataset.account_id.is_none() {
        return Due::Wrong("The account of this DataSet was deleted.".to_owned());
    }
    let Some(first) = dataset.next_run_at else { return Due::Wait };
    let slots = schedule.between(first, now, MOST_MISSED);
    let slot = slots.last().copied().unwrap_or(first);
    let next = schedule.next_after(now);
    if next.is_none() && slots.is_empty() {
        return Due::Wrong("This schedule has no run times.".to_owned());
    }
    let before = dataset.timing.missed;
    let passed = i64::try_from(slots.len().max(1)).unwrap_or(i64::MAX);
    let source_key = dataset.source_key();
    let one = |missed, slot, next| Due::Run { source_key, missed, slot, next, one_by_one: false };
    match schedule.plan().catch_up {
        CatchUp::One => one(before + passed - 1, slot, next),
        CatchUp::All => {
            let (missed, next) = (before, slots.get(1).copied().or(next));
            Due::Run { source_key: dataset.source_key(), missed, slot: first, next, one_by_one: true }
        }
        CatchUp::None if now - slot <= LATE => one(before + passed - 1, slot, next),
        CatchUp::None => Due::LeftOut { missed: before + passed, slot, next },
    }
}

/// Notes what was done about the moment that was `read`. False when the DataSet has been changed since.
async fn advance(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId, read: Millis, slot: Millis, next: Option<Millis>, missed: i64) -> Result<bool> {
    let advanced = sqlx::query(
        "UPDATE datasets SET next_run_at = $1, last_due_at = $2, missed = $3, schedule_error = NULL WHERE id = $4 AND next_run_at = $5 AND paused_at IS NULL",
    )
    .bind(next)
    .bind(slot)
    .bind(missed)
    .bind(id)
    .bind(read)
    .execute(&mut **tx)
    .await?;
    Ok(advanced.rows_affected() > 0)
}

pub(super) async fn sweep_until_stopped(puller: Puller) {
    loop {
        puller.db.outages().watched("the cleanup failed", sweep(&puller).await);
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.clock.wait(SWEEP_EVERY) => {}
        }
    }
}

async fn sweep(puller: &Puller) -> Result<()> {
    let datasets: Vec<(DatasetId,)> = sqlx::query_as("SELECT id FROM datasets ORDER BY id").fetch_all(puller.db.read()).await?;
    for (dataset,) in datasets {
        puller.datasets.versions.retain(&dataset).await?;
    }
    let swept = puller.datasets.versions.sweep().await?;
    if space::is_short(puller).await? {
        puller.datasets.versions.empty_trash().await?;
    }
    tracing::debug!(?swept, "swept");
    Ok(())
}
