//! The page of the set-up link, which creates the first admin.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use crate::auth::invites;
use crate::auth::sessions::{self, Session};
use crate::auth::sign_in::SignedIn;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::components::Errors;
use crate::web::error_page::LINK_EXPIRED;
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{PageResult, render, render_with_status};
use crate::web::{Web, assets, security};

#[derive(Template)]
#[template(path = "pages/set_up.html")]
struct SetUpPage {
    asset_version: &'static str,
    code: String,
    name: String,
    email: String,
    errors: Errors,
}

impl SetUpPage {
    fn new(code: String) -> Self {
        Self {
            asset_version: assets::version(),
            code,
            name: String::new(),
            email: String::new(),
            errors: Errors::default(),
        }
    }
}

/// The fields of the form.
#[derive(Deserialize)]
pub struct SetUpFields {
    #[serde(default)]
    code: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: Secret,
}

/// `GET /set-up/{code}`
pub async fn form(State(web): State<Web>, FirstPathId(code): FirstPathId<String>) -> PageResult {
    is_open(&web, &code).await?;
    render(&SetUpPage::new(code))
}

/// `POST /set-up`
pub async fn become_admin(
    State(web): State<Web>,
    ClientAddress(address): ClientAddress,
    session: Session,
    cookies: CookieJar,
    Form(fields): Form<SetUpFields>,
) -> PageResult {
    is_open(&web, &fields.code).await?;
    let accept = invites::AcceptInvite {
        email: fields.email,
        name: fields.name,
        password: fields.password,
        address: Some(address),
    };
    match invites::accept(&web.db, &web.clock, &web.hasher, &fields.code, &accept).await {
        Ok(SignedIn { user, device }) => {
            sessions::begin(&session, &user).await?;
            web.flash(
                &session,
                format!("Welcome, {}. You are the admin.", user.name),
            )
            .await;
            let cookies = cookies.add(security::device_cookie(web.config.https(), &device));
            Ok((cookies, Redirect::to("/datasets")).into_response())
        }
        Err(error) => {
            let mut page = SetUpPage {
                name: accept.name,
                email: accept.email,
                ..SetUpPage::new(fields.code)
            };
            match page.errors.take(error) {
                None => render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page),
                Some(error) => Err(error.into()),
            }
        }
    }
}

async fn is_open(web: &Web, code: &str) -> Result<(), Error> {
    let expired = || {
        Error::new(
            ErrorKind::NotFound,
            LINK_EXPIRED,
            "It was already used or has expired.",
        )
        .action("Sign in, or ask an admin for a new link.")
    };
    invites::find(&web.db, &web.clock, code)
        .await?
        .filter(invites::Invite::is_set_up)
        .map(|_| ())
        .ok_or_else(expired)
}
