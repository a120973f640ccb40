//! The queue of runs, in the catalogue: enqueue, claim, extend, finish, cancel. All SQL that changes a run's state is here.
//! A claim carries a lease and a fence; every later write names the fence and does nothing when it is stale. The attempt is counted
//! by the claim itself, before any work, so that a run which kills the process is parked after three. What a run asks for, and what of
//! that is there, is in `queue/plan.rs`.

mod holder;
mod lease;
mod making;
mod outcome;
mod plan;
pub mod turns;

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Sqlite, Transaction};

use super::run::{self, Failure, Row, Run, Trigger, select_run};
use super::{backfills, upkeep, windows};
use crate::actor::Actor;
use crate::clock::{Clock, Millis, millis};
use crate::connectors::Window;
pub use crate::connectors::upstream::Spent;
use crate::datasets::Dataset;
use crate::db::Db;
use crate::db::marks::step;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};
pub use holder::{Grip, Holder};
pub use lease::{Held, extend, look};
pub use making::{enqueue_in, schedule_in};
pub use outcome::{Told, Unchanged, accept, batch, keep_old, leave_unchanged, not_at_work, note_schema, succeed, succeed_with, supersede_held};
pub use plan::{Plan, childless, keep, note_childless, plan, rekey, window_done};
pub use turns::{AccountLimit, is_alive};

/// How long a claim holds without being extended.
pub const LEASE: Duration = Duration::from_secs(60);
/// How often a claim is extended, and a wish to stop is seen.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// A run that killed the process this often is parked.
const MOST_ATTEMPTS: i64 = 3;
/// How long the run that is claimed first waits for others that want the same reading.
pub const GATHER: Duration = Duration::from_secs(1);
/// No other worker claims those meanwhile; far longer than it takes, since whoever gathers ends this.
const GATHER_AT_MOST: Duration = Duration::from_secs(30);

/// A run in the hands of a worker.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub id: RunId,
    pub dataset_id: DatasetId,
    pub trigger: Trigger,
    pub fence: i64,
    pub attempt: i64,
    pub source_key: String,
    /// The reading of the vendor that it shares with others: the id of the run that was claimed first.
    pub reading: RunId,
    /// Others that want the same may still come; see `claim_siblings`.
    pub gathers: bool,
    /// Of a chunk of a backfill: its days.
    pub range: Option<Window>,
    /// While this or a copy of it is there, its holder has the run in its hands.
    _grip: Arc<Grip>,
}

impl Claimed {
    /// What it asks the vendor for, as `Dataset::source_key` and its own days.
    pub fn source_key_of(&self, dataset: &Dataset) -> String {
        backfills::source_key(dataset, self.range.as_ref())
    }

    /// Under what the log tells of this run alone, also while others share its reading.
    pub fn span(&self) -> tracing::Span {
        tracing::info_span!(parent: None, "run", run = %self.id, dataset = %self.dataset_id)
    }
}

/// How a run that did not succeed ends.
#[derive(Clone, Debug)]
pub enum End {
    Failed(Failure),
    /// As failed: the vendor told of more records for this window than it gave.
    Short(Failure, Window, Short),
    Cancelled,
}

/// What a window came to that stayed short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    pub have: u64,
    pub of: u64,
}

type ClaimedRow = (RunId, DatasetId, String, i64, i64, String, RunId, Option<i64>, Option<String>, Option<String>);

