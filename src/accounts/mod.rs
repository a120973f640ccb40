//! Accounts: each has credentials for one vendor workspace. This file has list, create, update,
//! share and delete. `validate.rs` and `sealed_credentials.rs` validate and encrypt the input;
//! `check.rs` uses the credentials, which is where the puller starts.

pub mod check;
mod interactive;
mod sealed_credentials;
mod validate;
pub mod vault_check;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use crate::auth::audit::{self, AuditEvent};
use crate::auth::{Actor, Role};
use crate::clock::{Clock, Millis};
use crate::connectors::report::Menu;
use crate::connectors::upstream::{Gauge, MAX_AUTH_FAILURES, Upstreams, VendorHints};
use crate::connectors::{Choice, Connector};
use crate::db::{Db, decode_each};
use crate::error::{Error, Result};
use crate::ids::{AccountId, DatasetId, UserId};
use crate::secret::Secret;
use crate::vault::Vault;
pub use check::{CheckResult, vendor_error};
pub use interactive::{for_interactive_use, with_timeout};
pub use sealed_credentials::outer_spaces;

/// Default and maximum number of API calls per minute.
pub const DEFAULT_REQUESTS_PER_MINUTE: u32 = 180;
pub const MAX_REQUESTS_PER_MINUTE: u32 = 60_000;

/// Whether an account's credentials are known to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not used yet.
    Unknown,
    /// The vendor accepted them when they were last used.
    Valid,
    /// The vendor rejected them; they must be entered again.
    Failing,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Valid => "valid",
            Health::Failing => "failing",
        }
    }
}

/// An account, without its secrets.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: AccountId,
    pub owner_id: UserId,
    pub owner_name: String,
    pub connector: Connector,
    pub name: String,
    /// The fields that are not secret, by id.
    pub fields: BTreeMap<String, String>,
    /// When the secrets were entered; nothing else about them is shown.
    pub sealed_at: Millis,
    /// `None`: the vendor's own URL.
    pub api_url: Option<String>,
    pub requests_per_minute: u32,
    /// IANA name.
    pub time_zone: String,
    /// Other editors may use it for their DataSets.
    pub shared: bool,
    pub health: Health,
    pub health_message: String,
    pub checked_at: Option<Millis>,
    /// How often in a row the vendor rejected the credentials.
    pub auth_failures: i64,
    /// The vendor hints: end of a pause, region, and end of the API.
    pub vendor_hints: VendorHints,
    pub dataset_count: i64,
    pub created_at: Millis,
    pub updated_at: Millis,
}

impl Account {
    /// The vendor rejected the credentials too many times in a row, so its DataSets are not pulled
    /// any more.
    pub fn is_stopped(&self) -> bool {
        self.auth_failures >= i64::from(MAX_AUTH_FAILURES)
    }

    /// Whether the actor may change, share and delete it.
    pub fn can_be_changed_by(&self, actor: &Actor) -> bool {
        actor.may_edit() && (self.owner_id == actor.user || actor.is_admin())
    }
}

/// The input for a new account.
#[derive(Clone, Debug)]
pub struct NewAccount {
    pub connector: Connector,
    pub name: String,
    /// By field id, secret or not.
    pub credentials: BTreeMap<String, Secret>,
    pub api_url: Option<String>,
    /// `None`: 180.
    pub requests_per_minute: Option<i64>,
    /// `None`: UTC.
    pub time_zone: Option<String>,
}

/// The input for a change; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct ChangeAccount {
    pub name: Option<String>,
    /// A missing or empty value leaves the stored one unchanged.
    pub credentials: BTreeMap<String, Secret>,
    /// `Some(None)`: back to the vendor's own URL.
    pub api_url: Option<Option<String>>,
    pub requests_per_minute: Option<i64>,
    pub time_zone: Option<String>,
    pub shared: Option<bool>,
}

/// The cached choices of a menu, and when they were read.
type MenuCache = HashMap<(AccountId, Menu), (Millis, Vec<Choice>)>;

/// The account service. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    db: Db,
    vault: Vault,
    clock: Clock,
    upstreams: Upstreams,
    menus: Arc<Mutex<MenuCache>>,
}

