//! Checks method, sizes and host of every request, and finds the client address.

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use url::Host;

use super::{MAX_BODY_BYTES, RequestGuard};
use crate::connection::Connection;
use crate::web::client_address;

/// The maximum length of a URI and of a request head. The connection's own buffer rejects much
/// larger ones, but allows a little more.
const MAX_URI_BYTES: usize = 8 * 1024;
const MAX_HEADER_BYTES: usize = 32 * 1024;
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

pub(super) async fn check_request(
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
