//! Edit name and description.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::datasets::{Description, Name};
use crate::ids::DatasetId;
use crate::web::Web;
use crate::web::asked::Id;
use crate::web::forms::Form;
use crate::web::page::{Answer, go, show, show_with};
use crate::web::parts::{Chrome, Errors};
use crate::web::person::Person;

#[derive(Template)]
#[template(path = "pages/dataset_rename.html")]
struct Page {
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
pub struct Fields {
    name: String,
    description: String,
}

/// `GET /datasets/{id}/rename`
pub async fn ask(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let chrome = web.chrome(&person.actor, &person.session, "datasets").await;
    let (name, shown_name) = (dataset.name.clone(), dataset.name);
    show(&Page { chrome, id: id.to_string(), name, description: dataset.description, shown_name, errors: Errors::default() })
}

/// `POST /datasets/{id}/rename`
pub async fn rename(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>, Form(fields): Form<Fields>) -> Answer {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let mut errors = Errors::default();
    let name = Name::parse(&fields.name).map_err(|error| errors.take(error));
    let description = Description::parse(&fields.description).map_err(|error| errors.take(error));
    let (Ok(name), Ok(description)) = (name, description) else {
        let chrome = web.chrome(&person.actor, &person.session, "datasets").await;
        let Fields { name, description } = fields;
        let page = Page { chrome, id: id.to_string(), name, description, shown_name: dataset.name, errors };
        return show_with(StatusCode::UNPROCESSABLE_ENTITY, &page);
    };
    web.datasets.rename(&person.actor, &id, &name, &description).await?;
    web.say_next(&person.session, "Name and description are saved.").await;
    go(&format!("/datasets/{id}"))
}
