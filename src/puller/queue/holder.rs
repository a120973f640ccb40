//! Who holds a run. A lease in the catalogue is told by the clock, which may be set, and ends while the process is stopped; what this
//! process has in its hands it knows by itself, and such a run is nobody else's, whatever the clock shows.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{Sqlite, Transaction};

use super::{LEASE, millis};
use crate::clock::Millis;
use crate::error::Result;
use crate::ids::RunId;

/// One incarnation of the server, with the runs that it has in its hands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Holder {
    /// On the leases.
    name: String,
    runs: Arc<Mutex<HashSet<(RunId, i64)>>>,
}

/// Keeps a run in its holder's hands until the last copy of it is dropped.
#[derive(Debug)]
pub struct Grip {
    holder: Holder,
    run: (RunId, i64),
}

impl Holder {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), runs: Arc::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn take(&self, run: &RunId, fence: i64) -> Arc<Grip> {
        let run = (run.clone(), fence);
        self.runs().insert(run.clone());
        Arc::new(Grip { holder: self.clone(), run })
    }

    /// Extends the leases that have ended of runs that are in these hands.
    pub(super) async fn keep(&self, tx: &mut Transaction<'static, Sqlite>, now: Millis) -> Result<()> {
        let ended: Vec<(RunId, i64)> =
            sqlx::query_as("SELECT id, fence FROM runs WHERE state = 'running' AND lease_until < $1").bind(now).fetch_all(&mut **tx).await?;
        for (run, fence) in ended {
            if self.runs().contains(&(run.clone(), fence)) {
                sqlx::query("UPDATE runs SET lease_until = $1 WHERE id = $2").bind(now + millis(LEASE)).bind(run).execute(&mut **tx).await?;
            }
        }
        Ok(())
    }

    fn runs(&self) -> MutexGuard<'_, HashSet<(RunId, i64)>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        self.holder.runs().remove(&self.run);
    }
}
