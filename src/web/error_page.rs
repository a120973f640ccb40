//! The error of a page handler. `render` writes the page once the request id and the person are
//! known, and logs the cause.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use tower_http::request_id::RequestId;

use super::Web;
use super::components::{Action, Chrome};
use crate::auth::sessions::{self, Session};
use crate::datasets::download::TOO_MANY_DOWNLOADS;
pub use crate::error::http_status;
use crate::error::{Error, ErrorKind};

/// The code of a one-time link that was used or has expired.
pub const LINK_EXPIRED: &str = "link_expired";

/// The error type of all page handlers.
#[derive(Debug)]
pub struct PageError(pub Error);

#[derive(Clone)]
struct PendingError(Arc<Error>);

impl<E: Into<Error>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut response = http_status(self.0.kind()).into_response();
        response
            .extensions_mut()
            .insert(PendingError(Arc::new(self.0)));
        response
    }
}

/// The handler for unknown paths.
pub async fn not_found() -> PageError {
    not_found_error()
}

/// The error for a page that does not exist.
pub fn not_found_error() -> PageError {
    PageError(Error::new(
        ErrorKind::NotFound,
        "not_found",
        "There is no such page, or it is not shared with you.",
    ))
}

/// The handler for a known path with another method.
pub async fn method_not_allowed() -> Response {
    let mut response = PageError(Error::new(
        ErrorKind::BadRequest,
        "method_not_allowed",
        "This URL does not support this request method.",
    ))
    .into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    chrome: Chrome,
    title: String,
    happened: String,
    who: String,
    next: String,
    request_id: String,
    actions: Vec<Action>,
}

#[derive(Template)]
#[template(path = "error_bare.html")]
struct BareErrorPage {
    asset_version: String,
    title: String,
    happened: String,
    next: String,
    request_id: String,
    href: String,
    label: String,
}

/// The error page for a request that was rejected before routing or whose handler panicked.
pub fn rejection_page(request_id: Option<&str>, rejection: super::security::Rejection) -> Response {
    let page = BareErrorPage {
        asset_version: super::assets::version().to_owned(),
        title: if rejection.status.is_server_error() {
            "Something went wrong"
        } else {
            "Request not accepted"
        }
        .to_owned(),
        happened: rejection.message.to_owned(),
        next: String::new(),
        request_id: request_id.unwrap_or_default().to_owned(),
        href: "/datasets".to_owned(),
        label: "Go to DataSets".to_owned(),
    };
    (
        rejection.status,
        Html(
            page.render()
                .unwrap_or_else(|_| rejection.message.to_owned()),
        ),
    )
        .into_response()
}

fn title(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthenticated => "Sign in first",
        ErrorKind::Forbidden => "You do not have permission",
        ErrorKind::NotFound => "Page not found",
        ErrorKind::BadRequest
        | ErrorKind::TooLarge
        | ErrorKind::UnsupportedMediaType
        | ErrorKind::Unprocessable => "Request not accepted",
        ErrorKind::Conflict => "Not possible right now",
        ErrorKind::TooMany { .. } => "Too many attempts",
        ErrorKind::Unavailable => "Temporarily unavailable",
        ErrorKind::Internal => "Something went wrong",
    }
}

/// Writes the page of every error.
pub async fn render(State(web): State<Web>, request: Request, next: Next) -> Response {
    let request_id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let session = request.extensions().get::<Session>().cloned();
    let mut response = next.run(request).await;
    let Some(PendingError(error)) = response.extensions_mut().remove() else {
        return response;
    };
    error.log_failed_request();
    let html = page(&web, session.as_ref(), &error, request_id).await;
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(axum::http::header::CONTENT_TYPE);
    if let ErrorKind::TooMany { until } = error.kind() {
        parts.headers.insert(
            RETRY_AFTER,
            HeaderValue::from(((until - web.clock.now()) / 1_000).max(1)),
        );
    }
    (parts.status, parts.headers, Html(html)).into_response()
}

async fn page(web: &Web, session: Option<&Session>, error: &Error, request_id: String) -> String {
    let person = match session {
        Some(session) => sessions::actor_of(&web.db, session)
            .await
            .ok()
            .flatten()
            .map(|actor| (actor, session)),
        None => None,
    };
    let title = match error.code() {
        TOO_MANY_DOWNLOADS => "Too many downloads",
        LINK_EXPIRED => "This link no longer works",
        _ => title(error.kind()),
    };
    let (title, happened, next) = (
        title.to_owned(),
        error.message().to_owned(),
        error.suggested_action().unwrap_or_default().to_owned(),
    );
    let rendered = match person {
        Some((actor, session)) => {
            let chrome = web.chrome(&actor, session, "").await;
            let actions = vec![Action {
                label: "Go to DataSets".to_owned(),
                href: "/datasets".to_owned(),
                primary: true,
                post: false,
            }];
            ErrorPage {
                chrome,
                title,
                happened,
                who: String::new(),
                next,
                request_id,
                actions,
            }
            .render()
        }
        None => BareErrorPage {
            asset_version: super::assets::version().to_owned(),
            title,
            happened,
            next,
            request_id,
            href: "/sign-in".to_owned(),
            label: "Sign in".to_owned(),
        }
        .render(),
    };
    rendered.unwrap_or_else(|_| "Something went wrong.".to_owned())
}
