//! The coverage calendar of a DataSet, and the page of one day.

use askama::Template;
use axum::extract::State;
use jiff::ToSpan;
use jiff::civil::Date;

use super::calendar::{self, Calendar};
use super::completeness;
use super::dataset::{DatasetHeader, OpenedDataset, open_dataset};
use super::run_live::{self, LiveRun, days_of};
use crate::connectors::report::UpdateMode;
use crate::datasets::Dataset;
use crate::datasets::partial_pull::{PartialPull, has_days};
use crate::error::Error;
use crate::ids::DatasetId;
use crate::puller::coverage::{self, CoverageDay};
use crate::puller::queue;
use crate::web::Web;
use crate::web::components::{Chrome, DisplayTime, Status};
use crate::web::humanize::{self, grouped};
use crate::web::page::{PageResult, render};
use crate::web::person::Person;
use crate::web::query::{PageQuery, PathId, PathIds};

/// The number of months on one page.
const MONTHS_PER_PAGE: i64 = 12;

#[derive(Template)]
#[template(path = "pages/dataset_coverage.html")]
struct CoveragePage {
    chrome: Chrome,
    head: DatasetHeader,
    live: Option<LiveRun>,
    calendar: Calendar,
    zone: String,
    by_days: bool,
    can_backfill: bool,
    no_backfill_reason: String,
    older: String,
    newer: String,
}

#[derive(Template)]
#[template(path = "pages/dataset_day.html")]
struct DayPage {
    chrome: Chrome,
    id: String,
    name: String,
    title: String,
    day: String,
    status: Status,
    meaning: String,
    readings: Vec<DayReading>,
    /// The vendor's name for records, such as "Chats".
    records: String,
    vendor: &'static str,
    zone: String,
    can_run: bool,
    /// Whether the day can be pulled again without other days.
    alone: bool,
    /// Whether pulling the day again would duplicate its rows.
    adds: bool,
    merges: bool,
    running: bool,
}

struct DayReading {
    days: String,
    status: Status,
    records: String,
    of: String,
    when: DisplayTime,
    run_href: String,
    run: String,
    here: bool,
}

/// Why single days of this DataSet cannot be pulled; empty if they can.
pub fn no_backfill_reason(opened: &OpenedDataset) -> &'static str {
    if !has_days(opened.dataset.report) {
        "This report has no date range: each run pulls all of its rows."
    } else if !opened.dataset.setup().supports_single_days() {
        "This report always pulls its whole date range, because its rows are totals."
    } else if PartialPull::of(opened.dataset.update_mode) == PartialPull::Unsupported {
        "Backfill is not available with Replace: each run overwrites all rows. \
         The owner can choose Append, Merge or Partition in Settings."
    } else {
        ""
    }
}

/// `GET /datasets/{id}/coverage`
pub async fn show_coverage(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
    query: PageQuery,
) -> PageResult {
    let opened = open_dataset(&web, &person.actor, &id, "history").await?;
    let days = coverage::of_dataset(&web.db, &web.clock, &opened.dataset).await?;
    let no_backfill_reason = no_backfill_reason(&opened).to_owned();
    let until = format!("{}-01", query.get("until")).parse::<Date>().ok();
    let (months, older, newer) = calendar_page(&days, until, &opened.dataset);
    render(&CoveragePage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        calendar: months,
        zone: opened.dataset.time_zone.clone(),
        by_days: has_days(opened.dataset.report),
        can_backfill: no_backfill_reason.is_empty() && opened.head.can_run,
        no_backfill_reason,
        older,
        newer,
        head: opened.head,
        live: opened.live,
    })
}

