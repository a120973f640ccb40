//! Backfills: days that are long past, pulled in chunks from the newest to the oldest. Each chunk is a run of its own, which commits by
//! itself, so that stopping loses nothing that came; between two chunks whatever the schedule or a person wants goes first. How one
//! chunk follows another is in `backfills/chunks.rs`.

use jiff::Span;
use jiff::civil::Date;
use sqlx::{FromRow, Sqlite, Transaction};

use super::Puller;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::connectors::Window;
use crate::datasets::Dataset;
use crate::datasets::parts::{Parts, has_days};
use crate::db::Db;
use crate::db::marks::step;
use crate::error::{Error, Result};
use crate::ids::{BackfillId, DatasetId, RunId, UserId};
pub(super) use chunks::{chunk_committed, chunk_failed, enqueue_chunks};

macro_rules! select_backfill {
    ($rest:literal) => {
        concat!(
            "SELECT b.id, b.dataset_id, b.from_day, b.to_day, b.chunk_days, b.left_to, b.state, b.retry_at, b.why, b.asked_by, u.name AS asked_by_name, b.created_at, b.ended_at, ",
            "COALESCE((SELECT SUM(r.rows_written) FROM runs r WHERE r.backfill_id = b.id AND r.state = 'succeeded'), 0) AS rows, ",
            "(SELECT r.id FROM runs r WHERE r.backfill_id = b.id AND r.state IN ('queued', 'running', 'waiting')) AS run ",
            "FROM backfills b LEFT JOIN users u ON u.id = b.asked_by ",
            $rest
        )
    };
}

mod chunks;

/// A chunk has at most so many days, as many as a run asks for day by day.
pub const MOST_CHUNK: u32 = 31;
/// A backfill reaches over at most so many days.
pub const MOST_DAYS: i64 = 3_660;
/// How many days a chunk has unless somebody says otherwise.
pub const USUAL_CHUNK: u32 = 7;

/// Where a backfill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Chunk after chunk.
    Running,
    /// A chunk did not succeed; somebody may resume it.
    Stopped,
    Cancelled,
    Finished,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Stopped => "stopped",
            State::Cancelled => "cancelled",
            State::Finished => "finished",
        }
    }

    fn parse(word: &str) -> Self {
        use State::{Cancelled, Finished, Running, Stopped};
        [Running, Stopped, Cancelled, Finished].into_iter().find(|state| state.word() == word).unwrap_or(Stopped)
    }
}

/// A wish for days that are past.
#[derive(Clone, Debug)]
pub struct Backfill {
    pub id: BackfillId,
    pub dataset_id: DatasetId,
    /// Both days included.
    pub days: Window,
    pub chunk_days: u32,
    /// The newest day that is still to come; none once all came.
    pub left_to: Option<Date>,
    pub state: State,
    /// Of one whose chunk has failed: when it is tried again.
    pub retry_at: Option<Millis>,
    /// Of one that stopped: what happened.
    pub why: Option<String>,
    pub asked_by: Option<UserId>,
    pub asked_by_name: Option<String>,
    pub created_at: Millis,
    pub ended_at: Option<Millis>,
    /// Rows that its chunks wrote.
    pub rows: i64,
    /// The chunk under way.
    pub run: Option<RunId>,
}

impl Backfill {
    /// The chunk that is next.
    pub fn next(&self) -> Option<Window> {
        let to = self.left_to?;
        Some(Window { from: to.saturating_sub(Span::new().days(i64::from(self.chunk_days) - 1)).max(self.days.from), to })
    }

    pub fn chunks(&self) -> i64 {
        chunks(self.days.from, self.days.to, self.chunk_days)
    }

    pub fn chunks_done(&self) -> i64 {
        self.chunks() - self.left_to.map_or(0, |to| chunks(self.days.from, to, self.chunk_days))
    }
}

fn chunks(from: Date, to: Date, size: u32) -> i64 {
    let days = i64::from((to - from).get_days()) + 1;
    (days + i64::from(size) - 1) / i64::from(size.max(1))
}

/// What is asked for. A value that exists is checked: see `Asked::check`.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    days: Window,
    chunk_days: u32,
}

