//! Builds the segments of a new version from those of the version before and those of a run.

use std::collections::HashSet;
use std::ops::Range;

use arrow::array::RecordBatch;

use super::mark::{Drops, mark};
use super::{Marks, VersionPiece, pieces};
use crate::connectors::report::UpdateMode;
use crate::datasets::columns;
use crate::datasets::segments::digest::{self, Digest};
use crate::datasets::segments::{
    MAX_SMALL_SEGMENTS, SegmentMeta, Segments, WrittenSegment, small_tail,
};
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId};

/// For at most this many new rows, a sample of the old rows is compared first, before all old rows
/// are read.
const MAX_COMPARED: u64 = 100_000;
/// Old rows in the sample.
const SAMPLE_ROWS: u64 = 64;

/// The segments of the new version.
#[derive(Debug)]
pub struct BuiltSegments {
    /// In the order of their rows.
    pub order: Vec<SegmentMeta>,
    /// The segments that the run has staged.
    pub written: Vec<WrittenSegment>,
    /// The number of old rows that were dropped.
    pub dropped: u64,
    /// Whether the new rows equal the rows that they replace. `order` is then that of the old
    /// version.
    pub unchanged: bool,
}

/// Counts the rows of `old` that a run without rows would drop.
pub async fn count_lost_rows(
    segments: &Segments,
    old: &[SegmentMeta],
    drops: Drops,
) -> Result<u64> {
    let (segments, old) = (segments.clone(), old.to_vec());
    let marks = tokio::task::spawn_blocking(move || mark(&segments, &old, &[], &drops))
        .await
        .map_err(Error::from)??;
    Ok(marks.iter().map(Marks::marked).sum())
}

/// Joins `new`, the segments of a run, with `old`, the segments of the previous version, which must
/// not be deleted meanwhile. Rewritten rows are staged by the run. An interruption leaves only
/// staged segments.
pub async fn build(
    segments: &Segments,
    of: (&DatasetId, &RunId),
    mode: UpdateMode,
    old: &[SegmentMeta],
    new: Vec<WrittenSegment>,
    drops: Drops,
) -> Result<BuiltSegments> {
    build_with(segments, of, mode, old, new, drops, true).await
}

/// Like `build`. Without `compare`, new rows replace old ones even if they are equal, because the
/// columns differ.
pub async fn build_with(
    segments: &Segments,
    (dataset, run): (&DatasetId, &RunId),
    mode: UpdateMode,
    old: &[SegmentMeta],
    new: Vec<WrittenSegment>,
    drops: Drops,
    compare: bool,
) -> Result<BuiltSegments> {
    // Rows are never added to a damaged version, because the damage would only be noticed when the
    // old rows are read.
    segments.check(old).await?;
    let metas: Vec<SegmentMeta> = new.iter().map(WrittenSegment::meta).collect();
    let marks = {
        let (segments, old, metas) = (segments.clone(), old.to_vec(), metas.clone());
        tokio::task::spawn_blocking(move || mark(&segments, &old, &metas, &drops))
            .await
            .map_err(Error::from)??
    };
    let dropped: u64 = marks.iter().map(Marks::marked).sum();
    let marked: Vec<_> = old.iter().cloned().zip(marks).collect();
    // Appended rows are always new.
    let appends = mode == UpdateMode::Append && new.iter().any(|segment| segment.rows > 0);
    if compare && !appends && replaces_the_same(segments, &marked, &new).await? {
        return Ok(BuiltSegments {
            order: old.to_vec(),
            written: Vec::new(),
            dropped: 0,
            unchanged: true,
        });
    }
    let mut written = new;
    let mut order = Vec::new();
    let mut writer = segments.writer(dataset, run);
    let mut pieces = pieces(mode, &marked, &metas).into_iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            VersionPiece::Reused(segment) | VersionPiece::New(segment) => order.push(segment),
            VersionPiece::Rewritten(segment, rows) => {
                // Adjacent rewritten pieces are merged, up to the maximum size of a segment.
                let mut stretch = vec![(segment, Some(rows))];
                while let Some(VersionPiece::Rewritten(..)) = pieces.peek() {
                    if let Some(VersionPiece::Rewritten(segment, rows)) = pieces.next() {
                        stretch.push((segment, Some(rows)));
                    }
                }
                let before = writer.written().len();
                writer.copy(stretch).await?;
                kill_point("build.rewritten");
                let copied = &writer.written()[before..];
                order.extend(copied.iter().map(WrittenSegment::meta));
                written.extend_from_slice(copied);
            }
        }
    }
    if let Some(begin) = small_tail(
        &order
            .iter()
            .map(|segment| segment.bytes)
            .collect::<Vec<_>>(),
        MAX_SMALL_SEGMENTS,
    ) {
        let before = writer.written().len();
        let small = order.split_off(begin);
        writer
            .copy(
                small
                    .iter()
                    .map(|segment| (segment.clone(), None))
                    .collect(),
            )
            .await?;
        kill_point("build.compacted");
        let copied = &writer.written()[before..];
        written.retain(|segment| !small.iter().any(|small| small.id == segment.id));
        order.extend(copied.iter().map(WrittenSegment::meta));
        written.extend_from_slice(copied);
    }
    Ok(BuiltSegments {
        order,
        written,
        dropped,
        unchanged: false,
    })
}

