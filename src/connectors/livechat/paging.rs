//! Reads the pages of an archive: several at a time, in order, without duplicates, and compares the
//! count with the vendor's total.
//!
//! What two reads of a query prove: the first answer of the later read reports a total of T
//! records; it is requested after the earlier read ended. A record that is in both reads existed at
//! that moment, because a deleted record does not come back. So if T records are in both reads,
//! they are all records of that moment, and no record that still exists is missing. Records that
//! are added later may be missing, as in any read.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;
use tokio_util::task::AbortOnDropHandle;

use super::archive_page::ArchivePage;
use super::client::{LiveChatClient, Query};
use super::raw_fields::id_of;
use crate::connectors::pull_error::ResponseLocation;
use crate::connectors::{Completeness, PullError, Window};

/// The maximum number of pages that are read at a time.
const MAX_CONCURRENT: usize = 8;
/// How often an incomplete window is read again.
pub(super) const MAX_EXTRA_ROUNDS: u32 = 3;
/// The maximum number of reads of a query; two consecutive ones must agree.
const MAX_READS: u32 = 6;

/// The proof that a query was read completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The vendor's total, because no more records are added.
    Total,
    /// The vendor's total alone, without a second read, although a deletion and an addition could
    /// cancel out.
    TotalOnly,
    /// Two consecutive reads that agree.
    SecondRead,
}

/// The records of a window and the last round in which each was read. A record is stored once,
/// however often it is read.
#[derive(Default)]
pub(super) struct SeenRecords {
    last: HashMap<Box<str>, u32>,
    round: u32,
}

/// Whether a record is new.
struct SeenStatus {
    /// In the window: the record becomes a row.
    new: bool,
    /// In this round.
    in_round: bool,
    /// In the rounds since `part` began.
    in_part: bool,
}

impl SeenRecords {
    pub fn len(&self) -> u64 {
        self.last.len() as u64
    }

    fn record(&mut self, id: &str, part: u32) -> SeenStatus {
        match self.last.entry(id.into()) {
            Entry::Vacant(place) => {
                place.insert(self.round);
                SeenStatus {
                    new: true,
                    in_round: true,
                    in_part: true,
                }
            }
            Entry::Occupied(mut place) => {
                let before = place.insert(self.round);
                SeenStatus {
                    new: false,
                    in_round: before != self.round,
                    in_part: before < part,
                }
            }
        }
    }
}

/// The counters of a query that was read to its end.
pub(super) struct QueryCounts {
    pub total: u64,
    pub pages: u64,
    /// Of these, pages of all reads except the first.
    pub pages_again: u64,
    pub read: u64,
    pub kept: u64,
    pub completeness: Completeness,
}

/// Why a query could not be read completely.
pub(super) enum QueryError {
    Pull(PullError),
    /// The number of records read and the vendor's total.
    Short {
        have: u64,
        of: u64,
    },
}

impl From<PullError> for QueryError {
    fn from(error: PullError) -> Self {
        QueryError::Pull(error)
    }
}

/// Receives the records and the progress of a read.
pub(super) trait Sink {
    async fn records(&mut self, records: Vec<&str>) -> Result<(), PullError>;
    async fn page(&mut self, page: u64, pages: u64) -> Result<(), PullError>;
}

/// A page that is being requested.
type PendingPage = AbortOnDropHandle<Result<ArchivePage, PullError>>;

/// A query with its first page and the following pages that are being requested.
pub(super) struct StartedQuery {
    pub first: ArchivePage,
    pending: VecDeque<PendingPage>,
}

/// An archive that is read by pages.
#[derive(Clone)]
pub(super) struct Archive {
    pub client: LiveChatClient,
    pub path: &'static str,
    pub list: &'static str,
    /// The vendor's name of the query parameter for a login.
    pub agent: &'static str,
    /// A record may belong to several days.
    pub overlapping: bool,
    /// No records are added to this day or earlier days any more.
    pub settled_until: Date,
    /// Later days are read until two consecutive reads agree.
    pub second_read: bool,
    /// Queries without days that were answered.
    pub served: Arc<Mutex<Vec<Query>>>,
}

