//! The progress strip of an active run, for its pages and its events.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::dataset_status::window_percent;
use crate::clock::Millis;
use crate::connectors::Window;
use crate::datasets::Dataset;
use crate::puller::live::Progress;
use crate::puller::run::{Run, RunOutcome, RunState, Trigger};
use crate::web::components::Status;
use crate::web::humanize::{self, counted, signed};

/// The maximum number of bars; if there are more date ranges, they share bars.
const MAX_BARS: usize = 60;

/// The data of `templates/panes/live.html`.
#[derive(Clone)]
pub struct LiveRun {
    pub run_id: String,
    pub status: Status,
    pub title: String,
    pub line: String,
    pub started: String,
    pub meanwhile: String,
    pub windows: Vec<u64>,
    pub can_stop: bool,
}

/// The same data as an event.
#[derive(Serialize)]
pub struct RunEvent {
    pub state: &'static str,
    #[serde(rename = "final")]
    pub is_final: bool,
    tone: String,
    ring: bool,
    status: String,
    title: String,
    line: String,
    started: String,
    meanwhile: String,
    windows: Vec<u64>,
    /// Whether the run can still be cancelled.
    stoppable: bool,
}

/// The status of a run.
pub fn status(run: &Run) -> Status {
    match run.state {
        RunState::Queued => Status::new("info", true, "Queued", ""),
        RunState::Running if run.cancel_requested => Status::new("info", true, "Cancelling", ""),
        RunState::Running => Status::new("info", true, "Running", ""),
        RunState::Waiting => Status::new("warn", true, "Waiting", ""),
        RunState::Succeeded if run.read_no_rows() => Status::new("warn", false, "0 rows", ""),
        RunState::Succeeded => Status::new("good", false, "Succeeded", ""),
        RunState::Failed if run.outcome == Some(RunOutcome::PendingApproval) => {
            Status::new("warn", false, "Waiting for approval", "")
        }
        RunState::Failed if run.outcome == Some(RunOutcome::Discarded) => {
            Status::new("bad", false, "Discarded", "")
        }
        RunState::Failed if run.outcome == Some(RunOutcome::Superseded) => {
            Status::new("bad", false, "Not published", "")
        }
        RunState::Failed => Status::new("bad", false, "Failed", ""),
        RunState::Cancelled => Status::new("", true, "Cancelled", ""),
        RunState::Parked => Status::new("bad", false, "Failed", ""),
    }
}

/// What started the run: "Schedule", a name, "Saving the DataSet".
pub fn started_by(run: &Run) -> String {
    match run.trigger {
        Trigger::Schedule => "Schedule".to_owned(),
        Trigger::Retry => "Retry".to_owned(),
        Trigger::Backfill => "Backfill".to_owned(),
        Trigger::First | Trigger::Manual | Trigger::Revert => run
            .started_by_name
            .clone()
            .unwrap_or_else(|| "Unknown person".to_owned()),
    }
}

impl LiveRun {
    /// `progress`: of the run, if it is active in this process.
    pub fn new(
        run: &Run,
        dataset: &Dataset,
        progress: Option<&Progress>,
        now: Millis,
        zone: &TimeZone,
        can_stop: bool,
    ) -> Self {
        let by = match run.trigger {
            Trigger::Schedule => "the schedule".to_owned(),
            Trigger::Retry => "a retry".to_owned(),
            Trigger::Backfill => "a backfill".to_owned(),
            Trigger::First | Trigger::Manual | Trigger::Revert => started_by(run),
        };
        let attempt = if run.attempt > 1 {
            format!(", attempt {}", run.attempt)
        } else {
            String::new()
        };
        let over = run.state.is_final() || run.cancel_requested;
        let meanwhile = match &dataset.current {
            _ if run.state == RunState::Succeeded => String::new(),
            None if over => "There are no rows yet.".to_owned(),
            None => "The first rows appear when the run finishes.".to_owned(),
            Some(current) if current.damaged => format!(
                "Some rows of version {} cannot be read until a run replaces them.",
                current.number
            ),
            Some(current) => {
                let until = if over { "" } else { " until this run finishes" };
                format!(
                    "The current version ({}) stays available{until}.",
                    counted(current.rows, "row", "rows")
                )
            }
        };
        Self {
            run_id: run.id.to_string(),
            status: status(run),
            title: title(run, dataset, progress, now, zone),
            line: progress.map_or_else(String::new, |p| line(p, dataset, now)),
            started: format!(
                "started by {by} {}{attempt}",
                humanize::calendar_time(run.started_at.unwrap_or(run.queued_at), now, zone)
                    .trim_start_matches("today ")
            ),
            meanwhile,
            windows: progress.map_or_else(Vec::new, bars),
            can_stop: can_stop && !over,
        }
    }

