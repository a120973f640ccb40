//! The frame of a DataSet's tabs: name, status, facts, Run Now, downloads.

use jiff::tz::TimeZone;

use super::dataset_integrity::damage_band;
use super::dataset_schedule::{act_of, next_of};
use super::dataset_status::Glance;
use super::dataset_upkeep::next_words;
use super::run_live::Live;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::datasets::{Current, Dataset};
use crate::error::Result;
use crate::ids::DatasetId;
use crate::puller::run::{Run, Trigger};
use crate::puller::{queue, schedules};
use crate::web::Web;
use crate::web::parts::{Band, Status, When};
use crate::web::words;

/// So many of the newest runs are looked at.
pub const LATEST: i64 = 30;

/// The most rows of a sheet in Excel and in LibreOffice, the row of headings among them.
const SHEET_ROWS: i64 = 1_048_576;

/// See `templates/pages/dataset.html`.
pub struct DatasetHead {
    pub id: String,
    pub name: String,
    pub monogram: String,
    pub description: String,
    pub status: Status,
    pub updated: When,
    pub size: String,
    pub next: String,
    /// pause, resume or nothing.
    pub schedule_act: &'static str,
    pub owner: String,
    pub owner_initials: String,
    pub tab: String,
    pub can_run: bool,
    pub mine: bool,
    pub running: bool,
    /// The run that is under way; empty when none is.
    pub run_id: String,
    pub csv_href: String,
    pub excel_href: String,
    pub sheet_rows: String,
    /// That a spreadsheet does not hold all rows; empty when it does.
    pub excel_note: String,
    /// What is damaged, and what heals it.
    pub damage: Option<Band>,
}

/// A DataSet on its way to a tab.
pub struct Opened {
    pub dataset: Dataset,
    pub head: DatasetHead,
    /// The newest runs, newest first, at most `LATEST`.
    pub runs: Vec<Run>,
    /// As `runs`, without the chunks of backfills that are over.
    pub pulls: Vec<Run>,
    pub glance: Glance,
    pub live: Option<Live>,
    pub zone: TimeZone,
    pub now: Millis,
}

/// Opens a DataSet for a tab (overview, data, history, settings), if this person may see it.
pub async fn open(web: &Web, actor: &Actor, id: &DatasetId, tab: &str) -> Result<Opened> {
    let dataset = web.datasets.get(actor, id).await?;
    let mut runs: Vec<Run> = queue::of_dataset(&web.db, id, 0, LATEST).await?.into_iter().map(|run| run.seen_with(&dataset)).collect();
    if let Some(newest) = runs.first_mut() {
        newest.waits_for = web.puller.waits_for(newest).await?;
    }
    let (zone, now) = (zone_of(&dataset), web.clock.now());
    let pulls: Vec<Run> = queue::lately(&web.db, id, LATEST).await?.into_iter().map(|run| run.seen_with(&dataset)).collect();
    let mut glance = Glance::of_runs(&pulls);
    if glance.failed_in_a_row >= LATEST as usize / 2 {
        (glance.failed_in_a_row, glance.failing_since) = web.datasets.failing(id).await?;
    }
    let live = runs.iter().take(3).find(|run| !run.state.is_final()).map(|run| {
        let progress = web.puller.live.now(&run.id);
        Live::new(run, &dataset, progress.as_ref(), now, &zone, dataset.is_run_by(actor))
    });
    let mut head = head(&dataset, &glance, tab, actor, now, &zone);
    head.damage = damage_band(web, &dataset, head.mine, head.can_run, now, &zone).await?;
    // A person's run goes before the chunks of a backfill, so it may be asked for beside one.
    head.running = runs.iter().take(2).any(|run| !run.state.is_final() && run.trigger != Trigger::Backfill);
    Ok(Opened { dataset, head, runs, pulls, glance, live, zone, now })
}

fn head(dataset: &Dataset, glance: &Glance, tab: &str, actor: &Actor, now: Millis, zone: &TimeZone) -> DatasetHead {
    let size = dataset.current.as_ref().map_or_else(
        || "no rows yet".to_owned(),
        |c| format!("{}, {}", words::counted(c.rows, "row", "rows"), words::counted(i64::try_from(c.columns).unwrap_or(0), "column", "columns")),
    );
    let (csv_href, excel_href) = downloads(dataset);
    DatasetHead {
        id: dataset.id.to_string(),
        name: dataset.name.clone(),
        monogram: dataset.connector.monogram().to_owned(),
        description: dataset.description.clone(),
        status: glance.status(dataset, None, now, zone),
        updated: When::maybe(dataset.current.as_ref().map(Current::updated_at), now, zone),
        size,
        next: next_words(dataset, now, zone).map(|words| zoned(dataset, words)).unwrap_or_else(|| next_of(dataset, now, zone)),
        schedule_act: act_of(dataset),
        owner: dataset.owner_name.clone(),
        owner_initials: words::initials(&dataset.owner_name),
        tab: tab.to_owned(),
        can_run: dataset.is_run_by(actor) && dataset.account_id.is_some(),
        mine: dataset.is_changed_by(actor),
        running: glance.alive().is_some(),
        run_id: glance.alive().map(ToString::to_string).unwrap_or_default(),
        csv_href,
        excel_href,
        sheet_rows: words::grouped(SHEET_ROWS),
        excel_note: dataset.current.as_ref().map_or_else(String::new, |current| excel_note(current.rows)),
        damage: None,
    }
}

/// With the name of the zone behind a clock time.
fn zoned(dataset: &Dataset, words: String) -> String {
    if dataset.upkeep.retry_at.is_some() { format!("{words} {}", dataset.time_zone) } else { words }
}

/// The addresses of the two downloads; empty before the first version.
pub fn downloads(dataset: &Dataset) -> (String, String) {
    if dataset.current.is_none() {
        return (String::new(), String::new());
    }
    let csv = format!("/datasets/{}/download", dataset.id);
    let excel = format!("{csv}?bom=1&formulas=guard");
    (csv, excel)
}

/// What a spreadsheet would cut off of so many rows; empty when it holds them all.
fn excel_note(rows: i64) -> String {
    let cut = rows + 1 - SHEET_ROWS;
    if cut <= 0 {
        String::new()
    } else {
        format!("Excel cuts off the last {} of {}. Use CSV for all rows.", words::grouped(cut), words::counted(rows, "row", "rows"))
    }
}

/// The zone in which a DataSet's days begin.
pub fn zone_of(dataset: &Dataset) -> TimeZone {
    schedules::zone(&dataset.time_zone).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_that_is_too_small_is_told_before_the_download() {
        assert_eq!(excel_note(0), "");
        assert_eq!(excel_note(SHEET_ROWS - 1), "", "with its headings that is a full sheet");
        assert_eq!(excel_note(SHEET_ROWS), "Excel cuts off the last 1 of 1,048,576 rows. Use CSV for all rows.");
        assert_eq!(excel_note(1_183_790), "Excel cuts off the last 135,215 of 1,183,790 rows. Use CSV for all rows.");
    }
}
