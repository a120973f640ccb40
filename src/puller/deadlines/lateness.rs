//! Computes when the data of a DataSet becomes late, marks late DataSets, and notifies.

use sqlx::{Sqlite, Transaction};

use super::{BATCH_SIZE, HOUR, MINUTE};
use crate::clock::Millis;
use crate::datasets::policies::NotificationKind;
use crate::db::decode_readable;
use crate::error::Result;
use crate::ids::{AccountId, DatasetId};
use crate::puller::Puller;
use crate::puller::on_run_end::load_subject;
use crate::puller::schedules::Schedule;

/// The grace period after a due time is a quarter of the time between two runs, within these
/// limits. After it, the data is late.
const MIN_GRACE: Millis = 15 * MINUTE;
const MAX_GRACE: Millis = 6 * HOUR;

/// The columns of a DataSet that decide when its data is late.
#[derive(sqlx::FromRow)]
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
pub(super) async fn check_lateness(puller: &Puller, now: Millis) -> Result<()> {
    let watched: Vec<LatenessRow> = decode_readable(
        sqlx::query(
            "SELECT
                 id, account_id, time_zone, schedule, schedule_plan, next_run_at, expected_hours,
                 last_success_at, created_at, expected_since, stopped_at, late_at, late_since,
                 key AS lateness_key
             FROM (
                 SELECT
                     d.*,
                     -- All inputs of `late_at`. The stored key shows with which inputs it was
                     -- computed.
                     COALESCE(d.schedule, '') ||
                     '|' || COALESCE(d.schedule_plan, '') ||
                     '|' || d.time_zone ||
                     '|' || COALESCE(CAST(d.expected_hours AS TEXT), '') ||
                     '|' || CAST(COALESCE(d.last_success_at, d.created_at) AS TEXT) ||
                     '|' || COALESCE(CAST(d.expected_since AS TEXT), '') ||
                     CASE WHEN d.next_run_at IS NULL THEN '|off' ELSE '|on' END ||
                     CASE WHEN d.stopped_at IS NULL THEN '' ELSE '|stopped' END ||
                     CASE WHEN d.account_id IS NULL THEN '|none' ELSE '' END AS key
                 FROM datasets d
             ) AS keyed
             -- The inputs have changed, or the deadline has passed.
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
                 -- Nothing if a run succeeded or another check wrote the row since it was read.
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
    tx: &mut Transaction<'static, Sqlite>,
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
        |at| format!("The last update was on {}", dataset.format_time(at)),
    );
    let who = match (one.schedule.is_some(), one.account_id.is_some()) {
        (_, false) => {
            "The account was deleted. The owner of the DataSet must choose another account under Settings."
        }
        (true, _) => "The owner of the DataSet can see under History why no run has succeeded.",
        (false, _) => "The owner of the DataSet must press Run now: it has no schedule.",
    };
    let next = match (dataset.next_run_at, dataset.policies.retry_at) {
        (_, Some(at)) => format!("Chatlake retries on {}.", dataset.format_time(at)),
        (Some(at), _) => format!("The next run is on {}.", dataset.format_time(at)),
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
