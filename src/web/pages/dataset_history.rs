//! The History tab: the runs with their records, and the stored versions.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;

use super::calendar::Calendar;
use super::dataset::{DatasetHeader, OpenedDataset, open_dataset};
use super::dataset_coverage::{no_backfill_reason, recent_calendar};
use super::dataset_status::row_change_text;
use super::dataset_versions::storage_text;
use super::history_charts::{HistoryChart, history_charts};
use super::run_live::{self, LiveRun, started_by};
use super::run_record::{RecordContext, RunRecord, sums};
use crate::clock::timestamp;
use crate::datasets::versions::{Integrity, Version};
use crate::ids::{DatasetId, VersionId};
use crate::puller::ledger::{self, LedgerLine};
use crate::puller::run::{Run, RunOutcome, RunState};
use crate::puller::{coverage, queue};
use crate::web::Web;
use crate::web::components::{Chrome, DisplayTime, Fact, Pager, Status};
use crate::web::humanize::{self, grouped, signed};
use crate::web::page::{PageResult, render};
use crate::web::person::Person;
use crate::web::query::{PageQuery, PathId};

const PER_PAGE: i64 = 25;
/// A run with more date ranges shows them only on its own page.
const MAX_WINDOWS: usize = 62;

#[derive(Template)]
#[template(path = "pages/dataset_history.html")]
struct HistoryPage {
    chrome: Chrome,
    head: DatasetHeader,
    live: Option<LiveRun>,
    sums: Vec<Fact>,
    zone: String,
    runs: Vec<RunRow>,
    pager: Pager,
    versions: Vec<VersionRow>,
    retention_text: String,
    storage_text: String,
    calendar: Option<Calendar>,
    can_backfill: bool,
    charts: Vec<HistoryChart>,
}

struct RunRow {
    started: DisplayTime,
    duration: String,
    by: String,
    date_range: String,
    rows: String,
    rows_line: String,
    status: Status,
    open: bool,
    run: RunRecord,
    /// The actions on the version that the run created, while it is stored.
    actions: Option<VersionActions>,
}

/// The links of a version: its rows and its actions. Empty where an action is not possible.
struct VersionActions {
    number: u64,
    view_href: String,
    csv_href: String,
    revert_href: String,
    delete_href: String,
}

struct VersionRow {
    number: u64,
    made: DisplayTime,
    rows: String,
    columns: usize,
    size: String,
    alone: String,
    current: bool,
    /// The result of the integrity check, as tone and text; `None` for an intact version.
    integrity: Option<(&'static str, &'static str)>,
    by: String,
    actions: VersionActions,
}

