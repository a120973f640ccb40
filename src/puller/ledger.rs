//! The ledger: one line for each window of a run, with the requested days and the counts of
//! records.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, Transaction};

use super::queue::ShortWindow;
use crate::clock::{Millis, timestamp};
use crate::connectors::completeness::last_settled_day;
use crate::connectors::{Completeness, Window, WindowCounts};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId};

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
    sqlx::query("UPDATE windows SET state = 'planned', counts = '{}', rows = NULL, finished_at = NULL WHERE run_id = $1 AND checkpointed = 0")
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

/// The lines of a run, inside the caller's transaction.
pub(super) async fn lines_in_tx(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
) -> Result<Vec<LedgerLine>> {
    let rows = sqlx::query_as(OF_RUN)
        .bind(run)
        .fetch_all(&mut **tx)
        .await?;
    Ok(rows.into_iter().map(line).collect())
}

const OF_RUN: &str = "SELECT run_id, position, from_day, to_day, state, counts, finished_at
     FROM windows
     WHERE run_id = $1
     ORDER BY position";

/// The lines of a run, in the order of reading.
pub async fn of_run(db: &Db, run: &RunId) -> Result<Vec<LedgerLine>> {
    let rows = sqlx::query_as(OF_RUN)
        .bind(run)
        .fetch_all(db.read())
        .await?;
    Ok(rows.into_iter().map(line).collect())
}

/// The lines of a DataSet's runs, newest run first, from number `offset` on.
pub async fn of_dataset(
    db: &Db,
    dataset: &DatasetId,
    offset: i64,
    limit: i64,
) -> Result<Vec<LedgerLine>> {
    let rows = sqlx::query_as(
        "SELECT w.run_id, w.position, w.from_day, w.to_day, w.state, w.counts, w.finished_at
         FROM windows w
         JOIN runs r ON r.id = w.run_id
         WHERE w.dataset_id = $1
         ORDER BY r.queued_at DESC, r.id DESC, w.position
         LIMIT $2 OFFSET $3",
    )
    .bind(dataset)
    .bind(limit)
    .bind(offset)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(line).collect())
}

/// The finished lines of all runs whose rows are in the version of this run: its own first, then
/// those of the run it builds on, and so on. A revert builds on the run of the restored version.
pub(super) async fn contributing_windows(db: &Db, run: &RunId) -> Result<Vec<LedgerLine>> {
    let rows = sqlx::query_as(
        "WITH
             RECURSIVE chain (id, builds_on, place) AS (
                 SELECT r.id, r.builds_on, 0
                 FROM runs r
                 WHERE r.id = $1
                 UNION ALL
                 SELECT r.id, r.builds_on, c.place + 1
                 FROM chain c
                 JOIN runs r ON r.id = c.builds_on
             ),
             behind (id, place) AS (
                 SELECT c.id, 2 * c.place
                 FROM chain c
                 UNION ALL
                 SELECT r.id, 2 * c.place - 1
                 FROM chain c
                 JOIN runs r ON r.builds_on = c.id AND r.outcome IN ('kept', 'unchanged')
             )
         SELECT w.run_id, w.position, w.from_day, w.to_day, w.state, w.counts, w.finished_at
         FROM behind b
         JOIN runs r ON r.id = b.id
         JOIN windows w ON w.run_id = b.id
         WHERE w.state = 'done'
         ORDER BY b.place, r.queued_at DESC, w.position",
    )
    .bind(run)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(line).collect())
}

/// The short windows of a DataSet, newest run first.
pub(super) async fn short_windows(db: &Db, dataset: &DatasetId) -> Result<Vec<LedgerLine>> {
    let rows = sqlx::query_as(
        "SELECT w.run_id, w.position, w.from_day, w.to_day, w.state, w.counts, w.finished_at
         FROM windows w
         JOIN runs r ON r.id = w.run_id
         WHERE w.dataset_id = $1 AND w.state = 'short'
         ORDER BY r.queued_at DESC, r.id DESC
         LIMIT 1000",
    )
    .bind(dataset)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(line).collect())
}

