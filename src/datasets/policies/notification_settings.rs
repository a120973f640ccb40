//! Who is notified of which events of a DataSet, and the limits of these settings.

use std::collections::BTreeSet;

use lettre::Address;
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, Transaction};

use crate::actor::Actor;
use crate::datasets::Datasets;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, UserId, WebhookId};

const MAX_EMAILS: usize = 20;
/// The maximum number of email addresses of people who are not on this server, over all DataSets of
/// one owner. The limit exists because these emails are sent in the server's name.
const MAX_EXTERNAL_ADDRESSES: usize = 30;
const MAX_WEBHOOKS_PER_DATASET: usize = 20;
const MAX_FAILURES_IN_A_ROW: i64 = 100;

/// Who is notified of which events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotificationSettings {
    /// `None` for the owner's address.
    pub emails: Option<Vec<String>>,
    /// The ids of webhooks.
    pub webhooks: Vec<String>,
    pub on: Vec<NotificationKind>,
    /// How many runs in a row must fail before a notification is sent.
    pub after: i64,
}

/// The kinds of notifications.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type,
)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    Failure,
    Recovery,
    Late,
    Stopped,
    Sunset,
}

impl NotificationKind {
    pub const ALL: [NotificationKind; 5] = [
        NotificationKind::Failure,
        NotificationKind::Recovery,
        NotificationKind::Late,
        NotificationKind::Stopped,
        NotificationKind::Sunset,
    ];

    pub fn word(self) -> &'static str {
        match self {
            NotificationKind::Failure => "failure",
            NotificationKind::Recovery => "recovery",
            NotificationKind::Late => "late",
            NotificationKind::Stopped => "stopped",
            NotificationKind::Sunset => "sunset",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl NotificationSettings {
    /// Validates addresses, webhook ids, event kinds and the number of failures.
    pub fn new(
        emails: Option<Vec<String>>,
        webhooks: Vec<String>,
        on: Vec<NotificationKind>,
        after: i64,
    ) -> Result<Self> {
        let mut wrong = Vec::new();
        let mut addresses: Vec<String> = Vec::new();
        for text in emails
            .iter()
            .flatten()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
        {
            match parse_email(text) {
                Some(address)
                    if addresses
                        .iter()
                        .any(|known| known.eq_ignore_ascii_case(&address)) => {}
                Some(address) => addresses.push(address),
                None => wrong.push((
                    "emails".to_owned(),
                    format!(
                        "“{}” is not an email address.",
                        text.chars().take(100).collect::<String>()
                    ),
                )),
            }
        }
        if addresses.len() > MAX_EMAILS {
            wrong.push((
                "emails".to_owned(),
                format!("Enter at most {MAX_EMAILS} email addresses."),
            ));
        }
        let mut ids: Vec<String> = webhooks
            .iter()
            .filter_map(|id| WebhookId::parse(id))
            .map(|id| id.to_string())
            .collect();
        if ids.len() != webhooks.len() || ids.len() > MAX_WEBHOOKS_PER_DATASET {
            wrong.push((
                "webhooks".to_owned(),
                "Choose webhooks from the list in Settings › Notifications.".to_owned(),
            ));
        }
        ids.sort();
        ids.dedup();
        if !(1..=MAX_FAILURES_IN_A_ROW).contains(&after) {
            wrong.push((
                "after".to_owned(),
                format!("Enter a number of failed runs from 1 to {MAX_FAILURES_IN_A_ROW}."),
            ));
        }
        let mut on = on;
        on.sort();
        on.dedup();
        if wrong.is_empty() {
            Ok(Self {
                emails: emails.map(|_| addresses),
                webhooks: ids,
                on,
                after,
            })
        } else {
            Err(Error::fields(wrong))
        }
    }
}

/// Parses an email address; `None` if it is invalid.
pub fn parse_email(text: &str) -> Option<String> {
    let is_plain =
        text.len() <= 254 && text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control());
    is_plain
        .then(|| text.parse::<Address>().ok())
        .flatten()
        .map(|address| address.to_string())
}

impl Datasets {
    /// Counts the DataSets that notify through this webhook.
    pub async fn count_using_webhook(&self, webhook: &WebhookId) -> Result<i64> {
        let all: Vec<String> = sqlx::query_scalar(
            "SELECT notify_webhooks FROM datasets WHERE notify_webhooks <> '[]'",
        )
        .fetch_all(self.db.read())
        .await?;
        let uses_webhook = |stored: &String| {
            serde_json::from_str::<Vec<String>>(stored)
                .is_ok_and(|ids| ids.iter().any(|id| id == webhook.as_str()))
        };
        Ok(
            i64::try_from(all.iter().filter(|stored| uses_webhook(stored)).count())
                .unwrap_or(i64::MAX),
        )
    }

