//! Credentials between a form and the vault: validates the fields and encrypts the secret ones. The
//! encrypted text is bound to the connector and the address it was entered for, so that a
//! manipulated row cannot send it to another address.

use std::collections::BTreeMap;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Account;
use crate::connectors::Connector;
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::secret::Secret;
use crate::vault::{SealContext, Vault};

/// The maximum length of a field. No vendor's key is longer.
const MAX_LENGTH: usize = 2_000;

/// The fields of a form, split into secret and readable ones.
#[derive(Default)]
pub(super) struct CredentialsInput {
    pub fields: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret>,
}

#[derive(Deserialize)]
struct Sealed {
    connector: String,
    api_url: Option<String>,
    secrets: BTreeMap<String, Secret>,
}

/// Validates all fields of a connector. Each missing or invalid field is reported.
pub(super) fn validate_all(
    connector: Connector,
    input: &BTreeMap<String, Secret>,
    wrong: &mut Vec<(String, String)>,
) -> CredentialsInput {
    let sorted = split_fields(connector, input, wrong);
    for field in connector.fields() {
        let there = sorted.fields.contains_key(field.id) || sorted.secrets.contains_key(field.id);
        if !there && !wrong.iter().any(|(id, _)| id == field.id) {
            wrong.push((field.id.to_owned(), format!("{} is required.", field.label)));
        }
    }
    sorted
}

/// Validates the fields that change. An account with a new address requires all secrets again.
pub(super) fn validate_changed(
    connector: Connector,
    input: &BTreeMap<String, Secret>,
    moved: bool,
    wrong: &mut Vec<(String, String)>,
) -> CredentialsInput {
    let sorted = split_fields(connector, input, wrong);
    for field in connector
        .fields()
        .iter()
        .filter(|field| field.secret && moved)
    {
        if !sorted.secrets.contains_key(field.id) && !wrong.iter().any(|(id, _)| id == field.id) {
            wrong.push((
                field.id.to_owned(),
                format!("The API URL has changed. Enter the {} again.", field.label),
            ));
        }
    }
    sorted
}

fn split_fields(
    connector: Connector,
    input: &BTreeMap<String, Secret>,
    wrong: &mut Vec<(String, String)>,
) -> CredentialsInput {
    let mut sorted = CredentialsInput::default();
    for (id, value) in input {
        let Some(field) = connector.fields().iter().find(|field| field.id == id) else {
            let known: Vec<&str> = connector.fields().iter().map(|field| field.id).collect();
            wrong.push((
                "credentials".to_owned(),
                format!(
                    "{} has only these fields: {}.",
                    connector.title(),
                    known.join(" and ")
                ),
            ));
            continue;
        };
        // A password may start or end with a space. A field with only spaces is empty.
        let text = if field.secret {
            value.reveal()
        } else {
            value.reveal().trim()
        };
        if text.trim().is_empty() {
            continue;
        }
        if text.len() > MAX_LENGTH || text.chars().any(char::is_control) {
            wrong.push((
                id.clone(),
                format!(
                    "{} must be one line of at most {MAX_LENGTH} characters.",
                    field.label
                ),
            ));
        } else if field.secret {
            sorted.secrets.insert(id.clone(), Secret::new(text));
        } else {
            sorted.fields.insert(id.clone(), text.to_owned());
        }
    }
    sorted
}

/// The secret fields that start or end with a space, each with a warning: the space is part of the
/// secret, but is usually a mistake.
pub fn outer_spaces(
    connector: Connector,
    input: &BTreeMap<String, Secret>,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for field in connector.fields().iter().filter(|field| field.secret) {
        let text = input.get(field.id).map(Secret::reveal).unwrap_or_default();
        let where_it_is = match (
            text.starts_with(char::is_whitespace),
            text.ends_with(char::is_whitespace),
        ) {
            _ if text.trim().is_empty() => continue,
            (true, true) => "begins and ends with a space",
            (true, false) => "begins with a space",
            (false, true) => "ends with a space",
            (false, false) => continue,
        };
        found.push((
            field.id,
            format!(
                "{} {where_it_is}. Check whether this is correct.",
                field.label
            ),
        ));
    }
    found
}

fn seal_context(id: &AccountId) -> SealContext<'_> {
    SealContext {
        table: "accounts",
        column: "sealed",
        row: id.as_str(),
    }
}

pub(super) fn seal(
    vault: &Vault,
    id: &AccountId,
    connector: Connector,
    api_url: Option<&str>,
    secrets: &BTreeMap<String, Secret>,
) -> Result<Vec<u8>> {
    let secrets: BTreeMap<&str, &str> = secrets
        .iter()
        .map(|(id, secret)| (id.as_str(), secret.reveal()))
        .collect();
    let plain = serde_json::json!({ "connector": connector.id(), "api_url": api_url });
    // Built without a JSON tree, so that no copy of the secrets stays in memory.
    let mut text = Zeroizing::new(plain.to_string());
    text.pop();
    text.push_str(",\"secrets\":");
    text.push_str(&Zeroizing::new(
        serde_json::to_string(&secrets).map_err(Error::internal)?,
    ));
    text.push('}');
    vault.seal(text.as_bytes(), &seal_context(id))
}

/// Decrypts the secrets of an account, by field. Error `credential_damaged` if they were not
/// encrypted for exactly this account.
pub(super) fn open(
    vault: &Vault,
    account: &Account,
    sealed: &[u8],
) -> Result<BTreeMap<String, Secret>> {
    let plain = vault.open_sealed(sealed, &seal_context(&account.id))?;
    let opened: Option<Sealed> = serde_json::from_slice(&plain).ok();
    let fits = opened.filter(|opened| {
        opened.connector == account.connector.id() && opened.api_url == account.api_url
    });
    fits.map(|opened| opened.secrets).ok_or_else(|| {
        Error::conflict(
            "credential_damaged",
            "The stored credentials do not match this account: it was changed outside Chatlake.",
        )
        .action("Enter the credentials again.")
    })
}

/// The secrets after a change. The stored ones are decrypted only if one of them is needed, so that
/// entering all secrets again repairs an account with damaged credentials.
pub(super) fn merge(
    vault: &Vault,
    account: &Account,
    sealed: &[u8],
    input: BTreeMap<String, Secret>,
) -> Result<BTreeMap<String, Secret>> {
    let all = account
        .connector
        .fields()
        .iter()
        .filter(|field| field.secret)
        .all(|field| input.contains_key(field.id));
    if all {
        return Ok(input);
    }
    let mut secrets = open(vault, account, sealed)?;
    secrets.extend(input);
    Ok(secrets)
}
