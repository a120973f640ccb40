//! A page on its way out.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::error_page::Trouble;
use crate::error::Error;

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

/// Goes on to another page after a change (303).
pub fn go(to: &str) -> Answer {
    Ok(Redirect::to(to).into_response())
}
