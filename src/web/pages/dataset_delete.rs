//! Delete a DataSet, after naming what goes with it.

use askama::Template;
use axum::extract::State;

use crate::ids::DatasetId;
use crate::puller::queue;
use crate::web::Web;
use crate::web::asked::Id;
use crate::web::page::{Answer, go, show};
use crate::web::parts::Chrome;
use crate::web::person::Person;
use crate::web::words::counted;

#[derive(Template)]
#[template(path = "pages/dataset_delete.html")]
struct Page {
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
pub async fn ask(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let contents = web.datasets.contents(&id).await?;
    let newest = queue::of_dataset(&web.db, &id, 0, 1).await?;
    show(&Page {
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
pub async fn delete(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    web.datasets.delete(&person.actor, &id).await?;
    web.say_next(&person.session, format!("“{}” deleted, with its rows and versions.", dataset.name)).await;
    go("/datasets")
}
