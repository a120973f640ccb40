//! The Credentials pane: select a saved account or add one. A new account is saved only after the
//! vendor has accepted it.

use super::form_fields::{FormFields, NEW};
use super::view::{AccountChoice, CredentialField, VendorNotes, Wizard};
use super::{FormContext, Pane};
use crate::accounts::{Account, Health, NewAccount};
use crate::clock::Millis;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::AccountId;
use crate::secret::Secret;
use crate::web::components::Status;
use crate::web::humanize;

/// How long a successful check of the credentials stays valid.
const VERIFIED_FOR: Millis = 10 * 60 * 1_000;
/// The fields in the collapsed section.
const ADVANCED: [&str; 3] = ["api_url", "requests_per_minute", "account_zone"];

/// The selected account, if this person may use it now. `None` if none is selected.
pub async fn chosen(f: &FormContext<'_>, typed: &FormFields) -> Result<Option<Account>> {
    if typed.account_id.is_empty() || typed.account_id == NEW {
        return Ok(None);
    }
    let missing = || Error::not_found("account");
    let id = AccountId::parse(&typed.account_id).ok_or_else(missing)?;
    let account = f.web.accounts.usable(f.actor, &id).await?;
    if account.connector == f.connector {
        Ok(Some(account))
    } else {
        Err(missing())
    }
}

/// Whether the vendor has accepted the account recently.
pub fn is_recently_verified(f: &FormContext<'_>, account: &Account) -> bool {
    account.health == Health::Valid
        && account
            .checked_at
            .is_some_and(|at| at + VERIFIED_FOR > f.web.clock.now())
}

/// Checks the account with the vendor, unless it was accepted recently.
pub async fn verify(f: &FormContext<'_>, account: Account) -> Result<Account> {
    if is_recently_verified(f, &account) {
        return Ok(account);
    }
    let checked = f.web.accounts.check(f.actor, &account.id).await?;
    if !checked.ok {
        return Err(Error::field("account_id", checked.message));
    }
    f.web.accounts.usable(f.actor, &account.id).await
}

/// Checks whether a DataSet may be saved with this account. Valid accounts and the DataSet's
/// current account are not checked again. Any other account is tested with the vendor, as by
/// Connect, because it is unknown whether a run could start.
pub async fn verify_for_saving(f: &FormContext<'_>, account: &Account) -> Result<()> {
    let is_kept = f
        .dataset
        .is_some_and(|dataset| dataset.account_id.as_ref() == Some(&account.id));
    if is_kept || account.health == Health::Valid {
        Ok(())
    } else {
        verify(f, account.clone()).await.map(drop)
    }
}

/// Checks the submitted credentials and saves them as an account. The form then contains only the
/// id of the account.
pub async fn add(f: &FormContext<'_>, typed: &mut FormFields) -> Result<Account> {
    let mut credentials = typed.secrets.clone();
    credentials.extend(
        typed
            .plain
            .iter()
            .map(|(id, value)| (id.clone(), Secret::new(value.clone()))),
    );
    let new = NewAccount {
        connector: f.connector,
        name: typed.account_name.clone(),
        credentials,
        api_url: Some(typed.api_url.trim().to_owned()).filter(|url| !url.is_empty()),
        requests_per_minute: per_minute(&typed.requests_per_minute),
        time_zone: Some(typed.account_zone.trim().to_owned()).filter(|zone| !zone.is_empty()),
    };
    let seen = f
        .web
        .accounts
        .try_credentials(f.actor, &new)
        .await
        .map_err(with_form_field_names)?;
    let account = f
        .web
        .accounts
        .create(f.actor, &new)
        .await
        .map_err(with_form_field_names)?;
    f.web
        .accounts
        .record_health(&account.id, Ok(&seen), f.web.clock.now())
        .await?;
    typed.account_id = account.id.to_string();
    typed.fill_account(f.connector);
    f.web.accounts.usable(f.actor, &account.id).await
}

/// The requests per minute. `None` means the default; text that is not a number becomes a number
/// out of range, and gets the same error.
fn per_minute(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.is_empty() {
        None
    } else {
        Some(text.parse().unwrap_or(0))
    }
}

