//! Rejects unknown query parameters. The known parameters come from the OpenAPI document.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use super::error::ApiError;
use crate::error::Error;

/// The names of the query parameters by method and path below `/api/v1`. Cheap to clone.
#[derive(Clone)]
pub struct KnownParams(Arc<HashMap<(Method, String), HashSet<String>>>);

impl KnownParams {
    /// Reads the parameters from `document`.
    pub fn of(document: &OpenApi) -> Self {
        let mut known = HashMap::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ] {
                if let Some(operation) = operation {
                    known.insert((method, path.clone()), query_param_names(operation));
                }
            }
        }
        Self(Arc::new(known))
    }

    /// The first parameter in `query` that this operation does not declare. `None` for a path that
    /// is not in the document.
    fn first_unknown(&self, method: &Method, path: &str, query: &str) -> Option<String> {
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let names = self.0.get(&(
            method.clone(),
            path.strip_prefix("/api/v1").unwrap_or(path).to_owned(),
        ))?;
        url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, _)| name.into_owned())
            .find(|name| !names.contains(name))
    }
}

fn query_param_names(operation: &Operation) -> HashSet<String> {
    let all = operation.parameters.iter().flatten();
    all.filter_map(|parameter| match parameter {
        RefOr::T(one) if one.parameter_in == ParameterIn::Query => Some(one.name.clone()),
        _ => None,
    })
    .collect()
}

/// Rejects unknown parameters with 422 `wrong_value`. A request without a token passes, because it
/// gets a 401 whose message also helps people who put the token into the query string.
pub async fn check(State(known): State<KnownParams>, request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned())
        .unwrap_or_default();
    match known.first_unknown(request.method(), &path, query) {
        Some(name) if request.headers().contains_key(AUTHORIZATION) => {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
            let message = format!("This address does not accept the parameter “{shown}”.");
            ApiError(Error::field(shown, message).action("See /api/v1/openapi.json."))
                .into_response()
        }
        _ => next.run(request).await,
    }
}
