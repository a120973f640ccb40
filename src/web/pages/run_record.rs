//! The record of a run: its request, its result, and what happened, who must act and what is next
//! if it failed.

use jiff::tz::TimeZone;

use super::completeness;
use super::dataset_status::CREDENTIAL_FAILURE_CODES;
use super::run_live::{days_of, started_by};
use crate::clock::Millis;
use crate::connectors::report::Report;
use crate::datasets::Dataset;
use crate::datasets::options::SchemaRule;
use crate::datasets::policies::StopReason;
use crate::datasets::schema_change::SchemaChange;
use crate::puller::ledger::LedgerLine;
use crate::puller::run::{Run, RunOutcome, RunState, Trigger};
use crate::web::components::{Fact, Status};
use crate::web::humanize::{self, grouped};

/// The text if no person has to act.
const NO_ACTION: &str = "No action needed.";

/// The data of `templates/panes/record.html`.
pub struct RunRecord {
    pub id: String,
    pub tone: String,
    pub happened: String,
    /// Who can fix it; empty if no person has to act.
    pub who: String,
    pub next: String,
    pub facts: Vec<Fact>,
    pub sums: String,
    /// The vendor's name for records, such as "Chats".
    pub records: String,
    /// The vendor's name.
    pub vendor: &'static str,
    /// The changes of the columns, and their tone.
    pub columns: String,
    pub columns_tone: String,
    /// The sentence about the completeness.
    pub completeness: String,
    pub windows: Vec<WindowRow>,
    pub technical: Vec<Fact>,
    /// The link to the run's own page; empty on that page.
    pub href: String,
}

/// A line of the ledger: one date range.
pub struct WindowRow {
    pub days: String,
    pub status: Status,
    pub rows: String,
    pub pages: String,
    pub of: String,
}

/// The run and the context in which its record is shown.
pub struct RecordContext<'a> {
    pub dataset: &'a Dataset,
    pub zone: &'a TimeZone,
    pub now: Millis,
    /// Whether the record is on the run's own page, where no link to it is needed.
    pub own_page: bool,
    /// Whether a banner above the record already explains the failure.
    pub hide_failure: bool,
}

impl RunRecord {
    pub fn new(run: &Run, lines: &[LedgerLine], context: &RecordContext<'_>) -> Self {
        let (happened, mut who, next) = if context.hide_failure {
            Default::default()
        } else {
            failure_text(run, context)
        };
        if who == NO_ACTION {
            who.clear();
        }
        Self {
            id: run.id.to_string(),
            tone: super::run_live::status(run).tone,
            happened,
            who,
            next,
            facts: facts(run, lines, context),
            sums: sums(run, context.dataset.report),
            records: humanize::capitalize(context.dataset.report.records().1),
            vendor: context.dataset.connector.title(),
            columns: run
                .schema_change
                .as_ref()
                .map(SchemaChange::in_words)
                .unwrap_or_default(),
            columns_tone: if run
                .schema_change
                .as_ref()
                .is_some_and(|change| change.verdict != SchemaRule::Accept)
            {
                "warn"
            } else {
                "info"
            }
            .to_owned(),
            completeness: completeness::of_run(run, context.dataset),
            windows: lines.iter().map(|line| window(line, run)).collect(),
            technical: technical(run),
            href: if context.own_page {
                String::new()
            } else {
                format!("/runs/{}", run.id)
            },
        }
    }
}

