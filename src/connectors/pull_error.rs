//! The errors of a pull, grouped by how the puller reacts.

use std::time::Duration;

use super::Window;
use super::upstream::MAX_AUTH_FAILURES;

/// Why a pull stopped. Contains no query string, no body of the vendor and no secret.
#[derive(Clone, Debug, PartialEq)]
pub enum PullError {
    /// Stop: the account needs new credentials.
    Unauthorized,
    /// Stop: no request was sent, because the vendor rejected these credentials too many times in a
    /// row.
    CredentialsStopped,
    /// The run becomes `waiting` for this time without using up a retry. `None`: the vendor gave no
    /// time.
    RateLimited { wait: Option<Duration> },
    /// Retry with growing delays, up to the limit.
    Unavailable(Cause),
    /// Stop: the request itself is wrong. `vendor_message` is at most 200 characters, masked and
    /// escaped.
    Refused { status: u16, vendor_message: String },
    /// Stop: the answer cannot be read at this location.
    Malformed { at: ResponseLocation, why: String },
    /// Stop: the window is incomplete, and an incomplete window must not be committed.
    Incomplete { window: Window, have: u64, of: u64 },
    /// Stop: too many records were rejected. They have another shape, or no value in the report's
    /// key.
    UnexpectedRecords { rejected: u64, of: u64 },
    /// Stop: the credentials are valid but lack this permission, which must be changed at the
    /// vendor.
    NotAllowed(MissingAccess),
    /// Stop: this server's disk is full.
    StorageFull,
    /// Stop: connecting to this address is not allowed.
    AddressRefused { why: String },
    /// A person cancelled the run, the lease was lost, or the server is stopping.
    Cancelled,
}

/// What valid credentials do not have access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingAccess {
    /// The person of the credentials lacks a permission.
    Permission,
    /// The workspace's plan does not include it.
    Plan,
}

/// Why the vendor could not be reached or did not answer properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    NameNotFound,
    ConnectionRefused,
    ConnectTimeout,
    FirstByteTimeout,
    NoProgress,
    TooSlow,
    /// In one full minute, fewer bytes of the answer were received than the minimum.
    BelowMinRate {
        received: u64,
        min: u64,
    },
    ConnectionCut,
    Certificate,
    /// A server error of the vendor, by its status.
    Status(u16),
    /// The answer was a web page with this status: from a firewall, a proxy, a sign-in page or a
    /// challenge.
    WebPage(u16),
    /// The answer was a redirect with this status. Chatlake does not follow it.
    Redirected(u16),
    /// The request was denied with this status, without a reason in the vendor's format.
    Denied(u16),
    /// A proxy between this server and the vendor requires credentials (status 407).
    ProxyCredentials,
    /// The credentials were rejected with this status, but the auth check right after it did not
    /// confirm that.
    Unconfirmed(u16),
    /// The status is no error, but the answer has no data, or reports no data where some must
    /// exist.
    NoData(u16),
}

/// The location of an error in a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseLocation {
    /// The path below the vendor's root, without the query.
    pub path: String,
    /// The page number, from 1; 0 if there are no pages.
    pub page: u64,
}

impl Cause {
    /// Whether a firewall, a proxy or a sign-in page answered instead of the vendor.
    pub fn is_block(&self) -> bool {
        matches!(
            self,
            Self::WebPage(_) | Self::Redirected(_) | Self::Denied(_) | Self::ProxyCredentials
        )
    }
}

impl std::fmt::Display for ResponseLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.page {
            0 => write!(f, "{}", self.path),
            page => write!(f, "{}, page {page}", self.path),
        }
    }
}

