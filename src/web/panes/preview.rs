//! Load Preview: the first rows of what the Details pane asks for, read from the vendor just now. Nothing of it is kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use jiff::tz::TimeZone;

use super::For;
use super::details::{self, Details};
use super::view::{Column, Preview};
use crate::accounts::{Account, hurried, vendor_error, within};
use crate::connectors::report::{ExportRows, Menu, RecordRows, Report, Shape};
use crate::connectors::{self, PullError, Sample};
use crate::datasets::{columns, preview};
use crate::error::{Kind, Result};
use crate::ids::UserId;
use crate::web::cells::Cell;
use crate::web::parts::Band;
use crate::web::words;

/// A preview has at most so many rows.
const ROWS: usize = 50;
/// Somebody waits in front of the page.
const PATIENCE: Duration = Duration::from_secs(45);

#[derive(Template)]
#[template(path = "panes/preview.html")]
pub struct Fragment {
    pub preview: Preview,
}

/// Who is loading a preview just now: one at a time for each person, since each holds the vendor's attention. Cheap to clone.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<HashSet<UserId>>>);

/// Ends the turn when dropped.
struct Turn(Turns, UserId);

impl Turns {
    fn begin(&self, user: &UserId) -> Option<Turn> {
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(user.clone());
        fresh.then(|| Turn(self.clone(), user.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Reads the first rows. What keeps the vendor from answering is part of the preview, not an error.
pub async fn load(f: &For<'_>, turns: &Turns, account: &Account, details: &Details, zone: (String, TimeZone)) -> Result<Preview> {
    let Some(_turn) = turns.begin(&f.actor.user) else {
        return Ok(failed("Another preview is still loading.", "Wait until it is done, then try again."));
    };
    let (zone_name, zone) = zone;
    let began = std::time::Instant::now();
    match read(f, account, details, &zone).await {
        Ok(sample) => {
            let took = began.elapsed();
            show(&sample, details, &zone_name, &zone, took)
        }
        Err(why) if matches!(why.kind(), Kind::Internal | Kind::NotFound) => Err(why),
        Err(why) => Ok(failed(why.message(), why.next_step().unwrap_or("Nothing was saved."))),
    }
}

async fn read(f: &For<'_>, account: &Account, details: &Details, zone: &TimeZone) -> Result<Sample> {
    let asked_at = f.web.clock.now();
    let source = hurried(f.web.accounts.source(&account.id).await?);
    let upstream = source.upstream.clone();
    let range = details.menus.range(details::today(f, zone));
    let reading = connectors::sample(&source, details.report, &details.menus, zone, range, ROWS);
    let read = within(&source, PATIENCE, reading).await;
    f.web.accounts.keep_told(&account.id, &upstream).await?;
    match read {
        Ok(Ok(sample)) => Ok(sample),
        Ok(Err(why)) => {
            if matches!(why, PullError::Unauthorized) {
                f.web.accounts.record_health(&account.id, Err(&why), asked_at).await?;
            }
            Err(vendor_error(f.connector, &why))
        }
        Err(slow) => Err(slow),
    }
}

fn failed(happened: &str, next: &str) -> Preview {
    let problem = Band { tone: "bad".to_owned(), title: happened.to_owned(), text: next.to_owned(), actions: Vec::new() };
    Preview { words: "The preview was not loaded.".to_owned(), problem: Some(problem), ..Preview::default() }
}

fn show(sample: &Sample, details: &Details, zone_name: &str, zone: &TimeZone, took: Duration) -> Result<Preview> {
    let columns = columns::from_schema(&sample.batch.schema())?;
    let rows = preview::cells(&columns, &sample.batch)?;
    let counted = words::counted(columns.len().try_into().unwrap_or(i64::MAX), "column", "columns");
    let rows_words = extent(sample, details.report, rows.len());
    let calls = words::counted(i64::try_from(sample.calls).unwrap_or(i64::MAX), "API call", "API calls");
    let heads = columns.iter().map(|column| Column {
        name: column.name.clone(),
        kind: column.kind.word().to_owned(),
        meaning: details.report.column(&column.name).map(|declared| declared.meaning.to_owned()).unwrap_or_default(),
    });
    Ok(Preview {
        words: format!("{rows_words}, {counted}. {calls}, {:.1} seconds. Nothing was saved.", took.as_secs_f64()),
        problem: None,
        columns: heads.collect(),
        rows: rows.into_iter().map(|row| row.into_iter().map(|cell| Cell::new(cell, zone)).collect()).collect(),
        zone: zone_name.to_owned(),
        columns_words: counted,
    })
}

/// What the rows are of all there are: "All 12 rows", "Newest 50 of 2,140 rows", "50 rows from the newest 7 of 40 chats".
fn extent(sample: &Sample, report: &Report, shown: usize) -> String {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let shown = i64::try_from(shown).unwrap_or(i64::MAX);
    let rows = if shown == 0 { "No rows".to_owned() } else { words::counted(shown, "row", "rows") };
    let (noun, is_row) = match report.shape {
        Shape::Archive { records, rows } => (records, rows == RecordRows::Records),
        Shape::Export(rows) => ("chats", rows == ExportRows::Chats),
        _ => ("rows", true),
    };
    let of = |total: u64| words::counted(signed(total), noun.trim_end_matches('s'), noun);
    match sample.total {
        _ if sample.whole && shown == 0 && report.takes(Menu::StartDays) => "No rows in these days".to_owned(),
        _ if sample.whole && shown <= 1 => rows,
        _ if sample.whole => format!("All {rows}"),
        Some(total) if is_row && shown > 0 => format!("Newest {} of {}", words::grouped(shown), words::counted(signed(total), "row", "rows")),
        Some(total) if sample.records < total => format!("{rows} from the newest {} of {}", words::grouped(signed(sample.records)), of(total)),
        Some(total) => format!("First {rows} of {}", of(total)),
        None if shown == 0 => "No rows in this sample".to_owned(),
        None if sample.newest => format!("Newest {rows}"),
        None => format!("First {rows}"),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;

    use super::*;
    use crate::connectors::Connector;

    #[test]
    fn a_preview_never_tells_of_more_than_was_read() {
        let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let sample = |records, total, whole, newest| Sample { batch: batch.clone(), records, total, whole, newest, calls: 1 };
        for (report, sample, shown, words) in [
            ("chat", sample(50, Some(2_140), false, true), 50, "Newest 50 of 2,140 rows"),
            ("chat", sample(12, Some(12), true, true), 12, "All 12 rows"),
            ("chat", sample(0, Some(0), true, true), 0, "No rows in these days"),
            ("chat_messages", sample(7, Some(40), false, true), 50, "50 rows from the newest 7 of 40 chats"),
            ("chat_messages", sample(2, Some(2), false, true), 50, "First 50 rows of 2 chats"),
            ("chat_messages", sample(1, Some(1), false, true), 50, "First 50 rows of 1 chat"),
            ("chat_messages", sample(40, Some(40), true, true), 1, "1 row"),
            ("chat_goals", sample(50, Some(1_200), false, true), 0, "No rows from the newest 50 of 1,200 chats"),
            ("tickets", sample(50, Some(51), false, true), 50, "Newest 50 of 51 rows"),
            ("chat_report", sample(365, None, false, true), 50, "Newest 50 rows"),
            ("chat_report", sample(7, None, true, true), 7, "All 7 rows"),
            ("agents", sample(200, None, false, false), 50, "First 50 rows"),
            ("agents", sample(0, None, true, false), 0, "No rows"),
            ("chat_report", sample(0, None, false, true), 0, "No rows in this sample"),
        ] {
            assert_eq!(extent(&sample, Connector::LiveChat.report(report).unwrap(), shown), words, "{report}");
        }
    }
}
