//! The form to edit name and description.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::datasets::{DatasetDescription, DatasetName};
use crate::ids::DatasetId;
use crate::web::Web;
use crate::web::components::{Chrome, Errors};
use crate::web::forms::Form;
use crate::web::page::{PageResult, redirect, render, render_with_status};
use crate::web::person::Person;
use crate::web::query::PathId;

#[derive(Template)]
#[template(path = "pages/dataset_rename.html")]
struct RenamePage {
    chrome: Chrome,
    id: String,
    name: String,
    description: String,
    shown_name: String,
    errors: Errors,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct RenameFields {
    name: String,
    description: String,
}

/// `GET /datasets/{id}/rename`
pub async fn form(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let chrome = web.chrome(&person.actor, &person.session, "datasets").await;
    let (name, shown_name) = (dataset.name.clone(), dataset.name);
    render(&RenamePage {
        chrome,
        id: id.to_string(),
        name,
        description: dataset.description,
        shown_name,
        errors: Errors::default(),
    })
}

/// `POST /datasets/{id}/rename`
pub async fn rename(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
    Form(fields): Form<RenameFields>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let mut errors = Errors::default();
    let name = DatasetName::parse(&fields.name).map_err(|error| errors.take(error));
    let description =
        DatasetDescription::parse(&fields.description).map_err(|error| errors.take(error));
    let (Ok(name), Ok(description)) = (name, description) else {
        let chrome = web.chrome(&person.actor, &person.session, "datasets").await;
        let RenameFields { name, description } = fields;
        let page = RenamePage {
            chrome,
            id: id.to_string(),
            name,
            description,
            shown_name: dataset.name,
            errors,
        };
        return render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page);
    };
    web.datasets
        .rename(&person.actor, &id, &name, &description)
        .await?;
    web.flash(&person.session, "Name and description are saved.")
        .await;
    redirect(&format!("/datasets/{id}"))
}
