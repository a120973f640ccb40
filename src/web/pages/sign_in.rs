//! Signing in and out, and the way from `/`.

use askama::Template;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use crate::auth::sessions::{self, Session};
use crate::auth::{invites, sign_in};
use crate::error::Kind;
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::forms::Form;
use crate::web::page::{Answer, go, show, show_with};
use crate::web::person::Person;
use crate::web::{Web, assets, error_page, security, words};

#[derive(Template)]
#[template(path = "pages/sign_in.html")]
struct Page {
    asset_version: &'static str,
    place: String,
    email: String,
    next: String,
    problem: String,
    wait: String,
    /// Nobody is here yet.
    empty: bool,
}

impl Page {
    fn new(web: &Web, next: &str) -> Self {
        let (host, port) = (web.config.public_url.host_str().unwrap_or_default(), web.config.public_url.port());
        Self {
            asset_version: assets::version(),
            place: port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            email: String::new(),
            next: next.to_owned(),
            problem: String::new(),
            wait: String::new(),
            empty: false,
        }
    }
}

/// The fields of the form.
#[derive(Deserialize)]
pub struct Fields {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: Secret,
    #[serde(default)]
    next: String,
}

/// `GET /`
pub async fn root() -> Redirect {
    Redirect::to("/datasets")
}

/// `GET /sign-in`
pub async fn form(State(web): State<Web>, person: Option<Person>, uri: Uri) -> Answer {
    let query = uri.query().unwrap_or_default().as_bytes();
    let next = url::form_urlencoded::parse(query).find(|(name, _)| name == "next").map(|(_, next)| security::safe_next(&next)).unwrap_or_default();
    if person.is_some() {
        return go(if next.is_empty() { "/" } else { &next });
    }
    let empty = invites::is_set_up_open(&web.db).await?;
    show(&Page { empty, ..Page::new(&web, &next) })
}

/// `POST /sign-in`
pub async fn enter(State(web): State<Web>, ClientAddress(address): ClientAddress, session: Session, cookies: CookieJar, Form(fields): Form<Fields>) -> Answer {
    let next = security::safe_next(&fields.next);
    let device = cookies.get(sign_in::device_cookie(web.config.https())).map(|cookie| cookie.value().to_owned());
    let given = sign_in::Given { email: &fields.email, password: &fields.password, address, device: device.as_deref() };
    let error = match sign_in::sign_in(&web.db, &web.clock, &web.hasher, &web.throttle, given).await {
        Ok(signed_in) => {
            sessions::begin(&session, &signed_in.user).await?;
            let cookies = cookies.add(security::device_cookie(web.config.https(), &signed_in.device));
            return Ok((cookies, Redirect::to(&next)).into_response());
        }
        Err(error) => error,
    };
    let mut page = Page { email: fields.email, ..Page::new(&web, &next) };
    let said = format!("{} {}", error.message(), error.next_step().unwrap_or_default());
    match error.kind() {
        Kind::Unauthenticated => page.problem = said,
        Kind::Unavailable => page.wait = said,
        Kind::TooMany { until } => {
            let seconds = ((until - web.clock.now() + 999) / 1_000).max(1);
            page.wait = format!("{} Try again in {}.", error.message(), words::counted(seconds, "second", "seconds"));
            let mut answer = show_with(StatusCode::TOO_MANY_REQUESTS, &page)?;
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            return Ok(answer);
        }
        _ => return Err(error.into()),
    }
    show_with(error_page::status(error.kind()), &page)
}

/// `POST /sign-out`
pub async fn leave(ClientAddress(address): ClientAddress, session: Session) -> Answer {
    sessions::finish(&session, Some(address)).await?;
    Ok(([security::CLEAR_SITE_DATA], Redirect::to("/sign-in")).into_response())
}
