//! Notifications: who is notified of what, and the delivery. The transaction that changes something
//! also writes its notifications to the outbox (`enqueue_notification`). `compose_messages`
//! combines all notifications of a recipient into one message, and `sender` delivers it by `mail`
//! or `webhooks` with retries. Start at `outbox/mod.rs`.

pub mod mail;
pub mod outbox;
mod render;
mod sender;
pub mod webhooks;

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, Transaction};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::{Host, Url};

use crate::clock::{Clock, Millis};
use crate::connectors::upstream::allowed_hosts::AllowedHosts;
use crate::connectors::upstream::webhook_client::WebhookClient;
pub use crate::datasets::policies::NotificationKind;
use crate::db::Db;
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::NotificationId;
use crate::vault::Vault;

/// The notification service. Cheap to clone.
#[derive(Clone)]
pub struct Notifications(Arc<NotificationsInner>);

/// The shared state of `Notifications`.
pub struct NotificationsInner {
    pub db: Db,
    pub clock: Clock,
    vault: Vault,
    http: WebhookClient,
    mail_hosts: AllowedHosts,
    public_url: RwLock<Url>,
    /// The host name in EHLO; `None` is the host of the public URL.
    mail_hello: Option<Host>,
    /// Wakes the sender when the outbox has a new notification.
    pub wake: Notify,
}

impl Deref for Notifications {
    type Target = NotificationsInner;

    fn deref(&self) -> &NotificationsInner {
        &self.0
    }
}

/// The delivery channel of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
pub enum Channel {
    Mail,
    Webhook,
}

impl Channel {
    pub fn word(self) -> &'static str {
        match self {
            Channel::Mail => "mail",
            Channel::Webhook => "webhook",
        }
    }
}

/// The content of a notification of one DataSet. It contains no secret, and text of a vendor only
/// if it is masked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NotificationDetails {
    pub dataset_id: String,
    pub dataset: String,
    /// Empty if the account was deleted.
    pub account: String,
    pub vendor: String,
    /// A code for programs: the error code, or the reason for the stop.
    pub code: String,
    /// What happened.
    pub happened: String,
    /// Who can fix it.
    pub who: String,
    /// What happens next, and when.
    pub next: String,
}

/// The code of a reminder, which has the kind `late`.
pub const REMINDER: &str = "reminder";

/// The recipients of a notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    pub emails: Vec<String>,
    /// By id.
    pub webhooks: Vec<String>,
}

impl Notifications {
    /// `mail_hello`: the host name in EHLO; `None` is the host of `public_url`.
    pub fn new(
        db: Db,
        clock: Clock,
        vault: Vault,
        http: WebhookClient,
        mail_hosts: AllowedHosts,
        public_url: Url,
        mail_hello: Option<Host>,
    ) -> Self {
        Self(Arc::new(NotificationsInner {
            db,
            clock,
            vault,
            http,
            mail_hosts,
            public_url: RwLock::new(public_url),
            mail_hello,
            wake: Notify::new(),
        }))
    }

    /// Sets the URL of the server, once it is known.
    pub fn set_public_url(&self, public_url: &Url) {
        *self
            .public_url
            .write()
            .unwrap_or_else(PoisonError::into_inner) = public_url.clone();
    }

    fn link(&self, path: &str) -> String {
        let base = self
            .public_url
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        format!("{}{path}", base.as_str().trim_end_matches('/'))
    }

    /// Starts the sender. It ends when `stop` fires.
    pub fn start(&self, stop: &CancellationToken, tasks: &TaskTracker) {
        tasks.spawn(sender::send_until_stopped(self.clone(), stop.clone()));
    }
}

/// Writes a notification to the outbox, in the transaction of the change that it reports. Nothing
/// is written for mail if no mail server is set up, or for a webhook that was deleted.
pub async fn enqueue_notification(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    kind: NotificationKind,
    details: &NotificationDetails,
    to: &Recipients,
) -> Result<()> {
    let has_mail: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM mail_server")
        .fetch_one(&mut **tx)
        .await?;
    let known: Vec<String> = if to.webhooks.is_empty() {
        Vec::new()
    } else {
        sqlx::query_scalar("SELECT id FROM webhooks")
            .fetch_all(&mut **tx)
            .await?
    };
    let emails = to
        .emails
        .iter()
        .filter(|_| has_mail > 0)
        .map(|email| (Channel::Mail, email));
    let webhooks = to
        .webhooks
        .iter()
        .filter(|id| known.contains(id))
        .map(|id| (Channel::Webhook, id));
    let text = serde_json::to_string(details).map_err(Error::internal)?;
    for (channel, recipient) in emails.chain(webhooks) {
        sqlx::query(
            "INSERT INTO notifications (id, channel, recipient, kind, about, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(NotificationId::new())
        .bind(channel)
        .bind(recipient)
        .bind(kind.word())
        .bind(&text)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    }
    kill_point("notify.written");
    Ok(())
}
