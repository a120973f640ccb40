//! All routes and their middleware. From the outside: request id, log and metrics;
//! `security::with_request_checks`; `security::with_failure_handling`; then, for pages only,
//! `security::with_csrf_protection`, the session and the error page.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderName;
use axum::middleware::{Next, from_fn_with_state, map_request};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::request_id::{
    MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::timeout::RequestBodyDeadlineLayer;
use tracing::Instrument;

use super::panes::preview::PreviewLocks;
use super::security::{self, RejectionHandler, RequestGuard};
use super::{Web, assets, error_page, ops, pages};
use crate::auth::session_layer;
use crate::error::Result;

/// The time limit for the head of a response. Load Preview waits for a vendor.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);
/// The time limit for receiving a request body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The routes of sign-in, people, accounts and help.
fn people() -> Router<Web> {
    Router::new()
        .route("/", get(pages::sign_in::root))
        .route(
            "/sign-in",
            get(pages::sign_in::form).post(pages::sign_in::sign_in),
        )
        .route("/sign-out", post(pages::sign_in::sign_out))
        .route("/set-up/{code}", get(pages::set_up::form))
        .route("/set-up", post(pages::set_up::become_admin))
        .route("/invite/{code}", get(pages::invite::form))
        .route("/invite", post(pages::invite::accept))
        .route("/me", get(pages::me::me))
        .route("/me/name", post(pages::me::rename))
        .route("/me/password", post(pages::me::change_password))
        .route(
            "/me/sign-out-everywhere",
            post(pages::me::sign_out_everywhere),
        )
        .route("/me/export-passwords", post(pages::export_passwords::make))
        .route(
            "/me/export-passwords/{id}/revoke",
            get(pages::export_passwords::revoke_form).post(pages::export_passwords::revoke),
        )
        .route("/settings", get(pages::settings::settings))
        .route(
            "/settings/people/new",
            get(pages::person_new::form).post(pages::person_new::add),
        )
        .route(
            "/settings/people/{id}/disable",
            get(pages::settings::disable_form).post(pages::settings::disable),
        )
        .route(
            "/settings/people/{id}/enable",
            post(pages::settings::enable),
        )
        .route(
            "/settings/people/{id}/role",
            post(pages::settings::change_role),
        )
        .route(
            "/settings/people/{id}/link",
            post(pages::settings::create_password_reset),
        )
        .route(
            "/settings/invites/{id}/withdraw",
            get(pages::settings::withdraw_form).post(pages::settings::withdraw),
        )
        .route(
            "/settings/notifications",
            get(pages::notifications::notifications),
        )
        .route(
            "/settings/notifications/mail",
            post(pages::notifications::set_mail),
        )
        .route(
            "/settings/notifications/mail/test",
            post(pages::notifications::test_mail),
        )
        .route(
            "/settings/notifications/mail/remove",
            get(pages::notifications::remove_mail_form).post(pages::notifications::remove_mail),
        )
        .route(
            "/settings/notifications/webhooks",
            post(pages::notifications::add_webhook),
        )
        .route(
            "/settings/notifications/webhooks/{id}/test",
            post(pages::notifications::test_webhook),
        )
        .route(
            "/settings/notifications/webhooks/{id}/remove",
            get(pages::notifications::remove_webhook_form)
                .post(pages::notifications::remove_webhook),
        )
        .route("/accounts", get(pages::accounts::accounts))
        .route(
            "/accounts/new",
            get(pages::account_edit::add_form).post(pages::account_edit::add),
        )
        .route(
            "/accounts/{id}/edit",
            get(pages::account_edit::edit_form).post(pages::account_edit::edit),
        )
        .route("/accounts/{id}/check", post(pages::accounts::check))
        .route(
            "/accounts/{id}/bring-back",
            post(pages::accounts::restore_schedule),
        )
        .route(
            "/accounts/{id}/run-failed",
            post(pages::accounts::run_failed),
        )
        .route(
            "/accounts/{id}/delete",
            get(pages::account_delete::form).post(pages::account_delete::delete),
        )
        .route("/help", get(pages::help::help))
        .route("/help/components", get(pages::components::components))
}

/// The routes of Connect data and the four panes, to create and change a DataSet.
fn panes() -> Router<Web> {
    Router::new()
        .route("/connect", get(pages::connect::gallery))
        .route(
            "/connect/{connector}",
            get(pages::connect::wizard).post(pages::connect::step),
        )
        .route(
            "/datasets/{id}/settings",
            get(pages::dataset_settings::get).post(pages::dataset_settings::step),
        )
        .layer(Extension(PreviewLocks::default()))
}

/// The routes of DataSets, their rows, runs and history.
fn datasets() -> Router<Web> {
    Router::new()
        .route("/datasets", get(pages::datasets::list))
        .route(
            "/datasets/{id}",
            get(pages::dataset_overview::show_overview),
        )
        .route("/datasets/{id}/data", get(pages::dataset_data::show_data))
        .route(
            "/datasets/{id}/data/schema",
            get(pages::dataset_schema::show_schema),
        )
        .route(
            "/datasets/{id}/history",
            get(pages::dataset_history::show_history),
        )
        .route(
            "/datasets/{id}/versions/{version}/revert",
            get(pages::dataset_versions::revert_form).post(pages::dataset_versions::revert),
        )
        .route(
            "/datasets/{id}/versions/{version}/delete",
            get(pages::dataset_versions::delete_form).post(pages::dataset_versions::delete),
        )
        .route(
            "/datasets/{id}/retention",
            get(pages::dataset_versions::retention_form)
                .post(pages::dataset_versions::set_retention),
        )
        .route(
            "/datasets/{id}/coverage",
            get(pages::dataset_coverage::show_coverage),
        )
        .route(
            "/datasets/{id}/days/{day}",
            get(pages::dataset_coverage::show_day),
        )
        .route(
            "/datasets/{id}/backfill",
            get(pages::dataset_backfill::form).post(pages::dataset_backfill::start),
        )
        .route(
            "/datasets/{id}/backfill/cancel",
            post(pages::dataset_backfill::cancel),
        )
        .route(
            "/datasets/{id}/backfill/resume",
            post(pages::dataset_backfill::resume),
        )
        .route(
            "/datasets/{id}/duplicate",
            post(pages::dataset_versions::duplicate),
        )
        .route("/datasets/{id}/download", get(pages::download::csv))
        .route(
            "/datasets/{id}/rename",
            get(pages::dataset_rename::form).post(pages::dataset_rename::rename),
        )
        .route(
            "/datasets/{id}/delete",
            get(pages::dataset_delete::form).post(pages::dataset_delete::delete),
        )
        .route("/datasets/{id}/run", post(pages::dataset_actions::run))
        .route("/datasets/{id}/pause", post(pages::dataset_schedule::pause))
        .route(
            "/datasets/{id}/resume",
            post(pages::dataset_schedule::resume),
        )
        .route(
            "/datasets/{id}/sharing",
            post(pages::dataset_actions::share),
        )
        .route(
            "/datasets/{id}/publishing",
            post(pages::dataset_actions::publish),
        )
        .route(
            "/datasets/{id}/notifications",
            get(pages::dataset_notifications::notifications)
                .post(pages::dataset_notifications::notify),
        )
        .route(
            "/datasets/{id}/bring-back",
            post(pages::dataset_notifications::restore_schedule),
        )
        .route("/runs/{id}", get(pages::run::show_run))
        .route("/runs/{id}/events", get(pages::run::events))
        .route("/runs/{id}/progress", get(pages::run::progress))
        .route(
            "/runs/{id}/stop",
            get(pages::run_stop::form).post(pages::run_stop::stop),
        )
        .route("/runs/{id}/accept", post(pages::run::accept))
        .route("/runs/{id}/discard", post(pages::run::discard))
        .route("/activity", get(pages::activity::show_activity))
}

/// The router of the whole server. `api` has the routes of `/api` and `/a/Srv`. `on_reject` builds
/// the responses to requests that are rejected before routing.
pub fn router(web: Web, api: Router, on_reject: RejectionHandler) -> Result<Router> {
    let guard = RequestGuard::new(
        &web.config.public_url,
        web.config.listen.ip().is_loopback(),
        web.config.trusted_proxy.clone(),
        on_reject,
    );
    let pages = people()
        .merge(panes())
        .merge(datasets())
        .fallback(error_page::not_found)
        .method_not_allowed_fallback(error_page::method_not_allowed)
        .layer(from_fn_with_state(web.clone(), error_page::render));
    let pages = session_layer::with_session(pages, &web.sessions, web.config.https());
    let all = Router::new()
        .route("/healthz", get(ops::live))
        .route("/readyz", get(ops::ready))
        .route("/metrics", get(ops::metrics))
        .merge(security::with_csrf_protection(pages, &guard)?)
        .nest("/static", assets::router())
        .with_state(web.clone())
        .merge(api);
    let all = security::with_failure_handling(all, &guard, RESPONSE_TIMEOUT)
        .layer(RequestBodyDeadlineLayer::new(BODY_TIMEOUT));
    Ok(security::with_request_checks(all, &guard)
        .layer(from_fn_with_state(web, log))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(map_request(strip_request_id)))
}

/// Removes the request id of the client: the server always creates its own, because a client could
/// write any text into the log and the pages.
async fn strip_request_id(mut request: Request) -> Request {
    request.headers_mut().remove(REQUEST_ID);
    request
}

/// Logs one line per response: method, route template, status, time and request id. Never the path
/// itself, a header or a field.
async fn log(State(web): State<Web>, request: Request, next: Next) -> Response {
    let began = std::time::Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let span = tracing::info_span!("request", id);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let elapsed = began.elapsed();
    let route = response
        .extensions()
        .get::<MatchedPath>()
        .map_or(route, |path| path.as_str().to_owned());
    web.metrics
        .record_response(&route, status, elapsed.as_secs_f64());
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    // Monitoring requests arrive every few seconds, so successful ones are not logged.
    let is_probe = matches!(route.as_str(), "/healthz" | "/readyz" | "/metrics") && status == 200;
    span.in_scope(|| match is_probe {
        true => tracing::debug!(%method, route, status, ms, "answered"),
        false => tracing::info!(%method, route, status, ms, "answered"),
    });
    response
}
