//! A worker: claim, pull, write, commit. Read `work` first.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::live::Shown;
use super::queue::{self, Claimed, End, Held};
use super::retry::{self, Decision};
use super::run::Failure;
use super::{Puller, schedules, windows};
use crate::connectors::{self, PullError, PullRequest, Pulled, Tally, Window};
use crate::datasets::segments::Writer;
use crate::datasets::versions::Commit;
use crate::datasets::{Dataset, columns};
use crate::error::{Error, Result};

/// How long a worker that claimed an archive's reading waits for others that want the same one.
const WAIT_FOR_SIBLINGS: Duration = Duration::from_secs(1);
/// An idle worker looks at least this often.
const LOOK_AT_LEAST: Duration = Duration::from_secs(5);
/// How many batches may be between the reader and the writer.
const BATCHES_AHEAD: usize = 4;

/// One run of the set that a worker pulls together.
struct Pulling {
    run: Claimed,
    dataset: Dataset,
    writer: Writer,
    shown: Shown,
    rows: u64,
    /// Set once a person stopped this run or its lease was lost: the others of the set go on.
    gone: Option<Held>,
}

/// How a pull ended, for all runs of the set.
enum Ended {
    Pulled { total: Option<u64> },
    Stopped(PullError),
    OwnFault(Error),
}

pub(super) async fn work_until_stopped(puller: Puller) {
    while !puller.stop.is_cancelled() {
        match queue::claim(&puller.db, &puller.clock, &puller.holder).await {
            Ok(Some(leader)) => {
                let span = tracing::info_span!("run", run = %leader.id, dataset = %leader.dataset_id);
                // A task of its own: a panic in a run ends that run only.
                let work = tokio::spawn(work(puller.clone(), leader.clone()).instrument(span));
                if let Err(crash) = work.await
                    && crash.is_panic()
                {
                    let failure = retry::own_failure(&Error::internal("the run panicked"));
                    end(&puller, &leader, &End::Failed(failure)).await;
                }
            }
            Ok(None) => idle(&puller).await,
            Err(error) => {
                tracing::error!(cause = ?error.inside(), "a worker could not claim: {error}");
                idle(&puller).await;
            }
        }
    }
}

async fn idle(puller: &Puller) {
    let due = queue::next_due(&puller.db).await.ok().flatten();
    let latest = puller.clock.now() + i64::try_from(LOOK_AT_LEAST.as_millis()).unwrap_or(i64::MAX);
    // One millisecond more at least, so that a row which cannot be claimed does not keep a core busy.
    let until = due.map_or(latest, |due| due.clamp(puller.clock.now() + 50, latest));
    tokio::select! {
        () = puller.stop.cancelled() => {}
        () = puller.wake.notified() => {}
        () = puller.clock.wait_until(until) => {}
    }
}

async fn work(puller: Puller, leader: Claimed) {
    let claimed = match gather(&puller, leader).await {
        Ok(claimed) => claimed,
        Err((leader, error)) => return end(&puller, &leader, &End::Failed(retry::own_failure(&error))).await,
    };
    let mut set = Vec::new();
    for run in claimed {
        match prepare(&puller, &run).await {
            Ok(pulling) => set.push(pulling),
            Err(error) => end(&puller, &run, &End::Failed(retry::own_failure(&error))).await,
        }
    }
    if set.is_empty() {
        return;
    }
    let ended = match pull(&puller, &mut set).await {
        Ok(ended) => ended,
        Err(error) => Ended::OwnFault(error),
    };
    note_health(&puller, &set, &ended).await;
    for pulling in set {
        finish(&puller, pulling, &ended).await;
    }
}

/// The leader and the queued runs that share its reading of the vendor.
async fn gather(puller: &Puller, leader: Claimed) -> std::result::Result<Vec<Claimed>, (Claimed, Error)> {
    let dataset = match puller.datasets.for_run(&leader.dataset_id).await {
        Ok(dataset) => dataset,
        Err(error) => return Err((leader, error)),
    };
    let mut set = vec![leader.clone()];
    if dataset.connector.shares(dataset.report) && leader.attempt == 1 {
        tokio::select! {
            () = puller.stop.cancelled() => {}
            () = puller.clock.wait(WAIT_FOR_SIBLINGS) => {}
        }
        match queue::claim_siblings(&puller.db, &puller.clock, &puller.holder, &leader).await {
            Ok(siblings) => set.extend(siblings),
            Err(error) => return Err((leader, error)),
        }
    }
    Ok(set)
}

async fn prepare(puller: &Puller, run: &Claimed) -> Result<Pulling> {
    let dataset = puller.datasets.for_run(&run.dataset_id).await?;
    let writer = Writer::new(&puller.datasets.segments, &run.dataset_id, &run.id);
    let shown = puller.live.show(&run.id, puller.clock.now());
    Ok(Pulling { run: run.clone(), dataset, writer, shown, rows: 0, gone: None })
}

