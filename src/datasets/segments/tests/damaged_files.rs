//! A flipped bit on the disk is never served: every reader returns the written rows or the error
//! `data_damaged`.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::digest::Digest;
use super::super::{SegmentMeta, Segments, WrittenSegment, checksum};
use crate::connectors::report::{ColumnKind, UpdateMode};
use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::export::by_start::{ByStart, VersionSource};
use crate::datasets::export::pipe::{Encode, PART_BYTES};
use crate::datasets::export::{CsvOptions, csv};
use crate::datasets::preview::{self, PreviewQuery};
use crate::datasets::testing::{World, batch, column, integer, text, timestamp};
use crate::datasets::update_mode::{Drops, build};
use crate::datasets::versions::Version;
use crate::error::{DATA_DAMAGED, Result};

/// Rows of several blocks, with the columns that the export of chats reads.
fn rows() -> RecordBatch {
    let mut random = StdRng::seed_from_u64(7);
    let words: Vec<String> = (0..500)
        .map(|_| {
            (0..1_800)
                .map(|_| random.random_range(b'0'..=b'z') as char)
                .collect()
        })
        .collect();
    let ids: Vec<String> = (0..500).map(|n| format!("chat{n}")).collect();
    batch(vec![
        (
            "id",
            ColumnKind::Text,
            text(ids.iter().map(|id| Some(id.as_str())).collect()),
        ),
        (
            "start",
            ColumnKind::Timestamp,
            timestamp((0..500).map(|n| Some(n * 1_000)).collect()),
        ),
        (
            "number",
            ColumnKind::Integer,
            integer((0..500).map(Some).collect()),
        ),
        (
            "word",
            ColumnKind::Text,
            text(words.iter().map(|word| Some(word.as_str())).collect()),
        ),
    ])
}

/// Opens the segments with nothing in memory, as after a restart.
fn fresh(world: &World) -> Segments {
    Segments::new(
        world.segments.dir().to_owned(),
        world.db.clone(),
        world.clock.clone(),
    )
    .unwrap()
}

/// The result of reading a damaged version, in a form that can be compared.
type Read = Result<Vec<u8>>;

async fn all_pages(segments: &Segments, version: &Version) -> Read {
    let mut all = Vec::new();
    for offset in (0..version.rows).step_by(1_000) {
        let page = preview::page(
            segments,
            version,
            PreviewQuery {
                offset,
                limit: 1_000,
                ..PreviewQuery::default()
            },
        )
        .await?;
        page.rows
            .iter()
            .flatten()
            .for_each(|cell| all.extend(cell.csv.as_deref().unwrap_or("null").bytes()));
    }
    Ok(all)
}

async fn sorted_page(segments: &Segments, version: &Version) -> Read {
    let ask = PreviewQuery {
        limit: 100,
        sort: vec![("word".to_owned(), true)],
        search: Some("a".to_owned()),
        ..PreviewQuery::default()
    };
    let page = preview::page(segments, version, ask).await?;
    Ok(page
        .rows
        .iter()
        .flatten()
        .flat_map(|cell| cell.csv.clone().unwrap_or_default().into_bytes())
        .collect())
}

async fn whole_csv(world: &World, segments: &Segments, version: &Version) -> Read {
    let mut encoder = csv(segments, world.versions.pin(version), CsvOptions::default())?;
    let encoding = move || {
        let mut all = Vec::new();
        while !encoder.encode(&mut all, PART_BYTES)? {
            // Releases the files, as while a client reads nothing.
            encoder.release();
        }
        Ok(all)
    };
    tokio::task::spawn_blocking(encoding).await.unwrap()
}

async fn export(world: &World, segments: &Segments, version: &Version) -> Read {
    let source = VersionSource {
        version: world.versions.pin(version),
        columns: version.columns.clone(),
    };
    let mut rows = ByStart::new(segments, vec![source], 0..10_000_000);
    let reading = move || {
        let mut all = Digest::default();
        while let Some(row) = rows.next_row()? {
            all.add_batch(&row.batch.slice(row.index, 1))?;
        }
        Ok(all.to_text().into_bytes())
    };
    tokio::task::spawn_blocking(reading).await.unwrap()
}

/// Adds rows to the version and returns the rows of the result.
async fn join(world: &World, segments: &Segments, version: &Version, mode: UpdateMode) -> Read {
    let run = world.new_run().await;
    let new = world.write(&run, &[rows().slice(10, 5)]).await;
    let drops = match mode {
        UpdateMode::Merge => Drops::Keys {
            columns: vec![column("id", ColumnKind::Text)],
            fallback: Vec::new(),
            empty_parents: Vec::new(),
            within: None,
        },
        _ => Drops::Nothing,
    };
    let built = build(
        segments,
        (&world.dataset, &run),
        mode,
        &version.segments,
        new,
        drops,
    )
    .await;
    world.end_run(&run, "failed").await;
    read_all(segments, &version.columns, &built?.order)
}

