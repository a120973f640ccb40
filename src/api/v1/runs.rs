//! Runs: start, read, cancel, accept and discard.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{List, Paging};
use crate::actor::Scope;
use crate::api::Api;
use crate::api::body::{Body, Ids, QueryParams};
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::clock::iso;
use crate::connectors::Completeness;
use crate::datasets::schema_change::SchemaChange;
use crate::ids::{DatasetId, RunId};
use crate::puller::queue;
use crate::puller::run::{Run, RunOutcome, Trigger};

/// A run of a DataSet.
#[derive(Serialize, ToSchema)]
pub struct RunBody {
    #[schema(value_type = String)]
    id: RunId,
    #[schema(value_type = String)]
    dataset_id: DatasetId,
    /// manual, schedule, first, retry, backfill or revert.
    trigger: &'static str,
    /// queued, running, waiting, succeeded, failed, cancelled or parked; the last four are final.
    state: &'static str,
    queued_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    /// When a waiting run continues.
    waits_until: Option<String>,
    /// Why a queued run waits, as text: for a worker, for other runs of the account, for a run that
    /// pulls the same data, for its turn, or for another reason. Null in lists, and if LiveChat or
    /// LiveLeader asked Chatlake to wait.
    waits_for: Option<String>,
    /// Number of scheduled runs that were missed before this run: the server was off, or its clock
    /// was set forward.
    missed: i64,
    /// Days of a run of a backfill. Null: the days of the menus.
    from: Option<String>,
    to: Option<String>,
    /// For a revert: the number of the older version.
    back_to: Option<i64>,
    attempt: i64,
    windows: i64,
    windows_done: i64,
    pages: i64,
    calls: i64,
    /// Number of runs that share the same API calls, including this one; `pages` and `calls` count
    /// the shared calls. 0 before the start.
    shared_by: i64,
    /// Records from LiveChat or LiveLeader: read = kept (saved) + duplicates + left_out (excluded)
    /// + rejected.
    read: i64,
    kept: i64,
    duplicates: i64,
    left_out: i64,
    rejected: i64,
    /// Values that do not match the type of their column; they are saved in `_misfit`.
    misfits: i64,
    /// For a LiveLeader export: bare ampersands, HTML entities and wrong character references,
    /// which are not XML and were corrected.
    repaired: i64,
    /// Rows saved by this run.
    rows: i64,
    /// Number of records that LiveChat or LiveLeader reported.
    vendor_total: Option<i64>,
    /// True when `completeness` is verified or reread, null when it is complete or null, false
    /// otherwise.
    verified: Option<bool>,
    /// verified (settled days, the reported total matches), reread (two consecutive reads agree),
    /// counted (the total matches, but the newest days were read only once), corrected (pages
    /// changed while they were read; the total matches now), complete (read to the end, no total is
    /// reported) or short (fewer records than reported; only in a failed run). The weakest value of
    /// its date ranges; null before the first one is done.
    completeness: Option<&'static str>,
    version: Option<String>,
    /// Null, or: kept (no rows were returned; the existing rows stay), unchanged (same rows as the
    /// current version, which stays), held (too few rows; the version is waiting for approval, and
    /// the run counts as failed), accepted (published), discarded, or superseded (another version
    /// replaced the one that was waiting).
    outcome: Option<&'static str>,
    accepted_by: Option<String>,
    accepted_at: Option<String>,
    discarded_by: Option<String>,
    discarded_at: Option<String>,
    /// Rows of the previous version and of the version of this run; null if the run created no
    /// version.
    rows_before: Option<i64>,
    rows_after: Option<i64>,
    /// Existing rows that this run replaced.
    rows_dropped: i64,
    /// Changes of the columns: added, removed, retyped (name, from, to), and the verdict: accept,
    /// warn or stop.
    #[schema(value_type = Option<Object>)]
    schema_change: Option<SchemaChange>,
    error: Option<RunError>,
    /// Progress of a running run.
    #[schema(value_type = Option<Object>)]
    progress: Option<crate::puller::live::Progress>,
}

#[derive(Serialize, ToSchema)]
struct RunError {
    code: String,
    /// What happened.
    message: String,
    /// Who can fix it.
    who: String,
    /// What happens next, and when.
    action: String,
}

