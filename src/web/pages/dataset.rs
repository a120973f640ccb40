//! The frame of the tabs of a DataSet: name, status, facts, Run Now, downloads.

use jiff::tz::TimeZone;

use super::dataset_integrity::damage_band;
use super::dataset_notifications::next_retry_text;
use super::dataset_schedule::{next_run_text, schedule_action};
use super::dataset_status::DatasetStatus;
use super::run_live::LiveRun;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::datasets::{CurrentVersion, Dataset};
use crate::error::Result;
use crate::ids::DatasetId;
use crate::puller::run::{Run, Trigger};
use crate::puller::{queue, schedules};
use crate::web::Web;
use crate::web::components::{Band, DisplayTime, Status};
use crate::web::humanize;

/// The number of newest runs that are read for the frame.
pub const RECENT_RUNS: i64 = 30;

/// The maximum number of rows of a sheet in Excel and LibreOffice, including the header row.
const SHEET_ROWS: i64 = 1_048_576;

/// The header above the tabs, for `templates/pages/dataset.html`.
pub struct DatasetHeader {
    pub id: String,
    pub name: String,
    pub monogram: String,
    pub description: String,
    pub status: Status,
    pub updated: DisplayTime,
    pub size: String,
    pub next: String,
    /// `pause`, `resume` or empty.
    pub schedule_action: &'static str,
    pub owner: String,
    pub owner_initials: String,
    pub tab: String,
    pub can_run: bool,
    pub mine: bool,
    pub running: bool,
    /// The id of the run in progress; empty if there is none.
    pub run_id: String,
    pub csv_href: String,
    pub excel_href: String,
    pub sheet_rows: String,
    /// A note that a spreadsheet cannot hold all rows; empty if it can.
    pub excel_note: String,
    /// The banner about damaged rows, with the way to fix them.
    pub damage: Option<Band>,
}

/// A DataSet that was loaded for one of its tabs.
pub struct OpenedDataset {
    pub dataset: Dataset,
    pub head: DatasetHeader,
    /// The newest runs, newest first, at most `RECENT_RUNS`.
    pub runs: Vec<Run>,
    /// Like `runs`, without finished runs of backfills.
    pub pulls: Vec<Run>,
    pub dataset_status: DatasetStatus,
    pub live: Option<LiveRun>,
    pub zone: TimeZone,
    pub now: Millis,
}

/// Loads a DataSet for a tab (overview, data, history, settings) if this person may see it.
pub async fn open_dataset(
    web: &Web,
    actor: &Actor,
    id: &DatasetId,
    tab: &str,
) -> Result<OpenedDataset> {
    let dataset = web.datasets.get(actor, id).await?;
    let mut runs: Vec<Run> = queue::of_dataset(&web.db, id, 0, RECENT_RUNS)
        .await?
        .into_iter()
        .map(|run| run.redacted_with(&dataset))
        .collect();
    if let Some(newest) = runs.first_mut() {
        newest.wait_reason = web.puller.wait_reason(newest).await?;
    }
    let (zone, now) = (zone_of(&dataset), web.clock.now());
    let pulls: Vec<Run> = queue::recent(&web.db, id, RECENT_RUNS)
        .await?
        .into_iter()
        .map(|run| run.redacted_with(&dataset))
        .collect();
    let mut dataset_status = DatasetStatus::from_runs(&pulls);
    if dataset_status.failed_in_a_row >= RECENT_RUNS as usize / 2 {
        (dataset_status.failed_in_a_row, dataset_status.failing_since) =
            web.datasets.failing(id).await?;
    }
    let live = runs
        .iter()
        .take(3)
        .find(|run| !run.state.is_final())
        .map(|run| {
            let progress = web.puller.live.current(&run.id);
            LiveRun::new(
                run,
                &dataset,
                progress.as_ref(),
                now,
                &zone,
                dataset.can_be_run_by(actor),
            )
        });
    let mut head = head(&dataset, &dataset_status, tab, actor, now, &zone);
    head.damage = damage_band(web, &dataset, head.mine, head.can_run, now, &zone).await?;
    // Two runs can be active: a manual run may be queued next to a run of a backfill.
    head.running = runs
        .iter()
        .take(2)
        .any(|run| !run.state.is_final() && run.trigger != Trigger::Backfill);
    Ok(OpenedDataset {
        dataset,
        head,
        runs,
        pulls,
        dataset_status,
        live,
        zone,
        now,
    })
}

