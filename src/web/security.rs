//! What stands before every handler: which host is served, which methods, how large a body may be, who may send a form, and the
//! headers on every answer, errors too. `around` goes around the whole router, `net` around its handlers, `forms` around what a browser's
//! cookie opens.

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

/// The largest body of a request. Nothing here is uploaded.
pub const LARGEST_BODY: usize = 64 * 1024;
/// The longest address, and the largest head. The connection's own buffer stops what is far beyond; it lets a little more through.
const LONGEST_ADDRESS: usize = 8 * 1024;
const LARGEST_HEAD: usize = 32 * 1024;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()";
/// Kinds of files below `/static` that are text.
const FILES: [(&str, &str); 3] =
    [("text/css", "text/css; charset=utf-8"), ("text/javascript", "text/javascript; charset=utf-8"), ("text/plain", "text/plain; charset=utf-8")];
const METHODS: [Method; 7] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Why a request went no further than the door, or fell into the net.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: &'static str,
}

/// Makes an answer of a refusal: a line or the JSON shape, by the path. The text is the request's id, where one is known.
pub type Refuse = Arc<dyn Fn(&Uri, Option<&str>, Refusal) -> Response + Send + Sync>;

/// What the door knows: our own address and whom we believe.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    /// Scheme, host and port as a browser writes them in `Origin`.
    origin: String,
    host: String,
    https: bool,
    /// `localhost`, `127.0.0.1` and `[::1]` are us, too.
    local: bool,
    proxies: Vec<IpNet>,
    refuse: Refuse,
}

impl Door {
    /// `listens_locally`: the listening address is loopback.
    pub fn new(public_url: &Url, listens_locally: bool, proxies: Vec<IpNet>, refuse: Refuse) -> Self {
        let host = public_url.host().map(|host| host.to_string()).unwrap_or_default();
        let local = listens_locally || is_local(&host);
        let origin = public_url.origin().ascii_serialization();
        Self(Arc::new(Inner { origin, host, https: public_url.scheme() == "https", local, proxies, refuse }))
    }

    fn refuse(&self, request: &Request, status: StatusCode, code: &'static str, message: &'static str) -> Response {
        (self.0.refuse)(request.uri(), id_of(request), Refusal { status, code, message })
    }

    fn serves(&self, host: &str) -> bool {
        host == self.0.host || (self.0.local && is_local(host))
    }
}

/// Around the whole router, outside of everything but the log: host, methods, body size, client address, headers.
pub fn around<S: Clone + Send + Sync + 'static>(router: Router<S>, door: &Door) -> Router<S> {
    router.layer(DefaultBodyLimit::max(LARGEST_BODY)).layer(from_fn_with_state(door.clone(), enter)).layer(from_fn_with_state(door.clone(), dress))
}

fn id_of(request: &Request) -> Option<&str> {
    request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok())
}

/// Around the handlers, inside of `around`: one that panics, or has no answer ready within this time, is answered for.
pub fn net<S: Clone + Send + Sync + 'static>(router: Router<S>, door: &Door, within: Duration) -> Router<S> {
    router
        .layer(CatchPanicLayer::custom(broken))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, within))
        .layer(from_fn_with_state(door.clone(), answer_for))
}

const BROKEN: Refusal = Refusal {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    code: "internal",
    message: "Something went wrong. The server log contains the details under this request id.",
};
const TOO_SLOW: Refusal =
    Refusal { status: StatusCode::GATEWAY_TIMEOUT, code: "too_slow", message: "The request took too long and was stopped. Try again in a moment." };

/// What a panic said may hold anything, so it goes nowhere; the log tells the place.
fn broken(_: Box<dyn Any + Send>) -> Response {
    let mut answer = BROKEN.status.into_response();
    answer.extensions_mut().insert(BROKEN);
    answer
}

async fn answer_for(State(door): State<Door>, request: Request, next: Next) -> Response {
    let (uri, id) = (request.uri().clone(), id_of(&request).map(str::to_owned));
    let answer = next.run(request).await;
    let caught = match answer.extensions().get::<Refusal>() {
        Some(refusal) => *refusal,
        // No handler answers so: this is the cap on time.
        None if answer.status() == StatusCode::GATEWAY_TIMEOUT => TOO_SLOW,
        None => return answer,
    };
    (door.0.refuse)(&uri, id.as_deref(), caught)
}

/// Around everything that a cookie opens, signing in too: an unsafe request must come from a page of ours. Programs that bring a
/// token are not behind it: no browser sends a token by itself.
pub fn forms<S: Clone + Send + Sync + 'static>(router: Router<S>, door: &Door) -> Result<Router<S>> {
    let refused = door.clone();
    let csrf = CsrfLayer::new().add_trusted_origin(&door.0.origin).map_err(Error::internal)?;
    let csrf = csrf.with_rejection_response(move |_| refused.refuse(&Request::default(), StatusCode::FORBIDDEN, "other_origin", OTHER_ORIGIN));
    Ok(router.layer(csrf).layer(from_fn_with_state(door.clone(), own_pages_only)))
}

const OTHER_ORIGIN: &str = "This request did not come from a page of this server. Nothing was changed. Reload the page and try again.";

