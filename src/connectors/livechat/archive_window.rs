//! Reads one window of an archive completely or fails. A window above the vendor's limit is split:
//! first into halves of days, then a single day into groups, and a large group into agents.

use std::collections::HashSet;

use jiff::Span;

use super::client::Query;
use super::paging::{
    Archive, MAX_EXTRA_ROUNDS, QueryCounts, QueryError, SeenRecords, Sink, StartedQuery,
};
use super::raw_fields::id_of;
use super::{group_ids, logins};
use crate::connectors::{Completeness, PullError, Window, WindowCounts};

/// Reads all records of the window into `sink`. `started` is its query with the first page. `query`
/// builds the query of a window.
pub(super) async fn read(
    archive: &Archive,
    window: Window,
    started: StartedQuery,
    query: impl Fn(Window) -> Query,
    sink: &mut impl Sink,
) -> Result<WindowCounts, PullError> {
    if !archive.overlapping || !started.first.is_over_limit() {
        return read_parts(archive, window, started, &query, sink).await;
    }
    // Days of this archive share records, so the counts of the parts can exceed the total; the
    // total may also grow meanwhile.
    let mut deduplicated = DeduplicatingSink {
        sink,
        seen_ids: HashSet::new(),
        repeats: 0,
    };
    let mut counts = WindowCounts::default();
    let (mut started, mut newest) = (Some(started), 0);
    for round in 0..=MAX_EXTRA_ROUNDS {
        let started = match started.take() {
            Some(started) => started,
            None => archive.begin(&query(window)).await?,
        };
        let part_counts = read_parts(archive, window, started, &query, &mut deduplicated).await?;
        let repeats = std::mem::take(&mut deduplicated.repeats);
        counts.pages += part_counts.pages;
        counts.pages_again += if round > 0 {
            part_counts.pages
        } else {
            part_counts.pages_again
        };
        counts.kept += part_counts.kept - repeats;
        // Records that are only read again were already counted.
        counts.read += if round > 0 {
            part_counts.kept - repeats
        } else {
            part_counts.read
        };
        counts.add_evidence(weakened(part_counts.completeness, round));
        newest = archive.page(&query(window), 1).await?.total;
        counts.total = Some(newest);
        if counts.kept >= newest {
            return Ok(counts);
        }
    }
    Err(PullError::Incomplete {
        window,
        have: counts.kept,
        of: newest,
    })
}

/// Passes each record on once: days of some archives share records.
struct DeduplicatingSink<'s, S> {
    sink: &'s mut S,
    seen_ids: HashSet<Box<str>>,
    repeats: u64,
}

impl<S: Sink> Sink for DeduplicatingSink<'_, S> {
    async fn records(&mut self, mut records: Vec<&str>) -> Result<(), PullError> {
        let all = records.len();
        records.retain(|record| {
            id_of(record, "id").is_none_or(|id| self.seen_ids.insert(id.as_ref().into()))
        });
        self.repeats += (all - records.len()) as u64;
        self.sink.records(records).await
    }

    async fn page(&mut self, page: u64, pages: u64) -> Result<(), PullError> {
        self.sink.page(page, pages).await
    }
}

async fn read_parts(
    archive: &Archive,
    window: Window,
    started: StartedQuery,
    query: &impl Fn(Window) -> Query,
    sink: &mut impl Sink,
) -> Result<WindowCounts, PullError> {
    let mut counts = WindowCounts {
        total: Some(0),
        ..WindowCounts::default()
    };
    let mut left = vec![window];
    let mut started = Some(started);
    while let Some(part) = left.pop() {
        let base_query = query(part);
        let started = match started.take() {
            Some(started) => started,
            None => archive.begin(&base_query).await?,
        };
        if !started.first.is_over_limit() {
            let mut seen = SeenRecords::default();
            let end = archive
                .read(&base_query, archive.proof(part), started, &mut seen, sink)
                .await;
            add_counts(&mut counts, &require_complete(end, part)?);
        } else if part.from < part.to {
            let middle = part
                .from
                .saturating_add(Span::new().days(i64::from((part.to - part.from).get_days() / 2)));
            left.push(Window {
                from: part.from,
                to: middle,
            });
            left.push(Window {
                from: middle.tomorrow().unwrap_or(part.to),
                to: part.to,
            });
        } else {
            read_day(
                archive,
                part,
                &base_query,
                started.first.total,
                &mut counts,
                sink,
            )
            .await?;
        }
    }
    Ok(counts)
}

