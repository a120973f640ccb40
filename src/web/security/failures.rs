//! The response of a handler that panics or exceeds the time limit.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::{Rejection, RequestGuard, id_of};

/// Wraps the handlers, inside of `with_request_checks`: a handler that panics or exceeds the time
/// limit `within` gets an error response.
pub fn with_failure_handling<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    guard: &RequestGuard,
    within: Duration,
) -> Router<S> {
    router
        .layer(CatchPanicLayer::custom(panic_response))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            within,
        ))
        .layer(from_fn_with_state(guard.clone(), replace_failures))
}

const PANICKED: Rejection = Rejection {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    code: "internal",
    message: "Something went wrong. The server log contains the details under this request id.",
};
const TIMED_OUT: Rejection = Rejection {
    status: StatusCode::GATEWAY_TIMEOUT,
    code: "too_slow",
    message: "The request took too long and was stopped. Try again in a moment.",
};

/// Drops the panic message, because it may contain anything. The log has the location.
fn panic_response(_: Box<dyn Any + Send>) -> Response {
    let mut answer = PANICKED.status.into_response();
    answer.extensions_mut().insert(PANICKED);
    answer
}

async fn replace_failures(
    State(guard): State<RequestGuard>,
    request: Request,
    next: Next,
) -> Response {
    let (uri, id) = (request.uri().clone(), id_of(&request).map(str::to_owned));
    let answer = next.run(request).await;
    let caught = match answer.extensions().get::<Rejection>() {
        Some(rejection) => *rejection,
        // No handler returns this status: it is the time limit.
        None if answer.status() == StatusCode::GATEWAY_TIMEOUT => TIMED_OUT,
        None => return answer,
    };
    (guard.0.on_reject)(&uri, id.as_deref(), caught)
}
