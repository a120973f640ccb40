//! Going back and filling gaps: versions reverted and deleted, retention, the days that are held, backfills; and copies of DataSets.

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
use crate::api::error::Answer;
use crate::api::token::Bearer;
use crate::clock::iso;
use crate::connectors::Completeness;
use crate::datasets::versions::{Keep, OwnKeep};
use crate::ids::{BackfillId, DatasetId, VersionId};
use crate::puller::backfills::{Asked, Backfill, USUAL_CHUNK};
use crate::puller::{coverage, schedules};

/// Which version to go back to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertTo {
    /// A version's id, as `GET /datasets/{id}/versions` tells it.
    #[schema(value_type = String)]
    version: VersionId,
}

/// Make an older version current again
///
/// Nothing is pulled: a new version has the rows and columns of the older one. Answers the run that is the record of it. Refused with 409
/// while a run is at work (`run_under_way`) and for the version that is current (`version_current`).
#[utoipa::path(post, operation_id = "revert_dataset", path = "/datasets/{id}/revert", params(("id" = String, Path)), request_body = RevertTo, responses((status = 200, body = RunBody), (status = 404), (status = 409)))]
pub async fn revert(State(api): State<Api>, bearer: Bearer, Ids(id): Ids<DatasetId>, Body(to): Body<RevertTo>) -> Answer<Json<RunBody>> {
    let actor = bearer.with(Scope::Manage)?;
    let run = api.puller.revert((&actor).into(), &id, &to.version).await?;
    Ok(Json(runs::body(&api, run)))
}

