//! What follows as time goes by: retries that are due, data that is late, somebody to be reminded, DataSets that come back on their
//! schedule or lost their account, and the day on which a vendor ends its API. Each step is a transaction of its own with what it tells.

use std::time::Duration;

use jiff::civil::Date;
use sqlx::FromRow;

use super::run::Trigger;
use super::schedules::Schedule;
use super::upkeep::{self, Kept, kept, kept_or_damaged, select_kept};
use super::{Puller, queue};
use crate::actor::Actor;
use crate::clock::Millis;
use crate::connectors::upstream::MAX_REFUSALS;
use crate::datasets::Dataset;
use crate::datasets::upkeep::{Kind, Why, begin_anew};
use crate::db::readable;
use crate::error::{Error, Result};
use crate::ids::{AccountId, DatasetId};
use crate::notices::REMINDER;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
/// It looks at least this often, whatever the clock did meanwhile.
const LOOK_AT_LEAST: Millis = 30_000;
/// Data may be so much later than the schedule says before it is late: a quarter of the time between two runs, within these.
const LEAST_GRACE: Millis = 15 * MINUTE;
const MOST_GRACE: Millis = 6 * HOUR;
/// So many are taken up in one transaction.
const AT_ONCE: usize = 100;

pub(super) async fn keep_until_stopped(puller: Puller) {
    loop {
        let began = puller.clock.now();
        let next = puller.db.outages().watched("retries and late DataSets could not be checked", tick(&puller).await).flatten();
        // Reckoned from before it looked: what became due meanwhile is looked at again. Some time at least, so that a row which cannot be
        // taken up does not keep a core busy.
        let until = next.map_or(began + LOOK_AT_LEAST, |next| next.clamp(began + 50, began + LOOK_AT_LEAST));
        tokio::select! {
            () = puller.stop.cancelled() => return,
            () = puller.kept.notified() => {}
            () = puller.clock.wait_until_or(until, Duration::from_millis(LOOK_AT_LEAST.unsigned_abs())) => {}
        }
    }
}

/// Does what is due and answers when the next thing is.
async fn tick(puller: &Puller) -> Result<Option<Millis>> {
    let now = puller.clock.now();
    retry(puller, now).await?;
    bring_back_mended(puller, now).await?;
    stop_unshared(puller, now).await?;
    look_for_late(puller, now).await?;
    remind(puller, now).await?;
    tell_of_lost_accounts(puller, now).await?;
    tell_of_sunsets(puller, now).await?;
    Ok(sqlx::query_scalar(
        "SELECT MIN(at) FROM (SELECT MIN(retry_at) AS at FROM datasets WHERE retry_at IS NOT NULL
                              UNION ALL SELECT MIN(late_at) FROM datasets WHERE late_at IS NOT NULL AND late_since IS NULL) AS coming",
    )
    .fetch_one(puller.db.read())
    .await?)
}

