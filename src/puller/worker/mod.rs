//! Processes claimed runs: pull, write, commit. `dispatch` claims them; read `process_runs` next;
//! `worker/finish.rs` ends them. A run works in a slot (`puller/slots.rs`), which it releases while
//! it only waits for its vendor (`worker/slot_demand.rs`).

mod commit;
mod dispatch;
mod finish;
mod heartbeat;
mod read_progress;
mod run_slot;
mod save;
mod slot_demand;
mod stall_detector;

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::live::ProgressGuard;
use super::queue::{self, CallStats, Claimed, LeaseState, RunEnd, RunPlan};
use super::slots::{InFlight, WorkerSlot};
use super::{Puller, disk_space, panics, schedules};
use crate::clock::Millis;
use crate::connectors::report::{Shape, UpdateMode};
use crate::connectors::{self, PullError, PullEvent, PullRequest, Source, Window};
use crate::datasets::Dataset;
use crate::datasets::segments::SegmentWriter;
use crate::datasets::update_mode::Stamp;
use crate::db::failpoints::panic_point;
use crate::error::{Error, ErrorKind, Result};
pub(super) use dispatch::dispatch_until_stopped;
use heartbeat::{Heartbeat, HeartbeatStop};
use read_progress::ReadProgress;
use run_slot::RunSlot;
use slot_demand::{SlotAction, SlotDemand};
use stall_detector::StallDetector;

/// Logged once when extending a lease fails, and once when it succeeds again.
const LEASE_OUTAGE: &str = "a lease could not be extended";
/// The maximum number of events between the reader and the writer.
const MAX_BUFFERED_BATCHES: usize = 4;
/// The minimum time between two checkpoints, which are made at the end of a window.
const CHECKPOINT_EVERY: Millis = 10_000;

/// Of a run without a slot, only every tenth heartbeat extends the lease; the others only check
/// whether the run must stop.
const EXTEND_LEASE_EVERY: u64 = 10;

/// How long a server stop waits for the rest of the current window.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a stopped reader may take to end.
const READER_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// One of the runs that a worker pulls together.
struct PullingRun {
    run: Claimed,
    dataset: Dataset,
    writer: SegmentWriter,
    progress: ProgressGuard,
    rows: u64,
    /// Rows of the current window.
    window_rows: u64,
    /// Added to each row, except with Replace.
    stamp: Option<Stamp>,
    /// Parents of the current window that produced no row; see `tracks_empty_parents`.
    empty_parents: Vec<String>,
    /// Set once this run was cancelled or its lease was lost. The other runs continue.
    lease_lost: Option<LeaseState>,
}

/// How a pull ended, for all runs of the set.
enum PullEnd {
    /// `total`: the vendor's number of records in all windows; `None` if it does not give one.
    Pulled {
        total: Option<u64>,
    },
    Stopped(PullError),
    /// No data arrived for too long.
    Stalled,
    /// The run took longer than the maximum duration.
    TimedOut,
    InternalError(Error),
}

async fn process_runs(
    puller: &Puller,
    claimed: Vec<Claimed>,
    mut slot: WorkerSlot,
    in_flight: InFlight,
) {
    let mut heartbeat = heartbeat();
    let progress = dispatch::wait_for_slot(puller, &claimed, &mut heartbeat, &mut slot).await;
    let mut run_slot = RunSlot {
        slot,
        in_flight,
        deadline: puller.clock.monotonic().saturating_add(puller.max_run_ms),
    };
    let mut set: Vec<PullingRun> = Vec::new();
    for (run, progress) in claimed.into_iter().zip(progress) {
        let leader = set
            .first()
            .map(|leader| leader.run.source_key_of(&leader.dataset));
        match panics::guarded(
            prepare(puller, run.clone(), progress, leader.as_deref()).instrument(run.span()),
        )
        .await
        {
            Ok(Some(pulling)) => {
                run.span().in_scope(|| {
                    tracing::info!(
                        trigger = run.trigger.word(),
                        attempt = run.attempt,
                        "the run began"
                    )
                });
                set.push(pulling);
            }
            Ok(None) => {}
            Err(error) => finish::fail(puller, &run, &error).await,
        }
    }
    if set.is_empty() {
        return;
    }
    let mut call_stats = CallStats::default();
    let credentials_read_at = puller.clock.now();
    let ended = match panics::guarded(pull(
        puller,
        &mut set,
        &mut call_stats,
        &mut run_slot,
        &mut heartbeat,
    ))
    .await
    {
        Ok(ended) => ended,
        Err(error) => PullEnd::InternalError(error),
    };
    finish::note_health(puller, &set, &ended, credentials_read_at).await;
    save::save(puller, set, &ended, call_stats, &mut run_slot).await;
}

