//! Compares reads with small slices to a simple model that sorts all rows in memory.

use std::collections::HashSet;

use super::super::super::testing::{NOW, World, batch, text, timestamp};
use super::super::super::versions::Version;
use super::*;

type Chat = (Option<String>, Option<Millis>, String);

/// A version of a new DataSet, in files of a few rows each.
async fn version(world: &mut World, chats: &[Chat], a_file: usize) -> Version {
    world.dataset = world.new_dataset().await;
    let run = world.new_run().await;
    let mut written = Vec::new();
    let mut writer = world.segments.writer(&world.dataset, &run);
    for some in chats.chunks(a_file) {
        writer.write(&rows(some)).await.unwrap();
        writer.close().await.unwrap();
    }
    written.extend(writer.finish().await.unwrap());
    world.commit(&run, &columns(), &written).await
}

fn columns() -> Vec<ColumnInfo> {
    vec![
        column(ID_COLUMN, ColumnKind::Text),
        column(START_COLUMN, ColumnKind::Timestamp),
        column("text", ColumnKind::Text),
    ]
}

fn rows(chats: &[Chat]) -> RecordBatch {
    batch(vec![
        (
            ID_COLUMN,
            ColumnKind::Text,
            text(chats.iter().map(|chat| chat.0.as_deref()).collect()),
        ),
        (
            START_COLUMN,
            ColumnKind::Timestamp,
            timestamp(chats.iter().map(|chat| chat.1).collect()),
        ),
        (
            "text",
            ColumnKind::Text,
            text(chats.iter().map(|chat| Some(chat.2.as_str())).collect()),
        ),
    ])
}

fn read(
    world: &World,
    versions: &[&Version],
    period: Range<Millis>,
    limits: Limits,
) -> (Vec<String>, ReadCounts) {
    let sources: Vec<VersionSource> = versions
        .iter()
        .map(|version| VersionSource {
            version: world.versions.pin(version),
            columns: columns(),
        })
        .collect();
    let mut reading = ByStart::with(&world.segments, sources, period, limits);
    let mut seen = Vec::new();
    while let Some(row) = reading.next_row().unwrap() {
        seen.push(
            row.batch
                .column(2)
                .as_string::<i32>()
                .value(row.index)
                .to_owned(),
        );
        // Releases the buffers now and then, as for a slow client.
        if seen.len() % 7 == 0 {
            reading.release();
        }
    }
    (seen, reading.counts())
}

/// Reads to the end.
fn all(mut reading: ByStart, mut each: impl FnMut(SourceRow<'_>)) -> Result<ReadCounts> {
    while let Some(row) = reading.next_row()? {
        each(row);
    }
    Ok(reading.counts())
}

/// The same result computed with all rows in memory.
fn plainly(all: &[&[Chat]], period: &Range<Millis>) -> (Vec<String>, u64) {
    let mut kept: Vec<(Millis, usize, usize, Option<String>, String)> = Vec::new();
    let mut repeated = 0;
    for (source, chats) in all.iter().enumerate() {
        for (place, (id, start, text)) in chats.iter().enumerate() {
            let Some(start) = start.filter(|start| period.contains(start)) else {
                continue;
            };
            let same = |other: &Chat| id.is_some() && other.0 == *id && other.1.is_some();
            let elsewhere = all[..source].iter().any(|others| others.iter().any(same));
            if elsewhere
                || chats[place + 1..].iter().any(|other| {
                    same(other) && other.1.is_some_and(|start| period.contains(&start))
                })
            {
                repeated += 1;
            } else {
                kept.push((start, source, place, id.clone(), text.clone()));
            }
        }
    }
    kept.sort();
    (kept.into_iter().map(|chat| chat.4).collect(), repeated)
}

fn world_of_chats(count: usize, seed: u64, span: Millis) -> Vec<Chat> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    (0..count)
        .map(|n| {
            let start = (next(20) > 0).then(|| NOW + next(span as u64) as i64);
            // Ids occur in several DataSets, and some are empty.
            let id = (next(15) > 0).then(|| format!("chat {}", next(count as u64 * 4)));
            (id, start, format!("{seed} {n}"))
        })
        .collect()
}

