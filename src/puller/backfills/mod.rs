//! Backfills pull past days in chunks, from the newest day to the oldest. Each chunk is a run with
//! its own commit, so cancelling loses nothing that was saved. Scheduled and manual runs go first
//! between two chunks. `backfills/chunks.rs` queues the chunks.

use jiff::Span;
use jiff::civil::Date;
use sqlx::{FromRow, Sqlite, Transaction};

use super::Puller;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::connectors::Window;
use crate::datasets::Dataset;
use crate::datasets::partial_pull::{PartialPull, has_days};
use crate::db::Db;
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{BackfillId, DatasetId, RunId, UserId};
pub(super) use chunks::{chunk_committed, chunk_failed, enqueue_chunks};

macro_rules! select_backfill {
    ($rest:literal) => {
        concat!(
            "SELECT b.id, b.dataset_id, b.from_day, b.to_day, b.chunk_days, b.remaining_to, b.state, b.retry_at, b.stop_reason, b.requested_by, u.name AS requested_by_name, b.created_at, b.ended_at, ",
            "COALESCE((SELECT SUM(r.rows_written) FROM runs r WHERE r.backfill_id = b.id AND r.state = 'succeeded'), 0) AS rows, ",
            "(SELECT r.id FROM runs r WHERE r.backfill_id = b.id AND r.state IN ('queued', 'running', 'waiting')) AS run ",
            "FROM backfills b LEFT JOIN users u ON u.id = b.requested_by ",
            $rest
        )
    };
}

mod chunks;

/// The maximum number of days of a chunk: as many as a run requests day by day.
pub const MAX_CHUNK_DAYS: u32 = 31;
/// The maximum number of days of a backfill.
pub const MAX_BACKFILL_DAYS: i64 = 3_660;
/// The default number of days of a chunk.
pub const DEFAULT_CHUNK_DAYS: u32 = 7;

/// The state of a backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
pub enum BackfillState {
    /// Chunks are queued one after the other.
    Running,
    /// A chunk failed; a person may resume the backfill.
    Stopped,
    Cancelled,
    Finished,
}

impl BackfillState {
    pub fn word(self) -> &'static str {
        match self {
            BackfillState::Running => "running",
            BackfillState::Stopped => "stopped",
            BackfillState::Cancelled => "cancelled",
            BackfillState::Finished => "finished",
        }
    }

    fn parse(word: &str) -> Self {
        use BackfillState::{Cancelled, Finished, Running, Stopped};
        [Running, Stopped, Cancelled, Finished]
            .into_iter()
            .find(|state| state.word() == word)
            .unwrap_or(Stopped)
    }
}

/// A backfill of past days.
#[derive(Clone, Debug)]
pub struct Backfill {
    pub id: BackfillId,
    pub dataset_id: DatasetId,
    /// Both days included.
    pub days: Window,
    pub chunk_days: u32,
    /// The newest day that is not pulled yet; `None` once all days are.
    pub remaining_to: Option<Date>,
    pub state: BackfillState,
    /// When the failed chunk is retried.
    pub retry_at: Option<Millis>,
    /// Of a stopped backfill: why it stopped.
    pub stop_reason: Option<String>,
    pub requested_by: Option<UserId>,
    pub requested_by_name: Option<String>,
    pub created_at: Millis,
    pub ended_at: Option<Millis>,
    /// Rows that its chunks wrote.
    pub rows: i64,
    /// The active run of a chunk.
    pub run: Option<RunId>,
}

impl Backfill {
    /// The days of the next chunk.
    pub fn next(&self) -> Option<Window> {
        let to = self.remaining_to?;
        Some(Window {
            from: to
                .saturating_sub(Span::new().days(i64::from(self.chunk_days) - 1))
                .max(self.days.from),
            to,
        })
    }

    pub fn chunks(&self) -> i64 {
        count_chunks(self.days.from, self.days.to, self.chunk_days)
    }