    pub fn to_event(self, run: &Run) -> RunEvent {
        RunEvent {
            state: run.state.word(),
            is_final: run.state.is_final(),
            tone: self.status.tone,
            ring: self.status.ring,
            status: self.status.word,
            title: self.title,
            line: self.line,
            started: self.started,
            meanwhile: self.meanwhile,
            windows: self.windows,
            stoppable: !run.state.is_final() && !run.cancel_requested,
        }
    }
}

fn title(
    run: &Run,
    dataset: &Dataset,
    progress: Option<&Progress>,
    now: Millis,
    zone: &TimeZone,
) -> String {
    match run.state {
        RunState::Queued => {
            return format!(
                "Waiting for {}",
                run.wait_reason
                    .map_or_else(|| "its turn".to_owned(), |wait| wait.in_words())
            );
        }
        RunState::Waiting if run.deferred_reason.is_some() => {
            return run.deferred_reason.clone().unwrap_or_default();
        }
        RunState::Waiting => {
            return format!(
                "Waiting until {}: {} limits calls",
                humanize::until(run.due_at, now, zone),
                dataset.connector.title()
            );
        }
        RunState::Succeeded => return counted(run.rows_after.unwrap_or(run.rows), "row", "rows"),
        RunState::Failed if run.outcome == Some(RunOutcome::PendingApproval) => {
            return "The rows wait for approval".to_owned();
        }
        RunState::Failed | RunState::Parked | RunState::Cancelled => {
            return "Nothing was saved".to_owned();
        }
        RunState::Running if run.cancel_requested => return "Nothing is saved".to_owned(),
        RunState::Running => {}
    }
    let Some(p) = progress else {
        return "Starting".to_owned();
    };
    match p.phase {
        "Saving" => "Saving the rows".to_owned(),
        "Pulling" if p.windows > 1 => format!(
            "Pulling {}, date range {} of {}",
            days(&p.days),
            p.window,
            p.windows
        ),
        "Pulling" if !p.days.is_empty() => format!("Pulling {}", days(&p.days)),
        "Pulling" => format!("Pulling {}", dataset.report.title),
        phase => phase.to_owned(),
    }
}

/// The days of a date range for people.
fn days(text: &str) -> String {
    let (from, to) = text.split_once(" to ").unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) => humanize::days(from, to),
        _ => text.to_owned(),
    }
}

/// "Wed 10 Mar to Wed 17 Mar 2027"; "–" for a report without days.
pub fn days_of(window: Option<Window>) -> String {
    window.map_or_else(|| "–".to_owned(), |w| humanize::days(w.from, w.to))
}

fn line(p: &Progress, dataset: &Dataset, now: Millis) -> String {
    // Rows are saved per date range. Before the first one, only records can be counted.
    let (one, many) = dataset.report.records();
    let so_far = if p.rows == 0 {
        counted(signed(p.read), one, many)
    } else {
        counted(signed(p.rows), "row", "rows")
    };
    let mut parts = vec![format!("{so_far} so far")];
    if p.page > 0 {
        let of = if p.pages > 0 {
            format!(" of {}", humanize::grouped(signed(p.pages)))
        } else {
            String::new()
        };
        parts.push(format!("page {}{of}", humanize::grouped(signed(p.page))));
    }
    parts.push(humanize::span((now - p.started_at).max(0)));
    if p.calls > 0 {
        parts.push(counted(signed(p.calls), "call", "calls"));
    }
    if p.rate > 0 {
        parts.push(format!(
            "{} per second",
            counted(signed(p.rate), "row", "rows")
        ));
    }
    parts.join(", ")
}

/// The progress of each date range in percent.
fn bars(p: &Progress) -> Vec<u64> {
    let of_window = |number: usize| match number.cmp(&p.window) {
        std::cmp::Ordering::Less => 100,
        std::cmp::Ordering::Equal => window_percent(p),
        std::cmp::Ordering::Greater => 0,
    };
    if p.windows <= MAX_BARS {
        return (1..=p.windows).map(of_window).collect();
    }
    let share = |bar: usize| {
        let (first, last) = (bar * p.windows / MAX_BARS, (bar + 1) * p.windows / MAX_BARS);
        (first..last)
            .map(|window| of_window(window + 1))
            .sum::<u64>()
            / ((last - first).max(1) as u64)
    };
    (0..MAX_BARS).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_windows_share_the_bars() {
        let at = |window, windows, page, pages| {
            bars(&Progress {
                phase: "Pulling",
                window,
                windows,
                page,
                pages,
                ..Progress::default()
            })
        };
        assert_eq!(at(2, 3, 1, 4), [100, 25, 0]);
        let many = at(61, 120, 1, 1);
        assert_eq!((many.len(), many[29], many[30], many[31]), (60, 100, 50, 0));
    }

    #[test]
    fn date_ranges_are_written_in_words() {
        assert_eq!(days("2027-03-15"), "Mon 15 Mar 2027");
        assert_eq!(
            days("2027-03-15 to 2027-03-16"),
            "Mon 15 Mar to Tue 16 Mar 2027"
        );
    }
}
