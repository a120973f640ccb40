//! Uses of an account: permission checks, decrypting and testing credentials, and reading the menus
//! of the vendor. The puller calls `source` for each read, so that a changed or deleted account
//! takes effect at once.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Serialize;
use sqlx::Row;

use super::interactive::{
    CredentialTrial, advice_for, for_interactive_use, rate_limit_error, with_timeout,
};
use super::{
    Account, Accounts, ChangeAccount, NewAccount, account_from_row, is_visible, sealed_credentials,
};
use crate::auth::Actor;
use crate::clock::Millis;
use crate::connectors::report::Menu;
use crate::connectors::upstream::{MAX_AUTH_FAILURES, Upstream, VendorHints};
use crate::connectors::{self, Choice, Connector, PullError, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{AccountId, UserId};

/// How long the choices of a menu are cached.
const MENU_TTL: Millis = 5 * 60 * 1_000;
/// The maximum number of cached menus.
const MAX_MENUS: usize = 200;
/// The total timeout of interactive requests; the HTTP client itself would retry for minutes.
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The result of a test of the credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    pub ok: bool,
    pub message: String,
    pub checked_at: Millis,
}

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
        Err(Error::conflict("account_not_shared", "The account is no longer shared with the owner of the DataSet. Chatlake does not pull data with it.")
            .action("The owner of the account can share it again under Accounts. The owner of the DataSet can choose another account under Settings."))
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
                    "{} rejected the credentials of “{}” {} times in a row. Chatlake stopped using them.",
                    account.connector.title(),
                    account.name,
                    MAX_AUTH_FAILURES
                ),
            )
            .action(format!("The owner of the account “{}” must enter new credentials under Accounts, or press Test there once they work.", account.name)));
        }
        Ok(source)
    }

    async fn open_source(&self, id: &AccountId) -> Result<(Account, Source)> {
        let row = sqlx::query(super::SELECT)
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
        let (account, sealed): (Account, Vec<u8>) =
            (account_from_row(&row)?, row.try_get("sealed")?);
        let secrets = match sealed_credentials::open(&self.vault, &account, &sealed) {
            Ok(secrets) => secrets,
            Err(damaged) => {
                self.write_health(id, Some("failing"), damaged.message(), 0, self.clock.now())
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
                self.write_health(id, Some("failing"), refused.message(), 0, self.clock.now())
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

    /// Tests the stored credentials at the vendor and saves the result as the account's health.
    pub async fn check(&self, actor: &Actor, id: &AccountId) -> Result<CheckResult> {
        let account = self.get(actor, id).await?;
        if !actor.may_edit() {
            return Err(Error::forbidden(
                "You can see this account but not test it.",
            ));
        }
        let credentials_read_at = self.clock.now();
        let (result, hint) = match self.open_source(id).await {
            Ok((_, source)) => {
                source.upstream.reset_auth();
                let source = for_interactive_use(source);
                let result =
                    with_timeout(&source, INTERACTIVE_TIMEOUT, connectors::check(&source)).await;
                self.save_vendor_hints(id, &source.upstream).await?;
                (result, connectors::hint(&source))
            }
            Err(why) if why.kind() == ErrorKind::Internal || why.code() == "account_missing" => {
                return Err(why);
            }
            Err(why) => {
                return Ok(CheckResult {
                    ok: false,
                    message: why.message().to_owned(),
                    checked_at: self.clock.now(),
                });
            }
        };
        let checked_at = self.clock.now();
        let (ok, message) = match result {
            Ok(Ok(message)) => {
                self.record_health(id, Ok(&message), credentials_read_at)
                    .await?;
                (true, message)
            }
            Ok(Err(why)) => {
                self.record_health(id, Err(&why), credentials_read_at)
                    .await?;
                let hint = hint
                    .filter(|_| why == PullError::Unauthorized)
                    .map(|hint| hint.text);
                let error = vendor_error(account.connector, &why);
                let next = hint.or(error.suggested_action()).unwrap_or_default();
                (
                    false,
                    format!("{} {next}", error.message()).trim_end().to_owned(),
                )
            }
            Err(slow) => {
                let message = format!(
                    "{} {}",
                    slow.message(),
                    slow.suggested_action().unwrap_or_default()
                );
                self.write_health(id, None, &message, 0, credentials_read_at)
                    .await?;
                (false, message)
            }
        };
        Ok(CheckResult {
            ok,
            message,
            checked_at,
        })
    }

    /// The choices of a menu of this account, at most five minutes old.
    pub async fn choices(&self, actor: &Actor, id: &AccountId, menu: Menu) -> Result<Vec<Choice>> {
        let account = self.usable(actor, id).await?;
        if !account.connector.fills_menu(menu) {
            return Err(Error::field(
                "menu",
                format!(
                    "A {} account has no list of values for {}.",
                    account.connector.title(),
                    menu.label()
                ),
            ));
        }
        let key = (id.clone(), menu);
        let fresh = |at: Millis| at + MENU_TTL > self.clock.now();
        if let Some((at, known)) = self
            .menus
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            && fresh(*at)
        {
            return Ok(known.clone());
        }
        let credentials_read_at = self.clock.now();
        let mut source = self.source(id).await?;
        if menu == Menu::Tag {
            // A missing permission to read tags does not mean that the credentials are wrong.
            let trial = self.upstreams.for_trial(
                id.as_str(),
                account.connector,
                account.api_url.as_deref(),
                account.requests_per_minute,
            );
            source.upstream = trial.map_err(|why| vendor_error(account.connector, &why))?;
        }
        let source = for_interactive_use(source);
        let result = with_timeout(
            &source,
            INTERACTIVE_TIMEOUT,
            connectors::choices(&source, menu),
        )
        .await;
        self.save_vendor_hints(id, &source.upstream).await?;
        let read = match result {
            Ok(Ok(read)) => read,
            Ok(Err(why)) => {
                if matches!(why, PullError::Unauthorized) && menu != Menu::Tag {
                    self.record_health(id, Err(&why), credentials_read_at)
                        .await?;
                }
                return Err(vendor_error(account.connector, &why));
            }
            Err(slow) => return Err(slow),
        };
        let mut menus = self.menus.lock().unwrap_or_else(PoisonError::into_inner);
        if menus.len() >= MAX_MENUS {
            menus.retain(|_, (at, _)| fresh(*at));
        }
        if menus.len() >= MAX_MENUS {
            menus.clear();
        }
        menus.insert(key, (self.clock.now(), read.clone()));
        Ok(read)
    }

    /// Tests credentials that are not saved yet, after validating all fields. Returns the message
    /// of the test.
    pub async fn try_credentials(&self, actor: &Actor, new: &NewAccount) -> Result<String> {
        let checked = self.validate_new(actor, new)?;
        let upstream = self.upstreams.for_account(
            "",
            new.connector,
            checked.api_url.as_deref(),
            checked.requests_per_minute,
        );
        let trial = CredentialTrial {
            actor,
            connector: new.connector,
            has_custom_address: checked.api_url.is_some(),
            credentials: &new.credentials,
        };
        let upstream = upstream.map_err(|why| trial.error_for(why, None))?;
        let source = Source {
            connector: new.connector,
            fields: checked.fields,
            secrets: checked.secrets,
            zone: zone(&checked.time_zone),
            upstream,
        };
        try_source(source, &trial).await
    }

    /// Tests the credentials as they would be after this change. Returns the message of the test,
    /// or `None` if the change does not affect the credentials. A stored secret is only sent to the
    /// address it was entered for: a new address requires all secrets again.
    pub async fn try_change(
        &self,
        actor: &Actor,
        id: &AccountId,
        change: &ChangeAccount,
    ) -> Result<Option<String>> {
        self.get_to_change(actor, id).await?;
        let row = sqlx::query(super::SELECT)
            .bind(id)
            .fetch_optional(self.db.read())
            .await?
            .ok_or_else(|| Error::not_found("account"))?;
        let (before, sealed): (Account, Vec<u8>) =
            (account_from_row(&row)?, row.try_get("sealed")?);
        let mut after = before.clone();
        let input = self.apply_change(actor, &mut after, change)?;
        let new_fields = input
            .fields
            .iter()
            .any(|(field, value)| before.fields.get(field) != Some(value));
        if input.secrets.is_empty() && !new_fields {
            return Ok(None);
        }
        let secrets = sealed_credentials::merge(&self.vault, &before, &sealed, input.secrets)?;
        after.fields.extend(input.fields);
        let upstream = self.upstreams.for_trial(
            id.as_str(),
            after.connector,
            after.api_url.as_deref(),
            before.requests_per_minute,
        );
        let trial = CredentialTrial {
            actor,
            connector: after.connector,
            has_custom_address: after.api_url.is_some(),
            credentials: &change.credentials,
        };
        let upstream = upstream.map_err(|why| trial.error_for(why, None))?;
        let source = Source {
            connector: after.connector,
            fields: after.fields,
            secrets,
            zone: zone(&after.time_zone),
            upstream,
        };
        try_source(source, &trial).await.map(Some)
    }

    /// Saves the result of using the credentials. An error on the vendor's side does not change
    /// whether they count as valid; only its message is saved. `credentials_read_at`: when the
    /// credentials were read; they may have changed since.
    pub async fn record_health(
        &self,
        id: &AccountId,
        seen: std::result::Result<&str, &PullError>,
        credentials_read_at: Millis,
    ) -> Result<()> {
        match seen {
            Ok(message) => {
                self.write_health(id, Some("valid"), message, 0, credentials_read_at)
                    .await
            }
            Err(PullError::Cancelled) => Ok(()),
            Err(why) => {
                let Some(account) = self.find(id).await? else {
                    return Ok(());
                };
                let message = vendor_error(account.connector, why);
                let health = matches!(
                    why,
                    PullError::Unauthorized
                        | PullError::NotAllowed(_)
                        | PullError::AddressRefused { .. }
                )
                .then_some("failing");
                self.write_health(
                    id,
                    health,
                    message.message(),
                    i64::from(*why == PullError::Unauthorized),
                    credentials_read_at,
                )
                .await
            }
        }
    }

    /// Saves the vendor hints of a request, so that they survive a restart.
    pub async fn save_vendor_hints(&self, id: &AccountId, upstream: &Upstream) -> Result<()> {
        let Some(account) = self.find(id).await? else {
            return Ok(());
        };
        if !self.upstreams.is_current(id.as_str(), upstream) {
            return Ok(());
        }
        let mut hints = upstream.vendor_hints();
        hints.api_ends_on = hints.api_ends_on.or(account.vendor_hints.api_ends_on);
        // A pause is computed from the current time in milliseconds, so it is compared in seconds.
        let seconds = |hints: &VendorHints| hints.paused_until.map(|until| until / 1_000);
        if account.vendor_hints.region == hints.region
            && account.vendor_hints.api_ends_on == hints.api_ends_on
            && seconds(&account.vendor_hints) == seconds(&hints)
            && account.vendor_hints.recent_requests == hints.recent_requests
        {
            return Ok(());
        }
        if let Some(day) = hints
            .api_ends_on
            .filter(|_| account.vendor_hints.api_ends_on != hints.api_ends_on)
        {
            tracing::warn!(account = %id, %day, "the API of this account ends on this day");
        }
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE accounts
             SET paused_until = $2, region = $3, api_ends_on = $4, recent_requests = $5
             WHERE id = $1",
        )
        .bind(id)
        .bind(hints.paused_until)
        .bind(&hints.region)
        .bind(hints.api_ends_on.map(|day| day.to_string()))
        .bind(serde_json::to_string(&hints.recent_requests).map_err(Error::internal)?)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// `health` `None` leaves it unchanged. `auth_failures` is added to the number of rejections in
    /// a row, which a success resets.
    async fn write_health(
        &self,
        id: &AccountId,
        health: Option<&str>,
        message: &str,
        auth_failures: i64,
        credentials_read_at: Millis,
    ) -> Result<()> {
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE accounts
             SET
                 health = COALESCE($2, health), health_message = $3, checked_at = $4,
                 auth_failures = CASE WHEN $2 = 'valid' THEN 0 ELSE auth_failures + $5 END
             WHERE id = $1 AND updated_at <= $6",
        )
        .bind(id)
        .bind(health)
        .bind(message)
        .bind(self.clock.now())
        .bind(auth_failures)
        .bind(credentials_read_at)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// The choices of a menu that were read last, and when, of any age. The caller has checked
    /// permission for the account.
    pub fn cached_choices(&self, id: &AccountId, menu: Menu) -> Option<(Millis, Vec<Choice>)> {
        self.menus
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(id.clone(), menu))
            .cloned()
    }

    /// Clears the cache, so that the next `choices` reads the menu from the vendor.
    pub fn clear_menu_cache(&self, id: &AccountId) {
        self.menus
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(account, _), _| account != id);
    }
}

