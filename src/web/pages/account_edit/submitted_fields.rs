//! The submitted fields of an account.

use std::collections::BTreeMap;

use crate::accounts::DEFAULT_REQUESTS_PER_MINUTE;
use crate::connectors::Connector;
use crate::secret::Secret;

/// The submitted fields. Of a repeated name, the first value counts.
pub(super) struct AccountFields(BTreeMap<String, Secret>);

impl AccountFields {
    pub(super) fn new(fields: Vec<(String, Secret)>) -> Self {
        let mut typed = BTreeMap::new();
        for (name, value) in fields {
            typed.entry(name).or_insert(value);
        }
        Self(typed)
    }

    /// The value of a field that is not secret.
    pub(super) fn text(&self, name: &str) -> String {
        self.0
            .get(name)
            .map(|value| value.reveal().trim().to_owned())
            .unwrap_or_default()
    }

    pub(super) fn credentials(&self, connector: Connector) -> BTreeMap<String, Secret> {
        let of = |id: &str| self.0.get(&format!("credentials.{id}")).cloned();
        connector
            .fields()
            .iter()
            .filter_map(|field| Some((field.id.to_owned(), of(field.id)?)))
            .collect()
    }

    /// The requests per minute. Empty means the default; text that is not a number becomes an
    /// invalid number.
    pub(super) fn per_minute(&self) -> i64 {
        let text = self.text("requests_per_minute");
        if text.is_empty() {
            i64::from(DEFAULT_REQUESTS_PER_MINUTE)
        } else {
            text.parse().unwrap_or(0)
        }
    }

    pub(super) fn zone(&self) -> String {
        let text = self.text("account_zone");
        if text.is_empty() {
            "UTC".to_owned()
        } else {
            text
        }
    }

    pub(super) fn api_url(&self) -> Option<String> {
        Some(self.text("api_url")).filter(|url| !url.is_empty())
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
