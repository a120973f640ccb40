//! Forms arrive as text and become checked values; whatever was typed stays for the page that asks again.

use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use super::error_page::{self, Trouble};
use crate::error::{Error, Kind};

/// A form's fields. `T` should hold text with defaults, so that no field can make the form unreadable.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, state: &S) -> Result<Self, Trouble> {
        match axum_extra::extract::Form::<T>::from_request(request, state).await {
            Ok(axum_extra::extract::Form(fields)) => Ok(Self(fields)),
            Err(why) => Err(unread(why.into_response().status()).into()),
        }
    }
}

/// Why a form could not be read, by the status that it was refused with.
fn unread(status: StatusCode) -> Error {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(Kind::TooLarge, "too_large", "The form is longer than 64 KiB."),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Error::new(Kind::WrongKind, "not_a_form", "This URL accepts only forms.").action("Send Content-Type: application/x-www-form-urlencoded.")
        }
        _ => Error::new(Kind::BadRequest, "form", "This form could not be read. The page may be out of date.").action("Reload the page and try again."),
    }
}

/// The first parameter of the path as an id. Text that is no id of that kind is a page that is not there.
pub struct Id<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Trouble> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        let id = params.as_ref().and_then(|params| params.iter().next()).and_then(|(_, text)| text.parse().ok());
        id.map(Self).ok_or_else(error_page::nothing_here)
    }
}
