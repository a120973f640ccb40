//! Refuses parameters that an address does not take. Which ones it takes is what the document of the API says of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use super::error::Refusal;
use crate::error::Error;

/// Names of query parameters by method and path below `/api/v1`. Cheap to clone.
#[derive(Clone)]
pub struct Known(Arc<HashMap<(Method, String), HashSet<String>>>);

impl Known {
    /// What `document` says.
    pub fn of(document: &OpenApi) -> Self {
        let mut known = HashMap::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in
                [(Method::GET, &item.get), (Method::POST, &item.post), (Method::PUT, &item.put), (Method::PATCH, &item.patch), (Method::DELETE, &item.delete)]
            {
                if let Some(operation) = operation {
                    known.insert((method, path.clone()), in_query(operation));
                }
            }
        }
        Self(Arc::new(known))
    }

    /// The first parameter of `query` that this address does not take; none for an address that is not in the document.
    fn stranger(&self, method: &Method, path: &str, query: &str) -> Option<String> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let names = self.0.get(&(method.clone(), path.strip_prefix("/api/v1").unwrap_or(path).to_owned()))?;
        url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned()).find(|name| !names.contains(name))
    }
}

fn in_query(operation: &Operation) -> HashSet<String> {
    let all = operation.parameters.iter().flatten();
    all.filter_map(|parameter| match parameter {
        RefOr::T(one) if one.parameter_in == ParameterIn::Query => Some(one.name.clone()),
        _ => None,
    })
    .collect()
}

/// Answers 422 `wrong_value` for a parameter that is not known at this address. A request without a token goes on: it is answered with 401,
/// which also tells people who put the token into the address where it belongs.
pub async fn check(State(known): State<Known>, request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    match known.stranger(request.method(), &path, query) {
        Some(name) if request.headers().contains_key(AUTHORIZATION) => {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
            let message = format!("This address does not accept the parameter “{shown}”.");
            Refusal(Error::field(shown, message).action("See /api/v1/openapi.json.")).into_response()
        }
        _ => next.run(request).await,
    }
}