fn failure_text(run: &Run, context: &RecordContext<'_>) -> (String, String, String) {
    let vendor = context.dataset.connector.title();
    let text = |a: &str, b: &str, c: String| (a.to_owned(), b.to_owned(), c);
    match (run.state, &run.failure) {
        (RunState::Succeeded, None) if run.outcome == Some(RunOutcome::Kept) => (
            format!("{vendor} returned no rows."),
            NO_ACTION.to_owned(),
            "The existing rows are unchanged, as chosen in Settings.".to_owned(),
        ),
        (RunState::Succeeded, None) if run.outcome == Some(RunOutcome::Unchanged) => text(
            "No changes: the rows match the current version.",
            NO_ACTION,
            "The current version stays. Downloads return the same file.".to_owned(),
        ),
        // The text from the end of the run is out of date: the schedule was stopped since.
        (_, Some(failure))
            if CREDENTIAL_FAILURE_CODES.contains(&failure.code.as_str())
                && context
                    .dataset
                    .stopped()
                    .is_some_and(|s| s.reason == StopReason::Credentials) =>
        {
            let unchanged = if context.dataset.current.is_some() {
                " The existing rows are unchanged."
            } else {
                ""
            };
            let next = format!(
                "The schedule is stopped. It resumes when the credentials \
                 of the account work.{unchanged}"
            );
            text(&failure.message, &failure.who, next)
        }
        (_, Some(failure)) => (
            failure.message.clone(),
            failure.who.clone(),
            failure.action.clone(),
        ),
        (RunState::Cancelled, None) => {
            let unchanged = if context.dataset.current.is_some() {
                "The existing rows are unchanged."
            } else {
                "No data yet."
            };
            text(
                "The run was cancelled before it finished.",
                NO_ACTION,
                format!("Nothing was saved. {unchanged}"),
            )
        }
        (RunState::Waiting, None) if run.deferred_reason.is_some() => (
            run.deferred_reason.clone().unwrap_or_default(),
            "The server administrator must free disk space.".to_owned(),
            format!(
                "Chatlake checks again {}. The existing rows are unchanged.",
                humanize::calendar_time(run.due_at, context.now, context.zone)
            ),
        ),
        (RunState::Waiting, None) => (
            format!("{vendor} limits calls and asked Chatlake to wait."),
            NO_ACTION.to_owned(),
            format!(
                "The run continues {}. The existing rows are unchanged.",
                humanize::calendar_time(run.due_at, context.now, context.zone)
            ),
        ),
        _ => (String::new(), String::new(), String::new()),
    }
}

fn facts(run: &Run, lines: &[LedgerLine], context: &RecordContext<'_>) -> Vec<Fact> {
    let by = match run.trigger {
        Trigger::Schedule | Trigger::Retry => started_by(run),
        Trigger::First => format!("{}, first run", started_by(run)),
        Trigger::Manual => format!("{}, Run now", started_by(run)),
        Trigger::Backfill => run
            .started_by_name
            .as_ref()
            .map_or_else(|| started_by(run), |name| format!("{name}, backfill")),
        Trigger::Revert => format!("{}, revert", started_by(run)),
    };
    let clock = |at: Millis| humanize::short(at, context.now, context.zone);
    let mut facts = vec![Fact::new("Started by", by)];
    if run.missed > 0 {
        facts.push(Fact::new(
            "Missed before this run",
            humanize::counted(run.missed, "run", "runs"),
        ));
    }
    match run.started_at {
        Some(at) => facts.push(Fact::new("Started", clock(at))),
        None => facts.push(Fact::new("Queued", clock(run.queued_at))),
    }
    if let Some(at) = run.finished_at {
        facts.push(Fact::new("Ended", clock(at)));
    }
    if let Some(took) = run.duration(context.now) {
        facts.push(Fact::new("Duration", humanize::span(took)));
    }
    if let Some(waited) = waited(run, context.now) {
        facts.push(Fact::new("Waiting time", humanize::span(waited)));
    }
    if run.windows_total > 0 {
        facts.push(Fact::new(
            "Date ranges",
            format!(
                "{} of {}",
                grouped(run.windows_done),
                grouped(run.windows_total)
            ),
        ));
    }
    // While a run is active, these counts are not known yet.
    let is_known = |count: i64| count > 0 || run.state.is_final();
    if is_known(run.pages) {
        facts.push(Fact::new("Pages", grouped(run.pages)));
    }
    let again = lines
        .iter()
        .map(|line| line.counts.pages_again)
        .sum::<u64>();
    if again > 0 {
        facts.push(Fact::new(
            "Pages pulled again",
            grouped(i64::try_from(again).unwrap_or(i64::MAX)),
        ));
    }
    if is_known(run.calls) {
        facts.push(Fact::new("Calls", grouped(run.calls)));
    }
    if run.shared_by > 1 {
        facts.push(Fact::new(
            "Calls shared by",
            format!("{} DataSets", grouped(run.shared_by)),
        ));
    }
    if is_known(run.rows) {
        facts.push(Fact::new("Rows", grouped(run.rows)));
    }
    if run.rows_dropped > 0 {
        facts.push(Fact::new("Old rows replaced", grouped(run.rows_dropped)));
    }
    if let Some(after) = run.rows_after.filter(|after| *after != run.rows) {
        facts.push(Fact::new("Total rows", grouped(after)));
    }
    if let (Some(by), Some(at)) = (&run.decided_by_name, run.decided_at) {
        let what = if run.outcome == Some(RunOutcome::Discarded) {
            "Discarded"
        } else {
            "Published"
        };
        facts.push(Fact::new(what, format!("by {by}, {}", clock(at))));
    }
    let (one, many) = context.dataset.report.records();
    if is_known(run.duplicates) {
        facts.push(Fact::new(
            "Duplicates",
            humanize::counted(run.duplicates, one, many),
        ));
    }
    if run.bytes > 0 {
        facts.push(Fact::new("Size", humanize::size(run.bytes)));
    }
    if run.attempt > 1 {
        facts.push(Fact::new("Attempts", grouped(run.attempt)));
    }
    if run.misfits > 0 {
        facts.push(Fact::new("Values in _misfit", grouped(run.misfits)));
    }
    if run.repaired > 0 {
        facts.push(Fact::new("Characters repaired", grouped(run.repaired)));
    }
    facts
}

