//! Why a queued run has not started.

use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};
use crate::puller::run::Trigger;

/// A new read of an account begins only while fewer reads than this are active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountLimit {
    /// For runs that no person started.
    pub scheduled: i64,
    /// For runs that a person started.
    pub manual: i64,
}

impl From<i64> for AccountLimit {
    /// Limits only the runs that no person started.
    fn from(scheduled: i64) -> Self {
        Self {
            scheduled,
            manual: i64::MAX,
        }
    }
}

/// What a queued run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Many runs are due at once, so their starts are spread; this one starts then.
    SpreadStart(Millis),
    /// Another run of the same DataSet is running.
    OwnRun,
    /// Another run in its last attempt is running; such runs run one after the other.
    Isolated,
    /// Another run with the same source key waits for runs that share its read.
    SharedRead,
    /// This many reads of its account are active, which is its limit.
    Account(i64),
    /// All workers are busy; this many runs are ahead.
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
    let active: i64 = sqlx::query_scalar(
        "SELECT COUNT(*)
         FROM runs
         WHERE dataset_id = $1 AND state IN ('queued', 'running', 'waiting')",
    )
    .bind(dataset)
    .fetch_one(db.read())
    .await?;
    Ok(active > 0)
}

/// The columns of a queued run that decide when it is claimed.
#[derive(sqlx::FromRow)]
struct QueuedRunRow {
    trigger: Trigger,
    source_key: String,
    account_id: Option<String>,
    due_at: Millis,
    dataset_id: String,
    attempt: i64,
}

/// What a queued run waits for; `None` for a run that is not queued. `limit`: see `claim`. The
/// checks are the conditions of the statement `CLAIM`, one by one.
pub async fn wait_reason(
    db: &Db,
    clock: &Clock,
    run: &RunId,
    limit: AccountLimit,
) -> Result<Option<WaitReason>> {
    let now = clock.now();
    let queued: Option<QueuedRunRow> = sqlx::query_as(
        "SELECT trigger, source_key, account_id, due_at, dataset_id, attempt
         FROM runs
         WHERE id = $1 AND state = 'queued'",
    )
    .bind(run)
    .fetch_optional(db.read())
    .await?;
    let Some(queued) = queued else {
        return Ok(None);
    };
    if queued.due_at > now {
        return Ok(Some(WaitReason::SpreadStart(queued.due_at)));
    }
    let own: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE dataset_id = $1 AND state = 'running'")
            .bind(&queued.dataset_id)
            .fetch_one(db.read())
            .await?;
    if own > 0 {
        return Ok(Some(WaitReason::OwnRun));
    }
    let last_attempts: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM runs WHERE state = 'running' AND attempt > $1 AND lease_until >= $2",
    )
    .bind(super::MAX_ATTEMPTS - 1)
    .bind(now)
    .fetch_one(db.read())
    .await?;
    if queued.attempt >= super::MAX_ATTEMPTS - 1 && last_attempts > 0 {
        return Ok(Some(WaitReason::Isolated));
    }
    let batch_waits: i64 = sqlx::query_scalar(
        "SELECT COUNT(*)
         FROM runs
         WHERE state = 'running' AND source_key = $1 AND batch_wait_until > $2",
    )
    .bind(&queued.source_key)
    .bind(now)
    .fetch_one(db.read())
    .await?;
    if batch_waits > 0 {
        return Ok(Some(WaitReason::SharedRead));
    }
    let by_person = matches!(queued.trigger, Trigger::Manual | Trigger::First);
    let under_way: i64 = sqlx::query_scalar(
        "SELECT COUNT(DISTINCT shared_read_id)
         FROM runs
         WHERE state = 'running' AND lease_until >= $1 AND account_id = $2",
    )
    .bind(now)
    .bind(&queued.account_id)
    .fetch_one(db.read())
    .await?;
    if under_way
        >= if by_person {
            limit.manual
        } else {
            limit.scheduled
        }
    {
        return Ok(Some(WaitReason::Account(under_way)));
    }
    let before: i64 = sqlx::query_scalar(
        "SELECT COUNT(*)
         FROM runs
         WHERE state IN ('queued', 'waiting')
             AND due_at <= $1
             AND id <> $2
             -- Ahead of a run that a person started are only other such runs.
             AND (trigger IN ('manual', 'first') OR $3 = 0)
             -- Older runs are ahead. Ahead of a run that no person started are also all runs that
             -- a person started.
             AND (
                 due_at < $4
                 OR (due_at = $4 AND id < $2)
                 OR ($3 = 0 AND trigger IN ('manual', 'first'))
             )",
    )
    .bind(now)
    .bind(run)
    .bind(i64::from(by_person))
    .bind(queued.due_at)
    .fetch_one(db.read())
    .await?;
    Ok(Some(WaitReason::Worker(before)))
}
