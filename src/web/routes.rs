//! The whole address table, and what stands around it, from outside in: request id, log and metrics, the door (host, methods, sizes,
//! headers), a cap on time, a net for panics; then for pages the form guard, the session and the error page.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::timeout::{RequestBodyDeadlineLayer, TimeoutLayer};
use tracing::Instrument;

use super::pages::{account_delete, account_edit, accounts, components, help, invite, me, person_new, set_up, settings, sign_in};
use super::panes::preview::Turns;
use super::security::{self, Door, Refuse};
use super::{Web, assets, error_page, ops, pages};
use crate::error::Result;

/// The head of an answer must be ready within this; Load Preview waits for a vendor.
const HEAD_WITHIN: Duration = Duration::from_secs(120);
/// A request's body must have come within this.
const BODY_WITHIN: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Signing in, people, accounts, help.
fn people() -> Router<Web> {
    Router::new()
        .route("/", get(sign_in::root))
        .route("/sign-in", get(sign_in::form).post(sign_in::enter))
        .route("/sign-out", post(sign_in::leave))
        .route("/set-up/{code}", get(set_up::form))
        .route("/set-up", post(set_up::become_admin))
        .route("/invite/{code}", get(invite::form))
        .route("/invite", post(invite::accept))
        .route("/me", get(me::me))
        .route("/me/name", post(me::rename))
        .route("/me/password", post(me::change_password))
        .route("/me/sign-out-everywhere", post(me::sign_out_everywhere))
        .route("/settings", get(settings::settings))
        .route("/settings/people/new", get(person_new::form).post(person_new::add))
        .route("/settings/people/{id}/disable", post(settings::disable))
        .route("/settings/people/{id}/enable", post(settings::enable))
        .route("/settings/people/{id}/role", post(settings::change_role))
        .route("/settings/people/{id}/link", post(settings::readmit))
        .route("/settings/invites/{id}/withdraw", post(settings::withdraw))
        .route("/accounts", get(accounts::accounts))
        .route("/accounts/new", get(account_edit::add_form).post(account_edit::add))
        .route("/accounts/{id}/edit", get(account_edit::edit_form).post(account_edit::edit))
        .route("/accounts/{id}/check", post(accounts::check))
        .route("/accounts/{id}/delete", get(account_delete::ask).post(account_delete::delete))
        .route("/help", get(help::help))
        .route("/help/components", get(components::components))
}

/// Connect data: the gallery and the four panes, to make a DataSet and to change one.
fn panes() -> Router<Web> {
    Router::new()
        .route("/connect", get(pages::connect::gallery))
        .route("/connect/{connector}", get(pages::connect::wizard).post(pages::connect::step))
        .route("/datasets/{id}/settings", get(pages::dataset_settings::get).post(pages::dataset_settings::step))
        .layer(Extension(Turns::default()))
}

/// DataSets, their rows, runs and history.
fn datasets() -> Router<Web> {
    Router::new()
        .route("/datasets", get(pages::datasets::list))
        .route("/datasets/{id}", get(pages::dataset_overview::show_overview))
        .route("/datasets/{id}/data", get(pages::dataset_data::show_data))
        .route("/datasets/{id}/data/schema", get(pages::dataset_schema::show_schema))
        .route("/datasets/{id}/history", get(pages::dataset_history::show_history))
        .route("/datasets/{id}/download", get(pages::download::csv))
        .route("/datasets/{id}/rename", get(pages::dataset_rename::ask).post(pages::dataset_rename::rename))
        .route("/datasets/{id}/delete", get(pages::dataset_delete::ask).post(pages::dataset_delete::delete))
        .route("/datasets/{id}/run", post(pages::dataset_acts::run))
        .route("/datasets/{id}/sharing", post(pages::dataset_acts::share))
        .route("/runs/{id}", get(pages::run::show_run))
        .route("/runs/{id}/events", get(pages::run::events))
        .route("/runs/{id}/progress", get(pages::run::progress))
        .route("/runs/{id}/stop", post(pages::run::stop))
        .route("/activity", get(pages::activity::show_activity))
}

/// Everything under `/`; `api` is put under `/api/v1`. `refuse` answers what is turned away at the door.
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
        .nest("/api/v1", api)
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
