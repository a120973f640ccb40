//! The outbox, in the catalogue: what is to be told becomes messages, messages are sent, and what became of them is kept for a while. All
//! SQL on notices and messages is here, but for the one line that writes a notice down (`write_in`).

use std::time::Duration;

use backon::BackoffBuilder;
use sqlx::{FromRow, Sqlite, Transaction};

use super::words::{self, Told};
use super::{Channel, Kind, Notices};
use crate::clock::Millis;
use crate::db::marks::step;
use crate::db::readable;
use crate::error::Result;
use crate::ids::{MessageId, NoticeId};

/// A notice waits so long for others, so that one trouble of many DataSets is one message.
pub const GATHER: Millis = 10_000;
/// A recipient gets at most so many messages within an hour; what comes beyond waits and becomes one.
pub const MOST_PER_HOUR: i64 = 6;
const HOUR: Millis = 3_600_000;
/// What could not be delivered for so long is given up.
pub const GIVE_UP_AFTER: Millis = 24 * HOUR;
/// What became of a message is kept so long.
const KEEP: Millis = 30 * 24 * HOUR;
/// A message holds at most so many notices; the others make another.
const MOST_IN_ONE: i64 = 1_000;

/// A message on its way.
#[derive(Clone, Debug, FromRow)]
pub struct Message {
    pub id: MessageId,
    channel: String,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    attempts: i64,
    next_try_at: i64,
    created_at: i64,
}

impl Message {
    pub fn channel(&self) -> Channel {
        Channel::parse(&self.channel)
    }
}

/// What became of a message.
#[derive(Clone, Debug, FromRow)]
pub struct Delivery {
    pub id: MessageId,
    pub channel: String,
    /// An address, or the name of a webhook.
    pub to_whom: String,
    pub subject: String,
    pub notices: i64,
    pub is_test: i64,
    /// waiting, sent or failed.
    pub state: String,
    pub attempts: i64,
    pub next_try_at: Millis,
    pub error: Option<String>,
    pub created_at: Millis,
    pub ended_at: Option<Millis>,
}

/// How long after try number `attempt` the next one is: a minute, then twice as long each time, at most an hour.
fn pause(attempt: i64) -> Millis {
    let steps = backon::ExponentialBuilder::default().with_min_delay(Duration::from_secs(60)).with_max_delay(Duration::from_secs(3_600)).without_max_times();
    let at = usize::try_from(attempt - 1).unwrap_or(0).min(64);
    let pause = steps.build().nth(at).unwrap_or(Duration::from_secs(3_600));
    i64::try_from(pause.as_millis()).unwrap_or(HOUR)
}

type NoticeRow = (NoticeId, String, String, i64);

impl Notices {
    /// Makes a message for every recipient that is to be told something and has waited long enough. Answers when the next one is ripe.
    pub(super) async fn gather(&self) -> Result<Option<Millis>> {
        let now = self.clock.now();
        let waiting: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT channel, recipient, MIN(created_at) FROM notices WHERE message_id IS NULL GROUP BY channel, recipient")
                .fetch_all(self.db.read())
                .await?;
        let mut next: Option<Millis> = None;
        for (channel, recipient, since) in waiting {
            let ripe = self.ripe_at(&channel, &recipient, since + GATHER, now).await?;
            if ripe > now {
                next = Some(next.map_or(ripe, |next| next.min(ripe)));
            } else {
                self.gather_for(Channel::parse(&channel), &recipient, now).await?;
            }
        }
        Ok(next)
    }

    /// When a recipient may be told something that is ready at `ready`.
    async fn ripe_at(&self, channel: &str, recipient: &str, ready: Millis, now: Millis) -> Result<Millis> {
        if ready > now {
            return Ok(ready);
        }
        let lately: Vec<(i64,)> = sqlx::query_as(
            "SELECT created_at FROM messages WHERE channel = $1 AND recipient = $2 AND created_at > $3 AND created_at <= $5 AND is_test = 0
             ORDER BY created_at DESC LIMIT $4",
        )
        .bind(channel)
        .bind(recipient)
        .bind(now - HOUR)
        .bind(MOST_PER_HOUR)
        .bind(now)
        .fetch_all(self.db.read())
        .await?;
        // The oldest of the most there may be: an hour after it there may be another.
        let full = i64::try_from(lately.len()).is_ok_and(|count| count >= MOST_PER_HOUR);
        Ok(lately.last().filter(|_| full).map_or(ready, |(oldest,)| oldest + HOUR))
    }

