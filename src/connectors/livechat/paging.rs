//! Pages of an archive: read several at once, handed on in order, duplicates dropped, and the count compared with the vendor's total.
//!
//! What two reads of a query prove: let the vendor report T records in the first answer of the later read, which is asked for once the
//! earlier one has ended. A record that was in the earlier read and is in the later one was there at that moment, since a record that is
//! gone does not come back. So when T records are in both, these are all that there were, and no record that stays is missing. What is
//! added later may be missing, as it may in any read.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;
use tokio_util::task::AbortOnDropHandle;

use super::client::{Client, Query};
use super::page::Page;
use super::walk::id_of;
use crate::connectors::pull_error::Place;
use crate::connectors::{Completeness, PullError, Window};

/// Pages read at once.
const AT_ONCE: usize = 8;
/// A window that came short is read so many times again.
pub(super) const ROUNDS: u32 = 3;
/// Reads of a query of which two consecutive ones have to agree.
const MAX_READS: u32 = 6;

/// What proves that a query was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The vendor's total, since no record is added any more.
    Total,
    /// The vendor's total, although a deletion and an addition leave it as it was: a second read is not wanted.
    TotalOnly,
    /// Two consecutive reads that agree.
    SecondRead,
}

/// Which records were met, and in which round last. One per window, so that a record is kept once however often it comes.
#[derive(Default)]
pub(super) struct Seen {
    last: HashMap<Box<str>, u32>,
    round: u32,
}

/// What a record is to the round that met it.
struct Met {
    /// Never met before: a row.
    new: bool,
    /// First time in this round.
    in_round: bool,
    /// First time since the round `part` began.
    in_part: bool,
}

impl Seen {
    pub fn len(&self) -> u64 {
        self.last.len() as u64
    }

    fn meet(&mut self, id: &str, part: u32) -> Met {
        match self.last.entry(id.into()) {
            Entry::Vacant(place) => {
                place.insert(self.round);
                Met { new: true, in_round: true, in_part: true }
            }
            Entry::Occupied(mut place) => {
                let before = place.insert(self.round);
                Met { new: false, in_round: before != self.round, in_part: before < part }
            }
        }
    }
}

/// What reading a query to its end came to.
pub(super) struct Part {
    pub total: u64,
    pub pages: u64,
    /// Of these, pages of all reads but the first.
    pub pages_again: u64,
    pub read: u64,
    pub kept: u64,
    pub completeness: Completeness,
}

/// The end of a query that could not be read whole.
pub(super) enum Short {
    Error(PullError),
    /// So many of so many.
    Short {
        have: u64,
        of: u64,
    },
}

impl From<PullError> for Short {
    fn from(error: PullError) -> Self {
        Short::Error(error)
    }
}

/// Takes what comes out of pages: new records, and where we are after each page.
pub(super) trait Sink {
    async fn records(&mut self, records: Vec<&str>) -> Result<(), PullError>;
    async fn page(&mut self, page: u64, pages: u64) -> Result<(), PullError>;
}

/// A page on its way.
type Coming = AbortOnDropHandle<Result<Page, PullError>>;

/// A query that is being read: its first page, and the next ones on their way.
pub(super) struct Begun {
    pub first: Page,
    coming: VecDeque<Coming>,
}

/// An archive to page through.
#[derive(Clone)]
pub(super) struct Archive {
    pub client: Client,
    pub path: &'static str,
    pub list: &'static str,
    /// The vendor's name for a login among the arguments.
    pub agent: &'static str,
    /// A record may belong to several days.
    pub overlapping: bool,
    /// No record is added any more to this day and those before it.
    pub settled_until: Date,
    /// Later days are read until two consecutive reads agree.
    pub second_read: bool,
    /// Questions without days that were answered.
    pub served: Arc<Mutex<Vec<Query>>>,
}

/// The arguments that name the days of a query.
const OF_DAYS: [&str; 3] = ["date_from", "date_to", "timezone"];

fn with_page(query: &Query, page: u64) -> Query {
    query.iter().cloned().chain([("page", page.to_string())]).collect()
}

impl Archive {
    /// What proves that the days of a window were read whole.
    pub fn proof(&self, window: Window) -> Proof {
        if window.to <= self.settled_until {
            Proof::Total
        } else if self.second_read {
            Proof::SecondRead
        } else {
            Proof::TotalOnly
        }
    }

    /// One page of a query, from 1. What has no first page holds nothing.
    pub async fn page(&self, query: &Query, page: u64) -> Result<Page, PullError> {
        let (asked, list) = (with_page(query, page), self.list);
        if page == 1 {
            if let Some(first) = self.first(&asked).await? {
                return Ok(first);
            }
            let everything: Query = query.iter().filter(|(name, _)| !OF_DAYS.contains(name)).cloned().collect();
            if everything.len() < query.len() && self.is_served(everything).await? {
                return Ok(Page::empty());
            }
            // It is not proven that there is nothing, so that it is an error. Asked once more, LiveChat says in its words which.
        }
        self.client.get(self.path, page, &asked, |body| Page::read(body, list)).await
    }

    /// The first page; none if LiveChat says twice, by 204, 404 or an empty answer, that there is none.
    async fn first(&self, asked: &Query) -> Result<Option<Page>, PullError> {
        let list = self.list;
        self.client.get_or_nothing(self.path, 1, asked, |body| Page::read(body, list).map(Some), |_| Some(None)).await
    }

    /// Whether LiveChat answers this question, which names no days. It then serves this archive and knows the group, login and tag that
    /// were asked for, so that a day without an answer is a day without records.
    async fn is_served(&self, everything: Query) -> Result<bool, PullError> {
        let served = || self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if served().contains(&everything) {
            return Ok(true);
        }
        let is_served = self.first(&with_page(&everything, 1)).await?.is_some();
        if is_served {
            served().push(everything);
        }
        Ok(is_served)
    }

