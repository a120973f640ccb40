//! The Scheduling pane: when the DataSet is pulled, in which zone, what that means for the next runs, and the update method.

use askama::Template;
use jiff::civil::Time;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::For;
use super::typed::Typed;
use super::update_method::{self, UpdateMethod};
use super::view::{NextRun, Wizard};
use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::puller::schedules::{self, Basic, HOUR_STEPS, Schedule};
use crate::web::parts::Choice;
use crate::web::words;

/// How many of the next runs are written out.
const NEXT: usize = 5;
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// What the pane holds when everything in it is right.
#[derive(Clone, Debug)]
pub struct Scheduling {
    pub basic: Basic,
    pub zone_name: String,
    pub zone: TimeZone,
    /// None: manually.
    pub schedule: Option<Schedule>,
    pub update: UpdateMethod,
}

/// The next runs, also served alone while somebody chooses.
#[derive(Clone, Debug, Default)]
pub struct NextRuns {
    pub words: String,
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

/// Reads the pane.
pub fn read(f: &For<'_>, typed: &Typed) -> Result<Scheduling> {
    let mut wrong = Vec::new();
    let zone_name = if typed.time_zone.is_empty() { "UTC".to_owned() } else { typed.time_zone.clone() };
    let zone = schedules::zone(&zone_name);
    if let Err(why) = &zone {
        wrong.extend(why.field_errors().iter().cloned());
    }
    let basic = basic(f, typed);
    if let Err((field, why)) = &basic {
        wrong.push(((*field).to_owned(), why.clone()));
    }
    let update = update_method::read(f, typed).map_err(|mut why| wrong.append(&mut why));
    let (Ok(zone), Ok(basic), Ok(update)) = (zone, basic, update) else { return Err(Error::fields(wrong)) };
    let schedule = match basic.cron() {
        None => None,
        Some(cron) => Some(Schedule::parse(&cron, &zone_name, f.web.clock.now()).map_err(|why| Error::field("every", why.message()))?),
    };
    Ok(Scheduling { basic, zone_name, zone, schedule, update })
}

fn basic(f: &For<'_>, typed: &Typed) -> Result<Basic, (&'static str, String)> {
    let at = || clock(&typed.at).ok_or_else(|| ("at", "Write a time of the day such as 09:00.".to_owned()));
    match typed.every.as_str() {
        "manual" => Ok(Basic::Manually),
        "hours" => {
            let every = typed.hours.parse().ok().filter(|every| HOUR_STEPS.contains(every));
            let every = every.ok_or_else(|| ("every", "Choose how many hours from the list.".to_owned()))?;
            let minute = typed.minute.trim().parse().ok().filter(|minute| *minute < 60);
            let minute = minute.ok_or_else(|| ("minute", "Write a minute from 0 to 59.".to_owned()))?;
            Ok(Basic::Hours { every, minute })
        }
        "day" => at().map(|(hour, minute)| Basic::Daily { hour, minute }),
        "weekday" => at().map(|(hour, minute)| Basic::Weekdays { hour, minute }),
        "week" => {
            let day = WEEKDAYS.iter().position(|day| day.to_lowercase() == typed.weekday).and_then(|day| i8::try_from(day).ok());
            let day = day.and_then(|day| jiff::civil::Weekday::from_monday_zero_offset(day).ok());
            let day = day.ok_or_else(|| ("every", "Choose a day of the week.".to_owned()))?;
            at().map(|(hour, minute)| Basic::Weekly { day, hour, minute })
        }
        // Only what is stored is kept; the form cannot bring a line of its own.
        "keep" => kept(f).ok_or_else(|| ("every", "Choose when it is updated.".to_owned())),
        _ => Err(("every", "Choose when it is updated.".to_owned())),
    }
}

/// The stored schedule, where the choices cannot say it.
fn kept(f: &For<'_>) -> Option<Basic> {
    let basic = Basic::of(f.dataset?.schedule.as_deref());
    matches!(basic, Basic::Other(_)).then_some(basic)
}

/// 09:00, 9:00, 9.00, 0900 or 9.
fn clock(text: &str) -> Option<(u8, u8)> {
    let text = text.trim();
    let (hour, minute) = match text.split_once([':', '.']) {
        Some((hour, minute)) if minute.len() == 2 => (hour, minute),
        Some(_) => return None,
        None if text.len() == 4 && text.is_ascii() => text.split_at(2),
        None => (text, "0"),
    };
    let number = |text: &str, most: u8| text.parse::<u8>().ok().filter(|n| *n <= most && text.len() <= 2 && !text.starts_with('+'));
    Some((number(hour, 23)?, number(minute, 59)?))
}

/// "Every day at 09:00, Europe/Oslo, Replace"
pub fn summary(scheduling: &Scheduling) -> String {
    let when = scheduling.schedule.as_ref().map_or_else(|| "Manually".to_owned(), Schedule::in_words);
    format!("{when}, {}", scheduling.update.mode.title())
}

/// What the chosen schedule means from now on.
pub fn next_runs(scheduling: &Result<Scheduling>, now: Millis) -> NextRuns {
    let scheduling = match scheduling {
        Ok(scheduling) => scheduling,
        Err(why) => return NextRuns { next_note: why.message().to_owned(), ..NextRuns::default() },
    };
    let (zone, warnings) = (scheduling.zone_name.clone(), scheduling.update.warnings.clone());
    let Some(schedule) = &scheduling.schedule else {
        return NextRuns { zone, next_note: "None by itself.".to_owned(), warnings, ..NextRuns::default() };
    };
    let coming = schedule.next(now, NEXT);
    let next_runs = coming.iter().map(|at| next_run(&scheduling.basic, at)).collect();
    let first = coming.first().map(|at| words::coming(at.timestamp().as_millisecond(), now, &scheduling.zone)).unwrap_or_default();
    NextRuns { words: sentence(scheduling, schedule, &first, now), zone, next_runs, next_note: String::new(), warnings }
}

fn sentence(scheduling: &Scheduling, schedule: &Schedule, first: &str, now: Millis) -> String {
    let said = schedule.in_words();
    let when = said.strip_suffix(&format!(", {}", scheduling.zone_name)).unwrap_or(&said);
    let mut letters = when.chars();
    let when: String = match (&scheduling.basic, letters.next()) {
        (Basic::Hours { every: 1, minute }, _) => format!("every hour, {minute} minutes past"),
        (Basic::Hours { every, minute }, _) => format!("every {every} hours from 00:{minute:02}"),
        (Basic::Weekdays { .. }, _) => format!("from {when}"),
        (_, Some(letter)) => letter.to_lowercase().chain(letters).collect(),
        (_, None) => String::new(),
    };
    if scheduling.zone_name == "UTC" {
        return format!("Runs {when} UTC, first {first}.");
    }
    let seasons = if has_seasons(&scheduling.zone, now) { ", summer and winter" } else { "" };
    format!("Runs {when} on the clock of {}{seasons}, first {first}.", scheduling.zone_name)
}

/// Whether the clocks of this zone change in the coming year.
fn has_seasons(zone: &TimeZone, now: Millis) -> bool {
    let now = crate::clock::timestamp(now);
    zone.following(now).next().is_some_and(|change| change.timestamp().as_second() - now.as_second() < 366 * 86_400)
}

fn next_run(basic: &Basic, at: &Zoned) -> NextRun {
    NextRun {
        day: at.strftime("%a %-d %b").to_string(),
        time: at.strftime("%H:%M").to_string(),
        offset: at.strftime("%:z").to_string(),
        note: note(basic, at).unwrap_or_default(),
    }
}

/// What the clock change of that night does to a run, if anything.
fn note(basic: &Basic, at: &Zoned) -> Option<String> {
    let actual = at.strftime("%H:%M");
    let zone = at.time_zone();
    let found = |time: Time| zone.to_ambiguous_timestamp(at.date().to_datetime(time)).offset();
    match *basic {
        Basic::Daily { hour, minute } | Basic::Weekdays { hour, minute } | Basic::Weekly { hour, minute, .. } => {
            let wanted = Time::new(hour.cast_signed(), minute.cast_signed(), 0, 0).ok()?;
            match found(wanted) {
                AmbiguousOffset::Gap { .. } => {
                    Some(format!("Clocks go forward: {hour:02}:{minute:02} does not exist that night, so the run starts at {actual}."))
                }
                AmbiguousOffset::Fold { .. } => {
                    Some(format!("Clocks go back: {hour:02}:{minute:02} comes twice that night. The run starts the first time, and only then."))
                }
                AmbiguousOffset::Unambiguous { .. } => None,
            }
        }
        // A step that the clocks skip is left out; it is told beside the run that comes after.
        Basic::Hours { every, minute } => {
            let before = Time::new(at.hour() - every.cast_signed(), minute.cast_signed(), 0, 0).ok()?;
            let is_skipped = matches!(found(before), AmbiguousOffset::Gap { .. });
            is_skipped.then(|| format!("Clocks go forward: {} does not exist that night, so there is no run then.", before.strftime("%H:%M")))
        }
        Basic::Manually | Basic::Other(_) => None,
    }
}

/// Fills the pane.
pub fn fill(w: &mut Wizard, f: &For<'_>, typed: &Typed) {
    let scheduling = read(f, typed);
    let next = next_runs(&scheduling, f.web.clock.now());
    (w.words, w.next_runs, w.next_note, w.warnings) = (next.words, next.next_runs, next.next_note, next.warnings);
    update_method::fill(w, f, typed);
    w.zones = zones(&typed.time_zone);
    w.every.clone_from(&typed.every);
    w.kept = kept(f).and_then(|basic| basic.cron()).map(|cron| in_words(f, &cron)).unwrap_or_default();
    w.hours = HOUR_STEPS.iter().map(|n| Choice { value: n.to_string(), label: n.to_string(), selected: typed.hours == n.to_string() }).collect();
    w.minute.clone_from(&typed.minute);
    w.at.clone_from(&typed.at);
    w.weekdays =
        WEEKDAYS.iter().map(|day| Choice { value: day.to_lowercase(), label: (*day).to_owned(), selected: typed.weekday == day.to_lowercase() }).collect();
}

fn in_words(f: &For<'_>, cron: &str) -> String {
    let zone = f.dataset.map_or("UTC", |d| d.time_zone.as_str());
    Schedule::parse(cron, zone, f.web.clock.now()).map_or_else(|_| cron.to_owned(), |schedule| schedule.in_words())
}

/// All zones. While none is chosen the first entry has no value, which is where a script puts the browser's zone.
fn zones(chosen: &str) -> Vec<Choice> {
    let mut zones = Vec::new();
    if chosen.is_empty() {
        zones.push(Choice { value: String::new(), label: "UTC, until you choose another".to_owned(), selected: true });
    }
    zones.extend(schedules::zone_names().into_iter().map(|name| Choice { selected: name == chosen, value: name.clone(), label: name }));
    if !chosen.is_empty() && !zones.iter().any(|zone| zone.selected) {
        zones.push(Choice { value: chosen.to_owned(), label: chosen.to_owned(), selected: true });
    }
    zones
}

/// The moment of the next run, for the catalogue.
pub fn stored(scheduling: &Scheduling, now: Timestamp) -> Option<(String, Millis)> {
    let schedule = scheduling.schedule.as_ref()?;
    schedule.next_after(now.as_millisecond()).map(|next| (schedule.text().to_owned(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_written_in_several_ways() {
        for (text, time) in [("09:00", (9, 0)), (" 9:05 ", (9, 5)), ("9.30", (9, 30)), ("0930", (9, 30)), ("9", (9, 0)), ("23:59", (23, 59))] {
            assert_eq!(clock(text), Some(time), "{text}");
        }
        for text in ["", "24:00", "9:60", "9:5", "nine", "-1:00", "+9:00", "9:00 pm", "09:00:00", "١٢:٠٠"] {
            assert_eq!(clock(text), None, "{text}");
        }
    }

    #[test]
    fn the_nights_when_clocks_change_are_told() {
        let notes = |basic: Basic, after: &str| {
            let after = after.parse::<Timestamp>().unwrap().as_millisecond();
            let schedule = Schedule::parse(&basic.cron().unwrap(), "Europe/Oslo", after).unwrap();
            schedule.next(after, NEXT).iter().map(|at| (at.strftime("%H:%M").to_string(), note(&basic, at).unwrap_or_default())).collect::<Vec<_>>()
        };
        let daily = Basic::Daily { hour: 2, minute: 30 };
        let spring = notes(daily.clone(), "2027-03-26T12:00:00Z");
        assert_eq!(spring[1], ("03:00".to_owned(), "Clocks go forward: 02:30 does not exist that night, so the run starts at 03:00.".to_owned()));
        assert!(spring.iter().enumerate().all(|(at, (_, note))| at == 1 || note.is_empty()), "{spring:?}");
        let autumn = notes(daily, "2026-10-24T12:00:00Z");
        assert!(autumn[0].1.starts_with("Clocks go back: 02:30 comes twice"), "{autumn:?}");
        let morning = notes(Basic::Daily { hour: 9, minute: 0 }, "2027-03-26T12:00:00Z");
        assert!(morning.iter().all(|(_, note)| note.is_empty()), "{morning:?}");
        let hours = notes(Basic::Hours { every: 2, minute: 30 }, "2027-03-27T23:00:00Z");
        assert_eq!(hours[1], ("04:30".to_owned(), "Clocks go forward: 02:30 does not exist that night, so there is no run then.".to_owned()));
        assert!(hours.iter().enumerate().all(|(at, (_, note))| at == 1 || note.is_empty()), "{hours:?}");
        let back = notes(Basic::Hours { every: 1, minute: 0 }, "2026-10-24T23:30:00Z");
        assert_eq!(back.iter().map(|(time, _)| time.as_str()).collect::<Vec<_>>(), ["02:00", "02:00", "03:00", "04:00", "05:00"], "{back:?}");
    }
}
