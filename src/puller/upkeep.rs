//! What follows when a run ends, in the transaction that ends it: the retry that is to come, what takes a DataSet off its schedule, and
//! what its recipients are told. What follows as time goes by is in `keeper.rs`.

use jiff::tz::TimeZone;
use sqlx::{FromRow, Sqlite, Transaction};

use super::backfills;
use super::queue::Claimed;
use super::retry::{NEXT_RUN, may_retry};
use super::run::{Failure, Trigger};
use super::schedules;
use crate::clock::{Millis, timestamp};
use crate::connectors::Connector;
use crate::connectors::upstream::MAX_REFUSALS;
use crate::datasets::upkeep::{Kind, Notify, Upkeep};
use crate::db::readable;
use crate::error::Result;
use crate::ids::{AccountId, DatasetId, RunId};
use crate::notices::{About, Recipients, write_in};

const MINUTE: Millis = 60_000;
/// A retry comes so much later than was asked for at most, so that a vendor that comes back is not met by everybody at once.
const SPREAD_PERCENT: i64 = 20;

/// A DataSet as far as its upkeep goes.
#[derive(FromRow)]
pub(super) struct Kept {
    pub id: DatasetId,
    pub name: String,
    pub account_id: Option<AccountId>,
    pub account_name: Option<String>,
    connector: String,
    time_zone: String,
    pub schedule: Option<String>,
    pub next_run_at: Option<i64>,
    owner_email: String,
    owner_gone: i64,
    paused_at: Option<i64>,
    failed_in_a_row: i64,
    told_of_trouble: i64,
    told_of_late: i64,
    told_of_stop: i64,
    #[sqlx(flatten)]
    pub upkeep: Upkeep,
}

/// The columns of `Kept`, from `datasets d`, `users o` and `accounts a`.
macro_rules! select_kept {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.name, d.account_id, a.name AS account_name, d.connector, d.time_zone, d.schedule, d.next_run_at, o.email AS owner_email, ",
            "CASE WHEN o.disabled_at IS NULL THEN 0 ELSE 1 END AS owner_gone, d.paused_at, d.failed_in_a_row, d.told_of_trouble, d.told_of_late, d.told_of_stop, ",
            "d.retry_minutes, d.retry_most, d.retry_at, d.retry_number, d.expected_hours, d.last_success_at, d.late_since, d.stopped_at, d.stopped_why, ",
            "d.notify_emails, d.notify_webhooks, d.notify_on, d.notify_after ",
            "FROM datasets d JOIN users o ON o.id = d.owner_id LEFT JOIN accounts a ON a.id = d.account_id ",
            $rest
        )
    };
}
pub(super) use select_kept;

impl Kept {
    /// A moment on the clock of the DataSet: "Fri 20 Nov 2026 12:15 Europe/Oslo".
    pub fn moment(&self, at: Millis) -> String {
        let zone = schedules::zone(&self.time_zone).unwrap_or(TimeZone::UTC);
        let local = timestamp(at).to_zoned(zone.clone());
        format!("{} {}", local.strftime("%a %-d %b %Y %H:%M"), zone.iana_name().unwrap_or("UTC"))
    }

