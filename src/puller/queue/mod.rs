//! The queue of runs in the catalogue: enqueue, claim, extend, finish, cancel. All SQL that changes
//! a run's state is here. A claim carries a lease and a fence; each later write names the fence and
//! does nothing when it is stale. The claim itself increments the attempt, before any work, so that
//! a run that crashes the server is parked after three attempts. Start at `queue/claim.rs`.
//! `queue/plan.rs` holds the plan of a run and its checkpoints.

mod approval;
mod claim;
mod enqueue;
mod lease;
mod lookup;
mod outcome;
mod plan;
mod release;
pub mod wait_reason;
mod worker_leases;

use std::sync::Arc;
use std::time::Duration;

use super::backfills;
use super::run::{Failure, Trigger};
use crate::connectors::Window;
pub use crate::connectors::upstream::CallStats;
use crate::datasets::Dataset;
use crate::ids::{DatasetId, RunId};
pub use approval::{accept, require_not_running, supersede_pending};
pub use claim::{claim, claim_same_source_runs};
pub use enqueue::{enqueue, enqueue_scheduled};
pub use lease::{LeaseState, check_lease, extend_lease};
pub use lookup::{
    RunSummary, count, count_active, get, last_run_failed_with, newest, next_due, of_dataset,
    recent, summary,
};
pub use outcome::{
    CommitStats, UnchangedRun, commit, commit_with, keep_existing_rows, note_schema,
    record_unchanged,
};
pub use plan::{
    RunPlan, batch_number, checkpoint, empty_parents, leave_shared_read, load_or_create_plan,
    record_empty_parents, record_window,
};
pub use release::{cancel, defer, end_run, requeue, requeue_interrupted};
pub use wait_reason::{AccountLimit, has_active_run};
pub use worker_leases::{LeaseGuard, WorkerLeases};

/// The duration of a lease.
pub const LEASE: Duration = Duration::from_secs(60);
/// How often a lease is extended and a cancellation is noticed.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// A run that crashed the server this many times is parked.
const MAX_ATTEMPTS: i64 = 3;
/// How long the first claimed run waits for other runs with the same source key, which then share
/// its read.
pub const BATCH_WAIT: Duration = Duration::from_secs(1);
/// How long no other worker claims runs with that source key. The waiting worker ends this earlier.
const MAX_BATCH_WAIT: Duration = Duration::from_secs(30);

/// A claimed run.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub id: RunId,
    pub dataset_id: DatasetId,
    pub trigger: Trigger,
    pub fence: i64,
    pub attempt: i64,
    pub source_key: String,
    /// Identifies the read that it shares with other runs: the id of the run that was claimed
    /// first.
    pub shared_read_id: RunId,
    /// It still waits for other runs with the same source key; see `claim_same_source_runs`.
    pub awaits_batch: bool,
    /// Of a chunk of a backfill: its days.
    pub range: Option<Window>,
    /// Marks the run as held by this process until the last copy is dropped.
    _guard: Arc<LeaseGuard>,
}

impl Claimed {
    /// The current source key of the DataSet, with the days of a backfill chunk.
    pub fn source_key_of(&self, dataset: &Dataset) -> String {
        backfills::source_key(dataset, self.range.as_ref())
    }

    /// The tracing span of this run alone, also while others share its read.
    pub fn span(&self) -> tracing::Span {
        tracing::info_span!(parent: None, "run", run = %self.id, dataset = %self.dataset_id)
    }
}

/// How a run that did not succeed ends.
#[derive(Clone, Debug)]
pub enum RunEnd {
    Failed(Failure),
    /// Failed, and the vendor reported more records for this window than it returned.
    Short(Failure, Window, ShortWindow),
    Cancelled,
}

/// The records received and expected of an incomplete window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortWindow {
    pub have: u64,
    pub of: u64,
}

fn to_i64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
