//! The loop of a pull. In each step it processes an event of the reader, sends heartbeats, or
//! releases or acquires the slot, until the reader ends or the pull must stop.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;

use super::events::{checkpoint, process_event};
use super::heartbeat::{Heartbeat, HeartbeatStop, send_heartbeat};
use super::read_progress::ReadProgress;
use super::run_slot::RunSlot;
use super::slot_demand::{SlotAction, SlotDemand};
use super::stall_detector::StallDetector;
use super::{EXTEND_LEASE_EVERY, PullEnd, PullingRun};
use crate::connectors::PullEvent;
use crate::connectors::upstream::Upstream;
use crate::error::Result;
use crate::ids::AccountId;
use crate::puller::Puller;
use crate::puller::queue::{self, CallStats};

/// How long a server stop waits for the rest of the current window.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// What a loop reads, and from where.
pub(super) struct PullInput<'a> {
    pub account: &'a AccountId,
    pub upstream: &'a Upstream,
    pub read_progress: ReadProgress,
    /// The events of the reader.
    pub events: mpsc::Receiver<PullEvent>,
    /// Stops the reader.
    pub cancel: CancellationToken,
}

/// The state of the loop.
pub(super) struct PullLoop<'a> {
    puller: &'a Puller,
    set: &'a mut [PullingRun],
    run_slot: &'a mut RunSlot,
    heartbeat: &'a mut Interval,
    input: PullInput<'a>,
    stall_detector: StallDetector<(CallStats, u64)>,
    demand: SlotDemand,
    beats: u64,
    /// The result of the last event.
    processed: Result<()>,
    /// All received events were processed.
    all_processed: bool,
    /// Set when the pull must stop before its end.
    stop_reason: Option<PullEnd>,
}

/// How the loop ended.
pub(super) struct StoppedLoop {
    /// An error of processing an event.
    pub processed: Result<()>,
    /// Why the pull was stopped before its end; `None` if the reader decides.
    pub reason: Option<PullEnd>,
    /// The vendor's number of records in all windows, if it gives one.
    pub total: Option<u64>,
}

/// What follows a step of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextStep {
    Continue,
    /// The slot was not acquired: all runs were stopped, or the server stops.
    NoSlot,
    /// All runs were cancelled or lost their leases.
    AllStopped,
}

impl<'a> PullLoop<'a> {
    pub fn new(
        puller: &'a Puller,
        set: &'a mut [PullingRun],
        run_slot: &'a mut RunSlot,
        heartbeat: &'a mut Interval,
        input: PullInput<'a>,
    ) -> Self {
        Self {
            stall_detector: StallDetector::new(puller.clock.monotonic()),
            puller,
            set,
            run_slot,
            heartbeat,
            input,
            demand: SlotDemand::new(),
            beats: 0,
            processed: Ok(()),
            all_processed: true,
            stop_reason: None,
        }
    }

    /// Runs the loop, and stops the reader.
    pub async fn run(mut self) -> Result<StoppedLoop> {
        loop {
            let next = tokio::select! {
                () = self.puller.stop.cancelled() => NextStep::Continue,
                _ = self.heartbeat.tick() => self.on_heartbeat().await?,
                action = self.demand.next_action(&self.run_slot.slot, self.input.upstream) => {
                    self.change_slot(action).await
                }
                event = self.input.events.recv() => match event {
                    Some(event) => self.on_event(event).await,
                    // The reader has ended.
                    None => break,
                },
            };
            let is_stopping = self.puller.stop.is_cancelled();
            if next == NextStep::AllStopped || (next == NextStep::NoSlot && !is_stopping) {
                // Writes the end of the cancelled runs.
                send_heartbeat(self.puller, self.set, true).await?;
                self.input.cancel.cancel();
                break;
            }
            if self.processed.is_err() || self.stop_reason.is_some() || is_stopping {
                break;
            }
        }
        self.stop_reading().await
    }