/// `GET /datasets/{id}/history`
pub async fn show_history(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
    query: PageQuery,
) -> PageResult {
    let opened = open_dataset(&web, &person.actor, &id, "history").await?;
    let count = queue::count(&web.db, &id).await?;
    let pages = count
        .max(1)
        .unsigned_abs()
        .div_ceil(PER_PAGE.unsigned_abs());
    let page = query.page().min(pages);
    let offset = i64::try_from(page - 1).unwrap_or(0) * PER_PAGE;
    let stored = web.datasets.versions.list(&id).await?;
    let integrity: HashMap<VersionId, Integrity> = web
        .datasets
        .versions
        .integrity(&id)
        .await?
        .into_iter()
        .map(|of| (of.version.clone(), of.state()))
        .collect();
    let mut runs = Vec::new();
    for run in queue::of_dataset(&web.db, &id, offset, PER_PAGE).await? {
        let run = run.redacted_with(&opened.dataset);
        let lines = ledger::of_run(&web.db, &run.id).await?;
        let open = runs.is_empty()
            && offset == 0
            && matches!(run.state, RunState::Failed | RunState::Parked);
        let version = run
            .version_id
            .as_ref()
            .and_then(|id| stored.iter().find(|version| version.id == *id));
        let actions = version.map(|version| {
            version_actions(
                &version.id,
                version.number,
                integrity.get(&version.id),
                &opened,
            )
        });
        runs.push(row(&run, lines, &opened, open, actions));
    }
    let to = |page: u64| format!("/datasets/{id}/history?page={page}");
    let pager = Pager {
        first: grouped(offset + i64::from(count > 0)),
        last: grouped((offset + PER_PAGE).min(count)),
        of: format!("of {}", humanize::counted(count, "run", "runs")),
        page,
        pages,
        previous: if page > 1 {
            to(page - 1)
        } else {
            String::new()
        },
        next: if page < pages {
            to(page + 1)
        } else {
            String::new()
        },
        jump: String::new(),
    };
    let retention = web
        .datasets
        .versions
        .retention_override(&id)
        .await?
        .or(web.datasets.versions.default_retention());
    let days = coverage::of_dataset(&web.db, &web.clock, &opened.dataset).await?;
    render(&HistoryPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        sums: summary(&web, &opened).await?,
        zone: opened.dataset.time_zone.clone(),
        versions: versions(&web, &opened, &stored, &integrity).await?,
        retention_text: format!(
            "Keeps {}, up to {}. The current version is always kept.",
            humanize::counted(i64::from(retention.versions), "version", "versions"),
            humanize::counted(i64::from(retention.days), "day", "days")
        ),
        storage_text: storage_text(&web, &id).await?,
        calendar: recent_calendar(&days, &opened.dataset),
        can_backfill: opened.head.can_run && no_backfill_reason(&opened).is_empty(),
        charts: history_charts(&opened.pulls, opened.now, &opened.zone),
        head: opened.head,
        live: opened.live,
        runs,
        pager,
    })
}

fn row(
    run: &Run,
    mut lines: Vec<LedgerLine>,
    opened: &OpenedDataset,
    open: bool,
    actions: Option<VersionActions>,
) -> RunRow {
    let date_range = run.reverted_to.map_or_else(
        || span_of(&lines, opened),
        |number| format!("reverted to version {number}"),
    );
    if lines.len() > MAX_WINDOWS {
        lines.clear();
    }
    let (rows, rows_line) = match run.state {
        RunState::Succeeded if run.outcome == Some(RunOutcome::Kept) => {
            ("0".to_owned(), "existing rows unchanged".to_owned())
        }
        RunState::Succeeded if run.outcome == Some(RunOutcome::Unchanged) => {
            (grouped(run.rows), "no changes".to_owned())
        }
        RunState::Succeeded if run.read_no_rows() && run.change().unwrap_or(0) == 0 => (
            "0".to_owned(),
            format!(
                "now {}",
                humanize::counted(run.rows_after.unwrap_or_default(), "row", "rows")
            ),
        ),
        RunState::Failed if run.outcome == Some(RunOutcome::PendingApproval) => {
            (grouped(run.rows), "waiting for approval".to_owned())
        }
        RunState::Succeeded => {
            let after = humanize::counted(run.rows_after.unwrap_or(run.rows), "row", "rows");
            (
                run.change().map_or_else(
                    || "first rows".to_owned(),
                    |change| match change {
                        0 => "no change".to_owned(),
                        change => row_change_text(change)
                            .replace(" rows", "")
                            .replace(" row", ""),
                    },
                ),
                format!("now {after}"),
            )
        }
        state if state.is_final() => ("0".to_owned(), "nothing saved".to_owned()),
        _ => ("–".to_owned(), String::new()),
    };
    RunRow {
        started: DisplayTime::clock(run.started_at.unwrap_or(run.queued_at), &opened.zone),
        duration: run
            .duration(opened.now)
            .map_or_else(|| "–".to_owned(), humanize::span),
        by: started_by(run),
        date_range,
        rows,
        rows_line,
        status: run_live::status(run),
        open,
        actions,
        run: RunRecord::new(
            run,
            &lines,
            &RecordContext {
                dataset: &opened.dataset,
                zone: &opened.zone,
                now: opened.now,
                own_page: false,
                hide_failure: false,
            },
        ),
    }
}

