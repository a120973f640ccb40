//! The status of a DataSet, derived from its newest runs: the dot and the label that every page
//! shows.

use jiff::tz::TimeZone;

use super::dataset_schedule::{paused_by_text, reminder_due};
use crate::accounts::{Account, Health};
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::datasets::policies::StopReason;
use crate::datasets::recent_runs::RecentRuns;
use crate::ids::RunId;
use crate::puller::live::Progress;
use crate::puller::run::{Run, RunOutcome, RunState, Trigger};
use crate::web::components::Status;
use crate::web::humanize;

/// The failure codes of rejected credentials.
pub const CREDENTIAL_FAILURE_CODES: [&str; 4] = [
    "unauthorized",
    "credentials_stopped",
    "credential_damaged",
    "not_allowed",
];

/// The state of a DataSet according to its newest runs.
#[derive(Clone, Debug, Default)]
pub struct DatasetStatus {
    /// The newest run, its state, and when it ended or was queued.
    pub newest: Option<(RunId, RunState, Millis)>,
    /// When the newest run continues, if it waits.
    pub waits_until: Option<Millis>,
    /// Whether the newest run waits for disk space, not for the vendor.
    pub waits_for_disk: bool,
    /// Whether cancelling the newest run was requested.
    pub stopping: bool,
    /// What happened, who must act, and what is next; `None` if it is not failing.
    pub failure: Option<(String, String, String)>,
    /// The failure code, and when that run ended.
    pub failure_code: Option<String>,
    pub failed_at: Option<Millis>,
    pub failed_in_a_row: usize,
    pub failing_since: Option<Millis>,
    /// The run whose version is pending approval, if that is the failure.
    pub pending_approval: Option<RunId>,
    /// When the newest finished run ended, if it returned no rows.
    pub empty_since: Option<Millis>,
}

/// Whether a DataSet needs attention. The order is the order in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    Failing,
    /// Rows of the current version cannot be read.
    Damaged,
    NeedsReview,
    Ok,
}

impl DatasetStatus {
    pub fn from_recent_runs(recent_runs: &RecentRuns) -> Self {
        Self {
            newest: recent_runs.newest.as_ref().map(|newest| {
                (
                    newest.run.clone(),
                    RunState::parse(&newest.state).unwrap_or(RunState::Failed),
                    newest.at,
                )
            }),
            waits_until: recent_runs
                .newest
                .as_ref()
                .filter(|newest| newest.state == RunState::Waiting.word())
                .map(|newest| newest.due_at),
            waits_for_disk: recent_runs
                .newest
                .as_ref()
                .is_some_and(|newest| newest.deferred),
            stopping: recent_runs
                .newest
                .as_ref()
                .is_some_and(|newest| newest.stopping),
            failure: recent_runs.failure.clone(),
            failure_code: recent_runs.failure_code.clone(),
            failed_at: recent_runs.failed_at,
            failed_in_a_row: recent_runs.failed_in_a_row,
            failing_since: recent_runs.failing_since,
            pending_approval: recent_runs.pending_approval.clone(),
            empty_since: recent_runs.empty_since,
        }
    }

    /// `runs`: newest first.
    pub fn from_runs(runs: &[Run]) -> Self {
        // Reverts call no vendor, and runs of backfills do not belong to the schedule, so neither
        // counts.
        let pulls = || {
            runs.iter()
                .filter(|run| !matches!(run.trigger, Trigger::Revert | Trigger::Backfill))
        };
        let newest = runs
            .iter()
            .take(3)
            .find(|run| !run.state.is_final())
            .or_else(|| pulls().next());
        let failed: Vec<&Run> = pulls()
            .take_while(|run| run.state != RunState::Succeeded)
            .filter(|run| matches!(run.state, RunState::Failed | RunState::Parked))
            .collect();
        let over = runs
            .iter()
            .filter(|run| run.trigger != Trigger::Backfill)
            .find(|run| run.state.is_final() && run.state != RunState::Cancelled);
        Self {
            newest: newest.map(|run| {
                (
                    run.id.clone(),
                    run.state,
                    run.finished_at.unwrap_or(run.queued_at),
                )
            }),
            waits_until: newest
                .filter(|run| run.state == RunState::Waiting)
                .map(|run| run.due_at),
            stopping: newest.is_some_and(|run| run.cancel_requested && !run.state.is_final()),
            failure: failed
                .first()
                .and_then(|run| run.failure.clone())
                .map(|f| (f.message, f.who, f.action)),
            failure_code: failed
                .first()
                .and_then(|run| run.failure.clone())
                .map(|f| f.code),
            failed_at: failed.first().and_then(|run| run.finished_at),
            failed_in_a_row: failed.len(),
            failing_since: failed.last().and_then(|run| run.finished_at),
            pending_approval: failed
                .first()
                .filter(|run| run.outcome == Some(RunOutcome::PendingApproval))
                .map(|run| run.id.clone()),
            empty_since: over
                .filter(|run| run.read_no_rows())
                .and_then(|run| run.finished_at),
            waits_for_disk: newest.is_some_and(|run| run.deferred_reason.is_some()),
        }
    }

