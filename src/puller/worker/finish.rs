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
use crate::puller::run::{Failure, RunState};

/// Logged once when writing fails, and once when it succeeds again.
const END_OUTAGE: &str = "the result of a run could not be saved";
/// The interval between two attempts to write the end of a run.
const WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Saves the health of the account: valid after a pull, failing if the vendor rejected or refused
/// it. `credentials_read_at`: when the credentials were read.
pub(super) async fn note_health(
    puller: &Puller,
    set: &[PullingRun],
    ended: &PullEnd,
    credentials_read_at: Millis,
) {
    let Some(account) = set.first().and_then(|p| p.dataset.account_id.as_ref()) else {
        return;
    };
    let recorded = match ended {
        PullEnd::Pulled { .. } => {
            puller
                .accounts
                .record_health(account, Ok("last run succeeded"), credentials_read_at)
                .await
        }
        PullEnd::Stopped(
            error @ (PullError::Unauthorized
            | PullError::NotAllowed(_)
            | PullError::AddressRefused { .. }),
        ) => {
            puller
                .accounts
                .record_health(account, Err(error), credentials_read_at)
                .await
        }
        _ => Ok(()),
    };
    if let Err(error) = recorded {
        tracing::error!(cause = ?error.log_cause(), "the state of the account could not be saved: {error}");
    }
}

/// Ends one run of the set by how the pull ended.
pub(super) async fn finish(
    puller: &Puller,
    pulling: PullingRun,
    ended: &PullEnd,
    call_stats: CallStats,
    saving: &SavingRun,
) {
    let span = pulling.run.span();
    finish_in_span(puller, pulling, ended, call_stats, saving)
        .instrument(span)
        .await;
}

async fn finish_in_span(
    puller: &Puller,
    pulling: PullingRun,
    ended: &PullEnd,
    call_stats: CallStats,
    saving: &SavingRun,
) {
    let PullingRun {
        run,
        dataset,
        writer,
        progress,
        rows,
        lease_lost,
        ..
    } = pulling;
    progress.update(puller.clock.now(), |p| p.phase = "Saving");
    let had_rows = dataset.current.is_some();
    let outcome = match (lease_lost, ended) {
        // The end was written already, or another process writes it.
        (Some(_), _) => return writer.abandon(),
        (None, PullEnd::Pulled { total }) => {
            match commit(puller, &run, &dataset, writer, rows, *total, saving).await {
                Ok(CommitResult::Current | CommitResult::KeptRows) => {
                    return on_succeeded(puller, &run, &dataset, rows).await;
                }
                Ok(CommitResult::PendingApproval(failure)) => {
                    return on_pending_approval(puller, &run, &failure).await;
                }
                Ok(CommitResult::NotCommitted(end)) => end,
                Err(error) => internal_failure(&error, had_rows),
            }
        }
        (None, PullEnd::InternalError(error)) => {
            writer.abandon();
            internal_failure(error, had_rows)
        }
        (None, PullEnd::Stalled) => {
            writer.abandon();
            RunEnd::Failed(retry::no_progress(
                super::stall_detector::STALLED_AFTER / 60_000,
                dataset.connector.title(),
                had_rows,
            ))
        }
        (None, PullEnd::TimedOut) => {
            writer.abandon();
            RunEnd::Failed(retry::run_too_long(puller.max_run_ms / 3_600_000, had_rows))
        }
        (None, PullEnd::Stopped(error)) => {
            writer.abandon();
            match retry::decide(
                error,
                dataset.connector.title(),
                dataset
                    .account_name
                    .as_deref()
                    .unwrap_or("a deleted account"),
                dataset.report.records().1,
                had_rows,
            ) {
                Decision::Fail(failure) => match error {
                    PullError::Incomplete { window, have, of } => RunEnd::Short(
                        failure,
                        *window,
                        ShortWindow {
                            have: *have,
                            of: *of,
                        },
                    ),
                    _ => RunEnd::Failed(failure),
                },
                Decision::Wait(wait) => {
                    let until =
                        puller.clock.now() + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                    return requeue(puller, &run, Some(until), call_stats).await;
                }
                Decision::Stop if puller.stop.is_cancelled() => {
                    return requeue(puller, &run, None, call_stats).await;
                }
                Decision::Stop => RunEnd::Cancelled,
            }
        }
    };
    if is_storage_failure(&outcome) && !saving.may_be_committed() {
        // The end can only be written if there is disk space, which the run's files may use up.
        puller.datasets.versions.delete_unrecorded(&run.id).await;
    }
    end(puller, &run, &outcome, call_stats).await;
}

