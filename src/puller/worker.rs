//! What is done with claimed runs: pull, write, commit. `dispatch` claims them; read `work` next; how a run ends is in `worker/ends.rs`.
//! A run works in a slot (`puller/slots.rs`), which it gives back while it only waits for its vendor (`worker/flow.rs`).

mod beside;
mod commit;
mod dispatch;
mod ends;
mod flow;
mod place;
mod reading;
mod saving;
mod watch;

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::live::Shown;
use super::queue::{self, Claimed, End, Held, Plan, Spent};
use super::slots::{InFlight, Slot};
use super::{Puller, panics, schedules, space};
use crate::clock::Millis;
use crate::connectors::report::{Shape, UpdateMode};
use crate::connectors::{self, PullError, PullRequest, Pulled, Source, Window};
use crate::datasets::Dataset;
use crate::datasets::segments::Writer;
use crate::datasets::update_mode::Stamp;
use crate::db::marks::stumble;
use crate::error::{Error, Kind, Result};
use beside::{Beside, Halt};
pub(super) use dispatch::dispatch_until_stopped;
use flow::{Flow, Turn};
use place::Place;
use reading::Reading;
use watch::Watch;

/// What is logged once when leases cannot be extended, and once when they can again.
const LEASES: &str = "a lease could not be extended";
/// How many batches may be between the reader and the writer.
const BATCHES_AHEAD: usize = 4;
/// What came is kept for an interruption at the end of a window, but not more often than this.
const KEEP_EVERY: Millis = 10_000;

/// Every so many heartbeats of a run without a slot extend its leases; the others only look whether it is to go on.
const EXTEND_EVERY: u64 = 10;

/// How long a stop waits for the rest of a window that was begun.
const REST_OF_WINDOW_WITHIN: Duration = Duration::from_millis(500);

/// How long one that is to end may take to notice.
const END_WITHIN: Duration = Duration::from_secs(5);

/// One run of the set that a worker pulls together.
struct Pulling {
    run: Claimed,
    dataset: Dataset,
    writer: Writer,
    shown: Shown,
    rows: u64,
    /// Those of the present window.
    window_rows: u64,
    /// Written beside every row, where rows of several runs are kept.
    stamp: Option<Stamp>,
    /// Records of the present window that became no row, where that is asked for.
    childless: Vec<String>,
    /// Set once a person stopped this run or its lease was lost: the others of the set go on.
    gone: Option<Held>,
}

/// How a pull ended, for all runs of the set.
enum Ended {
    /// `total`: what the vendor said there is, over all windows; none where it says nothing.
    Pulled {
        total: Option<u64>,
    },
    Stopped(PullError),
    /// Nothing came for too long.
    Stuck,
    /// It took longer than a run may take.
    TooLong,
    OwnFault(Error),
}

async fn work(puller: &Puller, claimed: Vec<Claimed>, mut slot: Slot, in_flight: InFlight) {
    let mut heartbeat = heartbeat();
    let shown = dispatch::enter(puller, &claimed, &mut heartbeat, &mut slot).await;
    let mut place = Place { slot, in_flight, deadline: puller.clock.passed().saturating_add(puller.max_run) };
    let mut set: Vec<Pulling> = Vec::new();
    for (run, shown) in claimed.into_iter().zip(shown) {
        let leader = set.first().map(|leader| leader.run.source_key_of(&leader.dataset));
        match panics::guarded(prepare(puller, run.clone(), shown, leader.as_deref()).instrument(run.span())).await {
            Ok(Some(pulling)) => {
                run.span().in_scope(|| tracing::info!(trigger = run.trigger.word(), attempt = run.attempt, "the run began"));
                set.push(pulling);
            }
            Ok(None) => {}
            Err(error) => ends::fail(puller, &run, &error).await,
        }
    }
    if set.is_empty() {
        return;
    }
    let mut spent = Spent::default();
    let asked_at = puller.clock.now();
    let ended = match panics::guarded(pull(puller, &mut set, &mut spent, &mut place, &mut heartbeat)).await {
        Ok(ended) => ended,
        Err(error) => Ended::OwnFault(error),
    };
    ends::note_health(puller, &set, &ended, asked_at).await;
    saving::save(puller, set, &ended, spent, &mut place).await;
}

