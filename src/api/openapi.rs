//! The document of the API, made from its routes.

use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, ServerBuilder};

/// Adds what the routes do not say: title, version, server and how a program shows who it is.
pub fn finish(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Chatlake")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "DataSets of chat-support data. Show a token as Authorization: Bearer; its scope is read, run or manage. Errors have one shape; lists are {items, next}.",
        ))
        .build();
    document.servers = Some(vec![ServerBuilder::new().url("/api/v1").build()]);
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    document
}

pub async fn serve(document: OpenApi) -> Response {
    Json(document).into_response()
}

/// Method and address of everything in the document, sorted.
pub fn addresses(document: &OpenApi) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (path, item) in &document.paths.paths {
        for (method, there) in [
            ("GET", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PATCH", item.patch.is_some()),
            ("DELETE", item.delete.is_some()),
            ("PUT", item.put.is_some()),
        ] {
            if there {
                all.push((method.to_owned(), path.clone()));
            }
        }
    }
    all.sort();
    all
}
