//! The page of a one-time link, where a new person or one who forgot the password chooses a
//! password.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use crate::auth::invites::{self, Invite};
use crate::auth::sessions::{self, Session};
use crate::auth::sign_in::SignedIn;
use crate::auth::users;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::components::Errors;
use crate::web::error_page::LINK_EXPIRED;
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{PageResult, render, render_with_status};
use crate::web::{Web, assets, security};

#[derive(Template)]
#[template(path = "pages/invite.html")]
struct InvitePage {
    asset_version: &'static str,
    code: String,
    title: String,
    words: String,
    email: String,
    errors: Errors,
}

/// The fields of the form.
#[derive(Deserialize)]
pub struct AcceptInviteFields {
    #[serde(default)]
    code: String,
    #[serde(default)]
    password: Secret,
}

/// `GET /invite/{code}`
pub async fn form(State(web): State<Web>, FirstPathId(code): FirstPathId<String>) -> PageResult {
    let invite = find(&web, &code).await?;
    render(&page(&web, code, &invite).await?)
}

/// `POST /invite`
pub async fn accept(
    State(web): State<Web>,
    ClientAddress(address): ClientAddress,
    session: Session,
    cookies: CookieJar,
    Form(fields): Form<AcceptInviteFields>,
) -> PageResult {
    let invite = find(&web, &fields.code).await?;
    let name = invite.name.clone().unwrap_or_default();
    let accept = invites::AcceptInvite {
        email: String::new(),
        name,
        password: fields.password,
        address: Some(address),
    };
    match invites::accept(&web.db, &web.clock, &web.hasher, &fields.code, &accept).await {
        Ok(SignedIn { user, device }) => {
            sessions::begin(&session, &user).await?;
            web.flash(
                &session,
                format!("Welcome, {}. Your password is saved.", user.name),
            )
            .await;
            let cookies = cookies.add(security::device_cookie(web.config.https(), &device));
            Ok((cookies, Redirect::to("/datasets")).into_response())
        }
        Err(error) => {
            let mut page = page(&web, fields.code, &invite).await?;
            match page.errors.take(error) {
                None => render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page),
                Some(error) => Err(error.into()),
            }
        }
    }
}

async fn find(web: &Web, code: &str) -> Result<Invite, Error> {
    let expired = || {
        Error::new(
            ErrorKind::NotFound,
            LINK_EXPIRED,
            "It was already used or has expired.",
        )
        .action("Ask an admin for a new link.")
    };
    invites::find(&web.db, &web.clock, code)
        .await?
        .filter(|invite| !invite.is_set_up())
        .ok_or_else(expired)
}

async fn page(web: &Web, code: String, invite: &Invite) -> Result<InvitePage, Error> {
    let email = invite.email.clone().unwrap_or_default();
    let by = match &invite.created_by {
        Some(id) => users::get(&web.db, id).await?.name,
        None => "An admin".to_owned(),
    };
    let (title, words) = match users::by_email(&web.db, &email).await? {
        Some(user) => (
            format!("Welcome back, {}", user.name),
            format!(
                "{by} created this link for you. Choose a new password. \
                 You are then signed out on all other devices, and the link stops working."
            ),
        ),
        None => (
            format!("Welcome, {}", invite.name.as_deref().unwrap_or_default()),
            format!(
                "{by} added you as {}. Choose a password. The link then stops working.",
                invite.role.word()
            ),
        ),
    };
    Ok(InvitePage {
        asset_version: assets::version(),
        code,
        title,
        words,
        email,
        errors: Errors::default(),
    })
}
