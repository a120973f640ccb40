//! Endpoints for monitoring: liveness, readiness and metrics.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::client_address::ClientAddress;
use super::{Web, error_page};
use crate::actor::Scope;
use crate::auth::tokens;
use crate::db::storage;
use crate::error::{Error, ErrorKind, Result};
use crate::puller::scheduler::clock_error;

/// Headers that a proxy adds to forwarded requests.
const PROXY_HEADERS: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// `GET /healthz`: the process responds.
pub async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the catalogue can be read and written, the clock is plausible, and the server is
/// not stopping.
pub async fn ready(State(web): State<Web>) -> Response {
    if web.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if let Some(problem) = clock_error(web.clock.now()) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response();
    }
    match web
        .db
        .outages()
        .track("the catalogue was not ready", web.db.ready().await)
    {
        Some(()) => "ok\n".into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the catalogue cannot be used\n",
        )
            .into_response(),
    }
}

/// `GET /metrics` on the main address: with a token that may read metrics, or from this machine if
/// no proxy forwards requests.
pub async fn metrics(
    State(web): State<Web>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Response {
    match may_read(&web, address, &headers).await {
        Ok(()) => open_metrics(State(web)).await,
        Err(refused) => error_response(&web, &refused),
    }
}

async fn may_read(web: &Web, address: IpAddr, headers: &HeaderMap) -> Result<()> {
    let Some(shown) = headers.get(AUTHORIZATION) else {
        let is_direct = !PROXY_HEADERS.iter().any(|name| headers.contains_key(*name));
        if web.config.has_open_metrics() && address.is_loopback() && is_direct {
            return Ok(());
        }
        return Err(no_token("This address needs a token."));
    };
    let Some(text) = tokens::from_authorization(shown) else {
        return Err(no_token(
            "The Authorization header is not of the form Bearer TOKEN.",
        ));
    };
    match tokens::authenticate(&web.db, &web.clock, text).await? {
        Some(actor) if actor.scope.is_some_and(Scope::reads_metrics) => Ok(()),
        Some(_) => Err(Error::forbidden(
            "This token does not allow this. It needs the scope “metrics” or “manage”.",
        )),
        None => {
            web.throttle.check_token_attempts(address)?;
            web.throttle.record_bad_token(address);
            Err(no_token("This token is unknown, expired or revoked."))
        }
    }
}

fn no_token(message: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, "unauthenticated", message).action(
        "Send Authorization: Bearer TOKEN with a token of scope metrics. \
         Create one with chatlake token create, or use --metrics-listen.",
    )
}

/// The error for programs: one line.
fn error_response(web: &Web, why: &Error) -> Response {
    let text = format!(
        "{} {}",
        why.message(),
        why.suggested_action().unwrap_or_default()
    );
    let mut answer = (
        error_page::http_status(why.kind()),
        format!("{}\n", text.trim_end()),
    )
        .into_response();
    match why.kind() {
        ErrorKind::Unauthenticated => {
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        ErrorKind::TooMany { until } => {
            answer.headers_mut().insert(
                RETRY_AFTER,
                HeaderValue::from(((until - web.clock.now()) / 1_000).max(1)),
            );
        }
        ErrorKind::Internal => {
            tracing::error!(cause = ?why.log_cause(), "the metrics could not be served: {why}")
        }
        _ => {}
    }
    answer
}

/// `GET /metrics` without authentication, in the OpenMetrics text format.
pub async fn open_metrics(State(web): State<Web>) -> Response {
    web.metrics.clear_accounts();
    for (account, gauge) in web.accounts.gauges() {
        web.metrics.set_account_calls(
            &account,
            gauge.last_minute,
            gauge.per_minute,
            gauge.paused.as_secs(),
        );
    }
    match web.datasets.data_ages().await {
        Ok(all) => {
            let (now, late) = (
                web.clock.now(),
                all.iter().filter(|(_, _, late)| *late).count(),
            );
            web.metrics.set_dataset_ages(
                all.into_iter()
                    .map(|(id, at, _)| (id.to_string(), ((now - at) / 1_000).max(0))),
                late,
            );
        }
        Err(error) => {
            tracing::error!(cause = ?error.log_cause(), "the ages of DataSets could not be read: {error}")
        }
    }
    if let Ok(free) = storage::free_bytes(&web.config.data) {
        web.metrics
            .data_free
            .set(i64::try_from(free).unwrap_or(i64::MAX));
    }
    for (gauge, count) in [
        (&web.metrics.downloads, web.downloads.quota.in_use()),
        (
            &web.metrics.downloads_waiting,
            web.downloads.quota.waiting(),
        ),
        (&web.metrics.event_streams, web.event_streams.in_use()),
    ] {
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    (
        [(
            CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        web.metrics.text(),
    )
        .into_response()
}
