//! Combines the notifications of a recipient into one message.

use sqlx::FromRow;

use super::{BATCH_WINDOW, HOUR, MAX_PER_HOUR};
use crate::clock::Millis;
use crate::db::failpoints::kill_point;
use crate::error::Result;
use crate::ids::{MessageId, NotificationId};
use crate::notifications::render::{self, Notification};
use crate::notifications::{Channel, NotificationKind, Notifications};

/// The maximum number of notifications in a message; further ones become another message.
const MAX_PER_MESSAGE: i64 = 1_000;

/// A recipient with notifications that are not part of a message yet.
#[derive(FromRow)]
struct WaitingRecipient {
    channel: Channel,
    recipient: String,
    /// The creation of the oldest of them.
    since: Millis,
}

/// A notification that is not part of a message yet.
#[derive(FromRow)]
struct PendingNotification {
    id: NotificationId,
    kind: String,
    /// `NotificationDetails` as JSON.
    about: String,
    created_at: Millis,
}

impl Notifications {
    /// Composes a message for each recipient whose notifications have waited long enough. Returns
    /// when the next message is due.
    pub(in crate::notifications) async fn compose_messages(&self) -> Result<Option<Millis>> {
        let now = self.clock.now();
        let waiting: Vec<WaitingRecipient> = sqlx::query_as(
            "SELECT channel, recipient, MIN(created_at) AS since
             FROM notifications
             WHERE message_id IS NULL
             GROUP BY channel, recipient",
        )
        .fetch_all(self.db.read())
        .await?;
        let mut next: Option<Millis> = None;
        for WaitingRecipient {
            channel,
            recipient,
            since,
        } in waiting
        {
            let ready_at = self
                .earliest_send(channel, &recipient, since + BATCH_WINDOW, now)
                .await?;
            if ready_at > now {
                next = Some(next.map_or(ready_at, |next| next.min(ready_at)));
            } else {
                self.compose_message(channel, &recipient, now).await?;
            }
        }
        Ok(next)
    }

    /// The earliest time for a message to a recipient whose notifications are ready at `ready`.
    async fn earliest_send(
        &self,
        channel: Channel,
        recipient: &str,
        ready: Millis,
        now: Millis,
    ) -> Result<Millis> {
        if ready > now {
            return Ok(ready);
        }
        // A message with a later time was created before the clock was set back; it does not count.
        let recent: Vec<Millis> = sqlx::query_scalar(
            "SELECT created_at
             FROM messages
             WHERE channel = $1
                 AND recipient = $2
                 AND created_at > $3
                 AND created_at <= $5
                 AND is_test = 0
             ORDER BY created_at DESC
             LIMIT $4",
        )
        .bind(channel)
        .bind(recipient)
        .bind(now - HOUR)
        .bind(MAX_PER_HOUR)
        .bind(now)
        .fetch_all(self.db.read())
        .await?;
        // The maximum number of messages was sent; the next one may be sent an hour after the
        // oldest of them.
        let full = i64::try_from(recent.len()).is_ok_and(|count| count >= MAX_PER_HOUR);
        Ok(recent
            .last()
            .filter(|_| full)
            .map_or(ready, |oldest| oldest + HOUR))
    }

    async fn compose_message(&self, channel: Channel, recipient: &str, now: Millis) -> Result<()> {
        let mut tx = self.db.write().await?;
        let rows: Vec<PendingNotification> = sqlx::query_as(
            "SELECT id, kind, about, created_at
             FROM notifications
             WHERE message_id IS NULL AND channel = $1 AND recipient = $2
             ORDER BY created_at, id
             LIMIT $3",
        )
        .bind(channel)
        .bind(recipient)
        .bind(MAX_PER_MESSAGE)
        .fetch_all(&mut *tx)
        .await?;
        let read = |row: &PendingNotification| {
            Some(Notification {
                kind: NotificationKind::parse(&row.kind)?,
                details: serde_json::from_str(&row.about).ok()?,
                at: row.created_at,
            })
        };
        let notifications: Vec<Notification> = rows.iter().filter_map(read).collect();
        let id = MessageId::new();
        let body = match channel {
            Channel::Mail => self.render_text(&notifications),
            Channel::Webhook => self.render_json(&id, &notifications, now),
        };
        sqlx::query(
            "INSERT INTO messages (
                 id, channel, recipient, subject, body, notification_count, state, next_try_at,
                 created_at
             )
             VALUES ($1, $2, $3, $4, $5, $6, 'waiting', $7, $7)",
        )
        .bind(&id)
        .bind(channel)
        .bind(recipient)
        .bind(render::subject(&notifications))
        .bind(body)
        .bind(i64::try_from(rows.len()).unwrap_or(i64::MAX))
        .bind(now)
        .execute(&mut *tx)
        .await?;
        for row in &rows {
            sqlx::query("UPDATE notifications SET message_id = $1 WHERE id = $2")
                .bind(&id)
                .bind(&row.id)
                .execute(&mut *tx)
                .await?;
        }
        kill_point("notify.gathered");
        tx.commit().await?;
        kill_point("notify.message");
        Ok(())
    }
}
