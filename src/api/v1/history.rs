//! History of a DataSet: revert to and delete versions, retention, coverage by day, backfills, and
//! duplicates.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::List;
use super::datasets::DatasetBody;
use super::runs::{self, Nothing, RunBody};
use crate::actor::Scope;
use crate::api::Api;
use crate::api::body::{Body, Ids};
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::clock::iso;
use crate::connectors::Completeness;
use crate::datasets::versions::{self, RetentionOverride};
use crate::ids::{BackfillId, DatasetId, VersionId};
use crate::puller::backfills::{Backfill, BackfillRange, DEFAULT_CHUNK_DAYS};
use crate::puller::{coverage, schedules};

/// The version to revert to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertTo {
    /// A version id, from `GET /datasets/{id}/versions`.
    #[schema(value_type = String)]
    version: VersionId,
}

/// Revert to an older version
///
/// Creates a new version with the rows and columns of the older one. No data is pulled. Returns a
/// run that records the change. 409 while a run is in progress (`run_under_way`) and for the
/// current version (`version_current`).
#[utoipa::path(
    post,
    operation_id = "revert_dataset",
    path = "/datasets/{id}/revert",
    params(("id" = String, Path)),
    request_body = RevertTo,
    responses((status = 200, body = RunBody), (status = 404), (status = 409))
)]
pub async fn revert(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(to): Body<RevertTo>,
) -> ApiResult<Json<RunBody>> {
    let actor = bearer.require(Scope::Manage)?;
    let run = api.puller.revert((&actor).into(), &id, &to.version).await?;
    Ok(Json(runs::body(&api, run)))
}

/// Delete a version that is not the current one
#[utoipa::path(
    delete,
    operation_id = "delete_version",
    path = "/datasets/{id}/versions/{version}",
    params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 204), (status = 404), (status = 409, description = "version_current"))
)]
pub async fn delete_version(
    State(api): State<Api>,
    bearer: Bearer,
    Ids((id, version)): Ids<(DatasetId, VersionId)>,
) -> ApiResult<StatusCode> {
    let actor = bearer.require(Scope::Manage)?;
    api.datasets
        .delete_version((&actor).into(), &id, &version)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Retention of a DataSet.
#[derive(Serialize, ToSchema)]
pub struct RetentionBody {
    /// Setting of this DataSet; null: the setting of the server.
    versions: Option<u32>,
    days: Option<u32>,
    /// The limit that applies.
    keeps_versions: u32,
    keeps_days: u32,
    /// Disk space of all versions. A file that several versions share is counted once.
    bytes: u64,
    /// Disk space of files that are deleted within 24 hours; not part of `bytes`.
    going_bytes: u64,
}

/// Retention to set. Null: the setting of the server.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// 1 to 1,000.
    versions: Option<u32>,
    /// 1 to 3,660.
    days: Option<u32>,
}

async fn retention_of(api: &Api, id: &DatasetId) -> ApiResult<Json<RetentionBody>> {
    let versions = &api.datasets.versions;
    let own = versions.retention_override(id).await?;
    let versions::Retention {
        versions: keeps_versions,
        days: keeps_days,
    } = own.or(versions.default_retention());
    let sizes = versions.sizes(id).await?;
    Ok(Json(RetentionBody {
        versions: own.versions,
        days: own.days,
        keeps_versions,
        keeps_days,
        bytes: sizes.stored,
        going_bytes: sizes.pending_deletion,
    }))
}

/// Get the retention of a DataSet
#[utoipa::path(
    get,
    operation_id = "get_retention",
    path = "/datasets/{id}/retention",
    params(("id" = String, Path)),
    responses((status = 200, body = RetentionBody), (status = 404))
)]
pub async fn retention(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<RetentionBody>> {
    let actor = bearer.require(Scope::Read)?;
    api.datasets.get(&actor, &id).await?;
    retention_of(&api, &id).await
}

/// Change the retention of a DataSet
///
/// Sets both values. Absent or null: the setting of the server. Versions beyond the limits are
/// deleted at once.
#[utoipa::path(
    patch,
    operation_id = "update_retention",
    path = "/datasets/{id}/retention",
    params(("id" = String, Path)),
    request_body = Retention,
    responses((status = 200, body = RetentionBody), (status = 404), (status = 422))
)]
pub async fn update_retention(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(keep): Body<Retention>,
) -> ApiResult<Json<RetentionBody>> {
    let actor = bearer.require(Scope::Manage)?;
    api.datasets
        .set_retention(
            &actor,
            &id,
            RetentionOverride {
                versions: keep.versions,
                days: keep.days,
            },
        )
        .await?;
    retention_of(&api, &id).await
}

