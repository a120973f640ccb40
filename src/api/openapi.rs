//! The document of the API, made from its routes.

use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{HttpMethod, InfoBuilder, OpenApi, ResponseBuilder, ServerBuilder};

/// Where the document is, below `/api/v1`.
pub const ADDRESS: &str = "/openapi.json";

/// Adds what the routes do not say: title, version, server, how a program shows who it is, and where this document is.
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
    let itself = OperationBuilder::new()
        .summary(Some("This document"))
        .operation_id(Some("openapi"))
        .securities(Some(Vec::new()))
        .response("200", ResponseBuilder::new().description("The document, as JSON. It asks for no token."));
    document.paths.add_path_operation(ADDRESS, vec![HttpMethod::Get], itself.build());
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