/// Claims the run that is due next: people's runs first, chunks of backfills last, then those of the account with the fewest under way,
/// then the oldest; and with it those that share its reading of the vendor. A run whose lease has ended is due again, unless its holder is the one who asks and has it in its hands. Of one account
/// no more readings are under way than `limit` says. The first one answered leads; none is answered
/// when nothing is due.
///
/// A run of a fresh reading gathers others for a moment, in which no worker claims one that wants the same. What was interrupted
/// comes back together, but third attempts are made alone, and one after the other, so that whichever run kills the process is found out.
pub async fn claim(db: &Db, clock: &Clock, holder: &Holder, limit: impl Into<AccountLimit>) -> Result<Vec<Claimed>> {
    let (now, limit) = (clock.now(), limit.into());
    let mut tx = db.write().await?;
    holder.keep(&mut tx, now).await?;
    park_killers(&mut tx, now).await?;
    let row: Option<ClaimedRow> = sqlx::query_as(
        "UPDATE runs SET state = 'running', held_for = NULL, attempt = attempt + 1, fence = fence + 1, lease_holder = $1, lease_until = $2,
                         started_at = COALESCE(started_at, $3), gather_until = CASE WHEN reading IS NULL THEN $4 ELSE NULL END,
                         reading = CASE WHEN reading IS NULL OR attempt >= $5 THEN id ELSE reading END
         WHERE id = (SELECT r.id FROM runs r
                     LEFT JOIN (SELECT account_id, COUNT(DISTINCT reading) AS under_way FROM runs WHERE state = 'running' AND lease_until >= $3
                                GROUP BY account_id) b ON b.account_id = r.account_id
                     WHERE COALESCE(b.under_way, 0) < CASE WHEN r.cause IN ('manual', 'first') THEN $7 ELSE $6 END
                       AND r.due_at <= $3 AND (r.state IN ('queued', 'waiting') OR (r.state = 'running' AND r.lease_until < $3))
                       AND (r.attempt < $5 OR NOT EXISTS (SELECT 1 FROM runs k WHERE k.state = 'running' AND k.attempt > $5 AND k.lease_until >= $3 AND k.id <> r.id))
                       AND NOT EXISTS (SELECT 1 FROM runs o WHERE o.dataset_id = r.dataset_id AND o.state = 'running' AND o.id <> r.id)
                       AND NOT EXISTS (SELECT 1 FROM runs g WHERE g.state = 'running' AND g.source_key = r.source_key AND g.gather_until > $3 AND g.id <> r.id)
                     ORDER BY CASE WHEN r.cause IN ('manual', 'first') THEN 0 WHEN r.cause = 'backfill' THEN 2 ELSE 1 END, COALESCE(b.under_way, 0), r.due_at, r.id LIMIT 1)
         RETURNING id, dataset_id, cause, fence, attempt, source_key, reading, gather_until, from_day, to_day",
    )
    .bind(holder.name())
    .bind(now + millis(LEASE))
    .bind(now)
    .bind(now + millis(GATHER_AT_MOST))
    .bind(MOST_ATTEMPTS - 1)
    .bind(limit.scheduled)
    .bind(limit.by_people)
    .fetch_optional(&mut *tx)
    .await?;
    let mut set: Vec<Claimed> = row.into_iter().map(|row| claimed(row, holder)).collect();
    if let Some(leader) = set.first().cloned().filter(|leader| leader.attempt < MOST_ATTEMPTS) {
        set.extend(siblings(&mut tx, now, holder, &leader).await?);
    }
    tx.commit().await?;
    Ok(set)
}

/// Claims the runs that came to want the leader's reading while it gathered, and ends the gathering.
pub async fn claim_siblings(db: &Db, clock: &Clock, holder: &Holder, leader: &Claimed) -> Result<Vec<Claimed>> {
    let mut tx = db.write().await?;
    let set = siblings(&mut tx, clock.now(), holder, leader).await?;
    sqlx::query("UPDATE runs SET gather_until = NULL WHERE id = $1 AND fence = $2").bind(&leader.id).bind(leader.fence).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(set)
}

