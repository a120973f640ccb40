//! The JSON API under `/api/v1`, one file per noun in `v1/`. A program shows its token as `Authorization: Bearer`; every error has one
//! shape. The document of it all is `openapi.rs`, made from the same routes. Beside it `compat.rs`: LiveLeader's own API, served.

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
use crate::auth::export_passwords::Gate;
use crate::auth::throttle::Throttle;
use crate::clock::Clock;
use crate::datasets::Datasets;
use crate::datasets::download::Downloads;
use crate::db::Db;
use crate::metrics::Metrics;
use crate::puller::Puller;

/// What the API's handlers need. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub db: Db,
    pub clock: Clock,
    pub accounts: Accounts,
    pub datasets: Datasets,
    pub puller: Puller,
    pub throttle: Throttle,
    pub metrics: Metrics,
    /// Of the LiveLeader API: who comes in.
    pub gate: Gate,
    pub downloads: Downloads,
}

/// Bodies are at most this long.
const MOST_BODY: usize = 64 * 1024;

fn documented() -> OpenApiRouter<Api> {
    use v1::{accounts, connectors, data, datasets, history, runs, upkeep};
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
        .routes(routes!(upkeep::notifications, upkeep::notify))
        .routes(routes!(upkeep::bring_back))
        .routes(routes!(upkeep::webhooks))
        .routes(routes!(runs::of_dataset, runs::start))
        .routes(routes!(runs::get))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::accept))
        .routes(routes!(runs::discard))
        .routes(routes!(data::rows))
        .routes(routes!(data::download))
        .routes(routes!(data::versions))
        .routes(routes!(data::windows))
        .routes(routes!(data::schema))
        .routes(routes!(history::revert))
        .routes(routes!(history::delete_version))
        .routes(routes!(history::retention, history::keep))
        .routes(routes!(history::days))
        .routes(routes!(history::backfills, history::backfill))
        .routes(routes!(history::cancel))
        .routes(routes!(history::resume))
        .routes(routes!(history::duplicate))
}

/// The API's routes, below `/api/v1`, and `/a/Srv`; whatever else begins with `/api` is an address that is not there, in the same shape.
pub fn router(api: Api) -> Router {
    let (routes, document) = documented().split_for_parts();
    let document = openapi::finish(document);
    let known = params::Known::of(&document);
    let routes = routes
        .route(openapi::ADDRESS, get(move || openapi::serve(document.clone())))
        .route_layer(axum::middleware::from_fn_with_state(known, params::check))
        .fallback(error::no_such_address)
        .method_not_allowed_fallback(error::no_such_method);
    Router::new()
        .nest("/api/v1", routes)
        .route("/api", any(error::no_such_address))
        .route("/api/", any(error::no_such_address))
        .route("/api/{*rest}", any(error::no_such_address))
        .layer(axum::middleware::from_fn_with_state(api.clock.clone(), error::render))
        .merge(compat::router())
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(api)
}

/// How what was turned away before it came here is answered, when its path is one of ours: a sentence, or the one shape of an error.
pub fn refuse(path: &str, status: StatusCode, code: &'static str, message: &str, request_id: Option<&str>) -> Option<Response> {
    if compat::is_at(path) {
        return Some(compat::refuse(status, message));
    }
    path.starts_with("/api/").then(|| error::refuse(status, code, message, request_id))
}

/// Every address and method of the API, as in its document: for the test that asks who may do what.
pub fn addresses() -> Vec<(String, String)> {
    openapi::addresses(&openapi::finish(documented().split_for_parts().1))
}
