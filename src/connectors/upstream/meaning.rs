//! What an answer means for the next step.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderValue, RETRY_AFTER};

use super::call::{Broke, Got, Unmet};
use super::pace::retry_after;
use super::{Ask, Unread, Upstream, mask, page, standing};
use crate::connectors::PullError;
use crate::connectors::pull_error::{Cause, Place};

/// The next step after an answer.
pub(super) enum Next<T> {
    Done(T),
    /// Again, as a try.
    Again(Again),
    /// Again after a wait that is no try.
    Wait(Option<Duration>),
    /// Again in this region, once.
    Elsewhere(HeaderValue, PullError),
    /// The credentials were rejected with this status; `confirm` finds out whether they are bad.
    Rejected(u16),
    /// With this status and in these words, there is nothing. Said twice it may be believed; else it is asked again as any other answer.
    Nothing {
        status: u16,
        words: Bytes,
        otherwise: Again,
    },
    Stop(PullError),
}

/// Why something is asked again.
pub(super) struct Again {
    /// What it comes to when no try is left.
    pub error: PullError,
    /// It is asked fewer times than what is merely broken: see `Limits::malformed_tries`.
    pub is_few: bool,
}

impl Again {
    pub fn few(error: PullError) -> Self {
        Self { error, is_few: true }
    }

    /// By somebody on the way, who does not think better of it soon.
    fn blocked(cause: Cause) -> Self {
        Self::few(PullError::Unavailable(cause))
    }

    fn broken(cause: Cause) -> Self {
        Self { error: PullError::Unavailable(cause), is_few: false }
    }
}

/// What this answer means, or that there was none.
pub(super) fn meaning<T>(upstream: &Upstream, ask: &Ask<'_>, got: Result<Got<T>, Broke>) -> Next<T> {
    let malformed = |why| PullError::Malformed { at: Place { path: ask.path.to_owned(), page: 0 }, why };
    let got = match got {
        Ok(got) => got,
        // A certificate does not get better within two minutes.
        Err(Broke::Cause(Cause::Certificate)) => return Next::Stop(PullError::Unavailable(Cause::Certificate)),
        Err(Broke::Cause(cause)) => return Next::Again(Again::broken(cause)),
        Err(Broke::Blocked) => {
            let host = upstream.base.host_str().unwrap_or_default();
            return Next::Stop(PullError::Forbidden {
                why: format!("{host} does not have a public address. To allow it, start the server with --allow-upstream {host}."),
            });
        }
        Err(Broke::Unreadable(why)) => return Next::Stop(malformed(why)),
    };
    let told = || got.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| retry_after(text, upstream.all.0.clock.timestamp()));
    let status = got.status;
    let words = match got.body {
        Ok(value) => return Next::Done(value),
        Err(Unmet::Unread(Unread::Again(why))) => return Next::Again(Again::few(malformed(why))),
        Err(Unmet::Unread(Unread::Page)) => return Next::Again(Again::blocked(Cause::WebPage(status))),
        Err(Unmet::Unread(Unread::Nothing { body, why })) => {
            return Next::Nothing { status, words: body, otherwise: Again::few(malformed(why)) };
        }
        Err(Unmet::Unread(Unread::Stop(error))) => return Next::Stop(error),
        Err(Unmet::Status(words)) => words,
    };
    let refused = || PullError::Refused { status, said: mask::said(&words, &ask.auth) };
    let is_page = page::is_one(&got.headers, &words);
    // Of a page for people only the status counts.
    match (ask.judge)(status, &words).filter(|_| !is_page) {
        None => {}
        Some(PullError::Unauthorized) => return Next::Rejected(status),
        Some(PullError::Refused { .. }) => return Next::Stop(refused()),
        Some(meant) => return Next::Stop(meant),
    }
    match status {
        429 => Next::Wait(told()),
        503 if told().is_some() => Next::Wait(told()),
        408 | 425 | 500..=599 => Next::Again(Again::broken(Cause::Status(status))),
        300..=399 => Next::Again(Again::blocked(Cause::Redirected(status))),
        407 => Next::Again(Again::blocked(Cause::ProxyCredentials)),
        _ if is_page => Next::Again(Again::blocked(Cause::WebPage(status))),
        401 => Next::Rejected(status),
        // The vendor gives its reasons as JSON; whoever gives none stands in front of it.
        403 => match page::error_type(&words).as_deref() {
            Some("authentication") => Next::Rejected(status),
            Some(_) => Next::Stop(refused()),
            None => Next::Again(Again::blocked(Cause::Denied(status))),
        },
        204 => Next::Nothing { status, words, otherwise: Again::broken(Cause::NoData(status)) },
        404 => Next::Nothing { status, otherwise: Again::few(refused()), words },
        202 | 206 if page::is_nothing(&words) || page::is_empty_list(&words) => {
            Next::Nothing { status, words, otherwise: Again::broken(Cause::NoData(status)) }
        }
        200..=299 => Next::Again(Again::broken(Cause::NoData(status))),
        421 => match region(&words) {
            Some(region) => Next::Elsewhere(region, refused()),
            None => Next::Stop(refused()),
        },
        _ => Next::Stop(refused()),
    }
}

/// The region that the error `misdirected_request` names, if it could be one.
fn region(body: &[u8]) -> Option<HeaderValue> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    standing::region(value.get("error")?.get("data")?.get("region")?.as_str()?)
}
