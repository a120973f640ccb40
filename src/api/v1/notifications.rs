//! Retries, lateness and notifications of a DataSet, and restarting a stopped schedule.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::List;
use super::datasets::DatasetBody;
use crate::actor::{Actor, Scope};
use crate::api::Api;
use crate::api::body::{Body, Ids};
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::clock::iso;
use crate::datasets::Dataset;
use crate::datasets::policies::{self, NotificationKind, NotificationSettings, RetryPolicy};
use crate::error::{Error, Result};
use crate::ids::{DatasetId, WebhookId};

/// Retries of failed runs.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBody {
    /// Minutes between retries, 1 to 10,080.
    every_minutes: i64,
    /// Maximum number of retries, 1 to 20.
    at_most: i64,
}

/// Why a schedule was stopped.
#[derive(Serialize, ToSchema)]
pub struct StoppedBody {
    since: String,
    /// credentials, parked or unshared.
    reason: &'static str,
}

impl RetryBody {
    /// The retry policy of the DataSet. `None` if failed runs are not retried.
    pub fn of(dataset: &Dataset) -> Option<Self> {
        let retry = dataset.policies.retry();
        (retry.max_retries() > 0).then(|| Self {
            every_minutes: retry.minutes(),
            at_most: retry.max_retries(),
        })
    }
}

impl StoppedBody {
    pub fn of(dataset: &Dataset) -> Option<Self> {
        dataset.stopped().map(|stopped| Self {
            since: iso(stopped.at),
            reason: stopped.reason.word(),
        })
    }
}

/// The validated retry policy and lateness of a request. `None` leaves a value unchanged.
pub struct RetryPatch {
    retry: Option<RetryPolicy>,
    expected_hours: Option<Option<i64>>,
}

impl RetryPatch {
    /// `Some(None)` turns retries off, or derives the lateness from the schedule.
    pub fn read(
        retry: Option<Option<RetryBody>>,
        expected_hours: Option<Option<i64>>,
    ) -> Result<Self> {
        let retry = match retry {
            None => None,
            Some(None) => Some(RetryPolicy::NEVER),
            Some(Some(body)) => Some(
                RetryPolicy::new(body.every_minutes, body.at_most)
                    .map_err(|why| Error::field("retry", why.message()))?,
            ),
        };
        let expected_hours = match expected_hours {
            None => None,
            Some(hours) => Some(policies::check_expected_hours(hours).map_err(|_| {
                Error::field(
                    "expected_within_hours",
                    "expected_within_hours must be from 1 to 87840, or null.",
                )
            })?),
        };
        Ok(Self {
            retry,
            expected_hours,
        })
    }

    pub async fn save(self, api: &Api, actor: &Actor, id: &DatasetId) -> Result<()> {
        if self.retry.is_none() && self.expected_hours.is_none() {
            return Ok(());
        }
        let now = api.datasets.get_to_change(actor, id).await?.policies;
        api.datasets
            .set_retry_policy(
                actor,
                id,
                self.retry.unwrap_or(now.retry()),
                self.expected_hours.unwrap_or(now.expected_hours),
            )
            .await?;
        api.puller.wake_deadlines.notify_one();
        Ok(())
    }
}

/// Notifications of a DataSet.
#[derive(Serialize, ToSchema)]
pub struct NotificationsBody {
    /// Null: the owner's email.
    emails: Option<Vec<String>>,
    /// Ids of the server's webhooks.
    webhooks: Vec<String>,
    /// failure, recovery, late, stopped, sunset.
    on: Vec<&'static str>,
    /// Notify of a failure after this number of consecutive failed runs.
    after: i64,
}

impl From<NotificationSettings> for NotificationsBody {
    fn from(notify: NotificationSettings) -> Self {
        Self {
            emails: notify.emails,
            webhooks: notify.webhooks,
            on: notify.on.into_iter().map(NotificationKind::word).collect(),
            after: notify.after,
        }
    }
}

