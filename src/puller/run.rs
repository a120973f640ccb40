//! A run's record: what pages and programs read about one pull of one DataSet.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::queue::wait_reason::WaitReason;
use crate::clock::Millis;
use crate::connectors::{Completeness, Window};
use crate::datasets::Dataset;
use crate::datasets::schema_change::SchemaChange;
use crate::ids::{BackfillId, DatasetId, RunId, UserId, VersionId};

/// The state of a run. The last four are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Queued,
    Running,
    /// Until a time that the vendor named, or that Chatlake chose when it deferred the run.
    Waiting,
    Succeeded,
    Failed,
    Cancelled,
    /// The server stopped three times during the run.
    Parked,
}

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Manual,
    Schedule,
    /// Saving the DataSet.
    First,
    Retry,
    /// A chunk of a backfill.
    Backfill,
    /// No pull: an older version was made current again.
    Revert,
}

impl RunState {
    pub fn word(self) -> &'static str {
        match self {
            RunState::Queued => "queued",
            RunState::Running => "running",
            RunState::Waiting => "waiting",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
            RunState::Parked => "parked",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        use RunState::{Cancelled, Failed, Parked, Queued, Running, Succeeded, Waiting};
        [
            Queued, Running, Waiting, Succeeded, Failed, Cancelled, Parked,
        ]
        .into_iter()
        .find(|state| state.word() == word)
    }

    pub fn is_final(self) -> bool {
        matches!(
            self,
            RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::Parked
        )
    }
}

impl Trigger {
    pub fn word(self) -> &'static str {
        match self {
            Trigger::Manual => "manual",
            Trigger::Schedule => "schedule",
            Trigger::First => "first",
            Trigger::Retry => "retry",
            Trigger::Backfill => "backfill",
            Trigger::Revert => "revert",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        use Trigger::{Backfill, First, Manual, Retry, Revert, Schedule};
        [Manual, Schedule, First, Retry, Backfill, Revert]
            .into_iter()
            .find(|trigger| trigger.word() == word)
    }
}

/// What happened to the rows of a run if they did not become the current version at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// No rows were read; the existing rows stay.
    Kept,
    /// The rows equal those of the current version, which stays.
    Unchanged,
    /// The new version has too few rows and waits for approval.
    #[serde(rename = "held")]
    PendingApproval,
    /// A person published the pending version.
    Accepted,
    /// A person discarded the pending version.
    Discarded,
    /// A later run replaced the pending version.
    Superseded,
}

impl RunOutcome {
    pub const ALL: [RunOutcome; 6] = [
        RunOutcome::Kept,
        RunOutcome::Unchanged,
        RunOutcome::PendingApproval,
        RunOutcome::Accepted,
        RunOutcome::Discarded,
        RunOutcome::Superseded,
    ];

    pub fn word(self) -> &'static str {
        match self {
            RunOutcome::Kept => "kept",
            RunOutcome::Unchanged => "unchanged",
            RunOutcome::PendingApproval => "held",
            RunOutcome::Accepted => "accepted",
            RunOutcome::Discarded => "discarded",
            RunOutcome::Superseded => "superseded",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word)
    }
}

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

/// A run as a row of the catalogue. `select_run!` reads it.
#[derive(FromRow)]
pub(super) struct RunRow {
    id: RunId,
    dataset_id: DatasetId,
    trigger: String,
    started_by: Option<UserId>,
    started_by_name: Option<String>,
    state: String,
    queued_at: i64,
    due_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    attempt: i64,
    cancel_requested: i64,
    windows_total: i64,
    windows_done: i64,
    pages: i64,
    calls: i64,
    records_read: i64,
    records_kept: i64,
    duplicates: i64,
    left_out: i64,
    rejected: i64,
    misfits: i64,
    repaired: i64,
    rows_written: i64,
    bytes_written: i64,
    waited_ms: i64,
    vendor_total: Option<i64>,
    completeness: Option<String>,
    shared_by: i64,
    missed: i64,
    version_id: Option<VersionId>,
    outcome: Option<String>,
    decided_by_name: Option<String>,
    decided_at: Option<i64>,
    schema_change: Option<String>,
    rows_before: Option<i64>,
    rows_after: Option<i64>,
    rows_dropped: i64,
    reverted_to: Option<i64>,
    backfill_id: Option<BackfillId>,
    from_day: Option<String>,
    to_day: Option<String>,
    deferred_reason: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    error_who: Option<String>,
    error_action: Option<String>,
}

