//! The outbox in the catalogue: notifications are combined into messages (`compose.rs`), messages
//! are delivered, and their results are stored for 30 days. All SQL of notifications and messages
//! is here, except the insert in `enqueue_notification`.

mod compose;

use std::time::Duration;

use backon::BackoffBuilder;
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Channel, Notifications, render};
use crate::clock::Millis;
use crate::db::decode_readable;
use crate::error::Result;
use crate::ids::MessageId;

/// How long a notification waits for others, so that one cause that affects many DataSets gives one
/// message.
pub const BATCH_WINDOW: Millis = 10_000;
/// The maximum number of messages to a recipient within an hour. Further notifications wait and
/// become one message.
pub const MAX_PER_HOUR: i64 = 6;
const HOUR: Millis = 3_600_000;
/// A message that could not be delivered for this long fails.
pub const GIVE_UP_AFTER: Millis = 24 * HOUR;
/// How long the result of a message is stored.
const RETENTION: Millis = 30 * 24 * HOUR;

/// A message to deliver.
#[derive(Clone, Debug, FromRow)]
pub struct Message {
    pub id: MessageId,
    pub(super) channel: Channel,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    attempts: i64,
    next_try_at: i64,
    created_at: i64,
}

/// The state of a message. The last two are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
enum MessageState {
    Waiting,
    Sent,
    Failed,
}

/// The result of a message.
#[derive(Clone, Debug, FromRow)]
pub struct Delivery {
    pub id: MessageId,
    pub channel: String,
    /// An email address, or the name of a webhook.
    pub recipient: String,
    pub subject: String,
    pub notification_count: i64,
    pub is_test: i64,
    /// waiting, sent or failed.
    pub state: String,
    pub attempts: i64,
    pub next_try_at: Millis,
    pub error: Option<String>,
    pub created_at: Millis,
    pub ended_at: Option<Millis>,
}

/// The delay after attempt number `attempt`: one minute, doubled each time, at most an hour.
fn retry_delay(attempt: i64) -> Millis {
    let steps = backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(60))
        .with_max_delay(Duration::from_secs(3_600))
        .without_max_times();
    let at = usize::try_from(attempt - 1).unwrap_or(0).min(64);
    let delay = steps.build().nth(at).unwrap_or(Duration::from_secs(3_600));
    i64::try_from(delay.as_millis()).unwrap_or(HOUR)
}

