//! Vendor accounts. Secrets are write-only.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::List;
use super::runs::Nothing;
use crate::accounts::{Account, ChangeAccount, NewAccount};
use crate::actor::{Actor, Scope};
use crate::api::Api;
use crate::api::body::{Body, Ids, QueryParams};
use crate::api::error::{ApiError, ApiResult};
use crate::api::token::Bearer;
use crate::clock::iso;
use crate::connectors::report::Menu;
use crate::connectors::{Choice, Connector};
use crate::error::Error;
use crate::ids::AccountId;
use crate::secret::Secret;

/// An account: credentials for LiveChat or LiveLeader, without the secrets.
#[derive(Serialize, ToSchema)]
pub struct AccountBody {
    #[schema(value_type = String)]
    id: AccountId,
    connector: &'static str,
    name: String,
    owner: String,
    /// The fields that are not secret.
    fields: BTreeMap<String, String>,
    /// When the secret fields were last set.
    secrets_set_at: String,
    /// Null: the default URL of the connector.
    api_url: Option<String>,
    requests_per_minute: u32,
    time_zone: String,
    /// unknown, valid or failing.
    health: &'static str,
    health_message: String,
    checked_at: Option<String>,
    /// LiveChat or LiveLeader rejected the credentials three times in a row. No data is pulled
    /// until they change or a test succeeds.
    stopped: bool,
    /// LiveChat or LiveLeader asked for a pause. Chatlake makes no calls before this time.
    paused_until: Option<String>,
    /// The day on which LiveChat or LiveLeader ends the API that this account uses, if announced.
    api_ends_on: Option<String>,
    /// API calls in the last 60 seconds; at most `requests_per_minute`.
    calls_last_minute: u32,
    datasets: i64,
    /// Other editors can use this account for their DataSets.
    shared: bool,
    created_at: String,
    updated_at: String,
}

impl AccountBody {
    fn new(api: &Api, account: Account) -> Self {
        let now = api.clock.now();
        Self {
            stopped: account.is_stopped(),
            paused_until: account
                .vendor_hints
                .paused_until
                .filter(|until| *until > now)
                .map(iso),
            api_ends_on: account.vendor_hints.api_ends_on.map(|day| day.to_string()),
            calls_last_minute: api.accounts.calls_last_minute(&account),
            connector: account.connector.id(),
            owner: account.owner_name,
            secrets_set_at: iso(account.sealed_at),
            health: account.health.word(),
            checked_at: account.checked_at.map(iso),
            datasets: account.dataset_count,
            shared: account.shared,
            created_at: iso(account.created_at),
            updated_at: iso(account.updated_at),
            id: account.id,
            name: account.name,
            fields: account.fields,
            api_url: account.api_url,
            requests_per_minute: account.requests_per_minute,
            time_zone: account.time_zone,
            health_message: account.health_message,
        }
    }
}

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAccount {
    /// For example livechat.
    connector: String,
    name: String,
    /// Every field of the connector, by id. Secrets are write-only.
    #[schema(value_type = BTreeMap<String, String>)]
    credentials: BTreeMap<String, Secret>,
    /// API URL, for admins only. Private and plain-http hosts must be allowed with
    /// --allow-upstream.
    api_url: Option<String>,
    /// 1 to 60,000; 180 when absent.
    requests_per_minute: Option<i64>,
    /// IANA name; UTC when absent.
    time_zone: Option<String>,
}

/// Fields to change. Absent fields are unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchAccount {
    name: Option<String>,
    /// Fields to set; an absent secret keeps its value, unless `api_url` changes.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    credentials: Option<BTreeMap<String, Secret>>,
    /// Null: the default URL of the connector.
    #[serde(default, deserialize_with = "super::datasets::double_option")]
    #[schema(value_type = Option<String>)]
    api_url: Option<Option<String>>,
    requests_per_minute: Option<i64>,
    time_zone: Option<String>,
    /// Other editors can use this account for their DataSets. False: their DataSets stop updating,
    /// and their schedules stop until the account is shared again.
    shared: Option<bool>,
}

fn require_account_viewer(bearer: Bearer) -> Result<Actor, ApiError> {
    let actor = bearer.require(Scope::Manage)?;
    if actor.sees_accounts() {
        Ok(actor)
    } else {
        Err(Error::forbidden("Viewers cannot see accounts.").into())
    }
}

/// List accounts
#[utoipa::path(
    get,
    operation_id = "list_accounts",
    path = "/accounts",
    responses((status = 200, body = List<AccountBody>))
)]
pub async fn list(State(api): State<Api>, bearer: Bearer) -> ApiResult<Json<List<AccountBody>>> {
    let actor = require_account_viewer(bearer)?;
    let accounts = api.accounts.list(&actor).await?;
    Ok(Json(List::complete(
        accounts
            .into_iter()
            .map(|account| AccountBody::new(&api, account))
            .collect(),
    )))
}

