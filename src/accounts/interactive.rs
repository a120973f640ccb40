//! Interactive use of an account (credentials that were just typed, or a page that waits): short
//! timeouts, and errors with advice for the person.

use std::collections::BTreeMap;
use std::time::Duration;

use super::sealed_credentials::outer_spaces;
use super::vendor_error::{rate_limit_error, vendor_error};
use crate::actor::Actor;
use crate::connectors::pull_error::Cause;
use crate::connectors::{Connector, Hint, PullError, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// A test of credentials and its context.
pub(super) struct CredentialTrial<'a> {
    pub actor: &'a Actor,
    pub connector: Connector,
    /// The account has its own API URL.
    pub has_custom_address: bool,
    /// The typed credentials.
    pub credentials: &'a BTreeMap<String, Secret>,
}

impl CredentialTrial<'_> {
    /// The error for a test that failed, attached to the form field that is probably wrong, if
    /// there is one. `hint`: the most likely mistake in credentials that were rejected.
    pub fn error_for(&self, why: PullError, hint: Option<Hint>) -> Error {
        let title = self.connector.title();
        match &why {
            PullError::Unauthorized => {
                let secret = self
                    .connector
                    .fields()
                    .iter()
                    .rev()
                    .find(|field| field.secret);
                let spaces: Vec<String> = outer_spaces(self.connector, self.credentials)
                    .into_iter()
                    .map(|(_, words)| words)
                    .collect();
                // An invisible space is the more likely mistake.
                let hint = hint.filter(|_| spaces.is_empty());
                let field = hint
                    .as_ref()
                    .map(|hint| hint.field)
                    .or(secret.map(|field| field.id))
                    .unwrap_or("credentials");
                let advice = hint.map_or_else(|| spaces.join(" "), |hint| hint.text.to_owned());
                Error::field(
                    field,
                    format!("{title} rejected these credentials. {advice}").trim_end(),
                )
            }
            PullError::Unavailable(
                Cause::NameNotFound
                | Cause::ConnectionRefused
                | Cause::ConnectTimeout
                | Cause::Certificate,
            )
            | PullError::Malformed { .. }
                if self.may_change_address() =>
            {
                Error::field(
                    "api_url",
                    format!(
                        "{} Check the API URL.",
                        vendor_error(self.connector, &why).message()
                    ),
                )
            }
            _ => vendor_error(self.connector, &why),
        }
    }

    /// Only admins see that field.
    fn may_change_address(&self) -> bool {
        self.has_custom_address && self.actor.is_admin()
    }
}

/// The total timeout of interactive requests; the HTTP client itself would retry for minutes.
pub(super) const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest pause of the vendor that an interactive request waits out.
const MAX_INTERACTIVE_WAIT: Duration = Duration::from_secs(5);

/// Prepares a source for interactive use: if the vendor asks for a long pause, requests fail at
/// once.
pub fn for_interactive_use(mut source: Source) -> Source {
    source.upstream = source.upstream.with_max_wait(MAX_INTERACTIVE_WAIT);
    source
}

/// Waits for the result of a request with this source. After `timeout`, the error says why: the
/// vendor asked for a pause, the account's rate limit is used up, or the vendor does not answer.
pub async fn with_timeout<T>(
    source: &Source,
    timeout: Duration,
    future: impl Future<Output = T>,
) -> Result<T> {
    tokio::time::timeout(timeout, future).await.map_err(|_| {
        let (gauge, stats, title) = (
            source.upstream.gauge(),
            source.upstream.call_stats(),
            source.connector.title(),
        );
        if !gauge.paused.is_zero() {
            rate_limit_error(source.connector, Some(gauge.paused))
        } else if Duration::from_millis(stats.waited_ms) > timeout / 2 {
            call_budget_error(gauge.per_minute)
        } else {
            let message = format!(
                "{title} did not answer within {} seconds.",
                timeout.as_secs()
            );
            Error::new(ErrorKind::Unavailable, "vendor_unavailable", message)
                .action("Try again in a moment.")
        }
    })
}

/// The error for an account that has used up its calls per minute.
fn call_budget_error(per_minute: u32) -> Error {
    let calls = if per_minute == 1 {
        "1 call".to_owned()
    } else {
        format!("{per_minute} calls")
    };
    Error::new(
        ErrorKind::Unavailable,
        "account_limit",
        format!("The account has reached its limit of {calls} per minute."),
    )
    .action("Try again in a minute, or raise the limit of the account.")
}
