//! The Scheduling pane: when the DataSet is pulled, in which zone, what that means for the next runs, and the update method. The fields of
//! the schedule are in `when.rs`, what they mean in `when_read.rs`.

use askama::Template;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::typed::Typed;
use super::update_method::{self, UpdateMethod};
use super::view::{NextRun, Wizard};
use super::when::WhenView;
use super::{For, when_read};
use crate::clock::Millis;
use crate::datasets::timing::Planned;
use crate::error::{Error, Result};
use crate::puller::schedules::{self, Coming, Schedule, cron};
use crate::web::parts::Choice;
use crate::web::words;

/// How many of the next runs are written out.
const NEXT: usize = 10;

/// What the pane holds when everything in it is right.
#[derive(Clone, Debug)]
pub struct Scheduling {
    pub zone_name: String,
    pub schedule: Schedule,
    pub update: UpdateMethod,
}

/// The next runs, also served alone while somebody chooses.
#[derive(Clone, Debug, Default)]
pub struct NextRuns {
    pub words: String,
    /// The same as one cron line, or empty.
    pub cron: String,
    pub zone: String,
    pub next_runs: Vec<NextRun>,
    pub next_note: String,
    /// What somebody should know of the update method.
    pub warnings: Vec<String>,
}

#[derive(Template)]
#[template(path = "panes/next_runs.html")]
pub struct Fragment {
    pub w: NextRuns,
}

/// Reads the pane. All that is wrong in it is told at once.
pub fn read(f: &For<'_>, typed: &Typed) -> Result<Scheduling> {
    let mut wrong = Vec::new();
    let when = when(f, typed).map_err(|why| wrong.extend(why.field_errors().iter().cloned()));
    let update = update_method::read(f, typed).map_err(|mut why| wrong.append(&mut why));
    let (Ok((zone_name, schedule)), Ok(update)) = (when, update) else { return Err(Error::fields(wrong)) };
    Ok(Scheduling { zone_name, schedule, update })
}

/// Reads when it is pulled, and in which zone.
fn when(f: &For<'_>, typed: &Typed) -> Result<(String, Schedule)> {
    let mut wrong = Vec::new();
    let zone_name = if typed.time_zone.is_empty() { "UTC".to_owned() } else { typed.time_zone.clone() };
    let zone = schedules::zone(&zone_name);
    if let Err(why) = &zone {
        wrong.extend(why.field_errors().iter().cloned());
    }
    let now = f.web.clock.now();
    let plan = when_read::plan(&typed.when, zone.as_ref().unwrap_or(&TimeZone::UTC), now);
    if let Err(all) = &plan {
        wrong.extend(all.iter().map(|(field, why)| ((*field).to_owned(), why.clone())));
    }
    let (Ok(_), Ok(plan)) = (zone, plan) else { return Err(Error::fields(wrong)) };
    let schedule = Schedule::new(plan, &zone_name).and_then(|schedule| schedule.checked(now, f.web.puller.shortest_interval));
    let schedule = schedule.map_err(|why| Error::field(when_read::main_field(&typed.when), why.message()))?;
    Ok((zone_name, schedule))
}

/// "Every day at 09:00, Europe/Oslo, Replace"
pub fn summary(scheduling: &Scheduling) -> String {
    let when = if scheduling.schedule.plan().is_manual() { "Manually".to_owned() } else { scheduling.schedule.in_words() };
    format!("{when}, {}", scheduling.update.mode.title())
}

/// What the chosen schedule means from now on, whatever may be wrong with the rest of the pane.
pub fn next_runs(f: &For<'_>, typed: &Typed) -> NextRuns {
    let now = f.web.clock.now();
    let warnings = update_method::read(f, typed).map(|update| update.warnings).unwrap_or_default();
    let (zone, schedule) = match when(f, typed) {
        Ok(when) => when,
        Err(why) => return NextRuns { next_note: why.message().to_owned(), warnings, ..NextRuns::default() },
    };
    if schedule.plan().is_manual() {
        return NextRuns { zone, next_note: "None. This DataSet runs manually.".to_owned(), warnings, ..NextRuns::default() };
    }
    let coming = schedule.next(now, NEXT);
    let this_year = crate::clock::timestamp(now).to_zoned(schedule.zone().clone()).year();
    let first = coming.first().map(|next| words::coming(next.at.timestamp().as_millisecond(), now, schedule.zone())).unwrap_or_default();
    NextRuns {
        words: sentence(&schedule, &first, now),
        cron: schedule.calendar().and_then(|calendar| cron::line(&calendar)).unwrap_or_default(),
        zone,
        next_runs: coming.iter().map(|next| next_run(next, this_year)).collect(),
        next_note: String::new(),
        warnings,
    }
}

fn sentence(schedule: &Schedule, first: &str, now: Millis) -> String {
    let when = schedule.phrase();
    if schedule.zone_name() == "UTC" {
        return format!("Runs {when}, UTC. Next run: {first}.");
    }
    let seasons = if has_seasons(schedule.zone(), now) { " (adjusts for daylight saving)" } else { "" };
    format!("Runs {when}, {}{seasons}. Next run: {first}.", schedule.zone_name())
}

/// Whether the clocks of this zone change in the coming year.
fn has_seasons(zone: &TimeZone, now: Millis) -> bool {
    let now = crate::clock::timestamp(now);
    zone.following(now).next().is_some_and(|change| change.timestamp().as_second() - now.as_second() < 366 * 86_400)
}

fn next_run(next: &Coming, this_year: i16) -> NextRun {
    let time = next.at.strftime("%H:%M").to_string();
    NextRun {
        day: next.at.strftime(if next.at.year() == this_year { "%a %-d %b" } else { "%a %-d %b %Y" }).to_string(),
        offset: next.at.strftime("%:z").to_string(),
        note: next.odd.as_ref().map_or_else(String::new, |odd| schedules::words::odd(odd, &time)),
        time,
    }
}

/// Fills the pane.
pub fn fill(w: &mut Wizard, f: &For<'_>, typed: &Typed) {
    let next = next_runs(f, typed);
    (w.words, w.cron, w.next_runs, w.next_note, w.warnings) = (next.words, next.cron, next.next_runs, next.next_note, next.warnings);
    update_method::fill(w, f, typed);
    w.zones = zones(&typed.time_zone);
    w.when = WhenView::new(typed.when.clone());
}

/// All zones. While none is chosen the first entry has no value, which is where a script puts the browser's zone.
fn zones(chosen: &str) -> Vec<Choice> {
    let mut zones = Vec::new();
    if chosen.is_empty() {
        zones.push(Choice { value: String::new(), label: "UTC (default)".to_owned(), selected: true });
    }
    zones.extend(schedules::zone_names().into_iter().map(|name| Choice { selected: name == chosen, value: name.clone(), label: name }));
    if !chosen.is_empty() && !zones.iter().any(|zone| zone.selected) {
        zones.push(Choice { value: chosen.to_owned(), label: chosen.to_owned(), selected: true });
    }
    zones
}

/// For the catalogue.
pub fn stored(scheduling: &Scheduling, now: Timestamp) -> Option<Planned> {
    scheduling.schedule.planned(now.as_millisecond())
}
