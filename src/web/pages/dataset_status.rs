//! How a DataSet is doing, from its newest runs: the dot and the word that every page shows beside it.

use jiff::tz::TimeZone;

use super::dataset_schedule::{paused_by, reminder_due};
use crate::accounts::{Account, Health};
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::datasets::list::Lately;
use crate::datasets::upkeep::Why;
use crate::ids::RunId;
use crate::puller::live::Progress;
use crate::puller::run::{Outcome, Run, State, Trigger};
use crate::web::parts::Status;
use crate::web::words;

/// What a run that failed because of its account's credentials is told by.
pub const OF_CREDENTIALS: [&str; 4] = ["unauthorized", "credentials_stopped", "credential_damaged", "not_allowed"];

/// A glance at the newest runs of a DataSet.
#[derive(Clone, Debug, Default)]
pub struct Glance {
    /// The newest run, its state, and when it ended or was queued.
    pub newest: Option<(RunId, State, Millis)>,
    /// When the newest run goes on, if it waits.
    pub waits_until: Option<Millis>,
    /// For room on the disk, and not because the vendor asked.
    pub waits_for_us: bool,
    /// Somebody has asked for the end of the newest run.
    pub stopping: bool,
    /// What happened, who must act, what is next; while it is failing.
    pub trouble: Option<(String, String, String)>,
    /// The code of that, and when that run ended.
    pub trouble_code: Option<String>,
    pub failed_at: Option<Millis>,
    pub failed_in_a_row: usize,
    pub failing_since: Option<Millis>,
    /// The run whose version is held, when that is why it is failing.
    pub held: Option<RunId>,
    /// When the newest run that is over ended, if it brought no rows.
    pub none_came: Option<Millis>,
}

/// In which order DataSets want attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Failing,
    /// Rows of the current version cannot be read.
    Damaged,
    Look,
    Planned,
}

impl Glance {
    pub fn of_lately(lately: &Lately) -> Self {
        Self {
            newest: lately.newest.as_ref().map(|newest| (newest.run.clone(), State::parse(&newest.state).unwrap_or(State::Failed), newest.at)),
            waits_until: lately.newest.as_ref().filter(|newest| newest.state == State::Waiting.word()).map(|newest| newest.due_at),
            waits_for_us: lately.newest.as_ref().is_some_and(|newest| newest.held),
            stopping: lately.newest.as_ref().is_some_and(|newest| newest.stopping),
            trouble: lately.trouble.clone(),
            trouble_code: lately.trouble_code.clone(),
            failed_at: lately.failed_at,
            failed_in_a_row: lately.failed_in_a_row,
            failing_since: lately.failing_since,
            held: lately.held.clone(),
            none_came: lately.none_came,
        }
    }

    /// `runs`: newest first.
    pub fn of_runs(runs: &[Run]) -> Self {
        // Going back is no pull: it does not make a vendor answer. A chunk of a backfill says nothing of what the schedule wants.
        let pulls = || runs.iter().filter(|run| !matches!(run.trigger, Trigger::Revert | Trigger::Backfill));
        let newest = runs.iter().take(3).find(|run| !run.state.is_final()).or_else(|| pulls().next());
        let failed: Vec<&Run> =
            pulls().take_while(|run| run.state != State::Succeeded).filter(|run| matches!(run.state, State::Failed | State::Parked)).collect();
        let over = runs.iter().filter(|run| run.trigger != Trigger::Backfill).find(|run| run.state.is_final() && run.state != State::Cancelled);
        Self {
            newest: newest.map(|run| (run.id.clone(), run.state, run.finished_at.unwrap_or(run.queued_at))),
            waits_until: newest.filter(|run| run.state == State::Waiting).map(|run| run.due_at),
            stopping: newest.is_some_and(|run| run.cancel_requested && !run.state.is_final()),
            trouble: failed.first().and_then(|run| run.failure.clone()).map(|f| (f.message, f.who, f.action)),
            trouble_code: failed.first().and_then(|run| run.failure.clone()).map(|f| f.code),
            failed_at: failed.first().and_then(|run| run.finished_at),
            failed_in_a_row: failed.len(),
            failing_since: failed.last().and_then(|run| run.finished_at),
            held: failed.first().filter(|run| run.outcome == Some(Outcome::Held)).map(|run| run.id.clone()),
            none_came: over.filter(|run| run.brought_none()).and_then(|run| run.finished_at),
            waits_for_us: newest.is_some_and(|run| run.held_for.is_some()),
        }
    }

    /// The newest run failed because of the credentials, and the account was found to be good since: nobody has to enter any.
    pub fn works_again(&self, account: &Account) -> bool {
        let of_credentials = self.trouble_code.as_deref().is_some_and(|code| OF_CREDENTIALS.contains(&code));
        let is_proven = account.health == Health::Valid && account.checked_at.zip(self.failed_at).is_some_and(|(checked, failed)| checked > failed);
        of_credentials && is_proven && self.failed_in_a_row > 0 && self.held.is_none()
    }

    /// The run that brings the rows up to date after the account was mended.
    pub fn recovers_by(&self, account: &Account) -> Option<&RunId> {
        self.alive().filter(|_| self.works_again(account))
    }

    /// The run that is queued, waiting or running.
    pub fn alive(&self) -> Option<&RunId> {
        self.newest.as_ref().filter(|(_, state, _)| !state.is_final()).map(|(run, _, _)| run)
    }

    /// Going back makes a version after it, and that has rows.
    fn none_came_since(&self, at: Millis) -> bool {
        self.none_came.is_some_and(|ended_at| ended_at >= at)
    }

    fn stopped_since(&self, at: Millis) -> bool {
        self.newest.as_ref().is_some_and(|(_, state, ended_at)| *state == State::Cancelled && *ended_at > at)
    }