/// Reads a single day above the limit, with `total` records: each group alone (0 included), and a
/// group that is as large as the day or above the limit by agent. All parts together must have the
/// day's total; if records were added meanwhile, they are read again.
async fn read_day(
    archive: &Archive,
    day: Window,
    base_query: &Query,
    total: u64,
    counts: &mut WindowCounts,
    sink: &mut impl Sink,
) -> Result<(), PullError> {
    let mut seen = SeenRecords::default();
    let mut sums = WindowCounts::default();
    let mut newest = total;
    for round in 0..=MAX_EXTRA_ROUNDS {
        read_day_pieces(archive, day, base_query, newest, &mut seen, &mut sums, sink).await?;
        newest = archive.page(base_query, 1).await?.total;
        if seen.len() >= newest {
            counts.pages += sums.pages;
            counts.pages_again += sums.pages_again;
            counts.read += sums.read;
            counts.kept += sums.kept;
            counts.add_evidence(weakened(sums.completeness, round));
            counts.total = Some(counts.total.unwrap_or(0) + newest);
            return Ok(());
        }
    }
    Err(PullError::Incomplete {
        window: day,
        have: seen.len(),
        of: newest,
    })
}

/// Reads the parts of a day, each completely.
async fn read_day_pieces(
    archive: &Archive,
    day: Window,
    base_query: &Query,
    total: u64,
    seen: &mut SeenRecords,
    sums: &mut WindowCounts,
    sink: &mut impl Sink,
) -> Result<(), PullError> {
    let has = |name: &str| base_query.iter().any(|(key, _)| *key == name);
    let with = |query: &Query, name: &'static str, value: String| {
        query
            .iter()
            .cloned()
            .chain([(name, value)])
            .collect::<Query>()
    };
    let groups = if has("group") {
        vec![base_query.clone()]
    } else {
        group_ids(&archive.client)
            .await?
            .into_iter()
            .map(|id| with(base_query, "group", id))
            .collect()
    };
    for group in groups {
        let started = archive.begin(&group).await?;
        if !started.first.is_over_limit() && started.first.total < total {
            let end = archive
                .read(&group, archive.proof(day), started, seen, sink)
                .await;
            add_counts(sums, &require_complete(end, day)?);
            continue;
        }
        if has(archive.agent) {
            // This part cannot be split further. Other groups may contain all its records, so
            // `read_day` compares with the day's total.
            continue;
        }
        for login in logins(&archive.client).await? {
            let agent = with(&group, archive.agent, login);
            let started = archive.begin(&agent).await?;
            if started.first.is_over_limit() {
                return Err(PullError::Incomplete {
                    window: day,
                    have: seen.len(),
                    of: total,
                });
            }
            let end = archive
                .read(&agent, archive.proof(day), started, seen, sink)
                .await;
            add_counts(sums, &require_complete(end, day)?);
        }
    }
    Ok(())
}

fn require_complete(
    end: Result<QueryCounts, QueryError>,
    window: Window,
) -> Result<QueryCounts, PullError> {
    end.map_err(|short| match short {
        QueryError::Pull(error) => error,
        QueryError::Short { have, of } => PullError::Incomplete { window, have, of },
    })
}

fn add_counts(counts: &mut WindowCounts, part: &QueryCounts) {
    counts.pages += part.pages;
    counts.pages_again += part.pages_again;
    counts.read += part.read;
    counts.kept += part.kept;
    counts.add_evidence(part.completeness);
    counts.total = Some(counts.total.unwrap_or(0) + part.total);
}

/// The completeness of parts that were read in several rounds, because together they did not have
/// the total.
fn weakened(parts: Option<Completeness>, round: u32) -> Completeness {
    let weakest = if round > 0 {
        Completeness::Corrected
    } else {
        Completeness::Verified
    };
    weakest.with(parts)
}