impl Asked {
    /// `today`: in the DataSet's zone.
    pub fn check(from: &str, to: &str, chunk_days: &str, today: Date) -> Result<Self> {
        let mut wrong = Vec::new();
        let mut day = |field: &str, text: &str| match text.trim().parse::<Date>() {
            Ok(day) => day,
            Err(_) => {
                wrong.push((field.to_owned(), "Enter a date such as 2026-02-17.".to_owned()));
                today
            }
        };
        let (from, to) = (day("from", from), day("to", to));
        let chunk_days: u32 = chunk_days.trim().parse().unwrap_or(0);
        if wrong.is_empty() && from > to {
            wrong.push(("from".to_owned(), format!("The first day must be {to} (the last day) or earlier.")));
        }
        if to > today {
            wrong.push(("to".to_owned(), format!("The last day must be {today} (today) or earlier.")));
        } else if wrong.is_empty() && i64::from((to - from).get_days()) >= MOST_DAYS {
            wrong.push(("from".to_owned(), format!("A backfill must cover {MOST_DAYS} days (10 years) or less.")));
        }
        if !(1..=MOST_CHUNK).contains(&chunk_days) {
            wrong.push(("chunk_days".to_owned(), format!("A date range must have from 1 to {MOST_CHUNK} days.")));
        }
        if wrong.is_empty() { Ok(Self { days: Window { from, to }, chunk_days }) } else { Err(Error::fields(wrong)) }
    }
}

/// What a run of a DataSet asks the vendor for: runs with equal keys share one reading.
pub fn source_key(dataset: &Dataset, range: Option<&Window>) -> String {
    let key = dataset.source_key();
    range.map_or(key.clone(), |days| format!("{key} {days}"))
}

/// Why days of this DataSet cannot be pulled alone; none when they can.
pub fn refusal(dataset: &Dataset) -> Option<Error> {
    if !dataset.setup().has_days_apart() {
        let why = if has_days(dataset.report) { "always pulls its whole date range" } else { "has no date range" };
        return Some(Error::conflict("no_days", format!("Backfill is not available: {} {why}.", dataset.report.title)));
    }
    if Parts::of(dataset.update_mode) == Parts::Refused {
        return Some(
            Error::conflict("replaces_all", "Backfill is not available with Replace: each run overwrites all rows.")
                .action("Press Run now, or choose Append, Merge or Partition under Settings."),
        );
    }
    if dataset.account_id.is_none() {
        return Some(
            Error::conflict("account_missing", "The account of this DataSet was deleted. The DataSet cannot run.")
                .action("Choose another account under Settings."),
        );
    }
    None
}

#[derive(FromRow)]
struct Row {
    id: BackfillId,
    dataset_id: DatasetId,
    from_day: String,
    to_day: String,
    chunk_days: i64,
    left_to: Option<String>,
    state: String,
    retry_at: Option<i64>,
    why: Option<String>,
    asked_by: Option<UserId>,
    asked_by_name: Option<String>,
    created_at: i64,
    ended_at: Option<i64>,
    rows: i64,
    run: Option<RunId>,
}

impl TryFrom<Row> for Backfill {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let day = |text: &str| text.parse::<Date>().map_err(|_| Error::internal(format!("backfill {} has an unreadable day", row.id)));
        Ok(Self {
            days: Window { from: day(&row.from_day)?, to: day(&row.to_day)? },
            left_to: row.left_to.as_deref().map(day).transpose()?,
            chunk_days: u32::try_from(row.chunk_days).unwrap_or(1).max(1),
            state: State::parse(&row.state),
            retry_at: row.retry_at.filter(|_| row.state == State::Running.word()),
            id: row.id,
            dataset_id: row.dataset_id,
            why: row.why,
            asked_by: row.asked_by,
            asked_by_name: row.asked_by_name,
            created_at: row.created_at,
            ended_at: row.ended_at,
            rows: row.rows,
            run: row.run,
        })
    }
}