pub(super) fn body(api: &Api, run: Run) -> RunBody {
    let progress = api.puller.live.current(&run.id);
    RunBody {
        trigger: run.trigger.word(),
        state: run.state.word(),
        queued_at: iso(run.queued_at),
        started_at: run.started_at.map(iso),
        finished_at: run.finished_at.map(iso),
        waits_until: (run.state == crate::puller::run::RunState::Waiting).then(|| iso(run.due_at)),
        waits_for: run
            .wait_reason
            .map(|wait| wait.in_words())
            .or_else(|| run.deferred_reason.clone()),
        missed: run.missed,
        from: run.range.map(|range| range.from.to_string()),
        to: run.range.map(|range| range.to.to_string()),
        back_to: run.reverted_to,
        attempt: run.attempt,
        windows: run.windows_total,
        windows_done: run.windows_done,
        pages: run.pages,
        calls: run.calls,
        shared_by: run.shared_by,
        read: run.records_read,
        kept: run.records_kept,
        duplicates: run.duplicates,
        left_out: run.left_out,
        rejected: run.rejected,
        misfits: run.misfits,
        repaired: run.repaired,
        rows: run.rows,
        vendor_total: run.vendor_total,
        verified: run.verified(),
        completeness: run.completeness.map(Completeness::word),
        version: run.version_id.as_ref().map(ToString::to_string),
        outcome: run.outcome.map(RunOutcome::word),
        accepted_by: run
            .decided_by_name
            .clone()
            .filter(|_| run.outcome == Some(RunOutcome::Accepted)),
        accepted_at: run
            .decided_at
            .filter(|_| run.outcome == Some(RunOutcome::Accepted))
            .map(iso),
        discarded_by: run
            .decided_by_name
            .filter(|_| run.outcome == Some(RunOutcome::Discarded)),
        discarded_at: run
            .decided_at
            .filter(|_| run.outcome == Some(RunOutcome::Discarded))
            .map(iso),
        rows_before: run.rows_before,
        rows_after: run.rows_after,
        rows_dropped: run.rows_dropped,
        schema_change: run.schema_change,
        error: run.failure.map(|f| RunError {
            code: f.code,
            message: f.message,
            who: f.who,
            action: f.action,
        }),
        progress,
        id: run.id,
        dataset_id: run.dataset_id,
    }
}

/// List runs, newest first
#[utoipa::path(
    get,
    operation_id = "list_runs",
    path = "/datasets/{id}/runs",
    params(
        ("id" = String, Path),
        ("limit" = Option<i64>, Query),
        ("cursor" = Option<String>, Query)
    ),
    responses((status = 200, body = List<RunBody>), (status = 404))
)]
pub async fn of_dataset(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    QueryParams(paging): QueryParams<Paging>,
) -> ApiResult<Json<List<RunBody>>> {
    let actor = bearer.require(Scope::Read)?;
    let dataset = api.datasets.get(&actor, &id).await?;
    let (offset, limit) = paging.range()?;
    let runs = queue::of_dataset(&api.db, &id, offset, limit + 1).await?;
    Ok(Json(Paging::list(
        offset,
        limit,
        runs.into_iter()
            .map(|run| body(&api, run.redacted_with(&dataset)))
            .collect(),
    )))
}

/// An empty object.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Run now
///
/// Returns the run. If a run of the DataSet is already queued, running or waiting, returns that
/// run.
#[utoipa::path(
    post,
    operation_id = "start_run",
    path = "/datasets/{id}/runs",
    params(("id" = String, Path)),
    responses((status = 202, body = RunBody), (status = 404), (status = 409))
)]
pub async fn start(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<(StatusCode, Json<RunBody>)> {
    let actor = bearer.require(Scope::Run)?;
    let run = api.puller.run_now(&actor, &id, Trigger::Manual).await?;
    Ok((StatusCode::ACCEPTED, Json(body(&api, run))))
}

/// Get a run
#[utoipa::path(
    get,
    operation_id = "get_run",
    path = "/runs/{id}",
    params(("id" = String, Path)),
    responses((status = 200, body = RunBody), (status = 404))
)]
pub async fn get(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<RunId>,
) -> ApiResult<Json<RunBody>> {
    let actor = bearer.require(Scope::Read)?;
    let run = api.puller.get(&actor, &id).await?;
    Ok(Json(body(&api, run)))
}

/// Publish a version that is waiting for approval
///
/// The version of this run becomes the current version. Returns the run.
#[utoipa::path(
    post,
    operation_id = "accept_run",
    path = "/runs/{id}/accept",
    params(("id" = String, Path)),
    responses((status = 200, body = RunBody), (status = 404), (status = 409))
)]
pub async fn accept(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<RunId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<RunBody>> {
    let actor = bearer.require(Scope::Manage)?;
    let run = api.puller.accept(&actor, &id).await?;
    Ok(Json(body(&api, run)))
}

/// Discard a version that is waiting for approval
///
/// The existing rows are unchanged. Returns the run.
#[utoipa::path(
    post,
    operation_id = "discard_run",
    path = "/runs/{id}/discard",
    params(("id" = String, Path)),
    responses((status = 200, body = RunBody), (status = 404), (status = 409))
)]
pub async fn discard(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<RunId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<RunBody>> {
    let actor = bearer.require(Scope::Manage)?;
    let run = api.puller.discard((&actor).into(), &id).await?;
    Ok(Json(body(&api, run)))
}

/// Cancel a run
///
/// Returns the run. A run that has ended is unchanged.
#[utoipa::path(
    post,
    operation_id = "cancel_run",
    path = "/runs/{id}/cancel",
    params(("id" = String, Path)),
    responses((status = 200, body = RunBody), (status = 404))
)]
pub async fn cancel(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<RunId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<RunBody>> {
    let actor = bearer.require(Scope::Run)?;
    let run = api.puller.cancel(&actor, &id).await?;
    Ok(Json(body(&api, run)))
}
