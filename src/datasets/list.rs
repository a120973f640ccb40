//! What the list of DataSets shows beside each one: how its runs have gone lately.

use std::collections::HashMap;

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
}

type Row = (DatasetId, RunId, String, i64, i64, Option<i64>, i64, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);

impl Datasets {
    /// How the runs of every DataSet that this person may see have gone lately, from the last 20 runs of each. Going back
    /// is none of them: it does not make a vendor answer. Nor is a chunk of a backfill that is over: it says nothing of what the schedule wants.
    pub async fn lately(&self, actor: &Actor) -> Result<HashMap<DatasetId, Lately>> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT r.dataset_id, r.id, r.state, r.queued_at, r.due_at, r.finished_at, r.rows_written, r.error_message, r.error_who, r.error_action, r.outcome, r.held_for
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
        for (dataset, run, state, queued_at, due_at, finished_at, rows, message, who, action, outcome, waits) in rows {
            let lately = all.entry(dataset.clone()).or_default();
            let is_first_over = !*settled.get(&dataset).unwrap_or(&false) && lately.failed_in_a_row == 0 && finished_at.is_some() && state != "cancelled";
            if is_first_over {
                lately.held = (outcome.as_deref() == Some("held")).then(|| run.clone());
                lately.none_came = finished_at.filter(|_| state == "succeeded" && rows == 0);
            }
            if lately.newest.is_none() {
                lately.newest = Some(Newest { run, state: state.clone(), at: finished_at.unwrap_or(queued_at), due_at, held: waits.is_some() });
            }
            let is_settled = settled.entry(dataset).or_default();
            match state.as_str() {
                "failed" | "parked" if !*is_settled => {
                    lately.failed_in_a_row += 1;
                    lately.failing_since = finished_at;
                    if lately.trouble.is_none() {
                        lately.trouble = Some((message.unwrap_or_default(), who.unwrap_or_default(), action.unwrap_or_default()));
                    }
                }
                "succeeded" => *is_settled = true,
                _ => {}
            }
            if state == "succeeded" && lately.rows_per_run.len() < 14 {
                lately.rows_per_run.insert(0, rows);
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
        let ids = sqlx::query_scalar(
            "SELECT DISTINCT d.id FROM segments s
             JOIN version_segments x ON x.segment_id = s.id
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
