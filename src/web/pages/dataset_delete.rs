//! The confirmation page before a DataSet is deleted. It lists what is deleted with it.

use askama::Template;
use axum::extract::State;

use crate::ids::DatasetId;
use crate::puller::queue;
use crate::web::Web;
use crate::web::components::Chrome;
use crate::web::humanize::counted;
use crate::web::page::{PageResult, redirect, render};
use crate::web::person::Person;
use crate::web::query::PathId;

#[derive(Template)]
#[template(path = "pages/dataset_delete.html")]
struct DeleteDatasetPage {
    chrome: Chrome,
    id: String,
    name: String,
    rows: String,
    versions: String,
    runs: String,
    running: bool,
    problem: String,
}

/// `GET /datasets/{id}/delete`
pub async fn form(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let contents = web.datasets.contents(&id).await?;
    let newest = queue::of_dataset(&web.db, &id, 0, 1).await?;
    render(&DeleteDatasetPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        id: id.to_string(),
        name: dataset.name,
        rows: counted(contents.rows, "row", "rows"),
        versions: counted(contents.versions, "version", "versions"),
        runs: counted(queue::count(&web.db, &id).await?, "run", "runs"),
        running: newest.iter().any(|run| !run.state.is_final()),
        problem: String::new(),
    })
}

/// `POST /datasets/{id}/delete`
pub async fn delete(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    web.datasets.delete(&person.actor, &id).await?;
    web.flash(
        &person.session,
        format!("“{}” deleted, with its rows and versions.", dataset.name),
    )
    .await;
    redirect("/datasets")
}