    /// Whether the newest run failed because of the credentials and the account was accepted since,
    /// so that no new credentials are needed.
    pub fn has_recovered(&self, account: &Account) -> bool {
        let is_credential_failure = self
            .failure_code
            .as_deref()
            .is_some_and(|code| CREDENTIAL_FAILURE_CODES.contains(&code));
        let is_proven = account.health == Health::Valid
            && account
                .checked_at
                .zip(self.failed_at)
                .is_some_and(|(checked, failed)| checked > failed);
        is_credential_failure
            && is_proven
            && self.failed_in_a_row > 0
            && self.pending_approval.is_none()
    }

    /// The active run that pulls the rows again after the account recovered.
    pub fn recovery_run(&self, account: &Account) -> Option<&RunId> {
        self.active_run().filter(|_| self.has_recovered(account))
    }

    /// The id of the run that is queued, waiting or running.
    pub fn active_run(&self) -> Option<&RunId> {
        self.newest
            .as_ref()
            .filter(|(_, state, _)| !state.is_final())
            .map(|(run, _, _)| run)
    }

    /// Whether the newest run returned no rows. A later revert creates a version with rows.
    fn is_empty_since(&self, at: Millis) -> bool {
        self.empty_since.is_some_and(|ended_at| ended_at >= at)
    }

    fn stopped_since(&self, at: Millis) -> bool {
        self.newest
            .as_ref()
            .is_some_and(|(_, state, ended_at)| *state == RunState::Cancelled && *ended_at > at)
    }

    pub fn attention(&self, dataset: &Dataset, now: Millis) -> Attention {
        let damaged = dataset
            .current
            .as_ref()
            .is_some_and(|current| current.damaged);
        // A run that adds to damaged rows fails because of them, so the damage is shown first.
        if damaged && dataset.stopped().is_none() {
            return Attention::Damaged;
        }
        if dataset.stopped().is_some() {
            return Attention::Failing;
        }
        if self.pending_approval.is_some() {
            return Attention::NeedsReview;
        }
        if self.failed_in_a_row > 0 {
            return Attention::Failing;
        }
        let empty = dataset
            .current
            .as_ref()
            .is_some_and(|current| current.rows == 0);
        let needs_review = dataset.schedule_state.problem.is_some()
            || reminder_due(dataset, now).is_some()
            || dataset
                .current
                .as_ref()
                .is_some_and(|current| self.is_empty_since(current.created_at));
        if dataset.account_id.is_none()
            || empty
            || needs_review
            || dataset.policies.late_since.is_some()
        {
            Attention::NeedsReview
        } else {
            Attention::Ok
        }
    }

