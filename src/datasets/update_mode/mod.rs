//! The update modes as operations on lists of segments. Replace: only the new segments. Append: the
//! old segments, then the new ones. Merge and Partition: like Append, without the old rows that the
//! new ones replace; an old segment that loses no row is reused. The functions here are pure;
//! `mark` finds the rows to drop, `build` writes new files.

mod build;
mod keys;
mod mark;
mod stamp;

use std::ops::Range;

use crate::connectors::report::UpdateMode;

pub use build::{BuiltSegments, build, build_with, count_lost_rows};
pub use mark::{DayRanges, Drops};
pub use stamp::{BATCH_ID, BATCH_LAST_RUN, Stamp};

/// The rows of one old segment to drop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    rows: u64,
    /// One bit per row; empty while no row is marked.
    bits: Vec<u64>,
    marked: u64,
}

impl Marks {
    pub fn new(rows: u64) -> Self {
        Self {
            rows,
            bits: Vec::new(),
            marked: 0,
        }
    }

    pub fn mark(&mut self, row: u64) {
        if self.bits.is_empty() {
            self.bits = vec![0; usize::try_from(self.rows.div_ceil(64)).unwrap_or(usize::MAX)];
        }
        let bit = 1 << (row % 64);
        if let Some(word) = self
            .bits
            .get_mut(usize::try_from(row / 64).unwrap_or(usize::MAX))
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
        usize::try_from(row / 64)
            .ok()
            .and_then(|at| self.bits.get(at))
            .is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    /// The rows that stay, as disjoint ranges.
    fn kept(&self) -> Vec<Range<u64>> {
        self.ranges(false)
    }

    /// The rows to drop, as disjoint ranges.
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
    /// An unchanged old segment.
    Reused(S),
    /// Rows of an old segment, to be rewritten.
    Rewritten(S, Vec<Range<u64>>),
    /// A segment of the run.
    New(S),
}

/// The pieces of the new version, in the order of their rows. `old`: the segments of the previous
/// version, with the rows to drop.
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

#[cfg(test)]
mod tests;