/// The time zone of an account; it was validated when it was saved.
fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// Tests credentials that were just typed.
async fn try_source(source: Source, trial: &CredentialTrial<'_>) -> Result<String> {
    let source = for_interactive_use(source);
    with_timeout(&source, INTERACTIVE_TIMEOUT, connectors::check(&source))
        .await?
        .map_err(|why| trial.error_for(why, connectors::hint(&source)))
}

/// Converts an error of the vendor for a page or an API client. Contains no address and no text of
/// the vendor except the masked text of `PullError`.
pub fn vendor_error(connector: Connector, why: &PullError) -> Error {
    let title = connector.title();
    let sentence = why.sentence(title);
    match why {
        PullError::CredentialsStopped => Error::conflict("credentials_stopped", sentence)
            .action("Enter new credentials under Accounts, or press Test there once they work."),
        PullError::Unauthorized => Error::conflict("credentials_refused", sentence)
            .action("Enter the credentials again under Accounts."),
        PullError::RateLimited { wait } => rate_limit_error(connector, *wait),
        PullError::Unavailable(cause) => {
            Error::new(ErrorKind::Unavailable, "vendor_unavailable", sentence)
                .action(advice_for(cause))
        }
        PullError::Refused { .. } => Error::conflict("vendor_refused", sentence),
        PullError::NotAllowed(_) => Error::conflict("not_allowed", sentence).action(format!(
            "Change the operator's account permission, or the plan, in {title}."
        )),
        PullError::StorageFull => Error::new(ErrorKind::Unavailable, "storage_full", sentence)
            .action("A server administrator must free disk space."),
        PullError::Malformed { .. }
        | PullError::Incomplete { .. }
        | PullError::UnexpectedRecords { .. } => {
            Error::new(ErrorKind::Unavailable, "vendor_malformed", sentence)
        }
        PullError::AddressRefused { .. } => Error::conflict("address_refused", sentence)
            .action("An admin can change the API URL of the account."),
        PullError::Cancelled => Error::new(ErrorKind::Unavailable, "cancelled", sentence),
    }
}
