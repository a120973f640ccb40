//! How a run that pulled all ends: its one commit, as a version that is current, or held, or none; and a held one that is accepted.

use super::{Claimed, Held, signed};
use crate::clock::{Clock, Millis};
use crate::datasets::origin::Origin;
use crate::datasets::versions::{Commit, Version, Versions};
use crate::db::marks::step;
use crate::db::{Db, commits};
use crate::error::{Error, Kind, Result};
use crate::ids::{DatasetId, RunId, UserId, VersionId};
use crate::puller::run::{Failure, Trigger};
use crate::puller::{backfills, history, upkeep};

/// What a run's record says of its commit beside the version.
#[derive(Debug, Default)]
pub struct Told<'a> {
    /// Rows that the run brought, and the length of their files; none: those of the version.
    pub brought: Option<(u64, u64)>,
    /// Rows of the version before; none where there was none.
    pub before: Option<u64>,
    /// Of those, how many are in the new version no more.
    pub dropped: u64,
    /// JSON of a `SchemaChange`.
    pub schema_change: Option<String>,
    /// Why the version is held; it must be so in the commit, too.
    pub held: Option<&'a Failure>,
}

/// The one commit of a run: version, segments and the run's end in one transaction, refused when the fence is stale or a person has
/// asked to stop. Answers the version, or why there is none.
pub async fn succeed(db: &Db, clock: &Clock, versions: &Versions, run: &Claimed, commit: &Commit<'_>) -> Result<std::result::Result<VersionId, Held>> {
    succeed_with(db, clock, versions, run, commit, &Told::default()).await
}

/// As `succeed`, with what else is told of it. A version that is held leaves the current one and ends its run as failed.
pub async fn succeed_with(
    db: &Db,
    clock: &Clock,
    versions: &Versions,
    run: &Claimed,
    commit: &Commit<'_>,
    told: &Told<'_>,
) -> Result<std::result::Result<VersionId, Held>> {
    let now = clock.now();
    let mut tx = db.write().await?;
    if let Some(gone) = gone(&mut tx, run).await? {
        return Ok(Err(gone));
    }
    step("commit.begun");
    let version = versions.commit(&mut tx, commit).await?;
    if let Some((brought, _)) = told.brought {
        compare_with_ledger(&mut tx, &run.id, brought).await?;
        let before = told.before.filter(|_| commit.base.is_some()).unwrap_or(0);
        let expected = (before + brought).saturating_sub(told.dropped);
        if version.rows != expected {
            return Err(rows_missing(version.rows, expected));
        }
    }
    history::committed(&mut tx, &run.id, commit.base).await?;
    if told.held.is_none() {
        backfills::chunk_committed(&mut tx, &run.id, now).await?;
    }
    let (rows, bytes) = told.brought.unwrap_or((version.rows, version.bytes));
    let (state, outcome) = if told.held.is_some() { ("failed", Some("held")) } else { ("succeeded", None) };
    sqlx::query(
        "UPDATE runs SET state = $1, finished_at = $2, lease_until = NULL, version_id = $3, rows_written = $4, bytes_written = $5, progress = '{}',
                         rows_before = $6, rows_after = $7, rows_dropped = $8, schema_change = $9, outcome = $10,
                         error_code = $11, error_message = $12, error_who = $13, error_action = $14
         WHERE id = $15 AND fence = $16",
    )
    .bind(state)
    .bind(now)
    .bind(&version.id)
    .bind(signed(rows))
    .bind(signed(bytes))
    .bind(told.before.map(signed))
    .bind(signed(version.rows))
    .bind(signed(told.dropped))
    .bind(&told.schema_change)
    .bind(outcome)
    .bind(told.held.map(|f| f.code.as_str()))
    .bind(told.held.map(|f| f.message.as_str()))
    .bind(told.held.map(|f| f.who.as_str()))
    .bind(told.held.map(|f| f.action.as_str()))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?;
    // The version that was held before this one waits no more.
    superseded_by(&mut tx, &run.dataset_id, Some(&run.id)).await?;
    sqlx::query("UPDATE windows SET childless = NULL WHERE run_id = $1 AND childless IS NOT NULL").bind(&run.id).execute(&mut *tx).await?;
    match told.held {
        None => upkeep::run_succeeded_in(&mut tx, now, run, signed(version.rows)).await?,
        Some(failure) => upkeep::failed_in(&mut tx, now, run, failure).await?,
    }
    step("commit.inserted");
    tx.commit().await?;
    db.note_commits().await;
    step("commit.done");
    Ok(Ok(version.id))
}

/// A run whose rows are those of the current version.
#[derive(Debug)]
pub struct Unchanged<'a> {
    /// It must still be current in the commit.
    pub version: &'a Version,
    /// What the version comes from now.
    pub origin: &'a Origin,
    /// Rows that the run read.
    pub brought: u64,
    /// JSON of a `SchemaChange`.
    pub schema_change: Option<String>,
}

