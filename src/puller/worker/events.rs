//! Processes the events of the reader: writes rows, shows the progress, and records and checkpoints
//! finished windows.

use super::read_progress::ReadProgress;
use super::{PullingRun, commit};
use crate::clock::Millis;
use crate::connectors::{PullEvent, Window, WindowCounts};
use crate::error::Result;
use crate::puller::Puller;
use crate::puller::queue::{self, LeaseState};

/// The minimum time between two checkpoints, which are made at the end of a window.
const CHECKPOINT_EVERY: Millis = 10_000;

/// Processes one event of the reader. `has_slot`: the run holds its slot.
pub(super) async fn process_event(
    puller: &Puller,
    set: &mut [PullingRun],
    read_progress: &mut ReadProgress,
    event: PullEvent,
    has_slot: bool,
) -> Result<()> {
    let now = puller.clock.now();
    read_progress.settled = match event {
        PullEvent::WindowDone { is_boundary, .. } => is_boundary,
        PullEvent::Progress { .. } => read_progress.settled,
        PullEvent::Rows { .. } | PullEvent::EmptyParents { .. } => false,
    };
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
            let at = read_progress.position(window);
            finish_window(puller, set, read_progress, at, &counts, is_boundary).await?;
        }
    }
    Ok(())
}

/// Records the window at a position as read, and checkpoints it if enough time has passed.
/// `is_boundary`: a later attempt can continue after this window.
async fn finish_window(
    puller: &Puller,
    set: &mut [PullingRun],
    read_progress: &mut ReadProgress,
    at: usize,
    counts: &WindowCounts,
    is_boundary: bool,
) -> Result<()> {
    read_progress.total = read_progress
        .total
        .zip(counts.total)
        .map(|(sum, part)| sum + part);
    for pulling in set.iter_mut().filter(|p| p.lease_lost.is_none()) {
        if commit::tracks_empty_parents(&pulling.dataset) {
            let parents = std::mem::take(&mut pulling.empty_parents);
            queue::record_empty_parents(&puller.db, &pulling.run, at, &parents).await?;
        }
        let rows = std::mem::take(&mut pulling.window_rows);
        let lease_state =
            queue::record_window(&puller.db, &puller.clock, &pulling.run, at, counts, rows).await?;
        if lease_state == LeaseState::Lost {
            pulling.lease_lost = Some(LeaseState::Lost);
        }
    }
    // A resumed run checkpoints every window: it may be interrupted again, and each attempt must get
    // further.
    let is_last = read_progress.remaining.last() == Some(&at);
    if is_boundary
        && !is_last
        && (read_progress.plan.resumed
            || puller.clock.monotonic() - read_progress.checkpointed_at >= CHECKPOINT_EVERY)
    {
        checkpoint(puller, set).await?;
        read_progress.checkpointed_at = puller.clock.monotonic();
    }
    Ok(())
}

/// Checkpoints the rows read so far.
pub(super) async fn checkpoint(puller: &Puller, set: &mut [PullingRun]) -> Result<()> {
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
