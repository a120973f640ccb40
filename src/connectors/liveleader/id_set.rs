//! The set of chat ids of one answer, as hashes. It has several parts, so that growing moves only
//! one part at a time.

use std::collections::HashSet;

const PARTS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct IdSet([HashSet<u64>; PARTS]);

impl IdSet {
    fn part(hash: u64) -> usize {
        // The low bits choose the bucket within a part.
        (hash >> 60) as usize % PARTS
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(HashSet::len).sum()
    }

    /// Returns false if the id was already in the set.
    pub fn insert(&mut self, hash: u64) -> bool {
        self.0[Self::part(hash)].insert(hash)
    }

    /// The ids that are in both sets.
    pub fn intersection(&self, other: &Self) -> HashSet<u64> {
        self.0
            .iter()
            .zip(&other.0)
            .flat_map(|(ours, theirs)| ours.intersection(theirs))
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once_and_intersections_are_found() {
        let (mut one, mut other) = (IdSet::default(), IdSet::default());
        let hash = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for n in 0..1_000 {
            assert!(one.insert(hash(n)) && !one.insert(hash(n)));
            other.insert(hash(n + 990));
        }
        assert_eq!((one.len(), other.len()), (1_000, 1_000));
        assert_eq!(one.intersection(&other), (990..1_000).map(hash).collect());
    }
}