fn head(
    dataset: &Dataset,
    dataset_status: &DatasetStatus,
    tab: &str,
    actor: &Actor,
    now: Millis,
    zone: &TimeZone,
) -> DatasetHeader {
    let size = dataset.current.as_ref().map_or_else(
        || "no rows yet".to_owned(),
        |c| {
            format!(
                "{}, {}",
                humanize::counted(c.rows, "row", "rows"),
                humanize::counted(i64::try_from(c.columns).unwrap_or(0), "column", "columns")
            )
        },
    );
    let (csv_href, excel_href) = downloads(dataset);
    DatasetHeader {
        id: dataset.id.to_string(),
        name: dataset.name.clone(),
        monogram: dataset.connector.monogram().to_owned(),
        description: dataset.description.clone(),
        status: dataset_status.status(dataset, None, now, zone),
        updated: DisplayTime::maybe(
            dataset.current.as_ref().map(CurrentVersion::updated_at),
            now,
            zone,
        ),
        size,
        next: next_retry_text(dataset, now, zone)
            .map(|words| with_zone(dataset, words))
            .unwrap_or_else(|| next_run_text(dataset, now, zone)),
        schedule_action: schedule_action(dataset),
        owner: dataset.owner_name.clone(),
        owner_initials: humanize::initials(&dataset.owner_name),
        tab: tab.to_owned(),
        can_run: dataset.can_be_run_by(actor) && dataset.account_id.is_some(),
        mine: dataset.can_be_changed_by(actor),
        running: dataset_status.active_run().is_some(),
        run_id: dataset_status
            .active_run()
            .map(ToString::to_string)
            .unwrap_or_default(),
        csv_href,
        excel_href,
        sheet_rows: humanize::grouped(SHEET_ROWS),
        excel_note: dataset
            .current
            .as_ref()
            .map_or_else(String::new, |current| excel_note(current.rows)),
        damage: None,
    }
}

/// Appends the name of the time zone to a clock time.
fn with_zone(dataset: &Dataset, words: String) -> String {
    if dataset.policies.retry_at.is_some() {
        format!("{words} {}", dataset.time_zone)
    } else {
        words
    }
}

/// The links of the two downloads; empty before the first version.
pub fn downloads(dataset: &Dataset) -> (String, String) {
    if dataset.current.is_none() {
        return (String::new(), String::new());
    }
    let csv = format!("/datasets/{}/download", dataset.id);
    let excel = format!("{csv}?bom=1&formulas=guard");
    (csv, excel)
}

/// The note that a spreadsheet would cut off rows; empty if it can hold all of them.
fn excel_note(rows: i64) -> String {
    let cut = rows + 1 - SHEET_ROWS;
    if cut <= 0 {
        String::new()
    } else {
        format!(
            "Excel cuts off the last {} of {}. Use CSV for all rows.",
            humanize::grouped(cut),
            humanize::counted(rows, "row", "rows")
        )
    }
}

/// The time zone of the DataSet's days.
pub fn zone_of(dataset: &Dataset) -> TimeZone {
    schedules::zone(&dataset.time_zone).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_too_large_for_a_spreadsheet_is_reported_before_the_download() {
        assert_eq!(excel_note(0), "");
        assert_eq!(
            excel_note(SHEET_ROWS - 1),
            "",
            "with its headings that is a full sheet"
        );
        assert_eq!(
            excel_note(SHEET_ROWS),
            "Excel cuts off the last 1 of 1,048,576 rows. Use CSV for all rows."
        );
        assert_eq!(
            excel_note(1_183_790),
            "Excel cuts off the last 135,215 of 1,183,790 rows. Use CSV for all rows."
        );
    }
}