async fn siblings(tx: &mut Transaction<'static, Sqlite>, now: Millis, holder: &Holder, leader: &Claimed) -> Result<Vec<Claimed>> {
    let rows: Vec<ClaimedRow> = sqlx::query_as(
        "UPDATE runs SET state = 'running', held_for = NULL, attempt = attempt + 1, fence = fence + 1, lease_holder = $1, lease_until = $2,
                         started_at = COALESCE(started_at, $3), reading = $4, gather_until = NULL
         WHERE state IN ('queued', 'waiting') AND due_at <= $3 AND attempt < $5 AND id <> $6
           AND ((reading IS NULL AND $7 = 1 AND source_key = $8) OR (reading = $4 AND $7 = 0))
           AND NOT EXISTS (SELECT 1 FROM runs o WHERE o.dataset_id = runs.dataset_id AND o.state = 'running' AND o.id <> runs.id)
         RETURNING id, dataset_id, cause, fence, attempt, source_key, reading, gather_until, from_day, to_day",
    )
    .bind(holder.name())
    .bind(now + millis(LEASE))
    .bind(now)
    .bind(&leader.reading)
    .bind(MOST_ATTEMPTS - 1)
    .bind(&leader.id)
    .bind(i64::from(leader.gathers))
    .bind(&leader.source_key)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| claimed(row, holder)).collect())
}

fn claimed((id, dataset_id, cause, fence, attempt, source_key, reading, gather_until, from, to): ClaimedRow, holder: &Holder) -> Claimed {
    let trigger = Trigger::parse(&cause).unwrap_or(Trigger::Manual);
    let _grip = holder.take(&id, fence);
    Claimed { id, dataset_id, trigger, fence, attempt, source_key, reading, gathers: gather_until.is_some(), range: run::range(from, to), _grip }
}

async fn park_killers(tx: &mut Transaction<'static, Sqlite>, now: Millis) -> Result<()> {
    let parked: Vec<(DatasetId, String)> = sqlx::query_as(
        "UPDATE runs SET state = 'parked', finished_at = $1, lease_until = NULL, error_code = 'parked',
            error_message = 'The server stopped three times during this run.',
            error_who = 'A server administrator must check memory, disk and log.',
            error_action = 'Chatlake does not retry it. Press Resume or Run now to try again. The existing rows are unchanged.'
         WHERE state IN ('running', 'queued') AND attempt >= $2 AND (lease_until IS NULL OR lease_until < $1) RETURNING dataset_id, cause",
    )
    .bind(now)
    .bind(MOST_ATTEMPTS)
    .fetch_all(&mut **tx)
    .await?;
    for (dataset, _) in parked.into_iter().filter(|(_, cause)| cause != Trigger::Backfill.word()) {
        upkeep::parked_in(tx, now, &dataset).await?;
    }
    Ok(())
}

/// Puts the runs that an earlier incarnation of this server was working on back into the queue, at once. The data directory is locked,
/// so nobody else can be working on them. Answers how many there were.
pub async fn rescue(db: &Db, clock: &Clock) -> Result<u64> {
    let mut tx = db.write().await?;
    let rescued = sqlx::query("UPDATE runs SET state = 'queued', lease_holder = NULL, lease_until = NULL, gather_until = NULL WHERE state = 'running'")
        .execute(&mut *tx)
        .await?
        .rows_affected();
    park_killers(&mut tx, clock.now()).await?;
    tx.commit().await?;
    Ok(rescued)
}

/// Ends a run that did not succeed. Its staged segments are left to the sweep. Does nothing when the fence is stale.
pub async fn end(db: &Db, clock: &Clock, run: &Claimed, end: &End, spent: Spent) -> Result<()> {
    let (state, failure) = match end {
        End::Failed(failure) | End::Short(failure, ..) => ("failed", Some(failure)),
        End::Cancelled => ("cancelled", None),
    };
    let mut tx = db.write().await?;
    let ended = sqlx::query(
        "UPDATE runs SET state = $1, finished_at = $2, lease_until = NULL, gather_until = NULL, error_code = $3, error_message = $4, error_who = $5, error_action = $6
         WHERE id = $7 AND fence = $8 AND state = 'running'",
    )
    .bind(state)
    .bind(clock.now())
    .bind(failure.map(|f| f.code.as_str()))
    .bind(failure.map(|f| f.message.as_str()))
    .bind(failure.map(|f| f.who.as_str()))
    .bind(failure.map(|f| f.action.as_str()))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if ended == 1 {
        if let End::Short(_, window, short) = end {
            windows::short(&mut tx, &run.id, window, *short, clock.now()).await?;
        }
        plan::spend(&mut tx, run, spent).await?;
        match failure {
            Some(failure) => upkeep::failed_in(&mut tx, clock.now(), run, failure).await?,
            None => upkeep::cancelled_in(&mut tx, &run.id).await?,
        }
    }
    tx.commit().await?;
    step("end.done");
    Ok(())
}

