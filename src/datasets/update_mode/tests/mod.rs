//! Compares the list operations with a simple model: a vector of rows.

mod files;
mod identity;
mod random_files;

use proptest::prelude::*;

use super::*;

/// A row: its key, its day, and a unique number.
type Row = (u8, u8, u32);

fn rows(first: u32) -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0_u8..12, 0_u8..6), 0..20).prop_map(move |cells| {
        cells
            .into_iter()
            .zip(first..)
            .map(|((key, day), number)| (key, day, number))
            .collect()
    })
}

fn model(mode: UpdateMode, old: &[Vec<Row>], new: &[Row], days: &[u8]) -> Vec<Row> {
    let stays = |row: &Row| match mode {
        UpdateMode::Replace => false,
        UpdateMode::Append => true,
        UpdateMode::Merge => !new.iter().any(|(key, ..)| *key == row.0),
        UpdateMode::Partition => !days.contains(&row.1),
    };
    old.iter()
        .flatten()
        .filter(|row| stays(row))
        .chain(new)
        .copied()
        .collect()
}

proptest! {
    #[test]
    fn every_mode_is_what_a_naive_model_makes_of_it(
        old in prop::collection::vec(rows(0), 0..6),
        new in prop::collection::vec(rows(1_000), 0..3),
        days in prop::collection::vec(0_u8..6, 0..3),
    ) {
        let flat: Vec<Row> = new.iter().flatten().copied().collect();
        for mode in UpdateMode::ALL {
            let marked: Vec<_> = old.iter().map(|segment| {
                let mut marks = Marks::new(segment.len() as u64);
                for (at, (key, day, _)) in segment.iter().enumerate() {
                    let goes = match mode {
                        UpdateMode::Merge => flat.iter().any(|row| row.0 == *key),
                        UpdateMode::Partition => days.contains(day),
                        _ => false,
                    };
                    if goes {
                        marks.mark(at as u64);
                    }
                }
                (segment.clone(), marks)
            }).collect();
            let pieces = pieces(mode, &marked, &new);
            let mut got: Vec<Row> = Vec::new();
            for piece in &pieces {
                match piece {
                    VersionPiece::Reused(rows) | VersionPiece::New(rows) => got.extend(rows),
                    VersionPiece::Rewritten(rows, ranges) => {
                        prop_assert!(!ranges.is_empty(), "what loses all its rows is left out");
                        prop_assert!(
                            ranges.windows(2).all(|two| two[0].end < two[1].start),
                            "ranges are in order and apart"
                        );
                        let cut = |range: &Range<u64>| {
                            &rows[range.start as usize..range.end as usize]
                        };
                        got.extend(ranges.iter().flat_map(cut));
                    }
                }
            }
            prop_assert_eq!(&got, &model(mode, &old, &flat, &days), "{:?}", mode);
            let untouched = marked.iter().filter(|(_, marks)| marks.marked() == 0).count();
            let is_reused = |piece: &&_| matches!(piece, VersionPiece::Reused(_));
            prop_assert_eq!(
                pieces.iter().filter(is_reused).count(),
                if mode == UpdateMode::Replace { 0 } else { untouched },
                "a segment that loses no row is used again"
            );
        }
    }
}
