//! Extractors for the path and the query string of a page.

use std::collections::HashMap;
use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::error_page::PageError;
use crate::error::{Error, ErrorKind};

/// The id in a path. Text that is not a valid id of this kind gives 404.
pub struct PathId<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let text = Path::<String>::from_request_parts(parts, state)
            .await
            .map(|Path(text)| text)
            .unwrap_or_default();
        let missing = || {
            PageError(Error::new(
                ErrorKind::NotFound,
                "not_found",
                "There is no such page, or it is not shared with you.",
            ))
        };
        text.parse().map(PathId).map_err(|_| missing())
    }
}

/// The query parameters as text. The last value of a repeated parameter counts. Every query string
/// can be read.
#[derive(Default)]
pub struct PageQuery(HashMap<String, String>);

impl PageQuery {
    /// A parameter without surrounding space; empty if it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    /// The number of the page, from 1.
    pub fn page(&self) -> u64 {
        self.get("page").parse().unwrap_or(1).max(1)
    }
}

impl<S: Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        ))
    }
}

/// `path` with a query string of the fields that are not empty.
pub fn path_with_query(path: &str, fields: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    let query = query.finish();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// The two ids in a path. Text that is not a valid id of its kind gives 404.
pub struct PathIds<A, B>(pub A, pub B);

impl<A: FromStr, B: FromStr, S: Send + Sync> FromRequestParts<S> for PathIds<A, B> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let (one, two) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map(|Path(texts)| texts)
            .unwrap_or_default();
        let missing = || {
            PageError(Error::new(
                ErrorKind::NotFound,
                "not_found",
                "There is no such page, or it is not shared with you.",
            ))
        };
        Ok(Self(
            one.parse().map_err(|_| missing())?,
            two.parse().map_err(|_| missing())?,
        ))
    }
}