impl Cause {
    /// What happened, as one or two sentences that name the system.
    pub fn sentence(&self, vendor: &str) -> String {
        match self {
            Cause::NameNotFound => format!("Could not reach {vendor}: host not found."),
            Cause::ConnectionRefused => {
                format!("Could not reach {vendor}: the connection was refused.")
            }
            Cause::ConnectTimeout => {
                format!("Could not reach {vendor}: no connection within 10 seconds.")
            }
            Cause::FirstByteTimeout => format!("{vendor} did not answer within 60 seconds."),
            Cause::NoProgress => format!("{vendor} stopped sending data for 60 seconds."),
            Cause::TooSlow => format!("{vendor} took longer than 10 minutes to send an answer."),
            Cause::BelowMinRate { received: 1, min } => {
                format!("{vendor} sent 1 byte in one minute. At least {min} bytes are required.")
            }
            Cause::BelowMinRate { received, min } => format!(
                "{vendor} sent {received} bytes in one minute. At least {min} bytes are required."
            ),
            Cause::ConnectionCut => format!("The connection to {vendor} was lost."),
            Cause::Certificate => {
                format!("Could not reach {vendor}: its TLS certificate could not be verified.")
            }
            Cause::Status(status) => format!("{vendor} returned error {status}."),
            Cause::Redirected(status) => {
                format!(
                    "{vendor} returned a redirect (status {status}) instead of data. A firewall, a proxy or a sign-in page can cause this."
                )
            }
            Cause::WebPage(status) => {
                format!(
                    "{vendor} returned a web page (status {status}) instead of data. A firewall, a proxy or a sign-in page can cause this."
                )
            }
            Cause::Denied(status) => format!(
                "The request to {vendor} was denied (status {status}) without a reason. A firewall or a proxy can cause this."
            ),
            Cause::ProxyCredentials => format!(
                "A proxy between this server and {vendor} requires credentials (status 407)."
            ),
            Cause::Unconfirmed(status) => format!(
                "{vendor} rejected a request (status {status}), but a check did not confirm that the credentials are wrong."
            ),
            Cause::NoData(status) => format!("{vendor} returned status {status} without data."),
        }
    }
}

impl PullError {
    /// What happened, as one or two sentences that name the system.
    pub fn sentence(&self, vendor: &str) -> String {
        match self {
            PullError::Unauthorized => format!("{vendor} rejected the credentials."),
            PullError::CredentialsStopped => {
                format!(
                    "{vendor} rejected these credentials {MAX_AUTH_FAILURES} times in a row. Chatlake stopped using them."
                )
            }
            PullError::RateLimited { wait: Some(wait) } => format!(
                "{vendor} limits calls and asked Chatlake to wait {} seconds.",
                wait.as_secs()
            ),
            PullError::RateLimited { wait: None } => {
                format!("{vendor} limits calls and asked Chatlake to wait.")
            }
            PullError::Unavailable(cause) => cause.sentence(vendor),
            // The request was not sent.
            PullError::Refused {
                status: 0,
                vendor_message,
            } => format!("Chatlake could not send the request to {vendor}: {vendor_message}."),
            PullError::Refused {
                status,
                vendor_message,
            } if vendor_message.is_empty() => {
                format!("{vendor} refused the request (status {status}).")
            }
            PullError::Refused {
                status,
                vendor_message,
            } => format!("{vendor} refused the request (status {status}): “{vendor_message}”."),
            PullError::Malformed { at, why } if at.path.is_empty() => {
                format!("{vendor} returned unreadable data: {why}.")
            }
            PullError::Malformed { at, why } => {
                format!("{vendor} returned unreadable data ({at}): {why}.")
            }
            PullError::Incomplete { window, have, of } if have < of => {
                format!("{vendor} reported {of} rows for {window} but returned {have}.")
            }
            PullError::Incomplete { window, of, .. } => {
                format!(
                    "The rows from {vendor} for {window} changed during the run. Chatlake could not confirm that all {of} arrived."
                )
            }
            PullError::UnexpectedRecords { rejected, of } => {
                let rows = if *of == 1 { "row" } else { "rows" };
                format!(
                    "{rejected} of {of} {rows} from {vendor} were rejected: unexpected structure, or no value in the report's key."
                )
            }
            PullError::NotAllowed(MissingAccess::Permission) => {
                format!(
                    "{vendor} accepted the credentials, but the operator does not have the account permission."
                )
            }
            PullError::NotAllowed(MissingAccess::Plan) => format!(
                "{vendor} accepted the credentials, but the plan does not include data export."
            ),
            PullError::StorageFull => {
                "The server's disk does not have enough space for the new rows.".to_owned()
            }
            PullError::AddressRefused { why } => why.clone(),
            PullError::Cancelled => "The request was cancelled.".to_owned(),
        }
    }
}

impl std::fmt::Display for PullError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence("The connector"))
    }
}

impl std::error::Error for PullError {}
