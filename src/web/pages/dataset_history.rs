//! History: every run with its record, and the versions that are kept.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;

use super::calendar::Calendar;
use super::dataset::{DatasetHead, Opened, open};
use super::dataset_coverage::{newest, why_not};
use super::dataset_status::change_in_words;
use super::dataset_versions::room;
use super::history_charts::{Picture, pictures};
use super::run_live::{self, Live, started_by};
use super::run_record::{Question, RunRecord, sums};
use crate::clock::timestamp;
use crate::datasets::versions::{Integrity, Version};
use crate::ids::{DatasetId, VersionId};
use crate::puller::run::{Outcome, Run, State as RunState};
use crate::puller::windows::{self, Line};
use crate::puller::{coverage, queue};
use crate::web::Web;
use crate::web::asked::{Asked, Id};
use crate::web::page::{Answer, show};
use crate::web::parts::{Chrome, Fact, Pager, Status, When};
use crate::web::person::Person;
use crate::web::words::{self, grouped};

const PER_PAGE: i64 = 25;
/// A run with more windows shows them on its own page only.
const MOST_WINDOWS: usize = 62;

#[derive(Template)]
#[template(path = "pages/dataset_history.html")]
struct Page {
    chrome: Chrome,
    head: DatasetHead,
    live: Option<Live>,
    sums: Vec<Fact>,
    zone: String,
    runs: Vec<RunRow>,
    pager: Pager,
    versions: Vec<VersionRow>,
    keep_words: String,
    room: String,
    calendar: Option<Calendar>,
    can_backfill: bool,
    pictures: Vec<Picture>,
}

struct RunRow {
    started: When,
    duration: String,
    by: String,
    asked: String,
    rows: String,
    rows_line: String,
    status: Status,
    open: bool,
    run: RunRecord,
    /// What can be done with the version that it made, while that is kept.
    acts: Option<Acts>,
}

/// Where a version's rows are, and what can be done with them: addresses, empty where it cannot.
struct Acts {
    number: u64,
    look_href: String,
    csv_href: String,
    revert_href: String,
    delete_href: String,
}

struct VersionRow {
    number: u64,
    made: When,
    rows: String,
    columns: usize,
    size: String,
    alone: String,
    current: bool,
    /// What is known of its files: a tone and words; nothing to say of one that is checked.
    integrity: Option<(&'static str, &'static str)>,
    by: String,
    acts: Acts,
}

/// `GET /datasets/{id}/history`
pub async fn show_history(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>, asked: Asked) -> Answer {
    let opened = open(&web, &person.actor, &id, "history").await?;
    let count = queue::count(&web.db, &id).await?;
    let pages = count.max(1).unsigned_abs().div_ceil(PER_PAGE.unsigned_abs());
    let page = asked.page().min(pages);
    let offset = i64::try_from(page - 1).unwrap_or(0) * PER_PAGE;
    let kept = web.datasets.versions.list(&id).await?;
    let integrity: HashMap<VersionId, Integrity> = web.datasets.versions.integrity(&id).await?.into_iter().map(|of| (of.version.clone(), of.state())).collect();
    let mut runs = Vec::new();
    for run in queue::of_dataset(&web.db, &id, offset, PER_PAGE).await? {
        let run = run.seen_with(&opened.dataset);
        let lines = windows::of_run(&web.db, &run.id).await?;
        let open = runs.is_empty() && offset == 0 && matches!(run.state, RunState::Failed | RunState::Parked);
        let version = run.version_id.as_ref().and_then(|id| kept.iter().find(|version| version.id == *id));
        let acts = version.map(|version| acts(&version.id, version.number, integrity.get(&version.id), &opened));
        runs.push(row(&run, lines, &opened, open, acts));
    }
    let to = |page: u64| format!("/datasets/{id}/history?page={page}");
    let pager = Pager {
        first: grouped(offset + i64::from(count > 0)),
        last: grouped((offset + PER_PAGE).min(count)),
        of: format!("of {}", words::counted(count, "run", "runs")),
        page,
        pages,
        previous: if page > 1 { to(page - 1) } else { String::new() },
        next: if page < pages { to(page + 1) } else { String::new() },
        jump: String::new(),
    };
    let keep = web.datasets.versions.own_keep(&id).await?.or(web.datasets.versions.keep());
    let days = coverage::of_dataset(&web.db, &web.clock, &opened.dataset).await?;
    show(&Page {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        sums: summary(&web, &opened).await?,
        zone: opened.dataset.time_zone.clone(),
        versions: versions(&web, &opened, &kept, &integrity).await?,
        keep_words: format!(
            "Keeps {}, up to {}. The current version is always kept.",
            words::counted(i64::from(keep.versions), "version", "versions"),
            words::counted(i64::from(keep.days), "day", "days")
        ),
        room: room(&web, &id).await?,
        calendar: newest(&days, &opened.dataset),
        can_backfill: opened.head.can_run && why_not(&opened).is_empty(),
        pictures: pictures(&opened.pulls, opened.now, &opened.zone),
        head: opened.head,
        live: opened.live,
        runs,
        pager,
    })
}

