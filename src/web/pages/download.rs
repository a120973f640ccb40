//! A version as a CSV file, exact or for Excel.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;

use crate::connection::Connection;
use crate::datasets::download::Asked as Wanted;
use crate::datasets::export::{self, Options};
use crate::error::{DATA_DAMAGED, Error};
use crate::ids::{DatasetId, VersionId};
use crate::web::Web;
use crate::web::asked::{Asked, Id, address};
use crate::web::page::{Answer, go};
use crate::web::person::Person;

/// `GET /datasets/{id}/download`
pub async fn csv(State(web): State<Web>, person: Person, connection: Connection, Id(id): Id<DatasetId>, asked: Asked, headers: HeaderMap) -> Answer {
    let known = headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    let options = Options { columns: None, bom: asked.get("bom") == "1", guard: asked.get("formulas") == "guard" };
    let wanted = Wanted { id: &id, version: Some(asked.get("version")).filter(|version| !version.is_empty()), options, known };
    let file = match web.downloads.csv(&web.datasets, &person.actor, wanted, connection).await {
        Err(error) if error.code() == DATA_DAMAGED => return damaged(&web, &person, &id, asked.get("version"), &error).await,
        file => file?,
    };
    let etag = HeaderValue::from_str(&file.tag).map_err(Error::internal)?;
    let Some(body) = file.body else { return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response()) };
    let disposition = export::file_name(&file.dataset.name, "csv").content_disposition();
    let fixed = [
        (CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (ETAG, etag),
        (CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).map_err(Error::internal)?),
    ];
    let own =
        [("x-chatlake-version", HeaderValue::from_str(file.version.as_str()).map_err(Error::internal)?), ("x-chatlake-rows", HeaderValue::from(file.rows))];
    let mut answer = (fixed, own, Body::from_stream(body)).into_response();
    if let Some(marked) = file.marked {
        answer.headers_mut().insert("x-chatlake-marked-cells", HeaderValue::from(marked));
    }
    Ok(answer)
}

/// Rows that are damaged or missing: goes to the page of the rows, which says what can be done.
async fn damaged(web: &Web, person: &Person, id: &DatasetId, version: &str, error: &Error) -> Answer {
    tracing::error!(dataset = %id, cause = ?error.inside(), "rows cannot be downloaded: {error}");
    let wanted = match VersionId::parse(version) {
        Some(version) => Some(web.datasets.version(&person.actor, id, &version).await?.1),
        None => web.datasets.versions.current(id).await?,
    };
    if let Some(wanted) = wanted {
        web.datasets.segments.save_damage(&wanted.segments).await?;
    }
    web.say_next(&person.session, "No file was downloaded, because stored rows are damaged or missing.").await;
    go(&address(&format!("/datasets/{id}/data"), &[("version", version)]))
}