    pub fn chunks_done(&self) -> i64 {
        self.chunks()
            - self
                .remaining_to
                .map_or(0, |to| count_chunks(self.days.from, to, self.chunk_days))
    }
}

fn count_chunks(from: Date, to: Date, size: u32) -> i64 {
    let days = i64::from((to - from).get_days()) + 1;
    (days + i64::from(size) - 1) / i64::from(size.max(1))
}

/// The requested days of a backfill, validated: see `BackfillRange::check`.
#[derive(Clone, Copy, Debug)]
pub struct BackfillRange {
    days: Window,
    chunk_days: u32,
}

impl BackfillRange {
    /// Parses and validates the input. `today`: in the DataSet's time zone.
    pub fn check(from: &str, to: &str, chunk_days: &str, today: Date) -> Result<Self> {
        let mut wrong = Vec::new();
        let mut day = |field: &str, text: &str| match text.trim().parse::<Date>() {
            Ok(day) => day,
            Err(_) => {
                wrong.push((
                    field.to_owned(),
                    "Enter a date such as 2026-02-17.".to_owned(),
                ));
                today
            }
        };
        let (from, to) = (day("from", from), day("to", to));
        let chunk_days: u32 = chunk_days.trim().parse().unwrap_or(0);
        if wrong.is_empty() && from > to {
            wrong.push((
                "from".to_owned(),
                format!("The first day must be {to} (the last day) or earlier."),
            ));
        }
        if to > today {
            wrong.push((
                "to".to_owned(),
                format!("The last day must be {today} (today) or earlier."),
            ));
        } else if wrong.is_empty() && i64::from((to - from).get_days()) >= MAX_BACKFILL_DAYS {
            wrong.push((
                "from".to_owned(),
                format!("A backfill must cover {MAX_BACKFILL_DAYS} days (10 years) or less."),
            ));
        }
        if !(1..=MAX_CHUNK_DAYS).contains(&chunk_days) {
            wrong.push((
                "chunk_days".to_owned(),
                format!("A date range must have from 1 to {MAX_CHUNK_DAYS} days."),
            ));
        }
        if wrong.is_empty() {
            Ok(Self {
                days: Window { from, to },
                chunk_days,
            })
        } else {
            Err(Error::fields(wrong))
        }
    }
}

/// Identifies what a run reads from the vendor. Runs with equal keys share one read.
pub fn source_key(dataset: &Dataset, range: Option<&Window>) -> String {
    let key = dataset.source_key();
    range.map_or(key.clone(), |days| format!("{key} {days}"))
}

/// Returns why single days of this DataSet cannot be pulled; `None` when they can.
pub fn unsupported_reason(dataset: &Dataset) -> Option<Error> {
    if !dataset.setup().supports_single_days() {
        let why = if has_days(dataset.report) {
            "always pulls its whole date range"
        } else {
            "has no date range"
        };
        return Some(Error::conflict(
            "no_days",
            format!("Backfill is not available: {} {why}.", dataset.report.title),
        ));
    }
    if PartialPull::of(dataset.update_mode) == PartialPull::Unsupported {
        return Some(
            Error::conflict(
                "replaces_all",
                "Backfill is not available with Replace: each run overwrites all rows.",
            )
            .action("Press Run now, or choose Append, Merge or Partition under Settings."),
        );
    }
    if dataset.account_id.is_none() {
        return Some(
            Error::conflict(
                "account_missing",
                "The account of this DataSet was deleted. The DataSet cannot run.",
            )
            .action("Choose another account under Settings."),
        );
    }
    None
}

#[derive(FromRow)]
struct BackfillRow {
    id: BackfillId,
    dataset_id: DatasetId,
    from_day: String,
    to_day: String,
    chunk_days: i64,
    remaining_to: Option<String>,
    state: String,
    retry_at: Option<i64>,
    stop_reason: Option<String>,
    requested_by: Option<UserId>,
    requested_by_name: Option<String>,
    created_at: i64,
    ended_at: Option<i64>,
    rows: i64,
    run: Option<RunId>,
}

