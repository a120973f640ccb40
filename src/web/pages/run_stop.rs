//! The confirmation page before a run is cancelled, and the cancellation.

use askama::Template;
use axum::extract::State;

use crate::ids::RunId;
use crate::web::Web;
use crate::web::components::Chrome;
use crate::web::humanize::{counted, signed};
use crate::web::page::{PageResult, redirect, render};
use crate::web::person::Person;
use crate::web::query::PathId;

#[derive(Template)]
#[template(path = "pages/run_stop.html")]
struct StopPage {
    chrome: Chrome,
    id: String,
    dataset_id: String,
    name: String,
    so_far: String,
    stays: String,
    problem: String,
}

/// `GET /runs/{id}/stop`
pub async fn form(State(web): State<Web>, person: Person, PathId(id): PathId<RunId>) -> PageResult {
    let run = web.puller.get(&person.actor, &id).await?;
    let dataset = web
        .datasets
        .get_to_run(&person.actor, &run.dataset_id)
        .await?;
    let (one, many) = dataset.report.records();
    let so_far = web
        .puller
        .live
        .current(&id)
        .filter(|p| p.read > 0 || p.rows > 0)
        .map(|p| match p.rows {
            0 => counted(
                signed(p.read),
                &format!("{one} pulled"),
                &format!("{many} pulled"),
            ),
            rows => counted(signed(rows), "row pulled", "rows pulled"),
        });
    let problem = match (run.state.is_final(), run.cancel_requested) {
        (true, _) => "The run has already ended.",
        (false, true) => "The run is already being cancelled.",
        (false, false) => "",
    };
    render(&StopPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        id: id.to_string(),
        dataset_id: dataset.id.to_string(),
        so_far: so_far.unwrap_or_default(),
        stays: dataset.current.as_ref().map_or_else(
            || "The DataSet has no rows yet.".to_owned(),
            |current| {
                format!(
                    "The current version ({}) stays available.",
                    counted(current.rows, "row", "rows")
                )
            },
        ),
        problem: problem.to_owned(),
        name: dataset.name,
    })
}

/// `POST /runs/{id}/stop`
pub async fn stop(State(web): State<Web>, person: Person, PathId(id): PathId<RunId>) -> PageResult {
    let before = web.puller.get(&person.actor, &id).await?;
    let run = web.puller.cancel(&person.actor, &id).await?;
    let sentence = if before.state.is_final() {
        "The run had already ended."
    } else if run.state.is_final() {
        "Run cancelled. Nothing was saved."
    } else {
        "Cancelling the run. Nothing is saved."
    };
    web.flash(&person.session, sentence).await;
    redirect(&format!("/datasets/{}", run.dataset_id))
}
