//! A run under way, as the strip on its pages and the events behind it show it.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::dataset_status::within;
use crate::clock::Millis;
use crate::connectors::Window;
use crate::datasets::Dataset;
use crate::puller::live::Progress;
use crate::puller::run::{Outcome, Run, State, Trigger};
use crate::web::parts::Status;
use crate::web::words::{self, counted};

/// The strip has at most so many bars; more windows than that share them.
const MOST_BARS: usize = 60;

/// See `templates/panes/live.html`.
#[derive(Clone)]
pub struct Live {
    pub run_id: String,
    pub status: Status,
    pub title: String,
    pub line: String,
    pub started: String,
    pub meanwhile: String,
    pub windows: Vec<u64>,
    pub can_stop: bool,
}

/// The same as an event.
#[derive(Serialize)]
pub struct News {
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
    /// It can still be stopped.
    stoppable: bool,
}

/// How a run's state is shown.
pub fn status(run: &Run) -> Status {
    match run.state {
        State::Queued => Status::new("info", true, "Queued", ""),
        State::Running if run.cancel_requested => Status::new("info", true, "Cancelling", ""),
        State::Running => Status::new("info", true, "Running", ""),
        State::Waiting => Status::new("warn", true, "Waiting", ""),
        State::Succeeded if run.brought_none() => Status::new("warn", false, "0 rows", ""),
        State::Succeeded => Status::new("good", false, "Succeeded", ""),
        State::Failed if run.outcome == Some(Outcome::Held) => Status::new("bad", false, "Waiting for approval", ""),
        State::Failed if run.outcome == Some(Outcome::Discarded) => Status::new("bad", false, "Discarded", ""),
        State::Failed if run.outcome == Some(Outcome::Superseded) => Status::new("bad", false, "Not published", ""),
        State::Failed => Status::new("bad", false, "Failed", ""),
        State::Cancelled => Status::new("", true, "Cancelled", ""),
        State::Parked => Status::new("bad", false, "Failed", ""),
    }
}

/// "Schedule", a name, "Saving the DataSet"
pub fn started_by(run: &Run) -> String {
    match run.trigger {
        Trigger::Schedule => "Schedule".to_owned(),
        Trigger::Retry => "Retry".to_owned(),
        Trigger::Backfill => "Backfill".to_owned(),
        Trigger::First | Trigger::Manual | Trigger::Revert => run.started_by_name.clone().unwrap_or_else(|| "Unknown person".to_owned()),
    }
}

impl Live {
    /// `progress`: when the pull is under way in this process.
    pub fn new(run: &Run, dataset: &Dataset, progress: Option<&Progress>, now: Millis, zone: &TimeZone, can_stop: bool) -> Self {
        let by = match run.trigger {
            Trigger::Schedule => "the schedule".to_owned(),
            Trigger::Retry => "a retry".to_owned(),
            Trigger::Backfill => "a backfill".to_owned(),
            Trigger::First | Trigger::Manual | Trigger::Revert => started_by(run),
        };
        let attempt = if run.attempt > 1 { format!(", attempt {}", run.attempt) } else { String::new() };
        let over = run.state.is_final() || run.cancel_requested;
        let meanwhile = match &dataset.current {
            _ if run.state == State::Succeeded => String::new(),
            None if over => "There are no rows yet.".to_owned(),
            None => "The first rows appear when the run finishes.".to_owned(),
            Some(current) if current.damaged => format!("Some rows of version {} cannot be read until a run replaces them.", current.number),
            Some(current) => {
                let until = if over { "" } else { " until this run finishes" };
                format!("The current version ({}) stays available{until}.", counted(current.rows, "row", "rows"))
            }
        };
        Self {
            run_id: run.id.to_string(),
            status: status(run),
            title: title(run, dataset, progress, now, zone),
            line: progress.map_or_else(String::new, |p| line(p, dataset, now)),
            started: format!("started by {by} {}{attempt}", words::coming(run.started_at.unwrap_or(run.queued_at), now, zone).trim_start_matches("today ")),
            meanwhile,
            windows: progress.map_or_else(Vec::new, bars),
            can_stop: can_stop && !over,
        }
    }

