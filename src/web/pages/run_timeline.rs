//! The timeline of a run, from its own record: its phases with their durations, and its log
//! entries.

use jiff::tz::TimeZone;

use super::completeness;
use super::run_live::days_of;
use super::run_record::waited;
use crate::clock::{Millis, iso, timestamp};
use crate::connectors::Completeness;
use crate::datasets::Dataset;
use crate::puller::ledger::LedgerLine;
use crate::puller::run::{Run, RunOutcome, RunState, Trigger};
use crate::web::humanize::{self, counted, grouped};

/// The data of `templates/panes/timeline.html`.
pub struct RunTimeline {
    pub phases: Vec<Phase>,
    pub entries: Vec<TimelineEntry>,
}

pub struct Phase {
    pub name: String,
    pub took: String,
    pub what: String,
}

pub struct TimelineEntry {
    pub at: String,
    pub iso: String,
    pub tone: &'static str,
    pub words: String,
}

impl RunTimeline {
    pub fn new(
        run: &Run,
        lines: &[LedgerLine],
        dataset: &Dataset,
        zone: &TimeZone,
        now: Millis,
    ) -> Self {
        Self {
            phases: phases(run, lines, dataset, now),
            entries: entries(run, lines, dataset, zone),
        }
    }
}

/// When the last date range was read completely.
fn read_until(lines: &[LedgerLine]) -> Option<Millis> {
    lines.iter().filter_map(|line| line.finished_at).max()
}

fn phases(run: &Run, lines: &[LedgerLine], dataset: &Dataset, now: Millis) -> Vec<Phase> {
    if run.trigger == Trigger::Revert {
        return Vec::new();
    }
    let end = run.finished_at.unwrap_or(now);
    let started = run.started_at;
    let mut phases = vec![Phase {
        name: "Queued".to_owned(),
        took: humanize::span((started.unwrap_or(end) - run.queued_at).max(0)),
        what: String::new(),
    }];
    let Some(started) = started else {
        return phases;
    };
    let read = read_until(lines).filter(|at| *at >= started);
    let windows_read = lines.iter().filter(|line| line.done).count();
    let waited = waited(run, now).map(|waited| {
        format!(
            ", {} of it waiting, because calls are limited",
            humanize::span(waited)
        )
    });
    phases.push(Phase {
        name: format!("Pull from {}", dataset.connector.title()),
        took: humanize::span((read.unwrap_or(end) - started).max(0)),
        what: format!(
            "{} of {}, {}, {}{}",
            grouped(i64::try_from(windows_read).unwrap_or(0)),
            counted(run.windows_total.max(1), "date range", "date ranges"),
            counted(run.pages, "page", "pages"),
            counted(
                run.calls,
                &format!("call to {}", dataset.connector.title()),
                &format!("calls to {}", dataset.connector.title())
            ),
            waited.unwrap_or_default(),
        ),
    });
    if let (RunState::Succeeded, Some(read)) = (run.state, read) {
        let unchanged = run.outcome == Some(RunOutcome::Unchanged);
        let rows = counted(run.rows, "row", "rows");
        let (name, what) = match unchanged {
            true => ("Compared", format!("{rows}, no changes")),
            false => ("Saved", format!("{rows} in {}", humanize::size(run.bytes))),
        };
        phases.push(Phase {
            name: name.to_owned(),
            took: humanize::span((end - read).max(0)),
            what,
        });
    }
    phases
}

fn entries(
    run: &Run,
    lines: &[LedgerLine],
    dataset: &Dataset,
    zone: &TimeZone,
) -> Vec<TimelineEntry> {
    let mut moments: Vec<(Millis, &'static str, String)> = Vec::new();
    let by = run.started_by_name.as_deref();
    let trigger = match (run.trigger, by) {
        (Trigger::Schedule, _) => "Started by the schedule.".to_owned(),
        (Trigger::Retry, _) => "Started as a retry.".to_owned(),
        (Trigger::Backfill, _) => format!("Started by a backfill of {}.", days_of(run.range)),
        (Trigger::First, by) => format!("{} saved the DataSet.", by.unwrap_or("An unknown person")),
        (Trigger::Manual, by) => format!("{} started the run.", by.unwrap_or("An unknown person")),
        (Trigger::Revert, by) => format!(
            "{} reverted to version {}.",
            by.unwrap_or("An unknown person"),
            run.reverted_to.unwrap_or_default()
        ),
    };
    moments.push((run.queued_at, "", trigger));
    if let (Some(at), true) = (run.started_at, run.trigger != Trigger::Revert) {
        moments.push((
            at,
            "",
            format!(
                "Chatlake started to pull from {}.",
                dataset.connector.title()
            ),
        ));
    }
    for line in lines {
        let (Some(at), count) = (line.finished_at, |n: u64| {
            grouped(i64::try_from(n).unwrap_or(i64::MAX))
        }) else {
            continue;
        };
        let counts = &line.counts;
        let days = line
            .window
            .map_or_else(String::new, |_| format!("{}: ", days_of(line.window)));
        let tone = match line.completeness() {
            Some(Completeness::Short) => "bad",
            Some(Completeness::Corrected) => "warn",
            _ => "",
        };
        let proven =
            completeness::of_window(line.completeness(), dataset.connector.title(), counts.total);
        let (one, many) = dataset.report.records();
        let words = format!(
            "{days}{} {}{proven}",
            count(counts.kept),
            if counts.kept == 1 { one } else { many }
        );
        moments.push((at, tone, words));
    }
    if let Some(at) = run.finished_at.filter(|_| run.trigger != Trigger::Revert) {
        moments.push(match (run.state, &run.failure) {
            (RunState::Succeeded, _) if run.outcome == Some(RunOutcome::Unchanged) => (
                at,
                "good",
                "No changes: the current version stays.".to_owned(),
            ),
            (RunState::Succeeded, _) => (
                at,
                "good",
                format!(
                    "Saved: the DataSet has {}.",
                    counted(run.rows_after.unwrap_or(run.rows), "row", "rows")
                ),
            ),
            (_, Some(failure)) if run.outcome == Some(RunOutcome::PendingApproval) => (
                at,
                "warn",
                format!("Waiting for approval: {}", failure.message),
            ),
            (_, Some(failure)) => (at, "bad", format!("Failed: {}", failure.message)),
            _ => (at, "", "Cancelled. Nothing was saved.".to_owned()),
        });
    }
    moments.sort_by_key(|(at, ..)| *at);
    let entry = |(at, tone, words): (Millis, &'static str, String)| TimelineEntry {
        at: timestamp(at)
            .to_zoned(zone.clone())
            .strftime("%-d %b %H:%M:%S")
            .to_string(),
        iso: iso(at),
        tone,
        words,
    };
    moments.into_iter().map(entry).collect()
}
