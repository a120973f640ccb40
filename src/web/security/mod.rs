//! Middleware that protects every handler: checks host, method, sizes and the origin of forms, and
//! adds security headers to every response. `with_request_checks` wraps the whole router,
//! `with_failure_handling` the handlers, `with_csrf_protection` the routes that use a cookie.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, uri::Authority};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::{Cookie, SameSite};
use ipnet::IpNet;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::csrf::CsrfLayer;
use tower_http::request_id::RequestId;
use tower_http::timeout::TimeoutLayer;
use url::{Host, Url};

use super::client_address;
use crate::auth::sign_in;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The maximum size of a request body. There are no uploads.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// The maximum length of a URI and of a request head. The connection's own buffer rejects much
/// larger ones, but allows a little more.
const MAX_URI_BYTES: usize = 8 * 1024;
const MAX_HEADER_BYTES: usize = 32 * 1024;

const CONTENT_SECURITY_POLICY_VALUE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()";
/// The content types of text files below `/static`.
const TEXT_TYPES: [(&str, &str); 3] = [
    ("text/css", "text/css; charset=utf-8"),
    ("text/javascript", "text/javascript; charset=utf-8"),
    ("text/plain", "text/plain; charset=utf-8"),
];
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

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

/// Wraps the handlers, inside of `with_request_checks`: a handler that panics or exceeds the time
/// limit `within` gets an error response.
pub fn with_failure_handling<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    guard: &RequestGuard,
    within: Duration,
) -> Router<S> {
    router
        .layer(CatchPanicLayer::custom(panic_response))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            within,
        ))
        .layer(from_fn_with_state(guard.clone(), replace_failures))
}

const PANICKED: Rejection = Rejection {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    code: "internal",
    message: "Something went wrong. The server log contains the details under this request id.",
};
const TIMED_OUT: Rejection = Rejection {
    status: StatusCode::GATEWAY_TIMEOUT,
    code: "too_slow",
    message: "The request took too long and was stopped. Try again in a moment.",
};

/// Drops the panic message, because it may contain anything. The log has the location.
fn panic_response(_: Box<dyn Any + Send>) -> Response {
    let mut answer = PANICKED.status.into_response();
    answer.extensions_mut().insert(PANICKED);
    answer
}

async fn replace_failures(
    State(guard): State<RequestGuard>,
    request: Request,
    next: Next,
) -> Response {
    let (uri, id) = (request.uri().clone(), id_of(&request).map(str::to_owned));
    let answer = next.run(request).await;
    let caught = match answer.extensions().get::<Rejection>() {
        Some(rejection) => *rejection,
        // No handler returns this status: it is the time limit.
        None if answer.status() == StatusCode::GATEWAY_TIMEOUT => TIMED_OUT,
        None => return answer,
    };
    (guard.0.on_reject)(&uri, id.as_deref(), caught)
}

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

const OTHER_ORIGIN: &str = "This request did not come from a page of this server. Nothing was changed. Reload the page and try again.";

async fn check_request(
    State(guard): State<RequestGuard>,
    mut request: Request,
    next: Next,
) -> Response {
    if !METHODS.contains(request.method()) {
        let mut answer = guard.reject(
            &request,
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This method is not supported.",
        );
        answer.headers_mut().insert(
            header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
        return answer;
    }
    if request
        .extensions()
        .get::<Connection>()
        .is_some_and(Connection::had_bare_line_feed)
    {
        let mut answer = guard.reject(
            &request,
            StatusCode::BAD_REQUEST,
            "bare_line_feed",
            "A line of the request head ends with a line feed without a carriage return.",
        );
        answer
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        return answer;
    }
    let uri = request.uri();
    if uri
        .path_and_query()
        .is_some_and(|requested| requested.as_str().len() > MAX_URI_BYTES)
    {
        return guard.reject(
            &request,
            StatusCode::URI_TOO_LONG,
            "address_too_long",
            "The address is longer than 8 KiB.",
        );
    }
    let head: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if head > MAX_HEADER_BYTES {
        return guard.reject(
            &request,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            "The head of the request is larger than 32 KiB.",
        );
    }
    let probe = matches!(uri.path(), "/healthz" | "/readyz");
    if !probe && !requested_host(uri, request.headers()).is_some_and(|host| guard.serves(&host)) {
        return guard.reject(
            &request,
            StatusCode::MISDIRECTED_REQUEST,
            "other_host",
            "This server is not available under this host name. Use its public URL.",
        );
    }
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return guard.reject(
            &request,
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The request is larger than 64 KiB.",
        );
    }
    let address = client_address::find(request.extensions(), request.headers(), &guard.0.proxies);
    request.extensions_mut().insert(address);
    // For the API, which does not know the types of the pages.
    request.extensions_mut().insert(address.0);
    let transport = client_address::transport(
        request.extensions(),
        request.headers(),
        address,
        &guard.0.proxies,
        guard.0.https,
    );
    request.extensions_mut().insert(transport);
    next.run(request).await
}