impl Puller {
    /// Begins a backfill. A DataSet has at most one under way.
    pub async fn backfill(&self, actor: &Actor, dataset: &DatasetId, asked: &Asked) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        if let Some(refusal) = refusal(&dataset) {
            return Err(refusal);
        }
        if let Some(account) = &dataset.account_id {
            self.accounts.usable(actor, account).await?;
        }
        let mut tx = self.db.write().await?;
        let id = record(&mut tx, &dataset.id, asked, Some(&actor.user), self.clock.now()).await?;
        tx.commit().await?;
        step("backfill.asked");
        self.rescheduled.notify_one();
        get(&self.db, &dataset.id, &id).await
    }

    /// The backfills of a DataSet, newest first.
    pub async fn backfills(&self, actor: &Actor, dataset: &DatasetId) -> Result<Vec<Backfill>> {
        let seen = self.datasets.get(actor, dataset).await?;
        let rows: Vec<Row> = sqlx::query_as(select_backfill!("WHERE b.dataset_id = $1 ORDER BY b.created_at DESC, b.id DESC LIMIT 100"))
            .bind(dataset)
            .fetch_all(self.db.read())
            .await?;
        let as_seen = |backfill: Backfill| Backfill { why: backfill.why.map(|why| seen.fit_to_read(&why)), ..backfill };
        rows.into_iter().map(|row| Backfill::try_from(row).map(as_seen)).collect()
    }

    /// The newest one of a DataSet. The caller has checked that it may be seen.
    pub async fn newest_backfill(&self, dataset: &DatasetId) -> Result<Option<Backfill>> {
        let row: Option<Row> = sqlx::query_as(select_backfill!("WHERE b.dataset_id = $1 ORDER BY b.created_at DESC, b.id DESC LIMIT 1"))
            .bind(dataset)
            .fetch_optional(self.db.read())
            .await?;
        row.map(Backfill::try_from).transpose()
    }

    /// Ends a backfill. The chunk under way is stopped; what came before it stays.
    pub async fn cancel_backfill(&self, actor: &Actor, dataset: &DatasetId, id: &BackfillId) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        get(&self.db, &dataset.id, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE backfills SET state = 'cancelled', ended_at = $1 WHERE id = $2 AND state IN ('running', 'stopped')")
            .bind(self.clock.now())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        step("backfill.cancelled");
        let backfill = get(&self.db, &dataset.id, id).await?;
        if let (State::Cancelled, Some(run)) = (backfill.state, &backfill.run) {
            self.cancel(actor, run).await?;
        }
        get(&self.db, &dataset.id, id).await
    }

    /// Goes on with a backfill that stopped or was cancelled, where it stopped.
    pub async fn resume_backfill(&self, actor: &Actor, dataset: &DatasetId, id: &BackfillId) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        if let Some(account) = &dataset.account_id {
            self.accounts.usable(actor, account).await?;
        }
        let before = get(&self.db, &dataset.id, id).await?;
        if before.state == State::Finished {
            return Err(Error::conflict("backfill_finished", "This backfill is finished."));
        }
        if let Some(refusal) = refusal(&dataset) {
            return Err(refusal);
        }
        let mut tx = self.db.write().await?;
        one_at_a_time(&mut tx, &dataset.id, Some(id)).await?;
        sqlx::query("UPDATE backfills SET state = 'running', why = NULL, ended_at = NULL, resumed_at = $1, tries = 0, retry_at = NULL WHERE id = $2 AND state IN ('stopped', 'cancelled')")
            .bind(self.clock.now())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        step("backfill.resumed");
        self.rescheduled.notify_one();
        get(&self.db, &dataset.id, id).await
    }
}

async fn get(db: &Db, dataset: &DatasetId, id: &BackfillId) -> Result<Backfill> {
    let row: Option<Row> = sqlx::query_as(select_backfill!("WHERE b.id = $1 AND b.dataset_id = $2")).bind(id).bind(dataset).fetch_optional(db.read()).await?;
    row.map(Backfill::try_from).transpose()?.ok_or_else(|| Error::not_found("backfill"))
}

async fn one_at_a_time(tx: &mut Transaction<'static, Sqlite>, dataset: &DatasetId, but: Option<&BackfillId>) -> Result<()> {
    let other: Option<(BackfillId,)> =
        sqlx::query_as("SELECT id FROM backfills WHERE dataset_id = $1 AND state = 'running'").bind(dataset).fetch_optional(&mut **tx).await?;
    if other.is_some_and(|(other,)| Some(&other) != but) {
        return Err(Error::conflict("backfill_under_way", "A backfill of this DataSet is already running.").action("Wait until it ends, or cancel it."));
    }
    Ok(())
}

/// Writes a wish down, inside the caller's transaction.
async fn record(tx: &mut Transaction<'static, Sqlite>, dataset: &DatasetId, asked: &Asked, by: Option<&UserId>, now: Millis) -> Result<BackfillId> {
    one_at_a_time(tx, dataset, None).await?;
    let id = BackfillId::new();
    sqlx::query(
        "INSERT INTO backfills (id, dataset_id, from_day, to_day, chunk_days, left_to, state, asked_by, created_at, resumed_at)
         VALUES ($1, $2, $3, $4, $5, $4, 'running', $6, $7, $7)",
    )
    .bind(&id)
    .bind(dataset)
    .bind(asked.days.from.to_string())
    .bind(asked.days.to.to_string())
    .bind(i64::from(asked.chunk_days))
    .bind(by)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// Stops the backfill of a DataSet and its chunk that is not at work, inside the caller's transaction; somebody may resume it.
pub(super) async fn interrupt(tx: &mut Transaction<'static, Sqlite>, dataset: &DatasetId, why: &str, now: Millis) -> Result<()> {
    sqlx::query("UPDATE backfills SET state = 'stopped', why = $1, ended_at = $2, retry_at = NULL WHERE dataset_id = $3 AND state = 'running'")
        .bind(why)
        .bind(now)
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
    sqlx::query("UPDATE runs SET state = 'cancelled', finished_at = $1, cancel_requested = 1 WHERE dataset_id = $2 AND cause = 'backfill' AND state IN ('queued', 'waiting')")
        .bind(now)
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