fn heartbeat() -> Interval {
    let mut heartbeat = tokio::time::interval(queue::HEARTBEAT);
    // After a pause of the process, missed heartbeats are not sent.
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

/// Prepares a run of the set. `leader`: the source key of the first run. Returns `None` after
/// requeueing the run: if disk space is low, or if the run cannot share the read because its
/// DataSet was changed after it was queued.
async fn prepare(
    puller: &Puller,
    mut run: Claimed,
    progress: ProgressGuard,
    leader: Option<&str>,
) -> Result<Option<PullingRun>> {
    let dataset = puller.datasets.for_run(&run.dataset_id).await?;
    if let Some(account) = &dataset.account_id {
        puller
            .accounts
            .ensure_usable_by(account, &dataset.owner_id)
            .await?;
    }
    if disk_space::defer_if_low(puller, &run, &dataset).await? {
        return Ok(None);
    }
    let key = run.source_key_of(&dataset);
    if key != run.source_key {
        queue::leave_shared_read(&puller.db, &mut run, &key).await?;
    }
    if leader.is_some_and(|leader| leader != key) {
        queue::requeue(&puller.db, &puller.clock, &run, None, CallStats::default()).await?;
        puller.wake_dispatcher.notify_one();
        return Ok(None);
    }
    let writer = puller
        .datasets
        .segments
        .with_own_counter()
        .writer(&run.dataset_id, &run.id);
    let stamp = match dataset.update_mode {
        UpdateMode::Replace => None,
        _ => queue::batch_number(&puller.db, &run)
            .await
            .map(|(batch_id, last_run)| Some(Stamp { batch_id, last_run }))?,
    };
    Ok(Some(PullingRun {
        run,
        dataset,
        writer,
        progress,
        rows: 0,
        window_rows: 0,
        stamp,
        empty_parents: Vec::new(),
        lease_lost: None,
    }))
}

/// The plan that all runs of the set share. A run with another plan is requeued: an earlier attempt
/// was interrupted at another window.
async fn plan(
    puller: &Puller,
    set: &mut Vec<PullingRun>,
    source: &Source,
    fresh: &[Window],
) -> Result<Option<RunPlan>> {
    let mut shared: Option<RunPlan> = None;
    let mut at = 0;
    while at < set.len() {
        let PullingRun { run, dataset, .. } = &set[at];
        let windows = shared.as_ref().map_or(fresh, |plan| &plan.windows);
        // The key covers the request, the account, and how records become rows.
        let zone = source.zone.iana_name();
        let mode = dataset.update_mode.word();
        let plan_key = format!(
            "{} {} {mode} {} {:?} {zone:?}",
            run.source_key,
            dataset.report.id,
            source.upstream.address(),
            source.fields
        );
        let key = Sha256::digest(plan_key)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        let plan = queue::load_or_create_plan(&puller.db, run, &key, windows).await?;
        match (plan, &shared) {
            (Some(plan), None) => shared = Some(plan),
            (Some(plan), Some(leader))
                if plan.windows == leader.windows && plan.remaining() == leader.remaining() => {}
            (Some(_), Some(_)) => {
                queue::requeue(&puller.db, &puller.clock, run, None, CallStats::default()).await?;
                puller.wake_dispatcher.notify_one();
                set.remove(at).writer.abandon();
                continue;
            }
            (None, _) => set[at].lease_lost = Some(LeaseState::Lost),
        }
        // The writer continues after the rows that an earlier attempt checkpointed, which are known
        // only now.
        let PullingRun { run, .. } = &set[at];
        let writer = puller
            .datasets
            .segments
            .with_own_counter()
            .resume(&run.dataset_id, &run.id)
            .await?;
        (set[at].rows, set[at].writer) = (writer.rows(), writer);
        at += 1;
    }
    Ok(shared)
}

async fn pull(
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
    let today = puller.clock.timestamp().to_zoned(zone.clone()).date();
    let mut fresh = connectors::windows(
        first.dataset.report,
        first.run.range.or_else(|| first.dataset.range(today)),
    );
    if first.run.range.is_some() && !matches!(first.dataset.report.shape, Shape::Export(_)) {
        // A backfill goes from the newest day to the oldest. An export returns several days at
        // once, in ascending order.
        fresh.reverse();
    }
    let Some(plan) = plan(puller, set, &source, &fresh).await? else {
        return Ok(PullEnd::Stopped(PullError::Cancelled));
    };
    let mut read_progress = ReadProgress::new(plan, puller.clock.monotonic());
    *call_stats = read_progress.call_stats();
    let left = read_progress.remaining.clone();
    if left.is_empty() {
        return Ok(PullEnd::Pulled {
            total: read_progress.total,
        });
    }
    let request = PullRequest {
        reports: set.iter().map(|p| p.dataset.report).collect(),
        menus: set[0].dataset.menus.clone(),
        zone,
        windows: left
            .iter()
            .filter_map(|at| read_progress.plan.windows.get(*at).copied())
            .collect(),
        extras: set.iter().map(|p| p.writer.extras()).collect(),
        previous_window: read_progress.window_before(),
        second_read: set[0].dataset.options.second_read,
        scratch: puller.datasets.segments.dir().to_owned(),
        cancel: CancellationToken::new(),
    };
    let (out, mut events) = mpsc::channel(MAX_BUFFERED_BATCHES);
    let cancel = request.cancel.clone();
    let _stop_reading = cancel.clone().drop_guard();
    let upstream = source.upstream.clone();
    let reader = async move {
        panic_point("read");
        Ok(connectors::pull(&source, &request, &out).await)
    };
    let mut task = tokio::spawn(panics::guarded(reader).in_current_span());
    let mut processed = Ok(());
    let mut stall_detector = StallDetector::new(puller.clock.monotonic());
    let mut demand = SlotDemand::new();
    // Set when the pull must stop before its end.
    let mut stop_reason: Option<PullEnd> = None;
    let mut beats = 0_u64;
    // All received events were processed.
    let mut all_processed = true;
    loop {
        let may_continue = tokio::select! {
            () = puller.stop.cancelled() => true,
            _ = heartbeat.tick() => {
                beats += 1;
                if !send_heartbeat(puller, set, run_slot.slot.is_held() || beats.is_multiple_of(EXTEND_LEASE_EVERY)).await? {
                    cancel.cancel();
                }
                if upstream.is_save_due(queue::HEARTBEAT) && let Err(error) = puller.accounts.save_vendor_hints(&account, &upstream).await {
                    // The next heartbeat tries again.
                    tracing::debug!(cause = ?error.log_cause(), "the number of calls could not be saved: {error}");
                }
                let (passed, mark) = (puller.clock.monotonic(), (upstream.call_stats(), upstream.received()));
                let paused = puller.accounts.gauges().get(account.as_str()).is_some_and(|gauge| !gauge.paused.is_zero());
                if stall_detector.is_stalled(passed, mark, paused) {
                    stop_reason = Some(PullEnd::Stalled);
                } else if passed >= run_slot.deadline {
                    stop_reason = Some(PullEnd::TimedOut);
                }
                true
            }
            action = demand.next_action(&run_slot.slot, &upstream) => match action {
                SlotAction::Release => {
                    run_slot.release(puller, set);
                    true
                }
                SlotAction::Acquire => run_slot.acquire(puller, set, heartbeat).await,
            },
            event = events.recv() => {
                let Some(event) = event else { break };
                // Progress events need no slot: they arrive at intervals, also while the vendor is
                // silent.
                let is_progress = matches!(event, PullEvent::Progress { .. });
                if is_progress || run_slot.acquire(puller, set, heartbeat).await {
                    if !is_progress {
                        run_slot.in_flight.started();
                        stall_detector.record_progress(puller.clock.monotonic());
                    }
                    let (heartbeat_guard, has_slot) = (Heartbeat::of(set), run_slot.slot.is_held());
                    match heartbeat_guard.guard(puller, heartbeat, process_event(puller, set, &mut read_progress, event, has_slot)).await {
                        Ok(done) => {
                            processed = done;
                            if !is_progress {
                                demand.record_work();
                            }
                        }
                        Err(HeartbeatStop::Stalled) => stop_reason = Some(PullEnd::Stalled),
                        Err(HeartbeatStop::AllStopped) => {
                            send_heartbeat(puller, set, true).await?;
                            cancel.cancel();
                            break;
                        }
                    }
                    true
                } else {
                    // The received event is not processed, so its window is not complete.
                    all_processed = false;
                    false
                }
            }
        };
        if !may_continue && !puller.stop.is_cancelled() {
            send_heartbeat(puller, set, true).await?;
            cancel.cancel();
            break;
        }
        if processed.is_err() || stop_reason.is_some() || puller.stop.is_cancelled() {
            break;
        }
    }
    if puller.stop.is_cancelled() && all_processed && processed.is_ok() && stop_reason.is_none() {
        processed = drain_window(puller, set, &mut read_progress, &mut events).await;
    }
    cancel.cancel();
    drop(events);
    // After a restart, finished windows need not be read again.
    if read_progress.settled
        && puller.stop.is_cancelled()
        && processed.is_ok()
        && stop_reason.is_none()
    {
        checkpoint(puller, set).await?;
    }
    if stop_reason.is_some()
        && tokio::time::timeout(READER_STOP_TIMEOUT, &mut task)
            .await
            .is_err()
    {
        tracing::error!("a stopped pull does not end; Chatlake no longer waits for it");
        task.abort();
        return Ok(stop_reason.unwrap_or(PullEnd::Stalled));
    }
    let read = if stop_reason.is_some() {
        Ok(Ok(Err(PullError::Cancelled)))
    } else {
        task.await
    };
    let (before, upstream_stats) = (*call_stats, upstream.call_stats());
    *call_stats = CallStats {
        calls: before.calls + upstream_stats.calls,
        waited_ms: before.waited_ms + upstream_stats.waited_ms,
    };
    puller.metrics.vendor_calls.inc_by(upstream_stats.calls);
    puller
        .accounts
        .save_vendor_hints(&account, &upstream)
        .await?;
    processed?;
    if let Some(why) = stop_reason {
        return Ok(why);
    }
    Ok(match read {
        Ok(Ok(Ok(()))) if !puller.stop.is_cancelled() => PullEnd::Pulled {
            total: read_progress.total,
        },
        Ok(Ok(Ok(()))) => PullEnd::Stopped(PullError::Cancelled),
        Ok(Ok(Err(error))) => PullEnd::Stopped(error),
        Ok(Err(error)) => PullEnd::InternalError(error),
        Err(_) => PullEnd::InternalError(Error::internal("the reading was aborted")),
    })
}

/// Before a server stop, processes the rest of the current window if it arrives soon, so that it
/// need not be read again.
async fn drain_window(
    puller: &Puller,
    set: &mut [PullingRun],
    read_progress: &mut ReadProgress,
    events: &mut mpsc::Receiver<PullEvent>,
) -> Result<()> {
    let until = tokio::time::Instant::now() + DRAIN_TIMEOUT;
    while !read_progress.settled {
        let Ok(Some(event)) = tokio::time::timeout_at(until, events.recv()).await else {
            break;
        };
        process_event(puller, set, read_progress, event, true).await?;
    }
    Ok(())
}

/// Processes one event of the reader. `has_slot`: the run holds its slot.
async fn process_event(
    puller: &Puller,
    set: &mut [PullingRun],
    read_progress: &mut ReadProgress,
    event: PullEvent,
    has_slot: bool,
) -> Result<()> {
    let now = puller.clock.now();
    read_progress.settled = matches!(
        event,
        PullEvent::WindowDone {
            is_boundary: true,
            ..
        }
    ) || (read_progress.settled
        && matches!(event, PullEvent::Progress { .. }));
    match event {
        PullEvent::Rows { report, batch } => {
            if let Some(pulling) = set.get_mut(report).filter(|p| p.lease_lost.is_none()) {
                match &pulling.stamp {
                    Some(stamp) => pulling.writer.write(&stamp.on(&batch)?).await?,
                    None => pulling.writer.write(&batch).await?,
                }
                pulling.rows += batch.num_rows() as u64;
                pulling.window_rows += batch.num_rows() as u64;
                let rows = pulling.rows;
                pulling.progress.update(now, |p| p.rows = rows);
            }
        }
        PullEvent::EmptyParents {
            report,
            mut parents,
        } => {
            if let Some(pulling) = set
                .get_mut(report)
                .filter(|p| commit::tracks_empty_parents(&p.dataset))
            {
                pulling.empty_parents.append(&mut parents);
            }
        }
        PullEvent::Progress {
            window,
            page,
            pages,
            read,
            calls,
        } => {
            let at = read_progress.position(window);
            for pulling in set.iter() {
                pulling.progress.update(now, |p| {
                    if has_slot {
                        p.phase = "Pulling";
                    }
                    p.windows = read_progress.plan.windows.len().max(1);
                    p.window = at + 1;
                    p.days = read_progress
                        .plan
                        .windows
                        .get(at)
                        .map(Window::to_string)
                        .unwrap_or_default();
                    (p.page, p.pages, p.read, p.calls) = (page, pages, read, calls);
                });
            }
        }
        PullEvent::WindowDone {
            window,
            counts,
            is_boundary,
        } => {
            read_progress.total = read_progress
                .total
                .zip(counts.total)
                .map(|(sum, part)| sum + part);
            let at = read_progress.position(window);
            for pulling in set.iter_mut().filter(|p| p.lease_lost.is_none()) {
                if commit::tracks_empty_parents(&pulling.dataset) {
                    queue::record_empty_parents(
                        &puller.db,
                        &pulling.run,
                        at,
                        &std::mem::take(&mut pulling.empty_parents),
                    )
                    .await?;
                }
                let rows = std::mem::take(&mut pulling.window_rows);
                if queue::record_window(&puller.db, &puller.clock, &pulling.run, at, &counts, rows)
                    .await?
                    == LeaseState::Lost
                {
                    pulling.lease_lost = Some(LeaseState::Lost);
                }
            }
            // A resumed run checkpoints every window: it may be interrupted again, and each attempt
            // must get further.
            let last = read_progress.remaining.last() == Some(&at);
            if is_boundary
                && !last
                && (read_progress.plan.resumed
                    || puller.clock.monotonic() - read_progress.checkpointed_at >= CHECKPOINT_EVERY)
            {
                checkpoint(puller, set).await?;
                read_progress.checkpointed_at = puller.clock.monotonic();
            }
        }
    }
    Ok(())
}

/// Checkpoints the rows read so far.
async fn checkpoint(puller: &Puller, set: &mut [PullingRun]) -> Result<()> {
    for pulling in set.iter_mut().filter(|p| p.lease_lost.is_none()) {
        pulling.writer.close().await?;
    }
    let checkpointed: Vec<_> = set
        .iter()
        .filter(|p| p.lease_lost.is_none())
        .map(|p| (&p.run, p.writer.written()))
        .collect();
    queue::checkpoint(&puller.db, &checkpointed).await
}

/// Sends a heartbeat for every run; `extend`: also extends the leases. Returns false when all runs
/// have stopped.
async fn send_heartbeat(puller: &Puller, set: &mut [PullingRun], extend: bool) -> Result<bool> {
    for pulling in set.iter_mut().filter(|p| p.lease_lost.is_none()) {
        let state = match extend {
            true => {
                queue::extend_lease(
                    &puller.db,
                    &puller.clock,
                    &pulling.run,
                    &pulling.progress.to_json(),
                )
                .await
            }
            false => queue::check_lease(&puller.db, &pulling.run).await,
        };
        match state {
            // No other worker claims the run while this process holds it in `WorkerLeases`.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                puller.db.outages().record_failure(LEASE_OUTAGE, &error);
                continue;
            }
            _ if extend => puller.db.outages().record_recovery(LEASE_OUTAGE),
            _ => {}
        }
        match state? {
            LeaseState::Active => {}
            lease_state => {
                // The end is written at once, so that the cancellation does not wait for the other
                // runs.
                if lease_state == LeaseState::CancelRequested {
                    finish::end(
                        puller,
                        &pulling.run,
                        &RunEnd::Cancelled,
                        CallStats::default(),
                    )
                    .await;
                }
                pulling.lease_lost = Some(lease_state);
            }
        }
    }
    Ok(set.iter().any(|p| p.lease_lost.is_none()))
}
