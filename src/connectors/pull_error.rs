//! Why a pull stopped, by what the puller does next.

use std::time::Duration;

use super::Window;

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

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::NameNotFound => f.write_str("its name was not found"),
            Cause::ConnectionRefused => f.write_str("it refused the connection"),
            Cause::ConnectTimeout => f.write_str("it did not answer within 10 seconds"),
            Cause::FirstByteTimeout => f.write_str("it accepted the request and then said nothing for 60 seconds"),
            Cause::NoProgress => f.write_str("its answer stopped coming for 60 seconds"),
            Cause::TooSlow => f.write_str("its answer took longer than 10 minutes"),
            Cause::BelowMinRate { came: 1, min } => write!(f, "its answer brought 1 byte in a minute, and at least {min} are required"),
            Cause::BelowMinRate { came, min } => write!(f, "its answer brought {came} bytes in a minute, and at least {min} are required"),
            Cause::ConnectionCut => f.write_str("the connection broke in the middle of an answer"),
            Cause::Certificate => f.write_str("its certificate is not good for that name"),
            Cause::Status(status) => write!(f, "it answered with its own error {status}"),
            Cause::Redirected(status) => {
                write!(f, "it was answered with a redirect (status {status}), as a firewall, a proxy or a sign-in page sends it")
            }
            Cause::WebPage(status) => write!(f, "a web page came in place of its answer (status {status}), as a firewall, a proxy or a sign-in page sends it"),
            Cause::Denied(status) => write!(f, "the request was denied (status {status}) without a reason, as a firewall or a proxy does"),
            Cause::ProxyCredentials => f.write_str("a proxy on the way asks for credentials of its own (status 407)"),
            Cause::Unconfirmed(status) => write!(f, "it rejected a request with status {status}, and a check of the same credentials did not confirm that"),
            Cause::NoData(status) => write!(f, "it answered with status {status} and without the data"),
        }
    }
}

impl std::fmt::Display for PullError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PullError::Unauthorized => f.write_str("the vendor did not accept the credentials"),
            PullError::Withheld => f.write_str("the vendor refused the credentials too often, so it was not asked"),
            PullError::RateLimited { wait: Some(wait) } => write!(f, "the vendor asked to wait {} seconds", wait.as_secs()),
            PullError::RateLimited { wait: None } => f.write_str("the vendor asked to wait"),
            PullError::Unavailable(cause) => write!(f, "the vendor could not be read: {cause}"),
            PullError::Refused { status, said } if said.is_empty() => write!(f, "the vendor refused the request with status {status}"),
            PullError::Refused { status, said } => write!(f, "the vendor refused the request with status {status}: {said}"),
            PullError::Malformed { at, why } => write!(f, "the answer of {at} cannot be read: {why}"),
            PullError::Incomplete { window, have, of } => write!(f, "{window}: the vendor tells of {of} records and gave {have}"),
            PullError::UnexpectedRecords { rejected, of } => {
                write!(f, "{rejected} of {of} records are not of the expected shape, or have no value in the report's key")
            }
            PullError::NotAllowed(Lack::Permission) => f.write_str("the credentials are good, and their owner lacks the account permission"),
            PullError::NotAllowed(Lack::Plan) => f.write_str("the credentials are good, and the plan does not include data export"),
            PullError::NoRoom => f.write_str("this server's disk has no room for what comes"),
            PullError::Forbidden { why } => f.write_str(why),
            PullError::Cancelled => f.write_str("it was stopped"),
        }
    }
}

impl std::error::Error for PullError {}
