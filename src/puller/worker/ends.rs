//! How a run ends: committed, failed, stopped, or given back to wait.

use std::time::Duration;

use tracing::Instrument;

use super::commit::{Committed, commit};
use super::saving::Saving;
use super::{Ended, Pulling};
use crate::clock::Millis;
use crate::connectors::PullError;
use crate::datasets::Dataset;
use crate::error::{self, Error, Kind, Result};
use crate::puller::Puller;
use crate::puller::queue::{self, Claimed, End, Held, Short, Spent};
use crate::puller::retry::{self, Decision};
use crate::puller::run::Failure;

/// What is logged once when it cannot be done, and once when it can again.
const ENDS: &str = "the result of a run could not be saved";
/// An end that could not be written is tried again after this.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// An account that was refused is failing; one that was read is valid. `asked_at`: when its credentials were opened.
pub(super) async fn note_health(puller: &Puller, set: &[Pulling], ended: &Ended, asked_at: Millis) {
    let Some(account) = set.first().and_then(|p| p.dataset.account_id.as_ref()) else { return };
    let noted = match ended {
        Ended::Pulled { .. } => puller.accounts.record_health(account, Ok("used by a run"), asked_at).await,
        Ended::Stopped(error @ (PullError::Unauthorized | PullError::NotAllowed(_) | PullError::Forbidden { .. })) => {
            puller.accounts.record_health(account, Err(error), asked_at).await
        }
        _ => Ok(()),
    };
    if let Err(error) = noted {
        tracing::error!(cause = ?error.inside(), "the state of the account could not be saved: {error}");
    }
}

/// Ends one run of the set by how the pull ended.
pub(super) async fn finish(puller: &Puller, pulling: Pulling, ended: &Ended, spent: Spent, saving: &Saving) {
    let span = pulling.run.span();
    finish_it(puller, pulling, ended, spent, saving).instrument(span).await;
}

async fn finish_it(puller: &Puller, pulling: Pulling, ended: &Ended, spent: Spent, saving: &Saving) {
    let Pulling { run, dataset, writer, shown, rows, gone, .. } = pulling;
    shown.change(puller.clock.now(), |p| p.phase = "Saving");
    let had_rows = dataset.current.is_some();
    let outcome = match (gone, ended) {
        // Its end is written already, or is another's affair.
        (Some(_), _) => return writer.abandon(),
        (None, Ended::Pulled { total }) => match commit(puller, &run, &dataset, writer, rows, *total, saving).await {
            Ok(Committed::Current | Committed::Kept) => return succeeded(puller, &run, &dataset, rows).await,
            Ok(Committed::Held(failure)) => return held(puller, &run, &failure).await,
            Ok(Committed::Not(end)) => end,
            Err(error) => own_fault(&error, had_rows),
        },
        (None, Ended::OwnFault(error)) => {
            writer.abandon();
            own_fault(error, had_rows)
        }
        (None, Ended::Stuck) => {
            writer.abandon();
            End::Failed(retry::no_progress(super::watch::STUCK_AFTER / 60_000, dataset.connector.title(), had_rows))
        }
        (None, Ended::TooLong) => {
            writer.abandon();
            End::Failed(retry::run_too_long(puller.max_run / 3_600_000, had_rows))
        }
        (None, Ended::Stopped(error)) => {
            writer.abandon();
            match retry::decide(error, dataset.connector.title(), dataset.account_name.as_deref().unwrap_or("a deleted account"), had_rows) {
                Decision::Fail(failure) => match error {
                    PullError::Incomplete { window, have, of } => End::Short(failure, *window, Short { have: *have, of: *of }),
                    _ => End::Failed(failure),
                },
                Decision::Wait(wait) => {
                    let until = puller.clock.now() + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                    return give_back(puller, &run, Some(until), spent).await;
                }
                Decision::Stop if puller.stop.is_cancelled() => return give_back(puller, &run, None, spent).await,
                Decision::Stop => End::Cancelled,
            }
        }
    };
    if is_of_storage(&outcome) && !saving.may_be_committed() {
        // Its end can only be written when there is space, which its files may be holding.
        puller.datasets.versions.delete_unrecorded(&run.id).await;
    }
    end(puller, &run, &outcome, spent).await;
}

/// The end of a run whose commit was refused.
pub(super) fn cancelled(why: Held) -> End {
    if why != Held::Cancel {
        tracing::warn!("the lease was lost before the commit; nothing was saved");
    }
    End::Cancelled
}

