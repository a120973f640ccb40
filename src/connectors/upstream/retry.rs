//! Tries: what is asked again, how often and when. Waits that the vendor asks for are not tries. What an answer means is in `meaning`,
//! whether rejected credentials are bad in `confirm`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use jiff::civil::Date;
use rand::RngExt;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::call::call;
use super::confirm;
use super::meaning::{Again, Next, meaning};
use super::{Ask, Reader, Upstream};
use crate::connectors::PullError;
use crate::connectors::pull_error::Cause;

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
    let (mut calls, mut tries, mut few) = (0_u64, 0_u32, 0_u32);
    // The last answer that said that there is nothing.
    let mut nothing: Option<(u16, Bytes)> = None;
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
            return Err(PullError::Refused { status: 0, said: "the credentials contain a character that cannot be sent".to_owned() });
        };
        calls += 1;
        upstream.count_call();
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
        // How long the next try is put off at least.
        let mut least = Duration::ZERO;
        let next = match meaning(upstream, &ask, got) {
            Next::Rejected(status) => match confirm::is_rejected(upstream, &ask).await {
                true => {
                    upstream.standing.refused(turn.is_some());
                    Next::Stop(PullError::Unauthorized)
                }
                false => Next::Again(Again::few(PullError::Unavailable(Cause::Unconfirmed(status)))),
            },
            Next::Nothing { status, words, otherwise } => {
                let told = (status, words);
                let believed = if nothing.as_ref() == Some(&told) { begin().nothing(status).await } else { None };
                nothing = Some(told);
                least = limits.confirm_after;
                believed.map_or(Next::Again(otherwise), Next::Done)
            }
            Next::Done(value) => {
                upstream.standing.accepted(left);
                Next::Done(value)
            }
            next => next,
        };
        drop(turn);
        match next {
            Next::Done(value) => {
                upstream.standing.pace.went_well(left);
                return Ok(value);
            }
            Next::Stop(error) => return Err(error),
            // Both have become something else above.
            Next::Rejected(_) | Next::Nothing { .. } => {}
            Next::Elsewhere(_, error) if sent_elsewhere => return Err(error),
            Next::Elsewhere(region, _) => {
                sent_elsewhere = true;
                upstream.standing.moved(region);
            }
            Next::Wait(told) => {
                counters.limited.fetch_add(1, Ordering::Relaxed);
                let wait = upstream.standing.pace.pause(told, limits.least_wait);
                asked += wait;
                tracing::debug!(path = ask.path, wait_ms = millis(wait), "rate limit: waiting");
                if wait > upstream.patience || asked > limits.patience_in_all {
                    return Err(PullError::RateLimited { wait: Some(wait) });
                }
            }
            Next::Again(again) => {
                tries += 1;
                few += u32::from(again.is_few);
                let delay = delays.next().unwrap_or(limits.first_delay);
                let delay = delay.mul_f64(rand::rng().random_range(0.0..1.0)).max(least);
                let late = began.elapsed().saturating_sub(held) + delay > limits.try_within;
                if tries >= limits.tries || few >= limits.malformed_tries || late {
                    return Err(again.error);
                }
                tracing::debug!(path = ask.path, tries, "repeating the call");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// The day in `Legacy` or `Deprecation`; whatever else stands there is dropped.
fn sunset(headers: &HeaderMap) -> Option<Date> {
    ["legacy", "deprecation"].iter().find_map(|name| headers.get(*name)?.to_str().ok()?.trim().get(..10)?.parse().ok())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