fn heartbeat() -> Interval {
    let mut heartbeat = tokio::time::interval(queue::HEARTBEAT);
    // A process that was stopped for a while does not make up for its beats.
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

/// What a run needs to be pulled, `shown` being what is shown of it and `leader` what the first of its set asks for. None when there is no
/// room for it, or when it must be pulled by itself, because its DataSet was changed after it was queued; it is back in the queue then.
async fn prepare(puller: &Puller, mut run: Claimed, shown: Shown, leader: Option<&str>) -> Result<Option<Pulling>> {
    let dataset = puller.datasets.for_run(&run.dataset_id).await?;
    if let Some(account) = &dataset.account_id {
        puller.accounts.feeds(account, &dataset.owner_id).await?;
    }
    if space::is_held(puller, &run, &dataset).await? {
        return Ok(None);
    }
    let key = run.source_key_of(&dataset);
    if key != run.source_key {
        queue::rekey(&puller.db, &mut run, &key).await?;
    }
    if leader.is_some_and(|leader| leader != key) {
        queue::give_back(&puller.db, &puller.clock, &run, None, Spent::default()).await?;
        puller.wake.notify_one();
        return Ok(None);
    }
    let writer = puller.datasets.segments.counted().writer(&run.dataset_id, &run.id);
    let stamp = match dataset.update_mode {
        UpdateMode::Replace => None,
        _ => queue::batch(&puller.db, &run).await.map(|(batch_id, last_run)| Some(Stamp { batch_id, last_run }))?,
    };
    Ok(Some(Pulling { run, dataset, writer, shown, rows: 0, window_rows: 0, stamp, childless: Vec::new(), gone: None }))
}

/// The plan that all runs of the set share. One whose own differs, since it was interrupted elsewhere, goes back into the queue.
async fn plan(puller: &Puller, set: &mut Vec<Pulling>, source: &Source, fresh: &[Window]) -> Result<Option<Plan>> {
    let mut shared: Option<Plan> = None;
    let mut at = 0;
    while at < set.len() {
        let Pulling { run, dataset, .. } = &set[at];
        let windows = shared.as_ref().map_or(fresh, |plan| &plan.windows);
        // What is asked, of whom, and how it becomes rows.
        let zone = source.zone.iana_name();
        let mode = dataset.update_mode.word();
        let asked = format!("{} {} {mode} {} {:?} {zone:?}", run.source_key, dataset.report.id, source.upstream.address(), source.fields);
        let key = Sha256::digest(asked).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let plan = queue::plan(&puller.db, run, &key, windows).await?;
        match (plan, &shared) {
            (Some(plan), None) => shared = Some(plan),
            (Some(plan), Some(leader)) if plan.windows == leader.windows && plan.left() == leader.left() => {}
            (Some(_), Some(_)) => {
                queue::give_back(&puller.db, &puller.clock, run, None, Spent::default()).await?;
                puller.wake.notify_one();
                set.remove(at).writer.abandon();
                continue;
            }
            (None, _) => set[at].gone = Some(Held::Lost),
        }
        // Only now is it known what of an earlier attempt counts.
        let Pulling { run, .. } = &set[at];
        let writer = puller.datasets.segments.counted().resume(&run.dataset_id, &run.id).await?;
        (set[at].rows, set[at].writer) = (writer.rows(), writer);
        at += 1;
    }
    Ok(shared)
}

async fn pull(puller: &Puller, set: &mut Vec<Pulling>, spent: &mut Spent, place: &mut Place, heartbeat: &mut Interval) -> Result<Ended> {
    // Somebody may have stopped it while it waited for others.
    if !beat(puller, set, true).await? {
        return Ok(Ended::Stopped(PullError::Cancelled));
    }
    let Some(first) = set.first() else { return Err(Error::internal("a pull of nothing")) };
    let Some(account) = first.dataset.account_id.clone() else {
        return Err(Error::conflict("account_missing", "The account of this DataSet was deleted."));
    };
    let source = puller.accounts.source(&account).await?;
    let zone = schedules::zone(&first.dataset.time_zone)?;
    let today = puller.clock.timestamp().to_zoned(zone.clone()).date();
    let mut fresh = connectors::windows(first.dataset.report, first.run.range.or_else(|| first.dataset.range(today)));
    if first.run.range.is_some() && !matches!(first.dataset.report.shape, Shape::Export(_)) {
        // A backfill goes from the newest day to the oldest. An export answers several days at once, in their order.
        fresh.reverse();
    }
    let Some(plan) = plan(puller, set, &source, &fresh).await? else { return Ok(Ended::Stopped(PullError::Cancelled)) };
    let mut reading = Reading::new(plan, puller.clock.passed());
    *spent = reading.spent();
    let left = reading.left.clone();
    if left.is_empty() {
        return Ok(Ended::Pulled { total: reading.total });
    }
    let request = PullRequest {
        reports: set.iter().map(|p| p.dataset.report).collect(),
        menus: set[0].dataset.menus.clone(),
        zone,
        windows: left.iter().filter_map(|at| reading.plan.windows.get(*at).copied()).collect(),
        extras: set.iter().map(|p| p.writer.extras()).collect(),
        behind: reading.behind(),
        second_read: set[0].dataset.options.second_read,
        scratch: puller.datasets.segments.dir().to_owned(),
        cancel: CancellationToken::new(),
    };
    let (out, mut come) = mpsc::channel(BATCHES_AHEAD);
    let cancel = request.cancel.clone();
    let _stop_reading = cancel.clone().drop_guard();
    let upstream = source.upstream.clone();
    let reader = async move {
        stumble("read");
        Ok(connectors::pull(&source, &request, &out).await)
    };
    let mut task = tokio::spawn(panics::guarded(reader).in_current_span());
    let mut taken = Ok(());
    let mut watch = Watch::new(puller.clock.passed());
    let mut flow = Flow::new();
    // Why it is stopped in the middle.
    let mut halted: Option<Ended> = None;
    let mut beats = 0_u64;
    // All that came from the reader was taken in.
    let mut whole = true;
    loop {
        let entered = tokio::select! {
            () = puller.stop.cancelled() => true,
            _ = heartbeat.tick() => {
                beats += 1;
                if !beat(puller, set, place.slot.is_held() || beats.is_multiple_of(EXTEND_EVERY)).await? {
                    cancel.cancel();
                }
                if upstream.is_to_be_kept(queue::HEARTBEAT) && let Err(error) = puller.accounts.keep_told(&account, &upstream).await {
                    // It is kept again with the next heartbeat.
                    tracing::debug!(cause = ?error.inside(), "the number of calls could not be saved: {error}");
                }
                let (passed, mark) = (puller.clock.passed(), (upstream.spent(), upstream.received()));
                let paused = puller.accounts.gauges().get(account.as_str()).is_some_and(|gauge| !gauge.paused.is_zero());
                if watch.is_stuck(passed, mark, paused) {
                    halted = Some(Ended::Stuck);
                } else if passed >= place.deadline {
                    halted = Some(Ended::TooLong);
                }
                true
            }
            turn = flow.turn(&place.slot, &upstream) => match turn {
                Turn::Leave => {
                    place.leave(puller, set);
                    true
                }
                Turn::Enter => place.enter(puller, set, heartbeat).await,
            },
            pulled = come.recv() => {
                let Some(pulled) = pulled else { break };
                // Where it is may be told without a slot: it comes at intervals, also while the vendor is silent.
                let told = matches!(pulled, Pulled::Progress { .. });
                if told || place.enter(puller, set, heartbeat).await {
                    if !told {
                        place.in_flight.started();
                        watch.moved(puller.clock.passed());
                    }
                    let (beside, works) = (Beside::of(set), place.slot.is_held());
                    match beside.hold(puller, heartbeat, take(puller, set, &mut reading, pulled, works)).await {
                        Ok(done) => {
                            taken = done;
                            if !told {
                                flow.worked();
                            }
                        }
                        Err(Halt::Stuck) => halted = Some(Ended::Stuck),
                        Err(Halt::Gone) => {
                            beat(puller, set, true).await?;
                            cancel.cancel();
                            break;
                        }
                    }
                    true
                } else {
                    // What was in hand is not taken in, so its window is not whole either.
                    whole = false;
                    false
                }
            }
        };
        if !entered && !puller.stop.is_cancelled() {
            beat(puller, set, true).await?;
            cancel.cancel();
            break;
        }
        if taken.is_err() || halted.is_some() || puller.stop.is_cancelled() {
            break;
        }
    }
    if puller.stop.is_cancelled() && whole && taken.is_ok() && halted.is_none() {
        taken = take_to_end_of_window(puller, set, &mut reading, &mut come).await;
    }
    cancel.cancel();
    drop(come);
    // What came whole is not to be asked again after a stop.
    if reading.settled && puller.stop.is_cancelled() && taken.is_ok() && halted.is_none() {
        keep(puller, set).await?;
    }
    if halted.is_some() && tokio::time::timeout(END_WITHIN, &mut task).await.is_err() {
        tracing::error!("a stopped pull does not end; Chatlake no longer waits for it");
        task.abort();
        return Ok(halted.unwrap_or(Ended::Stuck));
    }
    let read = if halted.is_some() { Ok(Ok(Err(PullError::Cancelled))) } else { task.await };
    let (before, told) = (*spent, upstream.spent());
    *spent = Spent { calls: before.calls + told.calls, waited_ms: before.waited_ms + told.waited_ms };
    puller.metrics.vendor_calls.inc_by(told.calls);
    puller.accounts.keep_told(&account, &upstream).await?;
    taken?;
    if let Some(why) = halted {
        return Ok(why);
    }
    Ok(match read {
        Ok(Ok(Ok(()))) if !puller.stop.is_cancelled() => Ended::Pulled { total: reading.total },
        Ok(Ok(Ok(()))) => Ended::Stopped(PullError::Cancelled),
        Ok(Ok(Err(error))) => Ended::Stopped(error),
        Ok(Err(error)) => Ended::OwnFault(error),
        Err(_) => Ended::OwnFault(Error::internal("the reading was aborted")),
    })
}

/// Before a stop, takes in the rest of the present window if the vendor has answered it already, so that it need not be asked for again.
async fn take_to_end_of_window(puller: &Puller, set: &mut [Pulling], reading: &mut Reading, come: &mut mpsc::Receiver<Pulled>) -> Result<()> {
    let until = tokio::time::Instant::now() + REST_OF_WINDOW_WITHIN;
    while !reading.settled {
        let Ok(Some(pulled)) = tokio::time::timeout_at(until, come.recv()).await else { break };
        take(puller, set, reading, pulled, true).await?;
    }
    Ok(())
}

/// Takes in one thing that came from the reader. `works`: the run holds its slot.
async fn take(puller: &Puller, set: &mut [Pulling], reading: &mut Reading, pulled: Pulled, works: bool) -> Result<()> {
    let now = puller.clock.now();
    reading.settled = matches!(pulled, Pulled::WindowDone { settled: true, .. }) || (reading.settled && matches!(pulled, Pulled::Progress { .. }));
    match pulled {
        Pulled::Rows { report, batch } => {
            if let Some(pulling) = set.get_mut(report).filter(|p| p.gone.is_none()) {
                match &pulling.stamp {
                    Some(stamp) => pulling.writer.write(&stamp.on(&batch)?).await?,
                    None => pulling.writer.write(&batch).await?,
                }
                pulling.rows += batch.num_rows() as u64;
                pulling.window_rows += batch.num_rows() as u64;
                let rows = pulling.rows;
                pulling.shown.change(now, |p| p.rows = rows);
            }
        }
        Pulled::Childless { report, mut parents } => {
            if let Some(pulling) = set.get_mut(report).filter(|p| commit::counts_childless(&p.dataset)) {
                pulling.childless.append(&mut parents);
            }
        }
        Pulled::Progress { window, page, pages, read, calls } => {
            let at = reading.position(window);
            for pulling in set.iter() {
                pulling.shown.change(now, |p| {
                    if works {
                        p.phase = "Pulling";
                    }
                    p.windows = reading.plan.windows.len().max(1);
                    p.window = at + 1;
                    p.days = reading.plan.windows.get(at).map(Window::to_string).unwrap_or_default();
                    (p.page, p.pages, p.read, p.calls) = (page, pages, read, calls);
                });
            }
        }
        Pulled::WindowDone { window, tally, settled } => {
            reading.total = reading.total.zip(tally.total).map(|(sum, part)| sum + part);
            let at = reading.position(window);
            for pulling in set.iter_mut().filter(|p| p.gone.is_none()) {
                if commit::counts_childless(&pulling.dataset) {
                    queue::note_childless(&puller.db, &pulling.run, at, &std::mem::take(&mut pulling.childless)).await?;
                }
                let rows = std::mem::take(&mut pulling.window_rows);
                if queue::window_done(&puller.db, &puller.clock, &pulling.run, at, &tally, rows).await? == Held::Lost {
                    pulling.gone = Some(Held::Lost);
                }
            }
            // One that was interrupted before may be again, and is to get further each time.
            let last = reading.left.last() == Some(&at);
            if settled && !last && (reading.plan.resumed || puller.clock.passed() - reading.kept_at >= KEEP_EVERY) {
                keep(puller, set).await?;
                reading.kept_at = puller.clock.passed();
            }
        }
    }
    Ok(())
}

/// Makes what came so far outlast an interruption.
async fn keep(puller: &Puller, set: &mut [Pulling]) -> Result<()> {
    for pulling in set.iter_mut().filter(|p| p.gone.is_none()) {
        pulling.writer.close().await?;
    }
    let kept: Vec<_> = set.iter().filter(|p| p.gone.is_none()).map(|p| (&p.run, p.writer.written())).collect();
    queue::keep(&puller.db, &kept).await
}

/// A heartbeat of every run of the set; `extend`: the leases are extended as well. False when nobody is left to pull for.
async fn beat(puller: &Puller, set: &mut [Pulling], extend: bool) -> Result<bool> {
    for pulling in set.iter_mut().filter(|p| p.gone.is_none()) {
        let held = match extend {
            true => queue::extend(&puller.db, &puller.clock, &pulling.run, &pulling.shown.text()).await,
            false => queue::look(&puller.db, &pulling.run).await,
        };
        match held {
            // Nobody else takes it over while this process has it in its hands.
            Err(error) if error.kind() == Kind::Unavailable => {
                puller.db.outages().failed(LEASES, &error);
                continue;
            }
            _ if extend => puller.db.outages().ended(LEASES),
            _ => {}
        }
        match held? {
            Held::Yes => {}
            gone => {
                // Whoever stopped it need not wait for the others of the set.
                if gone == Held::Cancel {
                    ends::end(puller, &pulling.run, &End::Cancelled, Spent::default()).await;
                }
                pulling.gone = Some(gone);
            }
        }
    }
    Ok(set.iter().any(|p| p.gone.is_none()))
}