/// Delete a version that is not the current one
#[utoipa::path(delete, operation_id = "delete_version", path = "/datasets/{id}/versions/{version}", params(("id" = String, Path), ("version" = String, Path)), responses((status = 204), (status = 404), (status = 409, description = "version_current")))]
pub async fn delete_version(State(api): State<Api>, bearer: Bearer, Ids((id, version)): Ids<(DatasetId, VersionId)>) -> Answer<StatusCode> {
    let actor = bearer.with(Scope::Manage)?;
    api.datasets.delete_version((&actor).into(), &id, &version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How much history is kept.
#[derive(Serialize, ToSchema)]
pub struct RetentionBody {
    /// As this DataSet says itself; null: as the server's settings say.
    versions: Option<u32>,
    days: Option<u32>,
    /// What holds.
    keeps_versions: u32,
    keeps_days: u32,
    /// What all versions take on the disk; a file that several share is counted once.
    bytes: u64,
    /// What is deleted within a day, besides.
    going_bytes: u64,
}

/// How much history to keep. Null: as the server's settings say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// 1 to 1,000.
    versions: Option<u32>,
    /// 1 to 3,660.
    days: Option<u32>,
}

async fn retention_of(api: &Api, id: &DatasetId) -> Answer<Json<RetentionBody>> {
    let versions = &api.datasets.versions;
    let own = versions.own_keep(id).await?;
    let Keep { versions: keeps_versions, days: keeps_days } = own.or(versions.keep());
    let sizes = versions.sizes(id).await?;
    Ok(Json(RetentionBody { versions: own.versions, days: own.days, keeps_versions, keeps_days, bytes: sizes.kept, going_bytes: sizes.going }))
}

/// How much history a DataSet keeps
#[utoipa::path(get, operation_id = "get_retention", path = "/datasets/{id}/retention", params(("id" = String, Path)), responses((status = 200, body = RetentionBody), (status = 404)))]
pub async fn retention(State(api): State<Api>, bearer: Bearer, Ids(id): Ids<DatasetId>) -> Answer<Json<RetentionBody>> {
    let actor = bearer.with(Scope::Read)?;
    api.datasets.get(&actor, &id).await?;
    retention_of(&api, &id).await
}

/// Keep more or less history
///
/// Both values are set; one that is absent or null is as the server's settings say. What is beyond goes at once.
#[utoipa::path(patch, operation_id = "update_retention", path = "/datasets/{id}/retention", params(("id" = String, Path)), request_body = Retention, responses((status = 200, body = RetentionBody), (status = 404), (status = 422)))]
pub async fn keep(State(api): State<Api>, bearer: Bearer, Ids(id): Ids<DatasetId>, Body(keep): Body<Retention>) -> Answer<Json<RetentionBody>> {
    let actor = bearer.with(Scope::Manage)?;
    api.datasets.keep(&actor, &id, OwnKeep { versions: keep.versions, days: keep.days }).await?;
    retention_of(&api, &id).await
}

/// What is known of a day.
#[derive(Serialize, ToSchema)]
pub struct DayBody {
    day: String,
    /// verified, held, so_far, stale, short or missing.
    state: &'static str,
    /// When it was last read to its end.
    read_at: Option<String>,
    /// What was proven then, as of a run: verified, reread, counted, corrected, complete or short; null when it was never read.
    completeness: Option<&'static str>,
    /// The run that read it.
    run_id: Option<String>,
}

/// The days that are held
///
/// Every day from the first that is held or wanted to the last. `verified`: its rows are here and none is missing: the vendor's total
/// of days that ended at least 48 hours before matches, or two reads agree. `held`: here, without a total that proves it. `so_far`: today. `stale`: here, but last read before the day was over. `short`: the vendor told of more
/// than it gave, so nothing of it is here. `missing`: not here. Empty for a report without days.
#[utoipa::path(get, operation_id = "list_days", path = "/datasets/{id}/coverage", params(("id" = String, Path)), responses((status = 200, body = List<DayBody>), (status = 404)))]
pub async fn days(State(api): State<Api>, bearer: Bearer, Ids(id): Ids<DatasetId>) -> Answer<Json<List<DayBody>>> {
    let actor = bearer.with(Scope::Read)?;
    let dataset = api.datasets.get(&actor, &id).await?;
    let days = coverage::of_dataset(&api.db, &api.clock, &dataset).await?;
    let body = |day: coverage::Day| DayBody {
        day: day.day.to_string(),
        state: day.state.word(),
        read_at: day.read_at.map(iso),
        completeness: day.completeness.map(Completeness::word),
        run_id: day.run.map(|run| run.to_string()),
    };
    Ok(Json(List::whole(days.into_iter().map(body).collect())))
}

/// Days that are past, pulled in chunks from the newest to the oldest.
#[derive(Serialize, ToSchema)]
pub struct BackfillBody {
    id: String,
    from: String,
    to: String,
    chunk_days: u32,
    /// running, stopped (a chunk did not succeed), cancelled or finished.
    state: &'static str,
    /// Of one whose chunk has failed: when it is tried again.
    retry_at: Option<String>,
    /// Of one that stopped: what happened.
    why: Option<String>,
    chunks: i64,
    chunks_done: i64,
    /// The newest day that is still to come; null once all came.
    left_to: Option<String>,
    /// Rows that its chunks wrote.
    rows: i64,
    /// The chunk under way.
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
            why: backfill.why,
            left_to: backfill.left_to.map(|day| day.to_string()),
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
    /// Both days included, in the DataSet's zone.
    from: String,
    to: String,
    /// 1 to 31; 7 when absent.
    chunk_days: Option<u32>,
}

/// A DataSet's backfills, newest first
#[utoipa::path(get, operation_id = "list_backfills", path = "/datasets/{id}/backfills", params(("id" = String, Path)), responses((status = 200, body = List<BackfillBody>), (status = 404)))]
pub async fn backfills(State(api): State<Api>, bearer: Bearer, Ids(id): Ids<DatasetId>) -> Answer<Json<List<BackfillBody>>> {
    let actor = bearer.with(Scope::Read)?;
    let all = api.puller.backfills(&actor, &id).await?;
    Ok(Json(List::whole(all.into_iter().map(BackfillBody::from).collect())))
}

/// Pull days that are past
///
/// For DataSets that keep the rows that are there; 409 `replaces_all` for others, and `no_days` for a report without days. Each chunk is a
/// run with the trigger `backfill`, kept as soon as it is whole; what the schedule or a person wants goes first between two chunks.
#[utoipa::path(post, operation_id = "start_backfill", path = "/datasets/{id}/backfills", params(("id" = String, Path)), request_body = BackfillDays, responses((status = 202, body = BackfillBody), (status = 404), (status = 409), (status = 422)))]
pub async fn backfill(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(days): Body<BackfillDays>,
) -> Answer<(StatusCode, Json<BackfillBody>)> {
    let actor = bearer.with(Scope::Run)?;
    let dataset = api.datasets.get_to_run(&actor, &id).await?;
    let today = api.clock.timestamp().to_zoned(schedules::zone(&dataset.time_zone)?).date();
    let asked = Asked::check(&days.from, &days.to, &days.chunk_days.unwrap_or(USUAL_CHUNK).to_string(), today)?;
    let backfill = api.puller.backfill(&actor, &id, &asked).await?;
    Ok((StatusCode::ACCEPTED, Json(backfill.into())))
}

/// Cancel a backfill
///
/// The chunk under way is stopped; what came before stays.
#[utoipa::path(post, operation_id = "cancel_backfill", path = "/datasets/{id}/backfills/{backfill}/cancel", params(("id" = String, Path), ("backfill" = String, Path)), responses((status = 200, body = BackfillBody), (status = 404)))]
pub async fn cancel(
    State(api): State<Api>,
    bearer: Bearer,
    Ids((id, backfill)): Ids<(DatasetId, BackfillId)>,
    Body(Nothing {}): Body<Nothing>,
) -> Answer<Json<BackfillBody>> {
    let actor = bearer.with(Scope::Run)?;
    Ok(Json(api.puller.cancel_backfill(&actor, &id, &backfill).await?.into()))
}

/// Go on with a backfill where it stopped
#[utoipa::path(post, operation_id = "resume_backfill", path = "/datasets/{id}/backfills/{backfill}/resume", params(("id" = String, Path), ("backfill" = String, Path)), responses((status = 200, body = BackfillBody), (status = 404), (status = 409)))]
pub async fn resume(
    State(api): State<Api>,
    bearer: Bearer,
    Ids((id, backfill)): Ids<(DatasetId, BackfillId)>,
    Body(Nothing {}): Body<Nothing>,
) -> Answer<Json<BackfillBody>> {
    let actor = bearer.with(Scope::Run)?;
    Ok(Json(api.puller.resume_backfill(&actor, &id, &backfill).await?.into()))
}

/// Copy a DataSet's settings
///
/// The copy is yours, named "Copy of ...", without rows, on the same schedule. It starts no run.
#[utoipa::path(post, operation_id = "duplicate_dataset", path = "/datasets/{id}/duplicate", params(("id" = String, Path)), responses((status = 201, body = DatasetBody), (status = 404)))]
pub async fn duplicate(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(Nothing {}): Body<Nothing>,
) -> Answer<(StatusCode, Json<DatasetBody>)> {
    let actor = bearer.with(Scope::Manage)?;
    let copy = api.puller.duplicate(&actor, &id).await?;
    Ok((StatusCode::CREATED, Json(api.datasets.get(&actor, &copy).await?.into())))
}
