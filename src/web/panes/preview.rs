//! Load Preview: reads the first rows for the Details pane from the vendor. Nothing of it is
//! stored.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use jiff::tz::TimeZone;

use super::FormContext;
use super::details::{self, Details};
use super::view::{Preview, PreviewColumn};
use crate::accounts::{Account, for_interactive_use, vendor_error, with_timeout};
use crate::connectors::report::{ExportRows, Menu, RecordRows, Report, Shape};
use crate::connectors::{self, PullError, Sample};
use crate::datasets::{columns, preview};
use crate::error::{ErrorKind, Result};
use crate::ids::UserId;
use crate::web::cells::CellView;
use crate::web::components::Band;
use crate::web::humanize::{self, signed};

/// The maximum number of rows in a preview.
const MAX_ROWS: usize = 50;
/// The time limit of a preview, because a person waits for the page.
const TIMEOUT: Duration = Duration::from_secs(45);

#[derive(Template)]
#[template(path = "panes/preview.html")]
pub struct PreviewFragment {
    pub preview: Preview,
}

/// The people who are loading a preview. Each person may load one at a time, because it uses the
/// vendor's calls. Cheap to clone.
#[derive(Clone, Default)]
pub struct PreviewLocks(Arc<Mutex<HashSet<UserId>>>);

/// Releases the lock when dropped.
struct PreviewLock(PreviewLocks, UserId);

impl PreviewLocks {
    fn try_lock(&self, user: &UserId) -> Option<PreviewLock> {
        let fresh = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(user.clone());
        fresh.then(|| PreviewLock(self.clone(), user.clone()))
    }
}

impl Drop for PreviewLock {
    fn drop(&mut self) {
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1);
    }
}

/// Reads the first rows. A vendor error becomes part of the preview, not an error of the request.
pub async fn load(
    f: &FormContext<'_>,
    preview_locks: &PreviewLocks,
    account: &Account,
    details: &Details,
    zone: (String, TimeZone),
) -> Result<Preview> {
    let Some(_preview_lock) = preview_locks.try_lock(&f.actor.user) else {
        return Ok(failed(
            "Another preview is still loading.",
            "Wait until it is done, then try again.",
        ));
    };
    let (zone_name, zone) = zone;
    let began = std::time::Instant::now();
    match read(f, account, details, &zone).await {
        Ok(sample) => {
            let took = began.elapsed();
            show(&sample, details, &zone_name, &zone, took)
        }
        Err(why) if matches!(why.kind(), ErrorKind::Internal | ErrorKind::NotFound) => Err(why),
        Err(why) => Ok(failed(
            why.message(),
            why.suggested_action().unwrap_or("Nothing was saved."),
        )),
    }
}

async fn read(
    f: &FormContext<'_>,
    account: &Account,
    details: &Details,
    zone: &TimeZone,
) -> Result<Sample> {
    let credentials_read_at = f.web.clock.now();
    let source = for_interactive_use(f.web.accounts.source(&account.id).await?);
    let upstream = source.upstream.clone();
    let range = details.menus.range(details::today(f, zone));
    let reading = connectors::sample(
        &source,
        details.report,
        &details.menus,
        zone,
        range,
        MAX_ROWS,
    );
    let read = with_timeout(&source, TIMEOUT, reading).await;
    f.web
        .accounts
        .save_vendor_hints(&account.id, &upstream)
        .await?;
    match read {
        Ok(Ok(sample)) => Ok(sample),
        Ok(Err(why)) => {
            if matches!(why, PullError::Unauthorized) {
                f.web
                    .accounts
                    .record_health(&account.id, Err(&why), credentials_read_at)
                    .await?;
            }
            Err(vendor_error(f.connector, &why))
        }
        Err(slow) => Err(slow),
    }
}

fn failed(happened: &str, next: &str) -> Preview {
    let problem = Band {
        tone: "bad".to_owned(),
        title: happened.to_owned(),
        text: next.to_owned(),
        actions: Vec::new(),
    };
    Preview {
        words: "The preview was not loaded.".to_owned(),
        problem: Some(problem),
        ..Preview::default()
    }
}