/// Compacts the segments of the version into one, as a commit does with many small ones.
async fn compact(world: &World, segments: &Segments, version: &Version) -> Read {
    let run = world.new_run().await;
    let mut writer = segments.writer(&world.dataset, &run);
    let copied = writer
        .copy(
            version
                .segments
                .iter()
                .map(|meta| (meta.clone(), None))
                .collect(),
        )
        .await;
    let written: Vec<SegmentMeta> = writer.written().iter().map(WrittenSegment::meta).collect();
    world.end_run(&run, "failed").await;
    copied?;
    read_all(segments, &version.columns, &written)
}

fn read_all(segments: &Segments, columns: &[ColumnInfo], metas: &[SegmentMeta]) -> Read {
    let schema = columns::to_schema(columns);
    let mut all = Digest::default();
    for meta in metas {
        for batch in segments.open(meta)?.read(&schema, None)? {
            all.add_batch(&batch?)?;
        }
    }
    Ok(all.to_text().into_bytes())
}

async fn read_in_every_way(
    world: &World,
    segments: &Segments,
    version: &Version,
) -> [(&'static str, Read); 7] {
    [
        ("pages", all_pages(segments, version).await),
        ("a sorted page", sorted_page(segments, version).await),
        ("CSV", whole_csv(world, segments, version).await),
        ("export", export(world, segments, version).await),
        (
            "append",
            join(world, segments, version, UpdateMode::Append).await,
        ),
        (
            "merge",
            join(world, segments, version, UpdateMode::Merge).await,
        ),
        ("compaction", compact(world, segments, version).await),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_never_served_wherever_it_is() {
    let world = World::new().await;
    let version = world.pull(&[rows()]).await;
    let path = world.segments.path(&version.segments[0].id);
    let whole = std::fs::read(&path).unwrap();
    assert!(
        whole.len() > 2 * checksum::BLOCK_BYTES,
        "{} bytes",
        whole.len()
    );
    let right = read_in_every_way(&world, &fresh(&world), &version)
        .await
        .map(|(way, read)| (way, read.unwrap()));
    let mut random = StdRng::seed_from_u64(20_261_130);
    let mut detected: BTreeSet<&str> = BTreeSet::new();
    for position in 0..60 {
        let (byte, bit) = match position {
            0 => (0, 0),
            1 => (whole.len() - 1, 7),
            _ => (
                random.random_range(0..whole.len()),
                random.random_range(0..8),
            ),
        };
        let mut damaged = whole.clone();
        damaged[byte] ^= 1 << bit;
        std::fs::write(&path, &damaged).unwrap();
        let segments = fresh(&world);
        assert_eq!(
            segments.check(&version.segments).await.unwrap_err().code(),
            DATA_DAMAGED,
            "byte {byte}"
        );
        for ((way, read), (_, right)) in read_in_every_way(&world, &segments, &version)
            .await
            .into_iter()
            .zip(&right)
        {
            match read {
                Ok(read) => assert!(
                    read == *right,
                    "{way} with bit {bit} of byte {byte} flipped served other rows"
                ),
                Err(error) => {
                    assert_eq!(
                        error.code(),
                        DATA_DAMAGED,
                        "{way}, byte {byte}: {error} {:?}",
                        error.log_cause()
                    );
                    detected.insert(way);
                }
            }
        }
    }
    assert_eq!(detected.len(), right.len(), "{detected:?}");
    // Damage is saved in the catalogue without a further request.
    let noted = async || -> Option<String> {
        sqlx::query_scalar("SELECT damage FROM segments WHERE state = 'kept'")
            .fetch_one(world.db.read())
            .await
            .unwrap()
    };
    while noted().await.is_none() {
        tokio::task::yield_now().await;
    }
    std::fs::write(&path, &whole).unwrap();
    let healed = read_in_every_way(&world, &fresh(&world), &version).await;
    assert!(
        healed
            .into_iter()
            .zip(right)
            .all(|((_, read), (_, right))| read.unwrap() == right)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_cut_or_longer_is_the_same_error() {
    let world = World::new().await;
    let version = world.pull(&[rows()]).await;
    let path = world.segments.path(&version.segments[0].id);
    let whole = std::fs::read(&path).unwrap();
    let longer = [whole.as_slice(), b"more"].concat();
    for damaged in [
        Some(&whole[..whole.len() / 2]),
        Some(&longer[..]),
        Some(&[][..]),
        None,
    ] {
        match damaged {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        for (way, read) in read_in_every_way(&world, &fresh(&world), &version).await {
            assert_eq!(read.unwrap_err().code(), DATA_DAMAGED, "{way}");
        }
    }
}

#[tokio::test]
async fn a_page_reads_the_blocks_of_its_rows_and_no_others() {
    let world = World::new().await;
    let version = world.pull(&[rows()]).await;
    let path = world.segments.path(&version.segments[0].id);
    let segments = fresh(&world);
    let first = PreviewQuery {
        limit: 10,
        ..PreviewQuery::default()
    };
    let right = preview::page(&segments, &version, first.clone())
        .await
        .unwrap();
    // The middle of the file: after the first rows and before the footer.
    let mut damaged = std::fs::read(&path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert!(middle / checksum::BLOCK_BYTES > 0);
    assert_eq!(
        preview::page(&fresh(&world), &version, first)
            .await
            .unwrap(),
        right
    );
}