/// Converts the field names of an error to those of this form. Only admins see the address field,
/// so for other people the error is shown above the panes.
fn with_form_field_names(error: Error) -> Error {
    if error.kind() == ErrorKind::Forbidden {
        return Error::conflict("api_url", error.message())
            .action(error.suggested_action().unwrap_or("Nothing was saved."));
    }
    if error.field_errors().is_empty() {
        return error;
    }
    let rename = |field: &str| match field {
        "name" => "account_name".to_owned(),
        "time_zone" => "account_zone".to_owned(),
        other => other.to_owned(),
    };
    Error::fields(
        error
            .field_errors()
            .iter()
            .map(|(field, why)| (rename(field), why.clone()))
            .collect(),
    )
}

/// The summary: "Support Oslo, connected, 12 agents visible".
pub fn summary(f: &FormContext<'_>, account: &Account) -> String {
    let is_plain_http =
        VendorNotes::of(f.connector, account.api_url.as_deref().unwrap_or_default())
            .over_plain_http;
    let words = health_text(f, account);
    if is_plain_http {
        format!("{words}, without encryption (http)")
    } else {
        words
    }
}

fn health_text(f: &FormContext<'_>, account: &Account) -> String {
    match account.health {
        Health::Valid if is_recently_verified(f, account) => {
            format!("{}, connected, {}", account.name, account.health_message)
        }
        Health::Valid => {
            let when = account
                .checked_at
                .map(|at| humanize::relative(at, f.web.clock.now()))
                .unwrap_or_default();
            format!("{}, {} {when}", account.name, account.health_message)
        }
        Health::Unknown => format!("{}, not checked", account.name),
        Health::Failing => format!("{}: {}", account.name, account.health_message),
    }
}

/// Renders the pane into the wizard.
pub async fn render(
    w: &mut Wizard,
    f: &FormContext<'_>,
    typed: &FormFields,
    account: Option<&Account>,
) -> Result<()> {
    let accounts: Vec<Account> = f
        .web
        .accounts
        .list(f.actor)
        .await?
        .into_iter()
        .filter(|a| a.connector == f.connector)
        .collect();
    let is_first_visit =
        typed.account_id.is_empty() && f.dataset.is_none() && typed.reached == Pane::Credentials;
    let proposed = accounts
        .iter()
        .find(|a| is_first_visit && a.health != Health::Failing)
        .map(|a| a.id.clone());
    let selected = account.map(|a| a.id.clone()).or(proposed);
    w.new_chosen = selected.is_none() && (typed.account_id == NEW || is_first_visit);
    w.adding = true;
    w.accounts = accounts
        .iter()
        .map(|a| choice(f, a, selected.as_ref() == Some(&a.id)))
        .collect();
    w.account_name.clone_from(&typed.account_name);
    w.credential_fields = f
        .connector
        .fields()
        .iter()
        .map(|field| CredentialField {
            id: field.id.to_owned(),
            label: field.label.to_owned(),
            help: field.help.to_owned(),
            secret: field.secret,
            value: typed.plain.get(field.id).cloned().unwrap_or_default(),
        })
        .collect();
    w.api_url.clone_from(&typed.api_url);
    w.requests_per_minute.clone_from(&typed.requests_per_minute);
    w.account_zone.clone_from(&typed.account_zone);
    let address = accounts
        .iter()
        .find(|a| selected.as_ref() == Some(&a.id))
        .and_then(|a| a.api_url.clone());
    w.vendor = VendorNotes::of(
        f.connector,
        address
            .as_ref()
            .filter(|_| !w.new_chosen)
            .unwrap_or(&typed.api_url),
    );
    let mut usual = FormFields::default();
    usual.fill_account(f.connector);
    let is_usual = typed.api_url == usual.api_url
        && typed.requests_per_minute == usual.requests_per_minute
        && typed.account_zone == usual.account_zone;
    w.advanced_open = !is_usual || ADVANCED.iter().any(|field| !w.errors.of(field).is_empty());
    Ok(())
}

fn choice(f: &FormContext<'_>, account: &Account, selected: bool) -> AccountChoice {
    let login = f
        .connector
        .fields()
        .iter()
        .find(|field| !field.secret)
        .and_then(|field| account.fields.get(field.id));
    let owner = if account.owner_id == f.actor.user {
        "yours".to_owned()
    } else {
        format!("owned by {}", account.owner_name)
    };
    let status = match account.health {
        Health::Valid => Status::new("good", false, "Valid", ""),
        Health::Failing => Status::new("bad", false, "Rejected", ""),
        Health::Unknown => Status::new("", true, "Not checked", ""),
    };
    AccountChoice {
        id: account.id.to_string(),
        name: account.name.clone(),
        line: login.map_or_else(|| owner.clone(), |login| format!("{login}, {owner}")),
        selected,
        status,
    }
}
