//! A handler's error on its way out. `render` makes it a page when the request's id and the person are known; the cause goes to the log
//! alone.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use tower_http::request_id::RequestId;

use super::Web;
use super::parts::{Action, Chrome};
use crate::auth::sessions::{self, Session};
use crate::datasets::download::TOO_MANY_DOWNLOADS;
use crate::error::{Error, Kind};

/// What a handler answers when it cannot do what was asked.
#[derive(Debug)]
pub struct Trouble(pub Error);

#[derive(Clone)]
struct Pending(Arc<Error>);

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::BadRequest => StatusCode::BAD_REQUEST,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::WrongKind => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let mut response = status(self.0.kind()).into_response();
        response.extensions_mut().insert(Pending(Arc::new(self.0)));
        response
    }
}

/// A page that is not there.
pub async fn not_found() -> Trouble {
    nothing_here()
}

/// Why there is no page for an address.
pub fn nothing_here() -> Trouble {
    Trouble(Error::new(Kind::NotFound, "not_found", "There is no such page, or it is not shared with you."))
}

/// An address that is there, but not for that method.
pub async fn wrong_method() -> Response {
    let mut response = Trouble(Error::new(Kind::BadRequest, "method_not_allowed", "This URL does not support this request method.")).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

#[derive(Template)]
#[template(path = "error.html")]
struct Page {
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
struct BarePage {
    asset_version: String,
    title: String,
    happened: String,
    next: String,
    request_id: String,
    href: String,
    label: String,
}

/// The page for a request that came no further than the door, or fell into the net around the handlers.
pub fn at_the_door(request_id: Option<&str>, refusal: super::security::Refusal) -> Response {
    let page = BarePage {
        asset_version: super::assets::version().to_owned(),
        title: if refusal.status.is_server_error() { "Something went wrong" } else { "Request not accepted" }.to_owned(),
        happened: refusal.message.to_owned(),
        next: String::new(),
        request_id: request_id.unwrap_or_default().to_owned(),
        href: "/datasets".to_owned(),
        label: "Go to DataSets".to_owned(),
    };
    (refusal.status, Html(page.render().unwrap_or_else(|_| refusal.message.to_owned()))).into_response()
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Unauthenticated => "Sign in first",
        Kind::Forbidden => "You do not have permission",
        Kind::NotFound => "Page not found",
        Kind::BadRequest | Kind::TooLarge | Kind::WrongKind | Kind::Unprocessable => "Request not accepted",
        Kind::Conflict => "Not possible right now",
        Kind::TooMany { .. } => "Too many attempts",
        Kind::Unavailable => "Temporarily unavailable",
        Kind::Internal => "Something went wrong",
    }
}

/// Makes a page of every error.
pub async fn render(State(web): State<Web>, request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or_default().to_owned();
    let session = request.extensions().get::<Session>().cloned();
    let mut response = next.run(request).await;
    let Some(Pending(error)) = response.extensions_mut().remove() else { return response };
    error.log_failed_request();
    let html = page(&web, session.as_ref(), &error, request_id).await;
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(axum::http::header::CONTENT_TYPE);
    if let Kind::TooMany { until } = error.kind() {
        parts.headers.insert(RETRY_AFTER, HeaderValue::from(((until - web.clock.now()) / 1_000).max(1)));
    }
    (parts.status, parts.headers, Html(html)).into_response()
}

async fn page(web: &Web, session: Option<&Session>, error: &Error, request_id: String) -> String {
    let person = match session {
        Some(session) => sessions::actor_of(&web.db, session).await.ok().flatten().map(|actor| (actor, session)),
        None => None,
    };
    let title = if error.code() == TOO_MANY_DOWNLOADS { "Too many downloads" } else { title(error.kind()) };
    let (title, happened, next) = (title.to_owned(), error.message().to_owned(), error.next_step().unwrap_or_default().to_owned());
    let rendered = match person {
        Some((actor, session)) => {
            let chrome = web.chrome(&actor, session, "").await;
            let actions = vec![Action { label: "Go to DataSets".to_owned(), href: "/datasets".to_owned(), primary: true, post: false }];
            Page { chrome, title, happened, who: String::new(), next, request_id, actions }.render()
        }
        None => BarePage {
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
