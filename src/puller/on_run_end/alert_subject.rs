//! The DataSet that a notification is about: its recipients, and the state that decides whether they
//! are notified.

use jiff::tz::TimeZone;
use sqlx::{Sqlite, Transaction};

use crate::clock::{Millis, timestamp};
use crate::connectors::Connector;
use crate::datasets::policies::{DatasetPolicies, NotificationKind, NotificationSettings};
use crate::error::Result;
use crate::ids::{AccountId, DatasetId};
use crate::notifications::{NotificationDetails, Recipients, enqueue_notification};
use crate::puller::schedules;

/// The columns of a DataSet that notifications and retries need.
#[derive(sqlx::FromRow)]
pub(in crate::puller) struct AlertSubject {
    pub id: DatasetId,
    pub name: String,
    pub account_id: Option<AccountId>,
    pub account_name: Option<String>,
    connector: String,
    time_zone: String,
    pub schedule: Option<String>,
    pub next_run_at: Option<i64>,
    owner_email: String,
    owner_disabled: i64,
    pub paused_at: Option<i64>,
    pub failed_in_a_row: i64,
    pub notified_failure: i64,
    pub notified_late: i64,
    pub notified_stop: i64,
    #[sqlx(flatten)]
    pub policies: DatasetPolicies,
}

/// The columns of `AlertSubject`, from `datasets d`, `users o` and `accounts a`.
macro_rules! select_alert_subject {
    ($rest:literal) => {
        concat!(
            "SELECT
                 d.id, d.name, d.account_id, a.name AS account_name, d.connector, d.time_zone,
                 d.schedule, d.next_run_at, o.email AS owner_email,
                 CASE WHEN o.disabled_at IS NULL THEN 0 ELSE 1 END AS owner_disabled, d.paused_at,
                 d.failed_in_a_row, d.notified_failure, d.notified_late, d.notified_stop,
                 d.retry_minutes, d.max_retries, d.retry_at, d.retry_number, d.expected_hours,
                 d.last_success_at, d.late_since, d.stopped_at, d.stop_reason, d.notify_emails,
                 d.notify_webhooks, d.notify_on, d.notify_after
             FROM datasets d
             JOIN users o ON o.id = d.owner_id
             LEFT JOIN accounts a ON a.id = d.account_id
             ",
            $rest
        )
    };
}
pub(in crate::puller) use select_alert_subject;

impl AlertSubject {
    /// A time in the DataSet's time zone: "Fri 20 Nov 2026 at 12:15 Europe/Oslo".
    pub fn format_time(&self, at: Millis) -> String {
        let zone = schedules::zone(&self.time_zone).unwrap_or(TimeZone::UTC);
        let local = timestamp(at).to_zoned(zone.clone());
        format!(
            "{} {}",
            local.strftime("%a %-d %b %Y at %H:%M"),
            zone.iana_name().unwrap_or("UTC")
        )
    }

    pub fn vendor(&self) -> &'static str {
        Connector::parse(&self.connector).map_or("The connector", Connector::title)
    }

    fn recipients(&self, notify: &NotificationSettings) -> Recipients {
        let owner = || {
            if self.owner_disabled == 0 {
                vec![self.owner_email.clone()]
            } else {
                Vec::new()
            }
        };
        Recipients {
            emails: notify.emails.clone().unwrap_or_else(owner),
            webhooks: notify.webhooks.clone(),
        }
    }

    fn details(
        &self,
        code: &str,
        happened: String,
        who: String,
        next: String,
    ) -> NotificationDetails {
        NotificationDetails {
            dataset_id: self.id.to_string(),
            dataset: self.name.clone(),
            account: self.account_name.clone().unwrap_or_default(),
            vendor: self.vendor().to_owned(),
            code: code.to_owned(),
            happened,
            who,
            next,
        }
    }

    /// Writes a notification for its recipients, if they chose this kind.
    pub async fn notify(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        now: Millis,
        kind: NotificationKind,
        code: &str,
        words: [String; 3],
    ) -> Result<()> {
        let notify = self.policies.notification_settings();
        if !self.notifies_on(kind) {
            return Ok(());
        }
        let [happened, who, next] = words;
        enqueue_notification(
            tx,
            now,
            kind,
            &self.details(code, happened, who, next),
            &self.recipients(&notify),
        )
        .await
    }

    /// Whether this kind of notification is on.
    pub fn notifies_on(&self, kind: NotificationKind) -> bool {
        self.policies.notification_settings().on.contains(&kind)
    }

    pub fn is_scheduled(&self) -> bool {
        self.schedule.is_some() && self.next_run_at.is_some()
    }
}

pub(in crate::puller) async fn load_subject(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
) -> Result<Option<AlertSubject>> {
    Ok(sqlx::query_as(select_alert_subject!("WHERE d.id = $1"))
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?)
}

/// Like `load_subject`, but `None` also for a record that cannot be read.
pub(in crate::puller) async fn load_readable_subject(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
) -> Result<Option<AlertSubject>> {
    load_subject(tx, id).await.or_else(|error| {
        tracing::error!(
            dataset = %id, cause = ?error.log_cause(),
            "notifications for this DataSet could not be created: {error}"
        );
        if error.is_damaged() {
            Ok(None)
        } else {
            Err(error)
        }
    })
}
