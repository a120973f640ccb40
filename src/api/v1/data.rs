//! The rows of a DataSet as a CSV file.

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::actor::Scope;
use crate::api::Api;
use crate::api::body::{Ids, QueryParams};
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::connection::Connection;
use crate::datasets::download;
use crate::datasets::export::{self, CsvOptions};
use crate::error::Error;
use crate::ids::DatasetId;

/// Query parameters of the CSV file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloadQuery {
    format: Option<String>,
    version: Option<String>,
    columns: Option<String>,
    bom: Option<String>,
    formulas: Option<String>,
}

/// Download a DataSet as CSV
///
/// `X-Chatlake-Rows` is the number of rows. With `formulas=guard`, `X-Chatlake-Marked-Cells` is the
/// number of marked cells, for up to 200,000 rows. If the connection breaks, the body is
/// incomplete.
#[utoipa::path(
    get,
    operation_id = "download_data",
    path = "/datasets/{id}/data",
    params(
        ("id" = String, Path),
        ("format" = Option<String>, Query, description = "csv"),
        ("version" = Option<String>, Query),
        (
            "columns" = Option<String>,
            Query,
            description = "names, separated by commas: only these, in this order"
        ),
        ("bom" = Option<String>, Query, description = "1: start with a byte order mark"),
        (
            "formulas" = Option<String>,
            Query,
            description = "guard: mark text that a spreadsheet would read as a formula"
        )
    ),
    responses(
        (status = 200, content_type = "text/csv"),
        (status = 304),
        (status = 404),
        (status = 409, description = "no_data_yet"),
        (status = 422),
        (status = 429, description = "too_many_downloads")
    )
)]
pub async fn download(
    State(api): State<Api>,
    bearer: Bearer,
    connection: Connection,
    Ids(id): Ids<DatasetId>,
    headers: HeaderMap,
    QueryParams(query): QueryParams<DownloadQuery>,
) -> ApiResult<Response> {
    let actor = bearer.require(Scope::Read)?;
    if !matches!(query.format.as_deref(), None | Some("csv")) {
        return Err(Error::field("format", "format must be csv.").into());
    }
    let flag = |name: &str, value: Option<&str>, on: &str| match value {
        None | Some("" | "0" | "none") => Ok(false),
        Some(value) if value == on => Ok(true),
        Some(_) => Err(Error::field(
            name,
            format!("{name} must be {on}, or left out."),
        )),
    };
    let (bom, guard) = (
        flag("bom", query.bom.as_deref(), "1")?,
        flag("formulas", query.formulas.as_deref(), "guard")?,
    );
    let columns: Option<Vec<String>> = query
        .columns
        .as_deref()
        .map(|names| names.split(',').map(str::to_owned).collect());
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|known| known.to_str().ok())
        .unwrap_or_default();
    let request = download::CsvRequest {
        id: &id,
        version: query.version.as_deref(),
        options: CsvOptions {
            columns,
            bom,
            guard,
        },
        if_none_match: known,
    };
    let file = api
        .downloads
        .csv(&api.datasets, &actor, request, connection)
        .await?;
    let etag = HeaderValue::from_str(&file.etag).map_err(Error::internal)?;
    let Some(body) = file.body else {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    };
    let mut response = HttpBody::from_stream(body).into_response();
    let head = response.headers_mut();
    head.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
    );
    head.insert(ETAG, etag);
    let disposition = export::file_name(&file.dataset.name, "csv").content_disposition();
    head.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_str(&disposition).map_err(Error::internal)?,
    );
    head.insert(
        "x-chatlake-version",
        HeaderValue::from_str(file.version.as_str()).map_err(Error::internal)?,
    );
    head.insert("x-chatlake-rows", HeaderValue::from(file.rows));
    if let Some(marked) = file.guarded_cells {
        head.insert("x-chatlake-marked-cells", HeaderValue::from(marked));
    }
    Ok(response)
}
