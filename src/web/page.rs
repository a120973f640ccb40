//! Helpers that build page responses.

use askama::Template;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::error_page::PageError;
use crate::error::Error;

/// A script requests one part of a page with this header, and the response names the part in it. The value `form` marks a form sent by
/// script.
pub const FRAGMENT: HeaderName = HeaderName::from_static("x-chatlake-fragment");

/// The result type of all page handlers.
pub type PageResult = Result<Response, PageError>;

/// Renders a page.
pub fn render(page: &impl Template) -> PageResult {
    render_with_status(StatusCode::OK, page)
}

/// Renders a page with a status: 422 for a form with errors.
pub fn render_with_status(status: StatusCode, page: &impl Template) -> PageResult {
    let mut html = page.render().map_err(Error::internal)?;
    // Vendor names can contain a null character, which HTML forbids.
    if html.contains('\0') {
        html = html.replace('\0', "\u{fffd}");
    }
    Ok((status, Html(html)).into_response())
}

/// The target page for a script that has sent a form. If the response were a redirect, the browser would load the page for the script
/// instead of showing it.
pub const REDIRECT_TO: HeaderName = HeaderName::from_static("x-chatlake-go");

/// As `redirect`, for a form that a script may have sent, which says so by `FRAGMENT`: it is told the address and goes there itself.
pub fn redirect_from_form(headers: &HeaderMap, to: &str) -> PageResult {
    if headers.get(FRAGMENT).is_none_or(|value| value != "form") {
        return redirect(to);
    }
    let to = HeaderValue::try_from(to).map_err(Error::internal)?;
    Ok((StatusCode::NO_CONTENT, [(REDIRECT_TO, to)]).into_response())
}

/// Redirects to another page after a change (303).
pub fn redirect(to: &str) -> PageResult {
    Ok(Redirect::to(to).into_response())
}