const SELECT: &str = "SELECT
         a.*, u.name AS owner_name,
         (SELECT COUNT(*) FROM datasets d WHERE d.account_id = a.id) AS dataset_count
     FROM accounts a
     JOIN users u ON u.id = a.owner_id
     WHERE a.id = $1";

impl Accounts {
    pub fn new(db: Db, vault: Vault, clock: Clock, upstreams: Upstreams) -> Self {
        Self {
            db,
            vault,
            clock,
            upstreams,
            menus: Arc::default(),
        }
    }

    /// The accounts that this person sees, by name: own and shared ones, all for an admin. Accounts
    /// with a damaged record are missing: see `list_all`.
    pub async fn list(&self, actor: &Actor) -> Result<Vec<Account>> {
        Ok(self.list_all(actor).await?.0)
    }

    /// Like `list`, with the ids of the accounts with a damaged record.
    pub async fn list_all(&self, actor: &Actor) -> Result<(Vec<Account>, Vec<String>)> {
        if !actor.sees_accounts() {
            return Err(Error::forbidden(
                "Viewers cannot see accounts. A token needs the scope manage to see them.",
            ));
        }
        let rows = sqlx::query(
            "SELECT
                 a.*, u.name AS owner_name,
                 (SELECT COUNT(*) FROM datasets d WHERE d.account_id = a.id) AS dataset_count
             FROM accounts a
             JOIN users u ON u.id = a.owner_id
             WHERE a.owner_id = $1 OR a.shared = 1 OR $2 = 1
             ORDER BY LOWER(a.name), a.id",
        )
        .bind(&actor.user)
        .bind(i64::from(actor.is_admin()))
        .fetch_all(self.db.read())
        .await?;
        Ok(decode_each(&rows, account_from_row))
    }

    /// One account that this person sees.
    pub async fn get(&self, actor: &Actor, id: &AccountId) -> Result<Account> {
        let found = self
            .find(id)
            .await?
            .filter(|account| actor.sees_accounts() && is_visible(actor, account));
        found.ok_or_else(|| Error::not_found("account"))
    }

