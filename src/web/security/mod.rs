//! Middleware that protects every handler: checks host, method, sizes and the origin of forms, and
//! adds security headers to every response. `with_request_checks` wraps the whole router,
//! `with_failure_handling` the handlers, `with_csrf_protection` the routes that use a cookie.

mod csrf;
mod failures;
mod request_checks;
mod response_headers;
mod sign_in_response;

pub use csrf::with_csrf_protection;
pub use failures::with_failure_handling;
pub use sign_in_response::{CLEAR_SITE_DATA, device_cookie, safe_next};

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use ipnet::IpNet;
use tower_http::request_id::RequestId;
use url::{Host, Url};

use request_checks::check_request;
use response_headers::add_headers;

/// The maximum size of a request body. There are no uploads.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Why a request was rejected before its handler, or why its handler failed: a panic or the time
/// limit.
#[derive(Clone, Copy, Debug)]
pub struct Rejection {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: &'static str,
}

/// Builds the response to a rejected request, by its path. The text is the request id, if known.
pub type RejectionHandler = Arc<dyn Fn(&Uri, Option<&str>, Rejection) -> Response + Send + Sync>;

/// The state of the request checks: the server's own address, and the trusted proxies.
#[derive(Clone)]
pub struct RequestGuard(Arc<Inner>);

struct Inner {
    /// Scheme, host and port as a browser writes them in `Origin`.
    origin: String,
    host: String,
    https: bool,
    /// Whether `localhost`, `127.0.0.1` and `[::1]` are accepted as hosts, too.
    local: bool,
    proxies: Vec<IpNet>,
    on_reject: RejectionHandler,
}

impl RequestGuard {
    /// `listens_locally`: the listening address is a loopback address.
    pub fn new(
        public_url: &Url,
        listens_locally: bool,
        proxies: Vec<IpNet>,
        on_reject: RejectionHandler,
    ) -> Self {
        let host = public_url
            .host()
            .map(|host| host.to_string())
            .unwrap_or_default();
        let local = listens_locally || is_loopback_host(&host);
        let origin = public_url.origin().ascii_serialization();
        Self(Arc::new(Inner {
            origin,
            host,
            https: public_url.scheme() == "https",
            local,
            proxies,
            on_reject,
        }))
    }

    fn reject(
        &self,
        request: &Request,
        status: StatusCode,
        code: &'static str,
        message: &'static str,
    ) -> Response {
        (self.0.on_reject)(
            request.uri(),
            id_of(request),
            Rejection {
                status,
                code,
                message,
            },
        )
    }

    fn serves(&self, host: &str) -> bool {
        host == self.0.host || (self.0.local && is_loopback_host(host))
    }
}

/// Wraps the whole router: checks host, method and sizes, finds the client address, and adds the
/// headers. Only the request log is outside.
pub fn with_request_checks<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    guard: &RequestGuard,
) -> Router<S> {
    router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(guard.clone(), check_request))
        .layer(from_fn_with_state(guard.clone(), add_headers))
}

fn id_of(request: &Request) -> Option<&str> {
    request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok())
}

fn is_loopback_host(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost",
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => ip.is_loopback(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
