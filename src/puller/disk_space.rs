//! Defers runs while the disk is nearly full; reading stays possible.

use std::time::Duration;

use super::Puller;
use super::queue::{self, Claimed};
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::db::storage::{format_bytes, free_bytes};
use crate::error::{Error, Result};

/// A deferred run is checked again after this time.
const RECHECK_AFTER: Millis = 30_000;
/// The timeout for reading the free space: a broken disk may never respond.
const STATVFS_TIMEOUT: Duration = Duration::from_secs(60);

/// Defers a run while the disk has too little free space: less than the reserve, or less than twice
/// the last version of the DataSet.
pub(super) async fn defer_if_low(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
) -> Result<bool> {
    let last = dataset
        .current
        .as_ref()
        .map_or(0, |current| current.bytes.unsigned_abs());
    let wanted = puller.min_free_bytes.max(last.saturating_mul(2));
    if wanted == 0 {
        return Ok(false);
    }
    let mut free = free_bytes_here(puller).await?;
    if free < puller.min_free_bytes && puller.datasets.versions.empty_trash().await? > 0 {
        free = free_bytes_here(puller).await?;
    }
    if free >= wanted {
        return Ok(false);
    }
    let why = format!(
        "The disk has {} free. Runs start when {} are free.",
        format_bytes(free),
        format_bytes(wanted)
    );
    tracing::warn!(free, wanted, dataset = %dataset.id, "a run waits for free disk space");
    queue::defer(
        &puller.db,
        &puller.clock,
        run,
        puller.clock.now() + RECHECK_AFTER,
        &why,
    )
    .await?;
    Ok(true)
}

/// Whether less space is free than the reserve.
pub(super) async fn is_low(puller: &Puller) -> Result<bool> {
    Ok(puller.min_free_bytes > 0 && free_bytes_here(puller).await? < puller.min_free_bytes)
}

async fn free_bytes_here(puller: &Puller) -> Result<u64> {
    let dir = puller.datasets.segments.dir().to_owned();
    let read = tokio::task::spawn_blocking(move || free_bytes(&dir));
    let free = tokio::time::timeout(STATVFS_TIMEOUT, read)
        .await
        .map_err(|_| Error::internal("the disk does not respond"))?;
    free.map_err(Error::internal)?
}
