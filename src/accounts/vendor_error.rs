//! Errors of a vendor as errors for pages and API clients.

use std::time::Duration;

use crate::connectors::pull_error::Cause;
use crate::connectors::{Connector, PullError};
use crate::error::{Error, ErrorKind};

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

/// Advice for a vendor that could not be reached or did not answer properly.
fn advice_for(cause: &Cause) -> &'static str {
    match cause {
        Cause::NameNotFound => {
            "Check the API URL of the account and the DNS settings of the server."
        }
        Cause::ConnectionRefused | Cause::ConnectTimeout => {
            "Check the API URL of the account and the firewall of the server."
        }
        Cause::Certificate => {
            "Check the API URL of the account, and whether a proxy replaces the certificate."
        }
        cause if cause.is_block() => {
            "The credentials were not rejected. Try again in a moment. If it fails again, a server \
             administrator must check the firewall and the proxy."
        }
        _ => "Try again in a moment.",
    }
}

/// The error for a vendor that asked for a pause, with its length if the vendor gave one.
pub(super) fn rate_limit_error(connector: Connector, wait: Option<Duration>) -> Error {
    let title = connector.title();
    let (message, next) = match wait.map(duration_text) {
        Some(span) => (
            format!("{title} limits calls and asked Chatlake to wait {span}."),
            format!("Try again in {span}."),
        ),
        None => (
            format!("{title} limits calls and asked Chatlake to wait."),
            "Try again in a minute.".to_owned(),
        ),
    };
    Error::new(ErrorKind::Unavailable, "vendor_limit", message).action(next)
}

/// "45 seconds", "3 minutes"; rounded up, so that the time is over when the person tries again.
fn duration_text(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    match seconds {
        1 => "1 second".to_owned(),
        2..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3_600)),
    }
}
