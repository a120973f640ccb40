//! Checks whether rejected credentials are really wrong. Firewalls and overloaded servers send
//! rejections too, so one rejection proves little: the connector's auth check call is sent a moment
//! later and must be rejected as well. Meanwhile, all other rejected requests wait for its result.

use tokio::time::Instant;

use super::call::{BufferedBody, call};
use super::classify::{ResponseAction, classify};
use super::{ApiRequest, Upstream};

/// The maximum number of bytes of the answer that are read.
const HEAD: usize = 64 << 10;

/// The result of an auth check call.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    /// When the call was sent.
    sent_at: Instant,
    is_rejected: bool,
}

/// Sends the auth check call, or uses the result of one that was sent after this rejection. Returns
/// whether the credentials are rejected.
pub(super) async fn is_rejected(upstream: &Upstream, api_request: &ApiRequest<'_>) -> bool {
    let account_state = &upstream.account_state;
    let rejected_at = Instant::now();
    let mut verdict = account_state.verdict.lock().await;
    if let Some(known) = verdict.filter(|known| known.sent_at >= rejected_at) {
        return known.is_rejected;
    }
    tokio::time::sleep(upstream.all.0.limits.confirm_after).await;
    let sent_at = Instant::now();
    // A request that was sent after the rejection and was accepted outweighs a second rejection.
    let is_rejected = check(upstream, api_request, sent_at).await
        && !account_state.was_accepted_since(rejected_at);
    *verdict = Some(Verdict {
        sent_at,
        is_rejected,
    });
    is_rejected
}

/// Sends the auth check call. Returns true only if it is clearly rejected.
async fn check(upstream: &Upstream, api_request: &ApiRequest<'_>, sent_at: Instant) -> bool {
    let limits = &upstream.all.0.limits;
    let check = ApiRequest {
        path: api_request.auth_check.0,
        query: api_request.auth_check.1,
        ..*api_request
    };
    let Ok(_permit) = upstream
        .account_state
        .pace
        .acquire_permit(limits.max_wait)
        .await
    else {
        return false;
    };
    let Some(request) = upstream.request(&check) else {
        return false;
    };
    upstream.count_call();
    let response = call(
        &upstream.all.0.client,
        request,
        limits,
        &upstream.call_counters.received,
        || BufferedBody::new(HEAD),
    )
    .await;
    match classify(upstream, &check, response) {
        ResponseAction::Rejected(_) => true,
        ResponseAction::Done(_) => {
            upstream.account_state.record_acceptance(sent_at);
            false
        }
        ResponseAction::Wait(wait_hint) => {
            upstream
                .account_state
                .pace
                .pause(wait_hint, limits.min_wait);
            false
        }
        _ => false,
    }
}