async fn enter(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if !METHODS.contains(request.method()) {
        let mut answer = door.refuse(&request, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not supported.");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        return answer;
    }
    if request.extensions().get::<Connection>().is_some_and(Connection::had_bare_line_feed) {
        let mut answer =
            door.refuse(&request, StatusCode::BAD_REQUEST, "bare_line_feed", "A line of the request head ends with a line feed without a carriage return.");
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return answer;
    }
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|asked| asked.as_str().len() > LONGEST_ADDRESS) {
        return door.refuse(&request, StatusCode::URI_TOO_LONG, "address_too_long", "The address is longer than 8 KiB.");
    }
    let head: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head > LARGEST_HEAD {
        return door.refuse(&request, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "The head of the request is larger than 32 KiB.");
    }
    let probe = matches!(uri.path(), "/healthz" | "/readyz");
    if !probe && !named_host(uri, request.headers()).is_some_and(|host| door.serves(&host)) {
        return door.refuse(&request, StatusCode::MISDIRECTED_REQUEST, "other_host", "This server is not available under this host name. Use its public URL.");
    }
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > LARGEST_BODY as u64) {
        return door.refuse(&request, StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is larger than 64 KiB.");
    }
    let address = client_address::find(request.extensions(), request.headers(), &door.0.proxies);
    request.extensions_mut().insert(address);
    // For the API, which knows nothing of the pages' types.
    request.extensions_mut().insert(address.0);
    let way = client_address::way(request.extensions(), request.headers(), address, &door.0.proxies, door.0.https);
    request.extensions_mut().insert(way);
    next.run(request).await
}

/// The host that the request is for, without its port; none when it names none, two, or something that is no host.
fn named_host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut named = headers.get_all(header::HOST).iter();
    let authority = match (uri.authority(), named.next(), named.next()) {
        (_, _, Some(_)) => return None,
        (Some(authority), _, None) => authority.clone(),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok()?,
        (None, None, None) => return None,
    };
    // `Authority` takes `127.0.0.1:80.evil.test` for the host before the colon: behind it there must be a port and nothing else.
    let port = authority.as_str().strip_prefix(authority.host())?;
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok());
    if !is_port {
        return None;
    }
    Host::parse(authority.host()).ok().map(|host| host.to_string())
}

fn is_local(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost",
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => ip.is_loopback(),
        Err(_) => false,
    }
}

/// Stricter than `CsrfLayer`, which lets a request without either header through, does not compare the scheme, and believes a
/// trusted origin over what the browser itself says of the site.
async fn own_pages_only(State(door): State<Door>, request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || is_from_own_page(&door, request.headers()) {
        return next.run(request).await;
    }
    door.refuse(&request, StatusCode::FORBIDDEN, "other_origin", OTHER_ORIGIN)
}

fn is_from_own_page(door: &Door, headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        // Alone it is enough: under `Referrer-Policy: no-referrer` a form of our own comes with `Origin: null`.
        Some(site) => matches!(site, b"same-origin" | b"none"),
        None => headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).is_some_and(|origin| is_own_origin(door, origin, headers)),
    }
}

fn is_own_origin(door: &Door, origin: &str, headers: &HeaderMap) -> bool {
    if origin == door.0.origin {
        return true;
    }
    // By another of our local names: the one in `Host`, port and all.
    let named = headers.get(header::HOST).is_some_and(|host| origin.strip_prefix("http://").is_some_and(|origin| origin.as_bytes() == host.as_bytes()));
    named && door.0.local && !door.0.https && Url::parse(origin).is_ok_and(|url| url.host_str().is_some_and(is_local))
}

async fn dress(State(door): State<Door>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    let referrer = if door.0.https { "no-referrer" } else { "same-origin" };
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // An answer that is no page has brought stricter ones.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static(referrer));
    if door.0.https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // Static files say for themselves how long they are good, and leave out in which letters they are written.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if let Some((_, whole)) = FILES.iter().find(|(bare, _)| Some(bare.as_bytes()) == kind) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(whole));
    }
    answer
}

/// Where to go after signing in: `asked`, if it is a path of ours, else the first page.
pub fn safe_next(asked: &str) -> String {
    own_path(asked).unwrap_or_else(|| "/".to_owned())
}

fn own_path(asked: &str) -> Option<String> {
    let plain = asked.starts_with('/') && asked.len() <= 2_048 && !asked.contains('\\') && !asked.chars().any(char::is_control);
    if !plain {
        return None;
    }
    // Read as a browser would: what leaves this origin, or would when it is read a second time, is not ours.
    let own = Url::parse("http://own.invalid").ok()?;
    let url = own.join(asked).ok().filter(|url| url.origin() == own.origin() && url.username().is_empty())?;
    let path = url.path();
    let shut = path.starts_with("//") || path.starts_with("/sign-in") || path.starts_with("/sign-out");
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    (!shut).then(|| format!("{path}{query}"))
}

/// The cookie by which a browser is known again: not a proof of anything, only a budget of its own for failed sign-ins.
pub fn device_cookie(https: bool, value: &Secret) -> Cookie<'static> {
    Cookie::build((sign_in::device_cookie(https), value.reveal().to_owned()))
        .path("/")
        .http_only(true)
        .secure(https)
        .same_site(SameSite::Lax)
        .max_age(time::Duration::days(sign_in::DEVICE_DAYS))
        .build()
}

/// Goes on the answer to signing out: the browser forgets the pages it has seen.
pub const CLEAR_SITE_DATA: (HeaderName, HeaderValue) = (HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cache\", \"storage\""));

#[cfg(test)]
mod tests;
