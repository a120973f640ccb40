//! The queue of runs, in the catalogue: enqueue, claim, extend, finish, cancel. All SQL that changes a run's state is here.
//! A claim carries a lease and a fence; every later write names the fence and does nothing when it is stale. The attempt is counted
//! by the claim itself, before any work, so that a run which kills the process is parked after three.

use std::time::Duration;

use sqlx::{Sqlite, Transaction};

use super::run::{Failure, Row, Run, Trigger, select_run};
use super::windows;
use crate::actor::Actor;
use crate::clock::{Clock, Millis};
use crate::connectors::{Tally, Window};
use crate::datasets::versions::{Commit, Versions};
use crate::db::Db;
use crate::error::Result;
use crate::ids::{DatasetId, RunId, UserId, VersionId};

/// How long a claim holds without being extended.
pub const LEASE: Duration = Duration::from_secs(60);
/// How often a claim is extended, and a wish to stop is seen.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// A run that killed the process this often is parked.
const MOST_ATTEMPTS: i64 = 3;

/// A run in the hands of a worker.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub id: RunId,
    pub dataset_id: DatasetId,
    pub trigger: Trigger,
    pub fence: i64,
    pub attempt: i64,
    pub source_key: String,
}

/// What a heartbeat finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Still ours.
    Yes,
    /// Still ours, and a person wants it stopped.
    Cancel,
    /// Another holds it, or it is over.
    Lost,
}

/// How a run that did not succeed ends.
#[derive(Clone, Debug)]
pub enum End {
    Failed(Failure),
    Cancelled,
}

/// Puts a run into the queue, inside the caller's transaction. A DataSet has at most one run alive: while there is one, that one is
/// answered instead. `source_key`: runs with equal keys share one reading of the vendor.
pub async fn enqueue_in(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
    source_key: &str,
    trigger: Trigger,
    started_by: Option<&UserId>,
) -> Result<RunId> {
    let made: Option<(RunId,)> = sqlx::query_as(
        "INSERT INTO runs (id, dataset_id, cause, started_by, state, source_key, queued_at, due_at)
         VALUES ($1, $2, $3, $4, 'queued', $5, $6, $6)
         ON CONFLICT (dataset_id) WHERE state IN ('queued', 'running', 'waiting') DO NOTHING RETURNING id",
    )
    .bind(RunId::new())
    .bind(dataset)
    .bind(trigger.word())
    .bind(started_by)
    .bind(source_key)
    .bind(now)
    .fetch_optional(&mut **tx)
    .await?;
    if let Some((id,)) = made {
        return Ok(id);
    }
    let (alive,) =
        sqlx::query_as("SELECT id FROM runs WHERE dataset_id = $1 AND state IN ('queued', 'running', 'waiting')").bind(dataset).fetch_one(&mut **tx).await?;
    Ok(alive)
}

/// Claims the run that is due next: people's runs first, then the oldest. A run whose lease has ended is due again.
pub async fn claim(db: &Db, clock: &Clock, holder: &str) -> Result<Option<Claimed>> {
    let now = clock.now();
    let mut tx = db.write().await?;
    park_killers(&mut tx, now).await?;
    let row: Option<(RunId, DatasetId, String, i64, i64, String)> = sqlx::query_as(
        "UPDATE runs SET state = 'running', attempt = attempt + 1, fence = fence + 1, lease_holder = $1, lease_until = $2,
                         started_at = COALESCE(started_at, $3)
         WHERE id = (SELECT id FROM runs
                     WHERE due_at <= $3 AND (state IN ('queued', 'waiting') OR (state = 'running' AND lease_until < $3))
                     ORDER BY CASE WHEN cause IN ('manual', 'first') THEN 0 ELSE 1 END, due_at, id LIMIT 1)
         RETURNING id, dataset_id, cause, fence, attempt, source_key",
    )
    .bind(holder)
    .bind(now + millis(LEASE))
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(row.map(claimed))
}