/// Gives a run back: `waiting` until the moment the vendor named, or `queued` when the server stops. No attempt is used up. One that a
/// person has asked to stop ends here.
pub async fn give_back(db: &Db, clock: &Clock, run: &Claimed, wait_until: Option<Millis>, spent: Spent) -> Result<()> {
    let mut tx = db.write().await?;
    let back: Option<(String,)> = sqlx::query_as(
        "UPDATE runs SET state = CASE WHEN cancel_requested = 1 THEN 'cancelled' WHEN $1 IS NULL THEN 'queued' ELSE 'waiting' END,
                         finished_at = CASE WHEN cancel_requested = 1 THEN $2 ELSE NULL END,
                         due_at = COALESCE($1, due_at), attempt = attempt - 1, lease_holder = NULL, lease_until = NULL, gather_until = NULL
         WHERE id = $3 AND fence = $4 AND state = 'running' RETURNING state",
    )
    .bind(wait_until)
    .bind(clock.now())
    .bind(&run.id)
    .bind(run.fence)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some((state,)) = back {
        plan::spend(&mut tx, run, spent).await?;
        if state == "cancelled" {
            upkeep::cancelled_in(&mut tx, &run.id).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Gives a run back to wait until `until` for something of our own, which `why` tells in words.
pub async fn hold(db: &Db, clock: &Clock, run: &Claimed, until: Millis, why: &str) -> Result<()> {
    give_back(db, clock, run, Some(until), Spent::default()).await?;
    let mut tx = db.write().await?;
    sqlx::query("UPDATE runs SET held_for = $1 WHERE id = $2 AND fence = $3 AND state = 'waiting'")
        .bind(why)
        .bind(&run.id)
        .bind(run.fence)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Asks for a run to be stopped. One that no worker holds ends at once; a running one when its worker next looks.
/// Answers whether there was anything to stop.
pub async fn cancel(db: &Db, clock: &Clock, run: &RunId) -> Result<bool> {
    let mut tx = db.write().await?;
    let ended = sqlx::query("UPDATE runs SET state = 'cancelled', finished_at = $1, cancel_requested = 1 WHERE id = $2 AND state IN ('queued', 'waiting')")
        .bind(clock.now())
        .bind(run)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if ended == 1 {
        upkeep::cancelled_in(&mut tx, run).await?;
    }
    let asked = sqlx::query("UPDATE runs SET cancel_requested = 1 WHERE id = $1 AND state = 'running'").bind(run).execute(&mut *tx).await?.rows_affected();
    tx.commit().await?;
    Ok(ended + asked > 0)
}

/// When the next run that waits is due, if any waits.
pub async fn next_due(db: &Db) -> Result<Option<Millis>> {
    Ok(sqlx::query_scalar("SELECT MIN(CASE WHEN state = 'running' THEN lease_until ELSE due_at END) FROM runs WHERE state IN ('queued', 'waiting', 'running')")
        .fetch_one(db.read())
        .await?)
}

/// Whether the newest run that is over and asked for the same as this one ended with this error: of the DataSet, or of the same days of
/// the same backfill.
pub async fn last_ended_with(db: &Db, run: &Claimed, code: &str) -> Result<bool> {
    let last: Option<(Option<String>,)> = sqlx::query_as(
        "SELECT o.error_code FROM runs r JOIN runs o ON o.dataset_id = r.dataset_id AND o.id <> r.id AND COALESCE(o.backfill_id, '') = COALESCE(r.backfill_id, '')
            AND COALESCE(o.from_day, '') = COALESCE(r.from_day, '') AND COALESCE(o.to_day, '') = COALESCE(r.to_day, '')
         WHERE r.id = $1 AND o.state IN ('succeeded', 'failed', 'parked') AND o.cause <> 'revert' ORDER BY o.queued_at DESC, o.id DESC LIMIT 1",
    )
    .bind(&run.id)
    .fetch_optional(db.read())
    .await?;
    Ok(last.is_some_and(|(last,)| last.as_deref() == Some(code)))
}

/// How many runs are queued, running or waiting.
pub async fn alive(db: &Db) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'running', 'waiting')").fetch_one(db.read()).await?)
}

/// One run's record.
pub async fn get(db: &Db, run: &RunId) -> Result<Option<Run>> {
    let row: Option<Row> = sqlx::query_as(select_run!("WHERE r.id = $1")).bind(run).fetch_optional(db.read()).await?;
    Ok(row.map(Run::from))
}

/// A DataSet's runs, newest first, from number `offset` on.
pub async fn of_dataset(db: &Db, dataset: &DatasetId, offset: i64, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<Row> = sqlx::query_as(select_run!("WHERE r.dataset_id = $1 ORDER BY r.queued_at DESC, r.id DESC LIMIT $2 OFFSET $3"))
        .bind(dataset)
        .bind(limit)
        .bind(offset)
        .fetch_all(db.read())
        .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// How the runs of a DataSet have gone: all but those that somebody stopped, chunks of backfills and going back.
pub struct Summary {
    pub over: i64,
    pub succeeded: i64,
    /// Of those that succeeded.
    pub average_ms: Millis,
    pub last_success: Option<Run>,
}

pub async fn summary(db: &Db, dataset: &DatasetId) -> Result<Summary> {
    let (over, succeeded, took): (i64, i64, i64) = sqlx::query_as(
        "SELECT COUNT(*), COALESCE(SUM(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END), 0),
                COALESCE(SUM(CASE WHEN state = 'succeeded' THEN finished_at - COALESCE(started_at, finished_at) ELSE 0 END), 0)
         FROM runs WHERE dataset_id = $1 AND state IN ('succeeded', 'failed', 'parked') AND cause NOT IN ('backfill', 'revert')",
    )
    .bind(dataset)
    .fetch_one(db.read())
    .await?;
    let last: Option<Row> = sqlx::query_as(select_run!(
        "WHERE r.dataset_id = $1 AND r.state = 'succeeded' AND r.cause NOT IN ('backfill', 'revert') ORDER BY r.queued_at DESC, r.id DESC LIMIT 1"
    ))
    .bind(dataset)
    .fetch_optional(db.read())
    .await?;
    Ok(Summary { over, succeeded, average_ms: took / succeeded.max(1), last_success: last.map(Run::from) })
}

/// As `of_dataset`, without the chunks of backfills that are over: how it is doing.
pub async fn lately(db: &Db, dataset: &DatasetId, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<Row> = sqlx::query_as(select_run!(
        "WHERE r.dataset_id = $1 AND (r.cause <> 'backfill' OR r.finished_at IS NULL) ORDER BY r.queued_at DESC, r.id DESC LIMIT $2"
    ))
    .bind(dataset)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// How many runs a DataSet has had.
pub async fn count(db: &Db, dataset: &DatasetId) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE dataset_id = $1").bind(dataset).fetch_one(db.read()).await?)
}

/// The newest runs of all DataSets that this person may see, newest first.
pub async fn newest(db: &Db, actor: &Actor, limit: i64) -> Result<Vec<Run>> {
    let rows: Vec<Row> = sqlx::query_as(select_run!(
        "JOIN datasets d ON d.id = r.dataset_id WHERE ($1 = 1 OR d.owner_id = $2 OR d.shared = 1) ORDER BY r.queued_at DESC, r.id DESC LIMIT $3"
    ))
    .bind(i64::from(actor.is_admin()))
    .bind(&actor.user)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
