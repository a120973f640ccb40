//! The policies of a DataSet: retries, expected freshness, notification settings, and the stopped
//! state of its schedule. `puller/on_run_end.rs` applies them when a run ends.

mod notification_settings;
mod retry_policy;

use sqlx::{FromRow, Sqlite, Transaction};

use super::{Dataset, Datasets};
use crate::clock::Millis;
use crate::error::Result;
use crate::ids::DatasetId;
pub use notification_settings::{NotificationKind, NotificationSettings, parse_email};
pub use retry_policy::{RetryPolicy, check_expected_hours};

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
    stop_reason: Option<StopReason>,
    /// JSON.
    notify_emails: Option<String>,
    /// JSON.
    notify_webhooks: String,
    /// The words of notification kinds, separated by spaces.
    notify_on: String,
    notify_after: i64,
}

/// The reason and time of a stopped schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoppedSchedule {
    pub at: Millis,
    pub reason: StopReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
pub enum StopReason {
    /// The vendor rejected the credentials of its account repeatedly.
    Credentials,
    /// One of its runs ended the server process three times.
    Parked,
    /// Its account is no longer shared and belongs to another person than the owner of the DataSet.
    Unshared,
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
        let reason = self.stop_reason?;
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

/// How old the data of a DataSet is.
#[derive(FromRow)]
struct DataAgeRow {
    id: DatasetId,
    since: Millis,
    late_since: Option<Millis>,
}

impl Datasets {
    /// For each DataSet: its id, when its last successful run ended (or when it was created), and
    /// whether its data is late. Used for the metrics.
    pub async fn data_ages(&self) -> Result<Vec<(DatasetId, Millis, bool)>> {
        let rows: Vec<DataAgeRow> = sqlx::query_as(
            "SELECT id, COALESCE(last_success_at, created_at) AS since, late_since
             FROM datasets
             ORDER BY id",
        )
        .fetch_all(self.db.read())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.id, row.since, row.late_since.is_some()))
            .collect())
    }
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
