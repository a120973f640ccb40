//! The versions of a DataSet.

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
use crate::clock::iso;
use crate::datasets::versions::{Integrity, VersionIntegrity};
use crate::ids::{DatasetId, VersionId};

/// A version of a DataSet.
#[derive(Serialize, ToSchema)]
pub struct VersionBody {
    id: String,
    number: u64,
    rows: u64,
    columns: usize,
    bytes: u64,
    /// The run that created it.
    run_id: Option<String>,
    current: bool,
    created_at: String,
    /// Fingerprint of rows and columns: equal for versions with the same content.
    content: String,
    /// checked, not_checked (some files have no checksums yet) or damaged (a file is damaged or
    /// missing).
    integrity: &'static str,
}

/// List versions, newest first
#[utoipa::path(
    get,
    operation_id = "list_versions",
    path = "/datasets/{id}/versions",
    params(("id" = String, Path)),
    responses((status = 200, body = List<VersionBody>), (status = 404))
)]
pub async fn list(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<List<VersionBody>>> {
    let actor = bearer.require(Scope::Read)?;
    let dataset = api.datasets.get(&actor, &id).await?;
    let current = dataset.current.map(|c| c.version);
    let versions = api.datasets.versions.list(&id).await?;
    let known = api.datasets.versions.integrity(&id).await?;
    let integrity = |id: &VersionId| {
        known
            .iter()
            .find(|of| of.version == *id)
            .map_or(Integrity::NotChecked, VersionIntegrity::state)
    };
    let items = versions
        .into_iter()
        .map(|v| VersionBody {
            current: current.as_ref() == Some(&v.id),
            content: v.content(),
            integrity: integrity(&v.id).word(),
            id: v.id.to_string(),
            number: v.number,
            rows: v.rows,
            columns: v.columns.len(),
            bytes: v.bytes,
            run_id: v.run.map(|run| run.to_string()),
            created_at: iso(v.created_at),
        })
        .collect();
    Ok(Json(List::complete(items)))
}
