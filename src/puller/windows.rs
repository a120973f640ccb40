//! The ledger of what was asked for and what came: one line a window of a run.

use serde::Serialize;
use sqlx::{Sqlite, Transaction};

use crate::clock::Millis;
use crate::connectors::{Tally, Window};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId};

/// One line of the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub run: RunId,
    /// From 0, in the order of reading.
    pub position: i64,
    /// None for a report without days.
    pub window: Option<Window>,
    pub done: bool,
    pub tally: Tally,
    pub finished_at: Option<Millis>,
}

/// Writes down what a run is going to ask for, forgetting what an interrupted attempt had written. A report without days has one line.
pub(super) async fn plan(tx: &mut Transaction<'static, Sqlite>, run: &RunId, dataset: &DatasetId, windows: &[Window]) -> Result<()> {
    sqlx::query("DELETE FROM windows WHERE run_id = $1").bind(run).execute(&mut **tx).await?;
    let lines: Vec<Option<Window>> = if windows.is_empty() { vec![None] } else { windows.iter().copied().map(Some).collect() };
    for (position, window) in lines.into_iter().enumerate() {
        sqlx::query("INSERT INTO windows (run_id, dataset_id, position, from_day, to_day, state) VALUES ($1, $2, $3, $4, $5, 'planned')")
            .bind(run)
            .bind(dataset)
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .bind(window.map(|w| w.from.to_string()))
            .bind(window.map(|w| w.to.to_string()))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Notes that a window came whole.
pub(super) async fn done(tx: &mut Transaction<'static, Sqlite>, run: &RunId, position: usize, tally: &Tally, now: Millis) -> Result<()> {
    sqlx::query("UPDATE windows SET state = 'done', tally = $1, finished_at = $2 WHERE run_id = $3 AND position = $4")
        .bind(serde_json::to_string(tally).map_err(Error::internal)?)
        .bind(now)
        .bind(run)
        .bind(i64::try_from(position).unwrap_or(i64::MAX))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The windows a run was given when it was first claimed; none before that.
pub(super) async fn planned(db: &Db, run: &RunId) -> Result<Option<Vec<Window>>> {
    let lines = of_run(db, run).await?;
    Ok((!lines.is_empty()).then(|| lines.into_iter().filter_map(|line| line.window).collect()))
}

/// The lines of a run, in the order of reading.
pub async fn of_run(db: &Db, run: &RunId) -> Result<Vec<Line>> {
    let rows = sqlx::query_as("SELECT run_id, position, from_day, to_day, state, tally, finished_at FROM windows WHERE run_id = $1 ORDER BY position")
        .bind(run)
        .fetch_all(db.read())
        .await?;
    Ok(rows.into_iter().map(line).collect())
}

/// The lines of a DataSet's runs, newest run first, from number `offset` on.
pub async fn of_dataset(db: &Db, dataset: &DatasetId, offset: i64, limit: i64) -> Result<Vec<Line>> {
    let rows = sqlx::query_as(
        "SELECT w.run_id, w.position, w.from_day, w.to_day, w.state, w.tally, w.finished_at FROM windows w JOIN runs r ON r.id = w.run_id
         WHERE w.dataset_id = $1 ORDER BY r.queued_at DESC, r.id DESC, w.position LIMIT $2 OFFSET $3",
    )
    .bind(dataset)
    .bind(limit)
    .bind(offset)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(line).collect())
}

type Row = (RunId, i64, Option<String>, Option<String>, String, String, Option<i64>);

fn line((run, position, from, to, state, tally, finished_at): Row) -> Line {
    let day = |text: Option<String>| text.and_then(|t| t.parse().ok());
    let window = day(from).zip(day(to)).map(|(from, to)| Window { from, to });
    Line { run, position, window, done: state == "done", tally: serde_json::from_str(&tally).unwrap_or_default(), finished_at }
}