/// Ends a run that changes nothing: it succeeds, makes no version and names the current one.
pub async fn leave_unchanged(db: &Db, clock: &Clock, run: &Claimed, unchanged: &Unchanged<'_>) -> Result<std::result::Result<(), Held>> {
    let Unchanged { version, origin, brought, schema_change } = unchanged;
    let now = clock.now();
    let mut tx = db.write().await?;
    if let Some(gone) = gone(&mut tx, run).await? {
        return Ok(Err(gone));
    }
    compare_with_ledger(&mut tx, &run.id, *brought).await?;
    let current = sqlx::query("UPDATE datasets SET held_version = NULL WHERE id = $1 AND current_version = $2")
        .bind(&run.dataset_id)
        .bind(&version.id)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if current != 1 {
        return Err(Error::conflict("version_changed", "The current version changed while this run was being saved."));
    }
    sqlx::query("UPDATE versions SET origin = $1, confirmed_at = $2 WHERE id = $3")
        .bind(serde_json::to_string(origin).map_err(Error::internal)?)
        .bind(now)
        .bind(&version.id)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "UPDATE runs SET state = 'succeeded', finished_at = $1, lease_until = NULL, progress = '{}', outcome = 'unchanged', version_id = $2,
                         rows_written = $3, rows_before = $4, rows_after = $4, schema_change = $5
         WHERE id = $6 AND fence = $7",
    )
    .bind(now)
    .bind(&version.id)
    .bind(signed(*brought))
    .bind(signed(version.rows))
    .bind(schema_change)
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?;
    // Nobody ever saw its files, so the sweep need not wait.
    sqlx::query("UPDATE segments SET state = 'dropped', dropped_at = 0 WHERE run_id = $1 AND state = 'staged'").bind(&run.id).execute(&mut *tx).await?;
    history::committed(&mut tx, &run.id, Some(&version.id)).await?;
    superseded_by(&mut tx, &run.dataset_id, Some(&run.id)).await?;
    sqlx::query("UPDATE windows SET childless = NULL WHERE run_id = $1 AND childless IS NOT NULL").bind(&run.id).execute(&mut *tx).await?;
    backfills::chunk_committed(&mut tx, &run.id, now).await?;
    upkeep::run_succeeded_in(&mut tx, now, run, signed(version.rows)).await?;
    commits::count(&mut tx).await?;
    step("unchanged.written");
    tx.commit().await?;
    db.note_commits().await;
    step("unchanged.done");
    Ok(Ok(()))
}

/// Refuses a commit whose rows are not those that the ledger of the run counted window by window.
async fn compare_with_ledger(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, run: &RunId, rows: u64) -> Result<()> {
    let (counted, uncounted): (i64, i64) =
        sqlx::query_as("SELECT COALESCE(SUM(rows), 0), COALESCE(SUM(CASE WHEN rows IS NULL THEN 1 ELSE 0 END), 0) FROM windows WHERE run_id = $1")
            .bind(run)
            .fetch_one(&mut **tx)
            .await?;
    if uncounted > 0 || counted == signed(rows) { Ok(()) } else { Err(rows_missing(rows, counted)) }
}

/// Something between reading and saving lost or repeated rows.
fn rows_missing(stored: u64, expected: impl std::fmt::Display) -> Error {
    Error::new(Kind::Internal, "rows_missing", format!("Chatlake read {expected} rows but stored {stored}, so it did not save this run."))
        .action("A server administrator can find the cause in the log under this run's ID.")
        .because(format!("{stored} rows are in segments and {expected} are expected"))
}

/// Ends a run that brought nothing and leaves the rows from before as they are: it succeeds and makes no version. `base`: the version
/// that has all there is of its days; none where it was only kept to be safe.
pub async fn keep_old(db: &Db, clock: &Clock, run: &Claimed, before: u64, base: Option<&VersionId>) -> Result<std::result::Result<(), Held>> {
    let mut tx = db.write().await?;
    if let Some(gone) = gone(&mut tx, run).await? {
        return Ok(Err(gone));
    }
    sqlx::query(
        "UPDATE runs SET state = 'succeeded', finished_at = $1, lease_until = NULL, progress = '{}', outcome = 'kept', rows_before = $2, rows_after = $2
         WHERE id = $3 AND fence = $4",
    )
    .bind(clock.now())
    .bind(signed(before))
    .bind(&run.id)
    .bind(run.fence)
    .execute(&mut *tx)
    .await?;
    history::committed(&mut tx, &run.id, base).await?;
    backfills::chunk_committed(&mut tx, &run.id, clock.now()).await?;
    upkeep::run_succeeded_in(&mut tx, clock.now(), run, signed(before)).await?;
    step("keep.written");
    tx.commit().await?;
    step("keep.done");
    Ok(Ok(()))
}

