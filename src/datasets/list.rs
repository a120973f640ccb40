//! What the list of DataSets shows beside each one: how its runs have gone lately.

use std::collections::HashMap;

use sqlx::FromRow;

use super::Datasets;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};

/// So many of the newest runs are looked at.
const LOOKED_AT: usize = 20;

/// How a DataSet's runs have gone lately.
#[derive(Clone, Debug, Default)]
pub struct Lately {
    pub newest: Option<Newest>,
    /// What went wrong in the newest finished run, when it did not succeed: what happened, who must act, what is next.
    pub trouble: Option<(String, String, String)>,
    /// The code of that, and when that run ended.
    pub trouble_code: Option<String>,
    pub failed_at: Option<Millis>,
    /// How many of the newest finished runs failed in a row.
    pub failed_in_a_row: usize,
    /// When the failures began.
    pub failing_since: Option<Millis>,
    /// The newest finished run, when its version is held.
    pub held: Option<RunId>,
    /// When the newest finished run ended, if it brought no rows.
    pub none_came: Option<Millis>,
    /// Rows of its current version cannot be read.
    pub damaged: bool,
    /// Rows written by the last succeeded runs, oldest first, at most 14.
    pub rows_per_run: Vec<i64>,
}

/// The newest run of a DataSet.
#[derive(Clone, Debug)]
pub struct Newest {
    pub run: RunId,
    pub state: String,
    /// When it ended, or was queued.
    pub at: Millis,
    /// Not claimed before this: for one that waits.
    pub due_at: Millis,
    /// We ourselves let it wait, and the vendor did not ask for it.
    pub held: bool,
    /// Somebody has asked for its end.
    pub stopping: bool,
}

#[derive(FromRow)]
struct Row {
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
    held_for: Option<String>,
    cancel_requested: i64,
}

impl Datasets {
    /// How the runs of every DataSet that this person may see have gone lately, from the last 20 runs of each. Going back
    /// is none of them: it does not make a vendor answer. Nor is a chunk of a backfill that is over: it says nothing of what the schedule wants.
    pub async fn lately(&self, actor: &Actor) -> Result<HashMap<DatasetId, Lately>> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT r.dataset_id, r.id, r.state, r.queued_at, r.due_at, r.finished_at, r.rows_written,
                    r.error_code, r.error_message, r.error_who, r.error_action, r.outcome, r.held_for, r.cancel_requested
             FROM datasets d JOIN runs r ON r.id IN (
                SELECT x.id FROM runs x WHERE x.dataset_id = d.id AND x.cause <> 'revert' AND (x.cause <> 'backfill' OR x.finished_at IS NULL)
                ORDER BY x.queued_at DESC, x.id DESC LIMIT 20)
             WHERE $1 = 1 OR d.owner_id = $2 OR d.shared = 1 ORDER BY r.dataset_id, r.queued_at DESC, r.id DESC",
        )
        .bind(i64::from(actor.is_admin()))
        .bind(&actor.user)
        .fetch_all(self.db.read())
        .await?;
        let mut all: HashMap<DatasetId, Lately> = HashMap::new();
        let mut settled: HashMap<DatasetId, bool> = HashMap::new();
        for row in rows {
            let lately = all.entry(row.dataset_id.clone()).or_default();
            let state = row.state.as_str();
            let is_first_over =
                !*settled.get(&row.dataset_id).unwrap_or(&false) && lately.failed_in_a_row == 0 && row.finished_at.is_some() && state != "cancelled";
            if is_first_over {
                lately.held = (row.outcome.as_deref() == Some("held")).then(|| row.id.clone());
                lately.none_came = row.finished_at.filter(|_| state == "succeeded" && row.rows_written == 0);
            }
            if lately.newest.is_none() {
                lately.newest = Some(Newest {
                    run: row.id.clone(),
                    state: row.state.clone(),
                    at: row.finished_at.unwrap_or(row.queued_at),
                    due_at: row.due_at,
                    held: row.held_for.is_some(),
                    stopping: row.cancel_requested != 0 && row.finished_at.is_none(),
                });
            }
            let is_settled = settled.entry(row.dataset_id).or_default();
            match state {
                "failed" | "parked" if !*is_settled => {
                    lately.failed_in_a_row += 1;
                    lately.failing_since = row.finished_at;
                    if lately.trouble.is_none() {
                        lately.trouble = Some((row.error_message.unwrap_or_default(), row.error_who.unwrap_or_default(), row.error_action.unwrap_or_default()));
                        (lately.trouble_code, lately.failed_at) = (row.error_code, row.finished_at);
                    }
                }
                "succeeded" => *is_settled = true,
                _ => {}
            }
            if row.state == "succeeded" && lately.rows_per_run.len() < 14 {
                lately.rows_per_run.insert(0, row.rows_written);
            }
        }
        for dataset in self.damaged().await? {
            if let Some(lately) = all.get_mut(&dataset) {
                lately.damaged = true;
            }
        }
        for (dataset, lately) in all.iter_mut().filter(|(_, lately)| lately.failed_in_a_row >= LOOKED_AT) {
            (lately.failed_in_a_row, lately.failing_since) = self.failing(dataset).await?;
        }
        Ok(all)
    }

    /// Those with a current version of which at least one file is known to be damaged or missing.
    async fn damaged(&self) -> Result<Vec<DatasetId>> {
        // The damaged segments are few, so they are looked up first.
        let ids = sqlx::query_scalar(
            "SELECT DISTINCT d.id FROM segments s
             CROSS JOIN version_segments x ON x.segment_id = s.id
             JOIN datasets d ON d.current_version = x.version_id
             WHERE s.damage IS NOT NULL",
        );
        Ok(ids.fetch_all(self.db.read()).await?)
    }

    /// How many of its newest runs have failed in a row, however many there are, and since when.
    pub async fn failing(&self, dataset: &DatasetId) -> Result<(usize, Option<Millis>)> {
        let (count, since): (i64, Option<i64>) = sqlx::query_as(
            "SELECT COUNT(*), MIN(finished_at) FROM runs WHERE dataset_id = $1 AND state IN ('failed', 'parked') AND cause NOT IN ('revert', 'backfill')
                AND queued_at > COALESCE((SELECT MAX(queued_at) FROM runs WHERE dataset_id = $1 AND state = 'succeeded' AND cause NOT IN ('revert', 'backfill')), 0)",
        )
        .bind(dataset)
        .fetch_one(self.db.read())
        .await?;
        Ok((usize::try_from(count).unwrap_or(0), since))
    }
}
