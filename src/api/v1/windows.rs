//! The ledger of the date ranges of a DataSet.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{List, Paging};
use crate::actor::Scope;
use crate::api::Api;
use crate::api::body::{Ids, QueryParams};
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::clock::iso;
use crate::connectors::Completeness;
use crate::ids::DatasetId;
use crate::puller::ledger;

/// A date range of a run, and its result.
#[derive(Serialize, ToSchema)]
pub struct WindowBody {
    run_id: String,
    /// Both days included; null for a report without days.
    from: Option<String>,
    to: Option<String>,
    /// planned, done or short (LiveChat or LiveLeader reported `vendor_total` records but returned
    /// only `kept`; the run failed).
    state: &'static str,
    /// Records from LiveChat or LiveLeader: read = kept (saved) + duplicates + left_out (excluded)
    /// + rejected.
    read: u64,
    kept: u64,
    duplicates: u64,
    left_out: u64,
    rejected: u64,
    pages: u64,
    /// Number of records that LiveChat or LiveLeader reported.
    vendor_total: Option<u64>,
    /// True when `completeness` is verified or reread, null when it is complete or null, false
    /// otherwise.
    verified: Option<bool>,
    /// verified (settled days, the reported total matches), reread (two consecutive reads agree),
    /// counted (the total matches, but the newest days were read only once), corrected (pages
    /// changed while they were read; the total matches now), complete (read to the end, no total is
    /// reported) or short (fewer records than reported; only in a failed run). Null before it was
    /// read.
    completeness: Option<&'static str>,
    finished_at: Option<String>,
}

/// List the date ranges of runs, newest run first
#[utoipa::path(
    get,
    operation_id = "list_windows",
    path = "/datasets/{id}/windows",
    params(
        ("id" = String, Path),
        ("limit" = Option<i64>, Query),
        ("cursor" = Option<String>, Query)
    ),
    responses((status = 200, body = List<WindowBody>), (status = 404))
)]
pub async fn list(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    QueryParams(paging): QueryParams<Paging>,
) -> ApiResult<Json<List<WindowBody>>> {
    let actor = bearer.require(Scope::Read)?;
    api.datasets.get(&actor, &id).await?;
    let (offset, limit) = paging.range()?;
    let lines = ledger::of_dataset(&api.db, &id, offset, limit + 1).await?;
    let items = lines
        .into_iter()
        .map(|line| WindowBody {
            run_id: line.run.to_string(),
            from: line.window.map(|w| w.from.to_string()),
            to: line.window.map(|w| w.to.to_string()),
            state: if line.done {
                "done"
            } else if line.short {
                "short"
            } else {
                "planned"
            },
            read: line.counts.read,
            kept: line.counts.kept,
            duplicates: line.counts.duplicates,
            left_out: line.counts.left_out,
            rejected: line.counts.rejected,
            pages: line.counts.pages,
            vendor_total: line.counts.total,
            verified: line.completeness().and_then(Completeness::verified),
            completeness: line.completeness().map(Completeness::word),
            finished_at: line.finished_at.map(iso),
        })
        .collect();
    Ok(Json(Paging::list(offset, limit, items)))
}