/// The query parameters for the days.
const DATE_ARGUMENTS: [&str; 3] = ["date_from", "date_to", "timezone"];

fn with_page(query: &Query, page: u64) -> Query {
    query
        .iter()
        .cloned()
        .chain([("page", page.to_string())])
        .collect()
}

impl Archive {
    /// The proof that is required for a window.
    pub fn proof(&self, window: Window) -> Proof {
        if window.to <= self.settled_until {
            Proof::Total
        } else if self.second_read {
            Proof::SecondRead
        } else {
            Proof::TotalOnly
        }
    }

    /// One page of a query, from 1. Returns an empty page if the query has no first page.
    pub async fn page(&self, query: &Query, page: u64) -> Result<ArchivePage, PullError> {
        let (page_query, list) = (with_page(query, page), self.list);
        if page == 1 {
            if let Some(first) = self.first(&page_query).await? {
                return Ok(first);
            }
            let everything: Query = query
                .iter()
                .filter(|(name, _)| !DATE_ARGUMENTS.contains(name))
                .cloned()
                .collect();
            if everything.len() < query.len() && self.is_served(everything).await? {
                return Ok(ArchivePage::empty());
            }
            // It is not proven that there are no records, so this is an error. The request is sent
            // again to get LiveChat's error message.
        }
        self.client
            .get(self.path, page, &page_query, |body| {
                ArchivePage::read(body, list)
            })
            .await
    }

    /// The first page; `None` if LiveChat says twice, with 204, 404 or an empty answer, that there
    /// is none.
    async fn first(&self, page_query: &Query) -> Result<Option<ArchivePage>, PullError> {
        let list = self.list;
        self.client
            .get_or_empty(
                self.path,
                1,
                page_query,
                |body| ArchivePage::read(body, list).map(Some),
                |_| Some(None),
            )
            .await
    }

    /// Whether LiveChat answers this query without days. Then it serves this archive and knows the
    /// group, login and tag, so a day without an answer is a day without records.
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

    fn send(&self, query: &Query, page: u64) -> PendingPage {
        let (archive, query) = (self.clone(), query.clone());
        AbortOnDropHandle::new(tokio::spawn(
            async move { archive.page(&query, page).await },
        ))
    }

    /// Requests the first page and, when its page count is known, the next few.
    pub async fn begin(&self, query: &Query) -> Result<StartedQuery, PullError> {
        let first = self.page(query, 1).await?;
        let pages = if first.is_over_limit() {
            1
        } else {
            first
                .page_count(first.len() as u64)
                .min(MAX_CONCURRENT as u64)
        };
        Ok(StartedQuery {
            pending: (2..=pages).map(|page| self.send(query, page)).collect(),
            first,
        })
    }

    /// Reads a query that is below the vendor's limit, until the read is proven complete or the
    /// maximum number of reads is reached.
    pub async fn read(
        &self,
        query: &Query,
        proof: Proof,
        started: StartedQuery,
        seen: &mut SeenRecords,
        sink: &mut impl Sink,
    ) -> Result<QueryCounts, QueryError> {
        let part = seen.round + 1;
        let mut end = QueryCounts {
            total: started.first.total,
            pages: 0,
            pages_again: 0,
            read: 0,
            kept: 0,
            completeness: Completeness::Corrected,
        };
        let (mut have, mut grew_only) = (0, true);
        let mut started = Some(started);
        let reads = if proof == Proof::SecondRead {
            MAX_READS
        } else {
            MAX_EXTRA_ROUNDS + 1
        };
        for number in 0..reads {
            let started = match started.take() {
                Some(started) => started,
                None => self.begin(query).await?,
            };
            seen.round += 1;
            let before = end.total;
            let round = self
                .round(query, started, seen, part, &mut end, sink)
                .await?;
            if number > 0 {
                end.pages_again += round.pages;
            }
            grew_only &= round.grew_only && before <= round.first_total;
            have += round.in_part;
            if proof == Proof::SecondRead {
                if number > 0 && round.confirmed == round.first_total {
                    // A record that was read before and is not in this read was deleted by the
                    // vendor meanwhile.
                    let is_exact = have == round.in_round;
                    end.completeness = if is_exact {
                        Completeness::Reread
                    } else {
                        Completeness::Corrected
                    };
                    return Ok(end);
                }
                continue;
            }
            // If the total did not change, one read must have that many records; if it only grew,
            // all reads together must.
            let is_stable = round.first_total == round.last_total && round.grew_only;
            if (is_stable && round.in_round == round.last_total)
                || (grew_only && have == round.last_total)
            {
                end.completeness = match proof {
                    _ if number > 0 || !is_stable => Completeness::Corrected,
                    Proof::Total => Completeness::Verified,
                    _ => Completeness::Counted,
                };
                return Ok(end);
            }
        }
        Err(QueryError::Short {
            have,
            of: end.total,
        })
    }

