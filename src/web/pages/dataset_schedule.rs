//! What pages say of a DataSet's schedule: the tile, the bands, and the two acts, pause and resume.

use axum::extract::State;
use jiff::tz::TimeZone;

use super::dataset_overview::Tile;
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::ids::DatasetId;
use crate::puller::scheduler::clock_trouble;
use crate::puller::schedules::{Schedule, words::begun};
use crate::web::Web;
use crate::web::asked::Id;
use crate::web::client_address::ClientAddress;
use crate::web::page::{Answer, go};
use crate::web::parts::{Action, Band};
use crate::web::person::Person;
use crate::web::words;

/// `POST /datasets/{id}/pause`
pub async fn pause(State(web): State<Web>, person: Person, address: ClientAddress, Id(id): Id<DatasetId>) -> Answer {
    web.puller.pause(person.by(address), &id).await?;
    web.say_next(&person.session, "Schedule paused. Run now still works. A run in progress continues.").await;
    go(&format!("/datasets/{id}"))
}

/// `POST /datasets/{id}/resume`
pub async fn resume(State(web): State<Web>, person: Person, address: ClientAddress, Id(id): Id<DatasetId>) -> Answer {
    let dataset = web.puller.resume(person.by(address), &id).await?;
    let zone = super::dataset::zone_of(&dataset);
    let next = dataset.next_run_at.map_or_else(String::new, |at| format!(" Next run {}.", words::coming(at, web.clock.now(), &zone)));
    web.say_next(&person.session, &format!("Schedule resumed.{next}")).await;
    go(&format!("/datasets/{id}"))
}

/// `pause` or `resume`, what can be done now; empty where there is no schedule.
pub fn act_of(dataset: &Dataset) -> &'static str {
    match (&dataset.timing.paused, &dataset.schedule) {
        (Some(_), _) => "resume",
        (None, Some(_)) => "pause",
        (None, None) => "",
    }
}

/// "Next today 18:00 Europe/Oslo", "Schedule paused", "Not scheduled"
pub fn next_of(dataset: &Dataset, now: Millis, zone: &TimeZone) -> String {
    match (dataset.next_run_at, &dataset.timing) {
        (_, timing) if timing.paused.is_some() => "Schedule paused".to_owned(),
        (_, timing) if timing.problem.is_some() => "Schedule cannot be used".to_owned(),
        (Some(at), _) => format!("Next {} {}", words::coming(at, now, zone), dataset.time_zone),
        (None, _) => "Not scheduled".to_owned(),
    }
}

/// "by Maren Aasen, 20 Nov 12:00"
pub fn paused_by(dataset: &Dataset, now: Millis, zone: &TimeZone) -> Option<String> {
    let paused = dataset.timing.paused.as_ref()?;
    let by = paused.by.as_deref().unwrap_or("an unknown person");
    Some(format!("by {by}, {}", words::short(paused.at, now, zone)))
}

/// Since when a DataSet that is run by hand is older than its reminder allows.
pub fn reminder_due(dataset: &Dataset, now: Millis) -> Option<Millis> {
    if dataset.schedule.is_some() || dataset.timing.plan.is_none() {
        return None;
    }
    let hours = Schedule::of(dataset).ok()?.plan().remind_after()?;
    let last = dataset.upkeep.last_success_at.unwrap_or(dataset.created_at);
    let due = last + i64::from(hours) * 3_600_000;
    (due <= now).then_some(due)
}

/// What somebody should know of the schedule. `mine`: may change it.
pub fn bands(dataset: &Dataset, mine: bool, now: Millis, zone: &TimeZone) -> Vec<Band> {
    let band = |tone: &str, title: String, text: String, action: Option<(&str, &str, bool)>| {
        let to =
            |(label, end, post): (&str, &str, bool)| Action { label: label.to_owned(), href: format!("/datasets/{}/{end}", dataset.id), primary: true, post };
        Band { tone: tone.to_owned(), title, text, actions: action.filter(|_| mine).map(to).into_iter().collect() }
    };
    let mut all: Vec<Band> = wrong_clock(now).into_iter().collect();
    let timing = &dataset.timing;
    if let Some(by) = paused_by(dataset, now, zone) {
        let text = "Scheduled runs start again after the owner or an admin resumes it. The existing rows are unchanged.".to_owned();
        all.push(band("info", format!("The schedule was paused {by}."), text, Some(("Resume", "resume", true))));
    }
    if let Some(problem) = &timing.problem {
        let text = format!("{problem} The owner or an admin must save the schedule again in Settings. Other DataSets are not affected.");
        all.push(band("warn", "The schedule of this DataSet cannot be used.".to_owned(), text, Some(("Settings", "settings", false))));
    }
    if timing.missed > 0 {
        let title = format!("{} missed and skipped.", words::counted(timing.missed, "run was", "runs were"));
        let text = "The server was not running, its clock was set forward, or another run was still in progress. \
             The next scheduled run updates the rows. Run now updates them at once.";
        all.push(band("info", title, text.to_owned(), None));
    }
    if let Some(due) = reminder_due(dataset, now) {
        let title = format!("A new run has been due since {}.", words::short(due, now, zone));
        all.push(band("warn", title, "This DataSet runs manually. Its rows are older than its reminder allows.".to_owned(), Some(("Run now", "run", true))));
    }
    all
}

/// The machine's clock shows a time that cannot be.
pub fn wrong_clock(now: Millis) -> Option<Band> {
    let text = "The server administrator must set the clock. Run now still works.";
    clock_trouble(now).map(|title| Band { tone: "bad".to_owned(), title, text: text.to_owned(), actions: Vec::new() })
}

/// The schedule in two lines.
pub(super) fn schedule_tile(dataset: &Dataset, now: Millis, zone: &TimeZone) -> Tile {
    if let Some(by) = paused_by(dataset, now, zone) {
        return Tile::new("Schedule", "Paused", by);
    }
    let Ok(schedule) = Schedule::of(dataset) else { return Tile::new("Schedule", "Not readable", "save it again in Settings") };
    if schedule.plan().is_manual() {
        return Tile::new("Schedule", "Manual", "start with Run now");
    }
    let phrase = begun(&schedule.phrase());
    let (value, rest) = match phrase.split_once(" at ").or_else(|| phrase.split_once(", ")) {
        Some((value, rest)) => (value.to_owned(), format!("{rest} ")),
        None => (phrase, String::new()),
    };
    Tile::new("Schedule", value.trim_end_matches(',').replace("Monday to Friday", "Weekdays"), format!("{rest}{}", dataset.time_zone))
}
