//! Load Preview: the first rows of what the Details pane asks for, read from the vendor just now. Nothing of it is kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use jiff::tz::TimeZone;

use super::For;
use super::details::{self, Details};
use super::view::{Column, Preview};
use crate::accounts::{Account, vendor_error};
use crate::connectors::{self, PullError, Sample};
use crate::datasets::{columns, preview};
use crate::error::{Error, Kind, Result};
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
        return Ok(failed("Another preview of yours is still loading.", "Try again when it is done."));
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
    let source = f.web.accounts.source(&account.id).await?;
    let range = details.menus.range(details::today(f, zone));
    let reading = connectors::sample(&source, details.report, &details.menus, zone, range, ROWS);
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(sample)) => Ok(sample),
        Ok(Err(why)) => {
            if matches!(why, PullError::Unauthorized) {
                f.web.accounts.record_health(&account.id, Err(&why)).await?;
            }
            Err(vendor_error(f.connector, &why))
        }
        Err(_) => {
            Err(Error::new(Kind::Unavailable, "vendor_unavailable", format!("{} did not answer within {} seconds.", f.connector.title(), PATIENCE.as_secs()))
                .action("Try again in a moment."))
        }
    }
}

fn failed(happened: &str, next: &str) -> Preview {
    let problem = Band { tone: "bad".to_owned(), title: happened.to_owned(), text: next.to_owned(), actions: Vec::new() };
    Preview { words: "No rows came.".to_owned(), problem: Some(problem), ..Preview::default() }
}

fn show(sample: &Sample, details: &Details, zone_name: &str, zone: &TimeZone, took: Duration) -> Result<Preview> {
    let columns = columns::from_schema(&sample.batch.schema())?;
    let rows = preview::cells(&columns, &sample.batch)?;
    let counted = words::counted(columns.len().try_into().unwrap_or(i64::MAX), "column", "columns");
    let rows_words = match (rows.len(), sample.total) {
        (0, _) => "No rows in these days".to_owned(),
        (shown, Some(total)) if total > shown as u64 => {
            format!("First {shown} rows of {} records", words::grouped(i64::try_from(total).unwrap_or(i64::MAX)))
        }
        (shown, None) if shown == ROWS => format!("First {shown} rows"),
        (shown, _) => format!("All {}", words::counted(i64::try_from(shown).unwrap_or(i64::MAX), "row", "rows")),
    };
    let calls = words::counted(i64::try_from(sample.calls).unwrap_or(i64::MAX), "call", "calls");
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
