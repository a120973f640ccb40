//! The whole address table, and what stands around it, from outside in: request id, log and metrics, the door (host, methods, sizes,
//! headers), a net for what takes too long or panics; then for pages the form guard, the session and the error page.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderName;
use axum::middleware::{Next, from_fn_with_state, map_request};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::timeout::RequestBodyDeadlineLayer;
use tracing::Instrument;

use super::panes::preview::Turns;
use super::security::{self, Door, Refuse};
use super::{Web, assets, error_page, ops, pages};
use crate::auth::session_layer;
use crate::error::Result;

/// The head of an answer must be ready within this; Load Preview waits for a vendor.
const HEAD_WITHIN: Duration = Duration::from_secs(120);
/// A request's body must have come within this.
const BODY_WITHIN: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Signing in, people, accounts, help.
fn people() -> Router<Web> {
    Router::new()
        .route("/", get(pages::sign_in::root))
        .route("/sign-in", get(pages::sign_in::form).post(pages::sign_in::enter))
        .route("/sign-out", post(pages::sign_in::leave))
        .route("/set-up/{code}", get(pages::set_up::form))
        .route("/set-up", post(pages::set_up::become_admin))
        .route("/invite/{code}", get(pages::invite::form))
        .route("/invite", post(pages::invite::accept))
        .route("/me", get(pages::me::me))
        .route("/me/name", post(pages::me::rename))
        .route("/me/password", post(pages::me::change_password))
        .route("/me/sign-out-everywhere", post(pages::me::sign_out_everywhere))
        .route("/me/export-passwords", post(pages::export_passwords::make))
        .route("/me/export-passwords/{id}/revoke", post(pages::export_passwords::revoke))
        .route("/settings", get(pages::settings::settings))
        .route("/settings/people/new", get(pages::person_new::form).post(pages::person_new::add))
        .route("/settings/people/{id}/disable", post(pages::settings::disable))
        .route("/settings/people/{id}/enable", post(pages::settings::enable))
        .route("/settings/people/{id}/role", post(pages::settings::change_role))
        .route("/settings/people/{id}/link", post(pages::settings::readmit))
        .route("/settings/invites/{id}/withdraw", post(pages::settings::withdraw))
        .route("/settings/notifications", get(pages::notifications::notifications))
        .route("/settings/notifications/mail", post(pages::notifications::set_mail))
        .route("/settings/notifications/mail/test", post(pages::notifications::test_mail))
        .route("/settings/notifications/mail/remove", post(pages::notifications::remove_mail))
        .route("/settings/notifications/webhooks", post(pages::notifications::add_webhook))
        .route("/settings/notifications/webhooks/{id}/test", post(pages::notifications::test_webhook))
        .route("/settings/notifications/webhooks/{id}/remove", get(pages::notifications::ask_remove_webhook).post(pages::notifications::remove_webhook))
        .route("/accounts", get(pages::accounts::accounts))
        .route("/accounts/new", get(pages::account_edit::add_form).post(pages::account_edit::add))
        .route("/accounts/{id}/edit", get(pages::account_edit::edit_form).post(pages::account_edit::edit))
        .route("/accounts/{id}/check", post(pages::accounts::check))
        .route("/accounts/{id}/bring-back", post(pages::accounts::bring_back))
        .route("/accounts/{id}/delete", get(pages::account_delete::ask).post(pages::account_delete::delete))
        .route("/help", get(pages::help::help))
        .route("/help/components", get(pages::components::components))
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
        .route("/datasets/{id}/versions/{version}/revert", get(pages::dataset_versions::ask_revert).post(pages::dataset_versions::revert))
        .route("/datasets/{id}/versions/{version}/delete", get(pages::dataset_versions::ask_delete).post(pages::dataset_versions::delete))
        .route("/datasets/{id}/retention", get(pages::dataset_versions::ask_keep).post(pages::dataset_versions::keep))
        .route("/datasets/{id}/coverage", get(pages::dataset_coverage::show_coverage))
        .route("/datasets/{id}/days/{day}", get(pages::dataset_coverage::show_day))
        .route("/datasets/{id}/backfill", get(pages::dataset_backfill::ask).post(pages::dataset_backfill::begin))
        .route("/datasets/{id}/backfill/cancel", post(pages::dataset_backfill::cancel))
        .route("/datasets/{id}/backfill/resume", post(pages::dataset_backfill::resume))
        .route("/datasets/{id}/duplicate", post(pages::dataset_versions::duplicate))
        .route("/datasets/{id}/download", get(pages::download::csv))
        .route("/datasets/{id}/rename", get(pages::dataset_rename::ask).post(pages::dataset_rename::rename))
        .route("/datasets/{id}/delete", get(pages::dataset_delete::ask).post(pages::dataset_delete::delete))
        .route("/datasets/{id}/run", post(pages::dataset_acts::run))
        .route("/datasets/{id}/pause", post(pages::dataset_schedule::pause))
        .route("/datasets/{id}/resume", post(pages::dataset_schedule::resume))
        .route("/datasets/{id}/sharing", post(pages::dataset_acts::share))
        .route("/datasets/{id}/publishing", post(pages::dataset_acts::publish))
        .route("/datasets/{id}/notifications", get(pages::dataset_upkeep::notifications).post(pages::dataset_upkeep::notify))
        .route("/datasets/{id}/bring-back", post(pages::dataset_upkeep::bring_back))
        .route("/runs/{id}", get(pages::run::show_run))
        .route("/runs/{id}/events", get(pages::run::events))
        .route("/runs/{id}/progress", get(pages::run::progress))
        .route("/runs/{id}/stop", post(pages::run::stop))
        .route("/runs/{id}/accept", post(pages::run::accept))
        .route("/runs/{id}/discard", post(pages::run::discard))
        .route("/activity", get(pages::activity::show_activity))
}

/// Everything under `/`; `api` brings all that begins with `/api`, and `/a/Srv`. `refuse` answers what is turned away at the door.
pub fn router(web: Web, api: Router, refuse: Refuse) -> Result<Router> {
    let door = Door::new(&web.config.public_url, web.config.listen.ip().is_loopback(), web.config.trusted_proxy.clone(), refuse);
    let pages = people()
        .merge(panes())
        .merge(datasets())
        .fallback(error_page::not_found)
        .method_not_allowed_fallback(error_page::wrong_method)
        .layer(from_fn_with_state(web.clone(), error_page::render));
    let pages = session_layer::around(pages, &web.sessions, web.config.https());
    let all = Router::new()
        .route("/healthz", get(ops::live))
        .route("/readyz", get(ops::ready))
        .route("/metrics", get(ops::metrics))
        .merge(security::forms(pages, &door)?)
        .nest("/static", assets::router())
        .with_state(web.clone())
        .merge(api);
    let all = security::net(all, &door, HEAD_WITHIN).layer(RequestBodyDeadlineLayer::new(BODY_WITHIN));
    Ok(security::around(all, &door)
        .layer(from_fn_with_state(web, log))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(map_request(without_id)))
}

/// A request's id is made here: one that a client sends would stand in the log and on pages as it likes.
async fn without_id(mut request: Request) -> Request {
    request.headers_mut().remove(REQUEST_ID);
    request
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
