//! One window of an archive, whole or not at all: read as it is when the vendor lets us, else by halves of days, else a single day by
//! groups and those by agents.

use std::collections::HashSet;

use jiff::Span;

use super::client::Query;
use super::paging::{Archive, Begun, Part, ROUNDS, Seen, Short, Sink};
use super::walk::id_of;
use super::{group_ids, logins};
use crate::connectors::{Completeness, PullError, Tally, Window};

/// Reads every record of the window, which has been begun, into `sink`. `query` makes the question for a window.
pub(super) async fn read(archive: &Archive, window: Window, begun: Begun, query: impl Fn(Window) -> Query, sink: &mut impl Sink) -> Result<Tally, PullError> {
    if !archive.overlapping || !begun.first.too_many() {
        return parts(archive, window, begun, &query, sink).await;
    }
    // Its parts share records, so what they hold adds up to more than the whole; and the whole may grow meanwhile.
    let mut once = Once { sink, met: HashSet::new(), again: 0 };
    let mut tally = Tally::default();
    let (mut begun, mut newest) = (Some(begun), 0);
    for round in 0..=ROUNDS {
        let begun = match begun.take() {
            Some(begun) => begun,
            None => archive.begin(&query(window)).await?,
        };
        let came = parts(archive, window, begun, &query, &mut once).await?;
        let again = std::mem::take(&mut once.again);
        tally.pages += came.pages;
        tally.pages_again += if round > 0 { came.pages } else { came.pages_again };
        tally.kept += came.kept - again;
        // What is only read again was counted the first time.
        tally.read += if round > 0 { came.kept - again } else { came.read };
        tally.note(weakened(came.completeness, round));
        newest = archive.page(&query(window), 1).await?.total;
        tally.total = Some(newest);
        if tally.kept >= newest {
            return Ok(tally);
        }
    }
    Err(PullError::Incomplete { window, have: tally.kept, of: newest })
}

/// Lets each record through once: days of some archives share records.
struct Once<'s, S> {
    sink: &'s mut S,
    met: HashSet<Box<str>>,
    again: u64,
}

impl<S: Sink> Sink for Once<'_, S> {
    async fn records(&mut self, mut records: Vec<&str>) -> Result<(), PullError> {
        let all = records.len();
        records.retain(|record| id_of(record, "id").is_none_or(|id| self.met.insert(id.as_ref().into())));
        self.again += (all - records.len()) as u64;
        self.sink.records(records).await
    }

    async fn page(&mut self, page: u64, pages: u64) -> Result<(), PullError> {
        self.sink.page(page, pages).await
    }
}

async fn parts(archive: &Archive, window: Window, begun: Begun, query: &impl Fn(Window) -> Query, sink: &mut impl Sink) -> Result<Tally, PullError> {
    let mut tally = Tally { total: Some(0), ..Tally::default() };
    let mut left = vec![window];
    let mut begun = Some(begun);
    while let Some(part) = left.pop() {
        let asked = query(part);
        let begun = match begun.take() {
            Some(begun) => begun,
            None => archive.begin(&asked).await?,
        };
        if !begun.first.too_many() {
            let mut seen = Seen::default();
            let end = archive.read(&asked, archive.proof(part), begun, &mut seen, sink).await;
            add(&mut tally, &whole(end, part)?);
        } else if part.from < part.to {
            let middle = part.from.saturating_add(Span::new().days(i64::from((part.to - part.from).get_days() / 2)));
            left.push(Window { from: part.from, to: middle });
            left.push(Window { from: middle.tomorrow().unwrap_or(part.to), to: part.to });
        } else {
            day(archive, part, &asked, begun.first.total, &mut tally, sink).await?;
        }
    }
    Ok(tally)
}

/// A single day above the limit, of `total` records: every group alone, 0 included, and a group that is as large as the day or above the
/// limit itself by agent. What all of them hold together must be the day; while it is not, because records came meanwhile, they are
/// read again.
async fn day(archive: &Archive, day: Window, asked: &Query, total: u64, tally: &mut Tally, sink: &mut impl Sink) -> Result<(), PullError> {
    let mut seen = Seen::default();
    let mut sums = Tally::default();
    let mut newest = total;
    for round in 0..=ROUNDS {
        pieces(archive, day, asked, newest, &mut seen, &mut sums, sink).await?;
        newest = archive.page(asked, 1).await?.total;
        if seen.len() >= newest {
            tally.pages += sums.pages;
            tally.pages_again += sums.pages_again;
            tally.read += sums.read;
            tally.kept += sums.kept;
            tally.note(weakened(sums.completeness, round));
            tally.total = Some(tally.total.unwrap_or(0) + newest);
            return Ok(());
        }
    }
    Err(PullError::Incomplete { window: day, have: seen.len(), of: newest })
}

/// The pieces of a day, each read whole.
async fn pieces(archive: &Archive, day: Window, asked: &Query, total: u64, seen: &mut Seen, sums: &mut Tally, sink: &mut impl Sink) -> Result<(), PullError> {
    let has = |name: &str| asked.iter().any(|(key, _)| *key == name);
    let with = |query: &Query, name: &'static str, value: String| query.iter().cloned().chain([(name, value)]).collect::<Query>();
    let groups = if has("group") { vec![asked.clone()] } else { group_ids(&archive.client).await?.into_iter().map(|id| with(asked, "group", id)).collect() };
    for group in groups {
        let begun = archive.begin(&group).await?;
        if !begun.first.too_many() && begun.first.total < total {
            let end = archive.read(&group, archive.proof(day), begun, seen, sink).await;
            add(sums, &whole(end, day)?);
            continue;
        }
        if has(archive.agent) {
            // There is nothing left to divide it by. The other groups may hold all of it: the count decides.
            continue;
        }
        for login in logins(&archive.client).await? {
            let agent = with(&group, archive.agent, login);
            let begun = archive.begin(&agent).await?;
            if begun.first.too_many() {
                return Err(PullError::Incomplete { window: day, have: seen.len(), of: total });
            }
            let end = archive.read(&agent, archive.proof(day), begun, seen, sink).await;
            add(sums, &whole(end, day)?);
        }
    }
    Ok(())
}

fn whole(end: Result<Part, Short>, window: Window) -> Result<Part, PullError> {
    end.map_err(|short| match short {
        Short::Error(error) => error,
        Short::Short { have, of } => PullError::Incomplete { window, have, of },
    })
}

fn add(tally: &mut Tally, part: &Part) {
    tally.pages += part.pages;
    tally.pages_again += part.pages_again;
    tally.read += part.read;
    tally.kept += part.kept;
    tally.note(part.completeness);
    tally.total = Some(tally.total.unwrap_or(0) + part.total);
}

/// The evidence for parts that had to be read in another round, because together they were not the whole.
fn weakened(parts: Option<Completeness>, round: u32) -> Completeness {
    let least = if round > 0 { Completeness::Corrected } else { Completeness::Verified };
    least.with(parts)
}
