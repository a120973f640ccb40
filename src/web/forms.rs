//! Extractors for form bodies. Fields arrive as text and are validated by the handler, which shows
//! the same input again if it is invalid.

use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use super::error_page::{self, PageError};
use crate::error::{Error, ErrorKind};

/// The fields of a form. `T` should hold text with defaults, so that no field can make the form
/// unreadable.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &S) -> Result<Self, PageError> {
        match axum_extra::extract::Form::<T>::from_request(request, state).await {
            Ok(axum_extra::extract::Form(fields)) => Ok(Self(fields)),
            Err(why) => Err(unread(why.into_response().status()).into()),
        }
    }
}

/// The error for a form that could not be read, by its status.
fn unread(status: StatusCode) -> Error {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(
            ErrorKind::TooLarge,
            "too_large",
            "The form is longer than 64 KiB.",
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Error::new(
            ErrorKind::UnsupportedMediaType,
            "not_a_form",
            "This URL accepts only forms.",
        )
        .action("Send Content-Type: application/x-www-form-urlencoded."),
        _ => Error::new(
            ErrorKind::BadRequest,
            "form",
            "This form could not be read. The page may be out of date.",
        )
        .action("Reload the page and try again."),
    }
}

/// The first parameter of the path as an id. Text that is not a valid id of this kind gives 404.
pub struct FirstPathId<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for FirstPathId<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        let id = params
            .as_ref()
            .and_then(|params| params.iter().next())
            .and_then(|(_, text)| text.parse().ok());
        id.map(Self).ok_or_else(error_page::not_found_error)
    }
}
