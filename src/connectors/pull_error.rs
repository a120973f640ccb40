//! Why a pull stopped, by what the puller does next.

use std::time::Duration;

use super::Window;
use super::upstream::MAX_REFUSALS;

/// Why a pull stopped. Nothing in it carries an address with a query, a vendor's body or a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum PullError {
    /// Stop; the account needs new credentials.
    Unauthorized,
    /// Stop; the vendor refused these credentials so often that nothing was sent.
    Withheld,
    /// The run is `waiting` until then; no attempt is used up. `None`: the vendor did not say how long.
    RateLimited { wait: Option<Duration> },
    /// Retry, later each time, up to the limit.
    Unavailable(Cause),
    /// Stop; the request itself is wrong. `said` is at most 200 characters, masked and escaped.
    Refused { status: u16, said: String },
    /// Stop; say where.
    Malformed { at: Place, why: String },
    /// Stop; never commit a part as the whole.
    Incomplete { window: Window, have: u64, of: u64 },
    /// Stop; so many of the records were rejected: they are of another shape, or have no value in the report's key.
    UnexpectedRecords { rejected: u64, of: u64 },
    /// Stop; the credentials are good and do not reach this: somebody must change that at the vendor.
    NotAllowed(Lack),
    /// Stop; this server's disk has no room for what comes.
    NoRoom,
    /// Stop; the address is not one that may be dialled.
    Forbidden { why: String },
    /// A person stopped it, the lease was lost, or the server is stopping.
    Cancelled,
}

/// What good credentials lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The person behind them may not do this.
    Permission,
    /// The workspace's plan does not have it.
    Plan,
}

/// Why a vendor could not be reached or did not answer properly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    NameNotFound,
    ConnectionRefused,
    ConnectTimeout,
    FirstByteTimeout,
    NoProgress,
    TooSlow,
    /// A full minute of the answer brought so many bytes, fewer than the minimum.
    BelowMinRate {
        came: u64,
        min: u64,
    },
    ConnectionCut,
    Certificate,
    /// The vendor's own trouble, by status.
    Status(u16),
    /// A web page came in place of the answer, with this status: from a firewall, a proxy, a sign-in page or a challenge.
    WebPage(u16),
    /// The answer was a redirect with this status. Chatlake does not follow it.
    Redirected(u16),
    /// The request was denied with this status, by somebody who gives no reason that the vendor would give.
    Denied(u16),
    /// A proxy on the way wants credentials of its own (status 407).
    ProxyCredentials,
    /// The credentials were rejected with this status, and the check of them right after that did not confirm it.
    Unconfirmed(u16),
    /// A status that is no error and comes without the data, or says that nothing is there where something must be.
    NoData(u16),
}

/// Where in a pull something was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Below the vendor's root, without a query.
    pub path: String,
    /// From 1; 0 where there are no pages.
    pub page: u64,
}

impl Cause {
    /// Whether a firewall, a proxy or a sign-in page answered in place of the vendor.
    pub fn is_block(&self) -> bool {
        matches!(self, Self::WebPage(_) | Self::Redirected(_) | Self::Denied(_) | Self::ProxyCredentials)
    }
}

impl std::fmt::Display for Place {
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
            Cause::ConnectionRefused => format!("Could not reach {vendor}: the connection was refused."),
            Cause::ConnectTimeout => format!("Could not reach {vendor}: no connection within 10 seconds."),
            Cause::FirstByteTimeout => format!("{vendor} did not answer within 60 seconds."),
            Cause::NoProgress => format!("{vendor} stopped sending data for 60 seconds."),
            Cause::TooSlow => format!("{vendor} took longer than 10 minutes to send an answer."),
            Cause::BelowMinRate { came: 1, min } => format!("{vendor} sent 1 byte in one minute. At least {min} bytes are required."),
            Cause::BelowMinRate { came, min } => format!("{vendor} sent {came} bytes in one minute. At least {min} bytes are required."),
            Cause::ConnectionCut => format!("The connection to {vendor} was lost."),
            Cause::Certificate => format!("Could not reach {vendor}: its TLS certificate could not be verified."),
            Cause::Status(status) => format!("{vendor} returned error {status}."),
            Cause::Redirected(status) => {
                format!("{vendor} returned a redirect (status {status}) instead of data. A firewall, a proxy or a sign-in page can cause this.")
            }
            Cause::WebPage(status) => {
                format!("{vendor} returned a web page (status {status}) instead of data. A firewall, a proxy or a sign-in page can cause this.")
            }
            Cause::Denied(status) => format!("The request to {vendor} was denied (status {status}) without a reason. A firewall or a proxy can cause this."),
            Cause::ProxyCredentials => format!("A proxy between this server and {vendor} requires credentials (status 407)."),
            Cause::Unconfirmed(status) => format!("{vendor} rejected a request (status {status}), but a check did not confirm that the credentials are wrong."),
            Cause::NoData(status) => format!("{vendor} returned status {status} without data."),
        }
    }
}

impl PullError {
    /// What happened, as one or two sentences that name the system.
    pub fn sentence(&self, vendor: &str) -> String {
        match self {
            PullError::Unauthorized => format!("{vendor} rejected the credentials."),
            PullError::Withheld => {
                format!("{vendor} rejected these credentials {MAX_REFUSALS} times in a row. Chatlake stopped using them.")
            }
            PullError::RateLimited { wait: Some(wait) } => format!("{vendor} limits calls and asked Chatlake to wait {} seconds.", wait.as_secs()),
            PullError::RateLimited { wait: None } => format!("{vendor} limits calls and asked Chatlake to wait."),
            PullError::Unavailable(cause) => cause.sentence(vendor),
            // The request was not sent.
            PullError::Refused { status: 0, said } => format!("Chatlake could not send the request to {vendor}: {said}."),
            PullError::Refused { status, said } if said.is_empty() => format!("{vendor} refused the request (status {status})."),
            PullError::Refused { status, said } => format!("{vendor} refused the request (status {status}): “{said}”."),
            PullError::Malformed { at, why } if at.path.is_empty() => format!("{vendor} returned unreadable data: {why}."),
            PullError::Malformed { at, why } => format!("{vendor} returned unreadable data ({at}): {why}."),
            PullError::Incomplete { window, have, of } if have < of => {
                format!("{vendor} reported {of} rows for {window} but returned {have}.")
            }
            PullError::Incomplete { window, of, .. } => {
                format!("The rows from {vendor} for {window} changed during the run. Chatlake could not confirm that all {of} arrived.")
            }
            PullError::UnexpectedRecords { rejected, of } => {
                let rows = if *of == 1 { "row" } else { "rows" };
                format!("{rejected} of {of} {rows} from {vendor} were rejected: unexpected structure, or no value in the report's key.")
            }
            PullError::NotAllowed(Lack::Permission) => {
                format!("{vendor} accepted the credentials, but the operator does not have the account permission.")
            }
            PullError::NotAllowed(Lack::Plan) => format!("{vendor} accepted the credentials, but the plan does not include data export."),
            PullError::NoRoom => "The server's disk does not have enough space for the new rows.".to_owned(),
            PullError::Forbidden { why } => why.clone(),
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