async fn pull(puller: &Puller, set: &mut [Pulling]) -> Result<Ended> {
    let Some(first) = set.first() else { return Err(Error::internal("a pull of nothing")) };
    let Some(account) = &first.dataset.account_id else {
        return Err(Error::conflict("account_missing", "The account of this DataSet was deleted."));
    };
    let source = puller.accounts.source(account).await?;
    let zone = schedules::zone(&first.dataset.time_zone)?;
    let windows = windows_of(puller, first, &zone).await?;
    for pulling in set.iter_mut() {
        if queue::plan(&puller.db, &pulling.run, &windows).await? == Held::Lost {
            pulling.gone = Some(Held::Lost);
        }
    }
    let request = PullRequest {
        reports: set.iter().map(|p| p.dataset.report).collect(),
        menus: set[0].dataset.menus.clone(),
        zone,
        windows: windows.clone(),
        cancel: CancellationToken::new(),
    };
    let (out, mut come) = mpsc::channel(BATCHES_AHEAD);
    let cancel = request.cancel.clone();
    let _stop_reading = cancel.clone().drop_guard();
    let reading = tokio::spawn(async move { connectors::pull(&source, &request, &out).await }.in_current_span());
    let mut heartbeat = tokio::time::interval(queue::HEARTBEAT);
    let mut total = Some(0_u64);
    loop {
        tokio::select! {
            () = puller.stop.cancelled() => cancel.cancel(),
            _ = heartbeat.tick() => {
                if !extend(puller, set).await? {
                    cancel.cancel();
                }
            }
            pulled = come.recv() => {
                let Some(pulled) = pulled else { break };
                take(puller, set, &windows, pulled, &mut total).await?;
            }
        }
        if puller.stop.is_cancelled() {
            break;
        }
    }
    drop(come);
    Ok(match reading.await {
        Ok(Ok(())) if !puller.stop.is_cancelled() => Ended::Pulled { total },
        Ok(Ok(())) => Ended::Stopped(PullError::Cancelled),
        Ok(Err(error)) => Ended::Stopped(error),
        Err(crash) => Ended::OwnFault(Error::internal(format!("the reading ended: {}", if crash.is_panic() { "it panicked" } else { "it was aborted" }))),
    })
}

/// The windows this run was given when it was first claimed, or those that its days name today.
async fn windows_of(puller: &Puller, first: &Pulling, zone: &TimeZone) -> Result<Vec<Window>> {
    if let Some(planned) = windows::planned(&puller.db, &first.run.id).await? {
        return Ok(planned);
    }
    let today = puller.clock.timestamp().to_zoned(zone.clone()).date();
    Ok(connectors::windows(first.dataset.report, first.dataset.menus.range(today)))
}

/// Takes in one thing that came from the reader.
async fn take(puller: &Puller, set: &mut [Pulling], windows: &[Window], pulled: Pulled, total: &mut Option<u64>) -> Result<()> {
    let now = puller.clock.now();
    match pulled {
        Pulled::Rows { report, batch } => {
            if let Some(pulling) = set.get_mut(report).filter(|p| p.gone.is_none()) {
                pulling.writer.write(&batch).await?;
                pulling.rows += batch.num_rows() as u64;
                let rows = pulling.rows;
                pulling.shown.change(now, |p| p.rows = rows);
            }
        }
        Pulled::Progress { window, page, pages, read, calls } => {
            for pulling in set.iter() {
                pulling.shown.change(now, |p| {
                    p.phase = "Pulling";
                    p.windows = windows.len().max(1);
                    p.window = window.map_or(1, |w| w + 1);
                    p.days = window.and_then(|w| windows.get(w)).map(Window::to_string).unwrap_or_default();
                    (p.page, p.pages, p.read, p.calls) = (page, pages, read, calls);
                });
            }
        }
        Pulled::WindowDone { window, tally } => {
            *total = total.zip(tally.total).map(|(sum, part)| sum + part);
            for pulling in set.iter_mut().filter(|p| p.gone.is_none()) {
                if queue::window_done(&puller.db, &puller.clock, &pulling.run, window.unwrap_or(0), &tally).await? == Held::Lost {
                    pulling.gone = Some(Held::Lost);
                }
            }
            count_calls(puller, &tally);
        }
        Pulled::Sunset { day } => tracing::warn!(day, "the vendor says that it ends this API on that day"),
    }
    Ok(())
}

fn count_calls(puller: &Puller, tally: &Tally) {
    puller.metrics.vendor_calls.inc_by(tally.calls);
}

/// Extends every lease of the set. False when nobody is left to pull for.
async fn extend(puller: &Puller, set: &mut [Pulling]) -> Result<bool> {
    for pulling in set.iter_mut().filter(|p| p.gone.is_none()) {
        match queue::extend(&puller.db, &puller.clock, &pulling.run, &pulling.shown.text()).await? {
            Held::Yes => {}
            gone => pulling.gone = Some(gone),
        }
    }
    Ok(set.iter().any(|p| p.gone.is_none()))
}

