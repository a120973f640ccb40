//! The lease of a claimed run: extended by heartbeats, which also find out whether the run is to go on.

use super::{Claimed, LEASE};
use crate::clock::{Clock, millis};
use crate::db::Db;
use crate::error::Result;

/// What a heartbeat finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Still ours.
    Yes,
    /// Still ours, and a person wants it stopped.
    Cancel,
    /// Another holds it, or it is over.
    Lost,
}

/// Extends the lease and keeps the progress for whoever looks.
pub async fn extend(db: &Db, clock: &Clock, run: &Claimed, progress: &str) -> Result<Held> {
    let mut tx = db.write().await?;
    let row: Option<(i64,)> =
        sqlx::query_as("UPDATE runs SET lease_until = $1, progress = $2 WHERE id = $3 AND fence = $4 AND state = 'running' RETURNING cancel_requested")
            .bind(clock.now() + millis(LEASE))
            .bind(progress)
            .bind(&run.id)
            .bind(run.fence)
            .fetch_optional(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok(held(row))
}

/// What a heartbeat finds, without writing anything: the lease is as it was.
pub async fn look(db: &Db, run: &Claimed) -> Result<Held> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT cancel_requested FROM runs WHERE id = $1 AND fence = $2 AND state = 'running'")
        .bind(&run.id)
        .bind(run.fence)
        .fetch_optional(db.read())
        .await?;
    Ok(held(row))
}

fn held(row: Option<(i64,)>) -> Held {
    match row {
        None => Held::Lost,
        Some((0,)) => Held::Yes,
        Some(_) => Held::Cancel,
    }
}
