//! DataSets: create, configure, delete. Creating a DataSet starts no run;
//! `POST /datasets/{id}/runs` does.

mod schedule;
mod validate;

use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use schedule::ScheduleBody;
use validate::{apply_without_account, stored_schedule, validate_settings};

use super::List;
use super::notifications::{RetryBody, RetryPatch, StoppedBody};
use super::options::{OptionsBody, OptionsPatch};
use super::runs::Nothing;
use crate::actor::Scope;
use crate::api::Api;
use crate::api::body::{Body, Ids};
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::auth::audit::AuditActor;
use crate::clock::iso;
use crate::connectors::Menus;
use crate::datasets::{Dataset, published};
use crate::error::Error;
use crate::ids::{AccountId, DatasetId};
use crate::puller::schedules::Schedule;
use crate::puller::schedules::json::ScheduleJson;

/// A DataSet: the rows of a report.
#[derive(Serialize, ToSchema)]
pub struct DatasetBody {
    #[schema(value_type = String)]
    id: DatasetId,
    name: String,
    description: String,
    owner: String,
    /// Null if the account was deleted or is not shared with you.
    #[schema(value_type = Option<String>)]
    account_id: Option<AccountId>,
    connector: &'static str,
    report: &'static str,
    #[schema(value_type = MenusBody)]
    menus: Menus,
    /// replace, append, merge or partition.
    update_mode: &'static str,
    /// Key columns: the chosen ones, or those of the report.
    key: Vec<String>,
    options: OptionsBody,
    /// The version that is waiting for approval; its run gives the reason.
    held_version: Option<String>,
    /// Null: no schedule, run manually.
    #[schema(value_type = Option<ScheduleBody>)]
    schedule: Option<ScheduleJson>,
    time_zone: String,
    /// The schedule as text.
    schedule_words: Option<String>,
    /// Also null while the DataSet is paused.
    next_run_at: Option<String>,
    /// Set while the schedule is paused.
    paused: Option<PausedBody>,
    /// Why the saved schedule cannot be used.
    schedule_problem: Option<String>,
    /// Number of missed scheduled runs that no run has reported yet.
    missed: i64,
    /// Null: failed runs are not retried.
    retry: Option<RetryBody>,
    /// Time of the next retry.
    retry_at: Option<String>,
    /// Null: derived from the schedule.
    expected_within_hours: Option<i64>,
    /// No new data within the expected time.
    late: bool,
    late_since: Option<String>,
    /// Why the schedule was stopped; null if it was not stopped.
    stopped: Option<StoppedBody>,
    /// Everyone who is signed in can read it.
    shared: bool,
    /// Served by the LiveLeader API at `/a/Srv`.
    published: bool,
    /// Of the current version; null before the first version.
    rows: Option<i64>,
    columns: Option<usize>,
    version: Option<String>,
    /// When the current version was created.
    data_updated_at: Option<String>,
    created_at: String,
    updated_at: String,
}

/// Who paused a schedule, and when.
#[derive(Serialize, ToSchema)]
pub struct PausedBody {
    at: String,
    /// Null if that person no longer exists.
    by: Option<String>,
}

/// Settings of the report. The `menus` of a report list the ones that it accepts.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MenusBody {
    start_days: Option<u32>,
    end_days: Option<u32>,
    group: Option<String>,
    login: Option<String>,
    /// automatic, hour, day or month.
    group_by: Option<String>,
    tag: Option<String>,
    /// mon, tue, wed, thu, fri, sat or sun.
    weekday: Option<String>,
    include_pending: Option<bool>,
    agent_details: Option<bool>,
}

/// The schedule in words. `None` for a schedule without runs.
fn schedule_text(schedule: &Schedule) -> Option<String> {
    match (schedule.plan().is_manual(), schedule.plan().remind_after()) {
        (false, _) => Some(schedule.in_words()),
        (true, Some(hours)) => Some(format!(
            "Manual, with a reminder after {hours} hours without a successful run"
        )),
        (true, None) => None,
    }
}

