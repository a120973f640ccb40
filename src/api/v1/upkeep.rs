//! How a DataSet is kept up: retries, lateness, who is told, and back on its schedule.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::List;
use super::datasets::DatasetBody;
use crate::actor::{Actor, Scope};
use crate::api::Api;
use crate::api::body::{Body, Ids};
use crate::api::error::Answer;
use crate::api::token::Bearer;
use crate::clock::iso;
use crate::datasets::Dataset;
use crate::datasets::upkeep::{self, Kind, Notify, Retry};
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
    /// None: it is not tried again.
    pub fn of(dataset: &Dataset) -> Option<Self> {
        let retry = dataset.upkeep.retry();
        (retry.most() > 0).then(|| Self { every_minutes: retry.minutes(), at_most: retry.most() })
    }
}

impl StoppedBody {
    pub fn of(dataset: &Dataset) -> Option<Self> {
        dataset.stopped().map(|stopped| Self { since: iso(stopped.at), reason: stopped.why.word() })
    }
}

/// What a request says of retries and lateness, checked; none leaves it as it is.
pub struct Wanted {
    retry: Option<Retry>,
    expected_hours: Option<Option<i64>>,
}

impl Wanted {
    /// `Some(None)`: do not retry; by the schedule.
    pub fn read(retry: Option<Option<RetryBody>>, expected_hours: Option<Option<i64>>) -> Result<Self> {
        let retry = match retry {
            None => None,
            Some(None) => Some(Retry::NEVER),
            Some(Some(body)) => Some(Retry::new(body.every_minutes, body.at_most).map_err(|why| Error::field("retry", why.message()))?),
        };
        let expected_hours = match expected_hours {
            None => None,
            Some(hours) => {
                Some(upkeep::expected(hours).map_err(|_| Error::field("expected_within_hours", "expected_within_hours must be from 1 to 87840, or null."))?)
            }
        };
        Ok(Self { retry, expected_hours })
    }

    pub async fn keep(self, api: &Api, actor: &Actor, id: &DatasetId) -> Result<()> {
        if self.retry.is_none() && self.expected_hours.is_none() {
            return Ok(());
        }
        let now = api.datasets.get_to_change(actor, id).await?.upkeep;
        api.datasets.set_upkeep(actor, id, self.retry.unwrap_or(now.retry()), self.expected_hours.unwrap_or(now.expected_hours)).await?;
        api.puller.kept.notify_one();
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

impl From<Notify> for NotificationsBody {
    fn from(notify: Notify) -> Self {
        Self { emails: notify.emails, webhooks: notify.webhooks, on: notify.on.into_iter().map(Kind::word).collect(), after: notify.after }
    }
}

/// Fields to change. Absent fields are unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchNotifications {
    /// Null: the owner's email. An empty list: no email.
    #[serde(default, deserialize_with = "super::datasets::given")]
    #[schema(value_type = Option<Vec<String>>)]
    emails: Option<Option<Vec<String>>>,
    webhooks: Option<Vec<String>>,
    on: Option<Vec<String>>,
    after: Option<i64>,
}

/// Get the notifications of a DataSet
#[utoipa::path(get, operation_id = "get_notifications", path = "/datasets/{id}/notifications", params(("id" = String, Path)), responses((status = 200, body = NotificationsBody), (status = 404)))]
pub async fn notifications(State(api): State<Api>, bearer: Bearer, Ids(id): Ids<DatasetId>) -> Answer<Json<NotificationsBody>> {
    let actor = bearer.with(Scope::Manage)?;
    Ok(Json(api.datasets.get_to_change(&actor, &id).await?.upkeep.notify().into()))
}

/// Change the notifications of a DataSet
#[utoipa::path(patch, operation_id = "update_notifications", path = "/datasets/{id}/notifications", params(("id" = String, Path)), request_body = PatchNotifications,
    responses((status = 200, body = NotificationsBody), (status = 404), (status = 422)))]
pub async fn notify(State(api): State<Api>, bearer: Bearer, Ids(id): Ids<DatasetId>, Body(patch): Body<PatchNotifications>) -> Answer<Json<NotificationsBody>> {
    let actor = bearer.with(Scope::Manage)?;
    let now = api.datasets.get_to_change(&actor, &id).await?.upkeep.notify();
    let on = match patch.on {
        None => now.on,
        Some(words) => {
            let kind = |word: &String| Kind::parse(word).ok_or_else(|| Error::field("on", "on must contain only failure, recovery, late, stopped and sunset."));
            words.iter().map(kind).collect::<Result<Vec<_>>>()?
        }
    };
    let webhooks = patch.webhooks.unwrap_or(now.webhooks);
    let notify = Notify::new(patch.emails.unwrap_or(now.emails), webhooks, on, patch.after.unwrap_or(now.after))?;
    api.datasets.set_notify(&actor, &id, &notify).await?;
    Ok(Json(notify.into()))
}

/// Resume a stopped schedule
///
/// A schedule stops after rejected credentials, after a run that stopped the server three times, and when the account is no longer shared.
/// 409 if the schedule is not stopped, and while the account is still rejected or not shared.
#[utoipa::path(post, operation_id = "bring_back_dataset", path = "/datasets/{id}/bring-back", params(("id" = String, Path)), responses((status = 200, body = DatasetBody), (status = 404), (status = 409)))]
pub async fn bring_back(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    Body(super::runs::Nothing {}): Body<super::runs::Nothing>,
) -> Answer<Json<DatasetBody>> {
    let actor = bearer.with(Scope::Manage)?;
    Ok(Json(api.puller.bring_back(&actor, &id).await?.into()))
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
#[utoipa::path(get, operation_id = "list_webhooks", path = "/webhooks", responses((status = 200, body = List<WebhookBody>)))]
pub async fn webhooks(State(api): State<Api>, bearer: Bearer) -> Answer<Json<List<WebhookBody>>> {
    let actor = bearer.with(Scope::Manage)?;
    if !actor.may_edit() {
        return Err(Error::forbidden("Only editors and admins can see webhooks.").into());
    }
    let all = api.puller.notices.webhooks().await?;
    let body = |hook: crate::notices::webhooks::Webhook| WebhookBody { created_at: iso(hook.created_at), id: hook.id, name: hook.name, host: hook.host };
    Ok(Json(List::whole(all.into_iter().map(body).collect())))
}
