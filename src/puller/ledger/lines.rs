//! Reads lines of the ledger: of a run, of a DataSet, or of a version.

use jiff::tz::TimeZone;
use serde::Deserialize;
use sqlx::{Sqlite, Transaction};

use super::{LedgerLine, WindowState};
use crate::clock::timestamp;
use crate::connectors::completeness::last_settled_day;
use crate::connectors::{Completeness, Window};
use crate::db::Db;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};

/// A line of the ledger as a row of the catalogue.
#[derive(sqlx::FromRow)]
struct LedgerRow {
    run_id: RunId,
    position: i64,
    from_day: Option<String>,
    to_day: Option<String>,
    state: WindowState,
    /// JSON of `WindowCounts`.
    counts: String,
    finished_at: Option<i64>,
}

impl From<LedgerRow> for LedgerLine {
    fn from(row: LedgerRow) -> Self {
        let day = |text: Option<String>| text.and_then(|t| t.parse().ok());
        let window = day(row.from_day)
            .zip(day(row.to_day))
            .map(|(from, to)| Window { from, to });
        let mut line = LedgerLine {
            run: row.run_id,
            position: row.position,
            window,
            done: row.state == WindowState::Done,
            short: row.state == WindowState::Short,
            counts: serde_json::from_str(&row.counts).unwrap_or_default(),
            finished_at: row.finished_at,
        };
        if (line.done || line.short) && line.counts.completeness.is_none() {
            line.counts.completeness = Some(legacy_completeness(&line, &row.counts));
        }
        line
    }
}

/// The lines of a run, inside the caller's transaction.
pub(in crate::puller) async fn lines_in_tx(
    tx: &mut Transaction<'static, Sqlite>,
    run: &RunId,
) -> Result<Vec<LedgerLine>> {
    let rows: Vec<LedgerRow> = sqlx::query_as(OF_RUN)
        .bind(run)
        .fetch_all(&mut **tx)
        .await?;
    Ok(rows.into_iter().map(LedgerLine::from).collect())
}

const OF_RUN: &str = "SELECT run_id, position, from_day, to_day, state, counts, finished_at
     FROM windows
     WHERE run_id = $1
     ORDER BY position";

/// The lines of a run, in the order of reading.
pub async fn of_run(db: &Db, run: &RunId) -> Result<Vec<LedgerLine>> {
    let rows: Vec<LedgerRow> = sqlx::query_as(OF_RUN)
        .bind(run)
        .fetch_all(db.read())
        .await?;
    Ok(rows.into_iter().map(LedgerLine::from).collect())
}

/// The lines of a DataSet's runs, newest run first, from number `offset` on.
pub async fn of_dataset(
    db: &Db,
    dataset: &DatasetId,
    offset: i64,
    limit: i64,
) -> Result<Vec<LedgerLine>> {
    let rows: Vec<LedgerRow> = sqlx::query_as(
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
    Ok(rows.into_iter().map(LedgerLine::from).collect())
}

/// The finished lines of all runs whose rows are in the version of this run: its own first, then
/// those of the run it builds on, and so on. A revert builds on the run of the restored version.
pub(in crate::puller) async fn contributing_windows(
    db: &Db,
    run: &RunId,
) -> Result<Vec<LedgerLine>> {
    let rows: Vec<LedgerRow> = sqlx::query_as(
        "WITH
             -- This run, the run it builds on, and so on.
             RECURSIVE chain (id, builds_on, place) AS (
                 SELECT r.id, r.builds_on, 0
                 FROM runs r
                 WHERE r.id = $1
                 UNION ALL
                 SELECT r.id, r.builds_on, c.place + 1
                 FROM chain c
                 JOIN runs r ON r.id = c.builds_on
             ),
             -- Besides them, the runs that confirmed the rows of one of these runs without a
             -- version of their own. They were read later than that run, so they precede it.
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
    Ok(rows.into_iter().map(LedgerLine::from).collect())
}

/// The short windows of a DataSet, newest run first.
pub(in crate::puller) async fn short_windows(
    db: &Db,
    dataset: &DatasetId,
) -> Result<Vec<LedgerLine>> {
    let rows: Vec<LedgerRow> = sqlx::query_as(
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
    Ok(rows.into_iter().map(LedgerLine::from).collect())
}

/// The lines of a DataSet whose window contains a day, newest run first.
pub(in crate::puller) async fn of_day(
    db: &Db,
    dataset: &DatasetId,
    day: jiff::civil::Date,
) -> Result<Vec<LedgerLine>> {
    let rows: Vec<LedgerRow> = sqlx::query_as(
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
    Ok(rows.into_iter().map(LedgerLine::from).collect())
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
        let read = |to: &str, state: WindowState, counts: &str| {
            let at = "2026-11-20T12:00:00Z"
                .parse::<jiff::Timestamp>()
                .unwrap()
                .as_millisecond();
            LedgerLine::from(LedgerRow {
                run_id: RunId::new(),
                position: 0,
                from_day: Some("2026-11-10".to_owned()),
                to_day: Some(to.to_owned()),
                state,
                counts: counts.to_owned(),
                finished_at: Some(at),
            })
            .completeness()
        };
        let counts = |total: &str, corrected: bool| {
            format!(
                r#"{{"pages":1,"calls":1,"read":7,"kept":7,"duplicates":0,"left_out":0,
                     "rejected":0,"misfits":0,"total":{total},"corrected":{corrected},
                     "waited_ms":0}}"#
            )
        };
        // The 17th ended in the last of all zones at noon of the 18th (UTC), 48 hours ago.
        assert_eq!(
            read("2026-11-17", WindowState::Done, &counts("7", false)),
            Some(Completeness::Verified)
        );
        assert_eq!(
            read("2026-11-18", WindowState::Done, &counts("7", false)),
            Some(Completeness::Counted)
        );
        assert_eq!(
            read("2026-11-17", WindowState::Done, &counts("7", true)),
            Some(Completeness::Corrected)
        );
        assert_eq!(
            read("2026-11-17", WindowState::Done, &counts("6", false)),
            Some(Completeness::Corrected)
        );
        assert_eq!(
            read("2026-11-17", WindowState::Done, &counts("null", false)),
            Some(Completeness::Complete)
        );
        assert_eq!(
            read("2026-11-17", WindowState::Short, &counts("9", false)),
            Some(Completeness::Short)
        );
        assert_eq!(read("2026-11-17", WindowState::Planned, "{}"), None);
        // A stored completeness is used as it is.
        let stored =
            counts("7", false).replace(r#""pages":1"#, r#""pages":1,"completeness":"reread""#);
        assert_eq!(
            read("2026-11-17", WindowState::Done, &stored),
            Some(Completeness::Reread)
        );
    }
}