/// Retries that are due become runs. One that meets a run which is alive already is that run's affair.
async fn retry(puller: &Puller, now: Millis) -> Result<()> {
    let due: Vec<(DatasetId, i64)> = readable(
        sqlx::query("SELECT id, retry_number FROM datasets WHERE retry_at <= $1 ORDER BY retry_at, id LIMIT 1000")
            .bind(now)
            .fetch_all(puller.db.read())
            .await?,
    );
    for (id, number) in due {
        let dataset = match puller.datasets.for_run(&id).await {
            Ok(dataset) => Some(dataset).filter(|dataset| dataset.account_id.is_some() && dataset.timing.paused.is_none()),
            Err(error) if error.is_damaged() || error.kind() == crate::error::Kind::NotFound => None,
            // It is still due when this is looked at again.
            Err(error) => return Err(error),
        };
        let mut tx = puller.db.write().await?;
        let taken =
            sqlx::query("UPDATE datasets SET retry_at = NULL WHERE id = $1 AND retry_at <= $2").bind(&id).bind(now).execute(&mut *tx).await?.rows_affected();
        if let Some(dataset) = dataset.filter(|_| taken == 1) {
            let run = queue::enqueue_in(&mut tx, now, &id, &dataset.source_key(), Trigger::Retry, None).await?;
            sqlx::query("UPDATE runs SET retry_number = $1 WHERE id = $2 AND cause = 'retry' AND retry_number = 0")
                .bind(number)
                .bind(&run)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        puller.wake.notify_one();
    }
    Ok(())
}

/// A DataSet as far as it may be late.
#[derive(FromRow)]
struct Watched {
    id: DatasetId,
    account_id: Option<AccountId>,
    time_zone: String,
    schedule: Option<String>,
    plan: Option<String>,
    next_run_at: Option<i64>,
    expected_hours: Option<i64>,
    last_success_at: Option<i64>,
    created_at: i64,
    expected_from: Option<i64>,
    stopped_at: Option<i64>,
    late_at: Option<i64>,
    late_since: Option<i64>,
    late_key: String,
}

impl Watched {
    /// From when on its data is late unless a run succeeds; none: never. What a person has paused is not expected.
    fn late_at(&self) -> Option<Millis> {
        let last = self.last_success_at.unwrap_or(self.created_at).max(self.expected_from.unwrap_or(0));
        let is_paused = self.schedule.is_some() && self.next_run_at.is_none() && self.stopped_at.is_none() && self.account_id.is_some();
        if is_paused {
            return None;
        }
        if let Some(hours) = self.expected_hours {
            return Some(last + hours * HOUR);
        }
        let schedule = Schedule::stored(self.plan.as_deref(), self.schedule.as_deref(), &self.time_zone).ok()?;
        let coming = schedule.next(last, 2);
        let [due, after] = [coming.first()?, coming.get(1).or(coming.first())?].map(|next| next.at.timestamp().as_millisecond());
        Some(due + ((after - due) / 4).clamp(LEAST_GRACE, MOST_GRACE))
    }
}

/// Reckons anew from when on data is late where something it rests on has changed, and marks and tells what has become so.
async fn look_for_late(puller: &Puller, now: Millis) -> Result<()> {
    let watched: Vec<Watched> = readable(sqlx::query(
        "SELECT id, account_id, time_zone, schedule, plan, next_run_at, expected_hours, last_success_at, created_at, expected_from, stopped_at, late_at, late_since, key AS late_key FROM (
            SELECT d.*, COALESCE(d.schedule, '') || '|' || COALESCE(d.plan, '') || '|' || d.time_zone || '|' || COALESCE(CAST(d.expected_hours AS TEXT), '') || '|'
                   || CAST(COALESCE(d.last_success_at, d.created_at) AS TEXT) || '|' || COALESCE(CAST(d.expected_from AS TEXT), '')
                   || CASE WHEN d.next_run_at IS NULL THEN '|off' ELSE '|on' END
                   || CASE WHEN d.stopped_at IS NULL THEN '' ELSE '|stopped' END
                   || CASE WHEN d.account_id IS NULL THEN '|none' ELSE '' END AS key
            FROM datasets d) AS keyed
         WHERE late_key IS NULL OR late_key <> key OR (late_at <= $1 AND late_since IS NULL) ORDER BY id",
    )
    .bind(now)
    .fetch_all(puller.db.read())
    .await?);
    for some in watched.chunks(AT_ONCE) {
        let mut tx = puller.db.write().await?;
        for one in some {
            let late_at = one.late_at();
            let is_late = late_at.is_some_and(|at| at <= now);
            let since = if is_late { one.late_since.or(late_at) } else { None };
            let told = sqlx::query(
                "UPDATE datasets SET late_at = $1, late_key = $2, late_since = $3 WHERE id = $4 AND COALESCE(last_success_at, 0) = $5 AND COALESCE(late_at, 0) = $6",
            )
            .bind(late_at)
            .bind(&one.late_key)
            .bind(since)
            .bind(&one.id)
            .bind(one.last_success_at.unwrap_or(0))
            .bind(one.late_at.unwrap_or(0))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if told == 1 && is_late && one.late_since.is_none() {
                tell_late(&mut tx, now, one, late_at.unwrap_or(now)).await?;
            }
        }
        tx.commit().await?;
        puller.notices.wake.notify_one();
    }
    Ok(())
}

