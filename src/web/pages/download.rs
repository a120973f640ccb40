//! The download of a version as a CSV file, plain or for Excel.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;

use crate::connection::Connection;
use crate::datasets::download::CsvRequest;
use crate::datasets::export::{self, CsvOptions};
use crate::error::{DATA_DAMAGED, Error};
use crate::ids::{DatasetId, VersionId};
use crate::web::Web;
use crate::web::page::{PageResult, redirect};
use crate::web::person::Person;
use crate::web::query::{PageQuery, PathId, path_with_query};

/// `GET /datasets/{id}/download`
pub async fn csv(
    State(web): State<Web>,
    person: Person,
    connection: Connection,
    PathId(id): PathId<DatasetId>,
    query: PageQuery,
    headers: HeaderMap,
) -> PageResult {
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|known| known.to_str().ok())
        .unwrap_or_default();
    let options = CsvOptions {
        columns: None,
        bom: query.get("bom") == "1",
        guard: query.get("formulas") == "guard",
    };
    let request = CsvRequest {
        id: &id,
        version: Some(query.get("version")).filter(|version| !version.is_empty()),
        options,
        if_none_match: known,
    };
    let file = match web
        .downloads
        .csv(&web.datasets, &person.actor, request, connection)
        .await
    {
        Err(error) if error.code() == DATA_DAMAGED => {
            return damaged(&web, &person, &id, query.get("version"), &error).await;
        }
        file => file?,
    };
    let etag = HeaderValue::from_str(&file.etag).map_err(Error::internal)?;
    let Some(body) = file.body else {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    };
    let disposition = export::file_name(&file.dataset.name, "csv").content_disposition();
    let fixed = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
        ),
        (ETAG, etag),
        (
            CONTENT_DISPOSITION,
            HeaderValue::from_str(&disposition).map_err(Error::internal)?,
        ),
    ];
    let own = [
        (
            "x-chatlake-version",
            HeaderValue::from_str(file.version.as_str()).map_err(Error::internal)?,
        ),
        ("x-chatlake-rows", HeaderValue::from(file.rows)),
    ];
    let mut answer = (fixed, own, Body::from_stream(body)).into_response();
    if let Some(marked) = file.guarded_cells {
        answer
            .headers_mut()
            .insert("x-chatlake-marked-cells", HeaderValue::from(marked));
    }
    Ok(answer)
}

/// If rows are damaged or missing, redirects to the Data tab, which says what can be done.
async fn damaged(
    web: &Web,
    person: &Person,
    id: &DatasetId,
    version: &str,
    error: &Error,
) -> PageResult {
    tracing::error!(dataset = %id, cause = ?error.log_cause(), "rows cannot be downloaded: {error}");
    let wanted = match VersionId::parse(version) {
        Some(version) => Some(web.datasets.version(&person.actor, id, &version).await?.1),
        None => web.datasets.versions.current(id).await?,
    };
    if let Some(wanted) = wanted {
        web.datasets.segments.save_damage(&wanted.segments).await?;
    }
    web.flash(
        &person.session,
        "No file was downloaded, because stored rows are damaged or missing.",
    )
    .await;
    redirect(&path_with_query(
        &format!("/datasets/{id}/data"),
        &[("version", version)],
    ))
}
