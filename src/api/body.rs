//! Extractors of the API that read strictly: JSON bodies without unknown fields, ids in paths and
//! query parameters. Errors name the field.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::error::{Error, ErrorKind};

/// A JSON body. A missing body is read as `{}`.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .map(str::to_ascii_lowercase);
        let bytes = Bytes::from_request(request, state).await.map_err(|why| {
            ApiError(match why.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Error::new(
                    ErrorKind::TooLarge,
                    "too_large",
                    "The body is longer than 64 KiB.",
                ),
                _ => Error::new(
                    ErrorKind::BadRequest,
                    "body_broken",
                    "The body is incomplete.",
                ),
            })
        })?;
        if bytes.is_empty() {
            return parse(b"{}");
        }
        let is_json = kind.is_some_and(|kind| {
            kind.split(';')
                .next()
                .is_some_and(|k| k.trim() == "application/json")
        });
        if !is_json {
            return Err(ApiError(
                Error::new(
                    ErrorKind::UnsupportedMediaType,
                    "not_json",
                    "The body must be JSON.",
                )
                .action("Send Content-Type: application/json."),
            ));
        }
        parse(&bytes)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Body<T>, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let (path, why) = match serde_path_to_error::deserialize(&mut reader) {
        Ok(body) => match reader.end() {
            Ok(()) => return Ok(Body(body)),
            Err(why) => (String::new(), why),
        },
        Err(why) => (why.path().to_string(), why.into_inner()),
    };
    if why.classify() != serde_json::error::Category::Data {
        return Err(ApiError(Error::new(
            ErrorKind::BadRequest,
            "not_json",
            "The body is not complete, well-formed JSON.",
        )));
    }
    // serde's message names our own fields and the kind of the value. It never contains the value,
    // which could be a secret.
    let text = why.to_string();
    let message = text.split(" at line ").next().unwrap_or_default();
    let path = Some(path.as_str()).filter(|path| !path.is_empty() && *path != "." && *path != "?");
    if message.contains("invalid type")
        || message.contains("invalid value")
        || message.contains("invalid length")
    {
        let expected = message
            .split(", expected ")
            .nth(1)
            .map_or("another type", describe_type);
        let field = path.unwrap_or("body");
        return Err(ApiError(Error::field(
            field,
            format!("{field} must be {expected}."),
        )));
    }
    let named = message
        .split('`')
        .nth(1)
        .filter(|_| message.contains("field"));
    let field = match (path, named) {
        (Some(path), Some(named)) if !path.ends_with(named) => format!("{path}.{named}"),
        (Some(path), _) => path.to_owned(),
        (None, named) => named.unwrap_or("body").to_owned(),
    };
    Err(ApiError(Error::field(
        field,
        format!("The body does not match the expected format: {message}."),
    )))
}

/// Describes a type that serde names, in words for people who do not write Rust.
fn describe_type(kind: &str) -> &str {
    match kind {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "str" | "a borrowed string" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        _ if kind.starts_with("struct ") || kind.starts_with("a map") || kind.contains("map") => {
            "an object"
        }
        _ => "another type",
    }
}

/// The ids in a path. Text that is not a valid id of that kind gives 404.
pub struct Ids<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Ids<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(_) => Err(ApiError(Error::not_found("object"))),
        }
    }
}

/// The query string.
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum_extra::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum_extra::extract::Query(fields)) => Ok(Self(fields)),
            Err(_) => Err(ApiError(
                Error::new(
                    ErrorKind::Unprocessable,
                    "wrong_value",
                    "A query parameter is unknown or has a wrong value.",
                )
                .action("See /api/v1/openapi.json."),
            )),
        }
    }
}
