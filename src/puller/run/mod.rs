//! A run's record: what pages and programs read about one pull of one DataSet.

mod row;
mod state;

use serde::Serialize;

use super::queue::wait_reason::WaitReason;
use crate::clock::Millis;
use crate::connectors::{Completeness, Window};
use crate::datasets::Dataset;
use crate::datasets::schema_change::SchemaChange;
use crate::ids::{BackfillId, DatasetId, RunId, UserId, VersionId};
pub(super) use row::{StoredRun, select_run};
pub use state::{RunOutcome, RunState, Trigger};

/// Why a run did not succeed, as an error code and three sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub code: String,
    /// What happened.
    pub message: String,
    /// Who must act.
    pub who: String,
    /// What happens next, and when.
    pub action: String,
}

/// One pull of one DataSet.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: RunId,
    pub dataset_id: DatasetId,
    pub trigger: Trigger,
    pub started_by: Option<UserId>,
    pub started_by_name: Option<String>,
    pub state: RunState,
    pub queued_at: Millis,
    pub due_at: Millis,
    pub started_at: Option<Millis>,
    pub finished_at: Option<Millis>,
    pub attempt: i64,
    pub cancel_requested: bool,
    pub windows_total: i64,
    pub windows_done: i64,
    pub pages: i64,
    pub calls: i64,
    pub records_read: i64,
    pub records_kept: i64,
    pub duplicates: i64,
    pub left_out: i64,
    pub rejected: i64,
    pub misfits: i64,
    /// Ampersands, entities and character references in an export that are not valid XML and were
    /// repaired.
    pub repaired: i64,
    /// Rows written by this run.
    pub rows: i64,
    pub bytes: i64,
    pub waited_ms: i64,
    pub vendor_total: Option<i64>,
    /// The weakest completeness of its windows; `None` before the first window is done.
    pub completeness: Option<Completeness>,
    /// How many runs share its read, including this one. The calls are counted for each of them. 0
    /// before the run was claimed.
    pub shared_by: i64,
    /// Scheduled times before it that had no run.
    pub missed: i64,
    /// What the run waits for while it is queued; see `Puller::wait_reason`.
    pub wait_reason: Option<WaitReason>,
    pub version_id: Option<VersionId>,
    pub outcome: Option<RunOutcome>,
    pub decided_by_name: Option<String>,
    pub decided_at: Option<Millis>,
    /// How the columns changed since the previous version.
    pub schema_change: Option<SchemaChange>,
    /// Rows of the previous version and of the run's version; `None` if there is none.
    pub rows_before: Option<i64>,
    pub rows_after: Option<i64>,
    /// Rows of the previous version that the new version does not contain.
    pub rows_dropped: i64,
    /// Of a revert: the number of the restored version.
    pub reverted_to: Option<i64>,
    /// Of a chunk of a backfill: which one, and its days.
    pub backfill: Option<BackfillId>,
    pub range: Option<Window>,
    /// Why Chatlake deferred it, as a sentence.
    pub deferred_reason: Option<String>,
    pub failure: Option<Failure>,
}

impl Run {
    /// Redacts account names that the reader of `dataset` may not know.
    #[must_use]
    pub fn redacted_with(mut self, dataset: &Dataset) -> Self {
        if let Some(failure) = &mut self.failure {
            for said in [&mut failure.message, &mut failure.who, &mut failure.action] {
                *said = dataset.redact(said);
            }
        }
        self
    }

    /// The change of the number of rows; `None` if the run made no version, or the first one.
    pub fn change(&self) -> Option<i64> {
        Some(self.rows_after? - self.rows_before?)
    }

    /// The run succeeded without reading a row.
    pub fn read_no_rows(&self) -> bool {
        self.state == RunState::Succeeded && self.trigger != Trigger::Revert && self.rows == 0
    }

    /// See `Completeness::verified`.
    pub fn verified(&self) -> Option<bool> {
        self.completeness.and_then(Completeness::verified)
    }

    /// The duration of the run until its end or until `now`, in milliseconds; `None` before its
    /// start.
    pub fn duration(&self, now: Millis) -> Option<Millis> {
        self.started_at
            .map(|start| self.finished_at.unwrap_or(now).saturating_sub(start).max(0))
    }
}

/// The requested days of a backfill chunk.
pub(super) fn range(from: Option<String>, to: Option<String>) -> Option<Window> {
    Some(Window {
        from: from?.parse().ok()?,
        to: to?.parse().ok()?,
    })
}