    /// Sets who is notified of which events. Only an admin can use more than
    /// `MAX_EXTERNAL_ADDRESSES` addresses of people who are not on this server, over all DataSets
    /// of the owner.
    pub async fn set_notifications(
        &self,
        actor: &Actor,
        id: &DatasetId,
        notify: &NotificationSettings,
    ) -> Result<()> {
        let dataset = self.get_to_change(actor, id).await?;
        let text = |list: &[String]| serde_json::to_string(list).map_err(Error::internal);
        let mut tx = self.db.write().await?;
        if !actor.is_admin() {
            check_external_addresses(&mut tx, &dataset.owner_id, notify).await?;
        }
        sqlx::query(
            "UPDATE datasets
             SET
                 notify_emails = $1, notify_webhooks = $2, notify_on = $3, notify_after = $4,
                 updated_at = $5
             WHERE id = $6",
        )
        .bind(notify.emails.as_deref().map(text).transpose()?)
        .bind(text(&notify.webhooks)?)
        .bind(
            notify
                .on
                .iter()
                .map(|kind| kind.word())
                .collect::<Vec<_>>()
                .join(" "),
        )
        .bind(notify.after)
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}

/// Enforces `MAX_EXTERNAL_ADDRESSES` for an owner. Addresses that any DataSet of the owner already
/// uses are allowed.
async fn check_external_addresses(
    tx: &mut Transaction<'static, Sqlite>,
    owner: &UserId,
    notify: &NotificationSettings,
) -> Result<()> {
    let people: Vec<String> = sqlx::query_scalar("SELECT email FROM users")
        .fetch_all(&mut **tx)
        .await?;
    let chosen: Vec<String> = sqlx::query_scalar(
        "SELECT notify_emails FROM datasets WHERE owner_id = $1 AND notify_emails IS NOT NULL",
    )
    .bind(owner)
    .fetch_all(&mut **tx)
    .await?;
    let lists = chosen
        .iter()
        .filter_map(|list| serde_json::from_str::<Vec<String>>(list).ok())
        .flatten();
    let is_external = |email: &String| !people.contains(email);
    let known: BTreeSet<String> = lists
        .map(|email| email.to_lowercase())
        .filter(is_external)
        .collect();
    let wanted = notify
        .emails
        .iter()
        .flatten()
        .map(|email| email.to_lowercase())
        .filter(is_external);
    let new = wanted.filter(|email| !known.contains(email)).count();
    if new == 0 || known.len() + new <= MAX_EXTERNAL_ADDRESSES {
        return Ok(());
    }
    Err(Error::field(
        "emails",
        format!(
            "All DataSets of one owner together can use at most {MAX_EXTERNAL_ADDRESSES} email \
             addresses of people who are not on this server. {} are already used.",
            known.len()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_addresses_each_once() {
        let notify = |emails: &[&str]| {
            NotificationSettings::new(
                Some(emails.iter().map(|e| (*e).to_owned()).collect()),
                Vec::new(),
                vec![NotificationKind::Late, NotificationKind::Failure],
                1,
            )
        };
        assert_eq!(
            notify(&["a@b.test", " A@b.test ", ""])
                .unwrap()
                .emails
                .unwrap(),
            ["a@b.test"]
        );
        assert_eq!(
            notify(&[]).unwrap().on,
            [NotificationKind::Failure, NotificationKind::Late]
        );
        for odd in [
            "nobody",
            "a@b.test\r\nBcc: c@d.test",
            "a@b@c",
            "<a@b.test>",
            "a b@c.test",
            &format!("{}@b.test", "x".repeat(300)),
        ] {
            assert!(notify(&[odd]).is_err(), "{odd}");
        }
        assert!(NotificationSettings::new(None, vec!["hook_1".to_owned()], Vec::new(), 1).is_err());
        assert!(NotificationSettings::new(None, Vec::new(), Vec::new(), 0).is_err());
    }
}