#[tokio::test]
async fn small_slices_give_what_holding_everything_gives() {
    const HOUR: Millis = 3_600_000;
    let tight = Limits {
        keys: 16,
        rows: 5,
        rows_bytes: 64,
        ..LIMITS
    };
    let tiny = Limits {
        keys: 1,
        rows: 100,
        max_bytes: 1,
        ..LIMITS
    };
    for seed in 1..6 {
        let mut world = World::new().await;
        let span = if seed % 2 == 0 { HOUR } else { 90_000 };
        // Makes the ids of each DataSet distinct.
        let own = |chats: Vec<Chat>| {
            let mut seen = HashSet::new();
            chats
                .into_iter()
                .filter(|chat| chat.0.as_ref().is_none_or(|id| seen.insert(id.clone())))
                .collect::<Vec<_>>()
        };
        let all: Vec<Vec<Chat>> = (0..3)
            .map(|n| own(world_of_chats(150, seed * 10 + n, span)))
            .collect();
        let mut versions = Vec::new();
        for chats in &all {
            versions.push(version(&mut world, chats, 40).await);
        }
        for count in 1..=3 {
            let some: Vec<&[Chat]> = all[..count].iter().map(Vec::as_slice).collect();
            let pinned: Vec<&Version> = versions[..count].iter().collect();
            for period in [
                NOW..NOW + span,
                NOW + span / 3..NOW + span / 2,
                NOW - 10 * HOUR..NOW + 1,
                NOW..NOW + 1,
                NOW - 5..NOW,
            ] {
                let (wanted, repeated) = plainly(&some, &period);
                for limits in [LIMITS, tight, tiny] {
                    let (got, counts) = read(&world, &pinned, period.clone(), limits);
                    assert_eq!(got, wanted, "{seed} {count} {period:?} {limits:?}");
                    assert_eq!(
                        (counts.rows, counts.repeated),
                        (wanted.len() as u64, repeated),
                        "{seed} {count} {period:?} {limits:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn of_one_dataset_the_later_row_has_the_id_and_rows_without_a_start_are_counted() {
    let mut world = World::new().await;
    let chat = |id: &str, start, text: &str| (Some(id.to_owned()), start, text.to_owned());
    let chats = [
        chat("a", Some(NOW + 5), "old"),
        chat("b", None, "never"),
        chat("a", Some(NOW + 5), "new"),
        chat("", Some(NOW), "empty id"),
        chat("", Some(NOW), "another"),
        chat("c", Some(NOW + 1), "c"),
    ];
    let version = version(&mut world, &chats, 2).await;
    let (got, counts) = read(&world, &[&version], NOW..NOW + 60_000, LIMITS);
    assert_eq!(got, ["empty id", "another", "c", "new"]);
    assert_eq!(
        counts,
        ReadCounts {
            rows: 4,
            repeated: 1,
            without_start: 1
        }
    );
}

#[tokio::test]
async fn only_groups_that_may_hold_the_period_are_read_and_little_is_held() {
    let mut world = World::new().await;
    let chats: Vec<Chat> = (0..6_000_i64)
        .map(|n| {
            (
                Some(format!("{n}")),
                (n != 2_500).then_some(NOW + n * 1_000),
                "x".repeat(5_000),
            )
        })
        .collect();
    let version = version(&mut world, &chats, 1_000).await;
    let period = NOW + 2_999_000..NOW + 4_000_000;
    let touched: Vec<usize> = version
        .segments
        .iter()
        .map(|meta| {
            world
                .segments
                .open(meta)
                .unwrap()
                .groups_within(START_COLUMN, &period)
                .groups
                .len()
        })
        .collect();
    assert_eq!(touched, [0, 0, 1, 1, 0, 0]);
    let sources = vec![VersionSource {
        version: world.versions.pin(&version),
        columns: columns(),
    }];
    let mut largest = 0;
    let counts = all(ByStart::new(&world.segments, sources, period), |row| {
        largest = largest.max(row.batch.get_array_memory_size())
    });
    assert_eq!(
        counts.unwrap(),
        ReadCounts {
            rows: 1_001,
            repeated: 0,
            without_start: 1
        }
    );
    assert!(largest < 4 << 20, "{largest}");
}

#[tokio::test]
async fn a_crowded_minute_ends_with_an_error_and_so_does_a_file_that_is_gone() {
    let mut world = World::new().await;
    let chats: Vec<Chat> = (0..100_i64)
        .map(|n| (Some(format!("{n}")), Some(NOW + n), String::new()))
        .collect();
    let version = version(&mut world, &chats, 50).await;
    let limits = Limits {
        keys_of_a_minute: 60,
        ..LIMITS
    };
    let reading = |limits| {
        let sources = vec![VersionSource {
            version: world.versions.pin(&version),
            columns: columns(),
        }];
        ByStart::with(&world.segments, sources, NOW..NOW + 100, limits)
    };
    assert!(all(reading(limits), |_| ()).is_err());
    assert!(all(reading(LIMITS), |_| ()).is_ok());
    world.segments.remove(&version.segments[1].id).unwrap();
    assert!(all(reading(LIMITS), |_| ()).is_err());
}
