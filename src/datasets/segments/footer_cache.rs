//! Keeps the footers of recently opened segments in memory.

use std::collections::HashMap;

use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::ids::SegmentId;

/// The maximum total size of cached footers.
const CACHE_BYTES: usize = 16 << 20;

/// The most recently read footers.
#[derive(Default)]
pub(super) struct FooterCache {
    /// For each segment: its footer, the size of the footer in bytes, and its last use.
    of: HashMap<SegmentId, (ArrowReaderMetadata, usize, u64)>,
    bytes: usize,
    uses: u64,
}

impl FooterCache {
    pub fn get(&mut self, id: &SegmentId) -> Option<ArrowReaderMetadata> {
        self.uses += 1;
        let (footer, _, used) = self.of.get_mut(id)?;
        *used = self.uses;
        Some(footer.clone())
    }

    pub fn put(&mut self, id: SegmentId, footer: ArrowReaderMetadata) {
        self.forget(&id);
        let bytes = footer.metadata().memory_size();
        while self.bytes + bytes > CACHE_BYTES {
            let Some(oldest) = self
                .of
                .iter()
                .min_by_key(|(_, (_, _, used))| *used)
                .map(|(id, _)| id.clone())
            else {
                break;
            };
            self.forget(&oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.of.insert(id, (footer, bytes, self.uses));
    }

    pub fn forget(&mut self, id: &SegmentId) {
        if let Some((_, bytes, _)) = self.of.remove(id) {
            self.bytes -= bytes;
        }
    }
}
