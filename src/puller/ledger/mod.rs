//! The ledger: one line for each window of a run, with the requested days and the counts of
//! records. This file writes it, `ledger/lines.rs` reads it.

mod lines;

use serde::Serialize;
use sqlx::{Sqlite, Transaction};

use super::queue::ShortWindow;
use crate::clock::Millis;
use crate::connectors::{Completeness, Window, WindowCounts};
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId};
pub(super) use lines::{contributing_windows, lines_in_tx, of_day, short_windows};
pub use lines::{of_dataset, of_run};

/// One line of the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerLine {
    pub run: RunId,
    /// From 0, in the order of reading.
    pub position: i64,
    /// `None` for a report without days.
    pub window: Option<Window>,
    /// It was read completely.
    pub done: bool,
    /// The window failed its run: the vendor reported `counts.total` records and returned
    /// `counts.kept`.
    pub short: bool,
    #[serde(rename = "tally")]
    pub counts: WindowCounts,
    pub finished_at: Option<Millis>,
}

impl LedgerLine {
    /// How complete the window is; `None` before it was read.
    pub fn completeness(&self) -> Option<Completeness> {
        self.counts.completeness.filter(|_| self.done || self.short)
    }
}

/// The state of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
enum WindowState {
    /// Not read, or not read completely.
    Planned,
    /// Read completely.
    Done,
    /// The vendor reported more records than it returned.
    Short,
}

/// Inserts the planned windows of a run. A report without days has one line.
pub(super) async fn insert_planned(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
    dataset: &DatasetId,
    windows: &[Window],
) -> Result<()> {
    let lines: Vec<Option<Window>> = if windows.is_empty() {
        vec![None]
    } else {
        windows.iter().copied().map(Some).collect()
    };
    for (position, window) in lines.into_iter().enumerate() {
        sqlx::query(
            "INSERT INTO windows (run_id, dataset_id, position, from_day, to_day, state)
             VALUES ($1, $2, $3, $4, $5, 'planned')",
        )
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

/// Deletes the windows of a run.
pub(super) async fn delete_windows(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
) -> Result<()> {
    sqlx::query("DELETE FROM windows WHERE run_id = $1")
        .bind(run)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Resets windows that were read but not checkpointed before an interruption.
pub(super) async fn reset_uncheckpointed(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
) -> Result<()> {
    sqlx::query(
        "UPDATE windows
         SET state = 'planned', counts = '{}', rows = NULL, finished_at = NULL
         WHERE run_id = $1 AND checkpointed = 0",
    )
    .bind(run)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Checkpoints all finished windows: their rows are in complete files.
pub(super) async fn checkpoint(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    sqlx::query("UPDATE windows SET checkpointed = 1 WHERE run_id = $1 AND state = 'done'")
        .bind(run)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Marks a window as short: the vendor reported more records than it returned. The run is short as
/// well.
pub(super) async fn mark_short(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
    days: &Window,
    short: ShortWindow,
    now: Millis,
) -> Result<()> {
    let counts = WindowCounts {
        kept: short.have,
        total: Some(short.of),
        completeness: Some(Completeness::Short),
        ..WindowCounts::default()
    };
    sqlx::query("UPDATE runs SET completeness = $1 WHERE id = $2")
        .bind(Completeness::Short.word())
        .bind(run)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "UPDATE windows
         SET state = 'short', counts = $1, finished_at = $2
         -- The planned window that contains the days: a connector may have divided it.
         WHERE run_id = $3 AND state = 'planned' AND from_day <= $4 AND to_day >= $5",
    )
    .bind(serde_json::to_string(&counts).map_err(Error::internal)?)
    .bind(now)
    .bind(run)
    .bind(days.from.to_string())
    .bind(days.to.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Marks a window as completely read, with its counts and the number of rows written.
pub(super) async fn mark_done(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
    position: usize,
    counts: &WindowCounts,
    rows: u64,
    now: Millis,
) -> Result<()> {
    sqlx::query(
        "UPDATE windows
         SET state = 'done', counts = $1, rows = $2, finished_at = $3
         WHERE run_id = $4 AND position = $5",
    )
    .bind(serde_json::to_string(counts).map_err(Error::internal)?)
    .bind(i64::try_from(rows).unwrap_or(i64::MAX))
    .bind(now)
    .bind(run)
    .bind(i64::try_from(position).unwrap_or(i64::MAX))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
