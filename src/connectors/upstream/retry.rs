//! Tries: what is asked again, how often and when. Waits that the vendor asks for are not tries.

use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::civil::Date;
use rand::RngExt;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use tokio::time::Instant;

use super::call::{Broke, Got, Unmet, call};
use super::pace::retry_after;
use super::{Ask, Reader, Unread, Upstream, mask, standing};
use crate::connectors::PullError;
use crate::connectors::pull_error::{Cause, Place};

/// What an answer means for the next step.
enum Next<T> {
    Done(T),
    /// Again, as a try; the error if there is none left.
    Again(Again),
    /// Again after a wait that is no try.
    Wait(Option<Duration>),
    /// Again in this region, once.
    Elsewhere(HeaderValue, PullError),
    Stop(PullError),
}

enum Again {
    Broken(Cause),
    Malformed(String),
}

/// `begin` makes the reader of a good answer, for each try anew.
pub(super) async fn run<R: Reader>(upstream: &Upstream, ask: Ask<'_>, begin: impl Fn() -> R) -> Result<R::Out, PullError> {
    let inner = &upstream.all.0;
    let (limits, counters) = (&inner.limits, &inner.counters);
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(limits.first_delay)
        .with_factor(3.0)
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(limits.tries as usize)
        .build();
    let began = Instant::now();
    let (mut calls, mut tries, mut malformed) = (0_u64, 0_u32, 0_u32);
    // `held`: waiting that is not counted against `try_within`. `asked`: of that, what the vendor asked for.
    let (mut held, mut asked) = (Duration::ZERO, Duration::ZERO);
    let mut sent_elsewhere = false;
    loop {
        let arrived = Instant::now();
        let waiting = upstream.spent.waits.wait();
        let turn = upstream.standing.turn().await?;
        let permit = upstream.standing.pace.leave(upstream.patience).await.map_err(|paused| PullError::RateLimited { wait: Some(paused.wait) })?;
        let asking = upstream.spent.waits.ask();
        drop(waiting);
        let waited = arrived.elapsed();
        held += waited;
        counters.waited_ms.fetch_add(millis(waited), Ordering::Relaxed);
        let Some(request) = upstream.request(&ask) else {
            return Err(PullError::Refused { status: 0, said: "the user name or the key holds a character that cannot be sent".to_owned() });
        };
        calls += 1;
        counters.calls.fetch_add(1, Ordering::Relaxed);
        upstream.spent.calls.fetch_add(1, Ordering::Relaxed);
        counters.retries.fetch_add(u64::from(calls > 1), Ordering::Relaxed);
        let left = Instant::now();
        let got = call(&inner.client, request, limits, &upstream.spent.received, &begin).await;
        drop((permit, asking));
        if R::ENDLESS {
            // What came for an hour and broke then is worth another try.
            held += left.elapsed();
        }
        if let Some(day) = got.as_ref().ok().and_then(|got| sunset(&got.headers)) {
            upstream.standing.ends_on(day);
        }
        let next = next(upstream, &ask, got);
        match &next {
            Next::Done(_) => upstream.standing.accepted(),
            Next::Stop(PullError::Unauthorized) => upstream.standing.refused(turn.is_some()),
            _ => {}
        }
        drop(turn);
        match next {
            Next::Done(value) => {
                upstream.standing.pace.went_well(left);
                return Ok(value);
            }
            Next::Stop(error) => return Err(error),
            Next::Elsewhere(_, error) if sent_elsewhere => return Err(error),
            Next::Elsewhere(region, _) => {
                sent_elsewhere = true;
                upstream.standing.moved(region);
            }
            Next::Wait(told) => {
                counters.limited.fetch_add(1, Ordering::Relaxed);
                let wait = upstream.standing.pace.pause(told);
                asked += wait;
                tracing::debug!(path = ask.path, wait_ms = millis(wait), "the vendor asks to wait");
                if wait > upstream.patience || asked > limits.patience_in_all {
                    return Err(PullError::RateLimited { wait: Some(wait) });
                }
            }
            Next::Again(again) => {
                tries += 1;
                malformed += u32::from(matches!(again, Again::Malformed(_)));
                let delay = delays.next().unwrap_or(limits.first_delay);
                let delay = delay.mul_f64(rand::rng().random_range(0.0..1.0));
                let late = began.elapsed().saturating_sub(held) + delay > limits.try_within;
                if tries >= limits.tries || malformed >= limits.malformed_tries || late {
                    return Err(match again {
                        Again::Broken(cause) => PullError::Unavailable(cause),
                        Again::Malformed(why) => PullError::Malformed { at: Place { path: ask.path.to_owned(), page: 0 }, why },
                    });
                }
                tracing::debug!(path = ask.path, tries, "asking again");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

fn next<T>(upstream: &Upstream, ask: &Ask<'_>, got: Result<Got<T>, Broke>) -> Next<T> {
    let got = match got {
        Ok(got) => got,
        // A certificate does not get better within two minutes.
        Err(Broke::Cause(Cause::Certificate)) => return Next::Stop(PullError::Unavailable(Cause::Certificate)),
        Err(Broke::Cause(cause)) => return Next::Again(Again::Broken(cause)),
        Err(Broke::Blocked) => {
            let host = upstream.base.host_str().unwrap_or_default();
            return Next::Stop(PullError::Forbidden {
                why: format!("{host} leads to an address that is not public. It may be used if the server was started with --allow-upstream {host}."),
            });
        }
        Err(Broke::Unreadable(why)) => return Next::Stop(PullError::Malformed { at: Place { path: ask.path.to_owned(), page: 0 }, why }),
    };
    let told = || got.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| retry_after(text, upstream.all.0.clock.timestamp()));
    let words = match got.body {
        Ok(value) => return Next::Done(value),
        Err(Unmet::Unread(Unread::Again(why))) => return Next::Again(Again::Malformed(why)),
        Err(Unmet::Unread(Unread::Stop(error))) => return Next::Stop(error),
        Err(Unmet::Status(words)) => words,
    };
    if let Some(meant) = (ask.judge)(got.status, &words) {
        return Next::Stop(meant);
    }
    match got.status {
        // 403: the credentials are good and do not reach this; only others would help.
        401 | 403 => Next::Stop(PullError::Unauthorized),
        429 => Next::Wait(told()),
        503 if told().is_some() => Next::Wait(told()),
        408 | 425 | 500..=599 => Next::Again(Again::Broken(Cause::Status(got.status))),
        300..=399 => Next::Stop(PullError::Refused { status: got.status, said: "unexpected redirect".to_owned() }),
        status => {
            let refused = PullError::Refused { status, said: mask::said(&words, &ask.auth) };
            match region(&words).filter(|_| status == 421) {
                Some(region) => Next::Elsewhere(region, refused),
                None => Next::Stop(refused),
            }
        }
    }
}

/// The region that the error `misdirected_request` names, if it could be one.
fn region(body: &[u8]) -> Option<HeaderValue> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    standing::region(value.get("error")?.get("data")?.get("region")?.as_str()?)
}

/// The day in `Legacy` or `Deprecation`; whatever else stands there is dropped.
fn sunset(headers: &HeaderMap) -> Option<Date> {
    ["legacy", "deprecation"].iter().find_map(|name| headers.get(*name)?.to_str().ok()?.trim().get(..10)?.parse().ok())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