async fn tell_late(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, now: Millis, one: &Watched, late_at: Millis) -> Result<()> {
    let Some(dataset) = kept(tx, &one.id).await? else { return Ok(()) };
    if dataset.tells(Kind::Late) {
        sqlx::query("UPDATE datasets SET told_of_late = 1 WHERE id = $1").bind(&one.id).execute(&mut **tx).await?;
    }
    let last = one.last_success_at.map_or_else(|| "No run has succeeded yet".to_owned(), |at| format!("The last update was at {}", dataset.moment(at)));
    let who = match (one.schedule.is_some(), one.account_id.is_some()) {
        (_, false) => "The account was deleted. The owner of the DataSet must choose another account under Settings.",
        (true, _) => "The owner of the DataSet can see under History why no run has succeeded.",
        (false, _) => "The owner of the DataSet must press Run now: it has no schedule.",
    };
    let next = match (dataset.next_run_at, dataset.upkeep.retry_at) {
        (_, Some(at)) => format!("Chatlake retries at {}.", dataset.moment(at)),
        (Some(at), _) => format!("The next run is at {}.", dataset.moment(at)),
        (None, None) => "No run is scheduled.".to_owned(),
    };
    let happened = format!("New data was expected by {}. {last}. The existing rows are unchanged.", dataset.moment(late_at));
    dataset.tell(tx, now, Kind::Late, "late", [happened, who.to_owned(), next]).await
}

/// A DataSet that is run by hand, with a reminder.
#[derive(FromRow)]
struct ByHand {
    id: DatasetId,
    plan: String,
    time_zone: String,
    since: i64,
    reminded_at: Option<i64>,
}

impl ByHand {
    /// From when on somebody is to be reminded, if ever; at the same distance each time.
    fn due(&self) -> Option<Millis> {
        let schedule = Schedule::stored(Some(&self.plan), None, &self.time_zone).ok()?;
        let after = i64::from(schedule.plan().remind_after()?) * HOUR;
        Some(self.reminded_at.unwrap_or(self.since).max(self.since) + after)
    }
}

/// Reminds of what is run by hand and was not for as long as was chosen: once, and again after as long.
async fn remind(puller: &Puller, now: Millis) -> Result<()> {
    let all: Vec<ByHand> = readable(
        sqlx::query(
            "SELECT id, plan, time_zone, COALESCE(last_success_at, created_at) AS since, reminded_at FROM datasets
         WHERE schedule IS NULL AND plan IS NOT NULL AND account_id IS NOT NULL ORDER BY id",
        )
        .fetch_all(puller.db.read())
        .await?,
    );
    for one in all.iter().filter(|one| one.due().is_some_and(|due| due <= now)) {
        let mut tx = puller.db.write().await?;
        sqlx::query("UPDATE datasets SET reminded_at = $1 WHERE id = $2").bind(now).bind(&one.id).execute(&mut *tx).await?;
        if let Some(dataset) = kept_or_damaged(&mut tx, &one.id).await? {
            let words = [
                format!("Reminder: no run has succeeded since {}.", dataset.moment(one.since)),
                "The owner of the DataSet must press Run now.".to_owned(),
                "No run is scheduled. The existing rows are unchanged.".to_owned(),
            ];
            dataset.tell(&mut tx, now, Kind::Late, REMINDER, words).await?;
        }
        tx.commit().await?;
        puller.notices.wake.notify_one();
    }
    Ok(())
}

