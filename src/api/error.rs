//! The error body of the API: `{"error": {"code", "message", "action"?, "field"?, "request_id"}}`.
//! Handlers return an error; `render` writes the body, because the request id is known there.

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
pub use crate::error::http_status;
use crate::error::{Error, ErrorKind};

/// The error type of all handlers.
pub struct ApiError(pub Error);

/// The result type of all handlers.
pub type ApiResult<T> = Result<T, ApiError>;

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

impl<E: Into<Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// An error in a response. `render` writes its body once the request id is known.
#[derive(Clone)]
struct PendingError(Arc<Error>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = http_status(self.0.kind()).into_response();
        response
            .extensions_mut()
            .insert(PendingError(Arc::new(self.0)));
        response
    }
}

/// Writes the body of every error response of the API, and logs its cause.
pub async fn render(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let request_id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .map(str::to_owned);
    let mut response = next.run(request).await;
    let Some(PendingError(error)) = response.extensions_mut().remove() else {
        return response;
    };
    error.log_failed_request();
    let body = ErrorBody {
        error: ErrorParts {
            code: error.code(),
            message: error.message().to_owned(),
            action: error.suggested_action().map(str::to_owned),
            field: error.field_errors().first().map(|(field, _)| field.clone()),
            request_id,
        },
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    match error.kind() {
        ErrorKind::Unauthenticated => {
            parts
                .headers
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        ErrorKind::Unavailable => {
            parts
                .headers
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        ErrorKind::TooMany { until } => {
            let seconds = ((until - clock.now()) / 1_000).max(1);
            parts
                .headers
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        _ => {}
    }
    (parts.status, parts.headers, Json(body)).into_response()
}

/// An error response for a request that is rejected before routing.
pub fn error_response(
    status: StatusCode,
    code: &'static str,
    message: &str,
    request_id: Option<&str>,
) -> Response {
    let error = ErrorParts {
        code,
        message: message.to_owned(),
        action: None,
        field: None,
        request_id: request_id.map(str::to_owned),
    };
    (status, Json(ErrorBody { error })).into_response()
}

pub async fn unknown_address() -> ApiError {
    ApiError(
        Error::new(
            ErrorKind::NotFound,
            "not_found",
            "This address does not exist in the API.",
        )
        .action("See /api/v1/openapi.json for all addresses."),
    )
}

pub async fn method_not_allowed() -> Response {
    let refusal = ApiError(
        Error::new(
            ErrorKind::BadRequest,
            "method_not_allowed",
            "This address does not accept this method.",
        )
        .action("See /api/v1/openapi.json."),
    );
    let mut response = refusal.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
        .headers_mut()
        .entry(ALLOW)
        .or_insert(HeaderValue::from_static("GET, POST, PATCH, DELETE"));
    response
}