    /// The dot, the label and the line below. `progress`: of the run in progress, if it runs in
    /// this process.
    pub fn status(
        &self,
        dataset: &Dataset,
        progress: Option<&Progress>,
        now: Millis,
        zone: &TimeZone,
    ) -> Status {
        let state = self.newest.as_ref().map(|(_, state, _)| *state);
        match state {
            Some(RunState::Running) if self.stopping => {
                return Status::new("info", true, "Cancelling", "nothing is saved");
            }
            Some(RunState::Running) => {
                return Status::new(
                    "info",
                    true,
                    "Running",
                    progress.map_or("starting".to_owned(), progress_text),
                );
            }
            Some(RunState::Queued) => {
                return Status::new("info", true, "Queued", "waiting for its turn");
            }
            Some(RunState::Waiting) if self.waits_for_disk => {
                return Status::new("warn", true, "Waiting", "for free disk space");
            }
            Some(RunState::Waiting) => {
                let until = self.waits_until.map_or_else(String::new, |until| {
                    format!("until {}, ", humanize::until(until, now, zone))
                });
                return Status::new(
                    "warn",
                    true,
                    "Waiting",
                    format!("{until}{} limits calls", dataset.connector.title()),
                );
            }
            _ => {}
        }
        if let Some(stopped) = dataset.stopped() {
            let line = match stopped.reason {
                StopReason::Parked => "server stopped during a run",
                StopReason::Credentials => "credentials rejected",
                StopReason::Unshared => "account not shared",
            };
            return Status::new("bad", false, "Schedule stopped", line);
        }
        if dataset
            .current
            .as_ref()
            .is_some_and(|current| current.damaged)
        {
            return damaged_status();
        }
        if self.pending_approval.is_some() {
            return Status::new(
                "warn",
                false,
                "Waiting for approval",
                "fewer rows than before",
            );
        }
        if self.failed_in_a_row > 0 {
            let mut line = if self.failed_in_a_row == 1 {
                "last run".to_owned()
            } else {
                format!("{} runs in a row", self.failed_in_a_row)
            };
            if let Some(since) = dataset.policies.late_since {
                line.push_str(&format!(
                    ", late since {}",
                    humanize::calendar_time(since, now, zone)
                ));
            }
            return Status::new("bad", false, "Failed", line);
        }
        if dataset.account_id.is_none() {
            return Status::new("warn", false, "Schedule stopped", "account deleted");
        }
        if let Some(by) = paused_by_text(dataset, now, zone) {
            return Status::new("", true, "Paused", by);
        }
        if dataset.schedule_state.problem.is_some() {
            return Status::new(
                "warn",
                false,
                "Not scheduled",
                "the schedule cannot be used",
            );
        }
        if let Some(due) = reminder_due(dataset, now) {
            return Status::new(
                "warn",
                false,
                "Reminder",
                format!("a run was due {}", humanize::calendar_time(due, now, zone)),
            );
        }
        if let Some(since) = dataset.policies.late_since {
            return Status::new(
                "warn",
                false,
                "Late",
                format!("since {}", humanize::calendar_time(since, now, zone)),
            );
        }
        match &dataset.current {
            None if state == Some(RunState::Cancelled) => {
                Status::new("", true, "Not run yet", "first run cancelled")
            }
            None => Status::new(
                "",
                true,
                "Not run yet",
                format!("created {}", humanize::relative(dataset.created_at, now)),
            ),
            Some(current) if current.rows == 0 => {
                Status::new("warn", false, "0 rows", "none in the last run")
            }
            Some(current) if self.is_empty_since(current.created_at) => {
                Status::new("warn", false, "0 rows", "in the last run")
            }
            Some(current) if self.stopped_since(current.created_at) => {
                Status::new("good", false, "Up to date", "last run cancelled")
            }
            Some(current)
                if current
                    .confirmed_at
                    .is_some_and(|at| at < current.created_at) =>
            {
                Status::new(
                    "info",
                    false,
                    "Reverted",
                    format!(
                        "to rows from {}",
                        humanize::short(current.updated_at(), now, zone)
                    ),
                )
            }
            Some(current) if current.confirmed_at.is_some() => {
                Status::new("good", false, "Up to date", "no changes")
            }
            Some(current) => Status::new(
                "good",
                false,
                "Up to date",
                current
                    .change
                    .map_or_else(|| "first rows".to_owned(), row_change_text),
            ),
        }
    }
}

/// The status of a DataSet whose current version has unreadable rows.
pub fn damaged_status() -> Status {
    Status::new("bad", false, "Damaged", "some rows cannot be read")
}

fn progress_text(progress: &Progress) -> String {
    // The reason for waiting is more useful than the last position. A vendor's name keeps its
    // capital letter.
    if let Some(rest) = progress.phase.strip_prefix("Waiting") {
        return format!("waiting{rest}");
    }
    if progress.windows > 1 && progress.window > 0 {
        return format!("date range {} of {}", progress.window, progress.windows);
    }
    if progress.page > 0 && progress.pages > 1 {
        return format!("page {} of {}", progress.page, progress.pages);
    }
    progress.phase.to_lowercase()
}

/// The change of the row count: "+312 rows", "−4 rows", "same number of rows".
pub fn row_change_text(change: i64) -> String {
    match change {
        0 => "same number of rows".to_owned(),
        1.. => format!("+{}", humanize::counted(change, "row", "rows")),
        _ => humanize::counted(change, "row", "rows").replace("−1 rows", "−1 row"),
    }
}

/// The progress of a pull in percent; `None` while it is unknown.
pub fn percent(progress: &Progress) -> Option<u64> {
    if progress.windows == 0 {
        return None;
    }
    let done = (progress.window.saturating_sub(1) as u64) * 100 + window_percent(progress);
    Some((done / progress.windows as u64).min(100))
}

/// The progress of the current date range in percent.
pub fn window_percent(progress: &Progress) -> u64 {
    if progress.phase == "Saving" {
        return 100;
    }
    (progress.page * 100)
        .checked_div(progress.pages)
        .map_or(0, |percent| percent.min(100))
}
