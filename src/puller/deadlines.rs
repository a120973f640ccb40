//! Acts on deadlines: retries that are due, late data, reminders, stopped schedules that can
//! restart, deleted or unshared accounts, and the end of a vendor's API. Each action is one
//! transaction together with its notification.

use std::time::Duration;

use jiff::civil::Date;
use sqlx::FromRow;

use super::on_run_end::{
    self, AlertSubject, load_readable_subject, load_subject, select_alert_subject,
};
use super::run::Trigger;
use super::schedules::Schedule;
use super::{Puller, queue};
use crate::actor::Actor;
use crate::clock::Millis;
use crate::connectors::upstream::MAX_AUTH_FAILURES;
use crate::datasets::Dataset;
use crate::datasets::policies::{NotificationKind, StopReason, clear_stop};
use crate::db::decode_readable;
use crate::error::{Error, Result};
use crate::ids::{AccountId, DatasetId};
use crate::notifications::REMINDER;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
/// The maximum time between two checks, also when the clock is set.
const MAX_CHECK_INTERVAL: Millis = 30_000;
/// The grace period after a due time is a quarter of the time between two runs, within these
/// limits. After it, the data is late.
const MIN_GRACE: Millis = 15 * MINUTE;
const MAX_GRACE: Millis = 6 * HOUR;
/// DataSets per transaction.
const BATCH_SIZE: usize = 100;

pub(super) async fn check_until_stopped(puller: Puller) {
    loop {
        let began = puller.clock.now();
        let next = puller
            .db
            .outages()
            .track(
                "retries and late DataSets could not be checked",
                tick(&puller).await,
            )
            .flatten();
        // Computed from the time before the check, so that a deadline that passed during the check
        // is handled next. At least 50 ms, so that a row that cannot be processed does not keep a
        // core busy.
        let until = next.map_or(began + MAX_CHECK_INTERVAL, |next| {
            next.clamp(began + 50, began + MAX_CHECK_INTERVAL)
        });
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.wake_deadlines.notified() => {}
            () = puller.clock.wait_until_or_for(until, Duration::from_millis(MAX_CHECK_INTERVAL.unsigned_abs())) => {}
        }
    }
}

/// Processes all deadlines that have passed. Returns the time of the next one.
async fn tick(puller: &Puller) -> Result<Option<Millis>> {
    let now = puller.clock.now();
    enqueue_due_retries(puller, now).await?;
    restart_recovered(puller, now).await?;
    check_unshared(puller, now).await?;
    check_lateness(puller, now).await?;
    send_reminders(puller, now).await?;
    notify_deleted_accounts(puller, now).await?;
    notify_api_sunsets(puller, now).await?;
    Ok(sqlx::query_scalar(
        "SELECT MIN(at)
         FROM (
             SELECT MIN(retry_at) AS at
             FROM datasets
             WHERE retry_at IS NOT NULL
             UNION ALL
             SELECT MIN(late_at)
             FROM datasets
             WHERE late_at IS NOT NULL AND late_since IS NULL
         ) AS coming",
    )
    .fetch_one(puller.db.read())
    .await?)
}

