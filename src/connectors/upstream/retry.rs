//! The retry loop: which requests are repeated, how often and when. Waits that the vendor asks for
//! are no attempts. `classify` decides what an answer means, `confirm` whether rejected credentials
//! are wrong.

use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use jiff::civil::Date;
use rand::RngExt;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::call::call;
use super::classify::{ResponseAction, RetryReason, classify};
use super::confirm;
use super::{ApiRequest, BodyReader, Upstream};
use crate::connectors::PullError;
use crate::connectors::pull_error::Cause;

/// Sends the request until there is a result. `begin` creates the reader of a good answer for each
/// attempt.
pub(super) async fn run<R: BodyReader>(
    upstream: &Upstream,
    api_request: ApiRequest<'_>,
    begin: impl Fn() -> R,
) -> Result<R::Out, PullError> {
    let inner = &upstream.all.0;
    let (limits, counters) = (&inner.limits, &inner.counters);
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(limits.first_delay)
        .with_factor(3.0)
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(limits.tries as usize)
        .build();
    let began = Instant::now();
    let (mut calls, mut tries, mut limited_tries) = (0_u64, 0_u32, 0_u32);
    // The last answer without data.
    let mut last_empty: Option<(u16, Bytes)> = None;
    // `uncounted`: time that does not count against `try_within`. `vendor_wait`: the part of it
    // that the vendor asked for.
    let (mut uncounted, mut vendor_wait) = (Duration::ZERO, Duration::ZERO);
    let mut region_changed = false;
    loop {
        let arrived = Instant::now();
        let waiting = upstream.call_counters.wait_clock.begin_wait();
        let probe = upstream.account_state.acquire_auth_probe().await?;
        let permit = upstream
            .account_state
            .pace
            .acquire_permit(upstream.max_wait)
            .await
            .map_err(|paused| PullError::RateLimited {
                wait: Some(paused.wait),
            })?;
        let in_flight = upstream.call_counters.wait_clock.begin_request();
        drop(waiting);
        let waited = arrived.elapsed();
        uncounted += waited;
        counters
            .waited_ms
            .fetch_add(millis(waited), Ordering::Relaxed);
        let Some(request) = upstream.request(&api_request) else {
            return Err(PullError::Refused {
                status: 0,
                vendor_message: "the credentials contain a character that cannot be sent"
                    .to_owned(),
            });
        };
        calls += 1;
        upstream.count_call();
        counters
            .retries
            .fetch_add(u64::from(calls > 1), Ordering::Relaxed);
        let sent_at = Instant::now();
        let response = call(
            &inner.client,
            request,
            limits,
            &upstream.call_counters.received,
            &begin,
        )
        .await;
        drop((permit, in_flight));
        if R::STREAMED {
            // An answer that was received for an hour and then broke off gets another attempt.
            uncounted += sent_at.elapsed();
        }
        if let Some(day) = response
            .as_ref()
            .ok()
            .and_then(|response| sunset(&response.headers))
        {
            upstream.account_state.record_api_end(day);
        }
        // The minimum delay before the next attempt.
        let mut min_delay = Duration::ZERO;
        let next = match classify(upstream, &api_request, response) {
            ResponseAction::Rejected(status) => {
                match confirm::is_rejected(upstream, &api_request).await {
                    true => {
                        upstream.account_state.record_rejection(probe.is_some());
                        ResponseAction::Stop(PullError::Unauthorized)
                    }
                    false => ResponseAction::Retry(RetryReason::limited(PullError::Unavailable(
                        Cause::Unconfirmed(status),
                    ))),
                }
            }
            ResponseAction::Empty {
                status,
                body,
                retry,
            } => {
                let answer = (status, body);
                let believed = if last_empty.as_ref() == Some(&answer) {
                    begin().on_empty(status).await
                } else {
                    None
                };
                last_empty = Some(answer);
                min_delay = limits.confirm_after;
                believed.map_or(ResponseAction::Retry(retry), ResponseAction::Done)
            }
            ResponseAction::Done(value) => {
                upstream.account_state.record_acceptance(sent_at);
                ResponseAction::Done(value)
            }
            next => next,
        };
        drop(probe);
        match next {
            ResponseAction::Done(value) => {
                upstream.account_state.pace.record_success(sent_at);
                return Ok(value);
            }
            ResponseAction::Stop(error) => return Err(error),
            // Both were replaced above.
            ResponseAction::Rejected(_) | ResponseAction::Empty { .. } => {}
            ResponseAction::OtherRegion(_, error) if region_changed => return Err(error),
            ResponseAction::OtherRegion(region, _) => {
                region_changed = true;
                upstream.account_state.set_region(region);
            }
            ResponseAction::Wait(wait_hint) => {
                counters.limited.fetch_add(1, Ordering::Relaxed);
                let wait = upstream
                    .account_state
                    .pace
                    .pause(wait_hint, limits.min_wait);
                vendor_wait += wait;
                tracing::debug!(
                    path = api_request.path,
                    wait_ms = millis(wait),
                    "rate limit: waiting"
                );
                if wait > upstream.max_wait || vendor_wait > limits.max_total_wait {
                    return Err(PullError::RateLimited { wait: Some(wait) });
                }
            }
            ResponseAction::Retry(retry) => {
                tries += 1;
                limited_tries += u32::from(retry.is_limited);
                let delay = delays.next().unwrap_or(limits.first_delay);
                let delay = delay
                    .mul_f64(rand::rng().random_range(0.0..1.0))
                    .max(min_delay);
                let late = began.elapsed().saturating_sub(uncounted) + delay > limits.try_within;
                if tries >= limits.tries || limited_tries >= limits.malformed_tries || late {
                    return Err(retry.error);
                }
                tracing::debug!(path = api_request.path, tries, "repeating the call");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// Parses the day in a `Legacy` or `Deprecation` header; other content is ignored.
fn sunset(headers: &HeaderMap) -> Option<Date> {
    ["legacy", "deprecation"].iter().find_map(|name| {
        headers
            .get(*name)?
            .to_str()
            .ok()?
            .trim()
            .get(..10)?
            .parse()
            .ok()
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
