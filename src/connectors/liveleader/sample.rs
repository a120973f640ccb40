//! The first rows, for Load Preview: of the newest day, or of the newest days that have any.

use std::sync::Arc;

use arrow::array::RecordBatch;
use jiff::Span;
use jiff::tz::TimeZone;

use super::client::{Client, Period};
use super::document::{Document, Pieces, Stop};
use super::rows::{Rows, id, start, unwritable};
use super::xml::{self, Fault};
use crate::clock::Millis;
use crate::connectors::report::Report;
use crate::connectors::table::joined;
use crate::connectors::{Menus, PullError, Sample, Window, too_many_rejected};

/// Chats that are read for a sample at most.
const MOST_CHATS: u64 = 20_000;
/// Days that are asked for at once at most.
const MOST_DAYS: i64 = 366;

/// What a document held of what is wanted.
struct Found {
    /// When each chat began, and its rows; the newest ones.
    chats: Vec<(Millis, RecordBatch)>,
    /// The columns of all.
    last: Option<RecordBatch>,
    /// Chats that fit the menus, and of them those that were rejected.
    fitting: u64,
    rejected: u64,
    whole: bool,
}

/// Reads the newest day of the range, and then ever more days before it until there are rows.
pub(super) async fn newest(client: &Client, report: &'static Report, menus: &Menus, zone: &TimeZone, range: Window, most: usize) -> Result<Sample, PullError> {
    let before = client.spent().calls;
    let (mut to, mut days) = (range.to, 1);
    let login: Option<Arc<str>> = menus.login.as_ref().map(|login| login.to_lowercase().into());
    loop {
        let from = to.saturating_sub(Span::new().days(days - 1)).max(range.from);
        let period = Period::days(Window { from, to }, zone)?;
        let (times, wanted, asked, parsers) = (client.zone().clone(), login.clone(), period.clone(), client.parsers());
        let begin = move || {
            let (times, login, period) = (times.clone(), wanted.clone(), asked.clone());
            Document::new(parsers.clone(), move |pieces, label| read(pieces, label, report, &times, &period, login.as_deref(), most))
        };
        let found = client.export(&period, begin).await?;
        let first_day = from <= range.from;
        let (rejected, of) = (found.rejected, found.fitting);
        if rejected > 0 && (rejected == of || (first_day && found.whole && too_many_rejected(rejected, of))) {
            return Err(PullError::UnexpectedRecords { rejected, of });
        }
        if found.fitting > 0 || first_day {
            // Days that were asked for before had no rows, so this is all there is when it begins with the first day.
            return sample(found, first_day, most, client.spent().calls - before);
        }
        to = from.yesterday().unwrap_or(range.from);
        days = (days * 4).min(MOST_DAYS);
    }
}

fn read(
    pieces: Pieces,
    label: Option<String>,
    report: &'static Report,
    times: &TimeZone,
    period: &Period,
    login: Option<&str>,
    most: usize,
) -> Result<Found, Stop> {
    let mut rows = Rows::new(report, times);
    let mut found = Found { chats: Vec::new(), last: None, fitting: 0, rejected: 0, whole: true };
    let mut broken = false;
    let mut read = 0;
    let done = xml::read(pieces, label.as_deref(), |chat| {
        read += 1;
        let begun = start(chat, times);
        let is_later = begun.is_some_and(|begun| period.is_before(begun));
        if !is_later && login.is_none_or(|login| chat.operators().any(|operator| operator.to_lowercase() == login)) {
            found.fitting += 1;
            if id(chat).is_none() {
                found.rejected += 1;
                return read < MOST_CHATS;
            }
            let built = rows.chat(chat).then(|| rows.rest()).flatten();
            broken |= built.is_none();
            let begun = begun.map_or(Millis::MIN, |begun| begun.at.as_millisecond());
            found.chats.extend(built.into_iter().flatten().map(|batch| (begun, batch)));
            if found.chats.len() > 4 * most {
                found.keep(most);
            }
        }
        !broken && read < MOST_CHATS
    });
    found.whole = match done {
        Ok(()) => true,
        Err(Fault::Enough) if !broken => false,
        Err(Fault::Enough) => return Err(Stop::Own(unwritable())),
        Err(fault) => return Err(fault.into()),
    };
    found.keep(most);
    found.last = rows.batch();
    Ok(found)
}

impl Found {
    /// Only the newest are kept.
    fn keep(&mut self, most: usize) {
        self.chats.sort_by_key(|(begun, _)| std::cmp::Reverse(*begun));
        self.chats.truncate(most);
    }
}

fn sample(found: Found, first_day: bool, most: usize, calls: u64) -> Result<Sample, PullError> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let (mut rows, mut records) = (0, 0);
    for (_, batch) in found.chats {
        if rows >= most {
            break;
        }
        rows += batch.num_rows();
        records += 1;
        batches.push(batch);
    }
    let every = records + found.rejected == found.fitting && rows <= most;
    batches.push(found.last.ok_or_else(unwritable)?);
    let batch = joined(&batches).ok_or_else(unwritable)?.slice(0, rows.min(most));
    Ok(Sample { batch, records, total: None, whole: first_day && found.whole && every, newest: found.whole, calls })
}
