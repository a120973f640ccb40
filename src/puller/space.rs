//! The guard of free space: while the disk is nearly full, runs wait and say why; reading goes on.

use std::path::Path;
use std::time::Duration;

use super::Puller;
use super::queue::{self, Claimed};
use crate::clock::Millis;
use crate::datasets::Dataset;
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
    let dir = puller.datasets.segments.dir().to_owned();
    let asked = tokio::task::spawn_blocking(move || free(&dir));
    let free = tokio::time::timeout(ANSWER_WITHIN, asked).await.map_err(|_| Error::internal("the disk of the segments does not answer"))?;
    let free = free.map_err(Error::internal)??;
    if free >= wanted {
        return Ok(false);
    }
    let why = format!("The disk has {} free, and {} must be free before rows are pulled.", size(free), size(wanted));
    tracing::warn!(free, wanted, dataset = %dataset.id, "a run waits for room on the disk");
    queue::hold(&puller.db, &puller.clock, run, puller.clock.now() + LOOK_AGAIN, &why).await?;
    Ok(true)
}

/// Bytes that this user may still write where `dir` is. Blocks.
fn free(dir: &Path) -> Result<u64> {
    let about = rustix::fs::statvfs(dir).map_err(std::io::Error::from)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// "1.2 GiB", "350 MiB"
fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib >= 1_024.0 { format!("{:.1} GiB", mib / 1_024.0) } else { format!("{mib:.0} MiB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_asked_and_sizes_are_told() {
        assert!(free(Path::new("/")).unwrap() > 0);
        assert!(free(Path::new("/nowhere/at/all")).is_err());
        assert_eq!([0, 350 << 20, 1 << 30, 3 << 29].map(size), ["0 MiB", "350 MiB", "1.0 GiB", "1.5 GiB"]);
    }
}
