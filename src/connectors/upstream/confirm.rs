//! Whether credentials that were rejected are bad. One rejection says little: firewalls and tired servers send them as well. So the
//! connector's check call is made a moment later, and must be rejected, too. While it is made, all others that were rejected wait for it.

use tokio::time::Instant;

use super::call::{Whole, call};
use super::meaning::{Next, meaning};
use super::{Ask, Upstream};

/// Bytes of the answer that are looked at.
const HEAD: usize = 64 << 10;

/// What a check call came to.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    /// When it left.
    left: Instant,
    is_rejected: bool,
}

/// Makes the check call, or takes over the verdict of one that left after this answer came.
pub(super) async fn is_rejected(upstream: &Upstream, ask: &Ask<'_>) -> bool {
    let standing = &upstream.standing;
    let came = Instant::now();
    let mut verdict = standing.verdict.lock().await;
    if let Some(known) = verdict.filter(|known| known.left >= came) {
        return known.is_rejected;
    }
    tokio::time::sleep(upstream.all.0.limits.confirm_after).await;
    let left = Instant::now();
    // A request that left after the rejection and was accepted outweighs a second one.
    let is_rejected = check(upstream, ask, left).await && !standing.was_accepted_since(came);
    *verdict = Some(Verdict { left, is_rejected });
    is_rejected
}

/// Whether the check call is rejected. Whatever is not clear is no rejection.
async fn check(upstream: &Upstream, ask: &Ask<'_>, left: Instant) -> bool {
    let limits = &upstream.all.0.limits;
    let check = Ask { path: ask.check.0, query: ask.check.1, ..*ask };
    let Ok(_permit) = upstream.standing.pace.leave(limits.patience).await else { return false };
    let Some(request) = upstream.request(&check) else { return false };
    upstream.count_call();
    let got = call(&upstream.all.0.client, request, limits, &upstream.spent.received, || Whole::new(HEAD)).await;
    match meaning(upstream, &check, got) {
        Next::Rejected(_) => true,
        Next::Done(_) => {
            upstream.standing.accepted(left);
            false
        }
        Next::Wait(told) => {
            upstream.standing.pace.pause(told, limits.least_wait);
            false
        }
        _ => false,
    }
}
