//! The sender: looks into the outbox, delivers what is due side by side, and looks again when the next message is due or one has ended.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::outbox::Message;
use super::{Channel, Notices};
use crate::clock::Millis;
use crate::db::marks::step;
use crate::error::{Error, Result};
use crate::ids::MessageId;

/// It looks at least this often.
const LOOK_AT_LEAST: Millis = 5_000;
/// How often what was told long ago is forgotten.
const PRUNE_EVERY: Millis = 3_600_000;
/// Deliveries of one channel under way at once: one that stalls does not hold up the others, nor a channel that stalls the other one.
const AT_ONCE: usize = 8;
/// How long a stop waits for deliveries that are under way.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn send_until_stopped(notices: Notices, stop: CancellationToken) {
    // Of the time that passed.
    let mut pruned_at: Option<Millis> = None;
    // Tasks of their own: each may hold the one connection that writes, and must be able to give it back.
    let mut under_way = JoinSet::new();
    let mut busy: HashMap<Id, (Channel, MessageId)> = HashMap::new();
    loop {
        let (now, passed) = (notices.clock.now(), notices.clock.passed());
        let prune = pruned_at.is_none_or(|at| passed - at >= PRUNE_EVERY);
        let look = tokio::select! {
            () = stop.cancelled() => return finish(under_way).await,
            look = look(&notices, prune, &busy) => look,
        };
        let (due, next) = notices.db.outages().watched("notifications could not be read from the database", look).unwrap_or_default();
        for message in due {
            let of = (message.channel(), message.id.clone());
            busy.insert(under_way.spawn(send(notices.clone(), message)).id(), of);
        }
        if prune {
            pruned_at = Some(passed);
        }
        // Reckoned from before it looked: what became due meanwhile is looked at again. Some time at least, so that a message which
        // cannot be taken up does not keep a core busy.
        let until = next.map_or(now + LOOK_AT_LEAST, |next| next.clamp(now + 50, now + LOOK_AT_LEAST));
        tokio::select! {
            () = stop.cancelled() => return finish(under_way).await,
            () = notices.wake.notified() => {}
            () = notices.clock.wait_until_or(until, Duration::from_millis(LOOK_AT_LEAST.unsigned_abs())) => {}
            Some(ended) = under_way.join_next_with_id() => {
                let task = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(task, ())| *task);
                let of = busy.remove(&task);
                if let Err(why) = ended {
                    // It is tried again when it is due, as one that was not taken. What a panic said is left out.
                    let message = of.map(|(_, id)| id.to_string()).unwrap_or_default();
                    tracing::error!(message, cause = ?Error::from(why).inside(), "a delivery failed with an internal error; Chatlake retries it");
                }
            }
        }
    }
}

/// Before a stop, waits for the deliveries that are under way: one that was delivered and not noted would be delivered a second time.
async fn finish(mut under_way: JoinSet<()>) {
    let ended = async { while under_way.join_next().await.is_some() {} };
    if tokio::time::timeout(FINISH_WITHIN, ended).await.is_err() {
        tracing::warn!("some deliveries did not finish before the server stopped; Chatlake retries them after the next start");
    }
}

/// What is to be sent now, as far as there is room for it beside what is `busy`, and when to look again.
async fn look(notices: &Notices, prune: bool, busy: &HashMap<Id, (Channel, MessageId)>) -> Result<(Vec<Message>, Option<Millis>)> {
    if prune {
        notices.prune().await?;
    }
    let ripe = notices.gather().await?;
    let mut due = Vec::new();
    // Most looks find nothing, and need not write.
    let waits = notices.next_try().await?.is_some_and(|at| at <= notices.clock.now());
    for channel in [Channel::Mail, Channel::Webhook].into_iter().filter(|_| waits) {
        let busy: Vec<&MessageId> = busy.values().filter(|(of, _)| *of == channel).map(|(_, id)| id).collect();
        if busy.len() < AT_ONCE {
            due.extend(notices.take_up(channel, AT_ONCE - busy.len(), &busy).await?);
        }
    }
    if !due.is_empty() {
        step("notify.taken_up");
    }
    let next = notices.next_try().await?;
    Ok((due, ripe.into_iter().chain(next).min()))
}

async fn send(notices: Notices, message: Message) {
    let sent = notices.deliver(&message).await;
    step("notify.delivered");
    if let Err(error) = notices.settle(&message, &sent).await {
        tracing::error!(cause = ?error.inside(), "the result of a delivery could not be saved: {error}");
    }
    step("notify.settled");
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
