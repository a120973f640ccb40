//! Using an account: who may, opening its credentials, proving them, and reading the menus that the vendor fills. The puller calls
//! `source` each time anew, so that a changed or deleted account counts at once.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Serialize;
use sqlx::Row;

use super::advice::{Tried, asked_to_wait, hurried, next_step, within};
use super::{Account, Accounts, ChangeAccount, NewAccount, account, credentials, is_visible};
use crate::auth::Actor;
use crate::clock::Millis;
use crate::connectors::report::Menu;
use crate::connectors::upstream::{MAX_REFUSALS, Told, Upstream};
use crate::connectors::{self, Choice, Connector, PullError, Source};
use crate::error::{Error, Kind, Result};
use crate::ids::{AccountId, UserId};

/// What a menu offered is believed for this long.
const MENU_FOR: Millis = 5 * 60 * 1_000;
/// At most so many menus are remembered.
const MOST_MENUS: usize = 200;
/// Somebody waits in front of a page; the client itself would go on trying for minutes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the vendor said to the credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub ok: bool,
    pub message: String,
    pub checked_at: Millis,
}

impl Accounts {
    /// The account, if this person may pull with it just now. Attaching it to a DataSet, testing, previewing and running ask here.
    pub async fn usable(&self, actor: &Actor, id: &AccountId) -> Result<Account> {
        let found = self.find(id).await?.filter(|account| actor.may_run() && is_visible(actor, account));
        found.ok_or_else(|| Error::not_found("account"))
    }