/// Tells of DataSets that are off their schedule because their account was deleted.
async fn tell_of_lost_accounts(puller: &Puller, now: Millis) -> Result<()> {
    let lost: Vec<(DatasetId, String)> =
        readable(sqlx::query("SELECT id, left_account FROM datasets WHERE left_account IS NOT NULL ORDER BY id").fetch_all(puller.db.read()).await?);
    for some in lost.chunks(AT_ONCE) {
        let mut tx = puller.db.write().await?;
        for (id, account) in some {
            let Some(dataset) = kept_or_damaged(&mut tx, id).await? else { continue };
            let tells = i64::from(dataset.tells(Kind::Stopped));
            sqlx::query("UPDATE datasets SET left_account = NULL, told_of_stop = CASE WHEN $1 = 1 THEN 1 ELSE told_of_stop END WHERE id = $2")
                .bind(tells)
                .bind(id)
                .execute(&mut *tx)
                .await?;
            let words = [
                format!("The account “{account}” of this DataSet was deleted."),
                "The owner of the DataSet must choose another account under Settings.".to_owned(),
                "The schedule is stopped until then. The existing rows are unchanged.".to_owned(),
            ];
            dataset.tell(&mut tx, now, Kind::Stopped, "account_missing", words).await?;
        }
        tx.commit().await?;
        puller.notices.wake.notify_one();
    }
    Ok(())
}

/// What is pulled with an account that its owner has taken back comes off its schedule.
async fn stop_unshared(puller: &Puller, now: Millis) -> Result<()> {
    let any: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM datasets d JOIN accounts a ON a.id = d.account_id JOIN users o ON o.id = d.owner_id
         WHERE a.shared = 0 AND a.owner_id <> d.owner_id AND o.role <> 'admin'
           AND (d.next_run_at IS NOT NULL OR EXISTS (SELECT 1 FROM runs r WHERE r.dataset_id = d.id AND r.state = 'running' AND r.cancel_requested = 0))",
    )
    .fetch_one(puller.db.read())
    .await?;
    if any == 0 {
        return Ok(());
    }
    let mut tx = puller.db.write().await?;
    upkeep::stop_unshared(&mut tx, now).await?;
    tx.commit().await?;
    puller.notices.wake.notify_one();
    puller.rescheduled.notify_one();
    Ok(())
}

/// What its vendor had refused comes back when the account works again; what was parked, when a run of it has succeeded; what an account was
/// taken back from, when it is shared again.
async fn bring_back_mended(puller: &Puller, now: Millis) -> Result<()> {
    let mended: Vec<(DatasetId,)> = sqlx::query_as(
        "SELECT d.id FROM datasets d JOIN accounts a ON a.id = d.account_id JOIN users o ON o.id = d.owner_id
         WHERE d.stopped_at IS NOT NULL AND d.next_run_at IS NULL
           AND ((d.stopped_why = 'credentials' AND a.health = 'valid' AND a.auth_failures = 0)
                OR (d.stopped_why = 'unshared' AND (a.shared = 1 OR a.owner_id = d.owner_id OR o.role = 'admin'))
                OR (d.stopped_why <> 'unshared' AND d.last_success_at > d.stopped_at)) ORDER BY d.id",
    )
    .fetch_all(puller.db.read())
    .await?;
    for (id,) in mended {
        if let Ok(dataset) = puller.datasets.for_run(&id).await {
            put_back(puller, &dataset, now).await?;
        }
    }
    Ok(())
}

/// Puts a DataSet back on its schedule, if something had taken it off.
async fn put_back(puller: &Puller, dataset: &Dataset, now: Millis) -> Result<()> {
    let next = Schedule::of(dataset).ok().and_then(|schedule| schedule.next_after(now));
    let mut tx = puller.db.write().await?;
    let back = sqlx::query(
        "UPDATE datasets SET next_run_at = CASE WHEN paused_at IS NULL THEN $1 ELSE NULL END, expected_from = $3, last_due_at = $3
         WHERE id = $2 AND stopped_at IS NOT NULL AND next_run_at IS NULL",
    )
    .bind(next)
    .bind(&dataset.id)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    if back.rows_affected() > 0 {
        begin_anew(&mut tx, &dataset.id).await?;
    }
    tx.commit().await?;
    puller.rescheduled.notify_one();
    Ok(())
}

