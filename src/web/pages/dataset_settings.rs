//! The Settings tab of a DataSet: the four panes, sharing, notifications, and publishing by the
//! LiveLeader API.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::connect::{next_runs_fragment, preview_fragment};
use super::dataset::{self, DatasetHeader};
use super::dataset_notifications::NotifyForm;
use super::export_passwords;
use crate::datasets::{Dataset, published};
use crate::ids::DatasetId;
use crate::web::components::Chrome;
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{FRAGMENT, PageResult, redirect, render_with_status};
use crate::web::panes::form_fields::FormFields;
use crate::web::panes::preview::PreviewLocks;
use crate::web::panes::view::Wizard;
use crate::web::panes::{self, FormContext, FormOutcome};
use crate::web::person::Person;
use crate::web::{Web, humanize};

#[derive(Template)]
#[template(path = "pages/dataset_settings.html")]
struct DatasetSettingsPage {
    chrome: Chrome,
    head: DatasetHeader,
    w: Wizard,
    shared: bool,
    /// Only for the LiveLeader report Chats.
    serving: Option<PublishState>,
    n: NotifyForm,
    rows_words: String,
}

/// The card about the LiveLeader API.
struct PublishState {
    on: bool,
    may_change: bool,
    address: String,
}

/// `GET /datasets/{id}/settings`
pub async fn get(
    State(web): State<Web>,
    person: Person,
    FirstPathId(id): FirstPathId<DatasetId>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let f = FormContext {
        web: &web,
        actor: &person.actor,
        connector: dataset.connector,
        dataset: Some(&dataset),
    };
    let w = panes::existing_dataset(&f, &dataset).await?;
    let n = NotifyForm::of(&web, &dataset).await?;
    page(&web, &person, &dataset, w, n, StatusCode::OK).await
}

/// Shows the page again with the errors of the notifications card.
pub(super) async fn with_notify_form(
    web: &Web,
    person: &Person,
    dataset: &Dataset,
    n: NotifyForm,
    status: StatusCode,
) -> PageResult {
    let f = FormContext {
        web,
        actor: &person.actor,
        connector: dataset.connector,
        dataset: Some(dataset),
    };
    let w = panes::existing_dataset(&f, dataset).await?;
    page(web, person, dataset, w, n, status).await
}

/// `POST /datasets/{id}/settings`: handles every action of the form that changes a DataSet.
pub async fn step(
    State(web): State<Web>,
    person: Person,
    FirstPathId(id): FirstPathId<DatasetId>,
    Extension(preview_locks): Extension<PreviewLocks>,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, String)>>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let f = FormContext {
        web: &web,
        actor: &person.actor,
        connector: dataset.connector,
        dataset: Some(&dataset),
    };
    match panes::handle(
        &f,
        &preview_locks,
        FormFields::read(dataset.connector, fields),
        headers.contains_key(FRAGMENT),
    )
    .await?
    {
        FormOutcome::Show(w, status) => {
            page(
                &web,
                &person,
                &dataset,
                *w,
                NotifyForm::of(&web, &dataset).await?,
                status,
            )
            .await
        }
        FormOutcome::Preview(preview) => preview_fragment(*preview),
        FormOutcome::NextRuns(next) => next_runs_fragment(next),
        FormOutcome::Connected(..) => redirect(&format!("/datasets/{}/settings", dataset.id)),
        FormOutcome::Saved { .. } => {
            web.flash(&person.session, "Saved. The next run uses these settings.")
                .await;
            redirect(&format!("/datasets/{}/settings", dataset.id))
        }
    }
}

async fn page(
    web: &Web,
    person: &Person,
    dataset: &Dataset,
    w: Wizard,
    n: NotifyForm,
    status: StatusCode,
) -> PageResult {
    let contents = web.datasets.contents(&dataset.id).await?;
    let page = DatasetSettingsPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        head: dataset::open_dataset(web, &person.actor, &dataset.id, "settings")
            .await?
            .head,
        w,
        shared: dataset.shared,
        serving: dataset.can_be_published().then(|| PublishState {
            on: dataset.published,
            may_change: published::require_publisher(&person.actor).is_ok(),
            address: export_passwords::export_api_url(web),
        }),
        n,
        rows_words: format!(
            "{} and {}",
            humanize::counted(contents.rows, "row", "rows"),
            humanize::counted(contents.versions, "version", "versions")
        ),
    };
    render_with_status(status, &page)
}