/// Add an account
#[utoipa::path(
    post,
    operation_id = "create_account",
    path = "/accounts",
    request_body = CreateAccount,
    responses((status = 201, body = AccountBody), (status = 422))
)]
pub async fn create(
    State(api): State<Api>,
    bearer: Bearer,
    Body(new): Body<CreateAccount>,
) -> ApiResult<(StatusCode, Json<AccountBody>)> {
    let actor = require_account_viewer(bearer)?;
    let connector = Connector::parse(&new.connector).ok_or_else(|| {
        Error::field(
            "connector",
            "This connector does not exist. See /api/v1/connectors.",
        )
    })?;
    let new = NewAccount {
        connector,
        name: new.name,
        credentials: new.credentials,
        api_url: new.api_url,
        requests_per_minute: new.requests_per_minute,
        time_zone: new.time_zone,
    };
    let account = api.accounts.create(&actor, &new).await?;
    Ok((StatusCode::CREATED, Json(AccountBody::new(&api, account))))
}

/// Get an account
#[utoipa::path(
    get,
    operation_id = "get_account",
    path = "/accounts/{id}",
    params(("id" = String, Path)),
    responses((status = 200, body = AccountBody), (status = 404))
)]
pub async fn get(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<AccountId>,
) -> ApiResult<Json<AccountBody>> {
    let actor = require_account_viewer(bearer)?;
    Ok(Json(AccountBody::new(
        &api,
        api.accounts.get(&actor, &id).await?,
    )))
}

/// Change an account
#[utoipa::path(
    patch,
    operation_id = "update_account",
    path = "/accounts/{id}",
    params(("id" = String, Path)),
    request_body = PatchAccount,
    responses((status = 200, body = AccountBody), (status = 404), (status = 422))
)]
pub async fn change(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<AccountId>,
    Body(patch): Body<PatchAccount>,
) -> ApiResult<Json<AccountBody>> {
    let actor = require_account_viewer(bearer)?;
    let change = ChangeAccount {
        name: patch.name,
        credentials: patch.credentials.unwrap_or_default(),
        api_url: patch.api_url,
        requests_per_minute: patch.requests_per_minute,
        time_zone: patch.time_zone,
        shared: patch.shared,
    };
    let account = api.accounts.update(&actor, &id, &change).await?;
    // The change may stop or restart schedules.
    api.puller.wake_deadlines.notify_one();
    Ok(Json(AccountBody::new(&api, account)))
}

/// Result of deleting an account.
#[derive(Serialize, ToSchema)]
pub struct Stopped {
    /// Names of the DataSets that stop updating.
    stopped_datasets: Vec<String>,
}

/// Delete an account
///
/// Its DataSets keep their rows and stop updating. Returns their names.
#[utoipa::path(
    delete,
    operation_id = "delete_account",
    path = "/accounts/{id}",
    params(("id" = String, Path)),
    responses((status = 200, body = Stopped), (status = 404))
)]
pub async fn delete(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<AccountId>,
) -> ApiResult<Json<Stopped>> {
    let actor = require_account_viewer(bearer)?;
    let stopped_datasets = api.accounts.delete(&actor, &id).await?;
    api.puller.wake_deadlines.notify_one();
    Ok(Json(Stopped { stopped_datasets }))
}

/// Result of a test.
#[derive(Serialize, ToSchema)]
pub struct CheckBody {
    ok: bool,
    message: String,
    checked_at: String,
}

/// Test the credentials of an account
#[utoipa::path(
    post,
    operation_id = "check_account",
    path = "/accounts/{id}/check",
    params(("id" = String, Path)),
    responses((status = 200, body = CheckBody), (status = 404))
)]
pub async fn check(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<AccountId>,
    Body(Nothing {}): Body<Nothing>,
) -> ApiResult<Json<CheckBody>> {
    let actor = require_account_viewer(bearer)?;
    let checked = api.accounts.check(&actor, &id).await?;
    api.puller.wake_deadlines.notify_one();
    Ok(Json(CheckBody {
        ok: checked.ok,
        message: checked.message,
        checked_at: iso(checked.checked_at),
    }))
}

/// Query parameters that select a menu.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoicesQuery {
    menu: String,
}

/// An option of a menu.
#[derive(Serialize, ToSchema)]
pub struct ChoiceBody {
    value: String,
    label: String,
}

/// List the options of a menu
#[utoipa::path(
    get,
    operation_id = "list_account_choices",
    path = "/accounts/{id}/choices",
    params(("id" = String, Path), ("menu" = String, Query, description = "group, login or tag")),
    responses((status = 200, body = List<ChoiceBody>), (status = 404), (status = 422))
)]
pub async fn choices(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<AccountId>,
    QueryParams(query): QueryParams<ChoicesQuery>,
) -> ApiResult<Json<List<ChoiceBody>>> {
    let actor = require_account_viewer(bearer)?;
    let menu = Menu::parse(&query.menu)
        .filter(|menu| menu.kind() == "choice")
        .ok_or_else(|| Error::field("menu", "menu must be group, login or tag."))?;
    let choices = api.accounts.choices(&actor, &id, menu).await?;
    Ok(Json(List::complete(
        choices
            .into_iter()
            .map(|Choice { value, label }| ChoiceBody { value, label })
            .collect(),
    )))
}