    pub fn news(self, run: &Run) -> News {
        News {
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

fn title(run: &Run, dataset: &Dataset, progress: Option<&Progress>, now: Millis, zone: &TimeZone) -> String {
    match run.state {
        State::Queued => return format!("Waiting for {}", run.waits_for.map_or_else(|| "its turn".to_owned(), |wait| wait.words())),
        State::Waiting if run.held_for.is_some() => return run.held_for.clone().unwrap_or_default(),
        State::Waiting => return format!("Waiting until {}: {} limits calls", words::until(run.due_at, now, zone), dataset.connector.title()),
        State::Succeeded => return counted(run.rows_after.unwrap_or(run.rows), "row", "rows"),
        State::Failed if run.outcome == Some(Outcome::Held) => return "The rows wait for approval".to_owned(),
        State::Failed | State::Parked | State::Cancelled => return "Nothing was saved".to_owned(),
        State::Running if run.cancel_requested => return "Nothing is saved".to_owned(),
        State::Running => {}
    }
    let Some(p) = progress else { return "Starting".to_owned() };
    match p.phase {
        "Saving" => "Saving the rows".to_owned(),
        "Pulling" if p.windows > 1 => format!("Pulling {}, date range {} of {}", days(&p.days), p.window, p.windows),
        "Pulling" if !p.days.is_empty() => format!("Pulling {}", days(&p.days)),
        "Pulling" => format!("Pulling {}", dataset.report.title),
        phase => phase.to_owned(),
    }
}

/// The days of a window as people write them.
fn days(text: &str) -> String {
    let (from, to) = text.split_once(" to ").unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) => words::days(from, to),
        _ => text.to_owned(),
    }
}

/// "Wed 10 Mar to Wed 17 Mar 2027"; "everything" for a report without days.
pub fn days_of(window: Option<Window>) -> String {
    window.map_or_else(|| "everything".to_owned(), |w| words::days(w.from, w.to))
}

fn line(p: &Progress, dataset: &Dataset, now: Millis) -> String {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    // Rows come window by window; until the first ones there are only the records that they are made of.
    let (one, many) = dataset.report.records();
    let came = if p.rows == 0 { counted(signed(p.read), one, many) } else { counted(signed(p.rows), "row", "rows") };
    let mut parts = vec![format!("{came} so far")];
    if p.page > 0 {
        let of = if p.pages > 0 { format!(" of {}", words::grouped(signed(p.pages))) } else { String::new() };
        parts.push(format!("page {}{of}", words::grouped(signed(p.page))));
    }
    parts.push(words::span((now - p.started_at).max(0)));
    if p.calls > 0 {
        parts.push(counted(signed(p.calls), "call", "calls"));
    }
    if p.rate > 0 {
        parts.push(format!("{} per second", counted(signed(p.rate), "row", "rows")));
    }
    parts.join(", ")
}

/// How much of each window is done, in percent.
fn bars(p: &Progress) -> Vec<u64> {
    let of_window = |number: usize| match number.cmp(&p.window) {
        std::cmp::Ordering::Less => 100,
        std::cmp::Ordering::Equal => within(p),
        std::cmp::Ordering::Greater => 0,
    };
    if p.windows <= MOST_BARS {
        return (1..=p.windows).map(of_window).collect();
    }
    let share = |bar: usize| {
        let (first, last) = (bar * p.windows / MOST_BARS, (bar + 1) * p.windows / MOST_BARS);
        (first..last).map(|window| of_window(window + 1)).sum::<u64>() / ((last - first).max(1) as u64)
    };
    (0..MOST_BARS).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_windows_share_the_bars() {
        let at = |window, windows, page, pages| bars(&Progress { phase: "Pulling", window, windows, page, pages, ..Progress::default() });
        assert_eq!(at(2, 3, 1, 4), [100, 25, 0]);
        let many = at(61, 120, 1, 1);
        assert_eq!((many.len(), many[29], many[30], many[31]), (60, 100, 50, 0));
    }

    #[test]
    fn days_are_told_in_words() {
        assert_eq!(days("2027-03-15"), "Mon 15 Mar 2027");
        assert_eq!(days("2027-03-15 to 2027-03-16"), "Mon 15 Mar to Tue 16 Mar 2027");
    }
}