/// The columns of `RunRow`, from `runs r` and `users u`.
macro_rules! select_run {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.dataset_id, r.trigger, r.started_by, u.name AS started_by_name, r.state, r.queued_at, r.due_at, r.started_at, r.finished_at, ",
            "r.attempt, r.cancel_requested, r.windows_total, (SELECT COUNT(*) FROM windows w WHERE w.run_id = r.id AND w.state = 'done') AS windows_done, ",
            "r.pages, r.calls, r.records_read, r.records_kept, r.duplicates, r.left_out, r.rejected, r.misfits, r.repaired, r.rows_written, r.bytes_written, ",
            "r.waited_ms, r.vendor_total, r.completeness, ",
            "(SELECT COUNT(*) FROM runs s WHERE s.shared_read_id = r.shared_read_id) AS shared_by, r.missed, ",
            "r.outcome, (SELECT n.name FROM users n WHERE n.id = r.decided_by) AS decided_by_name, r.decided_at, r.schema_change, ",
            "r.rows_before, r.rows_after, r.rows_dropped, r.reverted_to, r.backfill_id, r.from_day, r.to_day, r.deferred_reason, ",
            "r.version_id, r.error_code, r.error_message, r.error_who, r.error_action ",
            "FROM runs r LEFT JOIN users u ON u.id = r.started_by ",
            $rest
        )
    };
}
pub(super) use select_run;

impl From<RunRow> for Run {
    fn from(row: RunRow) -> Self {
        let failure = row.error_code.map(|code| Failure {
            code,
            message: row.error_message.unwrap_or_default(),
            who: row.error_who.unwrap_or_default(),
            action: row.error_action.unwrap_or_default(),
        });
        Self {
            id: row.id,
            dataset_id: row.dataset_id,
            trigger: Trigger::parse(&row.trigger).unwrap_or(Trigger::Manual),
            started_by: row.started_by,
            started_by_name: row.started_by_name,
            state: RunState::parse(&row.state).unwrap_or(RunState::Failed),
            queued_at: row.queued_at,
            due_at: row.due_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            attempt: row.attempt,
            cancel_requested: row.cancel_requested != 0,
            windows_total: row.windows_total,
            windows_done: row.windows_done,
            pages: row.pages,
            calls: row.calls,
            records_read: row.records_read,
            records_kept: row.records_kept,
            duplicates: row.duplicates,
            left_out: row.left_out,
            rejected: row.rejected,
            misfits: row.misfits,
            repaired: row.repaired,
            rows: row.rows_written,
            bytes: row.bytes_written,
            waited_ms: row.waited_ms,
            vendor_total: row.vendor_total,
            completeness: row.completeness.as_deref().and_then(Completeness::parse),
            shared_by: row.shared_by,
            missed: row.missed,
            wait_reason: None,
            version_id: row.version_id,
            outcome: row.outcome.as_deref().and_then(RunOutcome::parse),
            decided_by_name: row.decided_by_name,
            decided_at: row.decided_at,
            schema_change: row
                .schema_change
                .as_deref()
                .and_then(|change| serde_json::from_str(change).ok()),
            rows_before: row.rows_before,
            rows_after: row.rows_after,
            rows_dropped: row.rows_dropped,
            reverted_to: row.reverted_to,
            backfill: row.backfill_id,
            range: range(row.from_day, row.to_day),
            deferred_reason: row.deferred_reason,
            failure,
        }
    }
}

/// The requested days of a backfill chunk.
pub(super) fn range(from: Option<String>, to: Option<String>) -> Option<Window> {
    Some(Window {
        from: from?.parse().ok()?,
        to: to?.parse().ok()?,
    })
}
