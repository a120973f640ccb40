//! The progress of running pulls, for the pages that display it. In memory only: the catalogue
//! holds what must survive a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::clock::Millis;
use crate::ids::RunId;

/// The progress of a pull.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// "Starting", "Waiting for a worker", "Waiting for LiveChat" (or another vendor), "Pulling",
    /// "Saving".
    pub phase: &'static str,
    /// Which window, from 1; 0 before the first.
    pub window: usize,
    pub windows: usize,
    /// The window's days, for example "2026-11-14".
    pub days: String,
    /// Which page of the window, from 1, and how many there are; 0 while unknown.
    pub page: u64,
    pub pages: u64,
    /// Records read and rows written so far.
    pub read: u64,
    pub rows: u64,
    pub calls: u64,
    pub started_at: Millis,
    /// Rows a second since the start.
    pub rate: u64,
}

/// The progress of the running pulls of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct LiveProgress(Arc<Mutex<HashMap<RunId, watch::Sender<Progress>>>>);

/// Publishes the progress of one run until it is dropped.
pub(super) struct ProgressGuard {
    live: LiveProgress,
    run: RunId,
}

impl LiveProgress {
    pub(super) fn track(&self, run: &RunId, started_at: Millis) -> ProgressGuard {
        let first = Progress {
            phase: "Starting",
            started_at,
            ..Progress::default()
        };
        self.senders()
            .insert(run.clone(), watch::Sender::new(first));
        ProgressGuard {
            live: self.clone(),
            run: run.clone(),
        }
    }

    /// Subscribes to the progress of a pull; `None` if this process does not run it. The receiver
    /// closes when the pull ends.
    pub fn subscribe(&self, run: &RunId) -> Option<watch::Receiver<Progress>> {
        self.senders().get(run).map(watch::Sender::subscribe)
    }

    /// The current progress of a pull; `None` if this process does not run it.
    pub fn current(&self, run: &RunId) -> Option<Progress> {
        self.senders()
            .get(run)
            .map(|sender| sender.borrow().clone())
    }

    fn senders(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, watch::Sender<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgressGuard {
    pub fn update(&self, now: Millis, update: impl FnOnce(&mut Progress)) {
        if let Some(sender) = self.live.senders().get(&self.run) {
            sender.send_modify(|progress| {
                update(progress);
                let seconds = u64::try_from((now - progress.started_at) / 1_000)
                    .unwrap_or(0)
                    .max(1);
                progress.rate = progress.rows / seconds;
            });
        }
    }

    pub fn to_json(&self) -> String {
        self.live
            .current(&self.run)
            .and_then(|progress| serde_json::to_string(&progress).ok())
            .unwrap_or_else(|| "{}".to_owned())
    }
}

impl Drop for ProgressGuard {
    fn drop(&mut self) {
        self.live.senders().remove(&self.run);
    }
}