    async fn gather_for(&self, channel: Channel, recipient: &str, now: Millis) -> Result<()> {
        let mut tx = self.db.write().await?;
        let rows: Vec<NoticeRow> = sqlx::query_as(
            "SELECT id, kind, about, created_at FROM notices WHERE message_id IS NULL AND channel = $1 AND recipient = $2 ORDER BY created_at, id LIMIT $3",
        )
        .bind(channel.word())
        .bind(recipient)
        .bind(MOST_IN_ONE)
        .fetch_all(&mut *tx)
        .await?;
        let read = |(_, kind, about, at): &NoticeRow| Some(Told { kind: Kind::parse(kind)?, about: serde_json::from_str(about).ok()?, at: *at });
        let told: Vec<Told> = rows.iter().filter_map(read).collect();
        let id = MessageId::new();
        let body = match channel {
            Channel::Mail => self.text(&told),
            Channel::Webhook => self.json(&id, &told, now),
        };
        sqlx::query(
            "INSERT INTO messages (id, channel, recipient, subject, body, notices, state, next_try_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, 'waiting', $7, $7)",
        )
        .bind(&id)
        .bind(channel.word())
        .bind(recipient)
        .bind(words::subject(&told))
        .bind(body)
        .bind(i64::try_from(rows.len()).unwrap_or(i64::MAX))
        .bind(now)
        .execute(&mut *tx)
        .await?;
        for (notice, ..) in &rows {
            sqlx::query("UPDATE notices SET message_id = $1 WHERE id = $2").bind(&id).bind(notice).execute(&mut *tx).await?;
        }
        step("notify.gathered");
        tx.commit().await?;
        step("notify.message");
        Ok(())
    }

    /// Messages of a channel that are due and not `busy`, at most so many, taken up: the try is counted and the next one set before
    /// anything is sent, so that a crash in the middle sends it again and never loses it.
    pub(super) async fn take_up(&self, channel: Channel, most: usize, busy: &[&MessageId]) -> Result<Vec<Message>> {
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        let due: Vec<Message> = sqlx::query_as(
            "SELECT id, channel, recipient, subject, body, attempts, next_try_at, created_at FROM messages
             WHERE state = 'waiting' AND next_try_at <= $1 AND channel = $2 ORDER BY next_try_at, id LIMIT $3",
        )
        .bind(now)
        .bind(channel.word())
        .bind(i64::try_from(most + busy.len()).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        let mut taken = Vec::new();
        for mut message in due.into_iter().filter(|message| !busy.contains(&&message.id)).take(most) {
            message.attempts += 1;
            message.next_try_at = now + pause(message.attempts);
            sqlx::query("UPDATE messages SET attempts = $1, next_try_at = $2 WHERE id = $3")
                .bind(message.attempts)
                .bind(message.next_try_at)
                .bind(&message.id)
                .execute(&mut *tx)
                .await?;
            taken.push(message);
        }
        tx.commit().await?;
        Ok(taken)
    }

    /// Notes how a try ended. One that failed is tried again, unless that would be later than a day after it was written.
    pub(super) async fn settle(&self, message: &Message, sent: &std::result::Result<(), String>) -> Result<()> {
        let now = self.clock.now();
        let given_up = sent.is_err() && message.next_try_at > message.created_at + GIVE_UP_AFTER;
        let state = match sent {
            Ok(()) => "sent",
            Err(_) if given_up => "failed",
            Err(_) => "waiting",
        };
        match sent {
            Ok(()) => tracing::info!(message = %message.id, channel = message.channel, attempt = message.attempts, "delivered"),
            Err(why) => tracing::warn!(message = %message.id, channel = message.channel, attempt = message.attempts, given_up, "not delivered: {why}"),
        }
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE messages SET state = $1, error = $2, ended_at = CASE WHEN $1 = 'waiting' THEN NULL ELSE $3 END WHERE id = $4 AND state = 'waiting'",
        )
        .bind(state)
        .bind(sent.as_ref().err())
        .bind(now)
        .bind(&message.id)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// A message of its own for whoever presses Test; it is not tried a second time.
    pub(super) async fn test_message(&self, channel: Channel, recipient: &str) -> Result<Message> {
        let now = self.clock.now();
        let text = format!("This is a test notification from Chatlake. A person sent it at {}.", self.link("/settings/notifications"));
        let id = MessageId::new();
        let body = match channel {
            Channel::Mail => format!("{text}\n"),
            Channel::Webhook => {
                let at = crate::clock::iso(now);
                serde_json::json!({ "id": id, "created_at": at, "text": words::for_slack(&text), "notices": [], "more": 0, "test": true }).to_string()
            }
        };
        // Its try is under way: nobody else takes it up, and after a crash it is settled by `prune`.
        let message = Message {
            id,
            channel: channel.word().to_owned(),
            recipient: recipient.to_owned(),
            subject: "Chatlake test notification".to_owned(),
            body,
            attempts: 1,
            next_try_at: i64::MAX,
            created_at: now,
        };
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO messages (id, channel, recipient, subject, body, notices, is_test, state, attempts, next_try_at, created_at)
             VALUES ($1, $2, $3, $4, $5, 0, 1, 'waiting', 1, $6, $7)",
        )
        .bind(&message.id)
        .bind(&message.channel)
        .bind(&message.recipient)
        .bind(&message.subject)
        .bind(&message.body)
        .bind(message.next_try_at)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(message)
    }

