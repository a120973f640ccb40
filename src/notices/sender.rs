//! The sender: looks into the outbox, delivers what is due side by side, and looks again when the next message is due.

use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::outbox::Message;
use super::{Channel, Notices};
use crate::clock::Millis;
use crate::db::marks::step;
use crate::error::Result;

/// It looks at least this often.
const LOOK_AT_LEAST: Millis = 5_000;
/// How often what was told long ago is forgotten.
const PRUNE_EVERY: Millis = 3_600_000;
/// Deliveries under way at once: one that stalls does not hold up the others.
const AT_ONCE: usize = 8;

pub(super) async fn send_until_stopped(notices: Notices, stop: CancellationToken) {
    // Of the time that passed.
    let mut pruned_at: Option<Millis> = None;
    loop {
        let (now, passed) = (notices.clock.now(), notices.clock.passed());
        let prune = pruned_at.is_none_or(|at| passed - at >= PRUNE_EVERY);
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = round(&notices, prune) => round,
        };
        let next = match round {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(cause = ?error.inside(), "the outbox could not be looked through: {error}");
                None
            }
        };
        if prune {
            pruned_at = Some(passed);
        }
        // Reckoned from before it looked: what became due meanwhile is looked at again. Some time at least, so that a message which
        // cannot be taken up does not keep a core busy.
        let until = next.map_or(now + LOOK_AT_LEAST, |next| next.clamp(now + 50, now + LOOK_AT_LEAST));
        tokio::select! {
            () = stop.cancelled() => return,
            () = notices.wake.notified() => {}
            () = notices.clock.wait_until_or(until, Duration::from_millis(LOOK_AT_LEAST.unsigned_abs())) => {}
        }
    }
}

async fn round(notices: &Notices, prune: bool) -> Result<Option<Millis>> {
    if prune {
        notices.prune().await?;
    }
    let ripe = notices.gather().await?;
    loop {
        let due = notices.take_up().await?;
        if due.is_empty() {
            break;
        }
        step("notify.taken_up");
        futures_util::stream::iter(due)
            .for_each_concurrent(AT_ONCE, |message| async move {
                let sent = notices.deliver(&message).await;
                step("notify.delivered");
                if let Err(error) = notices.settle(&message, &sent).await {
                    tracing::error!(cause = ?error.inside(), "what became of a message could not be written: {error}");
                }
                step("notify.settled");
            })
            .await;
    }
    let next = notices.next_try().await?;
    Ok(ripe.into_iter().chain(next).min())
}

impl Notices {
    /// One try. `Err` is why it was not taken.
    pub(super) async fn deliver(&self, message: &Message) -> std::result::Result<(), String> {
        match message.channel() {
            Channel::Mail => self.send_mail(message).await,
            Channel::Webhook => self.post(message).await,
        }
    }
}
