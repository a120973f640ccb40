//! The data directory: creates, protects, locks and validates it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::datasets::versions::trash;
use crate::db::{commits, storage};
use crate::error::{Error, Result};

/// The file name of the catalogue in the data directory.
pub(super) const CATALOGUE: &str = "chatlake.db";

/// Creates the data directory and its folder for segments, or restricts the permissions of existing
/// ones.
pub(super) fn prepare_data_directory(dir: &Path) -> Result<()> {
    for dir in [dir.to_owned(), dir.join("segments")] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|why| file_error("create", &dir, &why))?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))
            .map_err(|why| file_error("set the permissions of", &dir, &why))?;
    }
    Ok(())
}

/// Refuses a data directory that has segments or a commit file but no catalogue, or an empty one: a
/// new catalogue would know none of them. Fails with `catalogue_missing`.
pub fn check_catalogue_not_lost(dir: &Path) -> Result<()> {
    let catalogue = dir.join(CATALOGUE);
    let state = match std::fs::metadata(&catalogue) {
        Ok(about) if about.is_dir() => "is a directory and not a file",
        Ok(about) if about.len() > 0 => match has_empty_schema(&catalogue) {
            Ok(true) => "has no tables",
            Ok(false) => return Ok(()),
            Err(why) => return Err(file_error("read", &catalogue, &why)),
        },
        Ok(_) => "is empty",
        Err(why) if why.kind() == ErrorKind::NotFound => "is missing",
        Err(why) => return Err(file_error("read", &catalogue, &why)),
    };
    let row_files =
        trash::count_files(&dir.join("segments"))? + trash::count_files(&dir.join(trash::DIR))?;
    let evidence = match row_files {
        0 if !dir.join(commits::FILE).exists() => return Ok(()),
        0 => format!("the data directory has {}", commits::FILE),
        1 => "the data directory has 1 segment file".to_owned(),
        many => format!("the data directory has {many} segment files"),
    };
    let message = format!(
        "{} {state}, but {evidence}. Restore chatlake.db from the backup (with its \
         chatlake.db-wal, if it exists), or choose an empty directory with --data.",
        catalogue.display()
    );
    Err(Error::conflict("catalogue_missing", message))
}

/// Whether an SQLite file has no tables and no WAL that may contain some. The first page begins
/// with a header of 100 bytes; the schema table follows, a leaf page (13) with its number of
/// entries in bytes 3 and 4. Source: SQLite's file format, 1.3 and 1.6.
fn has_empty_schema(catalogue: &Path) -> std::io::Result<bool> {
    let mut log = catalogue.as_os_str().to_owned();
    log.push("-wal");
    if std::fs::metadata(log).is_ok_and(|about| about.len() > 0) {
        return Ok(false);
    }
    let mut first = [0; 105];
    match File::open(catalogue)?.read_exact(&mut first) {
        Ok(()) => Ok(first.starts_with(b"SQLite format 3\0")
            && first[100] == 13
            && first[103..105] == [0, 0]),
        Err(why) if why.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(why) => Err(why),
    }
}

/// Refuses a directory without a catalogue, so that a command with a mistyped path creates nothing.
pub(super) fn require_catalogue(dir: &Path) -> Result<()> {
    check_catalogue_not_lost(dir)?;
    if std::fs::metadata(dir.join(CATALOGUE)).is_ok_and(|about| about.len() > 0) {
        return Ok(());
    }
    let message = format!(
        "{} is not a Chatlake data directory: it has no {CATALOGUE}. Nothing was created.",
        dir.display()
    );
    Err(Error::conflict("no_data_directory", message).action(
        "Check --data and CHATLAKE_DATA. chatlake serve, chatlake demo and chatlake user add \
             create a new directory.",
    ))
}

/// Creates the file with mode 0600 whatever the umask, or restricts an existing one. SQLite gives
/// its WAL files the same mode.
pub(super) fn create_private(path: &PathBuf) -> Result<()> {
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        // Syncs the directory, so that a power loss cannot remove this file and leave files that
        // are created later.
        Ok(_) => path
            .parent()
            .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
            .map_err(|why| file_error("create", path, &why))?,
        Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
        Err(why) => return Err(file_error("create", path, &why)),
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|why| file_error("set the permissions of", path, &why))
}

fn file_error(verb: &str, path: &Path, why: &std::io::Error) -> Error {
    let full = Error::from(std::io::Error::from(why.kind()));
    if full.is_storage_error() {
        let dir = path.ancestors().find(|dir| dir.is_dir()).unwrap_or(path);
        let message = format!(
            "The disk is full or failed: cannot {verb} {} ({why}).",
            path.display()
        );
        return Error::new(full.kind(), full.code(), message).action(storage::advice_to_start(dir));
    }
    Error::conflict(
        "data_directory",
        format!("Cannot {verb} {}: {why}.", path.display()),
    )
    .action("The data directory must be writable for the user that runs Chatlake.")
}

/// Locks the directory for this process, or returns who holds the lock. The operating system
/// releases the lock when the process ends. The content of the lock file is only informative.
pub(super) fn lock_data_directory(dir: &Path) -> Result<std::result::Result<File, String>> {
    let path = dir.join("chatlake.lock");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|why| file_error("open", &path, &why))?;
    match file.try_lock() {
        Ok(()) => {
            let host = rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned();
            let written = file
                .set_len(0)
                .and_then(|()| write!(file, "process {} on {host}", std::process::id()));
            match written {
                // The content of the lock file is only informative; a full disk must not prevent
                // the server from serving stored rows.
                Err(why) if Error::from(std::io::Error::from(why.kind())).is_storage_error() => {}
                written => written.map_err(|why| file_error("write", &path, &why))?,
            }
            Ok(Ok(file))
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.take(200).read_to_string(&mut holder);
            Ok(Err(if read.is_ok() && !holder.trim().is_empty() {
                holder.trim().to_owned()
            } else {
                "another process".to_owned()
            }))
        }
        Err(std::fs::TryLockError::Error(why)) => Err(file_error("lock", &path, &why)),
    }
}

/// Warns about network file systems: their locks may not work between machines, and SQLite requires
/// a local disk.
pub(super) fn warn_if_network_file_system(dir: &Path) {
    // NFS, SMB, CIFS, SMB2, AFS and Ceph, by their `statfs` magic numbers.
    const NETWORK: [i64; 6] = [
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x5346_414F,
        0x00C3_6400,
    ];
    if rustix::fs::statfs(dir).is_ok_and(|about| NETWORK.contains(&(about.f_type & 0xFFFF_FFFF))) {
        tracing::warn!(
            "{} is on a network file system. File locks may not stop a second server, and SQLite \
             may lose data. Use a local disk.",
            dir.display()
        );
    }
}
