//! The form to add a person. The response shows a one-time link to hand over.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::settings;
use crate::auth::{Role, invites};
use crate::web::Web;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Chrome, Errors};
use crate::web::forms::Form;
use crate::web::page::{PageResult, render, render_with_status};
use crate::web::person::{Admin, Person};

#[derive(Template)]
#[template(path = "pages/person_new.html")]
struct NewPersonPage {
    chrome: Chrome,
    name: String,
    email: String,
    role: String,
    errors: Errors,
}

/// The fields of the form.
#[derive(Default, Deserialize)]
pub struct NewPersonFields {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    role: String,
}

/// `GET /settings/people/new`
pub async fn form(State(web): State<Web>, Admin(person): Admin) -> PageResult {
    let fields = NewPersonFields {
        role: Role::Viewer.word().to_owned(),
        ..NewPersonFields::default()
    };
    render(&page(&web, &person, fields, Errors::default()).await)
}

/// `POST /settings/people/new`
pub async fn add(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    Form(fields): Form<NewPersonFields>,
) -> PageResult {
    let mut errors = Errors::default();
    let Some(role) = Role::parse(&fields.role) else {
        errors.add("role", "Choose viewer, editor or admin.");
        return render_with_status(
            StatusCode::UNPROCESSABLE_ENTITY,
            &page(&web, &person, fields, errors).await,
        );
    };
    match invites::create(
        &web.db,
        &web.clock,
        person.audit_actor(from),
        &fields.email,
        &fields.name,
        role,
    )
    .await
    {
        Ok((invite, code)) => settings::with_link(&web, &person, &invite, &code).await,
        Err(error) => match errors.take(error) {
            None => render_with_status(
                StatusCode::UNPROCESSABLE_ENTITY,
                &page(&web, &person, fields, errors).await,
            ),
            Some(error) => Err(error.into()),
        },
    }
}

async fn page(
    web: &Web,
    person: &Person,
    fields: NewPersonFields,
    errors: Errors,
) -> NewPersonPage {
    let chrome = web.chrome(&person.actor, &person.session, "settings").await;
    NewPersonPage {
        chrome,
        name: fields.name,
        email: fields.email,
        role: fields.role,
        errors,
    }
}
