//! Bodies and addresses, read strictly: JSON only, no unknown fields, and an error that names the field.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::Refusal;
use crate::error::{Error, Kind};

/// A JSON body. An absent one counts as `{}`.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_ascii_lowercase);
        let bytes = Bytes::from_request(request, state).await.map_err(|why| {
            Refusal(match why.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Error::new(Kind::TooLarge, "too_large", "The body is longer than 64 KiB."),
                _ => Error::new(Kind::BadRequest, "body_broken", "The body did not arrive whole."),
            })
        })?;
        if bytes.is_empty() {
            return parse(b"{}");
        }
        let is_json = kind.is_some_and(|kind| kind.split(';').next().is_some_and(|k| k.trim() == "application/json"));
        if !is_json {
            return Err(Refusal(Error::new(Kind::BadRequest, "not_json", "The body must be JSON.").action("Send Content-Type: application/json.")));
        }
        parse(&bytes)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Body<T>, Refusal> {
    serde_json::from_slice(bytes).map(Body).map_err(|why| {
        let text = why.to_string();
        // What serde says names our own fields and the kind of value; it never repeats a value that could be a secret's.
        let said = text.split(" at line ").next().unwrap_or_default();
        let said = if said.contains("invalid type") || said.contains("invalid value") { "a value is of the wrong kind" } else { said };
        match why.classify() {
            serde_json::error::Category::Data => {
                let field = said.split('`').nth(1).unwrap_or("body").to_owned();
                Refusal(Error::field(field, format!("The body is not as it should be: {said}.")))
            }
            _ => Refusal(Error::new(Kind::BadRequest, "not_json", "The body is not whole, well-formed JSON.")),
        }
    })
}

/// The ids in an address. Text that is not an id of that kind is a thing that is not there.
pub struct Ids<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Ids<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(_) => Err(Refusal(Error::not_found("thing"))),
        }
    }
}

/// The part of an address after the question mark.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match axum_extra::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum_extra::extract::Query(asked)) => Ok(Self(asked)),
            Err(_) => Err(Refusal(
                Error::new(Kind::Unprocessable, "wrong_value", "A parameter in the address is not known or not of its kind.")
                    .action("See /api/v1/openapi.json."),
            )),
        }
    }
}
