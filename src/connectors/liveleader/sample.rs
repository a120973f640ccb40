//! Reads the first rows for Load preview, from the newest day or the newest days with chats.

use std::sync::Arc;

use arrow::array::RecordBatch;
use jiff::Span;
use jiff::tz::TimeZone;

use super::client::{ExportPeriod, LiveLeaderClient};
use super::document::{ChunkStream, DocumentReader, ParseStop};
use super::rows::{ChatRows, id, start, unwritable};
use super::xml::{self, DocumentError};
use crate::clock::Millis;
use crate::connectors::report::Report;
use crate::connectors::table::concat_batches;
use crate::connectors::{Menus, PullError, Sample, Window, too_many_rejected};

/// The maximum number of chats that are read for a sample.
const MAX_CHATS: u64 = 20_000;
/// The maximum number of days in one request.
const MAX_DAYS: i64 = 366;

/// The matching chats of a document.
struct NewestChats {
    /// The start of each chat and its rows; only the newest chats.
    chats: Vec<(Millis, RecordBatch)>,
    /// The columns of all chats.
    last: Option<RecordBatch>,
    /// The number of chats that match the menus.
    matching: u64,
    /// How many of them were rejected.
    rejected: u64,
    is_complete: bool,
}

/// Reads the newest day of the range, and then growing numbers of days before it until there are
/// rows.
pub(super) async fn newest(
    client: &LiveLeaderClient,
    report: &'static Report,
    menus: &Menus,
    zone: &TimeZone,
    range: Window,
    limit: usize,
) -> Result<Sample, PullError> {
    let before = client.call_stats().calls;
    let (mut to, mut days) = (range.to, 1);
    let login: Option<Arc<str>> = menus
        .login
        .as_ref()
        .map(|login| login.to_lowercase().into());
    loop {
        let from = to
            .saturating_sub(Span::new().days(days - 1))
            .max(range.from);
        let period = ExportPeriod::days(Window { from, to }, zone)?;
        let (times, wanted, requested, parser_slots) = (
            client.zone().clone(),
            login.clone(),
            period.clone(),
            client.parser_slots(),
        );
        let begin = move || {
            let (times, login, period) = (times.clone(), wanted.clone(), requested.clone());
            DocumentReader::new(parser_slots.clone(), move |pieces, label| {
                read(
                    pieces,
                    label,
                    report,
                    &times,
                    &period,
                    login.as_deref(),
                    limit,
                )
            })
        };
        let found = client.export(&period, begin).await?;
        let first_day = from <= range.from;
        let (rejected, of) = (found.rejected, found.matching);
        if rejected > 0
            && (rejected == of
                || (first_day && found.is_complete && too_many_rejected(rejected, of)))
        {
            return Err(PullError::UnexpectedRecords { rejected, of });
        }
        if found.matching > 0 || first_day {
            // Days that were requested before had no rows, so the sample is complete if it starts
            // with the first day.
            return sample(found, first_day, limit, client.call_stats().calls - before);
        }
        to = from.yesterday().unwrap_or(range.from);
        days = (days * 4).min(MAX_DAYS);
    }
}

fn read(
    pieces: ChunkStream,
    label: Option<String>,
    report: &'static Report,
    times: &TimeZone,
    period: &ExportPeriod,
    login: Option<&str>,
    limit: usize,
) -> Result<NewestChats, ParseStop> {
    let mut rows = ChatRows::new(report, times);
    let mut found = NewestChats {
        chats: Vec::new(),
        last: None,
        matching: 0,
        rejected: 0,
        is_complete: true,
    };
    let mut broken = false;
    let mut read = 0;
    let done = xml::read(pieces, label.as_deref(), |chat| {
        read += 1;
        let started = start(chat, times);
        let is_later = started.is_some_and(|started| period.ends_before(started));
        if !is_later
            && login.is_none_or(|login| {
                chat.operators()
                    .any(|operator| operator.to_lowercase() == login)
            })
        {
            found.matching += 1;
            if id(chat).is_none() {
                found.rejected += 1;
                return read < MAX_CHATS;
            }
            let built = rows.chat(chat).then(|| rows.finish_batches()).flatten();
            broken |= built.is_none();
            let started = started.map_or(Millis::MIN, |started| started.at.as_millisecond());
            found
                .chats
                .extend(built.into_iter().flatten().map(|batch| (started, batch)));
            if found.chats.len() > 4 * limit {
                found.truncate_to_newest(limit);
            }
        }
        !broken && read < MAX_CHATS
    });
    found.is_complete = match done {
        Ok(()) => true,
        Err(DocumentError::Stopped) if !broken => false,
        Err(DocumentError::Stopped) => return Err(ParseStop::Internal(unwritable())),
        Err(error) => return Err(error.into()),
    };
    found.truncate_to_newest(limit);
    found.last = rows.batch();
    Ok(found)
}

impl NewestChats {
    /// Drops all except the newest chats.
    fn truncate_to_newest(&mut self, limit: usize) {
        self.chats
            .sort_by_key(|(started, _)| std::cmp::Reverse(*started));
        self.chats.truncate(limit);
    }
}

fn sample(
    found: NewestChats,
    first_day: bool,
    limit: usize,
    calls: u64,
) -> Result<Sample, PullError> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let (mut rows, mut records) = (0, 0);
    for (_, batch) in found.chats {
        if rows >= limit {
            break;
        }
        rows += batch.num_rows();
        records += 1;
        batches.push(batch);
    }
    let every = records + found.rejected == found.matching && rows <= limit;
    batches.push(found.last.ok_or_else(unwritable)?);
    let batch = concat_batches(&batches)
        .ok_or_else(unwritable)?
        .slice(0, rows.min(limit));
    Ok(Sample {
        batch,
        records,
        total: None,
        is_complete: first_day && found.is_complete && every,
        newest: found.is_complete,
        calls,
    })
}
