//! Validates the input for an account and reports all field errors together. `check.rs` tests the
//! credentials at the vendor.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::{
    Account, Accounts, ChangeAccount, DEFAULT_REQUESTS_PER_MINUTE, MAX_REQUESTS_PER_MINUTE,
    NewAccount, sealed_credentials,
};
use crate::auth::Actor;
use crate::connectors::Connector;
use crate::connectors::upstream::check_address;
use crate::error::{Error, Result};
use crate::secret::Secret;

impl Accounts {
    /// Validates a new account, without contacting the vendor.
    pub(super) fn validate_new(&self, actor: &Actor, new: &NewAccount) -> Result<ValidatedAccount> {
        if !actor.may_edit() {
            return Err(Error::forbidden(
                "Only editors and admins can create accounts.",
            ));
        }
        let mut wrong = Vec::new();
        let mut checked = ValidatedAccount {
            requests_per_minute: DEFAULT_REQUESTS_PER_MINUTE,
            time_zone: "UTC".to_owned(),
            ..ValidatedAccount::default()
        };
        set_or_report(&mut checked.name, Some(name(&new.name)), "name", &mut wrong);
        let input = sealed_credentials::validate_all(new.connector, &new.credentials, &mut wrong);
        (checked.fields, checked.secrets) = (input.fields, input.secrets);
        checked.api_url = self.api_url(
            actor,
            new.connector,
            None,
            new.api_url.as_deref(),
            &mut wrong,
        )?;
        set_or_report(
            &mut checked.requests_per_minute,
            new.requests_per_minute.map(per_minute),
            "requests_per_minute",
            &mut wrong,
        );
        set_or_report(
            &mut checked.time_zone,
            new.time_zone.as_deref().map(time_zone),
            "time_zone",
            &mut wrong,
        );
        if wrong.is_empty() {
            Ok(checked)
        } else {
            Err(Error::fields(wrong))
        }
    }

    /// Writes a change to `account`, except the credentials, which are returned.
    pub(super) fn apply_change(
        &self,
        actor: &Actor,
        account: &mut Account,
        change: &ChangeAccount,
    ) -> Result<sealed_credentials::CredentialsInput> {
        let mut wrong = Vec::new();
        let moved = match &change.api_url {
            Some(input) => self.change_api_url(actor, account, input.as_deref(), &mut wrong)?,
            None => false,
        };
        set_or_report(
            &mut account.name,
            change.name.as_deref().map(name),
            "name",
            &mut wrong,
        );
        set_or_report(
            &mut account.time_zone,
            change.time_zone.as_deref().map(time_zone),
            "time_zone",
            &mut wrong,
        );
        set_or_report(
            &mut account.requests_per_minute,
            change.requests_per_minute.map(per_minute),
            "requests_per_minute",
            &mut wrong,
        );
        let input = sealed_credentials::validate_changed(
            account.connector,
            &change.credentials,
            moved,
            &mut wrong,
        );
        if wrong.is_empty() {
            Ok(input)
        } else {
            Err(Error::fields(wrong))
        }
    }

    /// Changes the API URL; returns whether it is a different one.
    fn change_api_url(
        &self,
        actor: &Actor,
        account: &mut Account,
        input: Option<&str>,
        wrong: &mut Vec<(String, String)>,
    ) -> Result<bool> {
        let before = account.api_url.clone();
        account.api_url =
            self.api_url(actor, account.connector, before.as_deref(), input, wrong)?;
        Ok(account.api_url != before)
    }

    /// The API URL to store: `None` for the vendor's own.
    fn api_url(
        &self,
        actor: &Actor,
        connector: Connector,
        before: Option<&str>,
        input: Option<&str>,
        wrong: &mut Vec<(String, String)>,
    ) -> Result<Option<String>> {
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        let input = input
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(bare)
            .filter(|url| url != connector.api_url());
        if input.as_deref() == before {
            return Ok(input);
        }
        if !actor.is_admin() {
            return Err(
                Error::forbidden("Only an admin can set the API URL of an account.")
                    .action("Leave the API URL unchanged, or ask an admin."),
            );
        }
        match input
            .as_deref()
            .map(|url| check_address(connector, url, self.upstreams.allowed()))
            .transpose()
        {
            Ok(url) => Ok(url
                .map(|url| bare(url.as_str()))
                .filter(|url| url != connector.api_url())),
            Err(why) => {
                wrong.push(("api_url".to_owned(), why));
                Ok(before.map(str::to_owned))
            }
        }
    }
}

/// The validated values of a new account.
#[derive(Default)]
pub(super) struct ValidatedAccount {
    pub name: String,
    pub fields: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret>,
    pub api_url: Option<String>,
    pub requests_per_minute: u32,
    pub time_zone: String,
}

/// Stores a valid value, or adds its error to the list.
fn set_or_report<T>(
    target: &mut T,
    input: Option<std::result::Result<T, String>>,
    field: &str,
    wrong: &mut Vec<(String, String)>,
) {
    match input {
        Some(Ok(value)) => *target = value,
        Some(Err(why)) => wrong.push((field.to_owned(), why)),
        None => {}
    }
}

fn name(input: &str) -> std::result::Result<String, String> {
    let name = input.trim();
    if name.is_empty() {
        return Err("Enter a name (1 to 200 characters).".to_owned());
    }
    if name.chars().count() > 200 || !name.chars().all(crate::text::is_allowed_in_name) {
        return Err(
            "Name must be at most 200 characters, without line breaks or invisible characters."
                .to_owned(),
        );
    }
    Ok(name.to_owned())
}

fn time_zone(input: &str) -> std::result::Result<String, String> {
    let zone = TimeZone::get(input.trim())
        .map_err(|_| "Choose a time zone such as Europe/Oslo or UTC.".to_owned())?;
    Ok(zone.iana_name().unwrap_or("UTC").to_owned())
}

fn per_minute(input: i64) -> std::result::Result<u32, String> {
    let number = u32::try_from(input)
        .ok()
        .filter(|number| (1..=MAX_REQUESTS_PER_MINUTE).contains(number));
    number.ok_or_else(|| "Enter a number from 1 to 60000.".to_owned())
}
