//! The policies of a DataSet: retries, expected freshness, notification settings, and the stopped
//! state of its schedule. `puller/on_run_end.rs` applies them when a run ends.

use std::collections::BTreeSet;

use lettre::Address;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Dataset, Datasets};
use crate::actor::Actor;
use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, UserId, WebhookId};

/// The minimum and maximum time between retries.
const RETRY_MINUTES: std::ops::RangeInclusive<i64> = 1..=7 * 24 * 60;
const MAX_RETRIES: i64 = 20;
/// The maximum is ten years.
const MAX_EXPECTED_HOURS: i64 = 24 * 3_660;
const MAX_EMAILS: usize = 20;
/// The maximum number of email addresses of people who are not on this server, over all DataSets of
/// one owner. The limit exists because these emails are sent in the server's name.
const MAX_EXTERNAL_ADDRESSES: usize = 30;
const MAX_WEBHOOKS_PER_DATASET: usize = 20;
const MAX_FAILURES_IN_A_ROW: i64 = 100;

/// The stored policies of a DataSet and their state.
#[derive(Clone, Debug, FromRow)]
pub struct DatasetPolicies {
    retry_minutes: i64,
    max_retries: i64,
    /// When the next retry is due.
    pub retry_at: Option<Millis>,
    /// The number of the next retry, from 1.
    pub retry_number: i64,
    /// The next data is expected within this many hours after the last; `None`: derived from the
    /// schedule.
    pub expected_hours: Option<i64>,
    pub last_success_at: Option<Millis>,
    /// Since when its data is late.
    pub late_since: Option<Millis>,
    stopped_at: Option<Millis>,
    stop_reason: Option<String>,
    notify_emails: Option<String>,
    notify_webhooks: String,
    notify_on: String,
    notify_after: i64,
}

/// How often and how many times a failed run is retried. `max_retries` 0 means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    minutes: i64,
    max_retries: i64,
}

/// The reason and time of a stopped schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoppedSchedule {
    pub at: Millis,
    pub reason: StopReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The vendor rejected the credentials of its account repeatedly.
    Credentials,
    /// One of its runs ended the server process three times.
    Parked,
    /// Its account is no longer shared and belongs to another person than the owner of the DataSet.
    Unshared,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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

impl StopReason {
    pub fn word(self) -> &'static str {
        match self {
            StopReason::Credentials => "credentials",
            StopReason::Parked => "parked",
            StopReason::Unshared => "unshared",
        }
    }
}

impl RetryPolicy {
    /// The retry policy of a new DataSet.
    pub const DEFAULT: RetryPolicy = RetryPolicy {
        minutes: 15,
        max_retries: 3,
    };
    pub const NEVER: RetryPolicy = RetryPolicy {
        minutes: 15,
        max_retries: 0,
    };

    pub fn new(minutes: i64, max_retries: i64) -> Result<Self> {
        let mut wrong = Vec::new();
        if !RETRY_MINUTES.contains(&minutes) {
            wrong.push((
                "retry_every".to_owned(),
                "The time between retries must be from 1 minute to 7 days.".to_owned(),
            ));
        }
        if !(1..=MAX_RETRIES).contains(&max_retries) {
            wrong.push((
                "retry_most".to_owned(),
                format!("Enter a number of retries from 1 to {MAX_RETRIES}."),
            ));
        }
        if wrong.is_empty() {
            Ok(Self {
                minutes,
                max_retries,
            })
        } else {
            Err(Error::fields(wrong))
        }
    }

    pub fn minutes(self) -> i64 {
        self.minutes
    }

    /// 0: failed runs are not retried.
    pub fn max_retries(self) -> i64 {
        self.max_retries
    }

    /// "retry every 15 minutes, at most 3 times"
    pub fn in_words(self) -> String {
        if self.max_retries == 0 {
            return "no retry".to_owned();
        }
        let times = if self.max_retries == 1 {
            "once".to_owned()
        } else {
            format!("at most {} times", self.max_retries)
        };
        match self.minutes {
            1 => format!("retry every minute, {times}"),
            60 => format!("retry every hour, {times}"),
            minutes if minutes % 60 == 0 => format!("retry every {} hours, {times}", minutes / 60),
            minutes => format!("retry every {minutes} minutes, {times}"),
        }
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

impl DatasetPolicies {
    pub fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            minutes: self.retry_minutes,
            max_retries: self.max_retries,
        }
    }