fn show(
    sample: &Sample,
    details: &Details,
    zone_name: &str,
    zone: &TimeZone,
    took: Duration,
) -> Result<Preview> {
    let columns = columns::from_schema(&sample.batch.schema())?;
    let rows = preview::cells(&columns, &sample.batch)?;
    let counted = humanize::counted(
        columns.len().try_into().unwrap_or(i64::MAX),
        "column",
        "columns",
    );
    let rows_words = row_count_text(sample, details.report, rows.len());
    let calls = humanize::counted(
        i64::try_from(sample.calls).unwrap_or(i64::MAX),
        "API call",
        "API calls",
    );
    let heads = columns.iter().map(|column| PreviewColumn {
        name: column.name.clone(),
        kind: column.kind.word().to_owned(),
        meaning: details
            .report
            .column(&column.name)
            .map(|declared| declared.meaning.to_owned())
            .unwrap_or_default(),
    });
    Ok(Preview {
        words: format!(
            "{rows_words}, {counted}. {calls}, {:.1} seconds. Nothing was saved.",
            took.as_secs_f64()
        ),
        problem: None,
        columns: heads.collect(),
        rows: rows
            .into_iter()
            .map(|row| {
                row.into_iter()
                    .map(|cell| CellView::new(cell, zone))
                    .collect()
            })
            .collect(),
        zone: zone_name.to_owned(),
        columns_words: counted,
    })
}

/// How many rows of the total are shown: "All 12 rows", "Newest 50 of 2,140 rows", "50 rows from
/// the newest 7 of 40 chats".
fn row_count_text(sample: &Sample, report: &Report, shown: usize) -> String {
    let shown = i64::try_from(shown).unwrap_or(i64::MAX);
    let rows = if shown == 0 {
        "No rows".to_owned()
    } else {
        humanize::counted(shown, "row", "rows")
    };
    let (noun, is_row) = match report.shape {
        Shape::Archive { records, rows } => (records, rows == RecordRows::Records),
        Shape::Export(rows) => ("chats", rows == ExportRows::Chats),
        _ => ("rows", true),
    };
    let of = |total: u64| humanize::counted(signed(total), noun.trim_end_matches('s'), noun);
    match sample.total {
        _ if sample.is_complete && shown == 0 && report.takes(Menu::StartDays) => {
            "No rows in these days".to_owned()
        }
        _ if sample.is_complete && shown <= 1 => rows,
        _ if sample.is_complete => format!("All {rows}"),
        Some(total) if is_row && shown > 0 => format!(
            "Newest {} of {}",
            humanize::grouped(shown),
            humanize::counted(signed(total), "row", "rows")
        ),
        Some(total) if sample.records < total => format!(
            "{rows} from the newest {} of {}",
            humanize::grouped(signed(sample.records)),
            of(total)
        ),
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
    fn a_preview_never_claims_more_rows_than_were_read() {
        let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let sample = |records, total, is_complete, newest| Sample {
            batch: batch.clone(),
            records,
            total,
            is_complete,
            newest,
            calls: 1,
        };
        for (report, sample, shown, words) in [
            (
                "chat",
                sample(50, Some(2_140), false, true),
                50,
                "Newest 50 of 2,140 rows",
            ),
            ("chat", sample(12, Some(12), true, true), 12, "All 12 rows"),
            (
                "chat",
                sample(0, Some(0), true, true),
                0,
                "No rows in these days",
            ),
            (
                "chat_messages",
                sample(7, Some(40), false, true),
                50,
                "50 rows from the newest 7 of 40 chats",
            ),
            (
                "chat_messages",
                sample(2, Some(2), false, true),
                50,
                "First 50 rows of 2 chats",
            ),
            (
                "chat_messages",
                sample(1, Some(1), false, true),
                50,
                "First 50 rows of 1 chat",
            ),
            (
                "chat_messages",
                sample(40, Some(40), true, true),
                1,
                "1 row",
            ),
            (
                "chat_goals",
                sample(50, Some(1_200), false, true),
                0,
                "No rows from the newest 50 of 1,200 chats",
            ),
            (
                "tickets",
                sample(50, Some(51), false, true),
                50,
                "Newest 50 of 51 rows",
            ),
            (
                "chat_report",
                sample(365, None, false, true),
                50,
                "Newest 50 rows",
            ),
            ("chat_report", sample(7, None, true, true), 7, "All 7 rows"),
            (
                "agents",
                sample(200, None, false, false),
                50,
                "First 50 rows",
            ),
            ("agents", sample(0, None, true, false), 0, "No rows"),
            (
                "chat_report",
                sample(0, None, false, true),
                0,
                "No rows in this sample",
            ),
        ] {
            assert_eq!(
                row_count_text(&sample, Connector::LiveChat.report(report).unwrap(), shown),
                words,
                "{report}"
            );
        }
    }
}
