//! The runs that this process holds. A lease in the catalogue depends on the clock, which may be
//! set, and expires while the process is stopped; this in-memory set is always right, so a run in
//! it is never claimed by another worker.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{Sqlite, Transaction};

use super::LEASE;
use crate::clock::{Millis, millis};
use crate::error::Result;
use crate::ids::RunId;

/// The leases of one server process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerLeases {
    /// The holder's name in the catalogue.
    name: String,
    runs: Arc<Mutex<HashSet<(RunId, i64)>>>,
}

/// Keeps a run in the set until the last copy is dropped.
#[derive(Debug)]
pub struct LeaseGuard {
    leases: WorkerLeases,
    run: (RunId, i64),
}

impl WorkerLeases {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            runs: Arc::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn acquire(&self, run: &RunId, fence: i64) -> Arc<LeaseGuard> {
        let run = (run.clone(), fence);
        self.runs().insert(run.clone());
        Arc::new(LeaseGuard {
            leases: self.clone(),
            run,
        })
    }

    /// Renews expired leases of runs that this process still holds.
    pub(super) async fn renew_expired(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        now: Millis,
    ) -> Result<()> {
        let expired: Vec<(RunId, i64)> = sqlx::query_as(
            "SELECT id, fence FROM runs WHERE state = 'running' AND lease_until < $1",
        )
        .bind(now)
        .fetch_all(&mut **tx)
        .await?;
        for (run, fence) in expired {
            if self.runs().contains(&(run.clone(), fence)) {
                sqlx::query("UPDATE runs SET lease_until = $1 WHERE id = $2")
                    .bind(now + millis(LEASE))
                    .bind(run)
                    .execute(&mut **tx)
                    .await?;
            }
        }
        Ok(())
    }

    fn runs(&self) -> MutexGuard<'_, HashSet<(RunId, i64)>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.leases.runs().remove(&self.run);
    }
}
