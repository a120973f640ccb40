//! Ends a run: committed, failed, cancelled, or requeued to wait.

use std::time::Duration;

use tracing::Instrument;

use super::commit::{CommitResult, commit};
use super::save::SavingRun;
use super::{PullEnd, PullingRun};
use crate::clock::Millis;
use crate::connectors::PullError;
use crate::datasets::Dataset;
use crate::error::{self, Error, ErrorKind, Result};
use crate::puller::Puller;
use crate::puller::queue::{self, CallStats, Claimed, LeaseState, RunEnd, ShortWindow};
use crate::puller::retry::{self, Decision};
use crate::puller::run::Failure;

/// What is logged once when it cannot be done, and once when it can again.
const END_OUTAGE: &str = "the result of a run could not be saved";
/// An end that could not be written is tried again after this.
const WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// An account that was refused is failing; one that was read is valid. `credentials_read_at`: when its credentials were opened.
pub(super) async fn note_health(puller: &Puller, set: &[PullingRun], ended: &PullEnd, credentials_read_at: Millis) {
    let Some(account) = set.first().and_then(|p| p.dataset.account_id.as_ref()) else { return };
    let noted = match ended {
        PullEnd::Pulled { .. } => puller.accounts.record_health(account, Ok("used by a run"), credentials_read_at).await,
        PullEnd::Stopped(error @ (PullError::Unauthorized | PullError::NotAllowed(_) | PullError::AddressRefused { .. })) => {
            puller.accounts.record_health(account, Err(error), credentials_read_at).await
        }
        _ => Ok(()),
    };
    if let Err(error) = noted {
        tracing::error!(cause = ?error.log_cause(), "the state of the account could not be saved: {error}");
    }
}

/// Ends one run of the set by how the pull ended.
pub(super) async fn finish(puller: &Puller, pulling: PullingRun, ended: &PullEnd, call_stats: CallStats, saving: &SavingRun) {
    let span = pulling.run.span();
    finish_in_span(puller, pulling, ended, call_stats, saving).instrument(span).await;
}

async fn finish_in_span(puller: &Puller, pulling: PullingRun, ended: &PullEnd, call_stats: CallStats, saving: &SavingRun) {
    let PullingRun { run, dataset, writer, progress, rows, lease_lost, .. } = pulling;
    progress.update(puller.clock.now(), |p| p.phase = "Saving");
    let had_rows = dataset.current.is_some();
    let outcome = match (lease_lost, ended) {
        // Its end is written already, or is another's affair.
        (Some(_), _) => return writer.abandon(),
        (None, PullEnd::Pulled { total }) => match commit(puller, &run, &dataset, writer, rows, *total, saving).await {
            Ok(CommitResult::Current | CommitResult::KeptRows) => return on_succeeded(puller, &run, &dataset, rows).await,
            Ok(CommitResult::PendingApproval(failure)) => return on_pending_approval(puller, &run, &failure).await,
            Ok(CommitResult::NotCommitted(end)) => end,
            Err(error) => internal_failure(&error, had_rows),
        },
        (None, PullEnd::InternalError(error)) => {
            writer.abandon();
            internal_failure(error, had_rows)
        }
        (None, PullEnd::Stalled) => {
            writer.abandon();
            RunEnd::Failed(retry::no_progress(super::stall_detector::STALLED_AFTER / 60_000, dataset.connector.title(), had_rows))
        }
        (None, PullEnd::TimedOut) => {
            writer.abandon();
            RunEnd::Failed(retry::run_too_long(puller.max_run_ms / 3_600_000, had_rows))
        }
        (None, PullEnd::Stopped(error)) => {
            writer.abandon();
            match retry::decide(error, dataset.connector.title(), dataset.account_name.as_deref().unwrap_or("a deleted account"), had_rows) {
                Decision::Fail(failure) => match error {
                    PullError::Incomplete { window, have, of } => RunEnd::Short(failure, *window, ShortWindow { have: *have, of: *of }),
                    _ => RunEnd::Failed(failure),
                },
                Decision::Wait(wait) => {
                    let until = puller.clock.now() + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                    return requeue(puller, &run, Some(until), call_stats).await;
                }
                Decision::Stop if puller.stop.is_cancelled() => return requeue(puller, &run, None, call_stats).await,
                Decision::Stop => RunEnd::Cancelled,
            }
        }
    };
    if is_storage_failure(&outcome) && !saving.may_be_committed() {
        // Its end can only be written when there is space, which its files may be holding.
        puller.datasets.versions.delete_unrecorded(&run.id).await;
    }
    end(puller, &run, &outcome, call_stats).await;
}

/// The end of a run whose commit was refused.
pub(super) fn lease_lost_end(why: LeaseState) -> RunEnd {
    if why != LeaseState::CancelRequested {
        tracing::warn!("the lease was lost before the commit; nothing was saved");
    }
    RunEnd::Cancelled
}

