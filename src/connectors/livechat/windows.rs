//! One window of an archive, whole or not at all: read as it is when the vendor lets us, else by halves of days, else a single day by
//! groups and those by agents.

use std::collections::HashSet;

use jiff::Span;

use super::client::Query;
use super::paging::{Archive, Page, Part, Seen, Short, Sink};
use super::walk::id_of;
use super::{group_ids, logins};
use crate::connectors::{PullError, Tally, Window};

/// Reads every record of the window, of which `first` is page 1, into `sink`. `query` makes the question for a window.
pub(super) async fn read(archive: &Archive, window: Window, first: Page, query: impl Fn(Window) -> Query, sink: &mut impl Sink) -> Result<Tally, PullError> {
    if !archive.overlapping {
        return parts(archive, window, first, query, sink).await;
    }
    let split = first.too_many();
    let mut once = Once { sink, met: HashSet::new(), again: 0 };
    let mut tally = parts(archive, window, first, &query, &mut once).await?;
    tally.kept -= once.again;
    if split {
        // What the parts hold adds up to more than the whole.
        let newest = archive.page(&query(window), 1).await?.total;
        if tally.kept < newest {
            return Err(PullError::Incomplete { window, have: tally.kept, of: newest });
        }
        tally.total = Some(newest);
    }
    Ok(tally)
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
        records.retain(|record| id_of(record, "id").is_none_or(|id| self.met.insert(id.into())));
        self.again += (all - records.len()) as u64;
        self.sink.records(records).await
    }

    async fn page(&mut self, page: u64, pages: u64) -> Result<(), PullError> {
        self.sink.page(page, pages).await
    }
}

async fn parts(archive: &Archive, window: Window, first: Page, query: impl Fn(Window) -> Query, sink: &mut impl Sink) -> Result<Tally, PullError> {
    let mut tally = Tally { total: Some(0), ..Tally::default() };
    let mut left = vec![window];
    let mut first = Some(first);
    while let Some(part) = left.pop() {
        let asked = query(part);
        let first = match first.take() {
            Some(first) => first,
            None => archive.page(&asked, 1).await?,
        };
        if !first.too_many() {
            let mut seen = Seen::default();
            let end = archive.read(&asked, first, &mut seen, sink).await;
            add(&mut tally, &whole(end, part)?);
        } else if part.from < part.to {
            let middle = part.from.saturating_add(Span::new().days(i64::from((part.to - part.from).get_days() / 2)));
            left.push(Window { from: part.from, to: middle });
            left.push(Window { from: middle.tomorrow().unwrap_or(part.to), to: part.to });
        } else {
            day(archive, part, &asked, &first, &mut tally, sink).await?;
        }
    }
    Ok(tally)
}

/// A single day above the limit: every group alone, 0 included, and a group that is as large as the day or above the limit itself by
/// agent. What all of them hold together must be the day.
async fn day(archive: &Archive, day: Window, asked: &Query, first: &Page, tally: &mut Tally, sink: &mut impl Sink) -> Result<(), PullError> {
    let total = first.total;
    let mut seen = Seen::default();
    let mut sums = Tally::default();
    let has = |name: &str| asked.iter().any(|(key, _)| *key == name);
    let with = |query: &Query, name: &'static str, value: String| query.iter().cloned().chain([(name, value)]).collect::<Query>();
    let groups = if has("group") { vec![asked.clone()] } else { group_ids(&archive.client).await?.into_iter().map(|id| with(asked, "group", id)).collect() };
    for group in groups {
        let page = archive.page(&group, 1).await?;
        if !page.too_many() && page.total < total {
            let end = archive.read(&group, page, &mut seen, sink).await;
            add(&mut sums, &whole(end, day)?);
            continue;
        }
        if has(archive.agent) {
            return Err(PullError::Incomplete { window: day, have: seen.len(), of: total });
        }
        for login in logins(&archive.client).await? {
            let agent = with(&group, archive.agent, login);
            let page = archive.page(&agent, 1).await?;
            if page.too_many() {
                return Err(PullError::Incomplete { window: day, have: seen.len(), of: total });
            }
            let end = archive.read(&agent, page, &mut seen, sink).await;
            add(&mut sums, &whole(end, day)?);
        }
    }
    let newest = archive.page(asked, 1).await?.total;
    if seen.len() < newest {
        return Err(PullError::Incomplete { window: day, have: seen.len(), of: newest });
    }
    tally.pages += sums.pages;
    tally.read += sums.read;
    tally.kept += sums.kept;
    tally.corrected |= sums.corrected;
    tally.total = Some(tally.total.unwrap_or(0) + newest);
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
    tally.read += part.read;
    tally.kept += part.kept;
    tally.corrected |= part.again;
    tally.total = Some(tally.total.unwrap_or(0) + part.total);
}
