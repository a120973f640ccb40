//! The Scheduling pane: schedule, time zone, next runs and update method. The fields of the
//! schedule are in `schedule_fields.rs`, their validation in `schedule_parse.rs`.

use askama::Template;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::form_fields::FormFields;
use super::schedule_view::ScheduleView;
use super::update_method::{self, UpdateMethod};
use super::view::{NextRun, Wizard};
use super::{FormContext, schedule_parse};
use crate::clock::Millis;
use crate::datasets::schedule_state::StoredSchedule;
use crate::error::{Error, Result};
use crate::puller::schedules::{self, Occurrence, Schedule, cron};
use crate::web::components::Choice;
use crate::web::humanize;

/// The number of next runs that are listed.
const NEXT_RUNS: usize = 10;

/// The validated values of the pane.
#[derive(Clone, Debug)]
pub struct Scheduling {
    pub zone_name: String,
    pub schedule: Schedule,
    pub update: UpdateMethod,
}

/// The next runs, also rendered alone while a person edits the schedule.
#[derive(Clone, Debug, Default)]
pub struct NextRuns {
    pub words: String,
    /// The same schedule as a cron expression, or empty.
    pub cron: String,
    pub zone: String,
    pub next_runs: Vec<NextRun>,
    pub next_note: String,
    /// Warnings about the update method.
    pub warnings: Vec<String>,
}

#[derive(Template)]
#[template(path = "panes/next_runs.html")]
pub struct NextRunsFragment {
    pub w: NextRuns,
}

/// Validates the pane. All errors are reported together.
pub fn read(f: &FormContext<'_>, typed: &FormFields) -> Result<Scheduling> {
    let mut wrong = Vec::new();
    let when =
        read_schedule(f, typed).map_err(|why| wrong.extend(why.field_errors().iter().cloned()));
    let update = update_method::read(f, typed).map_err(|mut why| wrong.append(&mut why));
    let (Ok((zone_name, schedule)), Ok(update)) = (when, update) else {
        return Err(Error::fields(wrong));
    };
    Ok(Scheduling {
        zone_name,
        schedule,
        update,
    })
}

/// Validates the schedule and the time zone.
fn read_schedule(f: &FormContext<'_>, typed: &FormFields) -> Result<(String, Schedule)> {
    let mut wrong = Vec::new();
    let zone_name = if typed.time_zone.is_empty() {
        "UTC".to_owned()
    } else {
        typed.time_zone.clone()
    };
    let zone = schedules::zone(&zone_name);
    if let Err(why) = &zone {
        wrong.extend(why.field_errors().iter().cloned());
    }
    let now = f.web.clock.now();
    let plan = schedule_parse::plan(
        &typed.schedule,
        zone.as_ref().unwrap_or(&TimeZone::UTC),
        now,
    );
    if let Err(all) = &plan {
        wrong.extend(
            all.iter()
                .map(|(field, why)| ((*field).to_owned(), why.clone())),
        );
    }
    let (Ok(_), Ok(plan)) = (zone, plan) else {
        return Err(Error::fields(wrong));
    };
    let schedule = Schedule::new(plan, &zone_name)
        .and_then(|schedule| schedule.validate(now, f.web.puller.min_interval_minutes));
    let schedule = schedule
        .map_err(|why| Error::field(schedule_parse::main_field(&typed.schedule), why.message()))?;
    Ok((zone_name, schedule))
}

/// The summary: "Every day at 09:00, Europe/Oslo, Replace".
pub fn summary(scheduling: &Scheduling) -> String {
    let when = if scheduling.schedule.plan().is_manual() {
        "Manually".to_owned()
    } else {
        scheduling.schedule.in_words()
    };
    format!("{when}, {}", scheduling.update.mode.title())
}