impl Puller {
    /// Puts a DataSet back on its schedule, after something had taken it off. `not_stopped` when nothing had, `credentials_stopped` while its
    /// account is still refused, and `account_not_shared` while that is still so.
    pub async fn bring_back(&self, actor: &Actor, id: &DatasetId) -> Result<Dataset> {
        let dataset = self.datasets.get_to_change(actor, id).await?;
        let Some(stopped) = dataset.stopped() else {
            return Err(Error::conflict("not_stopped", "The schedule of this DataSet is not stopped."));
        };
        if let (Why::Unshared, Some(account)) = (stopped.why, &dataset.account_id) {
            self.accounts.feeds(account, &dataset.owner_id).await?;
        }
        if stopped.why == Why::Credentials {
            let account = dataset.account_id.as_ref().ok_or_else(|| Error::conflict("account_missing", "The account of this DataSet was deleted."))?;
            let refusals: Option<i64> =
                sqlx::query_scalar("SELECT auth_failures FROM accounts WHERE id = $1").bind(account).fetch_optional(self.db.read()).await?;
            if refusals.is_none_or(|refusals| refusals >= i64::from(MAX_REFUSALS)) {
                return Err(Error::conflict("credentials_stopped", format!("{} still rejects the credentials of the account.", dataset.connector.title()))
                    .action("Enter new credentials under Accounts, or press Test there. The schedule then resumes automatically."));
            }
        }
        put_back(self, &dataset, self.clock.now()).await?;
        self.datasets.get(actor, id).await
    }
}

/// Tells of the day on which a vendor ends its API: when it is first known, and a month, a week and a day before.
async fn tell_of_sunsets(puller: &Puller, now: Millis) -> Result<()> {
    let known: Vec<(AccountId, String, Option<String>)> =
        readable(sqlx::query("SELECT id, api_ends_on, sunset_told FROM accounts WHERE api_ends_on IS NOT NULL ORDER BY id").fetch_all(puller.db.read()).await?);
    let today = crate::clock::timestamp(now).to_zoned(jiff::tz::TimeZone::UTC).date();
    for (account, ends_on, told) in known {
        let Ok(day) = ends_on.parse::<Date>() else { continue };
        let left = (day - today).get_days();
        let stage = match left {
            ..0 => "over",
            0..=1 => "a day",
            2..=7 => "a week",
            8..=30 => "a month",
            _ => "known",
        };
        let key = format!("{day} {stage}");
        if told.as_deref() == Some(key.as_str()) {
            continue;
        }
        let mut tx = puller.db.write().await?;
        sqlx::query("UPDATE accounts SET sunset_told = $1 WHERE id = $2").bind(&key).bind(&account).execute(&mut *tx).await?;
        let all: Vec<Kept> = sqlx::query_as(select_kept!("WHERE d.account_id = $1 ORDER BY LOWER(d.name), d.id")).bind(&account).fetch_all(&mut *tx).await?;
        for dataset in all {
            let vendor = dataset.vendor();
            let on = day.strftime("%a %-d %b %Y");
            let happened = match left {
                ..0 => format!("On {on}, {vendor} ended the API that this DataSet uses."),
                0 => format!("Today, {vendor} ends the API that this DataSet uses."),
                left => format!("On {on}, in {left} day{}, {vendor} ends the API that this DataSet uses.", if left == 1 { "" } else { "s" }),
            };
            let words = [
                happened,
                "A server administrator must check whether a newer Chatlake supports the new API.".to_owned(),
                "After that day, runs with this API fail. The existing rows stay available.".to_owned(),
            ];
            dataset.tell(&mut tx, now, Kind::Sunset, "sunset", words).await?;
        }
        tx.commit().await?;
        puller.notices.wake.notify_one();
    }
    Ok(())
}
