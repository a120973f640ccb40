//! The one shape of an error: `{"error": {"code", "message", "action"?, "field"?, "request_id"}}`. A handler's
//! error becomes this body in `render`, where the request's id is known.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tower_http::request_id::RequestId;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::error::{Error, Kind};

/// What a handler answers when it cannot do what was asked.
pub struct Refusal(pub Error);

/// What every handler of the API answers.
pub type Answer<T> = Result<T, Refusal>;

/// An error. All errors have this format.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    error: ErrorParts,
}

#[derive(Serialize, ToSchema)]
struct ErrorParts {
    /// Error code for programs.
    code: &'static str,
    /// Description for people.
    message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// The field or parameter that has a wrong value.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Id of this request in the server log.
    request_id: Option<String>,
}

impl<E: Into<Error>> From<E> for Refusal {
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

/// An error on its way out: `render` gives it its body, when the request's id is known.
#[derive(Clone)]
struct Pending(Arc<Error>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = status(self.0.kind()).into_response();
        response.extensions_mut().insert(Pending(Arc::new(self.0)));
        response
    }
}

/// Gives every error of the API its body, and its cause to the log.
pub async fn render(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).map(str::to_owned);
    let mut response = next.run(request).await;
    let Some(Pending(error)) = response.extensions_mut().remove() else { return response };
    error.log_failed_request();
    let body = ErrorBody {
        error: ErrorParts {
            code: error.code(),
            message: error.message().to_owned(),
            action: error.next_step().map(str::to_owned),
            field: error.field_errors().first().map(|(field, _)| field.clone()),
            request_id,
        },
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    match error.kind() {
        Kind::Unauthenticated => {
            parts.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Kind::Unavailable => {
            parts.headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Kind::TooMany { until } => {
            let seconds = ((until - clock.now()) / 1_000).max(1);
            parts.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        _ => {}
    }
    (parts.status, parts.headers, Json(body)).into_response()
}

/// A refusal from before the API, in the one shape.
pub fn refuse(status: StatusCode, code: &'static str, message: &str, request_id: Option<&str>) -> Response {
    let error = ErrorParts { code, message: message.to_owned(), action: None, field: None, request_id: request_id.map(str::to_owned) };
    (status, Json(ErrorBody { error })).into_response()
}

pub async fn no_such_address() -> Refusal {
    Refusal(Error::new(Kind::NotFound, "not_found", "This address does not exist in the API.").action("See /api/v1/openapi.json for all addresses."))
}

pub async fn no_such_method() -> Response {
    let refusal = Refusal(Error::new(Kind::BadRequest, "method_not_allowed", "This address does not accept this method.").action("See /api/v1/openapi.json."));
    let mut response = refusal.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().entry(ALLOW).or_insert(HeaderValue::from_static("GET, POST, PATCH, DELETE"));
    response
}