/// The version waits for approval; readers see the current one.
async fn on_pending_approval(puller: &Puller, run: &Claimed, failure: &Failure) {
    puller.metrics.run_ended("failed");
    tracing::warn!(code = failure.code, "the new version is waiting for approval: {}", failure.message);
    if let Err(error) = puller.datasets.versions.apply_retention(&run.dataset_id).await {
        tracing::error!(cause = ?error.log_cause(), "old versions could not be deleted: {error}");
    }
}

async fn on_succeeded(puller: &Puller, run: &Claimed, dataset: &Dataset, rows: u64) {
    puller.metrics.run_ended("succeeded");
    wake_followers(puller);
    puller.metrics.last_success.set(puller.clock.now() / 1_000);
    tracing::info!(rows, report = dataset.report.id, "the run succeeded");
    wake_scheduler_after_chunk(puller, run);
    if let Err(error) = puller.datasets.versions.apply_retention(&run.dataset_id).await {
        tracing::error!(cause = ?error.log_cause(), "old versions could not be deleted: {error}");
    }
}

/// Ends a run by an error of our own that was met before its DataSet was known.
pub(super) async fn fail(puller: &Puller, run: &Claimed, error: &Error) {
    let outcome = run.span().in_scope(|| internal_failure(error, true));
    end(puller, run, &outcome, CallStats::default()).await;
}

fn internal_failure(error: &Error, had_rows: bool) -> RunEnd {
    // What a person has to mend is told with the run's end.
    if error.kind() == ErrorKind::Internal {
        tracing::error!(cause = ?error.log_cause(), "the run failed with an internal error: {error}");
    }
    RunEnd::Failed(retry::failure_of_error(error, had_rows))
}

/// Writes down how a run ended that did not succeed.
pub(super) async fn end(puller: &Puller, run: &Claimed, outcome: &RunEnd, call_stats: CallStats) {
    end_in_span(puller, run, outcome, call_stats).instrument(run.span()).await;
}

async fn end_in_span(puller: &Puller, run: &Claimed, outcome: &RunEnd, call_stats: CallStats) {
    match outcome {
        RunEnd::Failed(failure) | RunEnd::Short(failure, ..) => {
            puller.metrics.run_ended("failed");
            tracing::warn!(code = failure.code, "the run failed: {}", failure.message);
        }
        RunEnd::Cancelled => {
            puller.metrics.run_ended("cancelled");
            tracing::info!("the run was stopped");
        }
    }
    let written = loop {
        let written = queue::end_run(&puller.db, &puller.clock, run, outcome, call_stats).await;
        if !should_retry_write(puller, &written).await {
            break written;
        }
    };
    match written {
        // Only now: a commit that failed may still be found in the log after a crash, until something else is written over it.
        Ok(()) if is_storage_failure(outcome) => {
            if let Err(error) = puller.datasets.versions.delete_staged(&run.id).await {
                tracing::error!(cause = ?error.log_cause(), "the files of the run could not be deleted; the cleanup deletes them later: {error}");
            }
        }
        Ok(()) => {}
        Err(error) => tracing::error!(cause = ?error.log_cause(), "the result of the run could not be saved: {error}"),
    }
    wake_followers(puller);
    wake_scheduler_after_chunk(puller, run);
}

/// Whether a run failed because the disk was full or reported an error.
fn is_storage_failure(outcome: &RunEnd) -> bool {
    matches!(outcome, RunEnd::Failed(failure) if error::is_storage_error(&failure.code))
}

/// Whether writing how a run ends is to be tried again, after a wait: while the catalogue cannot be written, so that the run does not
/// stay `running`. When the server stops meanwhile, the next start puts the run back into the queue.
async fn should_retry_write(puller: &Puller, written: &Result<()>) -> bool {
    match written {
        Err(error) if error.kind() == ErrorKind::Unavailable && !puller.stop.is_cancelled() => {
            puller.db.outages().record_failure(END_OUTAGE, error);
            tokio::select! {
                () = puller.stop.cancelled() => {}
                () = puller.clock.wait(WRITE_RETRY_INTERVAL) => {}
            }
            true
        }
        _ => {
            puller.db.outages().record_recovery(END_OUTAGE);
            false
        }
    }
}

/// Wakes the notification sender and the deadline checks: there may be a notification to send and a retry to schedule.
fn wake_followers(puller: &Puller) {
    puller.notifications.wake.notify_one();
    puller.wake_deadlines.notify_one();
}

/// The scheduler makes the next chunk of a backfill a run.
fn wake_scheduler_after_chunk(puller: &Puller, run: &Claimed) {
    if run.range.is_some() {
        puller.wake_scheduler.notify_one();
    }
}

async fn requeue(puller: &Puller, run: &Claimed, until: Option<Millis>, call_stats: CallStats) {
    if let Some(until) = until {
        tracing::info!(until = %crate::clock::iso(until), "rate limit: the run waits in the queue");
    }
    let requeued = loop {
        let requeued = queue::requeue(&puller.db, &puller.clock, run, until, call_stats).await;
        if !should_retry_write(puller, &requeued).await {
            break requeued;
        }
    };
    if let Err(error) = requeued {
        tracing::error!(cause = ?error.log_cause(), "the run could not be put back into the queue: {error}");
    }
}
