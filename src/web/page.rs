//! Helpers that build page responses.

use askama::Template;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::error_page::PageError;
use crate::error::Error;

/// A script requests one part of a page with this header, and the response names the part in it.
/// The value `form` marks a form sent by script.
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

/// The response header with the next page for a script that sent a form. A 303 would make the
/// browser load that page inside of the script's request instead of showing it.
pub const REDIRECT_TO: HeaderName = HeaderName::from_static("x-chatlake-go");

/// Redirects after a form. If a script sent the form (`FRAGMENT: form`), responds with 204 and the
/// address in `REDIRECT_TO`, so that the script opens the page.
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