impl TryFrom<BackfillRow> for Backfill {
    type Error = Error;

    fn try_from(row: BackfillRow) -> Result<Self> {
        let day = |text: &str| {
            text.parse::<Date>()
                .map_err(|_| Error::internal(format!("backfill {} has an unreadable day", row.id)))
        };
        Ok(Self {
            days: Window {
                from: day(&row.from_day)?,
                to: day(&row.to_day)?,
            },
            remaining_to: row.remaining_to.as_deref().map(day).transpose()?,
            chunk_days: u32::try_from(row.chunk_days).unwrap_or(1).max(1),
            state: BackfillState::parse(&row.state),
            retry_at: row
                .retry_at
                .filter(|_| row.state == BackfillState::Running.word()),
            id: row.id,
            dataset_id: row.dataset_id,
            stop_reason: row.stop_reason,
            requested_by: row.requested_by,
            requested_by_name: row.requested_by_name,
            created_at: row.created_at,
            ended_at: row.ended_at,
            rows: row.rows,
            run: row.run,
        })
    }
}

impl Puller {
    /// Starts a backfill. A DataSet has at most one running backfill.
    pub async fn backfill(
        &self,
        actor: &Actor,
        dataset: &DatasetId,
        requested: &BackfillRange,
    ) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        if let Some(refusal) = unsupported_reason(&dataset) {
            return Err(refusal);
        }
        if let Some(account) = &dataset.account_id {
            self.accounts.usable(actor, account).await?;
        }
        let mut tx = self.db.write().await?;
        let id = insert_backfill(
            &mut tx,
            &dataset.id,
            requested,
            Some(&actor.user),
            self.clock.now(),
        )
        .await?;
        tx.commit().await?;
        kill_point("backfill.asked");
        self.wake_scheduler.notify_one();
        get(&self.db, &dataset.id, &id).await
    }

    /// The backfills of a DataSet, newest first.
    pub async fn backfills(&self, actor: &Actor, dataset: &DatasetId) -> Result<Vec<Backfill>> {
        let seen = self.datasets.get(actor, dataset).await?;
        let rows: Vec<BackfillRow> = sqlx::query_as(select_backfill!(
            "WHERE b.dataset_id = $1 ORDER BY b.created_at DESC, b.id DESC LIMIT 100"
        ))
        .bind(dataset)
        .fetch_all(self.db.read())
        .await?;
        let as_seen = |backfill: Backfill| Backfill {
            stop_reason: backfill.stop_reason.map(|why| seen.redact(&why)),
            ..backfill
        };
        rows.into_iter()
            .map(|row| Backfill::try_from(row).map(as_seen))
            .collect()
    }

    /// The newest backfill of a DataSet. The caller has checked permission for the DataSet.
    pub async fn newest_backfill(&self, dataset: &DatasetId) -> Result<Option<Backfill>> {
        let row: Option<BackfillRow> = sqlx::query_as(select_backfill!(
            "WHERE b.dataset_id = $1 ORDER BY b.created_at DESC, b.id DESC LIMIT 1"
        ))
        .bind(dataset)
        .fetch_optional(self.db.read())
        .await?;
        row.map(Backfill::try_from).transpose()
    }

    /// Cancels a backfill and its active run. The rows of earlier chunks stay.
    pub async fn cancel_backfill(
        &self,
        actor: &Actor,
        dataset: &DatasetId,
        id: &BackfillId,
    ) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        get(&self.db, &dataset.id, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE backfills
             SET state = 'cancelled', ended_at = $1
             WHERE id = $2 AND state IN ('running', 'stopped')",
        )
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        kill_point("backfill.cancelled");
        let backfill = get(&self.db, &dataset.id, id).await?;
        if let (BackfillState::Cancelled, Some(run)) = (backfill.state, &backfill.run) {
            self.cancel(actor, run).await?;
        }
        get(&self.db, &dataset.id, id).await
    }

    /// Resumes a stopped or cancelled backfill where it ended.
    pub async fn resume_backfill(
        &self,
        actor: &Actor,
        dataset: &DatasetId,
        id: &BackfillId,
    ) -> Result<Backfill> {
        let dataset = self.datasets.get_to_run(actor, dataset).await?;
        if let Some(account) = &dataset.account_id {
            self.accounts.usable(actor, account).await?;
        }
        let before = get(&self.db, &dataset.id, id).await?;
        if before.state == BackfillState::Finished {
            return Err(Error::conflict(
                "backfill_finished",
                "This backfill is finished.",
            ));
        }
        if let Some(refusal) = unsupported_reason(&dataset) {
            return Err(refusal);
        }
        let mut tx = self.db.write().await?;
        require_none_running(&mut tx, &dataset.id, Some(id)).await?;
        sqlx::query(
            "UPDATE backfills
             SET
                 state = 'running', stop_reason = NULL, ended_at = NULL, resumed_at = $1,
                 retries = 0, retry_at = NULL
             WHERE id = $2 AND state IN ('stopped', 'cancelled')",
        )
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        kill_point("backfill.resumed");
        self.wake_scheduler.notify_one();
        get(&self.db, &dataset.id, id).await
    }
}

