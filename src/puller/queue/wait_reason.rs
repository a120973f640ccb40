//! Why a queued run has not started.

use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};

/// How many readings of one account may be under way when another one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimit {
    /// Before a run begins that no person asked for.
    pub scheduled: i64,
    /// Before a run begins that a person asked for.
    pub manual: i64,
}

impl From<i64> for AccountLimit {
    /// For runs that no person asked for alone.
    fn from(scheduled: i64) -> Self {
        Self { scheduled, manual: i64::MAX }
    }
}

/// What a queued run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Many are due at once, and their starts are spread: its own is then.
    SpreadStart(Millis),
    /// A run of its own DataSet is at work, of which one is at a time.
    OwnRun,
    /// A run that has stopped the whole server before is tried alone.
    Isolated,
    /// Another run that asks the vendor for the same is about to begin, and they are read one after the other.
    SharedRead,
    /// This many reads of its account are active, which is its limit.
    Account(i64),
    /// All workers are busy; so many runs are before it.
    Worker(i64),
}

impl WaitReason {
    /// "a free worker: 3 runs are ahead"
    pub fn in_words(self) -> String {
        match self {
            Self::SpreadStart(_) => "its turn: many runs are due at the same time".to_owned(),
            Self::OwnRun => "another run of this DataSet".to_owned(),
            Self::Isolated => "another run during which the server stopped before".to_owned(),
            Self::SharedRead => "another run that pulls the same data".to_owned(),
            Self::Account(1) => "the account's other runs: 1 is running".to_owned(),
            Self::Account(n) => format!("the account's other runs: {n} are running"),
            Self::Worker(0) => "a free worker".to_owned(),
            Self::Worker(1) => "a free worker: 1 run is ahead".to_owned(),
            Self::Worker(n) => format!("a free worker: {n} runs are ahead"),
        }
    }
}

/// Whether a DataSet has a run that is queued, running or waiting.
pub async fn has_active_run(db: &Db, dataset: &DatasetId) -> Result<bool> {
    let alive: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE dataset_id = $1 AND state IN ('queued', 'running', 'waiting')")
        .bind(dataset)
        .fetch_one(db.read())
        .await?;
    Ok(alive > 0)
}

type Queued = (String, String, Option<String>, Millis, String, i64);

/// What a queued run waits for; none for a run that is not queued. `limit`: see `claim`.
pub async fn wait_reason(db: &Db, clock: &Clock, run: &RunId, limit: AccountLimit) -> Result<Option<WaitReason>> {
    let now = clock.now();
    let row: Option<Queued> =
        sqlx::query_as("SELECT trigger, source_key, account_id, due_at, dataset_id, attempt FROM runs WHERE id = $1 AND state = 'queued'")
            .bind(run)
            .fetch_optional(db.read())
            .await?;
    let Some((trigger, source_key, account, due_at, dataset, attempt)) = row else { return Ok(None) };
    if due_at > now {
        return Ok(Some(WaitReason::SpreadStart(due_at)));
    }
    let own: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE dataset_id = $1 AND state = 'running'").bind(dataset).fetch_one(db.read()).await?;
    if own > 0 {
        return Ok(Some(WaitReason::OwnRun));
    }
    let last_tries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE state = 'running' AND attempt > $1 AND lease_until >= $2")
        .bind(super::MAX_ATTEMPTS - 1)
        .bind(now)
        .fetch_one(db.read())
        .await?;
    if attempt >= super::MAX_ATTEMPTS - 1 && last_tries > 0 {
        return Ok(Some(WaitReason::Isolated));
    }
    let batch_waits: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE state = 'running' AND source_key = $1 AND batch_wait_until > $2")
        .bind(source_key)
        .bind(now)
        .fetch_one(db.read())
        .await?;
    if batch_waits > 0 {
        return Ok(Some(WaitReason::SharedRead));
    }
    let by_person = matches!(trigger.as_str(), "manual" | "first");
    let under_way: i64 =
        sqlx::query_scalar("SELECT COUNT(DISTINCT shared_read_id) FROM runs WHERE state = 'running' AND lease_until >= $1 AND account_id = $2")
            .bind(now)
            .bind(account)
            .fetch_one(db.read())
            .await?;
    if under_way >= if by_person { limit.manual } else { limit.scheduled } {
        return Ok(Some(WaitReason::Account(under_way)));
    }
    let before: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'waiting') AND due_at <= $1 AND id <> $2
            AND (trigger IN ('manual', 'first') OR $3 = 0) AND (due_at < $4 OR (due_at = $4 AND id < $2) OR ($3 = 0 AND trigger IN ('manual', 'first')))",
    )
    .bind(now)
    .bind(run)
    .bind(i64::from(by_person))
    .bind(due_at)
    .fetch_one(db.read())
    .await?;
    Ok(Some(WaitReason::Worker(before)))
}
