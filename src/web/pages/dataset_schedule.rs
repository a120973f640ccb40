//! Texts about the schedule of a DataSet: the tile, the banners, and the actions pause and resume.

use axum::extract::State;
use jiff::tz::TimeZone;

use super::dataset_overview::Tile;
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::ids::DatasetId;
use crate::puller::scheduler::clock_error;
use crate::puller::schedules::{Schedule, describe::capitalize_first};
use crate::web::Web;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Action, Band};
use crate::web::humanize;
use crate::web::page::{PageResult, redirect};
use crate::web::person::Person;
use crate::web::query::PathId;

/// `POST /datasets/{id}/pause`
pub async fn pause(
    State(web): State<Web>,
    person: Person,
    address: ClientAddress,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    web.puller.pause(person.audit_actor(address), &id).await?;
    web.flash(
        &person.session,
        "Schedule paused. Run now still works. A run in progress continues.",
    )
    .await;
    redirect(&format!("/datasets/{id}"))
}

/// `POST /datasets/{id}/resume`
pub async fn resume(
    State(web): State<Web>,
    person: Person,
    address: ClientAddress,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let dataset = web.puller.resume(person.audit_actor(address), &id).await?;
    let zone = super::dataset::zone_of(&dataset);
    let next = dataset.next_run_at.map_or_else(String::new, |at| {
        format!(
            " Next run {}.",
            humanize::calendar_time(at, web.clock.now(), &zone)
        )
    });
    web.flash(&person.session, &format!("Schedule resumed.{next}"))
        .await;
    redirect(&format!("/datasets/{id}"))
}

/// The possible action, `pause` or `resume`; empty without a schedule.
pub fn schedule_action(dataset: &Dataset) -> &'static str {
    match (&dataset.schedule_state.paused, &dataset.schedule) {
        (Some(_), _) => "resume",
        (None, Some(_)) => "pause",
        (None, None) => "",
    }
}

/// The next run in words: "Next today 18:00 Europe/Oslo", "Schedule paused", "Not scheduled".
pub fn next_run_text(dataset: &Dataset, now: Millis, zone: &TimeZone) -> String {
    match (dataset.next_run_at, &dataset.schedule_state) {
        (_, timing) if timing.paused.is_some() => "Schedule paused".to_owned(),
        (_, timing) if timing.problem.is_some() => "Schedule cannot be used".to_owned(),
        (Some(at), _) => format!(
            "Next {} {}",
            humanize::calendar_time(at, now, zone),
            dataset.time_zone
        ),
        (None, _) => "Not scheduled".to_owned(),
    }
}

/// Who paused the schedule: "by Maren Aasen, 20 Nov 12:00".
pub fn paused_by_text(dataset: &Dataset, now: Millis, zone: &TimeZone) -> Option<String> {
    let paused = dataset.schedule_state.paused.as_ref()?;
    let by = paused.by.as_deref().unwrap_or("an unknown person");
    Some(format!(
        "by {by}, {}",
        humanize::short(paused.at, now, zone)
    ))
}

/// Since when the reminder of a manually run DataSet is due.
pub fn reminder_due(dataset: &Dataset, now: Millis) -> Option<Millis> {
    if dataset.schedule.is_some() || dataset.schedule_state.plan.is_none() {
        return None;
    }
    let hours = Schedule::of(dataset).ok()?.plan().remind_after()?;
    let last = dataset
        .policies
        .last_success_at
        .unwrap_or(dataset.created_at);
    let due = last + i64::from(hours) * 3_600_000;
    (due <= now).then_some(due)
}

/// The banners about the schedule. `mine`: the person may change it.
pub fn bands(dataset: &Dataset, mine: bool, now: Millis, zone: &TimeZone) -> Vec<Band> {
    let band = |tone: &str, title: String, text: String, action: Option<(&str, &str, bool)>| {
        let to = |(label, end, post): (&str, &str, bool)| Action {
            label: label.to_owned(),
            href: format!("/datasets/{}/{end}", dataset.id),
            primary: true,
            post,
        };
        Band {
            tone: tone.to_owned(),
            title,
            text,
            actions: action.filter(|_| mine).map(to).into_iter().collect(),
        }
    };
    let mut all: Vec<Band> = clock_band(now).into_iter().collect();
    let timing = &dataset.schedule_state;
    if let Some(by) = paused_by_text(dataset, now, zone) {
        let text = "Scheduled runs start again after the owner or an admin resumes it. \
                    The existing rows are unchanged."
            .to_owned();
        all.push(band(
            "info",
            format!("The schedule was paused {by}."),
            text,
            Some(("Resume", "resume", true)),
        ));
    }
    if let Some(problem) = &timing.problem {
        let text = format!(
            "{problem} The owner or an admin must save the schedule again in Settings. \
             Other DataSets are not affected."
        );
        all.push(band(
            "warn",
            "The schedule of this DataSet cannot be used.".to_owned(),
            text,
            Some(("Settings", "settings", false)),
        ));
    }
    if timing.missed > 0 {
        let title = format!(
            "{} missed and skipped.",
            humanize::counted(timing.missed, "run was", "runs were")
        );
        let text = "The server was not running, its clock was set forward, \
                    or another run was still in progress. \
                    The next scheduled run updates the rows. Run now updates them at once.";
        all.push(band("info", title, text.to_owned(), None));
    }
    if let Some(due) = reminder_due(dataset, now) {
        let title = format!(
            "A new run has been due since {}.",
            humanize::short(due, now, zone)
        );
        all.push(band(
            "warn",
            title,
            "This DataSet runs manually. Its rows are older than its reminder allows.".to_owned(),
            Some(("Run now", "run", true)),
        ));
    }
    all
}

/// The banner about an implausible system clock.
pub fn clock_band(now: Millis) -> Option<Band> {
    let text = "The server administrator must set the clock. Run now still works.";
    clock_error(now).map(|title| Band {
        tone: "bad".to_owned(),
        title,
        text: text.to_owned(),
        actions: Vec::new(),
    })
}

/// The tile of the schedule, with two lines.
pub(super) fn schedule_tile(dataset: &Dataset, now: Millis, zone: &TimeZone) -> Tile {
    if let Some(by) = paused_by_text(dataset, now, zone) {
        return Tile::new("Schedule", "Paused", by);
    }
    let Ok(schedule) = Schedule::of(dataset) else {
        return Tile::new("Schedule", "Not readable", "save it again in Settings");
    };
    if schedule.plan().is_manual() {
        return Tile::new("Schedule", "Manual", "start with Run now");
    }
    let phrase = capitalize_first(&schedule.phrase());
    let (value, rest) = match phrase
        .split_once(" at ")
        .or_else(|| phrase.split_once(", "))
    {
        Some((value, rest)) => (value.to_owned(), format!("{rest} ")),
        None => (phrase, String::new()),
    };
    Tile::new(
        "Schedule",
        value
            .trim_end_matches(',')
            .replace("Monday to Friday", "Weekdays"),
        format!("{rest}{}", dataset.time_zone),
    )
}