    pub fn rank(&self, dataset: &Dataset, now: Millis) -> Rank {
        let damaged = dataset.current.as_ref().is_some_and(|current| current.damaged);
        // A run that adds to damaged rows fails because of them.
        if damaged && dataset.stopped().is_none() {
            return Rank::Damaged;
        }
        if self.failed_in_a_row > 0 || dataset.stopped().is_some() {
            return Rank::Failing;
        }
        let empty = dataset.current.as_ref().is_some_and(|current| current.rows == 0);
        let wants_look = dataset.timing.problem.is_some()
            || reminder_due(dataset, now).is_some()
            || dataset.current.as_ref().is_some_and(|current| self.none_came_since(current.created_at));
        if dataset.account_id.is_none() || empty || wants_look || dataset.upkeep.late_since.is_some() { Rank::Look } else { Rank::Planned }
    }

    /// The dot, the word and the line below. `progress`: of its run, when that is under way here.
    pub fn status(&self, dataset: &Dataset, progress: Option<&Progress>, now: Millis, zone: &TimeZone) -> Status {
        let state = self.newest.as_ref().map(|(_, state, _)| *state);
        match state {
            Some(State::Running) if self.stopping => return Status::new("info", true, "Cancelling", "nothing is saved"),
            Some(State::Running) => return Status::new("info", true, "Running", progress.map_or("starting".to_owned(), where_it_is)),
            Some(State::Queued) => return Status::new("info", true, "Queued", "waiting for its turn"),
            Some(State::Waiting) if self.waits_for_us => return Status::new("warn", true, "Waiting", "for free disk space"),
            Some(State::Waiting) => {
                let until = self.waits_until.map_or_else(String::new, |until| format!("until {}, ", words::until(until, now, zone)));
                return Status::new("warn", true, "Waiting", format!("{until}{} limits calls", dataset.connector.title()));
            }
            _ => {}
        }
        if let Some(stopped) = dataset.stopped() {
            let line = match stopped.why {
                Why::Parked => "a run stopped the server",
                Why::Credentials => "credentials rejected",
                Why::Unshared => "account not shared",
            };
            return Status::new("bad", false, "Schedule stopped", line);
        }
        if dataset.current.as_ref().is_some_and(|current| current.damaged) {
            return damaged();
        }
        if self.held.is_some() {
            return Status::new("bad", false, "Waiting for approval", "fewer rows than before");
        }
        if self.failed_in_a_row > 0 {
            let mut line = if self.failed_in_a_row == 1 { "last run".to_owned() } else { format!("{} runs in a row", self.failed_in_a_row) };
            if let Some(since) = dataset.upkeep.late_since {
                line.push_str(&format!(", late since {}", words::coming(since, now, zone)));
            }
            return Status::new("bad", false, "Failed", line);
        }
        if dataset.account_id.is_none() {
            return Status::new("warn", false, "Schedule stopped", "account deleted");
        }
        if let Some(by) = paused_by(dataset, now, zone) {
            return Status::new("", true, "Paused", by);
        }
        if dataset.timing.problem.is_some() {
            return Status::new("warn", false, "Not scheduled", "the schedule cannot be used");
        }
        if let Some(due) = reminder_due(dataset, now) {
            return Status::new("warn", false, "Reminder", format!("a run was due {}", words::coming(due, now, zone)));
        }
        if let Some(since) = dataset.upkeep.late_since {
            return Status::new("warn", false, "Late", format!("since {}", words::coming(since, now, zone)));
        }
        match &dataset.current {
            None if state == Some(State::Cancelled) => Status::new("", true, "Not run yet", "first run cancelled"),
            None => Status::new("", true, "Not run yet", format!("created {}", words::relative(dataset.created_at, now))),
            Some(current) if current.rows == 0 => Status::new("warn", false, "0 rows", "none in the last run"),
            Some(current) if self.none_came_since(current.created_at) => Status::new("warn", false, "0 rows", "in the last run"),
            Some(current) if self.stopped_since(current.created_at) => Status::new("good", false, "Up to date", "last run cancelled"),
            Some(current) if current.confirmed_at.is_some_and(|at| at < current.created_at) => {
                Status::new("info", false, "Reverted", format!("to rows from {}", words::short(current.updated_at(), now, zone)))
            }
            Some(current) if current.confirmed_at.is_some() => Status::new("good", false, "Up to date", "no changes"),
            Some(current) => Status::new("good", false, "Up to date", current.change.map_or_else(|| "first rows".to_owned(), change_in_words)),
        }
    }
}

/// Of a DataSet of whose current version not all rows can be read.
pub fn damaged() -> Status {
    Status::new("bad", false, "Damaged", "some rows cannot be read")
}

fn where_it_is(progress: &Progress) -> String {
    // Why nothing comes is of more use than where it stopped. A vendor's name keeps its letters.
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

/// "+312 rows", "−4 rows", "same number of rows"
pub fn change_in_words(change: i64) -> String {
    match change {
        0 => "same number of rows".to_owned(),
        1.. => format!("+{}", words::counted(change, "row", "rows")),
        _ => words::counted(change, "row", "rows").replace("−1 rows", "−1 row"),
    }
}

/// How much of a running pull is done, in percent; none while nothing is known.
pub fn percent(progress: &Progress) -> Option<u64> {
    if progress.windows == 0 {
        return None;
    }
    let done = (progress.window.saturating_sub(1) as u64) * 100 + within(progress);
    Some((done / progress.windows as u64).min(100))
}

/// How much of the present window is done, in percent.
pub fn within(progress: &Progress) -> u64 {
    if progress.phase == "Saving" {
        return 100;
    }
    (progress.page * 100).checked_div(progress.pages).map_or(0, |percent| percent.min(100))
}
