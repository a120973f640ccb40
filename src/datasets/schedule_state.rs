//! The stored state of a DataSet's schedule besides the cron lines: the schedule as JSON, who paused it, what is wrong with it,
//! and how many scheduled times passed without a run.

use crate::clock::Millis;

/// A schedule to be stored, as `puller::schedules` made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSchedule {
    /// The cron lines that stand for it; none is by hand.
    pub cron: Option<String>,
    /// JSON; none where the cron line says all.
    pub plan: Option<String>,
    /// When it fires next.
    pub next: Option<Millis>,
}

/// What is stored.
#[derive(Clone, Debug, Default)]
pub struct ScheduleState {
    pub plan: Option<String>,
    pub paused: Option<SchedulePause>,
    /// Why the stored schedule cannot be followed.
    pub problem: Option<String>,
    /// Scheduled times that passed without a run and that no run has reported yet.
    pub missed: i64,
    /// The last moment that became a run or was left out; when the schedule was saved, before the first.
    pub last_due_at: Option<Millis>,
}

/// A schedule that a person has stopped for the time being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulePause {
    pub at: Millis,
    /// None when that person is no longer known.
    pub by: Option<String>,
}
