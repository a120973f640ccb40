//! Rejects unsafe requests that do not come from a page of this server.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tower_http::csrf::CsrfLayer;
use url::Url;

use super::{RequestGuard, is_loopback_host};
use crate::error::{Error, Result};

const OTHER_ORIGIN: &str = "This request did not come from a page of this server. \
     Nothing was changed. Reload the page and try again.";

/// Wraps all routes that use a cookie, including sign-in: an unsafe request must come from a page
/// of this server. Routes with tokens are outside, because no browser sends a token by itself.
pub fn with_csrf_protection<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    guard: &RequestGuard,
) -> Result<Router<S>> {
    let rejecting = guard.clone();
    let csrf = CsrfLayer::new()
        .add_trusted_origin(&guard.0.origin)
        .map_err(Error::internal)?;
    let csrf = csrf.with_rejection_response(move |_| {
        rejecting.reject(
            &Request::default(),
            StatusCode::FORBIDDEN,
            "other_origin",
            OTHER_ORIGIN,
        )
    });
    Ok(router
        .layer(csrf)
        .layer(from_fn_with_state(guard.clone(), require_own_page)))
}

/// Stricter than `CsrfLayer`, which accepts a request without either header, does not compare the
/// scheme, and trusts a configured origin more than the browser's `Sec-Fetch-Site`.
async fn require_own_page(
    State(guard): State<RequestGuard>,
    request: Request,
    next: Next,
) -> Response {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if safe || is_from_own_page(&guard, request.headers()) {
        return next.run(request).await;
    }
    guard.reject(
        &request,
        StatusCode::FORBIDDEN,
        "other_origin",
        OTHER_ORIGIN,
    )
}

fn is_from_own_page(guard: &RequestGuard, headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        // This header is sufficient: with `Referrer-Policy: no-referrer` a form of this server has
        // `Origin: null`.
        Some(site) => matches!(site, b"same-origin" | b"none"),
        None => headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok())
            .is_some_and(|origin| is_own_origin(guard, origin, headers)),
    }
}

fn is_own_origin(guard: &RequestGuard, origin: &str, headers: &HeaderMap) -> bool {
    if origin == guard.0.origin {
        return true;
    }
    // The request used another local name: the one in `Host`, with its port.
    let named = headers.get(header::HOST).is_some_and(|host| {
        origin
            .strip_prefix("http://")
            .is_some_and(|origin| origin.as_bytes() == host.as_bytes())
    });
    named
        && guard.0.local
        && !guard.0.https
        && Url::parse(origin).is_ok_and(|url| url.host_str().is_some_and(is_loopback_host))
}