/// The end of a run whose lease was lost before its commit.
pub(super) fn lease_lost_end(why: LeaseState) -> RunEnd {
    if why != LeaseState::CancelRequested {
        tracing::warn!("the lease was lost before the commit; nothing was saved");
    }
    RunEnd::Cancelled
}

/// The version waits for approval; readers see the current one.
async fn on_pending_approval(puller: &Puller, run: &Claimed, failure: &Failure) {
    puller.metrics.run_ended(RunState::Failed.word());
    tracing::warn!(
        code = failure.code,
        "the new version is waiting for approval: {}",
        failure.message
    );
    if let Err(error) = puller
        .datasets
        .versions
        .apply_retention(&run.dataset_id)
        .await
    {
        tracing::error!(cause = ?error.log_cause(), "old versions could not be deleted: {error}");
    }
}

async fn on_succeeded(puller: &Puller, run: &Claimed, dataset: &Dataset, rows: u64) {
    puller.metrics.run_ended(RunState::Succeeded.word());
    wake_followers(puller);
    puller.metrics.last_success.set(puller.clock.now() / 1_000);
    tracing::info!(rows, report = dataset.report.id, "the run succeeded");
    wake_scheduler_after_chunk(puller, run);
    if let Err(error) = puller
        .datasets
        .versions
        .apply_retention(&run.dataset_id)
        .await
    {
        tracing::error!(cause = ?error.log_cause(), "old versions could not be deleted: {error}");
    }
}

/// Ends a run after an error of Chatlake, when it is not known whether the DataSet has rows.
pub(super) async fn fail(puller: &Puller, run: &Claimed, error: &Error) {
    let outcome = run.span().in_scope(|| internal_failure(error, true));
    end(puller, run, &outcome, CallStats::default()).await;
}

fn internal_failure(error: &Error, had_rows: bool) -> RunEnd {
    // Other errors are logged when the run ends.
    if error.kind() == ErrorKind::Internal {
        tracing::error!(cause = ?error.log_cause(), "the run failed with an internal error: {error}");
    }
    RunEnd::Failed(retry::failure_of_error(error, had_rows))
}

/// Writes the end of a run that did not succeed.
pub(super) async fn end(puller: &Puller, run: &Claimed, outcome: &RunEnd, call_stats: CallStats) {
    end_in_span(puller, run, outcome, call_stats)
        .instrument(run.span())
        .await;
}

async fn end_in_span(puller: &Puller, run: &Claimed, outcome: &RunEnd, call_stats: CallStats) {
    match outcome {
        RunEnd::Failed(failure) | RunEnd::Short(failure, ..) => {
            puller.metrics.run_ended(RunState::Failed.word());
            tracing::warn!(code = failure.code, "the run failed: {}", failure.message);
        }
        RunEnd::Cancelled => {
            puller.metrics.run_ended(RunState::Cancelled.word());
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
        // The files are deleted only after this write: until then, a crash could restore the failed
        // commit from the write-ahead log.
        Ok(()) if is_storage_failure(outcome) => {
            if let Err(error) = puller.datasets.versions.delete_staged(&run.id).await {
                tracing::error!(
                    cause = ?error.log_cause(),
                    "the files of the run could not be deleted; the cleanup deletes them later: \
                     {error}"
                );
            }
        }
        Ok(()) => {}
        Err(error) => {
            tracing::error!(cause = ?error.log_cause(), "the result of the run could not be saved: {error}")
        }
    }
    wake_followers(puller);
    wake_scheduler_after_chunk(puller, run);
}

/// Whether a run failed because the disk was full or reported an error.
fn is_storage_failure(outcome: &RunEnd) -> bool {
    matches!(outcome, RunEnd::Failed(failure) if error::is_storage_error(&failure.code))
}

/// Waits and returns true if the end of a run must be written again because the catalogue is not
/// writable; otherwise the run would stay `running`. If the server stops meanwhile, the next start
/// requeues the run.
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

/// Wakes the notification sender and the deadline checks: there may be a notification to send and a
/// retry to schedule.
fn wake_followers(puller: &Puller) {
    puller.notifications.wake.notify_one();
    puller.wake_deadlines.notify_one();
}

/// Wakes the scheduler after a backfill chunk, so that it queues the next one.
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