async fn get(db: &Db, dataset: &DatasetId, id: &BackfillId) -> Result<Backfill> {
    let row: Option<BackfillRow> =
        sqlx::query_as(select_backfill!("WHERE b.id = $1 AND b.dataset_id = $2"))
            .bind(id)
            .bind(dataset)
            .fetch_optional(db.read())
            .await?;
    row.map(Backfill::try_from)
        .transpose()?
        .ok_or_else(|| Error::not_found("backfill"))
}

async fn require_none_running(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    but: Option<&BackfillId>,
) -> Result<()> {
    let other: Option<(BackfillId,)> =
        sqlx::query_as("SELECT id FROM backfills WHERE dataset_id = $1 AND state = 'running'")
            .bind(dataset)
            .fetch_optional(&mut **tx)
            .await?;
    if other.is_some_and(|(other,)| Some(&other) != but) {
        return Err(Error::conflict(
            "backfill_under_way",
            "A backfill of this DataSet is already running.",
        )
        .action("Wait until it ends, or cancel it."));
    }
    Ok(())
}

/// Inserts a backfill, inside the caller's transaction.
async fn insert_backfill(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    requested: &BackfillRange,
    by: Option<&UserId>,
    now: Millis,
) -> Result<BackfillId> {
    require_none_running(tx, dataset, None).await?;
    let id = BackfillId::new();
    sqlx::query(
        "INSERT INTO backfills (
             id, dataset_id, from_day, to_day, chunk_days, remaining_to, state, requested_by,
             created_at, resumed_at
         )
         VALUES ($1, $2, $3, $4, $5, $4, 'running', $6, $7, $7)",
    )
    .bind(&id)
    .bind(dataset)
    .bind(requested.days.from.to_string())
    .bind(requested.days.to.to_string())
    .bind(i64::from(requested.chunk_days))
    .bind(by)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// Stops the running backfill of a DataSet and cancels its chunk if that is queued or waiting,
/// inside the caller's transaction. A person may resume it.
pub(super) async fn interrupt(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    why: &str,
    now: Millis,
) -> Result<()> {
    sqlx::query(
        "UPDATE backfills
         SET state = 'stopped', stop_reason = $1, ended_at = $2, retry_at = NULL
         WHERE dataset_id = $3 AND state = 'running'",
    )
    .bind(why)
    .bind(now)
    .bind(dataset)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE runs
         SET state = 'cancelled', finished_at = $1, cancel_requested = 1
         WHERE dataset_id = $2 AND trigger = 'backfill' AND state IN ('queued', 'waiting')",
    )
    .bind(now)
    .bind(dataset)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
