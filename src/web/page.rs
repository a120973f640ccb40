//! A page on its way out.

use askama::Template;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::error_page::Trouble;
use crate::error::Error;

/// A script asks for one part of the page by this, and the answer says by it which part it is; `form` sends a whole form.
pub const FRAGMENT: HeaderName = HeaderName::from_static("x-chatlake-fragment");

/// What every handler of a page answers.
pub type Answer = Result<Response, Trouble>;

/// Renders a page.
pub fn show(page: &impl Template) -> Answer {
    show_with(StatusCode::OK, page)
}

/// Renders a page with a status: 422 for a form that has to be corrected.
pub fn show_with(status: StatusCode, page: &impl Template) -> Answer {
    let mut html = page.render().map_err(Error::internal)?;
    // What a vendor calls a group may hold one, and HTML may not.
    if html.contains('\0') {
        html = html.replace('\0', "\u{fffd}");
    }
    Ok((status, Html(html)).into_response())
}

/// Where a script that has sent a form goes next. A browser that follows a redirect for a script would show that page to nobody.
pub const GO: HeaderName = HeaderName::from_static("x-chatlake-go");

/// As `go`, for a form that a script may have sent, which says so by `FRAGMENT`: it is told the address and goes there itself.
pub fn go_from_form(headers: &HeaderMap, to: &str) -> Answer {
    if headers.get(FRAGMENT).is_none_or(|value| value != "form") {
        return go(to);
    }
    let to = HeaderValue::try_from(to).map_err(Error::internal)?;
    Ok((StatusCode::NO_CONTENT, [(GO, to)]).into_response())
}

/// Goes on to another page after a change (303).
pub fn go(to: &str) -> Answer {
    Ok(Redirect::to(to).into_response())
}