/// The next runs of the schedule as entered, even if other fields are invalid.
pub fn next_runs(f: &FormContext<'_>, typed: &FormFields) -> NextRuns {
    let now = f.web.clock.now();
    let warnings = update_method::read(f, typed)
        .map(|update| update.warnings)
        .unwrap_or_default();
    let (zone, schedule) = match read_schedule(f, typed) {
        Ok(when) => when,
        Err(why) => {
            return NextRuns {
                next_note: why.message().to_owned(),
                warnings,
                ..NextRuns::default()
            };
        }
    };
    if schedule.plan().is_manual() {
        return NextRuns {
            zone,
            next_note: "None. This DataSet runs manually.".to_owned(),
            warnings,
            ..NextRuns::default()
        };
    }
    let coming = schedule.next(now, NEXT_RUNS);
    let this_year = crate::clock::timestamp(now)
        .to_zoned(schedule.zone().clone())
        .year();
    let first = coming
        .first()
        .map(|next| {
            humanize::calendar_time(next.at.timestamp().as_millisecond(), now, schedule.zone())
        })
        .unwrap_or_default();
    NextRuns {
        words: sentence(&schedule, &first, now),
        cron: schedule
            .calendar()
            .and_then(|calendar| cron::line(&calendar))
            .unwrap_or_default(),
        zone,
        next_runs: coming
            .iter()
            .map(|next| next_run(next, this_year))
            .collect(),
        next_note: String::new(),
        warnings,
    }
}

fn sentence(schedule: &Schedule, first: &str, now: Millis) -> String {
    let when = schedule.phrase();
    if schedule.zone_name() == "UTC" {
        return format!("Runs {when}, UTC. Next run: {first}.");
    }
    let seasons = if has_clock_changes(schedule.zone(), now) {
        " (adjusts for daylight saving)"
    } else {
        ""
    };
    format!(
        "Runs {when}, {}{seasons}. Next run: {first}.",
        schedule.zone_name()
    )
}

/// Whether this time zone has clock changes within the coming year.
fn has_clock_changes(zone: &TimeZone, now: Millis) -> bool {
    let now = crate::clock::timestamp(now);
    zone.following(now)
        .next()
        .is_some_and(|change| change.timestamp().as_second() - now.as_second() < 366 * 86_400)
}

fn next_run(next: &Occurrence, this_year: i16) -> NextRun {
    let time = next.at.strftime("%H:%M").to_string();
    NextRun {
        day: next
            .at
            .strftime(if next.at.year() == this_year {
                "%a %-d %b"
            } else {
                "%a %-d %b %Y"
            })
            .to_string(),
        offset: next.at.strftime("%:z").to_string(),
        note: next
            .clock_change
            .as_ref()
            .map_or_else(String::new, |clock_change| {
                schedules::describe::describe_clock_change(clock_change, &time)
            }),
        time,
    }
}

/// Renders the pane into the wizard.
pub fn render(w: &mut Wizard, f: &FormContext<'_>, typed: &FormFields) {
    let next = next_runs(f, typed);
    (w.words, w.cron, w.next_runs, w.next_note, w.warnings) = (
        next.words,
        next.cron,
        next.next_runs,
        next.next_note,
        next.warnings,
    );
    // The sentence is already next to its field.
    if w.errors
        .0
        .iter()
        .any(|(_, sentence)| *sentence == w.next_note)
    {
        w.next_note = "Correct the schedule to see the next runs.".to_owned();
    }
    update_method::render(w, f, typed);
    w.zones = zone_choices(&typed.time_zone);
    w.schedule = ScheduleView::new(typed.schedule.clone());
}

/// All time zones. While none is chosen, the first entry has no value; a script then selects the
/// browser's zone.
fn zone_choices(chosen: &str) -> Vec<Choice> {
    let mut zones = Vec::new();
    if chosen.is_empty() {
        zones.push(Choice {
            value: String::new(),
            label: "UTC (default)".to_owned(),
            selected: true,
        });
    }
    zones.extend(schedules::zone_names().into_iter().map(|name| Choice {
        selected: name == chosen,
        value: name.clone(),
        label: name,
    }));
    if !chosen.is_empty() && !zones.iter().any(|zone| zone.selected) {
        zones.push(Choice {
            value: chosen.to_owned(),
            label: chosen.to_owned(),
            selected: true,
        });
    }
    zones
}

/// The schedule in the form in which it is stored.
pub fn planned(scheduling: &Scheduling, now: Timestamp) -> Option<StoredSchedule> {
    scheduling.schedule.to_stored(now.as_millisecond())
}