/// Keeps what changed in the columns with a run that this stops.
pub async fn note_schema(db: &Db, run: &Claimed, change: &str) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE runs SET schema_change = $1 WHERE id = $2 AND fence = $3").bind(change).bind(&run.id).bind(run.fence).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn gone(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, run: &Claimed) -> Result<Option<Held>> {
    let state: Option<(i64,)> = sqlx::query_as("SELECT cancel_requested FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'")
        .bind(&run.id)
        .bind(run.fence)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(match state {
        None => Some(Held::Lost),
        Some((0,)) => None,
        Some(_) => Some(Held::Cancel),
    })
}

/// The number of a run among those of its DataSet, and when it started: the same for all its attempts.
pub async fn batch(db: &Db, run: &Claimed) -> Result<(i64, Millis)> {
    let mut tx = db.write().await?;
    let row: Option<(Option<i64>, i64, Option<i64>)> =
        sqlx::query_as("SELECT r.batch, d.next_batch, r.started_at FROM runs r JOIN datasets d ON d.id = r.dataset_id WHERE r.id = $1")
            .bind(&run.id)
            .fetch_optional(&mut *tx)
            .await?;
    let (has, next, started_at) = row.ok_or_else(|| Error::not_found("run"))?;
    let started_at = started_at.unwrap_or_default();
    if let Some(batch) = has {
        return Ok((batch, started_at));
    }
    sqlx::query("UPDATE runs SET batch = $1 WHERE id = $2 AND fence = $3").bind(next).bind(&run.id).bind(run.fence).execute(&mut *tx).await?;
    sqlx::query("UPDATE datasets SET next_batch = $1 WHERE id = $2").bind(next + 1).bind(&run.dataset_id).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok((next, started_at))
}

/// No version of a DataSet waits to be accepted any more, inside the caller's transaction.
pub async fn supersede_held(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, dataset: &DatasetId) -> Result<()> {
    sqlx::query("UPDATE datasets SET held_version = NULL WHERE id = $1").bind(dataset).execute(&mut **tx).await?;
    superseded_by(tx, dataset, None).await
}

async fn superseded_by(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, dataset: &DatasetId, by: Option<&RunId>) -> Result<()> {
    sqlx::query("UPDATE runs SET outcome = 'superseded', error_who = 'No action needed.', error_action = $1 WHERE dataset_id = $2 AND outcome = 'held' AND id <> COALESCE($3, '')")
        .bind("A newer version replaced these rows. They can no longer be published.")
        .bind(dataset)
        .bind(by)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Refuses while a run of the DataSet is at work, inside the caller's transaction.
pub async fn not_at_work(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, dataset: &DatasetId) -> Result<()> {
    let busy = sqlx::query("SELECT 1 FROM runs WHERE dataset_id = $1 AND state = 'running'").bind(dataset).fetch_optional(&mut **tx).await?;
    match busy {
        None => Ok(()),
        Some(_) => Err(Error::conflict("run_under_way", "A run of this DataSet is running. It will save its own rows when it ends.")
            .action("Stop the run or wait until it ends, then try again.")),
    }
}

/// Makes the version that a run left held the current one. Fails when it is held no more, and while another run is at work.
pub async fn accept(db: &Db, clock: &Clock, run: &RunId, dataset: &DatasetId, by: &UserId) -> Result<()> {
    let mut tx = db.write().await?;
    not_at_work(&mut tx, dataset).await?;
    let accepted = sqlx::query(
        "UPDATE datasets SET current_version = held_version, held_version = NULL
         WHERE id = $1 AND held_version = (SELECT r.version_id FROM runs r JOIN versions v ON v.id = r.version_id WHERE r.id = $2 AND r.dataset_id = $1 AND r.outcome = 'held')",
    )
    .bind(dataset)
    .bind(run)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if accepted != 1 {
        return Err(Error::conflict("not_held", "No version of this run is waiting for approval.").action("See the newest runs under History."));
    }
    sqlx::query(
        "UPDATE runs SET state = 'succeeded', outcome = 'accepted', accepted_by = $1, accepted_at = $2,
                         error_code = NULL, error_message = NULL, error_who = NULL, error_action = NULL WHERE id = $3",
    )
    .bind(by)
    .bind(clock.now())
    .bind(run)
    .execute(&mut *tx)
    .await?;
    let (rows, cause): (i64, String) = sqlx::query_as("SELECT rows_after, cause FROM runs WHERE id = $1").bind(run).fetch_one(&mut *tx).await?;
    if Trigger::parse(&cause) == Some(Trigger::Backfill) {
        backfills::chunk_committed(&mut tx, run, clock.now()).await?;
    } else {
        upkeep::succeeded_in(&mut tx, clock.now(), dataset, rows).await?;
    }
    step("accept.written");
    tx.commit().await?;
    step("accept.done");
    Ok(())
}
