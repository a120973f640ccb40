//! Sign-in, sign-out, and the redirect from `/`.

use askama::Template;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use crate::auth::sessions::{self, Session};
use crate::auth::{self, invites};
use crate::error::ErrorKind;
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::forms::Form;
use crate::web::page::{PageResult, redirect, render, render_with_status};
use crate::web::person::Person;
use crate::web::{Web, assets, error_page, humanize, security};

#[derive(Template)]
#[template(path = "pages/sign_in.html")]
struct SignInPage {
    asset_version: &'static str,
    place: String,
    email: String,
    next: String,
    /// Why signing in failed; empty if it has not.
    problem: String,
    /// The same, if the person only has to wait.
    wait: String,
    /// Whether there is no person yet.
    empty: bool,
}

impl SignInPage {
    fn new(web: &Web, next: &str) -> Self {
        let (host, port) = (
            web.config.public_url.host_str().unwrap_or_default(),
            web.config.public_url.port(),
        );
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
pub struct SignInFields {
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
pub async fn form(State(web): State<Web>, person: Option<Person>, uri: Uri) -> PageResult {
    let query = uri.query().unwrap_or_default().as_bytes();
    let next = url::form_urlencoded::parse(query)
        .find(|(name, _)| name == "next")
        .map(|(_, next)| security::safe_next(&next))
        .unwrap_or_default();
    if person.is_some() {
        return redirect(if next.is_empty() { "/" } else { &next });
    }
    let empty = invites::is_set_up_open(&web.db).await?;
    render(&SignInPage {
        empty,
        ..SignInPage::new(&web, &next)
    })
}

/// `POST /sign-in`
pub async fn sign_in(
    State(web): State<Web>,
    ClientAddress(address): ClientAddress,
    session: Session,
    cookies: CookieJar,
    Form(fields): Form<SignInFields>,
) -> PageResult {
    let next = security::safe_next(&fields.next);
    if fields.email.trim().is_empty() || fields.password.reveal().is_empty() {
        let page = SignInPage {
            email: fields.email,
            problem: "Enter your email and password.".to_owned(),
            ..SignInPage::new(&web, &next)
        };
        return render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let device = cookies
        .get(auth::sign_in::device_cookie(web.config.https()))
        .map(|cookie| cookie.value().to_owned());
    let login = auth::sign_in::LoginAttempt {
        email: &fields.email,
        password: &fields.password,
        address,
        device: device.as_deref(),
    };
    let error = match auth::sign_in::sign_in(&web.db, &web.clock, &web.hasher, &web.throttle, login)
        .await
    {
        Ok(signed_in) => {
            sessions::begin(&session, &signed_in.user).await?;
            let cookies = cookies.add(security::device_cookie(
                web.config.https(),
                &signed_in.device,
            ));
            return Ok((cookies, Redirect::to(&next)).into_response());
        }
        Err(error) => error,
    };
    let mut page = SignInPage {
        email: fields.email,
        ..SignInPage::new(&web, &next)
    };
    let message = format!(
        "{} {}",
        error.message(),
        error.suggested_action().unwrap_or_default()
    );
    match error.kind() {
        ErrorKind::Unauthenticated => page.problem = message,
        ErrorKind::Unavailable => page.wait = message,
        ErrorKind::TooMany { until } => {
            let seconds = ((until - web.clock.now() + 999) / 1_000).max(1);
            page.wait = format!(
                "{} Try again in {}.",
                error.message(),
                humanize::counted(seconds, "second", "seconds")
            );
            let mut answer = render_with_status(StatusCode::TOO_MANY_REQUESTS, &page)?;
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            return Ok(answer);
        }
        _ => return Err(error.into()),
    }
    render_with_status(error_page::http_status(error.kind()), &page)
}

/// `POST /sign-out`
pub async fn sign_out(ClientAddress(address): ClientAddress, session: Session) -> PageResult {
    sessions::finish(&session, Some(address)).await?;
    Ok(([security::CLEAR_SITE_DATA], Redirect::to("/sign-in")).into_response())
}
