//! What a run asks for: its windows, resolved once when it is first claimed, and which of them are there already. An attempt that goes
//! on where another stopped finds its plan here.

use sqlx::{Sqlite, Transaction};

use super::{Claimed, Held, Spent, signed};
use crate::clock::Clock;
use crate::connectors::{Completeness, Tally, Window};
use crate::datasets::segments::{self, Written};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::RunId;
use crate::puller::windows;

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order of reading; none for a report without days, which is one window of its own.
    pub windows: Vec<Window>,
    /// The positions that an earlier attempt left whole on the disk, ascending, and what was counted in them.
    pub kept: Vec<(usize, Tally)>,
    /// An attempt before this one had the same plan.
    pub resumed: bool,
}

impl Plan {
    /// The positions that are still to be read.
    pub fn left(&self) -> Vec<usize> {
        (0..self.windows.len().max(1)).filter(|at| !self.kept.iter().any(|(kept, _)| kept == at)).collect()
    }
}

/// Writes down what a run is going to ask for, or finds what an earlier attempt wrote down. `key` says what is asked and how it becomes
/// rows: a plan with another key was made before the DataSet was changed, and is forgotten with all that it brought. None when the
/// lease is lost.
pub async fn plan(db: &Db, run: &Claimed, key: &str, fresh: &[Window]) -> Result<Option<Plan>> {
    let mut tx = db.write().await?;
    let before: Option<(Option<String>,)> = sqlx::query_as("SELECT plan_key FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'")
        .bind(&run.id)
        .bind(run.fence)
        .fetch_optional(&mut *tx)
        .await?;
    let Some((before,)) = before else { return Ok(None) };
    if before.as_deref() != Some(key) {
        forget(&mut tx, &run.id).await?;
        windows::plan(&mut tx, &run.id, &run.dataset_id, fresh).await?;
    }
    let resumed = before.as_deref() == Some(key);
    windows::set_back(&mut tx, &run.id).await?;
    let lines = windows::lines(&mut tx, &run.id).await?;
    sqlx::query(
        "UPDATE runs SET plan_key = $1, windows_total = $2, pages = 0, calls = 0, records_read = 0, records_kept = 0, duplicates = 0, left_out = 0, rejected = 0,
                         misfits = 0, repaired = 0, rows_written = 0, bytes_written = 0, waited_ms = 0, vendor_total = NULL, completeness = NULL
         WHERE id = $3",
    )
    .bind(key)
    .bind(i64::try_from(lines.len()).unwrap_or(i64::MAX))
    .bind(&run.id)
    .execute(&mut *tx)
    .await?;
    let mut kept = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.done) {
        count(&mut tx, &run.id, &line.tally).await?;
        kept.push((at, line.tally));
    }
    tx.commit().await?;
    Ok(Some(Plan { windows: lines.iter().filter_map(|line| line.window).collect(), kept, resumed }))
}

/// Takes a run out of the reading it shared, because its DataSet has changed since it was queued: it has another key now, and what it
/// had asked for is forgotten.
pub async fn rekey(db: &Db, run: &mut Claimed, source_key: &str) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE runs SET source_key = $1, reading = id, plan_key = NULL WHERE id = $2 AND fence = $3")
        .bind(source_key)
        .bind(&run.id)
        .bind(run.fence)
        .execute(&mut *tx)
        .await?;
    forget(&mut tx, &run.id).await?;
    tx.commit().await?;
    source_key.clone_into(&mut run.source_key);
    run.reading = run.id.clone();
    Ok(())
}

async fn forget(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    windows::forget(tx, run).await?;
    segments::unrecord(tx, run).await
}

/// Notes that a window of a run came whole, and how many rows it became.
pub async fn window_done(db: &Db, clock: &Clock, run: &Claimed, position: usize, tally: &Tally, rows: u64) -> Result<Held> {
    let mut tx = db.write().await?;
    if !is_held(&mut tx, run).await? {
        return Ok(Held::Lost);
    }
    count(&mut tx, &run.id, tally).await?;
    windows::done(&mut tx, &run.id, position, tally, rows, clock.now()).await?;
    tx.commit().await?;
    Ok(Held::Yes)
}

/// Notes the records of a window that became no row, before the window is done, so that a later attempt knows of them. A window that is
/// read again has them written anew.
pub async fn note_childless(db: &Db, run: &Claimed, position: usize, parents: &[String]) -> Result<()> {
    let mut tx = db.write().await?;
    if is_held(&mut tx, run).await? {
        sqlx::query("UPDATE windows SET childless = $1 WHERE run_id = $2 AND position = $3")
            .bind(serde_json::to_string(parents).map_err(Error::internal)?)
            .bind(&run.id)
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The records of all windows of a run that became no row.
pub async fn childless(db: &Db, run: &RunId) -> Result<Vec<String>> {
    let lists: Vec<String> = sqlx::query_scalar("SELECT childless FROM windows WHERE run_id = $1 AND childless IS NOT NULL ORDER BY position")
        .bind(run)
        .fetch_all(db.read())
        .await?;
    let mut all = Vec::new();
    for list in lists {
        all.append(&mut serde_json::from_str::<Vec<String>>(&list).map_err(Error::internal)?);
    }
    Ok(all)
}

/// Makes what came so far outlast an interruption, for all runs of a reading at once: every window that is done has its rows in
/// segments that are whole. A run whose lease is lost is passed over.
pub async fn keep(db: &Db, set: &[(&Claimed, &[Written])]) -> Result<()> {
    let mut tx = db.write().await?;
    for (run, written) in set {
        if is_held(&mut tx, run).await? {
            segments::record(&mut tx, written).await?;
            windows::keep(&mut tx, &run.id).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn is_held(tx: &mut Transaction<'static, Sqlite>, run: &Claimed) -> Result<bool> {
    let held: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'").bind(&run.id).bind(run.fence).fetch_optional(&mut **tx).await?;
    Ok(held.is_some())
}

async fn count(tx: &mut Transaction<'static, Sqlite>, run: &RunId, tally: &Tally) -> Result<()> {
    let before: Option<String> = sqlx::query_scalar("SELECT completeness FROM runs WHERE id = $1").bind(run).fetch_one(&mut **tx).await?;
    let before = before.as_deref().and_then(Completeness::parse);
    // A run is as complete as the weakest of its windows.
    let completeness = tally.completeness.map(|completeness| completeness.with(before)).or(before);
    sqlx::query(
        "UPDATE runs SET pages = pages + $1, calls = calls + $2, records_read = records_read + $3, records_kept = records_kept + $4,
                duplicates = duplicates + $5, left_out = left_out + $6, rejected = rejected + $7, misfits = misfits + $8, waited_ms = waited_ms + $9,
                vendor_total = CASE WHEN $10 IS NULL THEN vendor_total ELSE COALESCE(vendor_total, 0) + $10 END,
                completeness = $11, repaired = repaired + $12
         WHERE id = $13",
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
    .bind(completeness.map(Completeness::word))
    .bind(signed(tally.repaired))
    .bind(run)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Counts what an attempt cost beyond its whole windows.
pub(super) async fn spend(tx: &mut Transaction<'static, Sqlite>, run: &Claimed, spent: Spent) -> Result<()> {
    sqlx::query(
        "UPDATE runs SET calls = CASE WHEN calls < $1 THEN $1 ELSE calls END, waited_ms = CASE WHEN waited_ms < $2 THEN $2 ELSE waited_ms END WHERE id = $3",
    )
    .bind(signed(spent.calls))
    .bind(signed(spent.waited_ms))
    .bind(&run.id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