    fn send(&self, query: &Query, page: u64) -> Coming {
        let (archive, query) = (self.clone(), query.clone());
        AbortOnDropHandle::new(tokio::spawn(async move { archive.page(&query, page).await }))
    }

    /// Asks for the first page and, as soon as it tells how many there are, for the next few.
    pub async fn begin(&self, query: &Query) -> Result<Begun, PullError> {
        let first = self.page(query, 1).await?;
        let pages = if first.too_many() { 1 } else { first.needed(first.len() as u64).min(AT_ONCE as u64) };
        Ok(Begun { coming: (2..=pages).map(|page| self.send(query, page)).collect(), first })
    }

    /// Reads a query that is below the vendor's limit until it is proven that it was read whole, or too often.
    pub async fn read(&self, query: &Query, proof: Proof, begun: Begun, seen: &mut Seen, sink: &mut impl Sink) -> Result<Part, Short> {
        let part = seen.round + 1;
        let mut end = Part { total: begun.first.total, pages: 0, pages_again: 0, read: 0, kept: 0, completeness: Completeness::Corrected };
        let (mut have, mut grew_only) = (0, true);
        let mut begun = Some(begun);
        let reads = if proof == Proof::SecondRead { MAX_READS } else { ROUNDS + 1 };
        for number in 0..reads {
            let begun = match begun.take() {
                Some(begun) => begun,
                None => self.begin(query).await?,
            };
            seen.round += 1;
            let before = end.total;
            let round = self.round(query, begun, seen, part, &mut end, sink).await?;
            if number > 0 {
                end.pages_again += round.pages;
            }
            grew_only &= round.grew_only && before <= round.first_total;
            have += round.in_part;
            if proof == Proof::SecondRead {
                if number > 0 && round.confirmed == round.first_total {
                    // What was met before and is not in this read was removed by the vendor meanwhile.
                    let is_exact = have == round.in_round;
                    end.completeness = if is_exact { Completeness::Reread } else { Completeness::Corrected };
                    return Ok(end);
                }
                continue;
            }
            // When the total stood still, what one read met must be as many; when it only grew, all that was met.
            let still = round.first_total == round.last_total && round.grew_only;
            if (still && round.in_round == round.last_total) || (grew_only && have == round.last_total) {
                end.completeness = match proof {
                    _ if number > 0 || !still => Completeness::Corrected,
                    Proof::Total => Completeness::Verified,
                    _ => Completeness::Counted,
                };
                return Ok(end);
            }
        }
        Err(Short::Short { have, of: end.total })
    }

    async fn round(&self, query: &Query, begun: Begun, seen: &mut Seen, part: u32, end: &mut Part, sink: &mut impl Sink) -> Result<Round, PullError> {
        let Begun { first, mut coming } = begun;
        let is_first = seen.round == part;
        let mut round = Round { first_total: first.total, last_total: first.total, grew_only: true, pages: 0, in_round: 0, in_part: 0, confirmed: 0 };
        let per_page = first.len() as u64;
        let mut pages = first.needed(per_page);
        let (mut next, mut at) = (2 + coming.len() as u64, 1);
        let mut page = first;
        loop {
            while coming.len() < AT_ONCE && next <= pages {
                coming.push_back(self.send(query, next));
                next += 1;
            }
            round.grew_only &= page.total >= round.last_total;
            round.last_total = page.total;
            end.total = page.total;
            end.pages += 1;
            round.pages += 1;
            let mut new = Vec::new();
            for record in page.records() {
                let met = match id_of(record, "id") {
                    Some(id) => seen.meet(&id, part),
                    // Without an id it is told from others by its text, and two of one round are two.
                    None => nameless(seen, record, part),
                };
                round.in_round += u64::from(met.in_round);
                round.in_part += u64::from(met.in_part);
                // The first page came in the answer that gave the total, so that its records were all there at that moment.
                round.confirmed += u64::from(met.in_round && (!met.in_part || at == 1));
                if met.new {
                    new.push(record);
                }
            }
            // What is only read again was counted the first time.
            end.read += if is_first { page.len() } else { new.len() } as u64;
            end.kept += new.len() as u64;
            sink.records(new).await?;
            sink.page(at, pages).await?;
            let Some(handle) = coming.pop_front() else { return Ok(round) };
            page = handle.await.map_err(broken)??;
            at += 1;
            // The vendor's list grows at its head while we read: what is pushed off the last page is on a new one.
            pages = pages.max(page.needed(per_page));
        }
    }
}

struct Round {
    first_total: u64,
    last_total: u64,
    /// The total never went down from page to page.
    grew_only: bool,
    pages: u64,
    /// Distinct records of this round; of these, those that no earlier round of the part met, and those that one did.
    in_round: u64,
    in_part: u64,
    confirmed: u64,
}

/// Why a page on its way did not come: the pull was stopped, or it is our own fault.
pub(super) fn broken(why: tokio::task::JoinError) -> PullError {
    if why.is_panic() {
        return PullError::Malformed { at: Place::default(), why: "Chatlake had an internal error".to_owned() };
    }
    PullError::Cancelled
}

/// Records with equal texts are told apart by their order, so that another read of them finds the same ones.
fn nameless(seen: &mut Seen, record: &str, part: u32) -> Met {
    let mut hash = DefaultHasher::new();
    record.hash(&mut hash);
    let hash = hash.finish();
    let mut nth = 1_u64;
    loop {
        let met = seen.meet(&format!("without id {hash:x} {nth}"), part);
        if met.in_round {
            return met;
        }
        nth += 1;
    }
}