    pub fn notification_settings(&self) -> NotificationSettings {
        NotificationSettings {
            emails: self
                .notify_emails
                .as_deref()
                .map(|list| serde_json::from_str(list).unwrap_or_default()),
            webhooks: serde_json::from_str(&self.notify_webhooks).unwrap_or_default(),
            on: self
                .notify_on
                .split_whitespace()
                .filter_map(NotificationKind::parse)
                .collect(),
            after: self.notify_after,
        }
    }

    /// `scheduled`: whether the DataSet has a next run; then its schedule is not stopped.
    fn stopped(&self, scheduled: bool) -> Option<StoppedSchedule> {
        let reason = match self.stop_reason.as_deref()? {
            "parked" => StopReason::Parked,
            "unshared" => StopReason::Unshared,
            _ => StopReason::Credentials,
        };
        self.stopped_at
            .filter(|_| !scheduled)
            .map(|at| StoppedSchedule { at, reason })
    }
}

impl Dataset {
    /// Why and when its schedule was stopped, if it was.
    pub fn stopped(&self) -> Option<StoppedSchedule> {
        self.schedule.as_ref()?;
        self.policies.stopped(self.next_run_at.is_some())
    }
}

/// Validates the hours within which new data is expected.
pub fn check_expected_hours(hours: Option<i64>) -> Result<Option<i64>> {
    match hours {
        Some(hours) if !(1..=MAX_EXPECTED_HOURS).contains(&hours) => Err(Error::field(
            "expected_hours",
            "Enter 1 to 87,840 hours, or leave empty.",
        )),
        hours => Ok(hours),
    }
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

    /// Sets the retry policy and the expected hours. Cancels a pending retry that the new policy
    /// does not allow.
    pub async fn set_retry_policy(
        &self,
        actor: &Actor,
        id: &DatasetId,
        retry: RetryPolicy,
        expected_hours: Option<i64>,
    ) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE datasets
             SET
                 retry_minutes = $1, max_retries = $2, expected_hours = $3,
                 retry_at = CASE WHEN retry_number > $2 THEN NULL ELSE retry_at END
             WHERE id = $4",
        )
        .bind(retry.minutes)
        .bind(retry.max_retries)
        .bind(expected_hours)
        .bind(id)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
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

    /// For each DataSet: its id, when its last successful run ended (or when it was created), and
    /// whether its data is late. Used for the metrics.
    pub async fn data_ages(&self) -> Result<Vec<(DatasetId, Millis, bool)>> {
        let rows: Vec<(DatasetId, i64, i64)> = sqlx::query_as(
            "SELECT
                 id, COALESCE(last_success_at, created_at),
                 CASE WHEN late_since IS NULL THEN 0 ELSE 1 END
             FROM datasets
             ORDER BY id",
        )
        .fetch_all(self.db.read())
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, at, late)| (id, at, late != 0))
            .collect())
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
            "All DataSets of one owner together can use at most {MAX_EXTERNAL_ADDRESSES} email addresses of people who are not on this server. \
             {} are already used.",
            known.len()
        ),
    ))
}

/// Clears the stop of a schedule. Later failures are notified again; a recovery is notified if a
/// failure or stop was notified.
pub async fn clear_stop(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId) -> Result<()> {
    sqlx::query(
        "UPDATE datasets
         SET
             stopped_at = NULL, stop_reason = NULL,
             notified_stop = CASE WHEN notified_failure = 1 THEN 1 ELSE notified_stop END,
             notified_failure = 0
         WHERE id = $1 AND stopped_at IS NOT NULL",
    )
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_within_reason_and_told_in_words() {
        assert_eq!(
            RetryPolicy::DEFAULT.in_words(),
            "retry every 15 minutes, at most 3 times"
        );
        assert_eq!(
            RetryPolicy::new(120, 1).unwrap().in_words(),
            "retry every 2 hours, once"
        );
        assert_eq!(RetryPolicy::NEVER.in_words(), "no retry");
        for (minutes, max_retries) in [(0, 3), (-1, 3), (10_081, 3), (15, 0), (15, 21)] {
            assert!(
                RetryPolicy::new(minutes, max_retries).is_err(),
                "{minutes} {max_retries}"
            );
        }
    }

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