    pub fn vendor(&self) -> &'static str {
        Connector::parse(&self.connector).map_or("The connector", Connector::title)
    }

    fn recipients(&self, notify: &Notify) -> Recipients {
        let owner = || if self.owner_gone == 0 { vec![self.owner_email.clone()] } else { Vec::new() };
        Recipients { emails: notify.emails.clone().unwrap_or_else(owner), webhooks: notify.webhooks.clone() }
    }

    fn about(&self, code: &str, happened: String, who: String, next: String) -> About {
        About {
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

    /// Writes down what its recipients are told, if they are told of such things.
    pub async fn tell(&self, tx: &mut Transaction<'static, Sqlite>, now: Millis, kind: Kind, code: &str, words: [String; 3]) -> Result<()> {
        let notify = self.upkeep.notify();
        if !self.tells(kind) {
            return Ok(());
        }
        let [happened, who, next] = words;
        write_in(tx, now, kind, &self.about(code, happened, who, next), &self.recipients(&notify)).await
    }

    /// Whether somebody wants to be told of such things.
    pub fn tells(&self, kind: Kind) -> bool {
        self.upkeep.notify().on.contains(&kind)
    }

    fn is_scheduled(&self) -> bool {
        self.schedule.is_some() && self.next_run_at.is_some()
    }
}

pub(super) async fn kept(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId) -> Result<Option<Kept>> {
    Ok(sqlx::query_as(select_kept!("WHERE d.id = $1")).bind(id).fetch_optional(&mut **tx).await?)
}

/// As `kept`; none, too, for one that cannot be read: nobody can be told of it.
pub(super) async fn kept_or_damaged(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId) -> Result<Option<Kept>> {
    kept(tx, id).await.or_else(|error| {
        tracing::error!(dataset = %id, cause = ?error.inside(), "notifications for this DataSet could not be created: {error}");
        if error.is_damaged() { Ok(None) } else { Err(error) }
    })
}

/// A run of days that somebody asked for beside the schedule: it says nothing of what the schedule wants, for better or worse. That it
/// failed is told by its backfill.
fn is_beside(run: &Claimed) -> bool {
    run.trigger == Trigger::Backfill
}

/// A run has failed.
pub(super) async fn failed_in(tx: &mut Transaction<'static, Sqlite>, now: Millis, run: &Claimed, failure: &Failure) -> Result<()> {
    let Some(dataset) = kept(tx, &run.dataset_id).await? else { return Ok(()) };
    if is_beside(run) {
        return backfills::chunk_failed(tx, now, run, failure, &dataset).await;
    }
    let in_a_row = dataset.failed_in_a_row + 1;
    let retry = next_retry(tx, now, run, failure, &dataset).await?;
    let mut next = failure.action.clone();
    if let Some((at, number)) = retry {
        next = note_retry(tx, run, failure, &dataset, (at, number)).await?;
    }
    let tells = dataset.told_of_trouble == 0 && in_a_row >= dataset.upkeep.notify().after;
    sqlx::query("UPDATE datasets SET failed_in_a_row = $1, told_of_trouble = CASE WHEN $2 = 1 THEN 1 ELSE told_of_trouble END, retry_at = $3, retry_number = $4 WHERE id = $5")
        .bind(in_a_row)
        .bind(i64::from(tells))
        .bind(retry.map(|(at, _)| at))
        .bind(retry.map_or(0, |(_, number)| number))
        .bind(&dataset.id)
        .execute(&mut **tx)
        .await?;
    let stopped = match failure.code.as_str() {
        "unauthorized" | "credentials_stopped" => stop_refused(tx, now, dataset.account_id.as_ref()).await?,
        "account_not_shared" => stop_unshared(tx, now).await?,
        _ => false,
    };
    // Whoever is told that it is off its schedule need not be told that it failed.
    if tells && !(stopped && dataset.is_scheduled() && dataset.tells(Kind::Stopped)) {
        let mut happened = failure.message.clone();
        if in_a_row > 1 {
            happened.push_str(&format!(" {in_a_row} runs in a row have failed."));
        }
        dataset.tell(tx, now, Kind::Failure, &failure.code, [happened, failure.who.clone(), next]).await?;
    }
    Ok(())
}

/// Says on a run when it is tried again and which retry that is, and answers what it says.
pub(super) async fn note_retry(
    tx: &mut Transaction<'static, Sqlite>,
    run: &Claimed,
    failure: &Failure,
    dataset: &Kept,
    (at, number): (Millis, i64),
) -> Result<String> {
    let rest = failure.action.strip_prefix(NEXT_RUN).map_or(failure.action.as_str(), str::trim_start);
    let next = format!("Chatlake retries at {} (retry {number} of {}). {rest}", dataset.moment(at), dataset.upkeep.retry().most());
    sqlx::query("UPDATE runs SET error_action = $1 WHERE id = $2").bind(&next).bind(&run.id).execute(&mut **tx).await?;
    Ok(next)
}

/// When what failed in this way, and was tried again so often, is tried again; none when it is not.
pub(super) fn retry_at(now: Millis, run: &Claimed, failure: &Failure, dataset: &Kept, before: i64) -> Option<Millis> {
    let retry = dataset.upkeep.retry();
    let every = retry.minutes() * MINUTE;
    (may_retry(&failure.code) && before < retry.most() && dataset.account_id.is_some()).then(|| now + every + every * spread(&run.reading, before) / 100)
}

/// When the run is tried again and which retry that is, if it is.
async fn next_retry(tx: &mut Transaction<'static, Sqlite>, now: Millis, run: &Claimed, failure: &Failure, dataset: &Kept) -> Result<Option<(Millis, i64)>> {
    let before: i64 = sqlx::query_scalar("SELECT retry_number FROM runs WHERE id = $1").bind(&run.id).fetch_one(&mut **tx).await?;
    // What a person has paused is not pulled by itself.
    let at = retry_at(now, run, failure, dataset, before).filter(|_| dataset.paused_at.is_none());
    Ok(at.map(|at| (at, before + 1)))
}

/// A number below `SPREAD_PERCENT`, the same for all runs that shared a reading of the vendor: they share the next one as well.
fn spread(reading: &RunId, number: i64) -> i64 {
    // The end of an id is random.
    let sum = reading.as_str().bytes().rev().take(8).fold(number, |sum, byte| sum * 31 % 10_007 + i64::from(byte));
    sum % SPREAD_PERCENT
}

/// Takes all DataSets of an account off their schedules once its vendor has refused the credentials too often. True when that is so.
async fn stop_refused(tx: &mut Transaction<'static, Sqlite>, now: Millis, account: Option<&AccountId>) -> Result<bool> {
    let Some(account) = account else { return Ok(false) };
    let refusals: Option<i64> = sqlx::query_scalar("SELECT auth_failures FROM accounts WHERE id = $1").bind(account).fetch_optional(&mut **tx).await?;
    if refusals.is_none_or(|refusals| refusals < i64::from(MAX_REFUSALS)) {
        return Ok(false);
    }
    let all = sqlx::query(select_kept!("WHERE d.account_id = $1 AND d.schedule IS NOT NULL AND d.next_run_at IS NOT NULL ORDER BY LOWER(d.name), d.id"))
        .bind(account)
        .fetch_all(&mut **tx)
        .await?;
    let all: Vec<Kept> = readable(all);
    for dataset in all {
        stop(tx, now, &dataset, "credentials").await?;
        let name = dataset.account_name.as_deref().unwrap_or_default();
        let words = [
            format!("{} rejected the credentials of “{name}” {MAX_REFUSALS} times in a row. Chatlake stopped using them.", dataset.vendor()),
            format!("The owner of the account “{name}” must enter new credentials under Accounts, or press Test there once they work."),
            "The schedule is stopped. It resumes automatically once the account works. The existing rows are unchanged.".to_owned(),
        ];
        dataset.tell(tx, now, Kind::Stopped, "credentials_stopped", words).await?;
    }
    Ok(true)
}

/// Takes DataSets off their schedules whose account is not shared any more and is not their owner's, and stops their runs. True when there are
/// any.
pub(super) async fn stop_unshared(tx: &mut Transaction<'static, Sqlite>, now: Millis) -> Result<bool> {
    sqlx::query(
        "UPDATE runs SET cancel_requested = 1 WHERE state = 'running' AND cancel_requested = 0 AND dataset_id IN (SELECT d.id FROM datasets d
           JOIN accounts a ON a.id = d.account_id JOIN users o ON o.id = d.owner_id WHERE a.shared = 0 AND a.owner_id <> d.owner_id AND o.role <> 'admin')",
    )
    .execute(&mut **tx)
    .await?;
    let all = sqlx::query(select_kept!(
        "WHERE d.schedule IS NOT NULL AND d.next_run_at IS NOT NULL AND a.shared = 0 AND a.owner_id <> d.owner_id AND o.role <> 'admin' ORDER BY LOWER(d.name), d.id"
    ))
    .fetch_all(&mut **tx)
    .await?;
    let all: Vec<Kept> = readable(all);
    for dataset in &all {
        stop(tx, now, dataset, "unshared").await?;
        let name = dataset.account_name.as_deref().unwrap_or_default();
        let words = [
            format!("The account “{name}” is no longer shared with the owner of the DataSet. Chatlake does not pull data with it."),
            format!("The owner of the account “{name}” can share it again under Accounts. The owner of the DataSet can choose another account under Settings."),
            "The schedule is stopped. It resumes automatically once the account is shared again. The existing rows are unchanged.".to_owned(),
        ];
        dataset.tell(tx, now, Kind::Stopped, "account_not_shared", words).await?;
    }
    Ok(!all.is_empty())
}

