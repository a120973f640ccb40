//! For whoever watches the server: is it alive, is it ready, what has it counted.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Web;
use crate::db::storage;
use crate::puller::scheduler::clock_trouble;

/// `GET /healthz`: the process answers.
pub async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the catalogue can be read and written, the clock is one to schedule by, and the server is not stopping.
pub async fn ready(State(web): State<Web>) -> Response {
    if web.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if let Some(trouble) = clock_trouble(web.clock.now()) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response();
    }
    match web.db.outages().watched("the catalogue was not ready", web.db.ready().await) {
        Some(()) => "ok\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the catalogue cannot be used\n").into_response(),
    }
}

/// `GET /metrics`, in the OpenMetrics text form.
pub async fn metrics(State(web): State<Web>) -> Response {
    web.metrics.forget_accounts();
    for (account, gauge) in web.accounts.gauges() {
        web.metrics.account_asked(&account, gauge.last_minute, gauge.per_minute, gauge.paused.as_secs());
    }
    match web.datasets.ages().await {
        Ok(all) => {
            let (now, late) = (web.clock.now(), all.iter().filter(|(_, _, late)| *late).count());
            web.metrics.datasets_stand(all.into_iter().map(|(id, at, _)| (id.to_string(), ((now - at) / 1_000).max(0))), late);
        }
        Err(error) => tracing::error!(cause = ?error.inside(), "the ages of DataSets could not be read: {error}"),
    }
    if let Ok(free) = storage::free(&web.config.data) {
        web.metrics.data_free.set(i64::try_from(free).unwrap_or(i64::MAX));
    }
    for (gauge, count) in [
        (&web.metrics.downloads, web.downloads.quota.in_use()),
        (&web.metrics.downloads_waiting, web.downloads.quota.waiting()),
        (&web.metrics.event_streams, web.event_streams.in_use()),
    ] {
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], web.metrics.text()).into_response()
}
