//! The whole address table, and what stands around it, from outside in: request id, log and metrics, the door (host, methods, sizes,
//! headers), a cap on time, a net for panics; then for pages the form guard, the session and the error page.

use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::timeout::{RequestBodyDeadlineLayer, TimeoutLayer};
use tracing::Instrument;

use super::security::{self, Door, Refuse};
use super::{Web, assets, error_page, ops};
use crate::error::Result;

/// The head of an answer must be ready within this; Load Preview waits for a vendor.
const HEAD_WITHIN: Duration = Duration::from_secs(120);
/// A request's body must have come within this.
const BODY_WITHIN: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Signing in, people, accounts, help.
fn people() -> Router<Web> {
    Router::new()
}

/// Connect data: the gallery and the four panes, to make a DataSet and to change one.
fn panes() -> Router<Web> {
    Router::new()
}

/// DataSets, their rows, runs and history.
fn datasets() -> Router<Web> {
    Router::new()
}

/// Everything under `/`; `api` brings all that begins with `/api`. `refuse` answers what is turned away at the door.
pub fn router(web: Web, api: Router, refuse: Refuse) -> Result<Router> {
    let door = Door::new(&web.config.public_url, web.config.listen.ip().is_loopback(), web.config.trusted_proxy.clone(), refuse);
    let pages = people()
        .merge(panes())
        .merge(datasets())
        .fallback(error_page::not_found)
        .method_not_allowed_fallback(error_page::wrong_method)
        .layer(from_fn_with_state(web.clone(), error_page::render))
        .layer(web.sessions.layer(web.config.https()));
    let all = Router::new()
        .route("/healthz", get(ops::live))
        .route("/readyz", get(ops::ready))
        .route("/metrics", get(ops::metrics))
        .merge(security::forms(pages, &door)?)
        .nest("/static", assets::router())
        .with_state(web.clone())
        .merge(api)
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, HEAD_WITHIN))
        .layer(RequestBodyDeadlineLayer::new(BODY_WITHIN));
    Ok(security::around(all, &door)
        .layer(from_fn_with_state(web, log))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid)))
}

/// One line an answer: method, route template, status, time and request id. Never the address itself, a header or a field.
async fn log(State(web): State<Web>, request: Request, next: Next) -> Response {
    let began = std::time::Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or_default().to_owned();
    let span = tracing::info_span!("request", id);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let elapsed = began.elapsed();
    let route = response.extensions().get::<MatchedPath>().map_or(route, |path| path.as_str().to_owned());
    web.metrics.answered(&route, status, elapsed.as_secs_f64());
    span.in_scope(|| tracing::info!(%method, route, status, ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), "answered"));
    response
}