    /// Extends the leases, saves what the vendor said about the account, and checks for progress.
    async fn on_heartbeat(&mut self) -> Result<NextStep> {
        let (puller, upstream) = (self.puller, self.input.upstream);
        self.beats += 1;
        let extend = self.run_slot.slot.is_held() || self.beats.is_multiple_of(EXTEND_LEASE_EVERY);
        if !send_heartbeat(puller, self.set, extend).await? {
            self.input.cancel.cancel();
        }
        if upstream.is_save_due(queue::HEARTBEAT)
            && let Err(error) = puller
                .accounts
                .save_vendor_hints(self.input.account, upstream)
                .await
        {
            // The next heartbeat tries again.
            tracing::debug!(
                cause = ?error.log_cause(),
                "the number of calls could not be saved: {error}"
            );
        }
        let passed = puller.clock.monotonic();
        let mark = (upstream.call_stats(), upstream.received());
        let is_paused = puller
            .accounts
            .gauges()
            .get(self.input.account.as_str())
            .is_some_and(|gauge| !gauge.paused.is_zero());
        if self.stall_detector.is_stalled(passed, mark, is_paused) {
            self.stop_reason = Some(PullEnd::Stalled);
        } else if passed >= self.run_slot.deadline {
            self.stop_reason = Some(PullEnd::TimedOut);
        }
        Ok(NextStep::Continue)
    }

    async fn change_slot(&mut self, action: SlotAction) -> NextStep {
        match action {
            SlotAction::Release => {
                self.run_slot.release(self.puller, self.set);
                NextStep::Continue
            }
            SlotAction::Acquire if self.acquire_slot().await => NextStep::Continue,
            SlotAction::Acquire => NextStep::NoSlot,
        }
    }

    async fn acquire_slot(&mut self) -> bool {
        self.run_slot
            .acquire(self.puller, self.set, self.heartbeat)
            .await
    }

    /// Processes an event in the slot, with heartbeats.
    async fn on_event(&mut self, event: PullEvent) -> NextStep {
        // Progress events need no slot: they arrive at intervals, also while the vendor is silent.
        let is_progress = matches!(event, PullEvent::Progress { .. });
        if !is_progress {
            if !self.acquire_slot().await {
                // The received event is not processed, so its window is not complete.
                self.all_processed = false;
                return NextStep::NoSlot;
            }
            self.run_slot.in_flight.started();
            self.stall_detector
                .record_progress(self.puller.clock.monotonic());
        }
        let has_slot = self.run_slot.slot.is_held();
        let heartbeat = Heartbeat::of(self.set);
        let progress = &mut self.input.read_progress;
        let processing = process_event(self.puller, self.set, progress, event, has_slot);
        match heartbeat
            .guard(self.puller, self.heartbeat, processing)
            .await
        {
            Ok(processed) => {
                self.processed = processed;
                if !is_progress {
                    self.demand.record_work();
                }
                NextStep::Continue
            }
            Err(HeartbeatStop::Stalled) => {
                self.stop_reason = Some(PullEnd::Stalled);
                NextStep::Continue
            }
            Err(HeartbeatStop::AllStopped) => NextStep::AllStopped,
        }
    }

    /// Stops the reader. Before a server stop, saves what was read, so that finished windows need
    /// not be read again after the restart.
    async fn stop_reading(mut self) -> Result<StoppedLoop> {
        if self.is_resumable() && self.all_processed {
            self.processed = self.drain_window().await;
        }
        self.input.cancel.cancel();
        let is_resumable = self.is_resumable();
        let PullInput {
            read_progress,
            events,
            ..
        } = self.input;
        drop(events);
        if read_progress.settled && is_resumable {
            checkpoint(self.puller, self.set).await?;
        }
        Ok(StoppedLoop {
            processed: self.processed,
            reason: self.stop_reason,
            total: read_progress.total,
        })
    }

    /// The server stops, and the next start resumes the runs.
    fn is_resumable(&self) -> bool {
        self.puller.stop.is_cancelled() && self.processed.is_ok() && self.stop_reason.is_none()
    }

    /// Processes the rest of the current window if it arrives soon, so that it need not be read
    /// again.
    async fn drain_window(&mut self) -> Result<()> {
        let until = tokio::time::Instant::now() + DRAIN_TIMEOUT;
        let PullInput {
            read_progress,
            events,
            ..
        } = &mut self.input;
        while !read_progress.settled {
            let Ok(Some(event)) = tokio::time::timeout_at(until, events.recv()).await else {
                break;
            };
            process_event(self.puller, self.set, read_progress, event, true).await?;
        }
        Ok(())
    }
}