/// The days from the first date range to the last.
fn span_of(lines: &[LedgerLine], opened: &OpenedDataset) -> String {
    let windows = || lines.iter().filter_map(|line| line.window);
    let whole = windows()
        .map(|w| w.from)
        .min()
        .zip(windows().map(|w| w.to).max());
    match whole {
        Some((from, to)) => humanize::days_brief(
            from,
            to,
            timestamp(opened.now).to_zoned(opened.zone.clone()).year(),
        ),
        None => "–".to_owned(),
    }
}

/// Totals over all runs except cancelled ones, runs of backfills and reverts.
async fn summary(web: &Web, opened: &OpenedDataset) -> crate::error::Result<Vec<Fact>> {
    let sums = queue::summary(&web.db, &opened.dataset.id).await?;
    let succeeded = format!("{} of {}", grouped(sums.succeeded), grouped(sums.over));
    let Some(last) = sums.last_success else {
        return Ok(vec![
            Fact::new("Last success", "none yet"),
            Fact::new("Runs succeeded", succeeded),
        ]);
    };
    Ok(vec![
        Fact::new(
            "Last success",
            humanize::relative(last.finished_at.unwrap_or(last.queued_at), opened.now),
        ),
        Fact::new("Average duration", humanize::span(sums.average_ms)),
        Fact::new("Runs succeeded", succeeded),
        Fact::new("Pulled and saved", self::sums(&last, opened.dataset.report)),
    ])
}

fn version_actions(
    id: &VersionId,
    number: u64,
    integrity: Option<&Integrity>,
    opened: &OpenedDataset,
) -> VersionActions {
    let dataset = &opened.dataset;
    let is_current = dataset
        .current
        .as_ref()
        .is_some_and(|current| current.version == *id);
    let to = |what: &str| {
        if opened.head.mine && !is_current {
            format!("/datasets/{}/versions/{id}/{what}", dataset.id)
        } else {
            String::new()
        }
    };
    VersionActions {
        number,
        view_href: if is_current {
            format!("/datasets/{}/data", dataset.id)
        } else {
            format!("/datasets/{}/data?version={id}", dataset.id)
        },
        csv_href: format!("/datasets/{}/download?version={id}", dataset.id),
        // A revert to a damaged version would damage the current rows, so there is no link.
        revert_href: if integrity == Some(&Integrity::Damaged) {
            String::new()
        } else {
            to("revert")
        },
        delete_href: to("delete"),
    }
}

async fn versions(
    web: &Web,
    opened: &OpenedDataset,
    stored: &[Version],
    integrity: &HashMap<VersionId, Integrity>,
) -> crate::error::Result<Vec<VersionRow>> {
    let current = opened.dataset.current.as_ref().map(|c| &c.version);
    let sizes = web.datasets.versions.sizes(&opened.dataset.id).await?;
    let mut rows = Vec::with_capacity(stored.len());
    for version in stored {
        let run = match &version.run {
            Some(run) => queue::get(&web.db, run).await?,
            None => None,
        };
        rows.push(VersionRow {
            number: version.number,
            made: DisplayTime::ago(version.created_at, opened.now, &opened.zone),
            rows: grouped(signed(version.rows)),
            columns: version.columns.len(),
            size: humanize::size(signed(version.bytes)),
            alone: humanize::size(signed(sizes.alone.get(&version.id).copied().unwrap_or(0))),
            current: current == Some(&version.id),
            integrity: match integrity.get(&version.id) {
                Some(Integrity::Damaged) => Some(("is-bad", "damaged")),
                Some(Integrity::NotChecked) => Some(("", "not checked")),
                Some(Integrity::Checked) | None => None,
            },
            by: run
                .as_ref()
                .map_or_else(String::new, |run| match run.reverted_to {
                    Some(number) => format!("{}, reverted to version {number}", started_by(run)),
                    None => started_by(run),
                }),
            actions: version_actions(
                &version.id,
                version.number,
                integrity.get(&version.id),
                opened,
            ),
        });
    }
    Ok(rows)
}