/// The state of a day.
#[derive(Serialize, ToSchema)]
pub struct DayBody {
    day: String,
    /// verified, held, so_far, stale, short or missing.
    state: &'static str,
    /// When the day was last pulled completely.
    read_at: Option<String>,
    /// Completeness at that time, as for a run: verified, reread, counted, corrected, complete or
    /// short; null if it was never pulled.
    completeness: Option<&'static str>,
    /// The run that pulled the day.
    run_id: Option<String>,
}

/// List days and their state
///
/// All days from the first to the last one that is saved or selected. `verified`: complete; the
/// reported total of days that ended at least 48 hours before matches, or two reads agree. `held`:
/// present, not verified. `so_far`: today. `stale`: incomplete, pulled before the day ended.
/// `short`: LiveChat or LiveLeader returned fewer records than it reported, so nothing of the day
/// is saved. `missing`: not saved. Empty for a report without days.
#[utoipa::path(
    get,
    operation_id = "list_days",
    path = "/datasets/{id}/coverage",
    params(("id" = String, Path)),
    responses((status = 200, body = List<DayBody>), (status = 404))
)]
pub async fn days(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<List<DayBody>>> {
    let actor = bearer.require(Scope::Read)?;
    let dataset = api.datasets.get(&actor, &id).await?;
    let days = coverage::of_dataset(&api.db, &api.clock, &dataset).await?;
    let body = |day: coverage::CoverageDay| DayBody {
        day: day.day.to_string(),
        state: day.state.word(),
        read_at: day.read_at.map(iso),
        completeness: day.completeness.map(Completeness::word),
        run_id: day.run.map(|run| run.to_string()),
    };
    Ok(Json(List::complete(days.into_iter().map(body).collect())))
}

/// A backfill: old days, pulled in date ranges from the newest to the oldest.
#[derive(Serialize, ToSchema)]
pub struct BackfillBody {
    id: String,
    from: String,
    to: String,
    chunk_days: u32,
    /// running, stopped (a date range did not succeed), cancelled or finished.
    state: &'static str,
    /// When a failed date range is retried.
    retry_at: Option<String>,
    /// If stopped: the reason.
    why: Option<String>,
    chunks: i64,
    chunks_done: i64,
    /// The newest day that is not pulled yet; null when all days are pulled.
    left_to: Option<String>,
    /// Rows that its runs saved.
    rows: i64,
    /// The run of the current date range.
    run_id: Option<String>,
    created_at: String,
    ended_at: Option<String>,
}

impl From<Backfill> for BackfillBody {
    fn from(backfill: Backfill) -> Self {
        Self {
            chunks: backfill.chunks(),
            chunks_done: backfill.chunks_done(),
            id: backfill.id.to_string(),
            from: backfill.days.from.to_string(),
            to: backfill.days.to.to_string(),
            chunk_days: backfill.chunk_days,
            state: backfill.state.word(),
            retry_at: backfill.retry_at.map(iso),
            why: backfill.stop_reason,
            left_to: backfill.remaining_to.map(|day| day.to_string()),
            rows: backfill.rows,
            run_id: backfill.run.map(|run| run.to_string()),
            created_at: iso(backfill.created_at),
            ended_at: backfill.ended_at.map(iso),
        }
    }
}

/// Which days to pull.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillDays {
    /// Both days included, in the time zone of the DataSet.
    from: String,
    to: String,
    /// Days per date range, 1 to 31; 7 when absent.
    chunk_days: Option<u32>,
}

