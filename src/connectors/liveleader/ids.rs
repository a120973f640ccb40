//! Ids of the chats of one answer, as their hashes. In parts, so that growing moves one part at a time and never all of them.

use std::collections::HashSet;

const PARTS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Ids([HashSet<u64>; PARTS]);

impl Ids {
    fn part(hash: u64) -> usize {
        // The low bits choose the place in a part.
        (hash >> 60) as usize % PARTS
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(HashSet::len).sum()
    }

    /// False when it was there.
    pub fn insert(&mut self, hash: u64) -> bool {
        self.0[Self::part(hash)].insert(hash)
    }

    /// What is in both.
    pub fn both(&self, other: &Self) -> HashSet<u64> {
        self.0.iter().zip(&other.0).flat_map(|(ours, theirs)| ours.intersection(theirs)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once_and_what_is_in_both_is_found() {
        let (mut one, mut other) = (Ids::default(), Ids::default());
        let hash = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for n in 0..1_000 {
            assert!(one.insert(hash(n)) && !one.insert(hash(n)));
            other.insert(hash(n + 990));
        }
        assert_eq!((one.len(), other.len()), (1_000, 1_000));
        assert_eq!(one.both(&other), (990..1_000).map(hash).collect());
    }
}