impl Notifications {
    /// Claims at most `limit` due messages of a channel that are not `busy`: counts the attempt and
    /// sets the time of the next one before anything is sent, so that a message is sent again after
    /// a crash and never lost.
    pub(super) async fn claim_due(
        &self,
        channel: Channel,
        limit: usize,
        busy: &[&MessageId],
    ) -> Result<Vec<Message>> {
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        let due: Vec<Message> = sqlx::query_as(
            "SELECT id, channel, recipient, subject, body, attempts, next_try_at, created_at
             FROM messages
             WHERE state = 'waiting' AND next_try_at <= $1 AND channel = $2
             ORDER BY next_try_at, id
             LIMIT $3",
        )
        .bind(now)
        .bind(channel)
        .bind(i64::try_from(limit + busy.len()).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        let mut claimed = Vec::new();
        for mut message in due
            .into_iter()
            .filter(|message| !busy.contains(&&message.id))
            .take(limit)
        {
            message.attempts += 1;
            message.next_try_at = now + retry_delay(message.attempts);
            sqlx::query("UPDATE messages SET attempts = $1, next_try_at = $2 WHERE id = $3")
                .bind(message.attempts)
                .bind(message.next_try_at)
                .bind(&message.id)
                .execute(&mut *tx)
                .await?;
            claimed.push(message);
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// Records the result of an attempt. A failed message is retried, unless the retry would be
    /// more than a day after the message was written.
    pub(super) async fn record_attempt(
        &self,
        message: &Message,
        sent: &std::result::Result<(), String>,
    ) -> Result<()> {
        let now = self.clock.now();
        let given_up = sent.is_err() && message.next_try_at > message.created_at + GIVE_UP_AFTER;
        let state = match sent {
            Ok(()) => MessageState::Sent,
            Err(_) if given_up => MessageState::Failed,
            Err(_) => MessageState::Waiting,
        };
        let (channel, attempt) = (message.channel.word(), message.attempts);
        match sent {
            Ok(()) => tracing::info!(message = %message.id, channel, attempt, "delivered"),
            Err(why) => tracing::warn!(
                message = %message.id,
                channel,
                attempt,
                given_up,
                "not delivered: {why}"
            ),
        }
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE messages
             SET state = $1, error = $2, ended_at = CASE WHEN $1 = 'waiting' THEN NULL ELSE $3 END
             WHERE id = $4 AND state = 'waiting'",
        )
        .bind(state)
        .bind(sent.as_ref().err())
        .bind(now)
        .bind(&message.id)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Creates a test message; it is not retried.
    pub(super) async fn test_message(&self, channel: Channel, recipient: &str) -> Result<Message> {
        let now = self.clock.now();
        let text = format!(
            "This is a test notification from Chatlake. A person sent it at {}.",
            self.link("/settings/notifications")
        );
        let id = MessageId::new();
        let body = match channel {
            Channel::Mail => format!("{text}\n"),
            Channel::Webhook => {
                let at = crate::clock::iso(now);
                serde_json::json!({
                    "id": id,
                    "created_at": at,
                    "text": render::escape_for_slack(&text),
                    "notices": [],
                    "more": 0,
                    "test": true,
                })
                .to_string()
            }
        };
        // The attempt is in progress: no other task claims it, and after a crash `prune` ends it.
        let message = Message {
            id,
            channel,
            recipient: recipient.to_owned(),
            subject: "Chatlake test notification".to_owned(),
            body,
            attempts: 1,
            next_try_at: i64::MAX,
            created_at: now,
        };
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO messages (
                 id, channel, recipient, subject, body, notification_count, is_test, state,
                 attempts, next_try_at, created_at
             )
             VALUES ($1, $2, $3, $4, $5, 0, 1, 'waiting', 1, $6, $7)",
        )
        .bind(&message.id)
        .bind(message.channel)
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
        Ok(sqlx::query_scalar(
            "SELECT MIN(next_try_at) FROM messages WHERE state = 'waiting' AND is_test = 0",
        )
        .fetch_one(self.db.read())
        .await?)
    }

    /// Deletes old results, and ends test messages that a crash interrupted.
    pub(super) async fn prune(&self) -> Result<()> {
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM messages WHERE state <> 'waiting' AND ended_at < $1")
            .bind(now - RETENTION)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "UPDATE messages
             SET
                 state = 'failed', error = 'The server stopped during the delivery.',
                 ended_at = $1
             WHERE state = 'waiting' AND is_test = 1 AND created_at < $2",
        )
        .bind(now)
        .bind(now - HOUR)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// The newest deliveries, newest first.
    pub async fn deliveries(&self, limit: i64) -> Result<Vec<Delivery>> {
        // The recipient of a webhook's message is the id of the webhook.
        let rows = sqlx::query(
            "SELECT
                 m.id, m.channel,
                 COALESCE(
                     w.name,
                     CASE WHEN m.channel = 'mail' THEN m.recipient ELSE 'a deleted webhook' END
                 ) AS recipient,
                 m.subject, m.notification_count, m.is_test, m.state, m.attempts, m.next_try_at,
                 m.error, m.created_at, m.ended_at
             FROM messages m
             LEFT JOIN webhooks w ON w.id = m.recipient
             ORDER BY m.created_at DESC, m.id DESC
             LIMIT $1",
        )
        .bind(limit)
        .fetch_all(self.db.read())
        .await?;
        Ok(decode_readable(rows))
    }
}

/// Moves all times by `back` after the clock was set back, so that waiting notifications and
/// messages keep their remaining time.
pub(crate) async fn shift_times_back(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    back: Millis,
) -> Result<()> {
    for moved in [
        // The creation decides when a notification becomes part of a message.
        "UPDATE notifications
         SET created_at = created_at - $2
         WHERE message_id IS NULL AND created_at > $1",
        "UPDATE messages SET created_at = created_at - $2 WHERE created_at > $1",
        // No attempt moves into the past.
        "UPDATE messages
         SET next_try_at = CASE WHEN next_try_at - $2 > $1 THEN next_try_at - $2 ELSE $1 END
         WHERE state = 'waiting' AND is_test = 0 AND next_try_at > $1",
    ] {
        sqlx::query(moved)
            .bind(now)
            .bind(back)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delays_double_up_to_an_hour() {
        let minutes: Vec<i64> = (1..=9)
            .map(|attempt| retry_delay(attempt) / 60_000)
            .collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(retry_delay(1_000_000), HOUR);
    }
}
