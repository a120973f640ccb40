//! Acts on the end of a run, in the same transaction: schedules the retry, stops the schedule, and
//! writes notifications. `deadlines.rs` acts on the passing of time.

use jiff::tz::TimeZone;
use sqlx::{FromRow, Sqlite, Transaction};

use super::backfills;
use super::queue::Claimed;
use super::retry::{NEXT_RUN, may_retry};
use super::run::{Failure, Trigger};
use super::schedules;
use crate::clock::{Millis, timestamp};
use crate::connectors::Connector;
use crate::connectors::upstream::MAX_AUTH_FAILURES;
use crate::datasets::policies::{DatasetPolicies, NotificationKind, NotificationSettings};
use crate::db::decode_readable;
use crate::error::Result;
use crate::ids::{AccountId, DatasetId, RunId};
use crate::notifications::{NotificationDetails, Recipients, enqueue_notification};

const MINUTE: Millis = 60_000;
/// A retry is delayed by up to this many percent more, so that not all DataSets call a vendor that
/// recovers at once.
const MAX_JITTER_PERCENT: i64 = 20;

/// The columns of a DataSet that notifications and retries need.
#[derive(FromRow)]
pub(super) struct AlertSubject {
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
    paused_at: Option<i64>,
    failed_in_a_row: i64,
    notified_failure: i64,
    notified_late: i64,
    notified_stop: i64,
    #[sqlx(flatten)]
    pub policies: DatasetPolicies,
}

/// The columns of `AlertSubject`, from `datasets d`, `users o` and `accounts a`.
macro_rules! select_alert_subject {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.name, d.account_id, a.name AS account_name, d.connector, d.time_zone, d.schedule, d.next_run_at, o.email AS owner_email, ",
            "CASE WHEN o.disabled_at IS NULL THEN 0 ELSE 1 END AS owner_disabled, d.paused_at, d.failed_in_a_row, d.notified_failure, d.notified_late, d.notified_stop, ",
            "d.retry_minutes, d.max_retries, d.retry_at, d.retry_number, d.expected_hours, d.last_success_at, d.late_since, d.stopped_at, d.stop_reason, ",
            "d.notify_emails, d.notify_webhooks, d.notify_on, d.notify_after ",
            "FROM datasets d
             JOIN users o ON o.id = d.owner_id
             LEFT JOIN accounts a ON a.id = d.account_id ",
            $rest
        )
    };
}
pub(super) use select_alert_subject;