    /// Encrypts the credentials and saves the account. Sends no request to the vendor: see
    /// `try_credentials` and `check`.
    pub async fn create(&self, actor: &Actor, new: &NewAccount) -> Result<Account> {
        let checked = self.validate_new(actor, new)?;
        let id = AccountId::new();
        let sealed = sealed_credentials::seal(
            &self.vault,
            &id,
            new.connector,
            checked.api_url.as_deref(),
            &checked.secrets,
        )?;
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO accounts (
                 id, owner_id, connector, name, fields, sealed, sealed_at, api_url,
                 requests_per_minute, time_zone, shared, health, health_message, created_at,
                 updated_at
             )
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 'unknown', $11, $7, $7)",
        )
        .bind(&id)
        .bind(&actor.user)
        .bind(new.connector.id())
        .bind(&checked.name)
        .bind(serde_json::to_string(&checked.fields).map_err(Error::internal)?)
        .bind(sealed)
        .bind(now)
        .bind(&checked.api_url)
        .bind(i64::from(checked.requests_per_minute))
        .bind(&checked.time_zone)
        .bind(NOT_CHECKED)
        .execute(&mut *tx)
        .await?;
        let created = self.record(&mut tx, actor, "account.create", &id).await?;
        tx.commit().await?;
        created.ok_or_else(|| Error::not_found("account"))
    }

    /// Changes an account of the actor, or any account for an admin. A new API URL requires an
    /// admin and all secrets again: a stored secret is never sent to a host it was not entered for.
    pub async fn update(
        &self,
        actor: &Actor,
        id: &AccountId,
        change: &ChangeAccount,
    ) -> Result<Account> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        let row = sqlx::query(SELECT)
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?
            .ok_or_else(|| Error::not_found("account"))?;
        let (mut account, sealed): (Account, Vec<u8>) =
            (account_from_row(&row)?, row.try_get("sealed")?);
        let before = account.api_url.clone();
        let input = self.apply_change(actor, &mut account, change)?;
        let moved = account.api_url != before;
        let new_fields = input
            .fields
            .iter()
            .any(|(field, value)| account.fields.get(field) != Some(value));
        account.fields.extend(input.fields);
        let now = self.clock.now();
        let new_secrets = !input.secrets.is_empty();
        if new_secrets {
            let secrets = sealed_credentials::merge(&self.vault, &account, &sealed, input.secrets)?;
            let sealed = sealed_credentials::seal(
                &self.vault,
                id,
                account.connector,
                account.api_url.as_deref(),
                &secrets,
            )?;
            sqlx::query("UPDATE accounts SET sealed = $2, sealed_at = $3 WHERE id = $1")
                .bind(id)
                .bind(sealed)
                .bind(now)
                .execute(&mut *tx)
                .await?;
        }
        if new_secrets || new_fields {
            sqlx::query(
                "UPDATE accounts
                 SET health = 'unknown', health_message = $2, checked_at = NULL, auth_failures = 0
                 WHERE id = $1",
            )
            .bind(id)
            .bind(NOT_CHECKED)
            .execute(&mut *tx)
            .await?;
        }
        if moved {
            // Hints of one host do not apply to another.
            sqlx::query(
                "UPDATE accounts
                 SET
                     paused_until = NULL, region = NULL, api_ends_on = NULL,
                     recent_requests = NULL
                 WHERE id = $1",
            )
            .bind(id)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "UPDATE accounts
             SET
                 name = $2, fields = $3, api_url = $4, requests_per_minute = $5, time_zone = $6,
                 shared = $7, updated_at = $8
             WHERE id = $1",
        )
        .bind(id)
        .bind(&account.name)
        .bind(serde_json::to_string(&account.fields).map_err(Error::internal)?)
        .bind(&account.api_url)
        .bind(i64::from(account.requests_per_minute))
        .bind(&account.time_zone)
        .bind(i64::from(change.shared.unwrap_or(account.shared)))
        .bind(now)
        .execute(&mut *tx)
        .await?;
        let changed = self.record(&mut tx, actor, "account.update", id).await?;
        tx.commit().await?;
        self.clear_menu_cache(id);
        if moved {
            self.upstreams.forget(id.as_str());
        } else if new_secrets || new_fields {
            self.upstreams.credentials_changed(id.as_str());
        }
        changed.ok_or_else(|| Error::not_found("account"))
    }

    /// Deletes an account with its credentials. Returns the names of the DataSets that stop
    /// updating; their rows stay.
    pub async fn delete(&self, actor: &Actor, id: &AccountId) -> Result<Vec<String>> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        let stopped = datasets_of(&mut tx, actor, id).await?;
        // DataSets with a next run remember the account's name, so that the puller's next check can
        // notify people.
        sqlx::query(
            "UPDATE datasets
             SET
                 deleted_account_name = CASE
                     WHEN next_run_at IS NULL THEN NULL
                     ELSE (SELECT a.name FROM accounts a WHERE a.id = $1)
                 END,
                 account_id = NULL, next_run_at = NULL, retry_at = NULL, updated_at = $2
             WHERE account_id = $1",
        )
        .bind(id)
        .bind(self.clock.now())
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM accounts WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        self.record(&mut tx, actor, "account.delete", id).await?;
        tx.commit().await?;
        self.clear_menu_cache(id);
        self.upstreams.forget(id.as_str());
        Ok(stopped.into_iter().map(|(_, name)| name).collect())
    }

    /// The DataSets that use this account, by name. DataSets that this person may not see are shown
    /// only as their owner.
    pub async fn datasets_of(
        &self,
        actor: &Actor,
        id: &AccountId,
    ) -> Result<Vec<(DatasetId, String)>> {
        self.get(actor, id).await?;
        let mut connection = self.db.read().acquire().await?;
        datasets_of(&mut connection, actor, id).await
    }

    /// API calls of this account in the last 60 seconds, including those before a restart.
    pub fn calls_last_minute(&self, account: &Account) -> u32 {
        let gauge = self.upstreams.gauges().get(account.id.as_str()).copied();
        // No request since the start, so the stored value is complete.
        let from_hints = || {
            let now = self.clock.now();
            account
                .vendor_hints
                .recent_requests
                .iter()
                .filter(|(began, _)| *began + 60_000 > now)
                .map(|(_, count)| count)
                .sum()
        };
        gauge.map_or_else(from_hints, |gauge| gauge.last_minute)
    }

    /// The current load of each account, by id; accounts without a request since the start are
    /// missing.
    pub fn gauges(&self) -> HashMap<String, Gauge> {
        self.upstreams.gauges()
    }

    async fn find(&self, id: &AccountId) -> Result<Option<Account>> {
        sqlx::query(SELECT)
            .bind(id)
            .fetch_optional(self.db.read())
            .await?
            .as_ref()
            .map(account_from_row)
            .transpose()
    }

    /// One account that this person may change.
    pub async fn get_to_change(&self, actor: &Actor, id: &AccountId) -> Result<Account> {
        let account = self.get(actor, id).await?;
        if account.can_be_changed_by(actor) {
            return Ok(account);
        }
        Err(Error::forbidden(format!(
            "This account belongs to {}. You can use it but not change it.",
            account.owner_name
        )))
    }

    async fn record(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        actor: &Actor,
        action: &'static str,
        id: &AccountId,
    ) -> Result<Option<Account>> {
        let event = AuditEvent {
            actor: Some(&actor.user),
            address: None,
            action,
            object: Some(id.as_str()),
            result: "done",
        };
        audit::record(tx, &self.clock, event).await?;
        sqlx::query(SELECT)
            .bind(id)
            .fetch_optional(&mut **tx)
            .await?
            .as_ref()
            .map(account_from_row)
            .transpose()
    }
}

