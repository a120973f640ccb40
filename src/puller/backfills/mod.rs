//! Backfills pull past days in chunks, from the newest day to the oldest. Each chunk is a run with
//! its own commit, so cancelling loses nothing that was saved. Scheduled and manual runs go first
//! between two chunks. `backfills/actions.rs` has what people do with a backfill, and
//! `backfills/chunks.rs` queues the chunks.

use jiff::Span;
use jiff::civil::Date;

use crate::clock::Millis;
use crate::connectors::Window;
use crate::datasets::Dataset;
use crate::datasets::partial_pull::{PartialPull, has_days};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{BackfillId, DatasetId, RunId, UserId};
pub(super) use actions::interrupt;
pub(super) use chunks::{chunk_committed, chunk_failed, enqueue_chunks};
pub use range::{BackfillRange, MAX_BACKFILL_DAYS, MAX_CHUNK_DAYS};

/// The columns of `StoredBackfill`, from `backfills b` and `users u`.
macro_rules! select_backfill {
    ($rest:literal) => {
        concat!(
            "SELECT
                 b.id, b.dataset_id, b.from_day, b.to_day, b.chunk_days, b.remaining_to, b.state,
                 b.retry_at, b.stop_reason, b.requested_by, u.name AS requested_by_name,
                 b.created_at, b.ended_at,
                 COALESCE(
                     (
                         SELECT SUM(r.rows_written)
                         FROM runs r
                         WHERE r.backfill_id = b.id AND r.state = 'succeeded'
                     ),
                     0
                 ) AS rows,
                 -- The index `one_chunk_alive` allows one active chunk.
                 (
                     SELECT r.id
                     FROM runs r
                     WHERE r.backfill_id = b.id AND r.state IN ('queued', 'running', 'waiting')
                 ) AS run
             FROM backfills b
             LEFT JOIN users u ON u.id = b.requested_by
             ",
            $rest
        )
    };
}

mod actions;
mod chunks;
mod range;

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

/// A backfill as a row of the catalogue. `select_backfill!` reads it.
#[derive(sqlx::FromRow)]
struct StoredBackfill {
    id: BackfillId,
    dataset_id: DatasetId,
    from_day: String,
    to_day: String,
    chunk_days: i64,
    remaining_to: Option<String>,
    state: BackfillState,
    retry_at: Option<i64>,
    stop_reason: Option<String>,
    requested_by: Option<UserId>,
    requested_by_name: Option<String>,
    created_at: i64,
    ended_at: Option<i64>,
    rows: i64,
    run: Option<RunId>,
}

impl TryFrom<StoredBackfill> for Backfill {
    type Error = Error;

    fn try_from(row: StoredBackfill) -> Result<Self> {
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
            state: row.state,
            retry_at: row.retry_at.filter(|_| row.state == BackfillState::Running),
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

async fn get(db: &Db, dataset: &DatasetId, id: &BackfillId) -> Result<Backfill> {
    let row: Option<StoredBackfill> =
        sqlx::query_as(select_backfill!("WHERE b.id = $1 AND b.dataset_id = $2"))
            .bind(id)
            .bind(dataset)
            .fetch_optional(db.read())
            .await?;
    row.map(Backfill::try_from)
        .transpose()?
        .ok_or_else(|| Error::not_found("backfill"))
}

#[cfg(test)]
mod tests;