/// Claims the queued runs that ask the vendor for the same things as `leader`, so that one reading serves them all.
pub async fn claim_siblings(db: &Db, clock: &Clock, holder: &str, leader: &Claimed) -> Result<Vec<Claimed>> {
    let now = clock.now();
    let mut tx = db.write().await?;
    let rows: Vec<(RunId, DatasetId, String, i64, i64, String)> = sqlx::query_as(
        "UPDATE runs SET state = 'running', attempt = attempt + 1, fence = fence + 1, lease_holder = $1, lease_until = $2, started_at = $3
         WHERE source_key = $4 AND state = 'queued' AND attempt = 0 AND due_at <= $3 AND id <> $5
         RETURNING id, dataset_id, cause, fence, attempt, source_key",
    )
    .bind(holder)
    .bind(now + millis(LEASE))
    .bind(now)
    .bind(&leader.source_key)
    .bind(&leader.id)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(claimed).collect())
}

fn claimed((id, dataset_id, cause, fence, attempt, source_key): (RunId, DatasetId, String, i64, i64, String)) -> Claimed {
    Claimed { id, dataset_id, trigger: Trigger::parse(&cause).unwrap_or(Trigger::Manual), fence, attempt, source_key }
}

async fn park_killers(tx: &mut Transaction<'static, Sqlite>, now: Millis) -> Result<()> {
    sqlx::query(
        "UPDATE runs SET state = 'parked', finished_at = $1, lease_until = NULL, error_code = 'parked',
            error_message = 'This run stopped the whole server three times.',
            error_who = 'The person who runs the server.',
            error_action = 'It stays off until someone presses Run now. The rows from before are untouched.'
         WHERE state IN ('running', 'queued') AND attempt >= $2 AND (lease_until IS NULL OR lease_until < $1)",
    )
    .bind(now)
    .bind(MOST_ATTEMPTS)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Puts the runs that an earlier incarnation of this server was working on back into the queue, at once. The data directory is locked,
/// so nobody else can be working on them. Answers how many there were.
pub async fn rescue(db: &Db, clock: &Clock) -> Result<u64> {
    let mut tx = db.write().await?;
    let rescued = sqlx::query("UPDATE runs SET state = 'queued', lease_holder = NULL, lease_until = NULL WHERE state = 'running'")
        .execute(&mut *tx)
        .await?
        .rows_affected();
    park_killers(&mut tx, clock.now()).await?;
    tx.commit().await?;
    Ok(rescued)
}

/// Writes down the windows a run is going to ask for; nothing when the lease is lost.
pub async fn plan(db: &Db, run: &Claimed, windows: &[Window]) -> Result<Held> {
    let mut tx = db.write().await?;
    let held = sqlx::query(
        "UPDATE runs SET windows_total = $1, pages = 0, calls = 0, records_read = 0, records_kept = 0, duplicates = 0, left_out = 0, rejected = 0,
                         misfits = 0, rows_written = 0, bytes_written = 0, waited_ms = 0, vendor_total = NULL, verified = NULL
         WHERE id = $2 AND fence = $3 AND state = 'running'",
    )
    .bind(i64::try_from(windows.len().max(1)).unwrap_or(i64::MAX))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if held == 0 {
        return Ok(Held::Lost);
    }
    windows::plan(&mut tx, &run.id, &run.dataset_id, windows).await?;
    tx.commit().await?;
    Ok(Held::Yes)
}

/// Extends the lease and keeps the progress for whoever looks.
pub async fn extend(db: &Db, clock: &Clock, run: &Claimed, progress: &str) -> Result<Held> {
    let mut tx = db.write().await?;
    let row: Option<(i64,)> =
        sqlx::query_as("UPDATE runs SET lease_until = $1, progress = $2 WHERE id = $3 AND fence = $4 AND state = 'running' RETURNING cancel_requested")
            .bind(clock.now() + millis(LEASE))
            .bind(progress)
            .bind(&run.id)
            .bind(run.fence)
            .fetch_optional(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok(match row {
        None => Held::Lost,
        Some((0,)) => Held::Yes,
        Some(_) => Held::Cancel,
    })
}

/// Notes that a window of a run came whole.
pub async fn window_done(db: &Db, clock: &Clock, run: &Claimed, position: usize, tally: &Tally) -> Result<Held> {
    let mut tx = db.write().await?;
    let held = sqlx::query(
        "UPDATE runs SET pages = pages + $1, calls = calls + $2, records_read = records_read + $3, records_kept = records_kept + $4,
                duplicates = duplicates + $5, left_out = left_out + $6, rejected = rejected + $7, misfits = misfits + $8, waited_ms = waited_ms + $9,
                vendor_total = CASE WHEN $10 IS NULL THEN vendor_total ELSE COALESCE(vendor_total, 0) + $10 END,
                verified = CASE WHEN $11 IS NULL THEN verified WHEN COALESCE(verified, 1) = 1 THEN $11 ELSE 0 END
         WHERE id = $12 AND fence = $13 AND state = 'running'",
    )
    .bind(signed(tally.pages))
    .bind(signed(tally.calls))
    .bind(signed(tally.read))
    .bind(signed(tally.kept))
    .bind(signed(tally.duplicates))
    .bind(signed(tally.left_out))
    .bind(signed(tally.rejected))
    .bind(signed(tally.misfits))
    .bind(signed(tally.waited_ms))
    .bind(tally.total.map(signed))
    .bind(tally.verified().map(i64::from))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if held == 0 {
        return Ok(Held::Lost);
    }
    windows::done(&mut tx, &run.id, position, tally, clock.now()).await?;
    tx.commit().await?;
    Ok(Held::Yes)
}

/// The one commit of a run: version, segments and the run's end in one transaction, refused when the fence is stale or a person has
/// asked to stop. Answers the version, or why there is none.
pub async fn succeed(db: &Db, clock: &Clock, versions: &Versions, run: &Claimed, commit: &Commit<'_>) -> Result<std::result::Result<VersionId, Held>> {
    let now = clock.now();
    let mut tx = db.write().await?;
    let state: Option<(i64,)> = sqlx::query_as("SELECT cancel_requested FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'")
        .bind(&run.id)
        .bind(run.fence)
        .fetch_optional(&mut *tx)
        .await?;
    match state {
        None => return Ok(Err(Held::Lost)),
        Some((0,)) => {}
        Some(_) => return Ok(Err(Held::Cancel)),
    }
    let version = versions.commit(&mut tx, commit).await?;
    sqlx::query(
        "UPDATE runs SET state = 'succeeded', finished_at = $1, lease_until = NULL, version_id = $2, rows_written = $3, bytes_written = $4, progress = '{}'
         WHERE id = $5 AND fence = $6",
    )
    .bind(now)
    .bind(&version.id)
    .bind(signed(version.rows))
    .bind(signed(version.bytes))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Ok(version.id))
}

/// Ends a run that did not succeed. Its staged segments are left to the sweep. Does nothing when the fence is stale.
pub async fn end(db: &Db, clock: &Clock, run: &Claimed, end: &End) -> Result<()> {
    let (state, failure) = match end {
        End::Failed(failure) => ("failed", Some(failure)),
        End::Cancelled => ("cancelled", None),
    };
    let mut tx = db.write().await?;
    sqlx::query(
        "UPDATE runs SET state = $1, finished_at = $2, lease_until = NULL, error_code = $3, error_message = $4, error_who = $5, error_action = $6
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
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Gives a run back: `waiting` until the moment the vendor named, or `queued` when the server stops. No attempt is used up.
pub async fn give_back(db: &Db, run: &Claimed, wait_until: Option<Millis>) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query(
        "UPDATE runs SET state = CASE WHEN $1 IS NULL THEN 'queued' ELSE 'waiting' END, due_at = COALESCE($1, due_at), attempt = attempt - 1,
                         lease_holder = NULL, lease_until = NULL
         WHERE id = $2 AND fence = $3 AND state = 'running'",
    )
    .bind(wait_until)
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

fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