/// The calendar of the twelve months that end with `until`, or with the last day, and the links to
/// the previous and the next year.
fn calendar_page(
    days: &[CoverageDay],
    until: Option<Date>,
    dataset: &Dataset,
) -> (Calendar, String, String) {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return (Calendar::default(), String::new(), String::new());
    };
    let end = until
        .unwrap_or(last.day)
        .clamp(first.day.first_of_month(), last.day)
        .last_of_month();
    let begin = end
        .first_of_month()
        .saturating_sub((MONTHS_PER_PAGE - 1).months())
        .max(first.day.first_of_month());
    let to = |day: Date| {
        format!(
            "/datasets/{}/coverage?until={}",
            dataset.id,
            day.strftime("%Y-%m")
        )
    };
    let older = if begin > first.day {
        to(begin.saturating_sub(1.day()))
    } else {
        String::new()
    };
    let newer = if end < last.day {
        to(end.saturating_add(MONTHS_PER_PAGE.months()).min(last.day))
    } else {
        String::new()
    };
    (Calendar::new(days, dataset, begin, end), older, newer)
}

/// The newest three months, for the History tab. `None` for a report without days.
pub fn recent_calendar(days: &[CoverageDay], dataset: &Dataset) -> Option<Calendar> {
    let (first, last) = (days.first()?, days.last()?);
    let begin = last
        .day
        .first_of_month()
        .saturating_sub(2.months())
        .max(first.day.first_of_month());
    Some(Calendar::new(days, dataset, begin, last.day))
}

/// `GET /datasets/{id}/days/{day}`
pub async fn show_day(
    State(web): State<Web>,
    person: Person,
    PathIds(id, day): PathIds<DatasetId, Date>,
) -> PageResult {
    let opened = open_dataset(&web, &person.actor, &id, "history").await?;
    let days = coverage::of_dataset(&web.db, &web.clock, &opened.dataset).await?;
    let known = days
        .into_iter()
        .find(|known| known.day == day)
        .ok_or_else(|| Error::not_found("day of this DataSet"))?;
    let mut readings = Vec::new();
    for line in coverage::of_day(&web.db, &id, day).await? {
        let Some(run) = queue::get(&web.db, &line.run).await? else {
            continue;
        };
        let status =
            completeness::status(line.completeness(), Status::new("", true, "Not pulled", ""));
        let count = |number: u64| grouped(i64::try_from(number).unwrap_or(i64::MAX));
        readings.push(DayReading {
            days: days_of(line.window),
            status,
            records: if line.done || line.short {
                count(line.counts.kept)
            } else {
                "–".to_owned()
            },
            of: line.counts.total.map_or_else(|| "–".to_owned(), count),
            when: DisplayTime::maybe(line.finished_at, opened.now, &opened.zone),
            run_href: format!("/runs/{}", run.id),
            run: format!(
                "{}, {}",
                humanize::short(
                    run.started_at.unwrap_or(run.queued_at),
                    opened.now,
                    &opened.zone
                ),
                run_live::status(&run).word.to_lowercase()
            ),
            here: known.run.as_ref() == Some(&line.run) && known.state.has_rows(),
        });
    }
    let parts = if opened.dataset.setup().supports_single_days() {
        PartialPull::of(opened.dataset.update_mode)
    } else {
        PartialPull::Unsupported
    };
    render(&DayPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        id: id.to_string(),
        name: opened.dataset.name.clone(),
        title: humanize::day(day),
        day: day.to_string(),
        status: calendar::status(known.state),
        meaning: humanize::capitalize(&calendar::meaning(
            known.state,
            opened.dataset.connector.title(),
        )),
        readings,
        records: humanize::capitalize(opened.dataset.report.records().1),
        vendor: opened.dataset.connector.title(),
        zone: opened.dataset.time_zone.clone(),
        can_run: opened.head.can_run,
        alone: parts == PartialPull::Replaces
            || (parts == PartialPull::Appends && !known.state.has_rows()),
        adds: parts == PartialPull::Appends && known.state.has_rows(),
        merges: opened.dataset.update_mode == UpdateMode::Merge,
        running: opened.head.running,
    })
}
