//! The content of a version, independent of its id: the digest of its rows, and the hash of rows
//! and columns that becomes the ETag of downloads.

use sha2::{Digest as _, Sha256};

use super::Version;
use crate::datasets::segments::digest::{self, Digest};

impl Version {
    /// The digest of its rows in order; `None` if it has a segment that is older than digests.
    pub fn digest(&self) -> Option<Digest> {
        digest::sum(self.segments.iter().map(|segment| segment.digest))
    }

    /// Identifies the rows and columns in 32 hex digits: equal for versions with equal rows and
    /// columns. If the digest is unknown, the result is unique to this version.
    pub fn content(&self) -> String {
        let mut hash = Sha256::new();
        match self.digest() {
            Some(digest) => {
                for column in &self.columns {
                    hash.update(format!("{}\0{}\0", column.name, column.kind.word()));
                }
                hash.update(format!("{} {}", digest.rows, digest.to_text()));
            }
            None => hash.update(self.id.as_str()),
        }
        hash.finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
