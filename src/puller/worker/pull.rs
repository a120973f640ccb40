//! Pulls the remaining windows of a set of runs: starts the reader, lets `pull_loop.rs` process what
//! it reads, and ends it.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::heartbeat::send_heartbeat;
use super::prepare::share_plan;
use super::pull_loop::{PullInput, PullLoop};
use super::read_progress::ReadProgress;
use super::run_slot::RunSlot;
use super::{PullEnd, PullingRun};
use crate::connectors::report::Shape;
use crate::connectors::{self, PullError, PullEvent, PullRequest, Source, Window};
use crate::db::failpoints::panic_point;
use crate::error::{Error, Result};
use crate::puller::queue::CallStats;
use crate::puller::{Puller, panics, schedules};

/// The maximum number of events between the reader and the writer.
const MAX_BUFFERED_BATCHES: usize = 4;
/// How long a stopped reader may take to end.
const READER_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How the reader ended. The outer error is one of Chatlake itself.
type ReaderResult = Result<Result<(), PullError>>;

/// Pulls all windows that are not checkpointed. `call_stats` also counts the calls of earlier
/// attempts.
pub(super) async fn pull(
    puller: &Puller,
    set: &mut Vec<PullingRun>,
    call_stats: &mut CallStats,
    run_slot: &mut RunSlot,
    heartbeat: &mut Interval,
) -> Result<PullEnd> {
    // The runs may have been cancelled while they waited for others.
    if !send_heartbeat(puller, set, true).await? {
        return Ok(PullEnd::Stopped(PullError::Cancelled));
    }
    let Some(first) = set.first() else {
        return Err(Error::internal("a pull of nothing"));
    };
    let Some(account) = first.dataset.account_id.clone() else {
        return Err(Error::conflict(
            "account_missing",
            "The account of this DataSet was deleted.",
        ));
    };
    let source = puller.accounts.source(&account).await?;
    let zone = schedules::zone(&first.dataset.time_zone)?;
    let windows = planned_windows(puller, first, &zone);
    let Some(plan) = share_plan(puller, set, &source, &windows).await? else {
        return Ok(PullEnd::Stopped(PullError::Cancelled));
    };
    let read_progress = ReadProgress::new(plan, puller.clock.monotonic());
    *call_stats = read_progress.call_stats();
    if read_progress.remaining.is_empty() {
        return Ok(PullEnd::Pulled {
            total: read_progress.total,
        });
    }
    let request = pull_request(puller, set, zone, &read_progress);
    let cancel = request.cancel.clone();
    let _stop_reading = cancel.clone().drop_guard();
    let upstream = source.upstream.clone();
    let (reader, events) = start_reader(source, request);
    let stopped = PullLoop::new(
        puller,
        set,
        run_slot,
        heartbeat,
        PullInput {
            account: &account,
            upstream: &upstream,
            read_progress,
            events,
            cancel,
        },
    )
    .run()
    .await?;
    let Some(read) = end_reader(reader, stopped.reason.is_some()).await else {
        return Ok(stopped.reason.unwrap_or(PullEnd::Stalled));
    };
    let calls = upstream.call_stats();
    call_stats.calls += calls.calls;
    call_stats.waited_ms += calls.waited_ms;
    puller.metrics.vendor_calls.inc_by(calls.calls);
    puller
        .accounts
        .save_vendor_hints(&account, &upstream)
        .await?;
    stopped.processed?;
    if let Some(why) = stopped.reason {
        return Ok(why);
    }
    Ok(match read {
        Ok(Ok(())) if !puller.stop.is_cancelled() => PullEnd::Pulled {
            total: stopped.total,
        },
        Ok(Ok(())) => PullEnd::Stopped(PullError::Cancelled),
        Ok(Err(error)) => PullEnd::Stopped(error),
        Err(error) => PullEnd::InternalError(error),
    })
}

/// The windows of a run, in the order of reading.
fn planned_windows(puller: &Puller, first: &PullingRun, zone: &TimeZone) -> Vec<Window> {
    let (run, dataset) = (&first.run, &first.dataset);
    let today = puller.clock.timestamp().to_zoned(zone.clone()).date();
    let mut windows =
        connectors::windows(dataset.report, run.range.or_else(|| dataset.range(today)));
    if run.range.is_some() && !matches!(dataset.report.shape, Shape::Export(_)) {
        // A backfill goes from the newest day to the oldest. An export returns several days at
        // once, in ascending order.
        windows.reverse();
    }
    windows
}

/// What the set reads from its vendor: the windows that are not checkpointed.
fn pull_request(
    puller: &Puller,
    set: &[PullingRun],
    zone: TimeZone,
    read_progress: &ReadProgress,
) -> PullRequest {
    PullRequest {
        reports: set.iter().map(|p| p.dataset.report).collect(),
        menus: set[0].dataset.menus.clone(),
        zone,
        windows: read_progress
            .remaining
            .iter()
            .filter_map(|at| read_progress.plan.windows.get(*at).copied())
            .collect(),
        extras: set.iter().map(|p| p.writer.extras()).collect(),
        previous_window: read_progress.window_before(),
        second_read: set[0].dataset.options.second_read,
        scratch: puller.datasets.segments.dir().to_owned(),
        cancel: CancellationToken::new(),
    }
}

/// Starts the reader in a task of its own. It sends its events until it ends.
fn start_reader(
    source: Source,
    request: PullRequest,
) -> (JoinHandle<ReaderResult>, mpsc::Receiver<PullEvent>) {
    let (out, events) = mpsc::channel(MAX_BUFFERED_BATCHES);
    let reader = async move {
        panic_point("read");
        Ok(connectors::pull(&source, &request, &out).await)
    };
    let task = tokio::spawn(panics::guarded(reader).in_current_span());
    (task, events)
}

/// Waits for the end of the reader. `stopped`: the pull was stopped before its end. Returns `None`
/// if a stopped reader does not end in time.
async fn end_reader(mut task: JoinHandle<ReaderResult>, stopped: bool) -> Option<ReaderResult> {
    if !stopped {
        let aborted = |_| Err(Error::internal("the reading was aborted"));
        return Some(task.await.unwrap_or_else(aborted));
    }
    match tokio::time::timeout(READER_STOP_TIMEOUT, &mut task).await {
        Ok(_) => Some(Ok(Err(PullError::Cancelled))),
        Err(_) => {
            tracing::error!("a stopped pull does not end; Chatlake no longer waits for it");
            task.abort();
            None
        }
    }
}
