//! The update modes as operations on lists of segments. Replace: the new segments only. Append: the old ones, then the new ones.
//! Merge and Partition: as Append, without the old rows that the new ones replace; an old segment that loses no row is reused.
//! The functions here are pure; `mark` finds the rows to drop, `build` writes new files.

mod build;
mod keys;
mod mark;
mod stamp;

use std::ops::Range;

use crate::connectors::report::UpdateMode;

pub use build::{BuiltSegments, build, build_with, count_lost_rows};
pub use mark::{DayRanges, Drops};
pub use stamp::{BATCH_ID, BATCH_LAST_RUN, Stamp};

/// More segments than this at the end that are smaller than that become one.
const MAX_SMALL_SEGMENTS: usize = 32;
const SMALL_SEGMENT_BYTES: u64 = 8 << 20;

/// Which rows of one old segment go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    rows: u64,
    /// A bit a row; empty while none is marked.
    bits: Vec<u64>,
    marked: u64,
}

impl Marks {
    pub fn new(rows: u64) -> Self {
        Self { rows, bits: Vec::new(), marked: 0 }
    }

    pub fn mark(&mut self, row: u64) {
        if self.bits.is_empty() {
            self.bits = vec![0; usize::try_from(self.rows.div_ceil(64)).unwrap_or(usize::MAX)];
        }
        let bit = 1 << (row % 64);
        if let Some(word) = self.bits.get_mut(usize::try_from(row / 64).unwrap_or(usize::MAX))
            && *word & bit == 0
        {
            *word |= bit;
            self.marked += 1;
        }
    }

    pub fn marked(&self) -> u64 {
        self.marked
    }

    fn is_marked(&self, row: u64) -> bool {
        usize::try_from(row / 64).ok().and_then(|at| self.bits.get(at)).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    /// The rows that stay, as ranges that are apart.
    fn kept(&self) -> Vec<Range<u64>> {
        self.ranges(false)
    }

    /// The rows that go, as ranges that are apart.
    fn dropped(&self) -> Vec<Range<u64>> {
        self.ranges(true)
    }

    fn ranges(&self, marked: bool) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for row in (0..self.rows).filter(|row| self.is_marked(*row) == marked) {
            match ranges.last_mut() {
                Some(last) if last.end == row => last.end += 1,
                _ => ranges.push(row..row + 1),
            }
        }
        ranges
    }
}

/// A piece of the new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPiece<S> {
    /// An old segment as it is.
    Reused(S),
    /// These rows of an old segment, to be written anew.
    Rewritten(S, Vec<Range<u64>>),
    /// A segment of the run.
    New(S),
}

/// The pieces of the new version, in the order of their rows. `old`: the segments of the version before, with the rows that go.
pub fn pieces<S: Clone>(mode: UpdateMode, old: &[(S, Marks)], new: &[S]) -> Vec<VersionPiece<S>> {
    let new = new.iter().cloned().map(VersionPiece::New);
    let old = old.iter().filter_map(|(segment, marks)| match mode {
        UpdateMode::Replace => None,
        UpdateMode::Append => Some(VersionPiece::Reused(segment.clone())),
        UpdateMode::Merge | UpdateMode::Partition => match marks.marked() {
            0 => Some(VersionPiece::Reused(segment.clone())),
            all if all == marks.rows => None,
            _ => Some(VersionPiece::Rewritten(segment.clone(), marks.kept())),
        },
    });
    old.chain(new).collect()
}

/// Where the small segments at the end begin, when there are so many that they are to become one. `bytes`: of each segment, in order.
pub fn small_tail(bytes: &[u64]) -> Option<usize> {
    let begin = bytes.iter().rposition(|bytes| *bytes >= SMALL_SEGMENT_BYTES).map_or(0, |at| at + 1);
    (bytes.len() - begin > MAX_SMALL_SEGMENTS).then_some(begin)
}

#[cfg(test)]
mod tests;
