//! Credentials between a form and the vault: which fields there must be, and how the secret ones are sealed. What is sealed names the
//! connector and the address it was entered for, so that a changed row cannot send it elsewhere.

use std::collections::BTreeMap;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Account;
use crate::connectors::Connector;
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::secret::Secret;
use crate::vault::{Place, Vault};

/// No vendor's key is longer.
const LONGEST: usize = 2_000;

/// The fields of a form, sorted by whether they are shown again.
#[derive(Default)]
pub(super) struct Given {
    pub fields: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret>,
}

#[derive(Deserialize)]
struct Sealed {
    connector: String,
    api_url: Option<String>,
    secrets: BTreeMap<String, Secret>,
}

/// All the fields of a connector; each one that is missing or odd is told.
pub(super) fn complete(connector: Connector, given: &BTreeMap<String, Secret>, wrong: &mut Vec<(String, String)>) -> Given {
    let sorted = sort(connector, given, wrong);
    for field in connector.fields() {
        let there = sorted.fields.contains_key(field.id) || sorted.secrets.contains_key(field.id);
        if !there && !wrong.iter().any(|(id, _)| id == field.id) {
            wrong.push((field.id.to_owned(), format!("{} is required.", field.label)));
        }
    }
    sorted
}

/// Those fields that are to change. An account that moves to another address needs every secret again.
pub(super) fn changed(connector: Connector, given: &BTreeMap<String, Secret>, moved: bool, wrong: &mut Vec<(String, String)>) -> Given {
    let sorted = sort(connector, given, wrong);
    for field in connector.fields().iter().filter(|field| field.secret && moved) {
        if !sorted.secrets.contains_key(field.id) && !wrong.iter().any(|(id, _)| id == field.id) {
            wrong.push((field.id.to_owned(), format!("The API URL has changed. Enter the {} again.", field.label)));
        }
    }
    sorted
}

fn sort(connector: Connector, given: &BTreeMap<String, Secret>, wrong: &mut Vec<(String, String)>) -> Given {
    let mut sorted = Given::default();
    for (id, value) in given {
        let Some(field) = connector.fields().iter().find(|field| field.id == id) else {
            let known: Vec<&str> = connector.fields().iter().map(|field| field.id).collect();
            wrong.push(("credentials".to_owned(), format!("{} has only these fields: {}.", connector.title(), known.join(" and "))));
            continue;
        };
        // A password may begin or end with a space. A field that holds nothing else is empty.
        let text = if field.secret { value.reveal() } else { value.reveal().trim() };
        if text.trim().is_empty() {
            continue;
        }
        if text.len() > LONGEST || text.chars().any(char::is_control) {
            wrong.push((id.clone(), format!("{} must be one line of at most {LONGEST} characters.", field.label)));
        } else if field.secret {
            sorted.secrets.insert(id.clone(), Secret::new(text));
        } else {
            sorted.fields.insert(id.clone(), text.to_owned());
        }
    }
    sorted
}

/// The secret fields that begin or end with a space, each with a sentence about it: the space counts, and few people mean it.
pub fn outer_spaces(connector: Connector, given: &BTreeMap<String, Secret>) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for field in connector.fields().iter().filter(|field| field.secret) {
        let text = given.get(field.id).map(Secret::reveal).unwrap_or_default();
        let where_it_is = match (text.starts_with(char::is_whitespace), text.ends_with(char::is_whitespace)) {
            _ if text.trim().is_empty() => continue,
            (true, true) => "begins and ends with a space",
            (true, false) => "begins with a space",
            (false, true) => "ends with a space",
            (false, false) => continue,
        };
        found.push((field.id, format!("{} {where_it_is}. Check whether this is correct.", field.label)));
    }
    found
}

fn place(id: &AccountId) -> Place<'_> {
    Place { table: "accounts", column: "sealed", row: id.as_str() }
}

pub(super) fn seal(vault: &Vault, id: &AccountId, connector: Connector, api_url: Option<&str>, secrets: &BTreeMap<String, Secret>) -> Result<Vec<u8>> {
    let secrets: BTreeMap<&str, &str> = secrets.iter().map(|(id, secret)| (id.as_str(), secret.reveal())).collect();
    let plain = serde_json::json!({ "connector": connector.id(), "api_url": api_url });
    // Written by hand around the secrets, so that no copy of them stays behind in a JSON tree.
    let mut text = Zeroizing::new(plain.to_string());
    text.pop();
    text.push_str(",\"secrets\":");
    text.push_str(&Zeroizing::new(serde_json::to_string(&secrets).map_err(Error::internal)?));
    text.push('}');
    vault.seal(text.as_bytes(), &place(id))
}

/// The secrets of an account, by field; `credential_damaged` when they were not sealed for exactly this account.
pub(super) fn open(vault: &Vault, account: &Account, sealed: &[u8]) -> Result<BTreeMap<String, Secret>> {
    let plain = vault.open_sealed(sealed, &place(&account.id))?;
    let opened: Option<Sealed> = serde_json::from_slice(&plain).ok();
    let fits = opened.filter(|opened| opened.connector == account.connector.id() && opened.api_url == account.api_url);
    fits.map(|opened| opened.secrets).ok_or_else(|| {
        Error::conflict("credential_damaged", "The stored credentials do not match this account: it was changed outside Chatlake.")
            .action("Enter the credentials again.")
    })
}

/// The secrets after a change. Those that are there are opened only when one of them is needed, so that entering all of them anew
/// heals an account whose credentials are damaged.
pub(super) fn merge(vault: &Vault, account: &Account, sealed: &[u8], given: BTreeMap<String, Secret>) -> Result<BTreeMap<String, Secret>> {
    let all = account.connector.fields().iter().filter(|field| field.secret).all(|field| given.contains_key(field.id));
    if all {
        return Ok(given);
    }
    let mut secrets = open(vault, account, sealed)?;
    secrets.extend(given);
    Ok(secrets)
}
