//! Merges and partitions random files and compares the result with a simple model.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::files::{KEYS, Line, built, by_key, days, key_column, numbers, segment};
use super::*;
use crate::datasets::testing::World;

#[test]
fn files_are_merged_and_partitioned_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let line = |first: i64| {
        prop::collection::vec(
            (
                prop::option::weighted(0.9, 0_i64..8),
                prop::option::weighted(0.9, 0_i64..5),
            ),
            1..12,
        )
        .prop_map(move |cells| {
            cells
                .into_iter()
                .zip(first..)
                .map(|((key, day), number)| (key, day, number))
                .collect::<Vec<Line>>()
        })
    };
    let cases = (
        prop::collection::vec(line(0), 0..5),
        prop::collection::vec(line(500), 0..3),
        1_i8..5,
    );
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let world = runtime.block_on(World::new());
    runner
        .run(&cases, |(old, new, day)| {
            runtime.block_on(async {
                let (mut before, mut new_segments) = (Vec::new(), Vec::new());
                for of in &old {
                    before.push(segment(&world, of).await);
                }
                for of in &new {
                    new_segments.push(segment(&world, of).await);
                }
                let fresh: Vec<Line> = new.concat();
                let keys: Vec<i64> = fresh.iter().filter_map(|line| line.0).collect();
                let merged = old
                    .iter()
                    .flatten()
                    .filter(|line| line.0.is_none_or(|key| !keys.contains(&key)));
                let merged: Vec<i64> = merged.chain(&fresh).map(|line| line.2).collect();
                let got = built(
                    &world,
                    UpdateMode::Merge,
                    &before,
                    &new_segments,
                    by_key(None),
                )
                .await;
                assert_eq!(numbers(&world, &got.order), merged);
                assert_eq!(
                    got.dropped as usize,
                    old.iter().map(Vec::len).sum::<usize>() + fresh.len() - merged.len()
                );
                for segment in before.iter().zip(&old).filter(|(_, of)| {
                    of.iter()
                        .all(|line| line.0.is_none_or(|key| !keys.contains(&key)))
                }) {
                    assert!(
                        got.order.contains(&segment.0.meta()),
                        "a segment that loses no row is the same one"
                    );
                }

                let pulled = i64::from(day) - 1;
                let strays: Vec<i64> = fresh
                    .iter()
                    .filter(|line| line.1 != Some(pulled))
                    .filter_map(|line| line.0)
                    .collect();
                for (key, strays) in [(Vec::new(), Vec::new()), (vec![key_column()], strays)] {
                    let stays = |line: &&Line| {
                        line.1 != Some(pulled) && line.0.is_none_or(|key| !strays.contains(&key))
                    };
                    let parted = old
                        .iter()
                        .flatten()
                        .filter(stays)
                        .chain(&fresh)
                        .map(|line| line.2);
                    let got = built(
                        &world,
                        UpdateMode::Partition,
                        &before,
                        &new_segments,
                        Drops::Days {
                            days: days(day, day),
                            key,
                        },
                    )
                    .await;
                    assert_eq!(numbers(&world, &got.order), parted.collect::<Vec<_>>());
                }

                // If each key always has the same day, the result is the same when only the days
                // around the pulled ones are read; a row without a day may belong to any. Some keys
                // of that day were read and have no rows.
                let settled = |of: &[Line]| {
                    of.iter()
                        .map(|line| (line.0, line.1.and(line.0).map(|key| key % 5), line.2))
                        .collect::<Vec<Line>>()
                };
                let (mut before, mut new_segments) = (Vec::new(), Vec::new());
                for of in &old {
                    before.push(segment(&world, &settled(of)).await);
                }
                for of in &new {
                    new_segments.push(segment(&world, &settled(of)).await);
                }
                let empty_parents: Vec<i64> = (0..8)
                    .filter(|key| key % 5 == pulled && !keys.contains(key))
                    .collect();
                let stays = |line: &&Line| {
                    line.0
                        .is_none_or(|key| !keys.contains(&key) && !empty_parents.contains(&key))
                };
                let merged: Vec<i64> = old
                    .iter()
                    .flatten()
                    .filter(stays)
                    .chain(&fresh)
                    .map(|line| line.2)
                    .collect();
                let names = empty_parents
                    .iter()
                    .map(|key| KEYS[*key as usize].to_owned())
                    .collect();
                let drops = Drops::Keys {
                    columns: vec![key_column()],
                    fallback: Vec::new(),
                    empty_parents: names,
                    within: Some(days(day, day)),
                };
                let got = built(&world, UpdateMode::Merge, &before, &new_segments, drops).await;
                assert_eq!(numbers(&world, &got.order), merged);
            });
            Ok(())
        })
        .unwrap();
}