impl From<Dataset> for DatasetBody {
    fn from(dataset: Dataset) -> Self {
        let current = dataset.current.as_ref();
        let schedule = Schedule::of(&dataset).ok();
        let plan = schedule
            .as_ref()
            .map(Schedule::plan)
            .filter(|plan| !plan.is_manual() || plan.remind_after().is_some());
        Self {
            retry: RetryBody::of(&dataset),
            retry_at: dataset.policies.retry_at.map(iso),
            expected_within_hours: dataset.policies.expected_hours,
            late: dataset.policies.late_since.is_some(),
            late_since: dataset.policies.late_since.map(iso),
            stopped: StoppedBody::of(&dataset),
            // A stored schedule that cannot be parsed is returned as it is stored.
            schedule: plan.map(ScheduleJson::from).or_else(|| {
                dataset
                    .schedule
                    .as_deref()
                    .filter(|_| schedule.is_none())
                    .map(ScheduleJson::from_cron)
            }),
            schedule_words: schedule.as_ref().and_then(schedule_text),
            paused: dataset.schedule_state.paused.map(|paused| PausedBody {
                at: iso(paused.at),
                by: paused.by,
            }),
            missed: dataset.schedule_state.missed,
            next_run_at: dataset
                .next_run_at
                .filter(|_| dataset.schedule_state.problem.is_none())
                .map(iso),
            schedule_problem: dataset.schedule_state.problem,
            owner: dataset.owner_name,
            connector: dataset.connector.id(),
            report: dataset.report.id,
            update_mode: dataset.update_mode.word(),
            key: dataset
                .options
                .key_of(dataset.report)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            options: (&dataset.options).into(),
            held_version: dataset.pending_approval.as_ref().map(ToString::to_string),
            rows: current.map(|c| c.rows),
            columns: current.map(|c| c.columns),
            version: current.map(|c| c.version.to_string()),
            data_updated_at: current.map(|c| iso(c.created_at)),
            created_at: iso(dataset.created_at),
            updated_at: iso(dataset.updated_at),
            id: dataset.id,
            name: dataset.name,
            description: dataset.description,
            account_id: dataset.account_id.filter(|_| !dataset.account_is_private),
            menus: dataset.menus,
            time_zone: dataset.time_zone,
            shared: dataset.shared,
            published: dataset.published,
        }
    }
}

/// A new DataSet.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDataset {
    /// Does not have to be unique.
    name: String,
    description: Option<String>,
    #[schema(value_type = String)]
    account_id: AccountId,
    /// A report id.
    report: String,
    #[serde(default)]
    #[schema(value_type = MenusBody)]
    menus: Menus,
    /// `replace`, `append`, `merge` or `partition`; the report's default when absent.
    update_mode: Option<String>,
    /// Key columns for `merge`; the report's key when absent or empty.
    key: Option<Vec<String>>,
    options: Option<OptionsPatch>,
    /// Null or absent: no schedule, run manually.
    #[schema(value_type = Option<ScheduleBody>)]
    schedule: Option<ScheduleJson>,
    /// IANA name; UTC when absent.
    time_zone: Option<String>,
    /// Null: failed runs are not retried. Absent: every 15 minutes, at most 3 times.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<RetryBody>)]
    retry: Option<Option<RetryBody>>,
    /// Null or absent: derived from the schedule.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<i64>)]
    expected_within_hours: Option<Option<i64>>,
}

/// Fields to change. Absent fields are unchanged. `menus` replaces the whole object. To change
/// account, report, menus, update mode, time zone or schedule, you need access to the account. To
/// change other fields or to set the schedule to null, you do not.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchDataset {
    name: Option<String>,
    description: Option<String>,
    #[schema(value_type = Option<String>)]
    account_id: Option<AccountId>,
    report: Option<String>,
    #[schema(value_type = Option<MenusBody>)]
    menus: Option<Menus>,
    update_mode: Option<String>,
    /// Empty: the report's key.
    key: Option<Vec<String>>,
    /// Absent options are unchanged.
    options: Option<OptionsPatch>,
    /// Null: no schedule, run manually.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<ScheduleBody>)]
    schedule: Option<Option<ScheduleJson>>,
    time_zone: Option<String>,
    /// Null: failed runs are not retried.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<RetryBody>)]
    retry: Option<Option<RetryBody>>,
    /// Null: derived from the schedule.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<i64>)]
    expected_within_hours: Option<Option<i64>>,
    /// Everyone who is signed in can read it.
    shared: Option<bool>,
    /// Serve it by the LiveLeader API at `/a/Srv`. Only admins can change this, and only for the
    /// LiveLeader report Chats.
    published: Option<bool>,
}