/// The host of the request without its port. `None` if it names none, two, or an invalid one.
fn requested_host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut named = headers.get_all(header::HOST).iter();
    let authority = match (uri.authority(), named.next(), named.next()) {
        (_, _, Some(_)) => return None,
        (Some(authority), _, None) => authority.clone(),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok()?,
        (None, None, None) => return None,
    };
    // `Authority` takes `127.0.0.1:80.evil.test` for the host before the colon, so the rest must be
    // a port and nothing else.
    let port = authority.as_str().strip_prefix(authority.host())?;
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.parse::<u16>().is_ok());
    if !is_port {
        return None;
    }
    Host::parse(authority.host())
        .ok()
        .map(|host| host.to_string())
}

fn is_loopback_host(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost",
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => ip.is_loopback(),
        Err(_) => false,
    }
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

async fn add_headers(State(guard): State<RequestGuard>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    let referrer = if guard.0.https {
        "no-referrer"
    } else {
        "same-origin"
    };
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Responses that are not pages have already set a stricter policy.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(CONTENT_SECURITY_POLICY_VALUE));
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static(referrer));
    if guard.0.https {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    // Static files set their own cache time, and have no charset.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if let Some((_, whole)) = TEXT_TYPES
        .iter()
        .find(|(bare, _)| Some(bare.as_bytes()) == kind)
    {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(whole));
    }
    answer
}

/// The page after signing in: `requested`, if it is a path of this server, else the first page.
pub fn safe_next(requested: &str) -> String {
    path_on_this_origin(requested).unwrap_or_else(|| "/".to_owned())
}

fn path_on_this_origin(requested: &str) -> Option<String> {
    let plain = requested.starts_with('/')
        && requested.len() <= 2_048
        && !requested.contains('\\')
        && !requested.chars().any(char::is_control);
    if !plain {
        return None;
    }
    // Parsed like a browser does. A path that leaves this origin, or would when it is parsed a
    // second time, is rejected.
    let own = Url::parse("http://own.invalid").ok()?;
    let url = own
        .join(requested)
        .ok()
        .filter(|url| url.origin() == own.origin() && url.username().is_empty())?;
    let path = url.path();
    let is_excluded =
        path.starts_with("//") || path.starts_with("/sign-in") || path.starts_with("/sign-out");
    let query = url
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    (!is_excluded).then(|| format!("{path}{query}"))
}

/// The cookie of a remembered browser. It proves nothing; it only selects a separate counter for
/// failed sign-ins.
pub fn device_cookie(https: bool, value: &Secret) -> Cookie<'static> {
    Cookie::build((sign_in::device_cookie(https), value.reveal().to_owned()))
        .path("/")
        .http_only(true)
        .secure(https)
        .same_site(SameSite::Lax)
        .max_age(time::Duration::days(sign_in::DEVICE_DAYS))
        .build()
}

/// Sent on sign-out: the browser deletes its cached pages.
pub const CLEAR_SITE_DATA: (HeaderName, HeaderValue) = (
    HeaderName::from_static("clear-site-data"),
    HeaderValue::from_static("\"cache\", \"storage\""),
);

#[cfg(test)]
mod tests;
