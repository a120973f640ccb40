//! The disk below the catalogue: how much of it is free, in bytes and in words.

use std::path::Path;

use crate::error::{Error, Kind, Result};

/// The catalogue can be written when so many bytes are free: its log grows to a few MiB, and is then written back.
pub const MIN_FREE: u64 = 32 << 20;
/// With less than this a file that cannot be made or grown is taken for a full disk, whatever the error says.
const AS_GOOD_AS_FULL: u64 = 256 << 10;

/// Bytes that this user may still write where `dir` is. Blocks.
pub fn free(dir: &Path) -> Result<u64> {
    let about = rustix::fs::statvfs(dir).map_err(std::io::Error::from)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// "1.2 GiB", "350 MiB"
pub fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib >= 1_024.0 { format!("{:.1} GiB", mib / 1_024.0) } else { format!("{mib:.0} MiB") }
}

/// How much space there is and how much to free, for the person who runs the server. Blocks.
pub fn advice(dir: &Path) -> String {
    free_first(dir, "; no restart is needed")
}

/// As `advice`, where the start has failed. Blocks.
pub fn advice_to_start(dir: &Path) -> String {
    free_first(dir, ", then start Chatlake again")
}

fn free_first(dir: &Path, then: &str) -> String {
    match free(dir) {
        Ok(free) if free < MIN_FREE => {
            let missing = (MIN_FREE - free).div_ceil(1 << 20);
            format!("{} has {} free. Free at least {missing} MiB there{then}.", dir.display(), size(free))
        }
        Ok(free) => format!("{} has {} free. Check its disk quota and its limit on the number of files.", dir.display(), size(free)),
        Err(why) => format!("The free space of {} cannot be read: {why}.", dir.display()),
    }
}

/// Whether an error that a file at `dir` met is one of a full disk. Blocks.
pub(super) fn is_full(error: &Error, dir: &Path) -> bool {
    error.code() == "storage_full" || (error.kind() != Kind::Conflict && free(dir).is_ok_and(|free| free < AS_GOOD_AS_FULL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_asked_and_sizes_are_told() {
        assert!(free(Path::new("/")).unwrap() > 0);
        assert!(free(Path::new("/nowhere/at/all")).is_err());
        assert_eq!([0, 350 << 20, 1 << 30, 3 << 29].map(size), ["0 MiB", "350 MiB", "1.0 GiB", "1.5 GiB"]);
        assert!(advice(Path::new("/nowhere/at/all")).contains("cannot be read"));
    }
}
