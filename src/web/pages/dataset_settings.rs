//! The Settings tab of a DataSet: the four panes again, closed, who may read it, and whether the LiveLeader API serves it.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::connect::{next_runs_alone, preview_alone};
use super::dataset::{self, DatasetHead};
use super::dataset_upkeep::NotifyForm;
use super::export_passwords;
use crate::datasets::{Dataset, published};
use crate::ids::DatasetId;
use crate::web::forms::{Form, Id};
use crate::web::page::{Answer, FRAGMENT, go, show_with};
use crate::web::panes::preview::Turns;
use crate::web::panes::typed::Typed;
use crate::web::panes::view::Wizard;
use crate::web::panes::{self, Done, For};
use crate::web::parts::Chrome;
use crate::web::person::Person;
use crate::web::{Web, words};

#[derive(Template)]
#[template(path = "pages/dataset_settings.html")]
struct Page {
    chrome: Chrome,
    head: DatasetHead,
    w: Wizard,
    shared: bool,
    /// Of LiveLeader's chats alone.
    serving: Option<Serving>,
    n: NotifyForm,
    rows_words: String,
}

/// What the page says of the LiveLeader API.
struct Serving {
    on: bool,
    may_change: bool,
    address: String,
}

/// `GET /datasets/{id}/settings`
pub async fn get(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let f = For { web: &web, actor: &person.actor, connector: dataset.connector, dataset: Some(&dataset) };
    let w = panes::settings(&f, &dataset).await?;
    let n = NotifyForm::of(&web, &dataset).await?;
    page(&web, &person, &dataset, w, n, StatusCode::OK).await
}

/// The page again, with what is wrong in the card of notifications.
pub(super) async fn again(web: &Web, person: &Person, dataset: &Dataset, n: NotifyForm, status: StatusCode) -> Answer {
    let f = For { web, actor: &person.actor, connector: dataset.connector, dataset: Some(dataset) };
    let w = panes::settings(&f, dataset).await?;
    page(web, person, dataset, w, n, status).await
}

/// `POST /datasets/{id}/settings`: every step of changing it.
pub async fn step(
    State(web): State<Web>,
    person: Person,
    Id(id): Id<DatasetId>,
    Extension(turns): Extension<Turns>,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let f = For { web: &web, actor: &person.actor, connector: dataset.connector, dataset: Some(&dataset) };
    match panes::take(&f, &turns, Typed::read(dataset.connector, fields), headers.contains_key(FRAGMENT)).await? {
        Done::Show(w, status) => page(&web, &person, &dataset, *w, NotifyForm::of(&web, &dataset).await?, status).await,
        Done::Preview(preview) => preview_alone(*preview),
        Done::NextRuns(next) => next_runs_alone(next),
        Done::Connected(..) => go(&format!("/datasets/{}/settings", dataset.id)),
        Done::Saved { .. } => {
            web.say_next(&person.session, "Saved. The next run uses these settings.").await;
            go(&format!("/datasets/{}/settings", dataset.id))
        }
    }
}

async fn page(web: &Web, person: &Person, dataset: &Dataset, w: Wizard, n: NotifyForm, status: StatusCode) -> Answer {
    let contents = web.datasets.contents(&dataset.id).await?;
    let page = Page {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        head: dataset::open(web, &person.actor, &dataset.id, "settings").await?.head,
        w,
        shared: dataset.shared,
        serving: dataset.can_be_published().then(|| Serving {
            on: dataset.published,
            may_change: published::may(&person.actor).is_ok(),
            address: export_passwords::address(web),
        }),
        n,
        rows_words: format!("{} and {}", words::counted(contents.rows, "row", "rows"), words::counted(contents.versions, "version", "versions")),
    };
    show_with(status, &page)
}