/// Deserializes a nullable field: `None` if it is absent, `Some(None)` if it is null.
pub(super) fn double_option<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// List DataSets
#[utoipa::path(get, operation_id = "list_datasets", path = "/datasets", responses((status = 200, body = List<DatasetBody>)))]
pub async fn list(State(api): State<Api>, bearer: Bearer) -> ApiResult<Json<List<DatasetBody>>> {
    let actor = bearer.require(Scope::Read)?;
    let datasets = api.datasets.list(&actor).await?;
    Ok(Json(List::complete(
        datasets.into_iter().map(DatasetBody::from).collect(),
    )))
}

/// Create a DataSet
#[utoipa::path(post, operation_id = "create_dataset", path = "/datasets", request_body = CreateDataset, responses((status = 201, body = DatasetBody), (status = 404), (status = 422)))]
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
#[utoipa::path(get, operation_id = "get_dataset", path = "/datasets/{id}", params(("id" = String, Path)), responses((status = 200, body = DatasetBody), (status = 404)))]
pub async fn get(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<DatasetBody>> {
    let actor = bearer.require(Scope::Read)?;
    Ok(Json(api.datasets.get(&actor, &id).await?.into()))
}

/// Change a DataSet
#[utoipa::path(patch, operation_id = "update_dataset", path = "/datasets/{id}", params(("id" = String, Path)), request_body = PatchDataset, responses((status = 200, body = DatasetBody), (status = 404), (status = 422)))]
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

impl PatchDataset {
    /// Whether the patch changes what is pulled or when. Such a change needs an account that the
    /// actor may use; changing name, description or sharing, or removing the schedule, does not.
    fn changes_source(&self) -> bool {
        let is_scheduled = matches!(self.schedule, Some(Some(_)));
        self.account_id.is_some()
            || self.report.is_some()
            || self.menus.is_some()
            || self.update_mode.is_some()
            || self.time_zone.is_some()
            || is_scheduled
    }

    /// The settings of the DataSet with this patch applied.
    fn apply_to(self, now: Dataset) -> Result<CreateDataset, Error> {
        // A stored schedule that cannot be parsed is dropped.
        let stored = if self.schedule.is_some() {
            None
        } else {
            stored_schedule(&now)?
        };
        let account_id = self.account_id.or(now.account_id);
        Ok(CreateDataset {
            name: self.name.unwrap_or(now.name),
            description: Some(self.description.unwrap_or(now.description)),
            account_id: account_id.ok_or_else(|| {
                Error::field(
                    "account_id",
                    "The account of this DataSet was deleted. Choose another account.",
                )
            })?,
            report: self.report.unwrap_or_else(|| now.report.id.to_owned()),
            menus: self.menus.unwrap_or(now.menus),
            update_mode: Some(
                self.update_mode
                    .unwrap_or_else(|| now.update_mode.word().to_owned()),
            ),
            key: self.key,
            options: self.options,
            schedule: self.schedule.unwrap_or(stored),
            time_zone: Some(self.time_zone.unwrap_or(now.time_zone)),
            retry: None,
            expected_within_hours: None,
        })
    }
}

/// Delete a DataSet with its rows and versions
#[utoipa::path(delete, operation_id = "delete_dataset", path = "/datasets/{id}", params(("id" = String, Path)), responses((status = 204), (status = 404)))]
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
#[utoipa::path(post, operation_id = "pause_dataset", path = "/datasets/{id}/pause", params(("id" = String, Path)), responses((status = 200, body = DatasetBody), (status = 404), (status = 409)))]
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
#[utoipa::path(post, operation_id = "resume_dataset", path = "/datasets/{id}/resume", params(("id" = String, Path)), responses((status = 200, body = DatasetBody), (status = 404)))]
pub async fn resume(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<DatasetBody>> {
    let actor = bearer.require(Scope::Manage)?;
    Ok(Json(api.puller.resume((&actor).into(), &id).await?.into()))
}
