//! Decides what happens after a pull stopped: one exhaustive match. `retry/failures.rs` has the
//! sentences that people read.

mod failures;

use std::time::Duration;

use super::run::Failure;
use crate::connectors::PullError;
use crate::connectors::upstream::MAX_PAUSE;
pub use failures::{
    failure_of_error, no_progress, no_progress_saving, run_too_long, unexpected_records,
};

/// What happens to a run whose pull stopped.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It ends as failed.
    Fail(Failure),
    /// It waits this long, without using up an attempt.
    Wait(Duration),
    /// It ends as cancelled, or goes back into the queue when the server is stopping.
    Stop,
}

/// Whether a run with this error code is retried. Errors that a person must fix are not: rejected
/// credentials, a refused request, a forbidden address, suspicious data.
pub fn may_retry(code: &str) -> bool {
    matches!(
        code,
        "unavailable"
            | "malformed"
            | "incomplete"
            | UNEXPECTED_RECORDS
            | NO_PROGRESS
            | RUN_TOO_LONG
            | "internal"
            | "busy"
            | "storage_full"
            | "storage_failed"
            | "version_changed"
            | "rows_missing"
    )
}

/// The sentence for a failed run without a retry. `on_run_end::record_retry` replaces it with the
/// time of the retry.
pub const NEXT_RUN: &str = "The next run tries again.";
/// The code of a run that was stopped because it made no progress for too long.
pub const NO_PROGRESS: &str = "no_progress";

/// The code of a run that failed because too many records were rejected.
pub const UNEXPECTED_RECORDS: &str = "unexpected_records";

/// The code of a run that was stopped because it took too long.
pub const RUN_TOO_LONG: &str = "run_too_long";

/// The wait after a rate limit response that names no time.
const DEFAULT_RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);

/// Decides what happens to the run. `vendor`: the connector's title. `account`: the account's name.
/// `records`: the vendor's noun for its records. `had_rows`: the DataSet has rows.
pub fn decide(
    error: &PullError,
    vendor: &str,
    account: &str,
    records: &str,
    had_rows: bool,
) -> Decision {
    let stopped = failures::StoppedPull {
        error,
        vendor,
        account,
        records,
        had_rows,
    };
    Decision::Fail(match error {
        PullError::Cancelled => return Decision::Stop,
        PullError::RateLimited { wait } => {
            let wait = wait.unwrap_or(DEFAULT_RATE_LIMIT_WAIT);
            return Decision::Wait(wait.clamp(Duration::from_secs(1), MAX_PAUSE));
        }
        PullError::Unauthorized => stopped.unauthorized(),
        PullError::CredentialsStopped => stopped.credentials_stopped(),
        PullError::Unavailable(cause) => stopped.unavailable(cause),
        PullError::Refused {
            status,
            vendor_message,
        } => stopped.refused(*status, vendor_message),
        PullError::Malformed { .. } => stopped.malformed(),
        PullError::Incomplete { .. } => stopped.incomplete(),
        PullError::UnexpectedRecords { rejected, of } => {
            unexpected_records(*rejected, *of, vendor, had_rows)
        }
        PullError::NotAllowed(lack) => stopped.not_allowed(lack),
        PullError::StorageFull => stopped.storage_full(),
        PullError::AddressRefused { why } => stopped.address_refused(why),
    })
}

#[cfg(test)]
mod tests;
