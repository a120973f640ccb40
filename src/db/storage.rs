//! Free space of the disk that holds the catalogue: as a number, and as advice for the server
//! administrator.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// The catalogue can be written while at least this many bytes are free: its WAL grows to a few MiB
/// before SQLite writes it back.
pub const MIN_FREE_BYTES: u64 = 32 << 20;
/// With less free space than this, a file that cannot be created or extended counts as a full disk,
/// whatever the error is.
const NEARLY_FULL_BYTES: u64 = 256 << 10;

/// The number of bytes that this user can still write on the disk of `dir`. Blocks.
pub fn free_bytes(dir: &Path) -> Result<u64> {
    let about = rustix::fs::statvfs(dir).map_err(std::io::Error::from)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// "1.2 GiB", "350 MiB"
pub fn format_bytes(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib >= 1_024.0 {
        format!("{:.1} GiB", mib / 1_024.0)
    } else {
        format!("{mib:.0} MiB")
    }
}

/// Free space and the amount to free, as a sentence for the server administrator. Blocks.
pub fn advice(dir: &Path) -> String {
    advice_text(dir, "; no restart is needed")
}

/// Like `advice`, for a failed start. Blocks.
pub fn advice_to_start(dir: &Path) -> String {
    advice_text(dir, ", then start Chatlake again")
}

fn advice_text(dir: &Path, then: &str) -> String {
    match free_bytes(dir) {
        Ok(free) if free < MIN_FREE_BYTES => {
            let missing = (MIN_FREE_BYTES - free).div_ceil(1 << 20);
            format!(
                "{} has {} free. Free at least {missing} MiB there{then}.",
                dir.display(),
                format_bytes(free)
            )
        }
        Ok(free) => format!(
            "{} has {} free. Check its disk quota and its limit on the number of files.",
            dir.display(),
            format_bytes(free)
        ),
        Err(why) => format!("The free space of {} cannot be read: {why}.", dir.display()),
    }
}

/// Whether the error of a file in `dir` means that the disk is full. Blocks.
pub(super) fn is_full(error: &Error, dir: &Path) -> bool {
    error.code() == "storage_full"
        || (error.kind() != ErrorKind::Conflict
            && free_bytes(dir).is_ok_and(|free| free < NEARLY_FULL_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_asked_and_sizes_are_told() {
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
        assert!(free_bytes(Path::new("/nowhere/at/all")).is_err());
        assert_eq!(
            [0, 350 << 20, 1 << 30, 3 << 29].map(format_bytes),
            ["0 MiB", "350 MiB", "1.0 GiB", "1.5 GiB"]
        );
        assert!(advice(Path::new("/nowhere/at/all")).contains("cannot be read"));
    }
}