/// Queues the retries that are due. When a run of the DataSet is already active, no second one is
/// queued.
async fn enqueue_due_retries(puller: &Puller, now: Millis) -> Result<()> {
    let due: Vec<(DatasetId, i64)> = decode_readable(
        sqlx::query(
            "SELECT id, retry_number
             FROM datasets
             WHERE retry_at <= $1
             ORDER BY retry_at, id
             LIMIT 1000",
        )
        .bind(now)
        .fetch_all(puller.db.read())
        .await?,
    );
    for (id, number) in due {
        let dataset = match puller.datasets.for_run(&id).await {
            Ok(dataset) => Some(dataset).filter(|dataset| {
                dataset.account_id.is_some() && dataset.schedule_state.paused.is_none()
            }),
            Err(error)
                if error.is_damaged() || error.kind() == crate::error::ErrorKind::NotFound =>
            {
                None
            }
            // The retry is still due at the next check.
            Err(error) => return Err(error),
        };
        let mut tx = puller.db.write().await?;
        let taken =
            sqlx::query("UPDATE datasets SET retry_at = NULL WHERE id = $1 AND retry_at <= $2")
                .bind(&id)
                .bind(now)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        if let Some(dataset) = dataset.filter(|_| taken == 1) {
            let run = queue::enqueue(
                &mut tx,
                now,
                &id,
                &dataset.source_key(),
                Trigger::Retry,
                None,
            )
            .await?;
            sqlx::query(
                "UPDATE runs
                 SET retry_number = $1
                 WHERE id = $2 AND trigger = 'retry' AND retry_number = 0",
            )
            .bind(number)
            .bind(&run)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        puller.wake_dispatcher.notify_one();
    }
    Ok(())
}

/// The columns of a DataSet that decide when its data is late.
#[derive(FromRow)]
struct LatenessRow {
    id: DatasetId,
    account_id: Option<AccountId>,
    time_zone: String,
    schedule: Option<String>,
    schedule_plan: Option<String>,
    next_run_at: Option<i64>,
    expected_hours: Option<i64>,
    last_success_at: Option<i64>,
    created_at: i64,
    expected_since: Option<i64>,
    stopped_at: Option<i64>,
    late_at: Option<i64>,
    late_since: Option<i64>,
    lateness_key: String,
}

impl LatenessRow {
    /// When the data becomes late unless a run succeeds. `None`: never, for example while the
    /// schedule is paused.
    fn late_at(&self) -> Option<Millis> {
        let last = self
            .last_success_at
            .unwrap_or(self.created_at)
            .max(self.expected_since.unwrap_or(0));
        let is_paused = self.schedule.is_some()
            && self.next_run_at.is_none()
            && self.stopped_at.is_none()
            && self.account_id.is_some();
        if is_paused {
            return None;
        }
        if let Some(hours) = self.expected_hours {
            return Some(last + hours * HOUR);
        }
        let schedule = Schedule::from_stored(
            self.schedule_plan.as_deref(),
            self.schedule.as_deref(),
            &self.time_zone,
        )
        .ok()?;
        let coming = schedule.next(last, 2);
        let [due, after] = [coming.first()?, coming.get(1).or(coming.first())?]
            .map(|next| next.at.timestamp().as_millisecond());
        Some(due + ((after - due) / 4).clamp(MIN_GRACE, MAX_GRACE))
    }
}

/// Recomputes `late_at` of DataSets whose inputs changed, marks DataSets that are late, and
/// notifies.
async fn check_lateness(puller: &Puller, now: Millis) -> Result<()> {
    let watched: Vec<LatenessRow> = decode_readable(
        sqlx::query(
            "SELECT
                 id, account_id, time_zone, schedule, schedule_plan, next_run_at, expected_hours,
                 last_success_at, created_at, expected_since, stopped_at, late_at, late_since,
                 key AS lateness_key
             FROM (
                 SELECT
                     d.*,
                     COALESCE(d.schedule, '') || '|' || COALESCE(
                         d.schedule_plan, ''
                     ) || '|' || d.time_zone || '|' || COALESCE(
                         CAST(d.expected_hours AS TEXT), ''
                     ) || '|' || CAST(
                         COALESCE(d.last_success_at, d.created_at) AS TEXT
                     ) || '|' || COALESCE(CAST(d.expected_since AS TEXT), '') || CASE
                         WHEN d.next_run_at IS NULL THEN '|off'
                         ELSE '|on'
                     END || CASE
                         WHEN d.stopped_at IS NULL THEN ''
                         ELSE '|stopped'
                     END || CASE WHEN d.account_id IS NULL THEN '|none' ELSE '' END AS key
                 FROM datasets d
             ) AS keyed
             WHERE lateness_key IS NULL
                 OR lateness_key <> key
                 OR (late_at <= $1 AND late_since IS NULL)
             ORDER BY id",
        )
        .bind(now)
        .fetch_all(puller.db.read())
        .await?,
    );
    for some in watched.chunks(BATCH_SIZE) {
        let mut tx = puller.db.write().await?;
        for one in some {
            let late_at = one.late_at();
            let is_late = late_at.is_some_and(|at| at <= now);
            let since = if is_late {
                one.late_since.or(late_at)
            } else {
                None
            };
            let updated = sqlx::query(
                "UPDATE datasets
                 SET late_at = $1, lateness_key = $2, late_since = $3
                 WHERE id = $4 AND COALESCE(last_success_at, 0) = $5 AND COALESCE(late_at, 0) = $6",
            )
            .bind(late_at)
            .bind(&one.lateness_key)
            .bind(since)
            .bind(&one.id)
            .bind(one.last_success_at.unwrap_or(0))
            .bind(one.late_at.unwrap_or(0))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if updated == 1 && is_late && one.late_since.is_none() {
                notify_late(&mut tx, now, one, late_at.unwrap_or(now)).await?;
            }
        }
        tx.commit().await?;
        puller.notifications.wake.notify_one();
    }
    Ok(())
}

async fn notify_late(
    tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    now: Millis,
    one: &LatenessRow,
    late_at: Millis,
) -> Result<()> {
    let Some(dataset) = load_subject(tx, &one.id).await? else {
        return Ok(());
    };
    if dataset.notifies_on(NotificationKind::Late) {
        sqlx::query("UPDATE datasets SET notified_late = 1 WHERE id = $1")
            .bind(&one.id)
            .execute(&mut **tx)
            .await?;
    }
    let last = one.last_success_at.map_or_else(
        || "No run has succeeded yet".to_owned(),
        |at| format!("The last update was at {}", dataset.format_time(at)),
    );
    let who = match (one.schedule.is_some(), one.account_id.is_some()) {
        (_, false) => {
            "The account was deleted. The owner of the DataSet must choose another account under Settings."
        }
        (true, _) => "The owner of the DataSet can see under History why no run has succeeded.",
        (false, _) => "The owner of the DataSet must press Run now: it has no schedule.",
    };
    let next = match (dataset.next_run_at, dataset.policies.retry_at) {
        (_, Some(at)) => format!("Chatlake retries at {}.", dataset.format_time(at)),
        (Some(at), _) => format!("The next run is at {}.", dataset.format_time(at)),
        (None, None) => "No run is scheduled.".to_owned(),
    };
    let happened = format!(
        "New data was expected by {}. {last}. The existing rows are unchanged.",
        dataset.format_time(late_at)
    );
    dataset
        .notify(
            tx,
            now,
            NotificationKind::Late,
            "late",
            [happened, who.to_owned(), next],
        )
        .await
}

/// A DataSet that is run by hand, with a reminder.
#[derive(FromRow)]
struct ManualDataset {
    id: DatasetId,
    schedule_plan: String,
    time_zone: String,
    since: i64,
    reminded_at: Option<i64>,
}

impl ManualDataset {
    /// When the next reminder is due, if any; always the same time after the last success or
    /// reminder.
    fn due(&self) -> Option<Millis> {
        let schedule =
            Schedule::from_stored(Some(&self.schedule_plan), None, &self.time_zone).ok()?;
        let after = i64::from(schedule.plan().remind_after()?) * HOUR;
        Some(self.reminded_at.unwrap_or(self.since).max(self.since) + after)
    }
}

/// Sends reminders for DataSets that are run by hand and have not run for the chosen time.
async fn send_reminders(puller: &Puller, now: Millis) -> Result<()> {
    let all: Vec<ManualDataset> = decode_readable(
        sqlx::query(
            "SELECT
                 id, schedule_plan, time_zone, COALESCE(last_success_at, created_at) AS since,
                 reminded_at
             FROM datasets
             WHERE schedule IS NULL AND schedule_plan IS NOT NULL AND account_id IS NOT NULL
             ORDER BY id",
        )
        .fetch_all(puller.db.read())
        .await?,
    );
    for one in all
        .iter()
        .filter(|one| one.due().is_some_and(|due| due <= now))
    {
        let mut tx = puller.db.write().await?;
        sqlx::query("UPDATE datasets SET reminded_at = $1 WHERE id = $2")
            .bind(now)
            .bind(&one.id)
            .execute(&mut *tx)
            .await?;
        if let Some(dataset) = load_readable_subject(&mut tx, &one.id).await? {
            let words = [
                format!(
                    "Reminder: no run has succeeded since {}.",
                    dataset.format_time(one.since)
                ),
                "The owner of the DataSet must press Run now.".to_owned(),
                "No run is scheduled. The existing rows are unchanged.".to_owned(),
            ];
            dataset
                .notify(&mut tx, now, NotificationKind::Late, REMINDER, words)
                .await?;
        }
        tx.commit().await?;
        puller.notifications.wake.notify_one();
    }
    Ok(())
}

/// Notifies that a schedule stopped because its account was deleted.
async fn notify_deleted_accounts(puller: &Puller, now: Millis) -> Result<()> {
    let deleted: Vec<(DatasetId, String)> = decode_readable(
        sqlx::query(
            "SELECT id, deleted_account_name
             FROM datasets
             WHERE deleted_account_name IS NOT NULL
             ORDER BY id",
        )
        .fetch_all(puller.db.read())
        .await?,
    );
    for some in deleted.chunks(BATCH_SIZE) {
        let mut tx = puller.db.write().await?;
        for (id, account) in some {
            let Some(dataset) = load_readable_subject(&mut tx, id).await? else {
                continue;
            };
            let notifies = i64::from(dataset.notifies_on(NotificationKind::Stopped));
            sqlx::query(
                "UPDATE datasets
                 SET
                     deleted_account_name = NULL,
                     notified_stop = CASE WHEN $1 = 1 THEN 1 ELSE notified_stop END
                 WHERE id = $2",
            )
            .bind(notifies)
            .bind(id)
            .execute(&mut *tx)
            .await?;
            let words = [
                format!("The account “{account}” of this DataSet was deleted."),
                "The owner of the DataSet must choose another account under Settings.".to_owned(),
                "The schedule is stopped until then. The existing rows are unchanged.".to_owned(),
            ];
            dataset
                .notify(
                    &mut tx,
                    now,
                    NotificationKind::Stopped,
                    "account_missing",
                    words,
                )
                .await?;
        }
        tx.commit().await?;
        puller.notifications.wake.notify_one();
    }
    Ok(())
}

/// Stops the schedules of DataSets whose account is no longer shared with their owner.
async fn check_unshared(puller: &Puller, now: Millis) -> Result<()> {
    let any: i64 = sqlx::query_scalar(
        "SELECT COUNT(*)
         FROM datasets d
         JOIN accounts a ON a.id = d.account_id
         JOIN users o ON o.id = d.owner_id
         WHERE a.shared = 0
             AND a.owner_id <> d.owner_id
             AND o.role <> 'admin'
             AND (
                 d.next_run_at IS NOT NULL
                 OR EXISTS (
                     SELECT 1
                     FROM runs r
                     WHERE r.dataset_id = d.id AND r.state = 'running' AND r.cancel_requested = 0
                 )
             )",
    )
    .fetch_one(puller.db.read())
    .await?;
    if any == 0 {
        return Ok(());
    }
    let mut tx = puller.db.write().await?;
    on_run_end::stop_unshared_schedules(&mut tx, now).await?;
    tx.commit().await?;
    puller.notifications.wake.notify_one();
    puller.wake_scheduler.notify_one();
    Ok(())
}

/// Restarts stopped schedules whose reason has ended: rejected credentials that work again, a
/// parked run followed by a success, an account that is shared again.
async fn restart_recovered(puller: &Puller, now: Millis) -> Result<()> {
    let recovered: Vec<(DatasetId,)> = sqlx::query_as(
        "SELECT d.id
         FROM datasets d
         JOIN accounts a ON a.id = d.account_id
         JOIN users o ON o.id = d.owner_id
         WHERE d.stopped_at IS NOT NULL
             AND d.next_run_at IS NULL
             AND (
                 (d.stop_reason = 'credentials' AND a.health = 'valid' AND a.auth_failures = 0)
                 OR (
                     d.stop_reason = 'unshared'
                     AND (a.shared = 1 OR a.owner_id = d.owner_id OR o.role = 'admin')
                 )
                 OR (d.stop_reason <> 'unshared' AND d.last_success_at > d.stopped_at)
             )
         ORDER BY d.id",
    )
    .fetch_all(puller.db.read())
    .await?;
    for (id,) in recovered {
        if let Ok(dataset) = puller.datasets.for_run(&id).await {
            restart(puller, &dataset, now).await?;
        }
    }
    Ok(())
}

/// Restarts the schedule of a DataSet, if it is stopped.
async fn restart(puller: &Puller, dataset: &Dataset, now: Millis) -> Result<()> {
    let next = Schedule::of(dataset)
        .ok()
        .and_then(|schedule| schedule.next_after(now));
    let mut tx = puller.db.write().await?;
    let back = sqlx::query(
        "UPDATE datasets
         SET
             next_run_at = CASE WHEN paused_at IS NULL THEN $1 ELSE NULL END, expected_since = $3,
             last_due_at = $3
         WHERE id = $2 AND stopped_at IS NOT NULL AND next_run_at IS NULL",
    )
    .bind(next)
    .bind(&dataset.id)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    if back.rows_affected() > 0 {
        clear_stop(&mut tx, &dataset.id).await?;
    }
    tx.commit().await?;
    puller.wake_scheduler.notify_one();
    Ok(())
}

impl Puller {
    /// Restarts the stopped schedule of a DataSet. Errors: `not_stopped`, `credentials_stopped`
    /// while the credentials are still rejected, `account_not_shared`.
    pub async fn restart_schedule(&self, actor: &Actor, id: &DatasetId) -> Result<Dataset> {
        let dataset = self.datasets.get_to_change(actor, id).await?;
        let Some(stopped) = dataset.stopped() else {
            return Err(Error::conflict(
                "not_stopped",
                "The schedule of this DataSet is not stopped.",
            ));
        };
        if let (StopReason::Unshared, Some(account)) = (stopped.reason, &dataset.account_id) {
            self.accounts
                .ensure_usable_by(account, &dataset.owner_id)
                .await?;
        }
        if stopped.reason == StopReason::Credentials {
            let account = dataset.account_id.as_ref().ok_or_else(|| {
                Error::conflict(
                    "account_missing",
                    "The account of this DataSet was deleted.",
                )
            })?;
            let refusals: Option<i64> =
                sqlx::query_scalar("SELECT auth_failures FROM accounts WHERE id = $1")
                    .bind(account)
                    .fetch_optional(self.db.read())
                    .await?;
            if refusals.is_none_or(|refusals| refusals >= i64::from(MAX_AUTH_FAILURES)) {
                return Err(Error::conflict("credentials_stopped", format!("{} still rejects the credentials of the account.", dataset.connector.title()))
                    .action("Enter new credentials under Accounts, or press Test there. The schedule then resumes automatically."));
            }
        }
        restart(self, &dataset, self.clock.now()).await?;
        self.datasets.get(actor, id).await
    }
}

/// Notifies of the day on which a vendor ends its API: when it becomes known, and a month, a week
/// and a day before.
async fn notify_api_sunsets(puller: &Puller, now: Millis) -> Result<()> {
    let known: Vec<(AccountId, String, Option<String>)> = decode_readable(
        sqlx::query(
            "SELECT id, api_ends_on, sunset_notified
             FROM accounts
             WHERE api_ends_on IS NOT NULL
             ORDER BY id",
        )
        .fetch_all(puller.db.read())
        .await?,
    );
    let today = crate::clock::timestamp(now)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    for (account, ends_on, notified_stage) in known {
        let Ok(day) = ends_on.parse::<Date>() else {
            continue;
        };
        let left = (day - today).get_days();
        let stage = match left {
            ..0 => "over",
            0..=1 => "a day",
            2..=7 => "a week",
            8..=30 => "a month",
            _ => "known",
        };
        let key = format!("{day} {stage}");
        if notified_stage.as_deref() == Some(key.as_str()) {
            continue;
        }
        let mut tx = puller.db.write().await?;
        sqlx::query("UPDATE accounts SET sunset_notified = $1 WHERE id = $2")
            .bind(&key)
            .bind(&account)
            .execute(&mut *tx)
            .await?;
        let all: Vec<AlertSubject> = sqlx::query_as(select_alert_subject!(
            "WHERE d.account_id = $1 ORDER BY LOWER(d.name), d.id"
        ))
        .bind(&account)
        .fetch_all(&mut *tx)
        .await?;
        for dataset in all {
            let vendor = dataset.vendor();
            let on = day.strftime("%a %-d %b %Y");
            let happened = match left {
                ..0 => format!("On {on}, {vendor} ended the API that this DataSet uses."),
                0 => format!("Today, {vendor} ends the API that this DataSet uses."),
                left => format!(
                    "On {on}, in {left} day{}, {vendor} ends the API that this DataSet uses.",
                    if left == 1 { "" } else { "s" }
                ),
            };
            let words = [
                happened,
                "A server administrator must check whether a newer Chatlake supports the new API."
                    .to_owned(),
                "After that day, runs with this API fail. The existing rows stay available."
                    .to_owned(),
            ];
            dataset
                .notify(&mut tx, now, NotificationKind::Sunset, "sunset", words)
                .await?;
        }
        tx.commit().await?;
        puller.notifications.wake.notify_one();
    }
    Ok(())
}
