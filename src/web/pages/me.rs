//! The person's own page: name, password, sessions, tokens and export passwords.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Redirect};
use axum_extra::extract::CookieJar;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::export_passwords::{CreatedExportPassword, ExportPasswordFields, ExportPasswordsView};
use crate::auth::{sessions, tokens, users};
use crate::clock::Millis;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Chrome, DisplayTime, Errors, Status};
use crate::web::forms::Form;
use crate::web::page::{PageResult, redirect, render, render_with_status};
use crate::web::person::Person;
use crate::web::{Web, humanize, security};

#[derive(Template)]
#[template(path = "pages/me.html")]
struct ProfilePage {
    chrome: Chrome,
    name: String,
    email: String,
    role: &'static str,
    sessions: usize,
    tokens: Vec<Token>,
    exports: ExportPasswordsView,
    errors: Errors,
}

struct Token {
    name: String,
    scope: &'static str,
    made: DisplayTime,
    last_used: DisplayTime,
    status: Status,
    until: String,
}

/// The status of a token or an export password.
pub(super) fn status(revoked_at: Option<Millis>, expires_at: Millis, now: Millis) -> Status {
    match revoked_at {
        Some(_) => Status::new("", true, "Revoked", ""),
        None if expires_at <= now => Status::new("", true, "Expired", ""),
        None => Status::new("good", false, "Active", ""),
    }
}

impl Token {
    fn new(token: tokens::Token, now: Millis) -> Self {
        let zone = &TimeZone::UTC;
        let status = status(token.revoked_at, token.expires_at, now);
        let (made, last_used) = (
            DisplayTime::ago(token.created_at, now, zone),
            DisplayTime::maybe(token.last_used_at, now, zone),
        );
        Self {
            name: token.name,
            scope: token.scope.word(),
            made,
            last_used,
            status,
            until: humanize::short(token.expires_at, now, zone),
        }
    }
}

/// `POST /me/name`
#[derive(Deserialize)]
pub struct NameFields {
    #[serde(default)]
    name: String,
}

/// `POST /me/password`
#[derive(Deserialize)]
pub struct PasswordFields {
    #[serde(default)]
    current_password: Secret,
    #[serde(default)]
    password: Secret,
    /// Any text: also revoke the API tokens and export passwords.
    revoke_tokens: Option<String>,
}

/// `GET /me`
pub async fn me(State(web): State<Web>, person: Person) -> PageResult {
    render(&page(&web, &person, Errors::default()).await?)
}

/// The page with a new export password.
pub(super) async fn page_with_export_password(
    web: &Web,
    person: &Person,
    made: CreatedExportPassword,
) -> PageResult {
    let mut page = page(web, person, Errors::default()).await?;
    page.exports.made = Some(made);
    render(&page)
}

/// The page with the errors of the export password form.
pub(super) async fn page_with_export_error(
    web: &Web,
    person: &Person,
    error: Error,
    typed: ExportPasswordFields,
) -> PageResult {
    let mut errors = Errors::default();
    if let Some(error) = errors.take(error) {
        return Err(error.into());
    }
    // The page has another field `name`, so this one gets a prefix.
    errors
        .0
        .iter_mut()
        .filter(|(field, _)| field == "name")
        .for_each(|(field, _)| field.insert_str(0, "export_"));
    let mut page = page(web, person, errors).await?;
    page.exports.typed = typed;
    render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

async fn page(
    web: &Web,
    Person { actor, session }: &Person,
    errors: Errors,
) -> Result<ProfilePage, Error> {
    let now = web.clock.now();
    Ok(ProfilePage {
        chrome: web.chrome(actor, session, "").await,
        name: actor.name.clone(),
        email: actor.email.clone(),
        role: actor.role.word(),
        sessions: web.sessions.list_for(&actor.user).await?.len(),
        tokens: tokens::list(&web.db, Some(&actor.user))
            .await?
            .into_iter()
            .map(|token| Token::new(token, now))
            .collect(),
        exports: ExportPasswordsView::of(web, actor, now).await?,
        errors,
    })
}

async fn page_with_error(
    web: &Web,
    person: &Person,
    error: Error,
    name: Option<String>,
) -> PageResult {
    let mut errors = Errors::default();
    if let Some(error) = errors.take(error) {
        return Err(error.into());
    }
    let mut page = page(web, person, errors).await?;
    page.name = name.unwrap_or(page.name);
    render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

/// The page after too many wrong passwords, with the time to wait.
async fn page_with_wait(web: &Web, person: &Person, error: Error) -> PageResult {
    let ErrorKind::TooMany { until } = error.kind() else {
        return Err(error.into());
    };
    let seconds = ((until - web.clock.now() + 999) / 1_000).max(1);
    let wait = humanize::counted(seconds, "second", "seconds");
    let mut errors = Errors::default();
    errors.add("current_password", format!("Try again in {wait}."));
    let page = page(web, person, errors).await?;
    let mut response = render_with_status(StatusCode::TOO_MANY_REQUESTS, &page)?;
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    Ok(response)
}

/// `POST /me/name`
pub async fn rename(
    State(web): State<Web>,
    from: ClientAddress,
    person: Person,
    Form(fields): Form<NameFields>,
) -> PageResult {
    if let Err(error) =
        users::rename(&web.db, &web.clock, person.audit_actor(from), &fields.name).await
    {
        return page_with_error(&web, &person, error, Some(fields.name)).await;
    }
    web.flash(&person.session, "Name saved.").await;
    redirect("/me")
}

/// `POST /me/password`
pub async fn change_password(
    State(web): State<Web>,
    from: ClientAddress,
    person: Person,
    cookies: CookieJar,
    Form(fields): Form<PasswordFields>,
) -> PageResult {
    // Throttled, so that a stolen session cannot be used to guess the password. The counter is
    // separate from that of sign-in, so that the owner can still sign in.
    let attempt = match web.throttle.admit(
        &format!("{} changes the password", person.actor.user),
        None,
        from.0,
    ) {
        Ok(attempt) => attempt,
        Err(error) => return page_with_wait(&web, &person, error).await,
    };
    let keep = sessions::handle(&person.session).await;
    let change = users::ChangePassword {
        current: &fields.current_password,
        new: &fields.password,
        keep_session: keep.as_deref(),
        revoke_tokens: fields.revoke_tokens.is_some(),
    };
    let device = match users::change_password(
        &web.db,
        &web.clock,
        &web.hasher,
        person.audit_actor(from),
        &change,
    )
    .await
    {
        Ok(device) => device,
        Err(error) => {
            if !error
                .field_errors()
                .iter()
                .any(|(field, _)| field == "current_password")
            {
                web.throttle.cancel(&attempt);
            }
            return page_with_error(&web, &person, error, None).await;
        }
    };
    web.throttle.succeeded(&attempt);
    web.flash(
        &person.session,
        "Password changed. You are signed out on all other devices.",
    )
    .await;
    sessions::renew(&person.session).await?;
    Ok((
        cookies.add(security::device_cookie(web.config.https(), &device)),
        Redirect::to("/me"),
    )
        .into_response())
}

/// `POST /me/sign-out-everywhere`
pub async fn sign_out_everywhere(
    State(web): State<Web>,
    from: ClientAddress,
    person: Person,
) -> PageResult {
    web.sessions
        .sign_out_everywhere(person.audit_actor(from))
        .await?;
    sessions::finish(&person.session, Some(from.0)).await?;
    Ok(([security::CLEAR_SITE_DATA], Redirect::to("/sign-in")).into_response())
}
