//! A data directory on a disk of a few MiB.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::Faults;
use crate::support::data_dir::DataDir;

/// A disk of a few MiB that has the data directory.
pub(super) enum Disk<'a> {
    Tmpfs(PathBuf),
    /// Not root: no file in the directory can grow.
    Pretended(&'a Faults),
}

impl<'a> Disk<'a> {
    pub(super) fn new(data_dir: &DataDir, mib: u32, faults: &'a Faults) -> Self {
        if !rustix::process::geteuid().is_root() {
            std::fs::create_dir_all(data_dir.data()).unwrap();
            return Self::Pretended(faults);
        }
        Self::mount(data_dir, mib)
    }

    /// A tmpfs of this size as the data directory. Only root can mount it.
    pub(super) fn mount(data_dir: &DataDir, mib: u32) -> Self {
        let data = data_dir.data();
        std::fs::create_dir_all(&data).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(mounted.success(), "no tmpfs can be mounted");
        Self::Tmpfs(data)
    }

    /// Uses all space except this number of KiB.
    pub(super) fn fill_but(&self, kib: u64) {
        match self {
            Self::Tmpfs(data) => {
                let mut fill = File::options()
                    .append(true)
                    .create(true)
                    .open(data.join("fill"))
                    .unwrap();
                while fill.write_all(&[b'x'; 4_096]).is_ok() {}
                let taken = fill.metadata().unwrap().len();
                fill.set_len(taken.saturating_sub(kib * 1_024)).unwrap();
            }
            Self::Pretended(faults) => faults.fill(true),
        }
    }

    pub(super) fn free(&self) {
        match self {
            Self::Tmpfs(data) => drop(std::fs::remove_file(data.join("fill"))),
            Self::Pretended(faults) => faults.fill(false),
        }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        if let Self::Tmpfs(data) = self {
            // Lazily, since the server may end a moment later.
            let _ = Command::new("umount").arg("--lazy").arg(data).status();
        }
    }
}
