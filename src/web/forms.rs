//! Forms arrive as text and become checked values; whatever was typed stays for the page that asks again.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::error_page::Trouble;
use crate::error::{Error, Kind};

/// A form's fields. `T` should hold text with defaults, so that no field can make the form unreadable.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, state: &S) -> Result<Self, Trouble> {
        match axum_extra::extract::Form::<T>::from_request(request, state).await {
            Ok(axum_extra::extract::Form(fields)) => Ok(Self(fields)),
            Err(_) => Err(Error::new(Kind::BadRequest, "form", "This form could not be read. It may be from a page of an older version.")
                .action("Open the page again.")
                .into()),
        }
    }
}
