//! What an address asks for: the id in its path and the fields behind its question mark.

use std::collections::HashMap;
use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::error_page::Trouble;
use crate::error::{Error, Kind};

/// The id in a path. Text that is no id of the kind is answered like one that is not there.
pub struct Id<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Trouble> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text).unwrap_or_default();
        let missing = || Trouble(Error::new(Kind::NotFound, "not_found", "There is no such page, or it is not shared with you."));
        text.parse().map(Id).map_err(|_| missing())
    }
}

/// The fields behind the question mark, all as text; of one that comes twice the last. No query is unreadable.
#[derive(Default)]
pub struct Asked(HashMap<String, String>);

impl Asked {
    /// A field without the space around it; empty when it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }

    /// Which page, from 1.
    pub fn page(&self) -> u64 {
        self.get("page").parse().unwrap_or(1).max(1)
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}

/// `path` with the fields that are not empty behind it.
pub fn address(path: &str, fields: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The two ids in a path, told as `Id` tells one.
pub struct Two<A, B>(pub A, pub B);

impl<A: FromStr, B: FromStr, S: Send + Sync> FromRequestParts<S> for Two<A, B> {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Trouble> {
        let (one, two) = Path::<(String, String)>::from_request_parts(parts, state).await.map(|Path(texts)| texts).unwrap_or_default();
        let missing = || Trouble(Error::new(Kind::NotFound, "not_found", "There is no such page, or it is not shared with you."));
        Ok(Self(one.parse().map_err(|_| missing())?, two.parse().map_err(|_| missing())?))
    }
}