    /// When the next message is due.
    pub(super) async fn next_try(&self) -> Result<Option<Millis>> {
        Ok(sqlx::query_scalar("SELECT MIN(next_try_at) FROM messages WHERE state = 'waiting' AND is_test = 0").fetch_one(self.db.read()).await?)
    }

    /// Forgets what was told long ago, and ends tests that a crash cut off.
    pub(super) async fn prune(&self) -> Result<()> {
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM messages WHERE state <> 'waiting' AND ended_at < $1").bind(now - KEEP).execute(&mut *tx).await?;
        sqlx::query("UPDATE messages SET state = 'failed', error = 'The server stopped during the delivery.', ended_at = $1 WHERE state = 'waiting' AND is_test = 1 AND created_at < $2")
            .bind(now)
            .bind(now - HOUR)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The newest deliveries, newest first.
    pub async fn deliveries(&self, most: i64) -> Result<Vec<Delivery>> {
        let rows = sqlx::query(
            "SELECT m.id, m.channel, COALESCE(w.name, CASE WHEN m.channel = 'mail' THEN m.recipient ELSE 'a deleted webhook' END) AS to_whom, m.subject, m.notices,
                    m.is_test, m.state, m.attempts, m.next_try_at, m.error, m.created_at, m.ended_at
             FROM messages m LEFT JOIN webhooks w ON w.id = m.recipient ORDER BY m.created_at DESC, m.id DESC LIMIT $1",
        )
        .bind(most)
        .fetch_all(self.db.read())
        .await?;
        Ok(readable(rows))
    }
}

/// Moves what was written down under a clock that has been set back since by `back`: it waits as long as it would have.
pub(crate) async fn set_back(tx: &mut Transaction<'static, Sqlite>, now: Millis, back: Millis) -> Result<()> {
    for moved in [
        "UPDATE notices SET created_at = created_at - $2 WHERE message_id IS NULL AND created_at > $1",
        "UPDATE messages SET created_at = created_at - $2 WHERE created_at > $1",
        "UPDATE messages SET next_try_at = CASE WHEN next_try_at - $2 > $1 THEN next_try_at - $2 ELSE $1 END WHERE state = 'waiting' AND is_test = 0 AND next_try_at > $1",
    ] {
        sqlx::query(moved).bind(now).bind(back).execute(&mut **tx).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_grow_apart_up_to_an_hour() {
        let minutes: Vec<i64> = (1..=9).map(|attempt| pause(attempt) / 60_000).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(1_000_000), HOUR);
    }
}