fn row(run: &Run, mut lines: Vec<Line>, opened: &Opened, open: bool, acts: Option<Acts>) -> RunRow {
    let asked = run.back_to.map_or_else(|| span_of(&lines, opened), |number| format!("reverted to version {number}"));
    if lines.len() > MOST_WINDOWS {
        lines.clear();
    }
    let (rows, rows_line) = match run.state {
        RunState::Succeeded if run.outcome == Some(Outcome::Kept) => ("0".to_owned(), "existing rows unchanged".to_owned()),
        RunState::Succeeded if run.outcome == Some(Outcome::Unchanged) => (grouped(run.rows), "no changes".to_owned()),
        RunState::Succeeded if run.brought_none() && run.change().unwrap_or(0) == 0 => {
            ("0".to_owned(), format!("now {}", words::counted(run.rows_after.unwrap_or_default(), "row", "rows")))
        }
        RunState::Failed if run.outcome == Some(Outcome::Held) => (grouped(run.rows), "waiting for approval".to_owned()),
        RunState::Succeeded => {
            let after = words::counted(run.rows_after.unwrap_or(run.rows), "row", "rows");
            (
                run.change().map_or_else(|| "first rows".to_owned(), |change| change_in_words(change).replace(" rows", "").replace(" row", "")),
                format!("now {after}"),
            )
        }
        state if state.is_final() => ("0".to_owned(), "nothing saved".to_owned()),
        _ => ("–".to_owned(), String::new()),
    };
    RunRow {
        started: When::clock(run.started_at.unwrap_or(run.queued_at), &opened.zone),
        duration: run.duration(opened.now).map_or_else(|| "–".to_owned(), words::span),
        by: started_by(run),
        asked,
        rows,
        rows_line,
        status: run_live::status(run),
        open,
        acts,
        run: RunRecord::new(run, &lines, &Question { dataset: &opened.dataset, zone: &opened.zone, now: opened.now, own_page: false, told_above: false }),
    }
}

/// The days from the first window to the last.
fn span_of(lines: &[Line], opened: &Opened) -> String {
    let windows = || lines.iter().filter_map(|line| line.window);
    let whole = windows().map(|w| w.from).min().zip(windows().map(|w| w.to).max());
    match whole {
        Some((from, to)) => words::days_brief(from, to, timestamp(opened.now).to_zoned(opened.zone.clone()).year()),
        None if lines.is_empty() => "–".to_owned(),
        None => "everything".to_owned(),
    }
}

/// Over all runs but those that somebody stopped, chunks of backfills and going back.
async fn summary(web: &Web, opened: &Opened) -> crate::error::Result<Vec<Fact>> {
    let sums = queue::summary(&web.db, &opened.dataset.id).await?;
    let rate = format!("{} of {}", grouped(sums.succeeded), words::counted(sums.over, "run", "runs"));
    let Some(last) = sums.last_success else { return Ok(vec![Fact::new("Last success", "none yet"), Fact::new("Success rate", rate)]) };
    Ok(vec![
        Fact::new("Last success", words::relative(last.finished_at.unwrap_or(last.queued_at), opened.now)),
        Fact::new("Average duration", words::span(sums.average_ms)),
        Fact::new("Success rate", rate),
        Fact::new("Read and saved", self::sums(&last, opened.dataset.report)),
    ])
}

fn acts(id: &VersionId, number: u64, integrity: Option<&Integrity>, opened: &Opened) -> Acts {
    let dataset = &opened.dataset;
    let is_current = dataset.current.as_ref().is_some_and(|current| current.version == *id);
    let to = |what: &str| if opened.head.mine && !is_current { format!("/datasets/{}/versions/{id}/{what}", dataset.id) } else { String::new() };
    Acts {
        number,
        look_href: if is_current { format!("/datasets/{}/data", dataset.id) } else { format!("/datasets/{}/data?version={id}", dataset.id) },
        csv_href: format!("/datasets/{}/download?version={id}", dataset.id),
        // A damaged version would only move the damage to where people read.
        revert_href: if integrity == Some(&Integrity::Damaged) { String::new() } else { to("revert") },
        delete_href: to("delete"),
    }
}

async fn versions(web: &Web, opened: &Opened, kept: &[Version], integrity: &HashMap<VersionId, Integrity>) -> crate::error::Result<Vec<VersionRow>> {
    let current = opened.dataset.current.as_ref().map(|c| &c.version);
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let sizes = web.datasets.versions.sizes(&opened.dataset.id).await?;
    let mut rows = Vec::with_capacity(kept.len());
    for version in kept {
        let run = match &version.run {
            Some(run) => queue::get(&web.db, run).await?,
            None => None,
        };
        rows.push(VersionRow {
            number: version.number,
            made: When::ago(version.created_at, opened.now, &opened.zone),
            rows: grouped(signed(version.rows)),
            columns: version.columns.len(),
            size: words::size(signed(version.bytes)),
            alone: words::size(signed(sizes.alone.get(&version.id).copied().unwrap_or(0))),
            current: current == Some(&version.id),
            integrity: match integrity.get(&version.id) {
                Some(Integrity::Damaged) => Some(("is-bad", "damaged")),
                Some(Integrity::NotChecked) => Some(("", "not checked")),
                Some(Integrity::Checked) | None => None,
            },
            by: run.as_ref().map_or_else(String::new, |run| match run.back_to {
                Some(number) => format!("{}, reverted to version {number}", started_by(run)),
                None => started_by(run),
            }),
            acts: acts(&version.id, version.number, integrity.get(&version.id), opened),
        });
    }
    Ok(rows)
}
