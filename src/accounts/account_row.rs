//! The stored row of an account.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::{Account, Health};
use crate::clock::Millis;
use crate::connectors::Connector;
use crate::connectors::upstream::VendorHints;
use crate::error::{Error, Result};
use crate::ids::{AccountId, UserId};

/// Selects the `StoredAccountRow` of the account `$1`.
pub(super) const SELECT_ACCOUNT: &str = "SELECT
         a.*, u.name AS owner_name,
         (SELECT COUNT(*) FROM datasets d WHERE d.account_id = a.id) AS dataset_count
     FROM accounts a
     JOIN users u ON u.id = a.owner_id
     WHERE a.id = $1";

/// A row of `accounts`, with the name of its owner and the number of its DataSets.
#[derive(FromRow)]
pub(super) struct StoredAccountRow {
    id: AccountId,
    owner_id: UserId,
    owner_name: String,
    connector: String,
    name: String,
    /// JSON.
    fields: String,
    /// The encrypted credentials.
    pub sealed: Vec<u8>,
    sealed_at: Millis,
    api_url: Option<String>,
    requests_per_minute: i64,
    time_zone: String,
    shared: bool,
    health: Health,
    health_message: String,
    checked_at: Option<Millis>,
    auth_failures: i64,
    paused_until: Option<Millis>,
    region: Option<String>,
    api_ends_on: Option<String>,
    /// JSON.
    recent_requests: Option<String>,
    dataset_count: i64,
    created_at: Millis,
    updated_at: Millis,
}

impl StoredAccountRow {
    /// The account and its encrypted credentials.
    pub fn into_parts(mut self) -> Result<(Account, Vec<u8>)> {
        let sealed = std::mem::take(&mut self.sealed);
        Ok((self.try_into()?, sealed))
    }
}

impl TryFrom<StoredAccountRow> for Account {
    type Error = Error;

    fn try_from(row: StoredAccountRow) -> Result<Self> {
        let fields: BTreeMap<String, String> = serde_json::from_str(&row.fields)
            .map_err(|_| Error::damaged("an account has unreadable fields"))?;
        Ok(Self {
            id: row.id,
            owner_id: row.owner_id,
            owner_name: row.owner_name,
            connector: Connector::parse(&row.connector)
                .ok_or_else(|| Error::damaged("an account has an unknown connector"))?,
            name: row.name,
            fields,
            sealed_at: row.sealed_at,
            api_url: row.api_url,
            requests_per_minute: u32::try_from(row.requests_per_minute).map_err(Error::damaged)?,
            time_zone: row.time_zone,
            shared: row.shared,
            health: row.health,
            health_message: row.health_message,
            checked_at: row.checked_at,
            auth_failures: row.auth_failures,
            vendor_hints: VendorHints {
                paused_until: row.paused_until,
                region: row.region,
                api_ends_on: row.api_ends_on.and_then(|day| day.parse().ok()),
                recent_requests: row
                    .recent_requests
                    .and_then(|json| serde_json::from_str(&json).ok())
                    .unwrap_or_default(),
            },
            dataset_count: row.dataset_count,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
