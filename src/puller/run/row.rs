//! Reads a run from the catalogue.

use super::{Failure, Run, RunOutcome, RunState, Trigger, range};
use crate::connectors::Completeness;
use crate::ids::{BackfillId, DatasetId, RunId, UserId, VersionId};

/// A run as a row of the catalogue. `select_run!` reads it.
#[derive(sqlx::FromRow)]
pub(in crate::puller) struct StoredRun {
    id: RunId,
    dataset_id: DatasetId,
    trigger: Trigger,
    started_by: Option<UserId>,
    started_by_name: Option<String>,
    state: RunState,
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
    outcome: Option<RunOutcome>,
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

/// The columns of `StoredRun`, from `runs r` and `users u`.
macro_rules! select_run {
    ($rest:literal) => {
        concat!(
            "SELECT
                 r.id, r.dataset_id, r.trigger, r.started_by, u.name AS started_by_name, r.state,
                 r.queued_at, r.due_at, r.started_at, r.finished_at, r.attempt, r.cancel_requested,
                 r.windows_total,
                 (
                     SELECT COUNT(*) FROM windows w WHERE w.run_id = r.id AND w.state = 'done'
                 ) AS windows_done,
                 r.pages, r.calls, r.records_read, r.records_kept, r.duplicates, r.left_out,
                 r.rejected, r.misfits, r.repaired, r.rows_written, r.bytes_written, r.waited_ms,
                 r.vendor_total, r.completeness,
                 -- A run that was never claimed has no read, so the count is 0.
                 (
                     SELECT COUNT(*) FROM runs s WHERE s.shared_read_id = r.shared_read_id
                 ) AS shared_by,
                 r.missed, r.outcome,
                 (SELECT n.name FROM users n WHERE n.id = r.decided_by) AS decided_by_name,
                 r.decided_at, r.schema_change, r.rows_before, r.rows_after, r.rows_dropped,
                 r.reverted_to, r.backfill_id, r.from_day, r.to_day, r.deferred_reason,
                 r.version_id, r.error_code, r.error_message, r.error_who, r.error_action
             FROM runs r
             LEFT JOIN users u ON u.id = r.started_by
             ",
            $rest
        )
    };
}
pub(in crate::puller) use select_run;

impl From<StoredRun> for Run {
    fn from(row: StoredRun) -> Self {
        let failure = row.error_code.map(|code| Failure {
            code,
            message: row.error_message.unwrap_or_default(),
            who: row.error_who.unwrap_or_default(),
            action: row.error_action.unwrap_or_default(),
        });
        Self {
            id: row.id,
            dataset_id: row.dataset_id,
            trigger: row.trigger,
            started_by: row.started_by,
            started_by_name: row.started_by_name,
            state: row.state,
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
            outcome: row.outcome,
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
