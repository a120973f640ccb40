//! The sender: polls the outbox, delivers due messages concurrently, and polls again when the next
//! message is due or a delivery ended.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::outbox::Message;
use super::{Channel, Notifications};
use crate::clock::Millis;
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::MessageId;

/// The maximum interval between two polls.
const MAX_POLL_INTERVAL: Millis = 5_000;
/// How often old results are deleted.
const PRUNE_EVERY: Millis = 3_600_000;
/// Concurrent deliveries of a channel. A slow delivery does not block the others, and a slow
/// channel does not block the other channel.
const MAX_CONCURRENT: usize = 8;
/// How long a shutdown waits for running deliveries.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn send_until_stopped(notifications: Notifications, stop: CancellationToken) {
    // In monotonic time.
    let mut pruned_at: Option<Millis> = None;
    // Separate tasks: each may hold the only write connection, and must be able to return it.
    let mut tasks = JoinSet::new();
    let mut busy: HashMap<Id, (Channel, MessageId)> = HashMap::new();
    loop {
        let (now, passed) = (notifications.clock.now(), notifications.clock.monotonic());
        let prune = pruned_at.is_none_or(|at| passed - at >= PRUNE_EVERY);
        let polled = tokio::select! {
            () = stop.cancelled() => return finish(tasks).await,
            polled = poll(&notifications, prune, &busy) => polled,
        };
        let (due, next) = notifications
            .db
            .outages()
            .track("notifications could not be read from the database", polled)
            .unwrap_or_default();
        for message in due {
            let of = (message.channel, message.id.clone());
            busy.insert(tasks.spawn(send(notifications.clone(), message)).id(), of);
        }
        if prune {
            pruned_at = Some(passed);
        }
        // Computed from the time before the poll, so that messages that became due meanwhile are
        // polled again. At least 50 ms, so that a message that cannot be claimed does not keep a
        // core busy.
        let until = next.map_or(now + MAX_POLL_INTERVAL, |next| {
            next.clamp(now + 50, now + MAX_POLL_INTERVAL)
        });
        let longest_wait = Duration::from_millis(MAX_POLL_INTERVAL.unsigned_abs());
        tokio::select! {
            () = stop.cancelled() => return finish(tasks).await,
            () = notifications.wake.notified() => {}
            () = notifications.clock.wait_until_or_for(until, longest_wait) => {}
            Some(ended) = tasks.join_next_with_id() => {
                let task =
                    ended.as_ref().map_or_else(tokio::task::JoinError::id, |(task, ())| *task);
                let of = busy.remove(&task);
                if let Err(why) = ended {
                    // The message is retried when it is due, like one whose delivery failed. The
                    // panic message is not logged.
                    let message = of.map(|(_, id)| id.to_string()).unwrap_or_default();
                    tracing::error!(
                        message,
                        cause = ?Error::from(why).log_cause(),
                        "a delivery failed with an internal error; Chatlake retries it"
                    );
                }
            }
        }
    }
}

/// Waits for running deliveries before a shutdown: a delivery without a recorded result would be
/// repeated.
async fn finish(mut tasks: JoinSet<()>) {
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, ended).await.is_err() {
        tracing::warn!(
            "some deliveries did not finish before the server stopped; \
             Chatlake retries them after the next start"
        );
    }
}

/// The messages to send now, as far as there is room next to the `busy` ones, and the time of the
/// next poll.
async fn poll(
    notifications: &Notifications,
    prune: bool,
    busy: &HashMap<Id, (Channel, MessageId)>,
) -> Result<(Vec<Message>, Option<Millis>)> {
    if prune {
        notifications.prune().await?;
    }
    let ready_at = notifications.compose_messages().await?;
    let mut due = Vec::new();
    // Most polls find nothing, and need no write transaction.
    let has_due = notifications
        .next_try()
        .await?
        .is_some_and(|at| at <= notifications.clock.now());
    for channel in [Channel::Mail, Channel::Webhook]
        .into_iter()
        .filter(|_| has_due)
    {
        let busy: Vec<&MessageId> = busy
            .values()
            .filter(|(of, _)| *of == channel)
            .map(|(_, id)| id)
            .collect();
        if busy.len() < MAX_CONCURRENT {
            due.extend(
                notifications
                    .claim_due(channel, MAX_CONCURRENT - busy.len(), &busy)
                    .await?,
            );
        }
    }
    if !due.is_empty() {
        kill_point("notify.taken_up");
    }
    let next = notifications.next_try().await?;
    Ok((due, ready_at.into_iter().chain(next).min()))
}

async fn send(notifications: Notifications, message: Message) {
    let sent = notifications.deliver(&message).await;
    kill_point("notify.delivered");
    if let Err(error) = notifications.record_attempt(&message, &sent).await {
        tracing::error!(
            cause = ?error.log_cause(),
            "the result of a delivery could not be saved: {error}"
        );
    }
    kill_point("notify.settled");
}

impl Notifications {
    /// One attempt. `Err` is the reason of the failure.
    pub(super) async fn deliver(&self, message: &Message) -> std::result::Result<(), String> {
        match message.channel {
            Channel::Mail => self.send_mail(message).await,
            Channel::Webhook => self.post(message).await,
        }
    }
}
