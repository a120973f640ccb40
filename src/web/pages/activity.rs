//! The Activity page: the newest runs that a person may see.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;

use super::run_live::{self, started_by};
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::ids::DatasetId;
use crate::puller::queue;
use crate::puller::run::{Run, RunOutcome, RunState};
use crate::web::Web;
use crate::web::components::{Chrome, DisplayTime, Pager, Status};
use crate::web::humanize::{self, grouped};
use crate::web::page::{PageResult, render};
use crate::web::person::Person;

/// The maximum number of runs listed. The History of a DataSet has all of its runs.
const MAX_RUNS_SHOWN: usize = 100;
/// The maximum number of runs that are counted per day.
const MAX_RUNS_COUNTED: i64 = 2_000;
const DAY: Millis = 24 * 60 * 60 * 1_000;

#[derive(Template)]
#[template(path = "pages/activity.html")]
struct ActivityPage {
    chrome: Chrome,
    zone: String,
    running: usize,
    failed: usize,
    succeeded: usize,
    rows: Vec<ActivityRow>,
    pager: Pager,
}

struct ActivityRow {
    dataset_id: String,
    dataset: String,
    monogram: String,
    about: String,
    run_href: String,
    started: DisplayTime,
    duration: String,
    by: String,
    rows: String,
    status: Status,
}

/// `GET /activity`
pub async fn show_activity(State(web): State<Web>, person: Person) -> PageResult {
    let now = web.clock.now();
    let runs = queue::newest(&web.db, &person.actor, MAX_RUNS_COUNTED).await?;
    let datasets: HashMap<DatasetId, Dataset> = web
        .datasets
        .list(&person.actor)
        .await?
        .into_iter()
        .map(|d| (d.id.clone(), d))
        .collect();
    let count = |is: fn(RunState) -> bool| {
        runs.iter()
            .filter(|run| now - run.finished_at.unwrap_or(now) < DAY && is(run.state))
            .filter(|run| run.outcome != Some(RunOutcome::PendingApproval))
            .count()
    };
    let zone_name = runs
        .first()
        .and_then(|run| datasets.get(&run.dataset_id))
        .map_or_else(|| "UTC".to_owned(), |dataset| dataset.time_zone.clone());
    let zone = crate::puller::schedules::zone(&zone_name).unwrap_or(TimeZone::UTC);
    let shown = runs.len().min(MAX_RUNS_SHOWN);
    let pager = Pager {
        first: "1".to_owned(),
        last: shown.to_string(),
        of: if runs.len() > MAX_RUNS_SHOWN {
            "newest runs. The History of each DataSet has all of its runs.".to_owned()
        } else {
            format!("of {}", humanize::counted(shown as i64, "run", "runs"))
        },
        page: 1,
        pages: 1,
        ..Pager::default()
    };
    render(&ActivityPage {
        chrome: web.chrome(&person.actor, &person.session, "activity").await,
        zone: zone_name,
        running: count(|state| !state.is_final()),
        failed: count(|state| matches!(state, RunState::Failed | RunState::Parked)),
        succeeded: count(|state| state == RunState::Succeeded),
        rows: runs
            .iter()
            .take(MAX_RUNS_SHOWN)
            .filter_map(|run| {
                datasets
                    .get(&run.dataset_id)
                    .map(|dataset| row(run, dataset, now, &zone))
            })
            .collect(),
        pager,
    })
}

fn row(run: &Run, dataset: &Dataset, now: Millis, zone: &TimeZone) -> ActivityRow {
    ActivityRow {
        dataset_id: dataset.id.to_string(),
        dataset: dataset.name.clone(),
        monogram: dataset.connector.monogram().to_owned(),
        about: format!(
            "{} · {}",
            dataset.report.title,
            dataset.account_name.as_deref().unwrap_or("account deleted")
        ),
        run_href: format!("/runs/{}", run.id),
        started: DisplayTime::ago(run.started_at.unwrap_or(run.queued_at), now, zone),
        duration: run
            .duration(now)
            .map_or_else(|| "–".to_owned(), humanize::span),
        by: started_by(run),
        rows: if run.state == RunState::Succeeded {
            grouped(run.rows)
        } else {
            "–".to_owned()
        },
        status: run_live::status(run),
    }
}
