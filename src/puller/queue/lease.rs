//! The lease of a claimed run. Heartbeats renew it and find out whether the run must stop.

use super::{Claimed, LEASE};
use crate::clock::{Clock, millis};
use crate::db::Db;
use crate::error::Result;

/// The state of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// This process holds it.
    Active,
    /// This process holds it, and a person cancelled the run.
    CancelRequested,
    /// Another worker holds it, or the run has ended.
    Lost,
}

/// Extends the lease and stores the progress.
pub async fn extend_lease(
    db: &Db,
    clock: &Clock,
    run: &Claimed,
    progress: &str,
) -> Result<LeaseState> {
    let mut tx = db.write().await?;
    let cancel_requested: Option<i64> = sqlx::query_scalar(
        "UPDATE runs
         SET lease_until = $1, progress = $2
         -- Another process may have claimed the run since, which increased the fence.
         WHERE id = $3 AND fence = $4 AND state = 'running'
         RETURNING cancel_requested",
    )
    .bind(clock.now() + millis(LEASE))
    .bind(progress)
    .bind(&run.id)
    .bind(run.fence)
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(lease_state(cancel_requested))
}

/// Reads the state of the lease without extending it.
pub async fn check_lease(db: &Db, run: &Claimed) -> Result<LeaseState> {
    let cancel_requested: Option<i64> = sqlx::query_scalar(
        "SELECT cancel_requested FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'",
    )
    .bind(&run.id)
    .bind(run.fence)
    .fetch_optional(db.read())
    .await?;
    Ok(lease_state(cancel_requested))
}

/// `cancel_requested`: of the run, if this process holds the lease.
pub(super) fn lease_state(cancel_requested: Option<i64>) -> LeaseState {
    match cancel_requested {
        None => LeaseState::Lost,
        Some(0) => LeaseState::Active,
        Some(_) => LeaseState::CancelRequested,
    }
}