    async fn round(
        &self,
        query: &Query,
        started: StartedQuery,
        seen: &mut SeenRecords,
        part: u32,
        end: &mut QueryCounts,
        sink: &mut impl Sink,
    ) -> Result<Round, PullError> {
        let StartedQuery { first, mut pending } = started;
        let is_first = seen.round == part;
        let mut round = Round {
            first_total: first.total,
            last_total: first.total,
            grew_only: true,
            pages: 0,
            in_round: 0,
            in_part: 0,
            confirmed: 0,
        };
        let per_page = first.len() as u64;
        let mut pages = first.page_count(per_page);
        let (mut next, mut at) = (2 + pending.len() as u64, 1);
        let mut page = first;
        loop {
            while pending.len() < MAX_CONCURRENT && next <= pages {
                pending.push_back(self.send(query, next));
                next += 1;
            }
            round.grew_only &= page.total >= round.last_total;
            round.last_total = page.total;
            end.total = page.total;
            end.pages += 1;
            round.pages += 1;
            let mut new = Vec::new();
            for record in page.records() {
                let status = match id_of(record, "id") {
                    Some(id) => seen.record(&id, part),
                    // A record without id is identified by its text. Two equal ones in a round are
                    // two records.
                    None => record_without_id(seen, record, part),
                };
                round.in_round += u64::from(status.in_round);
                round.in_part += u64::from(status.in_part);
                // The first page is in the same answer as the total, so its records existed at that
                // moment.
                round.confirmed += u64::from(status.in_round && (!status.in_part || at == 1));
                if status.new {
                    new.push(record);
                }
            }
            // Records that are only read again were already counted.
            end.read += if is_first { page.len() } else { new.len() } as u64;
            end.kept += new.len() as u64;
            sink.records(new).await?;
            sink.page(at, pages).await?;
            let Some(handle) = pending.pop_front() else {
                return Ok(round);
            };
            page = handle.await.map_err(join_error)??;
            at += 1;
            // The vendor's list grows at its start during the read: records that move off the last
            // page are on a new page.
            pages = pages.max(page.page_count(per_page));
        }
    }
}

struct Round {
    first_total: u64,
    last_total: u64,
    /// The total never decreased from page to page.
    grew_only: bool,
    pages: u64,
    /// Distinct records of this round. `in_part`: those not read in an earlier round of the part;
    /// `confirmed`: those also read in an earlier one.
    in_round: u64,
    in_part: u64,
    confirmed: u64,
}

/// Why the task of a page ended without a result: the pull was cancelled, or the task panicked.
pub(super) fn join_error(why: tokio::task::JoinError) -> PullError {
    if why.is_panic() {
        return PullError::Malformed {
            at: ResponseLocation::default(),
            why: "Chatlake had an internal error".to_owned(),
        };
    }
    PullError::Cancelled
}

/// Records with equal texts are numbered, so that another read recognizes them.
fn record_without_id(seen: &mut SeenRecords, record: &str, part: u32) -> SeenStatus {
    let mut hash = DefaultHasher::new();
    record.hash(&mut hash);
    let hash = hash.finish();
    let mut nth = 1_u64;
    loop {
        let status = seen.record(&format!("without id {hash:x} {nth}"), part);
        if status.in_round {
            return status;
        }
        nth += 1;
    }
}