    /// Whether DataSets of this person may be pulled with an account: it is the person's own, it is shared, or the person is an admin. Error:
    /// `account_not_shared`. An account that is gone is not judged here: `source` says so.
    pub async fn feeds(&self, id: &AccountId, owner: &UserId) -> Result<()> {
        let may: Option<i64> = sqlx::query_scalar(
            "SELECT CASE WHEN a.shared = 1 OR a.owner_id = u.id OR u.role = 'admin' THEN 1 ELSE 0 END FROM accounts a JOIN users u ON u.id = $2 WHERE a.id = $1",
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

    /// How many DataSets stop updating when this account is not shared: those of people who are neither its owner nor admins.
    pub async fn count_of_others(&self, id: &AccountId) -> Result<i64> {
        Ok(sqlx::query_scalar(
            "SELECT COUNT(*) FROM datasets d JOIN accounts a ON a.id = d.account_id JOIN users u ON u.id = d.owner_id \
             WHERE a.id = $1 AND d.owner_id <> a.owner_id AND u.role <> 'admin'",
        )
        .bind(id)
        .fetch_one(self.db.read())
        .await?)
    }

    /// The account as a connector needs it. Errors: `account_missing`, `credential_damaged`, `credentials_stopped`, `address_refused`;
    /// none of them sends anything, and there is no other account to fall back to.
    pub async fn source(&self, id: &AccountId) -> Result<Source> {
        let (account, source) = self.opened(id).await?;
        if account.is_stopped() {
            return Err(Error::conflict(
                "credentials_stopped",
                format!(
                    "{} rejected the credentials of “{}” {} times in a row. Chatlake stopped using them.",
                    account.connector.title(),
                    account.name,
                    MAX_REFUSALS
                ),
            )
            .action(format!("The owner of the account “{}” must enter new credentials under Accounts, or press Test there once they work.", account.name)));
        }
        Ok(source)
    }

    async fn opened(&self, id: &AccountId) -> Result<(Account, Source)> {
        let row = sqlx::query(super::SELECT).bind(id).fetch_optional(self.db.read()).await?;
        let Some(row) = row else {
            return Err(Error::conflict("account_missing", "The account of this DataSet was deleted.").action("Choose another account under Settings."));
        };
        let (account, sealed): (Account, Vec<u8>) = (account(&row)?, row.try_get("sealed")?);
        let secrets = match credentials::open(&self.vault, &account, &sealed) {
            Ok(secrets) => secrets,
            Err(damaged) => {
                self.write_health(id, Some("failing"), damaged.message(), 0, self.clock.now()).await?;
                return Err(damaged);
            }
        };
        let upstream = self
            .upstreams
            .for_account(id.as_str(), account.connector, account.api_url.as_deref(), account.requests_per_minute)
            .map_err(|why| vendor_error(account.connector, &why));
        let upstream = match upstream {
            Ok(upstream) => upstream,
            Err(refused) => {
                self.write_health(id, Some("failing"), refused.message(), 0, self.clock.now()).await?;
                return Err(refused);
            }
        };
        upstream.recall(&account.told);
        let source = Source { connector: account.connector, fields: account.fields.clone(), secrets, zone: zone(&account.time_zone), upstream };
        Ok((account, source))
    }

    /// Asks the vendor whether the stored credentials are good, and keeps the answer as the account's health.
    pub async fn check(&self, actor: &Actor, id: &AccountId) -> Result<Checked> {
        let account = self.get(actor, id).await?;
        if !actor.may_edit() {
            return Err(Error::forbidden("You can see this account but not test it."));
        }
        let asked_at = self.clock.now();
        let (asked, hint) = match self.opened(id).await {
            Ok((_, source)) => {
                source.upstream.trust_again();
                let source = hurried(source);
                let asked = within(&source, PATIENCE, connectors::check(&source)).await;
                self.keep_told(id, &source.upstream).await?;
                (asked, connectors::hint(&source))
            }
            Err(why) if why.kind() == Kind::Internal || why.code() == "account_missing" => return Err(why),
            Err(why) => return Ok(Checked { ok: false, message: why.message().to_owned(), checked_at: self.clock.now() }),
        };
        let checked_at = self.clock.now();
        let (ok, message) = match asked {
            Ok(Ok(message)) => {
                self.record_health(id, Ok(&message), asked_at).await?;
                (true, message)
            }
            Ok(Err(why)) => {
                self.record_health(id, Err(&why), asked_at).await?;
                let hint = hint.filter(|_| why == PullError::Unauthorized).map(|hint| hint.text);
                let told = vendor_error(account.connector, &why);
                let next = hint.or(told.next_step()).unwrap_or_default();
                (false, format!("{} {next}", told.message()).trim_end().to_owned())
            }
            Err(slow) => {
                let message = format!("{} {}", slow.message(), slow.next_step().unwrap_or_default());
                self.write_health(id, None, &message, 0, asked_at).await?;
                (false, message)
            }
        };
        Ok(Checked { ok, message, checked_at })
    }

    /// What a menu of this account offers, at most five minutes old.
    pub async fn choices(&self, actor: &Actor, id: &AccountId, menu: Menu) -> Result<Vec<Choice>> {
        let account = self.usable(actor, id).await?;
        if !account.connector.lists(menu) {
            return Err(Error::field("menu", format!("A {} account has no list of values for {}.", account.connector.title(), menu.label())));
        }
        let key = (id.clone(), menu);
        let fresh = |at: Millis| at + MENU_FOR > self.clock.now();
        if let Some((at, known)) = self.menus.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && fresh(*at)
        {
            return Ok(known.clone());
        }
        let asked_at = self.clock.now();
        let mut source = self.source(id).await?;
        if menu == Menu::Tag {
            // That somebody may not read the tags says nothing about the credentials.
            let aside = self.upstreams.aside(id.as_str(), account.connector, account.api_url.as_deref(), account.requests_per_minute);
            source.upstream = aside.map_err(|why| vendor_error(account.connector, &why))?;
        }
        let source = hurried(source);
        let asked = within(&source, PATIENCE, connectors::choices(&source, menu)).await;
        self.keep_told(id, &source.upstream).await?;
        let read = match asked {
            Ok(Ok(read)) => read,
            Ok(Err(why)) => {
                if matches!(why, PullError::Unauthorized) && menu != Menu::Tag {
                    self.record_health(id, Err(&why), asked_at).await?;
                }
                return Err(vendor_error(account.connector, &why));
            }
            Err(slow) => return Err(slow),
        };
        let mut menus = self.menus.lock().unwrap_or_else(PoisonError::into_inner);
        if menus.len() >= MOST_MENUS {
            menus.retain(|_, (at, _)| fresh(*at));
        }
        if menus.len() >= MOST_MENUS {
            menus.clear();
        }
        menus.insert(key, (self.clock.now(), read.clone()));
        Ok(read)
    }

    /// Asks the vendor about credentials that are not saved yet, and says what it saw. All fields are checked first.
    pub async fn try_credentials(&self, actor: &Actor, new: &NewAccount) -> Result<String> {
        let checked = self.checked(actor, new)?;
        let upstream = self.upstreams.for_account("", new.connector, checked.api_url.as_deref(), checked.requests_per_minute);
        let tried = Tried { actor, connector: new.connector, own_address: checked.api_url.is_some(), credentials: &new.credentials };
        let upstream = upstream.map_err(|why| tried.refused(why, None))?;
        let source = Source { connector: new.connector, fields: checked.fields, secrets: checked.secrets, zone: zone(&checked.time_zone), upstream };
        try_source(source, &tried).await
    }

    /// Asks the vendor about the credentials as they would be after this change, and says what it saw; none when the change leaves
    /// them alone. A stored secret goes only where it was entered for: another address needs every secret again.
    pub async fn try_change(&self, actor: &Actor, id: &AccountId, change: &ChangeAccount) -> Result<Option<String>> {
        self.get_to_change(actor, id).await?;
        let row = sqlx::query(super::SELECT).bind(id).fetch_optional(self.db.read()).await?.ok_or_else(|| Error::not_found("account"))?;
        let (before, sealed): (Account, Vec<u8>) = (account(&row)?, row.try_get("sealed")?);
        let mut after = before.clone();
        let given = self.applied(actor, &mut after, change)?;
        let new_fields = given.fields.iter().any(|(field, value)| before.fields.get(field) != Some(value));
        if given.secrets.is_empty() && !new_fields {
            return Ok(None);
        }
        let secrets = credentials::merge(&self.vault, &before, &sealed, given.secrets)?;
        after.fields.extend(given.fields);
        let upstream = self.upstreams.aside(id.as_str(), after.connector, after.api_url.as_deref(), before.requests_per_minute);
        let tried = Tried { actor, connector: after.connector, own_address: after.api_url.is_some(), credentials: &change.credentials };
        let upstream = upstream.map_err(|why| tried.refused(why, None))?;
        let source = Source { connector: after.connector, fields: after.fields, secrets, zone: zone(&after.time_zone), upstream };
        try_source(source, &tried).await.map(Some)
    }

    /// Keeps what a use of the account told about its credentials. Trouble on the vendor's side says nothing about them: it is
    /// noted and leaves them as good or bad as they were. `asked_at`: when the credentials were taken up; others may have come since.
    pub async fn record_health(&self, id: &AccountId, seen: std::result::Result<&str, &PullError>, asked_at: Millis) -> Result<()> {
        match seen {
            Ok(message) => self.write_health(id, Some("valid"), message, 0, asked_at).await,
            Err(PullError::Cancelled) => Ok(()),
            Err(why) => {
                let Some(account) = self.find(id).await? else { return Ok(()) };
                let message = vendor_error(account.connector, why);
                let health = matches!(why, PullError::Unauthorized | PullError::NotAllowed(_) | PullError::Forbidden { .. }).then_some("failing");
                self.write_health(id, health, message.message(), i64::from(*why == PullError::Unauthorized), asked_at).await
            }
        }
    }

    /// Keeps what the vendor has told while it was asked, so that a restart changes nothing.
    pub async fn keep_told(&self, id: &AccountId, upstream: &Upstream) -> Result<()> {
        let Some(account) = self.find(id).await? else { return Ok(()) };
        if !self.upstreams.is_current(id.as_str(), upstream) {
            return Ok(());
        }
        let mut told = upstream.told();
        told.ends_on = told.ends_on.or(account.told.ends_on);
        // A pause is told in milliseconds from a moment that goes on.
        let seconds = |told: &Told| told.paused_until.map(|until| until / 1_000);
        if account.told.region == told.region
            && account.told.ends_on == told.ends_on
            && seconds(&account.told) == seconds(&told)
            && account.told.asked == told.asked
        {
            return Ok(());
        }
        if let Some(day) = told.ends_on.filter(|_| account.told.ends_on != told.ends_on) {
            tracing::warn!(account = %id, %day, "the API of this account ends on this day");
        }
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE accounts SET paused_until = $2, region = $3, api_ends_on = $4, asked = $5 WHERE id = $1")
            .bind(id)
            .bind(told.paused_until)
            .bind(&told.region)
            .bind(told.ends_on.map(|day| day.to_string()))
            .bind(serde_json::to_string(&told.asked).map_err(Error::internal)?)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// `health` none keeps it. `refusals` is added to the count in a row, which a good use resets.
    async fn write_health(&self, id: &AccountId, health: Option<&str>, message: &str, refusals: i64, asked_at: Millis) -> Result<()> {
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE accounts SET health = COALESCE($2, health), health_message = $3, checked_at = $4, \
             auth_failures = CASE WHEN $2 = 'valid' THEN 0 ELSE auth_failures + $5 END WHERE id = $1 AND updated_at <= $6",
        )
        .bind(id)
        .bind(health)
        .bind(message)
        .bind(self.clock.now())
        .bind(refusals)
        .bind(asked_at)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// What `choices` read last of a menu, and when, however long ago. The caller has checked the right to the account.
    pub fn remembered(&self, id: &AccountId, menu: Menu) -> Option<(Millis, Vec<Choice>)> {
        self.menus.lock().unwrap_or_else(PoisonError::into_inner).get(&(id.clone(), menu)).cloned()
    }

    /// The next `choices` asks the vendor again.
    pub fn forget_menus(&self, id: &AccountId) {
        self.menus.lock().unwrap_or_else(PoisonError::into_inner).retain(|(account, _), _| account != id);
    }
}

/// The zone of an account, which was checked when it was saved.
fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// Asks with credentials that somebody has just typed.
async fn try_source(source: Source, tried: &Tried<'_>) -> Result<String> {
    let source = hurried(source);
    within(&source, PATIENCE, connectors::check(&source)).await?.map_err(|why| tried.refused(why, connectors::hint(&source)))
}

/// Why a vendor could not be asked, for whoever waits in front of a page or a program. Carries no address and no vendor's text but
/// what `PullError` holds masked.
pub fn vendor_error(connector: Connector, why: &PullError) -> Error {
    let title = connector.title();
    let sentence = why.sentence(title);
    match why {
        PullError::Withheld => {
            Error::conflict("credentials_stopped", sentence).action("Enter new credentials under Accounts, or press Test there once they work.")
        }
        PullError::Unauthorized => Error::conflict("credentials_refused", sentence).action("Enter the credentials again under Accounts."),
        PullError::RateLimited { wait } => asked_to_wait(connector, *wait),
        PullError::Unavailable(cause) => Error::new(Kind::Unavailable, "vendor_unavailable", sentence).action(next_step(cause)),
        PullError::Refused { .. } => Error::conflict("vendor_refused", sentence),
        PullError::NotAllowed(_) => {
            Error::conflict("not_allowed", sentence).action(format!("Change the operator's account permission, or the plan, in {title}."))
        }
        PullError::NoRoom => Error::new(Kind::Unavailable, "storage_full", sentence).action("A server administrator must free disk space."),
        PullError::Malformed { .. } | PullError::Incomplete { .. } | PullError::UnexpectedRecords { .. } => {
            Error::new(Kind::Unavailable, "vendor_malformed", sentence)
        }
        PullError::Forbidden { .. } => Error::conflict("address_refused", sentence).action("An admin can change the API URL of the account."),
        PullError::Cancelled => Error::new(Kind::Unavailable, "cancelled", sentence),
    }
}
