//! Who is told of what, and that it gets there. What happened is written into the outbox by the transaction that did it (`write_in`);
//! `gather` makes one message of all that a recipient is to be told, `sender` delivers it by `mail` or `webhooks` and tries again.
//! Start at `outbox.rs`.

pub mod mail;
pub mod outbox;
mod sender;
pub mod webhooks;
mod words;

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, Transaction};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::{Host, Url};

use crate::clock::{Clock, Millis};
use crate::connectors::upstream::hosts::Hosts;
use crate::connectors::upstream::outgoing::Outgoing;
pub use crate::datasets::upkeep::Kind;
use crate::db::Db;
use crate::db::marks::step;
use crate::error::{Error, Result};
use crate::ids::NoticeId;
use crate::vault::Vault;

/// The handle on all that is told. Cheap to clone.
#[derive(Clone)]
pub struct Notices(Arc<Parts>);

/// See `Notices`.
pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    vault: Vault,
    way: Outgoing,
    mail_hosts: Hosts,
    public_url: RwLock<Url>,
    /// The name that mail servers are greeted with; the host of the public address when there is none.
    mail_hello: Option<Host>,
    /// Wakes the sender: there is something in the outbox.
    pub wake: Notify,
}

impl Deref for Notices {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// How a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    fn parse(word: &str) -> Self {
        if word == "webhook" { Self::Webhook } else { Self::Mail }
    }
}

/// What is told of one DataSet. No secret is in it, and no word of a vendor but those that were masked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    pub dataset_id: String,
    pub dataset: String,
    /// Empty once the account was deleted.
    pub account: String,
    pub vendor: String,
    /// A word for programs: the code of the failure, or what stopped it.
    pub code: String,
    /// What happened.
    pub happened: String,
    /// Who must act.
    pub who: String,
    /// What is next, and when.
    pub next: String,
}

/// The code of what is told to somebody who wanted to be reminded. It is of the kind `late`.
pub const REMINDER: &str = "reminder";

/// To whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    pub emails: Vec<String>,
    /// By id.
    pub webhooks: Vec<String>,
}

impl Notices {
    /// `mail_hello`: the name that mail servers are greeted with; none for the host of `public_url`.
    pub fn new(db: Db, clock: Clock, vault: Vault, way: Outgoing, mail_hosts: Hosts, public_url: Url, mail_hello: Option<Host>) -> Self {
        Self(Arc::new(Parts { db, clock, vault, way, mail_hosts, public_url: RwLock::new(public_url), mail_hello, wake: Notify::new() }))
    }

    /// The address that people type, once it is known for certain.
    pub fn is_reached_at(&self, public_url: &Url) {
        *self.public_url.write().unwrap_or_else(PoisonError::into_inner) = public_url.clone();
    }

    fn link(&self, path: &str) -> String {
        let base = self.public_url.read().unwrap_or_else(PoisonError::into_inner);
        format!("{}{path}", base.as_str().trim_end_matches('/'))
    }

    /// Starts the sender. It ends when `stop` fires.
    pub fn start(&self, stop: &CancellationToken, tasks: &TaskTracker) {
        tasks.spawn(sender::send_until_stopped(self.clone(), stop.clone()));
    }
}

/// Writes down, with the change that it tells of, what these recipients are to be told. Nothing is written for mail while no mail server
/// is set up, nor for a webhook that is gone.
pub async fn write_in(tx: &mut Transaction<'static, Sqlite>, now: Millis, kind: Kind, about: &About, to: &Recipients) -> Result<()> {
    let has_mail: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM mail_server").fetch_one(&mut **tx).await?;
    let known: Vec<(String,)> = if to.webhooks.is_empty() { Vec::new() } else { sqlx::query_as("SELECT id FROM webhooks").fetch_all(&mut **tx).await? };
    let emails = to.emails.iter().filter(|_| has_mail > 0).map(|email| (Channel::Mail, email));
    let webhooks = to.webhooks.iter().filter(|id| known.iter().any(|(known,)| known == *id)).map(|id| (Channel::Webhook, id));
    let text = serde_json::to_string(about).map_err(Error::internal)?;
    for (channel, recipient) in emails.chain(webhooks) {
        sqlx::query("INSERT INTO notices (id, channel, recipient, kind, about, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(NoticeId::new())
            .bind(channel.word())
            .bind(recipient)
            .bind(kind.word())
            .bind(&text)
            .bind(now)
            .execute(&mut **tx)
            .await?;
    }
    step("notify.written");
    Ok(())
}
