//! Pulls an export window by window. Small windows are requested several at a time, large ones one
//! by one (`window_planner`). A few requests are in flight at once (`export_pull`); their answers
//! are emitted in order, each after its document is known to be complete (`export_output`).

mod export_output;
mod export_pull;
mod window_planner;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::client::LiveLeaderClient;
use super::spool::DiskTurn;
use crate::connectors::{PullError, PullEvent, PullRequest, Window};
use export_output::ExportOutput;
use export_pull::{ExportPull, PendingExport};
use window_planner::WindowPlanner;

/// Concurrent requests.
const MAX_CONCURRENT: usize = 4;

/// Pulls the reports. Each document is read once.
pub(super) async fn pull(
    client: LiveLeaderClient,
    request: &PullRequest,
    out: &mpsc::Sender<PullEvent>,
) -> Result<(), PullError> {
    let pull_state = Arc::new(ExportPull::new(client, request));
    let windows: Arc<[Window]> = request.windows.as_slice().into();
    let mut output = ExportOutput::new(&pull_state, out);
    if let Some(previous) = request.previous_window {
        // The rows of the previous window are already stored: only its ids are needed, to drop
        // chats that are in both windows.
        output.previous_ids = pull_state
            .fetch(&[previous], DiskTurn::granted())
            .await
            .map_err(|error| with_window(error, previous))?
            .ids;
        pull_state.read.store(0, Ordering::Relaxed);
    }
    let mut planner = WindowPlanner::new(&windows);
    let mut pending: VecDeque<PendingExport> = VecDeque::new();
    loop {
        while pending.len() < MAX_CONCURRENT
            && let Some(range) = planner.next()
        {
            pending.push_back(pull_state.begin(&windows, range));
        }
        let Some(mut first) = pending.pop_front() else {
            return Ok(());
        };
        first.turn.grant();
        let range = first.windows.clone();
        match output.wait(&mut first).await {
            Ok(answer) => {
                planner.adapt(answer.bytes);
                output.emit(range, answer).await?;
            }
            // The error may concern only one of the windows, so they are requested one by one.
            Err(PullError::Malformed { .. } | PullError::Unavailable(_)) if range.len() > 1 => {
                planner.restart_small();
                for at in range {
                    let mut one = pull_state.begin(&windows, at..at + 1);
                    one.turn.grant();
                    let answer = output
                        .wait(&mut one)
                        .await
                        .map_err(|error| with_window(error, windows[at]))?;
                    output.emit(at..at + 1, answer).await?;
                }
            }
            Err(error) => return Err(with_window(error, windows[range.start])),
        }
    }
}

/// Adds the window to an error.
fn with_window(error: PullError, window: Window) -> PullError {
    match error {
        PullError::Malformed { at, why } => PullError::Malformed {
            at,
            why: format!("{why} (days: {window})"),
        },
        other => other,
    }
}