/// Fields to change. Absent fields are unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchNotifications {
    /// Null: the owner's email. An empty list: no email.
    #[serde(default, deserialize_with = "super::datasets::double_option")]
    #[schema(value_type = Option<Vec<String>>)]
    emails: Option<Option<Vec<String>>>,
    webhooks: Option<Vec<String>>,
    on: Option<Vec<String>>,
    after: Option<i64>,
}

/// Get the notifications of a DataSet
#[utoipa::path(
    get,
    operation_id = "get_notifications",
    path = "/datasets/{id}/notifications",
    params(("id" = String, Path)),
    responses((status = 200, body = NotificationsBody), (status = 404))
)]
pub async fn notifications(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<NotificationsBody>> {
    let actor = bearer.require(Scope::Manage)?;
    Ok(Json(
        api.datasets
            .get_to_change(&actor, &id)
            .await?
            .policies
            .notification_settings()
            .into(),
    ))
}

/// Change the notifications of a DataSet
#[utoipa::path(
    patch,
    operation_id = "update_notifications",
    path = "/datasets/{id}/notifications",
    params(("id" = String, Path)),
    request_body = PatchNotifications,
    responses((status = 200, body = NotificationsBody), (status = 404), (status = 422))
)]
pub async fn notify(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(patch): Body<PatchNotifications>,
) -> ApiResult<Json<NotificationsBody>> {
    let actor = bearer.require(Scope::Manage)?;
    let now = api
        .datasets
        .get_to_change(&actor, &id)
        .await?
        .policies
        .notification_settings();
    let on = match patch.on {
        None => now.on,
        Some(words) => {
            let kind = |word: &String| {
                NotificationKind::parse(word).ok_or_else(|| {
                    Error::field(
                        "on",
                        "on must contain only failure, recovery, late, stopped and sunset.",
                    )
                })
            };
            words.iter().map(kind).collect::<Result<Vec<_>>>()?
        }
    };
    let webhooks = patch.webhooks.unwrap_or(now.webhooks);
    let notify = NotificationSettings::new(
        patch.emails.unwrap_or(now.emails),
        webhooks,
        on,
        patch.after.unwrap_or(now.after),
    )?;
    api.datasets.set_notifications(&actor, &id, &notify).await?;
    Ok(Json(notify.into()))
}

/// Resume a stopped schedule
///
/// A schedule stops after rejected credentials, after a run that stopped the server three times,
/// and when the account is no longer shared. 409 if the schedule is not stopped, and while the
/// account is still rejected or not shared.
#[utoipa::path(
    post,
    operation_id = "bring_back_dataset",
    path = "/datasets/{id}/bring-back",
    params(("id" = String, Path)),
    responses((status = 200, body = DatasetBody), (status = 404), (status = 409))
)]
pub async fn restore_schedule(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(super::runs::Nothing {}): Body<super::runs::Nothing>,
) -> ApiResult<Json<DatasetBody>> {
    let actor = bearer.require(Scope::Manage)?;
    Ok(Json(api.puller.restart_schedule(&actor, &id).await?.into()))
}

/// A webhook that DataSets can use. Its URL and secret are not returned.
#[derive(Serialize, ToSchema)]
pub struct WebhookBody {
    #[schema(value_type = String)]
    id: WebhookId,
    name: String,
    host: String,
    created_at: String,
}

/// List webhooks
#[utoipa::path(
    get,
    operation_id = "list_webhooks",
    path = "/webhooks",
    responses((status = 200, body = List<WebhookBody>))
)]
pub async fn webhooks(
    State(api): State<Api>,
    bearer: Bearer,
) -> ApiResult<Json<List<WebhookBody>>> {
    let actor = bearer.require(Scope::Manage)?;
    if !actor.may_edit() {
        return Err(Error::forbidden("Only editors and admins can see webhooks.").into());
    }
    let all = api.puller.notifications.webhooks().await?;
    let body = |hook: crate::notifications::webhooks::Webhook| WebhookBody {
        created_at: iso(hook.created_at),
        id: hook.id,
        name: hook.name,
        host: hook.host,
    };
    Ok(Json(List::complete(all.into_iter().map(body).collect())))
}
