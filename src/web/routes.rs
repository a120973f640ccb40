//! The whole address table.

use axum::Router;
use axum::routing::get;

use super::{Web, assets, error_page, ops};

/// Everything under `/`; `api` is put under `/api/v1`.
pub fn router(web: Web, api: Router) -> Router {
    let pages = Router::new()
        .fallback(error_page::not_found)
        .method_not_allowed_fallback(error_page::wrong_method)
        .layer(axum::middleware::from_fn_with_state(web.clone(), error_page::render));
    Router::new()
        .route("/healthz", get(ops::live))
        .route("/readyz", get(ops::ready))
        .route("/metrics", get(ops::metrics))
        .merge(pages)
        .nest("/static", assets::router())
        .with_state(web)
        .nest("/api/v1", api)
}