/// List backfills, newest first
#[utoipa::path(
    get,
    operation_id = "list_backfills",
    path = "/datasets/{id}/backfills",
    params(("id" = String, Path)),
    responses((status = 200, body = List<BackfillBody>), (status = 404))
)]
pub async fn backfills(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<List<BackfillBody>>> {
    let actor = bearer.require(Scope::Read)?;
    let all = api.puller.backfills(&actor, &id).await?;
    Ok(Json(List::complete(
        all.into_iter().map(BackfillBody::from).collect(),
    )))
}

/// Start a backfill
///
/// Pulls old days. 409 `replaces_all` for a DataSet that replaces all rows, and `no_days` for a
/// report without days. Each date range is a run with the trigger `backfill`; its rows are saved
/// when it succeeds. Scheduled and manual runs go first between two date ranges.
#[utoipa::path(
    post,
    operation_id = "start_backfill",
    path = "/datasets/{id}/backfills",
    params(("id" = String, Path)),
    request_body = BackfillDays,
    responses((status = 202, body = BackfillBody), (status = 404), (status = 409), (status = 422))
)]
pub async fn backfill(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(days): Body<BackfillDays>,
) -> ApiResult<(StatusCode, Json<BackfillBody>)> {
    let actor = bearer.require(Scope::Run)?;
    let dataset = api.datasets.get_to_run(&actor, &id).await?;
    let today = api
        .clock
        .timestamp()
        .to_zoned(schedules::zone(&dataset.time_zone)?)
        .date();
    let range = BackfillRange::check(
        &days.from,
        &days.to,
        &days.chunk_days.unwrap_or(DEFAULT_CHUNK_DAYS).to_string(),
        today,
    )?;
    let backfill = api.puller.backfill(&actor, &id, &range).await?;
    Ok((StatusCode::ACCEPTED, Json(backfill.into())))
}

/// Cancel a backfill
///
/// The run of the current date range is cancelled. Rows that are already saved stay.
#[utoipa::path(
    post,
    operation_id = "cancel_backfill",
    path = "/datasets/{id}/backfills/{backfill}/cancel",
    params(("id" = String, Path), ("backfill" = String, Path)),
    responses((status = 200, body = BackfillBody), (status = 404))
)]
pub async fn cancel(
    State(api): State<Api>,
    bearer: Bearer,
    Ids((id, backfill)): Ids<(DatasetId, BackfillId)>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<BackfillBody>> {
    let actor = bearer.require(Scope::Run)?;
    Ok(Json(
        api.puller
            .cancel_backfill(&actor, &id, &backfill)
            .await?
            .into(),
    ))
}

/// Resume a backfill where it stopped
#[utoipa::path(
    post,
    operation_id = "resume_backfill",
    path = "/datasets/{id}/backfills/{backfill}/resume",
    params(("id" = String, Path), ("backfill" = String, Path)),
    responses((status = 200, body = BackfillBody), (status = 404), (status = 409))
)]
pub async fn resume(
    State(api): State<Api>,
    bearer: Bearer,
    Ids((id, backfill)): Ids<(DatasetId, BackfillId)>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<BackfillBody>> {
    let actor = bearer.require(Scope::Run)?;
    Ok(Json(
        api.puller
            .resume_backfill(&actor, &id, &backfill)
            .await?
            .into(),
    ))
}

/// Duplicate a DataSet
///
/// Creates a DataSet with the same settings and schedule, named "Copy of ...". You are its owner.
/// It has no rows, and no run starts.
#[utoipa::path(
    post,
    operation_id = "duplicate_dataset",
    path = "/datasets/{id}/duplicate",
    params(("id" = String, Path)),
    responses((status = 201, body = DatasetBody), (status = 404))
)]
pub async fn duplicate(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<(StatusCode, Json<DatasetBody>)> {
    let actor = bearer.require(Scope::Manage)?;
    let copy = api.puller.duplicate(&actor, &id).await?;
    Ok((
        StatusCode::CREATED,
        Json(api.datasets.get(&actor, &copy).await?.into()),
    ))
}
