//! Claims due runs. `CLAIM` chooses the run; the runs that share its read are claimed with it.

use sqlx::{Sqlite, Transaction};

use super::release::park_crashing_runs;
use super::{AccountLimit, Claimed, LEASE, MAX_ATTEMPTS, MAX_BATCH_WAIT, WorkerLeases};
use crate::clock::{Clock, Millis, millis};
use crate::db::Db;
use crate::error::Result;
use crate::ids::{DatasetId, RunId};
use crate::puller::run::{self, Trigger};

/// Claims one run. The inner SELECT finds the candidates, and its ORDER BY chooses among them.
///
/// $1 name of this process, $2 end of the lease, $3 now, $4 end of the wait for runs that share the
/// read, $5 number of attempts before the last one, $6 and $7 limit of active reads of an account:
/// for runs that no person started, and for those that a person started.
const CLAIM: &str = "
    UPDATE runs
    SET
        state = 'running', deferred_reason = NULL,
        -- Counted before any work, so that a run that crashes the server is parked in the end.
        attempt = attempt + 1,
        -- Makes all later writes of an earlier holder ineffective.
        fence = fence + 1,
        lease_holder = $1, lease_until = $2,
        -- The start of the first attempt.
        started_at = COALESCE(started_at, $3),
        -- Only a new read waits for other runs. Interrupted runs already know their shared read.
        batch_wait_until = CASE WHEN shared_read_id IS NULL THEN $4 ELSE NULL END,
        -- A new read gets the id of its first run. In its last attempt, a run reads alone.
        shared_read_id = CASE
            WHEN shared_read_id IS NULL OR attempt >= $5 THEN id
            ELSE shared_read_id
        END
    WHERE id = (
        SELECT r.id
        FROM runs r
        LEFT JOIN (
            -- The active reads of each account. Runs that share a read count once. A run whose
            -- lease has expired does not count.
            SELECT account_id, COUNT(DISTINCT shared_read_id) AS under_way
            FROM runs
            WHERE state = 'running' AND lease_until >= $3
            GROUP BY account_id
        ) reads
            ON reads.account_id = r.account_id
        -- The account has fewer active reads than its limit, which depends on who started the run.
        -- A run without an account has no active reads, so this is true.
        WHERE COALESCE(reads.under_way, 0) < CASE
            WHEN r.trigger IN ('manual', 'first') THEN $7
            ELSE $6
        END
            -- A deferred run is due later, and so is one whose start is spread.
            AND r.due_at <= $3
            -- A run with an expired lease is due again: its holder has stopped. The leases that
            -- this process still holds were renewed before this statement.
            AND (
                r.state IN ('queued', 'waiting')
                OR (r.state = 'running' AND r.lease_until < $3)
            )
            -- Last attempts run one after the other, so that the run that crashes the server is
            -- identified: while one is running, no other begins.
            AND (
                r.attempt < $5
                OR NOT EXISTS (
                    SELECT 1
                    FROM runs last_attempt
                    WHERE last_attempt.state = 'running'
                        AND last_attempt.attempt > $5
                        AND last_attempt.lease_until >= $3
                        AND last_attempt.id <> r.id
                )
            )
            -- One running run of a DataSet at a time: a backfill chunk and another run may both be
            -- queued, but not running.
            AND NOT EXISTS (
                SELECT 1
                FROM runs same_dataset
                WHERE same_dataset.dataset_id = r.dataset_id
                    AND same_dataset.state = 'running'
                    AND same_dataset.id <> r.id
            )
            -- No other read of the same data still waits for runs to share it: that worker claims
            -- this run, see `claim_same_source_runs`.
            AND NOT EXISTS (
                SELECT 1
                FROM runs leader
                WHERE leader.state = 'running'
                    AND leader.source_key = r.source_key
                    AND leader.batch_wait_until > $3
                    AND leader.id <> r.id
            )
        ORDER BY
            -- Runs that a person started, then scheduled runs and retries, then backfill chunks.
            CASE
                WHEN r.trigger IN ('manual', 'first') THEN 0
                WHEN r.trigger = 'backfill' THEN 2
                ELSE 1
            END,
            -- Then the account with the fewest active reads, then the oldest run.
            COALESCE(reads.under_way, 0), r.due_at, r.id
        LIMIT 1
    )
    RETURNING
        id, dataset_id, trigger, fence, attempt, source_key, shared_read_id, batch_wait_until,
        from_day, to_day";

