//! The results of recent runs, for the list of DataSets.

use std::collections::HashMap;

use sqlx::FromRow;

use super::Datasets;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};

/// How many of the newest runs are read.
const RECENT_RUNS: usize = 20;

/// A summary of a DataSet's recent runs.
#[derive(Clone, Debug, Default)]
pub struct RecentRuns {
    pub newest: Option<NewestRun>,
    /// The failure of the newest finished run, if it did not succeed: what happened, who must act,
    /// and what happens next.
    pub failure: Option<(String, String, String)>,
    /// The error code of that failure.
    pub failure_code: Option<String>,
    pub failed_at: Option<Millis>,
    /// How many of the newest finished runs failed in a row.
    pub failed_in_a_row: usize,
    /// When the failures began.
    pub failing_since: Option<Millis>,
    /// The newest finished run, if its version waits for approval.
    pub pending_approval: Option<RunId>,
    /// When the newest finished run ended, if it pulled no rows.
    pub empty_since: Option<Millis>,
    /// Whether rows of its current version cannot be read.
    pub damaged: bool,
    /// The numbers of rows that the last successful runs wrote, oldest first, at most 14.
    pub rows_per_run: Vec<i64>,
}

/// The newest run of a DataSet.
#[derive(Clone, Debug)]
pub struct NewestRun {
    pub run: RunId,
    pub state: String,
    /// When the run ended, or was queued if it has not ended.
    pub at: Millis,
    /// The earliest time at which a waiting run can be claimed.
    pub due_at: Millis,
    /// Whether Chatlake deferred it, not the vendor.
    pub deferred: bool,
    /// Whether a person has requested its cancellation.
    pub stopping: bool,
}

#[derive(FromRow)]
struct RecentRunRow {
    dataset_id: DatasetId,
    id: RunId,
    state: String,
    queued_at: i64,
    due_at: i64,
    finished_at: Option<i64>,
    rows_written: i64,
    error_code: Option<String>,
    error_message: Option<String>,
    error_who: Option<String>,
    error_action: Option<String>,
    outcome: Option<String>,
    deferred_reason: Option<String>,
    cancel_requested: i64,
}

impl Datasets {
    /// Summarises the last 20 runs of every DataSet that this person may see. Leaves out reverts,
    /// because they request nothing from the vendor, and finished backfill chunks, because they are
    /// not part of the schedule.
    pub async fn recent_runs(&self, actor: &Actor) -> Result<HashMap<DatasetId, RecentRuns>> {
        let rows: Vec<RecentRunRow> = sqlx::query_as(
            "SELECT
                 r.dataset_id, r.id, r.state, r.queued_at, r.due_at, r.finished_at,
                 r.rows_written, r.error_code, r.error_message, r.error_who, r.error_action,
                 r.outcome, r.deferred_reason, r.cancel_requested
             FROM datasets d
             JOIN runs r
                 ON r.id IN (
                     -- The newest runs of one DataSet.
                     SELECT x.id
                     FROM runs x
                     WHERE x.dataset_id = d.id
                         AND x.trigger <> 'revert'
                         AND (x.trigger <> 'backfill' OR x.finished_at IS NULL)
                     ORDER BY x.queued_at DESC, x.id DESC
                     LIMIT 20
                 )
             WHERE $1 = 1 OR d.owner_id = $2 OR d.shared = 1
             ORDER BY r.dataset_id, r.queued_at DESC, r.id DESC",
        )
        .bind(i64::from(actor.is_admin()))
        .bind(&actor.user)
        .fetch_all(self.db.read())
        .await?;
        let mut all: HashMap<DatasetId, RecentRuns> = HashMap::new();
        let mut settled: HashMap<DatasetId, bool> = HashMap::new();
        for row in rows {
            let recent_runs = all.entry(row.dataset_id.clone()).or_default();
            let state = row.state.as_str();
            let is_first_over = !*settled.get(&row.dataset_id).unwrap_or(&false)
                && recent_runs.failed_in_a_row == 0
                && row.finished_at.is_some()
                && state != "cancelled";
            if is_first_over {
                recent_runs.pending_approval =
                    (row.outcome.as_deref() == Some("held")).then(|| row.id.clone());
                recent_runs.empty_since = row
                    .finished_at
                    .filter(|_| state == "succeeded" && row.rows_written == 0);
            }
            if recent_runs.newest.is_none() {
                recent_runs.newest = Some(NewestRun {
                    run: row.id.clone(),
                    state: row.state.clone(),
                    at: row.finished_at.unwrap_or(row.queued_at),
                    due_at: row.due_at,
                    deferred: row.deferred_reason.is_some(),
                    stopping: row.cancel_requested != 0 && row.finished_at.is_none(),
                });
            }
            let is_settled = settled.entry(row.dataset_id).or_default();
            match state {
                "failed" | "parked" if !*is_settled => {
                    recent_runs.failed_in_a_row += 1;
                    recent_runs.failing_since = row.finished_at;
                    if recent_runs.failure.is_none() {
                        recent_runs.failure = Some((
                            row.error_message.unwrap_or_default(),
                            row.error_who.unwrap_or_default(),
                            row.error_action.unwrap_or_default(),
                        ));
                        (recent_runs.failure_code, recent_runs.failed_at) =
                            (row.error_code, row.finished_at);
                    }
                }
                "succeeded" => *is_settled = true,
                _ => {}
            }
            if row.state == "succeeded" && recent_runs.rows_per_run.len() < 14 {
                recent_runs.rows_per_run.insert(0, row.rows_written);
            }
        }
        for dataset in self.damaged().await? {
            if let Some(recent_runs) = all.get_mut(&dataset) {
                recent_runs.damaged = true;
            }
        }
        for (dataset, recent_runs) in all
            .iter_mut()
            .filter(|(_, recent_runs)| recent_runs.failed_in_a_row >= RECENT_RUNS)
        {
            (recent_runs.failed_in_a_row, recent_runs.failing_since) =
                self.failing(dataset).await?;
        }
        Ok(all)
    }

    /// The DataSets whose current version has a file that is known to be damaged or missing.
    async fn damaged(&self) -> Result<Vec<DatasetId>> {
        // There are few damaged segments, so the query starts with them.
        let ids = sqlx::query_scalar(
            "SELECT DISTINCT d.id
             FROM segments s
             CROSS JOIN version_segments x ON x.segment_id = s.id
             JOIN datasets d ON d.current_version = x.version_id
             WHERE s.damage IS NOT NULL",
        );
        Ok(ids.fetch_all(self.db.read()).await?)
    }

    /// The number of newest runs that failed in a row, without the limit of `RECENT_RUNS`, and
    /// since when.
    pub async fn failing(&self, dataset: &DatasetId) -> Result<(usize, Option<Millis>)> {
        let (count, since): (i64, Option<i64>) = sqlx::query_as(
            "SELECT COUNT(*), MIN(finished_at)
             FROM runs
             WHERE dataset_id = $1
                 AND state IN ('failed', 'parked')
                 AND trigger NOT IN ('revert', 'backfill')
                 -- After the last success.
                 AND queued_at > COALESCE(
                     (
                         SELECT MAX(queued_at)
                         FROM runs
                         WHERE dataset_id = $1
                             AND state = 'succeeded'
                             AND trigger NOT IN ('revert', 'backfill')
                     ),
                     0
                 )",
        )
        .bind(dataset)
        .fetch_one(self.db.read())
        .await?;
        Ok((usize::try_from(count).unwrap_or(0), since))
    }
}