/// How long the run waited because the calls per minute were used up or the vendor asked for a
/// pause; `None` if under a second. Runs of older versions added up concurrent waits, so the result
/// is capped at the duration of the run.
pub fn waited(run: &Run, now: Millis) -> Option<Millis> {
    let waited = run.waited_ms.min(run.duration(now).unwrap_or(0));
    (waited >= 1_000).then_some(waited)
}

/// The counts of a run: "3,466 chats pulled, 3,154 saved as 8,546 rows, 312 duplicates". Counts of
/// zero are omitted.
pub fn sums(run: &Run, report: &Report) -> String {
    if run.trigger == Trigger::Revert || (run.records_read == 0 && run.state != RunState::Succeeded)
    {
        return String::new();
    }
    let (one, many) = report.records();
    let is_waiting = run.outcome == Some(RunOutcome::PendingApproval);
    let is_failed = run.state.is_final() && run.state != RunState::Succeeded && !is_waiting;
    let mut text = format!("{} pulled", humanize::counted(run.records_read, one, many));
    if is_waiting {
        let rows = humanize::counted(run.rows, "row waits", "rows wait");
        text.push_str(&format!(", {rows} for approval"));
    } else if !is_failed {
        let rows = humanize::counted(run.rows, "row", "rows");
        text.push_str(&format!(", {} saved as {rows}", grouped(run.records_kept)));
    }
    let others = [
        (run.duplicates, "duplicate", "duplicates"),
        (run.left_out, "excluded", "excluded"),
        (run.rejected, "rejected", "rejected"),
    ];
    for (count, one, many) in others.into_iter().filter(|(count, ..)| *count > 0) {
        text.push_str(&format!(", {}", humanize::counted(count, one, many)));
    }
    if is_failed {
        text.push_str(", no rows saved");
    }
    text
}

fn window(line: &LedgerLine, run: &Run) -> WindowRow {
    let unread = if run.state.is_final() {
        Status::new("bad", false, "Not pulled", "")
    } else {
        Status::new("", true, "Pending", "")
    };
    let status = completeness::status(line.completeness(), unread);
    let number = |n: u64| {
        if line.done || line.short {
            grouped(i64::try_from(n).unwrap_or(i64::MAX))
        } else {
            "–".to_owned()
        }
    };
    WindowRow {
        days: days_of(line.window),
        status,
        rows: number(line.counts.kept),
        pages: number(line.counts.pages),
        of: line.counts.total.map_or_else(|| "–".to_owned(), number),
    }
}

fn technical(run: &Run) -> Vec<Fact> {
    let mut facts = vec![Fact::new("Run", run.id.to_string())];
    if let Some(version) = &run.version_id {
        facts.push(Fact::new("Version", version.to_string()));
    }
    if let Some(failure) = &run.failure {
        facts.push(Fact::new("Error", failure.code.clone()));
    }
    facts.push(Fact::new("Queued", crate::clock::iso(run.queued_at)));
    if let Some(at) = run.started_at {
        facts.push(Fact::new("Started", crate::clock::iso(at)));
    }
    if let Some(at) = run.finished_at {
        facts.push(Fact::new("Ended", crate::clock::iso(at)));
    }
    facts
}