const NOT_CHECKED: &str = "Not checked yet.";

fn is_visible(actor: &Actor, account: &Account) -> bool {
    account.shared || account.owner_id == actor.user || actor.role == Role::Admin
}

async fn datasets_of(
    connection: &mut sqlx::SqliteConnection,
    actor: &Actor,
    id: &AccountId,
) -> Result<Vec<(DatasetId, String)>> {
    let rows = sqlx::query(
        "SELECT d.id, d.name, d.shared, d.owner_id, u.name AS owner_name
         FROM datasets d
         JOIN users u ON u.id = d.owner_id
         WHERE d.account_id = $1
         ORDER BY LOWER(d.name), d.id",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let owner: UserId = row.try_get("owner_id")?;
            let is_visible =
                actor.is_admin() || owner == actor.user || row.try_get::<i64, _>("shared")? == 1;
            let name = if is_visible {
                row.try_get("name")?
            } else {
                format!("a DataSet of {}", row.try_get::<String, _>("owner_name")?)
            };
            Ok((row.try_get("id")?, name))
        })
        .collect()
}

fn account_from_row(row: &SqliteRow) -> Result<Account> {
    let connector: String = row.try_get("connector")?;
    let fields: String = row.try_get("fields")?;
    let health: String = row.try_get("health")?;
    Ok(Account {
        id: row.try_get("id")?,
        owner_id: row.try_get("owner_id")?,
        owner_name: row.try_get("owner_name")?,
        connector: Connector::parse(&connector)
            .ok_or_else(|| Error::damaged("an account has an unknown connector"))?,
        name: row.try_get("name")?,
        fields: serde_json::from_str(&fields)
            .map_err(|_| Error::damaged("an account has unreadable fields"))?,
        sealed_at: row.try_get("sealed_at")?,
        api_url: row.try_get("api_url")?,
        requests_per_minute: u32::try_from(row.try_get::<i64, _>("requests_per_minute")?)
            .map_err(Error::damaged)?,
        time_zone: row.try_get("time_zone")?,
        shared: row.try_get::<i64, _>("shared")? == 1,
        health: [Health::Valid, Health::Failing]
            .into_iter()
            .find(|h| h.word() == health)
            .unwrap_or(Health::Unknown),
        health_message: row.try_get("health_message")?,
        checked_at: row.try_get("checked_at")?,
        auth_failures: row.try_get("auth_failures")?,
        vendor_hints: VendorHints {
            paused_until: row.try_get("paused_until")?,
            region: row.try_get("region")?,
            api_ends_on: row
                .try_get::<Option<String>, _>("api_ends_on")?
                .and_then(|day| day.parse().ok()),
            recent_requests: row
                .try_get::<Option<String>, _>("recent_requests")?
                .and_then(|json| serde_json::from_str(&json).ok())
                .unwrap_or_default(),
        },
        dataset_count: row.try_get("dataset_count")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

#[cfg(test)]
mod tests;
