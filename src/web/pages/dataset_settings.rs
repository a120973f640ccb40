//! The Settings tab of a DataSet: the four panes again, closed, and who may read it.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};

use super::connect::{FRAGMENT, next_runs_alone, preview_alone};
use crate::datasets::Dataset;
use crate::error::{Error, Result};
use crate::ids::DatasetId;
use crate::puller::schedules;
use crate::web::forms::Form;
use crate::web::page::{Answer, go, show_with};
use crate::web::panes::preview::Turns;
use crate::web::panes::typed::Typed;
use crate::web::panes::view::Wizard;
use crate::web::panes::{self, Done, For};
use crate::web::parts::{Chrome, Status, When};
use crate::web::person::Person;
use crate::web::{Web, words};

#[derive(Template)]
#[template(path = "pages/dataset_settings.html")]
struct Page {
    chrome: Chrome,
    head: DatasetHead,
    w: Wizard,
    shared: bool,
    rows_words: String,
}

/// The head above the tabs of a DataSet.
struct DatasetHead {
    id: String,
    name: String,
    monogram: String,
    description: String,
    status: Status,
    updated: When,
    size: String,
    next: String,
    owner: String,
    owner_initials: String,
    tab: &'static str,
    can_run: bool,
    mine: bool,
    running: bool,
    csv_href: String,
    excel_href: String,
}

/// `GET /datasets/{id}/settings`
pub async fn get(State(web): State<Web>, person: Person, Path(id): Path<String>) -> Answer {
    let dataset = find(&web, &person, &id).await?;
    let f = For { web: &web, actor: &person.actor, connector: dataset.connector, dataset: Some(&dataset) };
    let w = panes::settings(&f, &dataset).await?;
    page(&web, &person, &dataset, w, StatusCode::OK).await
}

/// `POST /datasets/{id}/settings`: every step of changing it.
pub async fn step(
    State(web): State<Web>,
    person: Person,
    Path(id): Path<String>,
    Extension(turns): Extension<Turns>,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    let dataset = find(&web, &person, &id).await?;
    let f = For { web: &web, actor: &person.actor, connector: dataset.connector, dataset: Some(&dataset) };
    match panes::take(&f, &turns, Typed::read(dataset.connector, fields), headers.contains_key(FRAGMENT)).await? {
        Done::Show(w, status) => page(&web, &person, &dataset, *w, status).await,
        Done::Preview(preview) => preview_alone(*preview),
        Done::NextRuns(next) => next_runs_alone(next),
        Done::Connected(..) => go(&format!("/datasets/{}/settings", dataset.id)),
        Done::Saved { .. } => {
            web.say_next(&person.session, "Saved. The next run uses these settings.").await;
            go(&format!("/datasets/{}/settings", dataset.id))
        }
    }
}

async fn find(web: &Web, person: &Person, id: &str) -> Result<Dataset> {
    let id = DatasetId::parse(id).ok_or_else(|| Error::not_found("DataSet"))?;
    web.datasets.get_to_change(&person.actor, &id).await
}

async fn page(web: &Web, person: &Person, dataset: &Dataset, w: Wizard, status: StatusCode) -> Answer {
    let contents = web.datasets.contents(&dataset.id).await?;
    let page = Page {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        head: head(web, person, dataset).await?,
        w,
        shared: dataset.shared,
        rows_words: format!("{} and {}", words::counted(contents.rows, "row", "rows"), words::counted(contents.versions, "version", "versions")),
    };
    show_with(status, &page)
}

async fn head(web: &Web, person: &Person, dataset: &Dataset) -> Result<DatasetHead> {
    let now = web.clock.now();
    let zone = schedules::zone(&dataset.time_zone)?;
    let lately = web.datasets.lately(&person.actor).await?.remove(&dataset.id).unwrap_or_default();
    let state = lately.newest.as_ref().map_or("", |(_, state, _)| state.as_str());
    let running = matches!(state, "queued" | "running" | "waiting");
    let status = match (running, lately.failed_in_a_row, &dataset.current) {
        (true, _, _) => Status::new("info", true, words::sentence(state), ""),
        (false, 1.., _) => Status::new("bad", false, "Failing", ""),
        (false, 0, Some(_)) => Status::new("good", false, "Up to date", ""),
        (false, 0, None) => Status::new("", true, "Never run", ""),
    };
    let current = dataset.current.as_ref();
    let href = |query: &str| current.map(|_| format!("/datasets/{}/data.csv{query}", dataset.id)).unwrap_or_default();
    Ok(DatasetHead {
        id: dataset.id.to_string(),
        name: dataset.name.clone(),
        monogram: dataset.connector.monogram().to_owned(),
        description: dataset.description.clone(),
        status,
        updated: When::maybe(current.map(|c| c.created_at), now, &zone),
        size: current.map_or_else(
            || "no rows yet".to_owned(),
            |c| {
                let columns = i64::try_from(c.columns).unwrap_or(i64::MAX);
                format!("{}, {}", words::counted(c.rows, "row", "rows"), words::counted(columns, "column", "columns"))
            },
        ),
        next: dataset.next_run_at.map_or_else(|| "Not scheduled".to_owned(), |at| format!("Next {}", words::coming(at, now, &zone))),
        owner: dataset.owner_name.clone(),
        owner_initials: words::initials(&dataset.owner_name),
        tab: "settings",
        can_run: dataset.is_run_by(&person.actor),
        mine: dataset.is_changed_by(&person.actor),
        running,
        csv_href: href(""),
        excel_href: href("?bom=1&formulas=guard"),
    })
}
