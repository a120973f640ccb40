//! A version as a CSV file, exact or for Excel.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;

use crate::auth;
use crate::datasets::download::{is_known, tag, while_allowed};
use crate::datasets::export::{self, Options};
use crate::error::Error;
use crate::ids::{DatasetId, VersionId};
use crate::web::Web;
use crate::web::asked::{Asked, Id};
use crate::web::page::Answer;
use crate::web::person::Person;

/// `GET /datasets/{id}/download`
pub async fn csv(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>, asked: Asked, headers: HeaderMap) -> Answer {
    let actor = person.actor;
    let dataset = web.datasets.get(&actor, &id).await?;
    let version = match asked.get("version") {
        "" => web
            .datasets
            .versions
            .current(&id)
            .await?
            .ok_or_else(|| Error::conflict("no_data_yet", "This DataSet has no data yet.").action("Run it, or wait for its first run to succeed."))?,
        text => {
            let missing = || Error::not_found("version");
            let wanted = VersionId::parse(text).ok_or_else(missing)?;
            web.datasets.versions.get(&wanted).await?.filter(|version| version.dataset == id).ok_or_else(missing)?
        }
    };
    let version = web.datasets.versions.pin(&version);
    let options = Options { columns: None, bom: asked.get("bom") == "1", guard: asked.get("formulas") == "guard" };
    let tag = tag(&version, &options);
    let etag = HeaderValue::from_str(&tag).map_err(Error::internal)?;
    let known = headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    if is_known(known, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let disposition = export::file_name(&dataset.name, "csv").content_disposition();
    let fixed = [
        (CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (ETAG, etag),
        (CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).map_err(Error::internal)?),
    ];
    let own =
        [("x-chatlake-version", HeaderValue::from_str(version.id.as_str()).map_err(Error::internal)?), ("x-chatlake-rows", HeaderValue::from(version.rows))];
    web.datasets.segments.check(&version.segments).await?;
    let rows = export::csv(&web.datasets.segments, version, options)?;
    let asker = actor.clone();
    let (datasets, db, clock) = (web.datasets.clone(), web.db.clone(), web.clock.clone());
    let still_good = move || {
        let (db, clock, actor) = (db.clone(), clock.clone(), actor.clone());
        async move { auth::still_good(&db, &clock, &actor).await }
    };
    Ok((fixed, own, Body::from_stream(while_allowed(rows, datasets, asker, id, still_good))).into_response())
}
