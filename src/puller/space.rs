//! The guard of free space: while the disk is nearly full, runs wait and say why; reading goes on.

use std::time::Duration;

use super::Puller;
use super::queue::{self, Claimed};
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::db::storage::{free, size};
use crate::error::{Error, Result};

/// A run that was held back looks again after this.
const LOOK_AGAIN: Millis = 30_000;
/// A disk that takes longer to say what is free does not answer at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Holds a run back while there is too little room for it: fewer bytes than are to stay free, or than twice the DataSet's last version.
pub(super) async fn is_held(puller: &Puller, run: &Claimed, dataset: &Dataset) -> Result<bool> {
    let last = dataset.current.as_ref().map_or(0, |current| current.bytes.unsigned_abs());
    let wanted = puller.keep_free.max(last.saturating_mul(2));
    if wanted == 0 {
        return Ok(false);
    }
    let mut free = free_here(puller).await?;
    if free < puller.keep_free && puller.datasets.versions.empty_trash().await? > 0 {
        free = free_here(puller).await?;
    }
    if free >= wanted {
        return Ok(false);
    }
    let why = format!("The disk has {} free. Runs start when {} are free.", size(free), size(wanted));
    tracing::warn!(free, wanted, dataset = %dataset.id, "a run waits for free disk space");
    queue::hold(&puller.db, &puller.clock, run, puller.clock.now() + LOOK_AGAIN, &why).await?;
    Ok(true)
}

/// Whether fewer bytes are free than are to stay free.
pub(super) async fn is_short(puller: &Puller) -> Result<bool> {
    Ok(puller.keep_free > 0 && free_here(puller).await? < puller.keep_free)
}

async fn free_here(puller: &Puller) -> Result<u64> {
    let dir = puller.datasets.segments.dir().to_owned();
    let asked = tokio::task::spawn_blocking(move || free(&dir));
    let free = tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(|_| Error::internal("the disk does not respond"))?;
    free.map_err(Error::internal)?
}