/// An account that was refused is failing; one that was read is valid.
async fn note_health(puller: &Puller, set: &[Pulling], ended: &Ended) {
    let Some(account) = set.first().and_then(|p| p.dataset.account_id.as_ref()) else { return };
    let noted = match ended {
        Ended::Pulled { .. } => puller.accounts.record_health(account, Ok("used by a run")).await,
        Ended::Stopped(error @ PullError::Unauthorized) => puller.accounts.record_health(account, Err(error)).await,
        _ => Ok(()),
    };
    if let Err(error) = noted {
        tracing::error!(cause = ?error.inside(), "the account's health could not be noted: {error}");
    }
}

/// Ends one run of the set by how the pull ended.
async fn finish(puller: &Puller, pulling: Pulling, ended: &Ended) {
    let Pulling { run, dataset, writer, shown, rows, gone } = pulling;
    shown.change(puller.clock.now(), |p| p.phase = "Saving");
    let outcome = match (gone, ended) {
        (Some(Held::Cancel), _) => End::Cancelled,
        (Some(_), _) => return writer.abandon(),
        (None, Ended::Pulled { total }) => match commit(puller, &run, &dataset, writer, rows, *total).await {
            Ok(None) => return succeeded(puller, &run, &dataset, rows).await,
            Ok(Some(end)) => end,
            Err(error) => own_fault(&error),
        },
        (None, Ended::OwnFault(error)) => own_fault(error),
        (None, Ended::Stopped(error)) => {
            match retry::decide(error, dataset.connector.title(), dataset.account_name.as_deref().unwrap_or("a deleted account"), dataset.current.is_some()) {
                Decision::Fail(failure) => End::Failed(failure),
                Decision::Wait(wait) => {
                    writer.abandon();
                    let until = puller.clock.now() + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                    return give_back(puller, &run, Some(until)).await;
                }
                Decision::Stop if puller.stop.is_cancelled() => {
                    writer.abandon();
                    return give_back(puller, &run, None).await;
                }
                Decision::Stop => End::Cancelled,
            }
        }
    };
    end(puller, &run, &outcome).await;
}

/// Closes the files and commits. None when it is done; otherwise how the run ends instead.
async fn commit(puller: &Puller, run: &Claimed, dataset: &Dataset, writer: Writer, rows: u64, total: Option<u64>) -> Result<Option<End>> {
    let had = dataset.current.as_ref().map_or(0, |current| current.rows);
    if rows == 0 && had > 0 && total != Some(0) {
        return Ok(Some(End::Failed(Failure {
            code: "suspicious_empty".to_owned(),
            message: format!("{} gave no rows at all, without saying that there are none. There were {had} before.", dataset.connector.title()),
            who: "The owner of the DataSet: see in the vendor's own pages whether there is really nothing.".to_owned(),
            action: "The rows from before stay. The next run tries again.".to_owned(),
        })));
    }
    let written = writer.finish().await?;
    let declared = columns::columns_of(dataset.report);
    let commit = Commit { dataset: &run.dataset_id, run: &run.id, declared: &declared, written: &written };
    match queue::succeed(&puller.db, &puller.clock, &puller.datasets.versions, run, &commit).await? {
        Ok(_) => Ok(None),
        Err(Held::Cancel) => Ok(Some(End::Cancelled)),
        Err(_) => {
            tracing::warn!("the lease was lost before the commit; nothing was kept");
            Ok(Some(End::Cancelled))
        }
    }
}

async fn succeeded(puller: &Puller, run: &Claimed, dataset: &Dataset, rows: u64) {
    puller.metrics.run_ended("succeeded");
    puller.metrics.last_success.set(puller.clock.now() / 1_000);
    tracing::info!(rows, report = dataset.report.id, "the run succeeded");
    if let Err(error) = puller.datasets.versions.retain(&run.dataset_id).await {
        tracing::error!(cause = ?error.inside(), "old versions could not be put away: {error}");
    }
}

fn own_fault(error: &Error) -> End {
    tracing::error!(cause = ?error.inside(), "the run failed here: {error}");
    End::Failed(retry::own_failure(error))
}

async fn end(puller: &Puller, run: &Claimed, outcome: &End) {
    match outcome {
        End::Failed(failure) => {
            puller.metrics.run_ended("failed");
            tracing::warn!(code = failure.code, "the run failed: {}", failure.message);
        }
        End::Cancelled => puller.metrics.run_ended("cancelled"),
    }
    if let Err(error) = queue::end(&puller.db, &puller.clock, run, outcome).await {
        tracing::error!(cause = ?error.inside(), "the run's end could not be written: {error}");
    }
}

async fn give_back(puller: &Puller, run: &Claimed, until: Option<i64>) {
    if let Err(error) = queue::give_back(&puller.db, run, until).await {
        tracing::error!(cause = ?error.inside(), "the run could not be given back: {error}");
    }
}
