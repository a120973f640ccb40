//! The JSON API under `/api/v1`, with one file per resource in `v1/`. Programs send their token as
//! `Authorization: Bearer`, and every error has the same format. `openapi.rs` documents the API
//! from the same routes. `compat/` serves LiveLeader's own API.

mod body;
mod compat;
mod error;
mod export_xml;
mod openapi;
mod params;
mod token;
pub mod v1;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accounts::Accounts;
use crate::auth::export_passwords::ExportThrottle;
use crate::auth::throttle::Throttle;
use crate::clock::Clock;
use crate::datasets::Datasets;
use crate::datasets::download::Downloads;
use crate::db::Db;
use crate::metrics::Metrics;
use crate::puller::Puller;

/// The state of the API's handlers. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub db: Db,
    pub clock: Clock,
    pub accounts: Accounts,
    pub datasets: Datasets,
    pub puller: Puller,
    pub throttle: Throttle,
    pub metrics: Metrics,
    /// Throttles the sign-in attempts of the LiveLeader API.
    pub export_throttle: ExportThrottle,
    pub downloads: Downloads,
}

/// The maximum size of a body.
const MAX_BODY_BYTES: usize = 64 * 1024;

fn documented() -> OpenApiRouter<Api> {
    use v1::{
        accounts, connectors, data, datasets, history, notifications, rows, runs, schema, versions,
        windows,
    };
    OpenApiRouter::new()
        .routes(routes!(connectors::list))
        .routes(routes!(connectors::get))
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::get, accounts::change, accounts::delete))
        .routes(routes!(accounts::check))
        .routes(routes!(accounts::choices))
        .routes(routes!(datasets::list, datasets::create))
        .routes(routes!(datasets::get, datasets::change, datasets::delete))
        .routes(routes!(datasets::pause))
        .routes(routes!(datasets::resume))
        .routes(routes!(notifications::notifications, notifications::notify))
        .routes(routes!(notifications::restore_schedule))
        .routes(routes!(notifications::webhooks))
        .routes(routes!(runs::of_dataset, runs::start))
        .routes(routes!(runs::get))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::accept))
        .routes(routes!(runs::discard))
        .routes(routes!(rows::list))
        .routes(routes!(data::download))
        .routes(routes!(versions::list))
        .routes(routes!(windows::list))
        .routes(routes!(schema::get))
        .routes(routes!(history::revert))
        .routes(routes!(history::delete_version))
        .routes(routes!(history::retention, history::update_retention))
        .routes(routes!(history::days))
        .routes(routes!(history::backfills, history::backfill))
        .routes(routes!(history::cancel))
        .routes(routes!(history::resume))
        .routes(routes!(history::duplicate))
}

/// The routes of `/api/v1` and `/a/Srv`. Any other path under `/api` gets a 404 in the API's error
/// format.
pub fn router(api: Api) -> Router {
    let (routes, document) = documented().split_for_parts();
    let document = openapi::finish(document);
    let known = params::KnownParams::of(&document);
    let routes = routes
        .route(
            openapi::ADDRESS,
            get(move || openapi::serve(document.clone())),
        )
        .route_layer(axum::middleware::from_fn_with_state(known, params::check))
        .fallback(error::unknown_address)
        .method_not_allowed_fallback(error::method_not_allowed);
    Router::new()
        .nest("/api/v1", routes)
        .route("/api", any(error::unknown_address))
        .route("/api/", any(error::unknown_address))
        .route("/api/{*rest}", any(error::unknown_address))
        .layer(axum::middleware::from_fn_with_state(
            api.clock.clone(),
            error::render,
        ))
        .merge(compat::router())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api)
}

/// The response to a request that was rejected before routing: for paths of the LiveLeader API a
/// sentence, for paths of the JSON API its error format, otherwise `None`.
pub fn rejection_response(
    path: &str,
    status: StatusCode,
    code: &'static str,
    message: &str,
    request_id: Option<&str>,
) -> Option<Response> {
    if compat::serves_path(path) {
        return Some(compat::text_response(status, message));
    }
    path.starts_with("/api/")
        .then(|| error::error_response(status, code, message, request_id))
}

/// Every method and path of the API document, for the permission test.
pub fn addresses() -> Vec<(String, String)> {
    openapi::addresses(&openapi::finish(documented().split_for_parts().1))
}