/// Whether the new rows equal the old rows to drop, in any order and whichever run pulled them.
async fn replaces_the_same(
    segments: &Segments,
    marked: &[(SegmentMeta, Marks)],
    new: &[WrittenSegment],
) -> Result<bool> {
    let dropped: u64 = marked.iter().map(|(_, marks)| marks.marked()).sum();
    let Some(sum) =
        digest::sum(new.iter().map(|segment| segment.digest)).filter(|sum| sum.rows == dropped)
    else {
        return Ok(false);
    };
    let (segments, marked) = (segments.clone(), marked.to_vec());
    let new: Vec<SegmentMeta> = new.iter().map(WrittenSegment::meta).collect();
    let reading = move || {
        if sum.rows <= MAX_COMPARED && !sample_is_among(&segments, &marked, &new)? {
            return Ok(false);
        }
        let mut old = Digest::default();
        for (meta, marks) in marked.iter().filter(|(_, marks)| marks.marked() > 0) {
            let known = meta.digest.filter(|_| marks.marked() == meta.rows);
            old = old + known.map_or_else(|| digest_of(&segments, meta, &marks.dropped()), Ok)?;
        }
        Ok(old.unordered == sum.unordered)
    };
    tokio::task::spawn_blocking(reading)
        .await
        .map_err(Error::from)?
}

/// Whether the first old rows to drop are among the new rows. A quick check, because reading all
/// old rows is slow if they are scattered. Blocks.
fn sample_is_among(
    segments: &Segments,
    marked: &[(SegmentMeta, Marks)],
    new: &[SegmentMeta],
) -> Result<bool> {
    let Some((meta, marks)) = marked.iter().find(|(_, marks)| marks.marked() > 0) else {
        return Ok(true);
    };
    let mut left = SAMPLE_ROWS;
    let mut sample = Vec::new();
    for range in marks.dropped() {
        let end = range.end.min(range.start + left);
        left -= end - range.start;
        sample.push(range.start..end);
        if left == 0 {
            break;
        }
    }
    let mut rows = HashSet::new();
    for meta in new {
        each_batch(segments, meta, None, |batch| {
            rows.extend(digest::of_rows(batch)?);
            Ok(())
        })?;
    }
    let mut holds = true;
    each_batch(segments, meta, Some(&sample), |batch| {
        holds &= digest::of_rows(batch)?.iter().all(|row| rows.contains(row));
        Ok(())
    })?;
    Ok(holds)
}

/// The digest of some rows of a segment. Blocks.
fn digest_of(segments: &Segments, meta: &SegmentMeta, rows: &[Range<u64>]) -> Result<Digest> {
    let mut digest = Digest::default();
    each_batch(segments, meta, Some(rows), |batch| digest.add_batch(batch))?;
    Ok(digest)
}

/// Reads rows of a segment with all its columns; without ranges, all rows.
fn each_batch(
    segments: &Segments,
    meta: &SegmentMeta,
    rows: Option<&[Range<u64>]>,
    mut take: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let open = segments.open(meta)?;
    let schema = columns::to_schema(&columns::from_schema(open.schema())?);
    for batch in open.read(&schema, rows)? {
        take(&batch?)?;
    }
    Ok(())
}