impl AlertSubject {
    /// A time in the DataSet's time zone: "Fri 20 Nov 2026 12:15 Europe/Oslo".
    pub fn format_time(&self, at: Millis) -> String {
        let zone = schedules::zone(&self.time_zone).unwrap_or(TimeZone::UTC);
        let local = timestamp(at).to_zoned(zone.clone());
        format!(
            "{} {}",
            local.strftime("%a %-d %b %Y %H:%M"),
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

    fn is_scheduled(&self) -> bool {
        self.schedule.is_some() && self.next_run_at.is_some()
    }
}

pub(super) async fn load_subject(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
) -> Result<Option<AlertSubject>> {
    Ok(sqlx::query_as(select_alert_subject!("WHERE d.id = $1"))
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?)
}

/// Like `load_subject`, but `None` also for a record that cannot be read.
pub(super) async fn load_readable_subject(
    tx: &mut Transaction<'static, Sqlite>,
    id: &DatasetId,
) -> Result<Option<AlertSubject>> {
    load_subject(tx, id).await.or_else(|error| {
        tracing::error!(dataset = %id, cause = ?error.log_cause(), "notifications for this DataSet could not be created: {error}");
        if error.is_damaged() { Ok(None) } else { Err(error) }
    })
}

/// Whether the run is a backfill chunk. Such a run changes nothing of the schedule's state; its
/// backfill reports a failure.
fn is_backfill(run: &Claimed) -> bool {
    run.trigger == Trigger::Backfill
}

/// A run has failed: schedules the retry, stops schedules if the account cannot be used any more,
/// and notifies.
pub(super) async fn on_failed(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    failure: &Failure,
) -> Result<()> {
    let Some(dataset) = load_subject(tx, &run.dataset_id).await? else {
        return Ok(());
    };
    if is_backfill(run) {
        return backfills::chunk_failed(tx, now, run, failure, &dataset).await;
    }
    let in_a_row = dataset.failed_in_a_row + 1;
    let retry = next_retry(tx, now, run, failure, &dataset).await?;
    let mut next = failure.action.clone();
    if let Some((at, number)) = retry {
        next = record_retry(tx, run, failure, &dataset, (at, number)).await?;
    }
    let notifies =
        dataset.notified_failure == 0 && in_a_row >= dataset.policies.notification_settings().after;
    sqlx::query(
        "UPDATE datasets
         SET
             failed_in_a_row = $1,
             notified_failure = CASE WHEN $2 = 1 THEN 1 ELSE notified_failure END, retry_at = $3,
             retry_number = $4
         WHERE id = $5",
    )
    .bind(in_a_row)
    .bind(i64::from(notifies))
    .bind(retry.map(|(at, _)| at))
    .bind(retry.map_or(0, |(_, number)| number))
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    let stopped = match failure.code.as_str() {
        "unauthorized" | "credentials_stopped" => {
            stop_rejected_credentials(tx, now, dataset.account_id.as_ref()).await?
        }
        "account_not_shared" => stop_unshared_schedules(tx, now).await?,
        _ => false,
    };
    // A notification that the schedule stopped replaces the one about the failure.
    if notifies
        && !(stopped && dataset.is_scheduled() && dataset.notifies_on(NotificationKind::Stopped))
    {
        let mut happened = failure.message.clone();
        if in_a_row > 1 {
            happened.push_str(&format!(" {in_a_row} runs in a row have failed."));
        }
        dataset
            .notify(
                tx,
                now,
                NotificationKind::Failure,
                &failure.code,
                [happened, failure.who.clone(), next],
            )
            .await?;
    }
    Ok(())
}

/// Writes the time and the number of the retry to the run's error, and returns that sentence.
pub(super) async fn record_retry(
    tx: &mut Transaction<'static, Sqlite>,
    run: &Claimed,
    failure: &Failure,
    dataset: &AlertSubject,
    (at, number): (Millis, i64),
) -> Result<String> {
    let rest = failure
        .action
        .strip_prefix(NEXT_RUN)
        .map_or(failure.action.as_str(), str::trim_start);
    let next = format!(
        "Chatlake retries at {} (retry {number} of {}). {rest}",
        dataset.format_time(at),
        dataset.policies.retry().max_retries()
    );
    sqlx::query("UPDATE runs SET error_action = $1 WHERE id = $2")
        .bind(&next)
        .bind(&run.id)
        .execute(&mut **tx)
        .await?;
    Ok(next)
}

/// When a run that failed is retried, after `before` retries; `None` if it is not retried.
pub(super) fn retry_at(
    now: Millis,
    run: &Claimed,
    failure: &Failure,
    dataset: &AlertSubject,
    before: i64,
) -> Option<Millis> {
    let retry = dataset.policies.retry();
    let every = retry.minutes() * MINUTE;
    (may_retry(&failure.code) && before < retry.max_retries() && dataset.account_id.is_some())
        .then(|| now + every + every * jitter_percent(&run.shared_read_id, before) / 100)
}

/// The time and the number of the next retry, if there is one.
async fn next_retry(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    failure: &Failure,
    dataset: &AlertSubject,
) -> Result<Option<(Millis, i64)>> {
    let before: i64 = sqlx::query_scalar("SELECT retry_number FROM runs WHERE id = $1")
        .bind(&run.id)
        .fetch_one(&mut **tx)
        .await?;
    // A paused DataSet is not retried automatically.
    let at = retry_at(now, run, failure, dataset, before).filter(|_| dataset.paused_at.is_none());
    Ok(at.map(|at| (at, before + 1)))
}

/// A number below `MAX_JITTER_PERCENT`, equal for all runs that shared a read, so that they can
/// share the next one as well.
fn jitter_percent(shared_read_id: &RunId, number: i64) -> i64 {
    // The end of an id is random.
    let sum = shared_read_id
        .as_str()
        .bytes()
        .rev()
        .take(8)
        .fold(number, |sum, byte| sum * 31 % 10_007 + i64::from(byte));
    sum % MAX_JITTER_PERCENT
}

/// Stops the schedules of all DataSets of an account after the vendor rejected its credentials too
/// many times in a row. Returns whether it did.
async fn stop_rejected_credentials(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    account: Option<&AccountId>,
) -> Result<bool> {
    let Some(account) = account else {
        return Ok(false);
    };
    let refusals: Option<i64> =
        sqlx::query_scalar("SELECT auth_failures FROM accounts WHERE id = $1")
            .bind(account)
            .fetch_optional(&mut **tx)
            .await?;
    if refusals.is_none_or(|refusals| refusals < i64::from(MAX_AUTH_FAILURES)) {
        return Ok(false);
    }
    let all = sqlx::query(select_alert_subject!(
        "WHERE d.account_id = $1 AND d.schedule IS NOT NULL AND d.next_run_at IS NOT NULL
         ORDER BY LOWER(d.name), d.id"
    ))
    .bind(account)
    .fetch_all(&mut **tx)
    .await?;
    let all: Vec<AlertSubject> = decode_readable(all);
    for dataset in all {
        stop_schedule(tx, now, &dataset, "credentials").await?;
        let name = dataset.account_name.as_deref().unwrap_or_default();
        let words = [
            format!("{} rejected the credentials of “{name}” {MAX_AUTH_FAILURES} times in a row. Chatlake stopped using them.", dataset.vendor()),
            format!("The owner of the account “{name}” must enter new credentials under Accounts, or press Test there once they work."),
            "The schedule is stopped. It resumes automatically once the account works. The existing rows are unchanged.".to_owned(),
        ];
        dataset
            .notify(
                tx,
                now,
                NotificationKind::Stopped,
                "credentials_stopped",
                words,
            )
            .await?;
    }
    Ok(true)
}

/// Stops the schedules and the running runs of DataSets whose account is no longer shared with
/// their owner. Returns whether a schedule was stopped.
pub(super) async fn stop_unshared_schedules(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
) -> Result<bool> {
    sqlx::query(
        "UPDATE runs
         SET cancel_requested = 1
         WHERE state = 'running'
             AND cancel_requested = 0
             AND dataset_id IN (
                 SELECT d.id
                 FROM datasets d
                 JOIN accounts a ON a.id = d.account_id
                 JOIN users o ON o.id = d.owner_id
                 WHERE a.shared = 0 AND a.owner_id <> d.owner_id AND o.role <> 'admin'
             )",
    )
    .execute(&mut **tx)
    .await?;
    let all = sqlx::query(select_alert_subject!(
        "WHERE d.schedule IS NOT NULL
             AND d.next_run_at IS NOT NULL
             AND a.shared = 0
             AND a.owner_id <> d.owner_id
             AND o.role <> 'admin'
         ORDER BY LOWER(d.name), d.id"
    ))
    .fetch_all(&mut **tx)
    .await?;
    let all: Vec<AlertSubject> = decode_readable(all);
    for dataset in &all {
        stop_schedule(tx, now, dataset, "unshared").await?;
        let name = dataset.account_name.as_deref().unwrap_or_default();
        let words = [
            format!("The account “{name}” is no longer shared with the owner of the DataSet. Chatlake does not pull data with it."),
            format!("The owner of the account “{name}” can share it again under Accounts. The owner of the DataSet can choose another account under Settings."),
            "The schedule is stopped. It resumes automatically once the account is shared again. The existing rows are unchanged.".to_owned(),
        ];
        dataset
            .notify(
                tx,
                now,
                NotificationKind::Stopped,
                "account_not_shared",
                words,
            )
            .await?;
    }
    Ok(!all.is_empty())
}

async fn stop_schedule(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &AlertSubject,
    why: &str,
) -> Result<()> {
    sqlx::query(
        "UPDATE datasets
         SET
             next_run_at = NULL, retry_at = NULL, stopped_at = $1, stop_reason = $2,
             notified_stop = $3
         WHERE id = $4",
    )
    .bind(now)
    .bind(why)
    .bind(i64::from(
        dataset.notifies_on(NotificationKind::Stopped) || dataset.notified_stop == 1,
    ))
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A run was parked because the server stopped three times during it: stops the schedule and
/// notifies.
pub(super) async fn on_parked(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
) -> Result<()> {
    let Some(dataset) = load_subject(tx, dataset).await? else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE datasets
         SET failed_in_a_row = failed_in_a_row + 1, notified_failure = 1, retry_at = NULL
         WHERE id = $1",
    )
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    let scheduled = dataset.is_scheduled();
    if scheduled {
        stop_schedule(tx, now, &dataset, "parked").await?;
    }
    let next = if scheduled {
        "The schedule is stopped. It resumes when a person presses Resume on the DataSet's page, \
         or when a run started with Run now succeeds. The existing rows are unchanged."
    } else {
        "Chatlake does not retry it. The existing rows are unchanged."
    };
    let words = [
        "The server stopped three times during a run of this DataSet.".to_owned(),
        "A server administrator must check memory, disk and log before the next run.".to_owned(),
        next.to_owned(),
    ];
    dataset
        .notify(
            tx,
            now,
            if scheduled && dataset.notifies_on(NotificationKind::Stopped) {
                NotificationKind::Stopped
            } else {
                NotificationKind::Failure
            },
            "parked",
            words,
        )
        .await
}

/// A run has succeeded with `rows` rows. A backfill chunk changes no failure state.
pub(super) async fn on_run_succeeded(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    rows: i64,
) -> Result<()> {
    if is_backfill(run) {
        Ok(())
    } else {
        on_new_rows(tx, now, &run.dataset_id, rows).await
    }
}

/// The DataSet has new rows: clears all failure states and notifies a recovery.
pub(super) async fn on_new_rows(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
    rows: i64,
) -> Result<()> {
    let Some(dataset) = load_subject(tx, dataset).await? else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE datasets
         SET
             failed_in_a_row = 0, notified_failure = 0, notified_late = 0, notified_stop = 0,
             retry_at = NULL, reminded_at = NULL, late_since = NULL, lateness_key = NULL,
             last_success_at = $1
         WHERE id = $2",
    )
    .bind(now)
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    if dataset.notified_failure + dataset.notified_late + dataset.notified_stop == 0 {
        return Ok(());
    }
    let happened = match dataset.failed_in_a_row {
        0 => format!("A run succeeded: {rows} rows."),
        1 => format!("A run succeeded after 1 failed run: {rows} rows."),
        many => format!("A run succeeded after {many} failed runs: {rows} rows."),
    };
    let next = dataset.next_run_at.map_or_else(String::new, |at| {
        format!("The next run is at {}.", dataset.format_time(at))
    });
    dataset
        .notify(
            tx,
            now,
            NotificationKind::Recovery,
            "",
            [happened, "No action needed.".to_owned(), next],
        )
        .await
}

/// A person cancelled a run: it is not retried.
pub(super) async fn on_cancelled(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    sqlx::query(
        "UPDATE datasets
         SET retry_at = NULL
         WHERE id = (SELECT dataset_id FROM runs WHERE id = $1 AND trigger <> 'backfill')",
    )
    .bind(run)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_spread_and_those_of_one_shared_read_are_equal() {
        let shared_read_ids: Vec<RunId> = (0..200).map(|_| RunId::new()).collect();
        let mut seen: Vec<i64> = shared_read_ids
            .iter()
            .map(|shared_read_id| jitter_percent(shared_read_id, 0))
            .collect();
        assert!(
            seen.iter()
                .all(|percent| (0..MAX_JITTER_PERCENT).contains(percent)),
            "{seen:?}"
        );
        assert_eq!(
            jitter_percent(&shared_read_ids[0], 0),
            jitter_percent(&shared_read_ids[0], 0)
        );
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 10, "{seen:?}");
    }
}
