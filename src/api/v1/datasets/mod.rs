//! DataSets: create, configure, delete. Creating a DataSet starts no run;
//! `POST /datasets/{id}/runs` does.

mod dataset_body;
mod dataset_patch;
mod schedule;
mod validate;

pub use dataset_body::DatasetBody;
pub(super) use dataset_patch::double_option;

use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::List;
use super::notifications::RetryPatch;
use super::runs::Nothing;
use crate::actor::Scope;
use crate::api::Api;
use crate::api::body::{Body, Ids};
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::auth::audit::AuditActor;
use crate::datasets::published;
use crate::ids::DatasetId;
use dataset_patch::{CreateDataset, PatchDataset};
use validate::{apply_without_account, validate_settings};

/// List DataSets
#[utoipa::path(
    get,
    operation_id = "list_datasets",
    path = "/datasets",
    responses((status = 200, body = List<DatasetBody>))
)]
pub async fn list(State(api): State<Api>, bearer: Bearer) -> ApiResult<Json<List<DatasetBody>>> {
    let actor = bearer.require(Scope::Read)?;
    let datasets = api.datasets.list(&actor).await?;
    Ok(Json(List::complete(
        datasets.into_iter().map(DatasetBody::from).collect(),
    )))
}

/// Create a DataSet
#[utoipa::path(
    post,
    operation_id = "create_dataset",
    path = "/datasets",
    request_body = CreateDataset,
    responses((status = 201, body = DatasetBody), (status = 404), (status = 422))
)]
pub async fn create(
    State(api): State<Api>,
    bearer: Bearer,
    Body(mut new): Body<CreateDataset>,
) -> ApiResult<(StatusCode, Json<DatasetBody>)> {
    let actor = bearer.require(Scope::Manage)?;
    let retry_patch = RetryPatch::read(new.retry.take(), new.expected_within_hours)?;
    let settings = validate_settings(&api, &actor, new, None).await?;
    let id = api.datasets.create(&actor, &settings).await?;
    retry_patch.save(&api, &actor, &id).await?;
    api.puller.wake_scheduler.notify_one();
    Ok((
        StatusCode::CREATED,
        Json(api.datasets.get(&actor, &id).await?.into()),
    ))
}

/// Get a DataSet
#[utoipa::path(
    get,
    operation_id = "get_dataset",
    path = "/datasets/{id}",
    params(("id" = String, Path)),
    responses((status = 200, body = DatasetBody), (status = 404))
)]
pub async fn get(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<DatasetBody>> {
    let actor = bearer.require(Scope::Read)?;
    Ok(Json(api.datasets.get(&actor, &id).await?.into()))
}

/// Change a DataSet
#[utoipa::path(
    patch,
    operation_id = "update_dataset",
    path = "/datasets/{id}",
    params(("id" = String, Path)),
    request_body = PatchDataset,
    responses((status = 200, body = DatasetBody), (status = 404), (status = 422))
)]
pub async fn change(
    State(api): State<Api>,
    bearer: Bearer,
    from: Option<Extension<IpAddr>>,
    Ids(id): Ids<DatasetId>,
    Body(mut patch): Body<PatchDataset>,
) -> ApiResult<Json<DatasetBody>> {
    let address = from.map(|Extension(address)| address);
    let actor = bearer.require(Scope::Manage)?;
    let now = api.datasets.get_to_change(&actor, &id).await?;
    let (shared, published) = (patch.shared, patch.published);
    // Checked before anything is written, like all other values.
    if published.is_some() {
        published::require_publisher(&actor)?;
    }
    let retry_patch = RetryPatch::read(patch.retry.take(), patch.expected_within_hours)?;
    let to_publish = |connector, report| {
        if published == Some(true) {
            published::require_publishable(connector, report)
        } else {
            Ok(())
        }
    };
    if patch.changes_source() {
        let before = now.clone();
        let settings = validate_settings(&api, &actor, patch.apply_to(now)?, Some(&before)).await?;
        to_publish(settings.connector, settings.report)?;
        api.datasets.configure(&actor, &id, &settings).await?;
    } else {
        to_publish(now.connector, now.report)?;
        apply_without_account(&api, &actor, &now, patch).await?;
    }
    retry_patch.save(&api, &actor, &id).await?;
    if let Some(shared) = shared {
        api.datasets.share(&actor, &id, shared).await?;
    }
    if let Some(published) = published {
        api.datasets
            .publish(
                AuditActor {
                    actor: &actor,
                    address,
                },
                &id,
                published,
            )
            .await?;
    }
    api.puller.wake_scheduler.notify_one();
    Ok(Json(api.datasets.get(&actor, &id).await?.into()))
}

/// Delete a DataSet with its rows and versions
#[utoipa::path(
    delete,
    operation_id = "delete_dataset",
    path = "/datasets/{id}",
    params(("id" = String, Path)),
    responses((status = 204), (status = 404))
)]
pub async fn delete(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<StatusCode> {
    let actor = bearer.require(Scope::Manage)?;
    api.datasets.delete(&actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pause the schedule
///
/// No scheduled run starts until the schedule is resumed. A run in progress continues. Returns the
/// DataSet.
#[utoipa::path(
    post,
    operation_id = "pause_dataset",
    path = "/datasets/{id}/pause",
    params(("id" = String, Path)),
    responses((status = 200, body = DatasetBody), (status = 404), (status = 409))
)]
pub async fn pause(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<DatasetBody>> {
    let actor = bearer.require(Scope::Manage)?;
    Ok(Json(api.puller.pause((&actor).into(), &id).await?.into()))
}

/// Resume the schedule
///
/// Runs that were missed during the pause do not run later. Returns the DataSet.
#[utoipa::path(
    post,
    operation_id = "resume_dataset",
    path = "/datasets/{id}/resume",
    params(("id" = String, Path)),
    responses((status = 200, body = DatasetBody), (status = 404))
)]
pub async fn resume(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<DatasetBody>> {
    let actor = bearer.require(Scope::Manage)?;
    Ok(Json(api.puller.resume((&actor).into(), &id).await?.into()))
}
