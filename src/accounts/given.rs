//! What somebody gave for an account, checked: every field that is wrong is told at once. The vendor's opinion is asked in `check.rs`.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::{Account, Accounts, ChangeAccount, DEFAULT_PER_MINUTE, MOST_PER_MINUTE, NewAccount, credentials};
use crate::auth::Actor;
use crate::connectors::Connector;
use crate::connectors::upstream::check_address;
use crate::error::{Error, Result};
use crate::secret::Secret;

impl Accounts {
    /// Everything about a new account but the vendor's opinion, with every wrong field at once.
    pub(super) fn checked(&self, actor: &Actor, new: &NewAccount) -> Result<CheckedAccount> {
        if !actor.may_edit() {
            return Err(Error::forbidden("Only editors and admins can create accounts."));
        }
        let mut wrong = Vec::new();
        let mut checked = CheckedAccount { requests_per_minute: DEFAULT_PER_MINUTE, time_zone: "UTC".to_owned(), ..CheckedAccount::default() };
        take(&mut checked.name, Some(name(&new.name)), "name", &mut wrong);
        let given = credentials::complete(new.connector, &new.credentials, &mut wrong);
        (checked.fields, checked.secrets) = (given.fields, given.secrets);
        checked.api_url = self.api_url(actor, new.connector, None, new.api_url.as_deref(), &mut wrong)?;
        take(&mut checked.requests_per_minute, new.requests_per_minute.map(per_minute), "requests_per_minute", &mut wrong);
        take(&mut checked.time_zone, new.time_zone.as_deref().map(time_zone), "time_zone", &mut wrong);
        if wrong.is_empty() { Ok(checked) } else { Err(Error::fields(wrong)) }
    }

    /// Puts everything but the credentials of a change into `account`, and gives those back.
    pub(super) fn applied(&self, actor: &Actor, account: &mut Account, change: &ChangeAccount) -> Result<credentials::Given> {
        let mut wrong = Vec::new();
        let moved = match &change.api_url {
            Some(given) => self.moved(actor, account, given.as_deref(), &mut wrong)?,
            None => false,
        };
        take(&mut account.name, change.name.as_deref().map(name), "name", &mut wrong);
        take(&mut account.time_zone, change.time_zone.as_deref().map(time_zone), "time_zone", &mut wrong);
        take(&mut account.requests_per_minute, change.requests_per_minute.map(per_minute), "requests_per_minute", &mut wrong);
        let given = credentials::changed(account.connector, &change.credentials, moved, &mut wrong);
        if wrong.is_empty() { Ok(given) } else { Err(Error::fields(wrong)) }
    }

    /// Takes the given address over; whether it is another one than before.
    fn moved(&self, actor: &Actor, account: &mut Account, given: Option<&str>, wrong: &mut Vec<(String, String)>) -> Result<bool> {
        let before = account.api_url.clone();
        account.api_url = self.api_url(actor, account.connector, before.as_deref(), given, wrong)?;
        Ok(account.api_url != before)
    }

    /// The address as it is kept: none for the vendor's own.
    fn api_url(
        &self,
        actor: &Actor,
        connector: Connector,
        before: Option<&str>,
        given: Option<&str>,
        wrong: &mut Vec<(String, String)>,
    ) -> Result<Option<String>> {
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        let given = given.map(str::trim).filter(|url| !url.is_empty()).map(bare).filter(|url| url != connector.api_url());
        if given.as_deref() == before {
            return Ok(given);
        }
        if !actor.is_admin() {
            return Err(Error::forbidden("Only an admin can set the API URL of an account.").action("Leave the API URL unchanged, or ask an admin."));
        }
        match given.as_deref().map(|url| check_address(connector, url, self.upstreams.allowed())).transpose() {
            Ok(url) => Ok(url.map(|url| bare(url.as_str())).filter(|url| url != connector.api_url())),
            Err(why) => {
                wrong.push(("api_url".to_owned(), why));
                Ok(before.map(str::to_owned))
            }
        }
    }
}

/// What a new account is made of, every value checked.
#[derive(Default)]
pub(super) struct CheckedAccount {
    pub name: String,
    pub fields: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret>,
    pub api_url: Option<String>,
    pub requests_per_minute: u32,
    pub time_zone: String,
}

/// Puts a checked value in its place, or what is wrong with it on the list.
fn take<T>(place: &mut T, given: Option<std::result::Result<T, String>>, field: &str, wrong: &mut Vec<(String, String)>) {
    match given {
        Some(Ok(value)) => *place = value,
        Some(Err(why)) => wrong.push((field.to_owned(), why)),
        None => {}
    }
}

fn name(given: &str) -> std::result::Result<String, String> {
    let name = given.trim();
    if name.is_empty() {
        return Err("Enter a name.".to_owned());
    }
    if name.chars().count() > 200 || !name.chars().all(crate::text::is_good_in_name) {
        return Err("Name must be at most 200 characters, without line breaks or invisible characters.".to_owned());
    }
    Ok(name.to_owned())
}

fn time_zone(given: &str) -> std::result::Result<String, String> {
    let zone = TimeZone::get(given.trim()).map_err(|_| "Choose a time zone such as Europe/Oslo or UTC.".to_owned())?;
    Ok(zone.iana_name().unwrap_or("UTC").to_owned())
}

fn per_minute(given: i64) -> std::result::Result<u32, String> {
    let number = u32::try_from(given).ok().filter(|number| (1..=MOST_PER_MINUTE).contains(number));
    number.ok_or_else(|| "Enter a number from 1 to 60000.".to_owned())
}
