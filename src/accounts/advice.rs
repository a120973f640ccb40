//! What somebody is told who has just typed credentials, or waits in front of a page: what happened, and what to look at.

use std::collections::BTreeMap;
use std::time::Duration;

use super::credentials::outer_spaces;
use crate::actor::Actor;
use crate::connectors::pull_error::Cause;
use crate::connectors::{Connector, Hint, PullError, Source};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// What was tried.
pub(super) struct Tried<'a> {
    pub actor: &'a Actor,
    pub connector: Connector,
    /// The account has an API address of its own.
    pub own_address: bool,
    /// What was typed.
    pub credentials: &'a BTreeMap<String, Secret>,
}

impl Tried<'_> {
    /// Why the vendor could not be asked, or did not take the credentials: beside the field that is to be looked at, where there is one. `hint`: the
    /// most likely mistake in credentials that were rejected.
    pub fn refused(&self, why: PullError, hint: Option<Hint>) -> Error {
        let title = self.connector.title();
        match &why {
            PullError::Unauthorized => {
                let secret = self.connector.fields().iter().rev().find(|field| field.secret);
                let spaces: Vec<String> = outer_spaces(self.connector, self.credentials).into_iter().map(|(_, words)| words).collect();
                // A space that nobody sees is the likelier mistake.
                let hint = hint.filter(|_| spaces.is_empty());
                let field = hint.as_ref().map(|hint| hint.field).or(secret.map(|field| field.id)).unwrap_or("credentials");
                let advice = hint.map_or_else(|| spaces.join(" "), |hint| hint.text.to_owned());
                Error::field(field, format!("{title} rejected these credentials. {advice}").trim_end())
            }
            PullError::Unavailable(Cause::NameNotFound | Cause::ConnectionRefused | Cause::ConnectTimeout | Cause::Certificate)
            | PullError::Malformed { .. }
                if self.may_mend_address() =>
            {
                Error::field("api_url", format!("{} Check the API URL.", super::vendor_error(self.connector, &why).message()))
            }
            _ => super::vendor_error(self.connector, &why),
        }
    }

    /// Only admins have the field.
    fn may_mend_address(&self) -> bool {
        self.own_address && self.actor.is_admin()
    }
}

/// What to look at when a vendor could not be read.
pub(super) fn next_step(cause: &Cause) -> &'static str {
    match cause {
        Cause::NameNotFound => "Check the API URL of the account and the DNS settings of the server.",
        Cause::ConnectionRefused | Cause::ConnectTimeout => "Check the API URL of the account and the firewall of the server.",
        Cause::Certificate => "Check the API URL of the account, and whether a proxy replaces the certificate.",
        cause if cause.is_block() => {
            "The credentials were not rejected. Try again in a moment. If it fails again, a server administrator must check the firewall and \
             the proxy."
        }
        _ => "Try again in a moment.",
    }
}

/// The vendor asked to wait, for so long if it said so.
pub(super) fn asked_to_wait(connector: Connector, wait: Option<Duration>) -> Error {
    let title = connector.title();
    let (message, next) = match wait.map(span) {
        Some(span) => (format!("{title} limits calls and asked Chatlake to wait {span}."), format!("Try again in {span}.")),
        None => (format!("{title} limits calls and asked Chatlake to wait."), "Try again in a minute.".to_owned()),
    };
    Error::new(Kind::Unavailable, "vendor_limit", message).action(next)
}

/// So long a pause that the vendor asks for is waited out in front of a page.
const PAUSE: Duration = Duration::from_secs(5);

/// For somebody who waits in front of a page: when the vendor asks for a long pause, they are told so at once.
pub fn hurried(mut source: Source) -> Source {
    source.upstream = source.upstream.hurried(PAUSE);
    source
}

/// What comes of asking with this source within `patience`; else why it took longer: the vendor asked for a pause, the account's calls
/// are used up, or the vendor does not answer.
pub async fn within<T>(source: &Source, patience: Duration, asking: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(patience, asking).await.map_err(|_| {
        let (gauge, spent, title) = (source.upstream.gauge(), source.upstream.spent(), source.connector.title());
        if !gauge.paused.is_zero() {
            asked_to_wait(source.connector, Some(gauge.paused))
        } else if Duration::from_millis(spent.waited_ms) > patience / 2 {
            out_of_calls(gauge.per_minute)
        } else {
            let message = format!("{title} did not answer within {} seconds.", patience.as_secs());
            Error::new(Kind::Unavailable, "vendor_unavailable", message).action("Try again in a moment.")
        }
    })
}

/// The account has made all the calls that it may make in a minute.
fn out_of_calls(per_minute: u32) -> Error {
    let calls = if per_minute == 1 { "1 call".to_owned() } else { format!("{per_minute} calls") };
    Error::new(Kind::Unavailable, "account_limit", format!("The account has reached its limit of {calls} per minute."))
        .action("Try again in a minute, or raise the limit of the account.")
}

/// "45 seconds", "3 minutes"; rounded up, so that nobody comes too early.
fn span(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    match seconds {
        1 => "1 second".to_owned(),
        2..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3_600)),
    }
}