/// The lines of a DataSet whose window contains a day, newest run first.
pub(super) async fn of_day(
    db: &Db,
    dataset: &DatasetId,
    day: jiff::civil::Date,
) -> Result<Vec<LedgerLine>> {
    let rows = sqlx::query_as(
        "SELECT w.run_id, w.position, w.from_day, w.to_day, w.state, w.counts, w.finished_at
         FROM windows w
         JOIN runs r ON r.id = w.run_id
         WHERE w.dataset_id = $1 AND w.from_day <= $2 AND w.to_day >= $2
         ORDER BY r.queued_at DESC, r.id DESC
         LIMIT 100",
    )
    .bind(dataset)
    .bind(day.to_string())
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(line).collect())
}

type LedgerRow = (
    RunId,
    i64,
    Option<String>,
    Option<String>,
    String,
    String,
    Option<i64>,
);

fn line((run, position, from, to, state, counts, finished_at): LedgerRow) -> LedgerLine {
    let day = |text: Option<String>| text.and_then(|t| t.parse().ok());
    let window = day(from).zip(day(to)).map(|(from, to)| Window { from, to });
    let (done, short) = (state == "done", state == "short");
    let mut line = LedgerLine {
        run,
        position,
        window,
        done,
        short,
        counts: serde_json::from_str(&counts).unwrap_or_default(),
        finished_at,
    };
    if (done || short) && line.counts.completeness.is_none() {
        line.counts.completeness = Some(legacy_completeness(&line, &counts));
    }
    line
}

/// A field of counts that were stored before they had `completeness`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LegacyCounts {
    /// Pages were read again before the vendor's total was met.
    corrected: bool,
}

/// The completeness of a line that was stored without one, from its counts (`stored`: their JSON).
/// Such runs never read a window twice.
fn legacy_completeness(line: &LedgerLine, stored: &str) -> Completeness {
    let corrected = serde_json::from_str::<LegacyCounts>(stored)
        .unwrap_or_default()
        .corrected;
    // The time zone of the days is not stored, so this uses the zone in which a day ends last.
    let zone = TimeZone::fixed(jiff::tz::offset(-12));
    let settled_until = line
        .finished_at
        .map(|at| last_settled_day(timestamp(at), &zone));
    match line.counts.total {
        _ if line.short => Completeness::Short,
        None => Completeness::Complete,
        Some(total) if corrected || total != line.counts.kept => Completeness::Corrected,
        Some(_)
            if line
                .window
                .zip(settled_until)
                .is_some_and(|(window, settled)| window.to <= settled) =>
        {
            Completeness::Verified
        }
        Some(_) => Completeness::Counted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_stored_completeness_is_verified_only_if_its_days_were_settled_everywhere() {
        let read = |to: &str, state: &str, counts: &str| {
            let at = "2026-11-20T12:00:00Z"
                .parse::<jiff::Timestamp>()
                .unwrap()
                .as_millisecond();
            line((
                RunId::new(),
                0,
                Some("2026-11-10".to_owned()),
                Some(to.to_owned()),
                state.to_owned(),
                counts.to_owned(),
                Some(at),
            ))
            .completeness()
        };
        let counts = |total: &str, corrected: bool| {
            format!(
                r#"{{"pages":1,"calls":1,"read":7,"kept":7,"duplicates":0,"left_out":0,"rejected":0,"misfits":0,"total":{total},"corrected":{corrected},"waited_ms":0}}"#
            )
        };
        // The 17th ended in the last of all zones at noon of the 18th (UTC), 48 hours ago.
        assert_eq!(
            read("2026-11-17", "done", &counts("7", false)),
            Some(Completeness::Verified)
        );
        assert_eq!(
            read("2026-11-18", "done", &counts("7", false)),
            Some(Completeness::Counted)
        );
        assert_eq!(
            read("2026-11-17", "done", &counts("7", true)),
            Some(Completeness::Corrected)
        );
        assert_eq!(
            read("2026-11-17", "done", &counts("6", false)),
            Some(Completeness::Corrected)
        );
        assert_eq!(
            read("2026-11-17", "done", &counts("null", false)),
            Some(Completeness::Complete)
        );
        assert_eq!(
            read("2026-11-17", "short", &counts("9", false)),
            Some(Completeness::Short)
        );
        assert_eq!(read("2026-11-17", "planned", "{}"), None);
        // A stored completeness is used as it is.
        let stored =
            counts("7", false).replace(r#""pages":1"#, r#""pages":1,"completeness":"reread""#);
        assert_eq!(
            read("2026-11-17", "done", &stored),
            Some(Completeness::Reread)
        );
    }
}
