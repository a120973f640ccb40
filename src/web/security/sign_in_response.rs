//! Parts of the responses to sign-in and sign-out: the next page, the cookie of a remembered
//! browser, and the header that clears cached pages.

use axum::http::{HeaderName, HeaderValue};
use axum_extra::extract::cookie::{Cookie, SameSite};
use url::Url;

use crate::auth::sign_in;
use crate::secret::Secret;

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