/// The version is kept, and readers see the one before until a person accepts it.
async fn held(puller: &Puller, run: &Claimed, failure: &Failure) {
    puller.metrics.run_ended("failed");
    tracing::warn!(code = failure.code, "the new version is waiting for approval: {}", failure.message);
    if let Err(error) = puller.datasets.versions.retain(&run.dataset_id).await {
        tracing::error!(cause = ?error.inside(), "old versions could not be deleted: {error}");
    }
}

async fn succeeded(puller: &Puller, run: &Claimed, dataset: &Dataset, rows: u64) {
    puller.metrics.run_ended("succeeded");
    look_after(puller);
    puller.metrics.last_success.set(puller.clock.now() / 1_000);
    tracing::info!(rows, report = dataset.report.id, "the run succeeded");
    chunk_ended(puller, run);
    if let Err(error) = puller.datasets.versions.retain(&run.dataset_id).await {
        tracing::error!(cause = ?error.inside(), "old versions could not be deleted: {error}");
    }
}

/// Ends a run by an error of our own that was met before its DataSet was known.
pub(super) async fn fail(puller: &Puller, run: &Claimed, error: &Error) {
    let outcome = run.span().in_scope(|| own_fault(error, true));
    end(puller, run, &outcome, Spent::default()).await;
}

fn own_fault(error: &Error, had_rows: bool) -> End {
    // What a person has to mend is told with the run's end.
    if error.kind() == Kind::Internal {
        tracing::error!(cause = ?error.inside(), "the run failed with an internal error: {error}");
    }
    End::Failed(retry::own_failure(error, had_rows))
}

/// Writes down how a run ended that did not succeed.
pub(super) async fn end(puller: &Puller, run: &Claimed, outcome: &End, spent: Spent) {
    end_it(puller, run, outcome, spent).instrument(run.span()).await;
}

async fn end_it(puller: &Puller, run: &Claimed, outcome: &End, spent: Spent) {
    match outcome {
        End::Failed(failure) | End::Short(failure, ..) => {
            puller.metrics.run_ended("failed");
            tracing::warn!(code = failure.code, "the run failed: {}", failure.message);
        }
        End::Cancelled => {
            puller.metrics.run_ended("cancelled");
            tracing::info!("the run was stopped");
        }
    }
    let written = loop {
        let written = queue::end(&puller.db, &puller.clock, run, outcome, spent).await;
        if !is_tried_again(puller, &written).await {
            break written;
        }
    };
    match written {
        // Only now: a commit that failed may still be found in the log after a crash, until something else is written over it.
        Ok(()) if is_of_storage(outcome) => {
            if let Err(error) = puller.datasets.versions.delete_staged(&run.id).await {
                tracing::error!(cause = ?error.inside(), "the files of the run could not be deleted; the cleanup deletes them later: {error}");
            }
        }
        Ok(()) => {}
        Err(error) => tracing::error!(cause = ?error.inside(), "the result of the run could not be saved: {error}"),
    }
    look_after(puller);
    chunk_ended(puller, run);
}

/// Whether a run failed because the disk was full or reported an error.
fn is_of_storage(outcome: &End) -> bool {
    matches!(outcome, End::Failed(failure) if error::is_of_storage(&failure.code))
}

/// Whether writing how a run ends is to be tried again, after a wait: while the catalogue cannot be written, so that the run does not
/// stay `running`. When the server stops meanwhile, the next start puts the run back into the queue.
async fn is_tried_again(puller: &Puller, written: &Result<()>) -> bool {
    match written {
        Err(error) if error.kind() == Kind::Unavailable && !puller.stop.is_cancelled() => {
            puller.db.outages().failed(ENDS, error);
            tokio::select! {
                () = puller.stop.cancelled() => {}
                () = puller.clock.wait(WRITE_AGAIN) => {}
            }
            true
        }
        _ => {
            puller.db.outages().ended(ENDS);
            false
        }
    }
}

/// Something may have to be told, and a retry may be to come.
fn look_after(puller: &Puller) {
    puller.notices.wake.notify_one();
    puller.kept.notify_one();
}

/// The scheduler makes the next chunk of a backfill a run.
fn chunk_ended(puller: &Puller, run: &Claimed) {
    if run.range.is_some() {
        puller.rescheduled.notify_one();
    }
}

async fn give_back(puller: &Puller, run: &Claimed, until: Option<Millis>, spent: Spent) {
    if let Some(until) = until {
        tracing::info!(until = %crate::clock::iso(until), "rate limit: the run waits in the queue");
    }
    let given_back = loop {
        let given_back = queue::give_back(&puller.db, &puller.clock, run, until, spent).await;
        if !is_tried_again(puller, &given_back).await {
            break given_back;
        }
    };
    if let Err(error) = given_back {
        tracing::error!(cause = ?error.inside(), "the run could not be put back into the queue: {error}");
    }
}
