//! Classifies an answer: decides the next action of the retry loop.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderValue, RETRY_AFTER};

use super::call::{BodyError, CallError, HttpResponse};
use super::retry_after::retry_after;
use super::{ApiRequest, ReadError, Upstream, account_state, mask, sniff};
use crate::connectors::PullError;
use crate::connectors::pull_error::{Cause, ResponseLocation};

/// The next action after an answer.
pub(super) enum ResponseAction<T> {
    Done(T),
    /// Send the request again, as another attempt.
    Retry(RetryReason),
    /// Send it again after a wait, which is no attempt.
    Wait(Option<Duration>),
    /// Send it again to this region, once.
    OtherRegion(HeaderValue, PullError),
    /// The credentials were rejected with this status; `confirm` checks whether they are wrong.
    Rejected(u16),
    /// The answer has no data, with this status and this body. If the vendor says so twice, it may
    /// be accepted; else the request is retried.
    Empty {
        status: u16,
        body: Bytes,
        retry: RetryReason,
    },
    Stop(PullError),
}

/// Why a request is retried.
pub(super) struct RetryReason {
    /// The error if no attempt is left.
    pub error: PullError,
    /// This error has fewer attempts than a network error: see `Limits::malformed_tries`.
    pub is_limited: bool,
}

impl RetryReason {
    pub fn limited(error: PullError) -> Self {
        Self {
            error,
            is_limited: true,
        }
    }

    /// The answer came from a firewall or proxy, which will probably answer the same again.
    fn blocked(cause: Cause) -> Self {
        Self::limited(PullError::Unavailable(cause))
    }

    fn from_cause(cause: Cause) -> Self {
        Self {
            error: PullError::Unavailable(cause),
            is_limited: false,
        }
    }
}

/// Classifies an answer, or the error if there was none.
pub(super) fn classify<T>(
    upstream: &Upstream,
    api_request: &ApiRequest<'_>,
    response: Result<HttpResponse<T>, CallError>,
) -> ResponseAction<T> {
    let malformed = |why| PullError::Malformed {
        at: ResponseLocation {
            path: api_request.path.to_owned(),
            page: 0,
        },
        why,
    };
    let response = match response {
        Ok(response) => response,
        // Not retried, because the certificate will hardly change within the time for attempts.
        Err(CallError::Cause(Cause::Certificate)) => {
            return ResponseAction::Stop(PullError::Unavailable(Cause::Certificate));
        }
        Err(CallError::Cause(cause)) => {
            return ResponseAction::Retry(RetryReason::from_cause(cause));
        }
        Err(CallError::Blocked) => {
            let host = upstream.base.host_str().unwrap_or_default();
            return ResponseAction::Stop(PullError::AddressRefused {
                why: format!(
                    "{host} does not have a public address. To allow it, start the server with --allow-upstream {host}."
                ),
            });
        }
        Err(CallError::Unreadable(why)) => return ResponseAction::Stop(malformed(why)),
    };
    let wait_hint = || {
        response
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| retry_after(text, upstream.all.0.clock.timestamp()))
    };
    let status = response.status;
    let body = match response.body {
        Ok(value) => return ResponseAction::Done(value),
        Err(BodyError::ReadError(ReadError::Retry(why))) => {
            return ResponseAction::Retry(RetryReason::limited(malformed(why)));
        }
        Err(BodyError::ReadError(ReadError::WebPage)) => {
            return ResponseAction::Retry(RetryReason::blocked(Cause::WebPage(status)));
        }
        Err(BodyError::ReadError(ReadError::Empty { body, why })) => {
            return ResponseAction::Empty {
                status,
                body,
                retry: RetryReason::limited(malformed(why)),
            };
        }
        Err(BodyError::ReadError(ReadError::Fatal(error))) => return ResponseAction::Stop(error),
        Err(BodyError::Status(body)) => body,
    };
    let refused = || PullError::Refused {
        status,
        vendor_message: mask::vendor_message(&body, &api_request.auth),
    };
    let is_page = sniff::is_web_page(&response.headers, &body);
    // For a web page only the status counts.
    match (api_request.classify_error)(status, &body).filter(|_| !is_page) {
        None => {}
        Some(PullError::Unauthorized) => return ResponseAction::Rejected(status),
        Some(PullError::Refused { .. }) => return ResponseAction::Stop(refused()),
        Some(error) => return ResponseAction::Stop(error),
    }
    match status {
        429 => ResponseAction::Wait(wait_hint()),
        503 if wait_hint().is_some() => ResponseAction::Wait(wait_hint()),
        408 | 425 | 500..=599 => {
            ResponseAction::Retry(RetryReason::from_cause(Cause::Status(status)))
        }
        300..=399 => ResponseAction::Retry(RetryReason::blocked(Cause::Redirected(status))),
        407 => ResponseAction::Retry(RetryReason::blocked(Cause::ProxyCredentials)),
        _ if is_page => ResponseAction::Retry(RetryReason::blocked(Cause::WebPage(status))),
        401 => ResponseAction::Rejected(status),
        // The vendor gives its reasons as JSON. Another body comes from a firewall or proxy.
        403 => match sniff::error_type(&body).as_deref() {
            Some("authentication") => ResponseAction::Rejected(status),
            Some(_) => ResponseAction::Stop(refused()),
            None => ResponseAction::Retry(RetryReason::blocked(Cause::Denied(status))),
        },
        204 => ResponseAction::Empty {
            status,
            body,
            retry: RetryReason::from_cause(Cause::NoData(status)),
        },
        404 => ResponseAction::Empty {
            status,
            retry: RetryReason::limited(refused()),
            body,
        },
        202 | 206 if sniff::is_empty_body(&body) || sniff::is_empty_list(&body) => {
            ResponseAction::Empty {
                status,
                body,
                retry: RetryReason::from_cause(Cause::NoData(status)),
            }
        }
        200..=299 => ResponseAction::Retry(RetryReason::from_cause(Cause::NoData(status))),
        421 => match region(&body) {
            Some(region) => ResponseAction::OtherRegion(region, refused()),
            None => ResponseAction::Stop(refused()),
        },
        _ => ResponseAction::Stop(refused()),
    }
}

/// The region that the error `misdirected_request` names, if it is valid.
fn region(body: &[u8]) -> Option<HeaderValue> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    account_state::region(value.get("error")?.get("data")?.get("region")?.as_str()?)
}
