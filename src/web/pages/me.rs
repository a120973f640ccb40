//! One's own name, password, sessions, tokens and export passwords.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum_extra::extract::CookieJar;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::export_passwords::{Exports, Made, Typed};
use crate::auth::{sessions, tokens, users};
use crate::clock::Millis;
use crate::error::Error;
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::forms::Form;
use crate::web::page::{Answer, go, show, show_with};
use crate::web::parts::{Chrome, Errors, When};
use crate::web::person::Person;
use crate::web::{Web, security, words};

#[derive(Template)]
#[template(path = "pages/me.html")]
struct Page {
    chrome: Chrome,
    name: String,
    email: String,
    role: &'static str,
    sessions: usize,
    tokens: Vec<Token>,
    exports: Exports,
    errors: Errors,
}

struct Token {
    name: String,
    scope: &'static str,
    made: When,
    last_used: When,
    until: String,
}

/// Until when a token or an export password works, in words.
pub(super) fn until(revoked_at: Option<Millis>, expires_at: Millis, now: Millis) -> String {
    match revoked_at {
        Some(_) => "revoked".to_owned(),
        None if expires_at <= now => "expired".to_owned(),
        None => words::short(expires_at, now, &TimeZone::UTC),
    }
}

impl Token {
    fn new(token: tokens::Token, now: Millis) -> Self {
        let zone = &TimeZone::UTC;
        let until = until(token.revoked_at, token.expires_at, now);
        let (made, last_used) = (When::ago(token.created_at, now, zone), When::maybe(token.last_used_at, now, zone));
        Self { name: token.name, scope: token.scope.word(), made, last_used, until }
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
    /// Any text: end the API tokens and export passwords too.
    revoke_tokens: Option<String>,
}

/// `GET /me`
pub async fn me(State(web): State<Web>, person: Person) -> Answer {
    show(&page(&web, &person, Errors::default()).await?)
}

/// The page with an export password that was made just now on it.
pub(super) async fn with_export_password(web: &Web, person: &Person, made: Made) -> Answer {
    let mut page = page(web, person, Errors::default()).await?;
    page.exports.made = Some(made);
    show(&page)
}

/// The page with what is wrong about the export password that was asked for.
pub(super) async fn without_export_password(web: &Web, person: &Person, error: Error, typed: Typed) -> Answer {
    let mut errors = Errors::default();
    if let Some(error) = errors.take(error) {
        return Err(error.into());
    }
    // The page has another field of that name.
    errors.0.iter_mut().filter(|(field, _)| field == "name").for_each(|(field, _)| field.insert_str(0, "export_"));
    let mut page = page(web, person, errors).await?;
    page.exports.typed = typed;
    show_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

async fn page(web: &Web, Person { actor, session }: &Person, errors: Errors) -> Result<Page, Error> {
    let now = web.clock.now();
    Ok(Page {
        chrome: web.chrome(actor, session, "").await,
        name: actor.name.clone(),
        email: actor.email.clone(),
        role: actor.role.word(),
        sessions: web.sessions.list_for(&actor.user).await?.len(),
        tokens: tokens::list(&web.db, Some(&actor.user)).await?.into_iter().map(|token| Token::new(token, now)).collect(),
        exports: Exports::of(web, actor, now).await?,
        errors,
    })
}

async fn again(web: &Web, person: &Person, error: Error, name: Option<String>) -> Answer {
    let mut errors = Errors::default();
    if let Some(error) = errors.take(error) {
        return Err(error.into());
    }
    let mut page = page(web, person, errors).await?;
    page.name = name.unwrap_or(page.name);
    show_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

/// `POST /me/name`
pub async fn rename(State(web): State<Web>, from: ClientAddress, person: Person, Form(fields): Form<NameFields>) -> Answer {
    if let Err(error) = users::rename(&web.db, &web.clock, person.by(from), &fields.name).await {
        return again(&web, &person, error, Some(fields.name)).await;
    }
    web.say_next(&person.session, "Name saved.").await;
    go("/me")
}

/// `POST /me/password`
pub async fn change_password(State(web): State<Web>, from: ClientAddress, person: Person, cookies: CookieJar, Form(fields): Form<PasswordFields>) -> Answer {
    // Whoever holds a stolen session must not guess the password with it; counted apart from signing in, so that the owner still can.
    let attempt = web.throttle.admit(&format!("{} changes the password", person.actor.user), None, from.0)?;
    let keep = sessions::handle(&person.session).await;
    let change = users::ChangePassword {
        current: &fields.current_password,
        new: &fields.password,
        keep: keep.as_deref(),
        revoke_tokens: fields.revoke_tokens.is_some(),
    };
    let device = match users::change_password(&web.db, &web.clock, &web.hasher, person.by(from), &change).await {
        Ok(device) => device,
        Err(error) => {
            if !error.field_errors().iter().any(|(field, _)| field == "current_password") {
                web.throttle.not_looked_at(&attempt);
            }
            return again(&web, &person, error, None).await;
        }
    };
    web.throttle.succeeded(&attempt);
    web.say_next(&person.session, "Password changed. You are signed out on all other devices.").await;
    sessions::renew(&person.session).await?;
    Ok((cookies.add(security::device_cookie(web.config.https(), &device)), Redirect::to("/me")).into_response())
}

/// `POST /me/sign-out-everywhere`
pub async fn sign_out_everywhere(State(web): State<Web>, from: ClientAddress, person: Person) -> Answer {
    web.sessions.sign_out_everywhere(person.by(from)).await?;
    sessions::finish(&person.session, Some(from.0)).await?;
    Ok(([security::CLEAR_SITE_DATA], Redirect::to("/sign-in")).into_response())
}
