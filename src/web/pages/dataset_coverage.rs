//! Days held: the coverage calendar of a DataSet, and what is known of one of its days.

use askama::Template;
use axum::extract::State;
use jiff::ToSpan;
use jiff::civil::Date;

use super::calendar::{self, Calendar};
use super::completeness;
use super::dataset::{DatasetHead, Opened, open};
use super::run_live::{self, Live, days_of};
use crate::connectors::report::UpdateMode;
use crate::datasets::Dataset;
use crate::datasets::parts::{Parts, has_days};
use crate::error::Error;
use crate::ids::DatasetId;
use crate::puller::coverage::{self, Day};
use crate::puller::queue;
use crate::web::Web;
use crate::web::asked::{Asked, Id, Two};
use crate::web::page::{Answer, show};
use crate::web::parts::{Chrome, Status, When};
use crate::web::person::Person;
use crate::web::words::{self, grouped};

/// So many months stand on a page.
const MONTHS: i64 = 12;

#[derive(Template)]
#[template(path = "pages/dataset_coverage.html")]
struct Page {
    chrome: Chrome,
    head: DatasetHead,
    live: Option<Live>,
    calendar: Calendar,
    zone: String,
    by_days: bool,
    can_backfill: bool,
    why_not: String,
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
    readings: Vec<Reading>,
    /// What the vendor counts: "Chats".
    records: String,
    vendor: &'static str,
    zone: String,
    can_run: bool,
    alone: bool,
    adds: bool,
    merges: bool,
    running: bool,
}

struct Reading {
    days: String,
    status: Status,
    records: String,
    of: String,
    when: When,
    run_href: String,
    run: String,
    here: bool,
}

/// Why days of this DataSet cannot be pulled alone; empty when they can.
pub fn why_not(opened: &Opened) -> &'static str {
    if !has_days(opened.dataset.report) {
        "This report has no date range: each run pulls all of its rows."
    } else if !opened.dataset.setup().has_days_apart() {
        "This report always pulls its whole date range, because its rows are totals."
    } else if Parts::of(opened.dataset.update_mode) == Parts::Refused {
        "Backfill is not available with Replace: each run overwrites all rows. \
         The owner can choose Append, Merge or Partition in Settings."
    } else {
        ""
    }
}

/// `GET /datasets/{id}/coverage`
pub async fn show_coverage(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>, asked: Asked) -> Answer {
    let opened = open(&web, &person.actor, &id, "history").await?;
    let days = coverage::of_dataset(&web.db, &web.clock, &opened.dataset).await?;
    let why_not = why_not(&opened).to_owned();
    let until = format!("{}-01", asked.get("until")).parse::<Date>().ok();
    let (months, older, newer) = part(&days, until, &opened.dataset);
    show(&Page {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        calendar: months,
        zone: opened.dataset.time_zone.clone(),
        by_days: has_days(opened.dataset.report),
        can_backfill: why_not.is_empty() && opened.head.can_run,
        why_not,
        older,
        newer,
        head: opened.head,
        live: opened.live,
    })
}

/// A year of months that ends with `until`, or with the last day; and the addresses of the years beside it.
fn part(days: &[Day], until: Option<Date>, dataset: &Dataset) -> (Calendar, String, String) {
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return (Calendar::default(), String::new(), String::new()) };
    let end = until.unwrap_or(last.day).clamp(first.day.first_of_month(), last.day).last_of_month();
    let begin = end.first_of_month().saturating_sub((MONTHS - 1).months()).max(first.day.first_of_month());
    let to = |day: Date| format!("/datasets/{}/coverage?until={}", dataset.id, day.strftime("%Y-%m"));
    let older = if begin > first.day { to(begin.saturating_sub(1.day())) } else { String::new() };
    let newer = if end < last.day { to(end.saturating_add(MONTHS.months()).min(last.day)) } else { String::new() };
    (Calendar::new(days, dataset, begin, end), older, newer)
}

/// The newest three months, for the History tab; none for a report without days.
pub fn newest(days: &[Day], dataset: &Dataset) -> Option<Calendar> {
    let (first, last) = (days.first()?, days.last()?);
    let begin = last.day.first_of_month().saturating_sub(2.months()).max(first.day.first_of_month());
    Some(Calendar::new(days, dataset, begin, last.day))
}

/// `GET /datasets/{id}/days/{day}`
pub async fn show_day(State(web): State<Web>, person: Person, Two(id, day): Two<DatasetId, Date>) -> Answer {
    let opened = open(&web, &person.actor, &id, "history").await?;
    let days = coverage::of_dataset(&web.db, &web.clock, &opened.dataset).await?;
    let known = days.into_iter().find(|known| known.day == day).ok_or_else(|| Error::not_found("day of this DataSet"))?;
    let mut readings = Vec::new();
    for line in coverage::of_day(&web.db, &id, day).await? {
        let Some(run) = queue::get(&web.db, &line.run).await? else { continue };
        let status = completeness::status(line.completeness(), Status::new("", true, "Not read", ""));
        let count = |number: u64| grouped(i64::try_from(number).unwrap_or(i64::MAX));
        readings.push(Reading {
            days: days_of(line.window),
            status,
            records: if line.done || line.short { count(line.tally.kept) } else { "–".to_owned() },
            of: line.tally.total.map_or_else(|| "–".to_owned(), count),
            when: When::maybe(line.finished_at, opened.now, &opened.zone),
            run_href: format!("/runs/{}", run.id),
            run: format!("{}, {}", words::short(run.started_at.unwrap_or(run.queued_at), opened.now, &opened.zone), run_live::status(&run).word.to_lowercase()),
            here: known.run.as_ref() == Some(&line.run) && known.state.is_here(),
        });
    }
    let parts = if opened.dataset.setup().has_days_apart() { Parts::of(opened.dataset.update_mode) } else { Parts::Refused };
    show(&DayPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        id: id.to_string(),
        name: opened.dataset.name.clone(),
        title: words::day(day),
        day: day.to_string(),
        status: calendar::status(known.state),
        meaning: words::sentence(&calendar::meaning(known.state, opened.dataset.connector.title())),
        readings,
        records: words::sentence(opened.dataset.report.records().1),
        vendor: opened.dataset.connector.title(),
        zone: opened.dataset.time_zone.clone(),
        can_run: opened.head.can_run,
        alone: parts == Parts::Renewed || (parts == Parts::Added && !known.state.is_here()),
        adds: parts == Parts::Added && known.state.is_here(),
        merges: opened.dataset.update_mode == UpdateMode::Merge,
        running: opened.head.running,
    })
}
