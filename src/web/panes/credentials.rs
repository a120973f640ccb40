//! The Credentials pane: a saved account, or one that is added here. A new account is kept once the vendor has accepted it.

use super::typed::{NEW, Typed};
use super::view::{AccountChoice, CredentialField, VendorWords, Wizard};
use super::{At, For};
use crate::accounts::{Account, Health, NewAccount};
use crate::clock::Millis;
use crate::error::{Error, Kind, Result};
use crate::ids::AccountId;
use crate::secret::Secret;
use crate::web::parts::Status;
use crate::web::words;

/// A good answer of the vendor is believed for this long before Connect asks again.
const FRESH: Millis = 10 * 60 * 1_000;
/// The fields that are folded away.
const ADVANCED: [&str; 3] = ["api_url", "requests_per_minute", "account_zone"];

/// The saved account that the form names, if this person may use it at this moment; none when it names none.
pub async fn chosen(f: &For<'_>, typed: &Typed) -> Result<Option<Account>> {
    if typed.account_id.is_empty() || typed.account_id == NEW {
        return Ok(None);
    }
    let missing = || Error::not_found("account");
    let id = AccountId::parse(&typed.account_id).ok_or_else(missing)?;
    let account = f.web.accounts.usable(f.actor, &id).await?;
    if account.connector == f.connector { Ok(Some(account)) } else { Err(missing()) }
}

/// Whether the vendor accepted it lately.
pub fn is_proven(f: &For<'_>, account: &Account) -> bool {
    account.health == Health::Valid && account.checked_at.is_some_and(|at| at + FRESH > f.web.clock.now())
}

/// Asks the vendor whether the account is good, unless it said so lately.
pub async fn prove(f: &For<'_>, account: Account) -> Result<Account> {
    if is_proven(f, &account) {
        return Ok(account);
    }
    let checked = f.web.accounts.check(f.actor, &account.id).await?;
    if !checked.ok {
        return Err(Error::field("account_id", checked.message));
    }
    f.web.accounts.usable(f.actor, &account.id).await
}

/// Whether a DataSet may be saved with this account. One that is known to be good, and the one that the DataSet has already, need no
/// Connect again; of another one nobody knows whether the first run could begin, so the vendor is asked as Connect would.
pub async fn prove_to_save(f: &For<'_>, account: &Account) -> Result<()> {
    let is_kept = f.dataset.is_some_and(|dataset| dataset.account_id.as_ref() == Some(&account.id));
    if is_kept || account.health == Health::Valid { Ok(()) } else { prove(f, account.clone()).await.map(drop) }
}

/// Tries the typed credentials and keeps them as an account. From then on the form carries the account alone.
pub async fn add(f: &For<'_>, typed: &mut Typed) -> Result<Account> {
    let mut credentials = typed.secrets.clone();
    credentials.extend(typed.plain.iter().map(|(id, value)| (id.clone(), Secret::new(value.clone()))));
    let new = NewAccount {
        connector: f.connector,
        name: typed.account_name.clone(),
        credentials,
        api_url: Some(typed.api_url.trim().to_owned()).filter(|url| !url.is_empty()),
        requests_per_minute: per_minute(&typed.requests_per_minute),
        time_zone: Some(typed.account_zone.trim().to_owned()).filter(|zone| !zone.is_empty()),
    };
    let seen = f.web.accounts.try_credentials(f.actor, &new).await.map_err(in_this_form)?;
    let account = f.web.accounts.create(f.actor, &new).await.map_err(in_this_form)?;
    f.web.accounts.record_health(&account.id, Ok(&seen), f.web.clock.now()).await?;
    typed.account_id = account.id.to_string();
    typed.fill_account(f.connector);
    f.web.accounts.usable(f.actor, &account.id).await
}

/// None is the usual number. What is no number becomes one that is out of range, and is refused with the same sentence.
fn per_minute(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.is_empty() { None } else { Some(text.parse().unwrap_or(0)) }
}

/// The names that the fields have here. The address is a field that only admins see, so others read of it above the panes.
fn in_this_form(error: Error) -> Error {
    if error.kind() == Kind::Forbidden {
        return Error::conflict("api_url", error.message()).action(error.next_step().unwrap_or("Nothing was saved."));
    }
    if error.field_errors().is_empty() {
        return error;
    }
    let rename = |field: &str| match field {
        "name" => "account_name".to_owned(),
        "time_zone" => "account_zone".to_owned(),
        other => other.to_owned(),
    };
    Error::fields(error.field_errors().iter().map(|(field, why)| (rename(field), why.clone())).collect())
}

/// "Support Oslo, connected, 12 agents visible"
pub fn summary(f: &For<'_>, account: &Account) -> String {
    let clear = VendorWords::of(f.connector, account.api_url.as_deref().unwrap_or_default()).in_the_clear;
    let words = standing(f, account);
    if clear { format!("{words}, without encryption (http)") } else { words }
}

fn standing(f: &For<'_>, account: &Account) -> String {
    match account.health {
        Health::Valid if is_proven(f, account) => format!("{}, connected, {}", account.name, account.health_message),
        Health::Valid => {
            let when = account.checked_at.map(|at| words::relative(at, f.web.clock.now())).unwrap_or_default();
            format!("{}, {} {when}", account.name, account.health_message)
        }
        Health::Unknown => format!("{}, not checked", account.name),
        Health::Failing => format!("{}: {}", account.name, account.health_message),
    }
}

/// Fills the pane.
pub async fn fill(w: &mut Wizard, f: &For<'_>, typed: &Typed, account: Option<&Account>) -> Result<()> {
    let accounts: Vec<Account> = f.web.accounts.list(f.actor).await?.into_iter().filter(|a| a.connector == f.connector).collect();
    let is_first_look = typed.account_id.is_empty() && f.dataset.is_none() && typed.reached == At::Credentials;
    let proposed = accounts.iter().find(|a| is_first_look && a.health != Health::Failing).map(|a| a.id.clone());
    let selected = account.map(|a| a.id.clone()).or(proposed);
    w.new_chosen = selected.is_none() && (typed.account_id == NEW || is_first_look);
    w.adding = true;
    w.accounts = accounts.iter().map(|a| choice(f, a, selected.as_ref() == Some(&a.id))).collect();
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
    let address = accounts.iter().find(|a| selected.as_ref() == Some(&a.id)).and_then(|a| a.api_url.clone());
    w.vendor = VendorWords::of(f.connector, address.as_ref().filter(|_| !w.new_chosen).unwrap_or(&typed.api_url));
    let mut usual = Typed::default();
    usual.fill_account(f.connector);
    let is_usual = typed.api_url == usual.api_url && typed.requests_per_minute == usual.requests_per_minute && typed.account_zone == usual.account_zone;
    w.advanced_open = !is_usual || ADVANCED.iter().any(|field| !w.errors.of(field).is_empty());
    Ok(())
}

fn choice(f: &For<'_>, account: &Account, selected: bool) -> AccountChoice {
    let login = f.connector.fields().iter().find(|field| !field.secret).and_then(|field| account.fields.get(field.id));
    let owner = if account.owner_id == f.actor.user { "yours".to_owned() } else { format!("owned by {}", account.owner_name) };
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
