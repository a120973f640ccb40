//! Accounts: each has credentials for one vendor workspace. This file lists them. `changes.rs`
//! creates, changes and deletes an account; `validate.rs` and `sealed_credentials.rs` validate and
//! encrypt its input. `source.rs` decrypts the credentials, which is where the puller starts, and
//! `check.rs` tests them.

mod account_row;
mod changes;
mod check;
mod health;
mod interactive;
mod menu_choices;
mod sealed_credentials;
mod source;
mod validate;
pub mod vault_check;
mod vendor_error;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use sqlx::FromRow;

use crate::auth::{Actor, Role};
use crate::clock::{Clock, Millis};
use crate::connectors::Connector;
use crate::connectors::upstream::{Gauge, MAX_AUTH_FAILURES, Upstreams, VendorHints};
use crate::db::{Db, decode_each};
use crate::error::{Error, Result};
use crate::ids::{AccountId, DatasetId, UserId};
use crate::secret::Secret;
use crate::vault::Vault;
use account_row::{SELECT_ACCOUNT, StoredAccountRow};
pub use check::CheckResult;
pub use health::Health;
pub use interactive::{for_interactive_use, with_timeout};
use menu_choices::MenuCache;
pub use sealed_credentials::outer_spaces;
pub use vendor_error::vendor_error;

/// Default and maximum number of API calls per minute.
pub const DEFAULT_REQUESTS_PER_MINUTE: u32 = 180;
pub const MAX_REQUESTS_PER_MINUTE: u32 = 60_000;

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

/// The account service. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    db: Db,
    vault: Vault,
    clock: Clock,
    upstreams: Upstreams,
    menus: Arc<Mutex<MenuCache>>,
}

/// A DataSet that uses an account.
#[derive(FromRow)]
struct AccountDatasetRow {
    id: DatasetId,
    name: String,
    shared: bool,
    owner_id: UserId,
    owner_name: String,
}

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
        Ok(decode_each(&rows, |row| {
            StoredAccountRow::from_row(row)?.try_into()
        }))
    }

    /// One account that this person sees.
    pub async fn get(&self, actor: &Actor, id: &AccountId) -> Result<Account> {
        let found = self
            .find(id)
            .await?
            .filter(|account| actor.sees_accounts() && is_visible(actor, account));
        found.ok_or_else(|| Error::not_found("account"))
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

    async fn find(&self, id: &AccountId) -> Result<Option<Account>> {
        let row: Option<StoredAccountRow> = sqlx::query_as(SELECT_ACCOUNT)
            .bind(id)
            .fetch_optional(self.db.read())
            .await?;
        row.map(Account::try_from).transpose()
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
}

fn is_visible(actor: &Actor, account: &Account) -> bool {
    account.shared || account.owner_id == actor.user || actor.role == Role::Admin
}

/// See `Accounts::datasets_of`.
async fn datasets_of(
    connection: &mut sqlx::SqliteConnection,
    actor: &Actor,
    id: &AccountId,
) -> Result<Vec<(DatasetId, String)>> {
    let rows: Vec<AccountDatasetRow> = sqlx::query_as(
        "SELECT d.id, d.name, d.shared, d.owner_id, u.name AS owner_name
         FROM datasets d
         JOIN users u ON u.id = d.owner_id
         WHERE d.account_id = $1
         ORDER BY LOWER(d.name), d.id",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    let name = |row: AccountDatasetRow| {
        let is_visible = actor.is_admin() || row.owner_id == actor.user || row.shared;
        let name = if is_visible {
            row.name
        } else {
            format!("a DataSet of {}", row.owner_name)
        };
        (row.id, name)
    };
    Ok(rows.into_iter().map(name).collect())
}

#[cfg(test)]
mod tests;
