//! The OpenAPI document, generated from the routes. Parts that all operations share are added here:
//! a tag, a description of each response, and the errors that any call can return.

use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, OperationBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, InfoBuilder, OpenApi, Ref, RefOr, ResponseBuilder, ServerBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::error::ErrorBody;

/// The path of the document below `/api/v1`.
pub const ADDRESS: &str = "/openapi.json";

/// Adds what the routes do not contain: title, version, server, authentication, and the path of
/// this document.
pub fn finish(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Chatlake")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "DataSets with data from LiveChat and LiveLeader. \
             Send a token as Authorization: Bearer TOKEN; its scope is read, run or manage. \
             All errors have the same format; lists are {items, next}.",
        ))
        .build();
    document.servers = Some(vec![ServerBuilder::new().url("/api/v1").build()]);
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme(
        "token",
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    document.security = Some(vec![SecurityRequirement::new(
        "token",
        Vec::<String>::new(),
    )]);
    let mut schemas = vec![(ErrorBody::name().into_owned(), ErrorBody::schema())];
    ErrorBody::schemas(&mut schemas);
    components.schemas.extend(schemas);
    for (path, item) in &mut document.paths.paths {
        let tag = path.split('/').nth(1).unwrap_or_default().to_owned();
        for (has_body, operation) in [
            (false, &mut item.get),
            (true, &mut item.post),
            (true, &mut item.put),
            (true, &mut item.patch),
            (false, &mut item.delete),
        ] {
            if let Some(operation) = operation {
                add_common_parts(operation, &tag, has_body);
            }
        }
    }
    let itself = OperationBuilder::new()
        .summary(Some("This document"))
        .operation_id(Some("get_openapi_document"))
        .tag("openapi.json")
        .securities(Some(Vec::new()))
        .response(
            "200",
            ResponseBuilder::new().description("The document as JSON. No token is required."),
        );
    document
        .paths
        .add_path_operation(ADDRESS, vec![HttpMethod::Get], itself.build());
    document
}

/// Adds the tag, the common errors, and descriptions and bodies where a handler declares only the
/// status.
fn add_common_parts(operation: &mut Operation, tag: &str, has_body: bool) {
    operation.tags = Some(vec![tag.to_owned()]);
    let responses = &mut operation.responses.responses;
    let common_errors: &[&str] = if has_body {
        &["400", "401", "403", "413", "422", "429", "500", "503"]
    } else {
        &["401", "403", "429", "500", "503"]
    };
    for status in common_errors {
        responses
            .entry((*status).to_owned())
            .or_insert_with(|| ResponseBuilder::new().build().into());
    }
    if operation.parameters.iter().flatten().any(
        |parameter| matches!(parameter, RefOr::T(one) if one.parameter_in == ParameterIn::Query),
    ) {
        responses
            .entry("422".to_owned())
            .or_insert_with(|| ResponseBuilder::new().build().into());
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else {
            continue;
        };
        if response.description.is_empty() {
            response.description = status_description(status).to_owned();
        }
        if status.starts_with(['4', '5']) && response.content.is_empty() {
            let body = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(ErrorBody::name())))
                .build();
            response
                .content
                .insert("application/json".to_owned(), body.into());
        }
    }
}

/// The description of a status code.
fn status_description(status: &str) -> &'static str {
    match status {
        "200" => "Done; the body has the result.",
        "201" => "Created; the body has the new object.",
        "202" => "Accepted; the work continues, and the body has its current state.",
        "204" => "Done; there is no body.",
        "304" => "The file has not changed since the ETag that was sent; there is no body.",
        "400" => "The body cannot be read as JSON.",
        "401" => "There is no token, or it is unknown, expired or revoked.",
        "403" => "The token's scope or its owner's role does not allow this.",
        "404" => "The object does not exist or is not shared with the token's owner.",
        "409" => "Not possible in the current state; the code gives the reason.",
        "413" => "The body is longer than 64 KiB.",
        "422" => "A field or parameter has a wrong value; `field` names it.",
        "429" => "Too many attempts with wrong tokens; Retry-After says how long to wait.",
        "500" => {
            "An error occurred on the server; the server log has the details under the request id."
        }
        "503" => "The server cannot do this now; Retry-After says when to try again.",
        _ => "See the code in the body.",
    }
}

pub async fn serve(document: OpenApi) -> Response {
    Json(document).into_response()
}

/// Method and path of every operation in the document, sorted.
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
