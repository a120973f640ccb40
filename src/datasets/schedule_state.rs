//! The stored state of a DataSet's schedule besides the cron lines: the schedule as JSON, who
//! paused it, its error, and the number of missed scheduled times.

use crate::clock::Millis;

/// A schedule to store, created by `puller::schedules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSchedule {
    /// The cron lines of the schedule; `None` for manual runs only.
    pub cron: Option<String>,
    /// JSON; `None` if the cron lines alone define the schedule.
    pub plan: Option<String>,
    /// When it fires next.
    pub next: Option<Millis>,
}

/// The stored state.
#[derive(Clone, Debug, Default)]
pub struct ScheduleState {
    pub plan: Option<String>,
    pub paused: Option<SchedulePause>,
    /// Why the stored schedule cannot be used.
    pub problem: Option<String>,
    /// Scheduled times that passed without a run and were not yet reported on a run.
    pub missed: i64,
    /// The last scheduled time that was processed (queued or skipped); before the first one, when
    /// the schedule was saved.
    pub last_due_at: Option<Millis>,
}

/// A schedule that a person has paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulePause {
    pub at: Millis,
    /// `None` if that person no longer exists.
    pub by: Option<String>,
}
