//! Who may use an account, and its credentials for a connector. The puller calls `source` for each
//! read, so that a changed or deleted account takes effect at once.

use jiff::tz::TimeZone;

use super::account_row::{SELECT_ACCOUNT, StoredAccountRow};
use super::{Account, Accounts, Health, is_visible, sealed_credentials, vendor_error};
use crate::auth::Actor;
use crate::connectors::Source;
use crate::connectors::upstream::MAX_AUTH_FAILURES;
use crate::error::{Error, Result};
use crate::ids::{AccountId, UserId};

impl Accounts {
    /// The account, if this person may use it now. Attaching it to a DataSet, testing, previewing
    /// and running check this.
    pub async fn usable(&self, actor: &Actor, id: &AccountId) -> Result<Account> {
        let found = self
            .find(id)
            .await?
            .filter(|account| actor.may_run() && is_visible(actor, account));
        found.ok_or_else(|| Error::not_found("account"))
    }

    /// Checks that DataSets of `owner` may use an account: it belongs to the owner, it is shared,
    /// or the owner is an admin. Error: `account_not_shared`. A deleted account is no error here;
    /// `source` reports it.
    pub async fn ensure_usable_by(&self, id: &AccountId, owner: &UserId) -> Result<()> {
        let may: Option<i64> = sqlx::query_scalar(
            "SELECT CASE
                 WHEN a.shared = 1 OR a.owner_id = u.id OR u.role = 'admin' THEN 1
                 ELSE 0
             END
             FROM accounts a
             JOIN users u ON u.id = $2
             WHERE a.id = $1",
        )
        .bind(id)
        .bind(owner)
        .fetch_optional(self.db.read())
        .await?;
        if may != Some(0) {
            return Ok(());
        }
        Err(Error::conflict(
            "account_not_shared",
            "The account is no longer shared with the owner of the DataSet. \
             Chatlake does not pull data with it.",
        )
        .action(
            "The owner of the account can share it again under Accounts. \
             The owner of the DataSet can choose another account under Settings.",
        ))
    }

    /// The number of DataSets that would stop updating if this account were not shared: those of
    /// people who are neither its owner nor admins.
    pub async fn count_datasets_of_others(&self, id: &AccountId) -> Result<i64> {
        Ok(sqlx::query_scalar(
            "SELECT COUNT(*)
             FROM datasets d
             JOIN accounts a ON a.id = d.account_id
             JOIN users u ON u.id = d.owner_id
             WHERE a.id = $1 AND d.owner_id <> a.owner_id AND u.role <> 'admin'",
        )
        .bind(id)
        .fetch_one(self.db.read())
        .await?)
    }

    /// Loads the account for a connector. Errors: `account_missing`, `credential_damaged`,
    /// `credentials_stopped`, `address_refused`. With an error no request is sent, and no other
    /// account is used instead.
    pub async fn source(&self, id: &AccountId) -> Result<Source> {
        let (account, source) = self.open_source(id).await?;
        if account.is_stopped() {
            return Err(Error::conflict(
                "credentials_stopped",
                format!(
                    "{} rejected the credentials of “{}” {} times in a row. \
                     Chatlake stopped using them.",
                    account.connector.title(),
                    account.name,
                    MAX_AUTH_FAILURES
                ),
            )
            .action(format!(
                "The owner of the account “{}” must enter new credentials under Accounts, \
                 or press Test there once they work.",
                account.name
            )));
        }
        Ok(source)
    }

    /// Like `source`, also for an account whose credentials were rejected too often.
    pub(super) async fn open_source(&self, id: &AccountId) -> Result<(Account, Source)> {
        let row: Option<StoredAccountRow> = sqlx::query_as(SELECT_ACCOUNT)
            .bind(id)
            .fetch_optional(self.db.read())
            .await?;
        let Some(row) = row else {
            return Err(Error::conflict(
                "account_missing",
                "The account of this DataSet was deleted.",
            )
            .action("Choose another account under Settings."));
        };
        let (account, sealed) = row.into_parts()?;
        let secrets = match sealed_credentials::open(&self.vault, &account, &sealed) {
            Ok(secrets) => secrets,
            Err(damaged) => {
                self.write_health(
                    id,
                    Some(Health::Failing),
                    damaged.message(),
                    0,
                    self.clock.now(),
                )
                .await?;
                return Err(damaged);
            }
        };
        let upstream = self
            .upstreams
            .for_account(
                id.as_str(),
                account.connector,
                account.api_url.as_deref(),
                account.requests_per_minute,
            )
            .map_err(|why| vendor_error(account.connector, &why));
        let upstream = match upstream {
            Ok(upstream) => upstream,
            Err(refused) => {
                self.write_health(
                    id,
                    Some(Health::Failing),
                    refused.message(),
                    0,
                    self.clock.now(),
                )
                .await?;
                return Err(refused);
            }
        };
        upstream.restore(&account.vendor_hints);
        let source = Source {
            connector: account.connector,
            fields: account.fields.clone(),
            secrets,
            zone: zone(&account.time_zone),
            upstream,
        };
        Ok((account, source))
    }
}

/// The time zone of an account; it was validated when it was saved.
pub(super) fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}