async fn stop(tx: &mut Transaction<'static, Sqlite>, now: Millis, dataset: &Kept, why: &str) -> Result<()> {
    sqlx::query("UPDATE datasets SET next_run_at = NULL, retry_at = NULL, stopped_at = $1, stopped_why = $2, told_of_stop = $3 WHERE id = $4")
        .bind(now)
        .bind(why)
        .bind(i64::from(dataset.tells(Kind::Stopped) || dataset.told_of_stop == 1))
        .bind(&dataset.id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A run has stopped the whole server three times and is parked.
pub(super) async fn parked_in(tx: &mut Transaction<'static, Sqlite>, now: Millis, dataset: &DatasetId) -> Result<()> {
    let Some(dataset) = kept(tx, dataset).await? else { return Ok(()) };
    sqlx::query("UPDATE datasets SET failed_in_a_row = failed_in_a_row + 1, told_of_trouble = 1, retry_at = NULL WHERE id = $1")
        .bind(&dataset.id)
        .execute(&mut **tx)
        .await?;
    let scheduled = dataset.is_scheduled();
    if scheduled {
        stop(tx, now, &dataset, "parked").await?;
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
    dataset.tell(tx, now, if scheduled && dataset.tells(Kind::Stopped) { Kind::Stopped } else { Kind::Failure }, "parked", words).await
}

/// A run has succeeded with so many rows.
pub(super) async fn run_succeeded_in(tx: &mut Transaction<'static, Sqlite>, now: Millis, run: &Claimed, rows: i64) -> Result<()> {
    if is_beside(run) { Ok(()) } else { succeeded_in(tx, now, &run.dataset_id, rows).await }
}

/// There are new rows, so many: whatever was wrong is over.
pub(super) async fn succeeded_in(tx: &mut Transaction<'static, Sqlite>, now: Millis, dataset: &DatasetId, rows: i64) -> Result<()> {
    let Some(dataset) = kept(tx, dataset).await? else { return Ok(()) };
    sqlx::query(
        "UPDATE datasets SET failed_in_a_row = 0, told_of_trouble = 0, told_of_late = 0, told_of_stop = 0, retry_at = NULL, reminded_at = NULL, late_since = NULL, late_key = NULL, last_success_at = $1 WHERE id = $2",
    )
    .bind(now)
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    if dataset.told_of_trouble + dataset.told_of_late + dataset.told_of_stop == 0 {
        return Ok(());
    }
    let happened = match dataset.failed_in_a_row {
        0 => format!("A run succeeded: {rows} rows."),
        1 => format!("A run succeeded after 1 failed run: {rows} rows."),
        many => format!("A run succeeded after {many} failed runs: {rows} rows."),
    };
    let next = dataset.next_run_at.map_or_else(String::new, |at| format!("The next run is at {}.", dataset.moment(at)));
    dataset.tell(tx, now, Kind::Recovery, "", [happened, "No action needed.".to_owned(), next]).await
}

/// Somebody has stopped a run: it is not tried again.
pub(super) async fn cancelled_in(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    sqlx::query("UPDATE datasets SET retry_at = NULL WHERE id = (SELECT dataset_id FROM runs WHERE id = $1 AND cause <> 'backfill')")
        .bind(run)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_spread_and_those_of_one_reading_come_together() {
        let readings: Vec<RunId> = (0..200).map(|_| RunId::new()).collect();
        let mut seen: Vec<i64> = readings.iter().map(|reading| spread(reading, 0)).collect();
        assert!(seen.iter().all(|percent| (0..SPREAD_PERCENT).contains(percent)), "{seen:?}");
        assert_eq!(spread(&readings[0], 0), spread(&readings[0], 0));
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 10, "{seen:?}");
    }
}