/// Claims all runs that share the read of a leader.
///
/// $1 to $3 as in `CLAIM`, $4 the leader's read, $5 number of attempts before the last one, $6 id
/// of the leader, $7 whether the leader still waits for runs (1 or 0), $8 its source key.
const CLAIM_SAME_SOURCE: &str = "
    UPDATE runs
    SET
        state = 'running', deferred_reason = NULL, attempt = attempt + 1, fence = fence + 1,
        lease_holder = $1, lease_until = $2, started_at = COALESCE(started_at, $3),
        shared_read_id = $4, batch_wait_until = NULL
    WHERE state IN ('queued', 'waiting')
        AND due_at <= $3
        -- Last attempts run alone.
        AND attempt < $5
        AND id <> $6
        AND (
            -- A new read: all runs with its source key that belong to no read.
            (shared_read_id IS NULL AND $7 = 1 AND source_key = $8)
            -- An interrupted read: the runs that shared it before.
            OR (shared_read_id = $4 AND $7 = 0)
        )
        -- One running run of a DataSet at a time.
        AND NOT EXISTS (
            SELECT 1
            FROM runs same_dataset
            WHERE same_dataset.dataset_id = runs.dataset_id
                AND same_dataset.state = 'running'
                AND same_dataset.id <> runs.id
        )
    RETURNING
        id, dataset_id, trigger, fence, attempt, source_key, shared_read_id, batch_wait_until,
        from_day, to_day";

/// Claims the next due run: manual runs first, backfill chunks last, then runs of the account with
/// the fewest active reads, then the oldest. Also claims the runs that share its read. A run whose
/// lease has expired is due again, unless this process still holds it. `limit` bounds the active
/// reads of one account. The first returned run is the leader; the list is empty when nothing is
/// due.
///
/// A new read waits for other runs for a moment, in which no worker claims one with the same source
/// key. Interrupted runs are claimed together again, but third attempts run alone and one after the
/// other, so that the run that crashes the server is identified.
pub async fn claim(
    db: &Db,
    clock: &Clock,
    leases: &WorkerLeases,
    limit: impl Into<AccountLimit>,
) -> Result<Vec<Claimed>> {
    let (now, limit) = (clock.now(), limit.into());
    let mut tx = db.write().await?;
    leases.renew_expired(&mut tx, now).await?;
    park_crashing_runs(&mut tx, now).await?;
    let row: Option<ClaimedRow> = sqlx::query_as(CLAIM)
        .bind(leases.name())
        .bind(now + millis(LEASE))
        .bind(now)
        .bind(now + millis(MAX_BATCH_WAIT))
        .bind(MAX_ATTEMPTS - 1)
        .bind(limit.scheduled)
        .bind(limit.manual)
        .fetch_optional(&mut *tx)
        .await?;
    let mut set: Vec<Claimed> = row.into_iter().map(|row| row.claimed(leases)).collect();
    if let Some(leader) = set
        .first()
        .cloned()
        .filter(|leader| leader.attempt < MAX_ATTEMPTS)
    {
        set.extend(same_source_runs(&mut tx, now, leases, &leader).await?);
    }
    tx.commit().await?;
    Ok(set)
}

/// Claims the runs that were queued for the leader's read while it waited, and ends the waiting.
pub async fn claim_same_source_runs(
    db: &Db,
    clock: &Clock,
    leases: &WorkerLeases,
    leader: &Claimed,
) -> Result<Vec<Claimed>> {
    let mut tx = db.write().await?;
    let set = same_source_runs(&mut tx, clock.now(), leases, leader).await?;
    sqlx::query("UPDATE runs SET batch_wait_until = NULL WHERE id = $1 AND fence = $2")
        .bind(&leader.id)
        .bind(leader.fence)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(set)
}

async fn same_source_runs(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    leases: &WorkerLeases,
    leader: &Claimed,
) -> Result<Vec<Claimed>> {
    let rows: Vec<ClaimedRow> = sqlx::query_as(CLAIM_SAME_SOURCE)
        .bind(leases.name())
        .bind(now + millis(LEASE))
        .bind(now)
        .bind(&leader.shared_read_id)
        .bind(MAX_ATTEMPTS - 1)
        .bind(&leader.id)
        .bind(i64::from(leader.awaits_batch))
        .bind(&leader.source_key)
        .fetch_all(&mut **tx)
        .await?;
    Ok(rows.into_iter().map(|row| row.claimed(leases)).collect())
}

/// A claimed run as both statements return it.
#[derive(sqlx::FromRow)]
struct ClaimedRow {
    id: RunId,
    dataset_id: DatasetId,
    trigger: Trigger,
    fence: i64,
    attempt: i64,
    source_key: String,
    shared_read_id: RunId,
    batch_wait_until: Option<i64>,
    from_day: Option<String>,
    to_day: Option<String>,
}

impl ClaimedRow {
    fn claimed(self, leases: &WorkerLeases) -> Claimed {
        let _guard = leases.acquire(&self.id, self.fence);
        Claimed {
            id: self.id,
            dataset_id: self.dataset_id,
            trigger: self.trigger,
            fence: self.fence,
            attempt: self.attempt,
            source_key: self.source_key,
            shared_read_id: self.shared_read_id,
            awaits_batch: self.batch_wait_until.is_some(),
            range: run::range(self.from_day, self.to_day),
            _guard,
        }
    }
}
