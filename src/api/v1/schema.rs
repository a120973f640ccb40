//! The columns of a DataSet.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::List;
use crate::actor::Scope;
use crate::api::Api;
use crate::api::body::Ids;
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::datasets::columns;
use crate::ids::DatasetId;

/// A column.
#[derive(Serialize, ToSchema)]
pub struct SchemaColumn {
    name: String,
    /// text, integer, number, boolean, date, timestamp or json.
    kind: &'static str,
    /// True: part of the report. False: a new column from LiveChat or LiveLeader.
    declared: bool,
    meaning: Option<&'static str>,
}

/// Get the columns, in order
///
/// The columns of the current version, or of the report if there is no version yet.
#[utoipa::path(
    get,
    operation_id = "get_schema",
    path = "/datasets/{id}/schema",
    params(("id" = String, Path)),
    responses((status = 200, body = List<SchemaColumn>), (status = 404))
)]
pub async fn get(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<List<SchemaColumn>>> {
    let actor = bearer.require(Scope::Read)?;
    let dataset = api.datasets.get(&actor, &id).await?;
    let found = match api.datasets.versions.current(&id).await? {
        Some(version) => version.columns,
        None => columns::columns_of(dataset.report),
    };
    let items = found
        .into_iter()
        .map(|c| SchemaColumn {
            kind: c.kind.word(),
            declared: c.declared,
            meaning: dataset.report.column(&c.name).map(|column| column.meaning),
            name: c.name,
        })
        .collect();
    Ok(Json(List::complete(items)))
}
