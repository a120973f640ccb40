//! Schedules: when a DataSet is pulled, in which time zone. `plan.rs` is the chosen schedule,
//! `json.rs` its JSON form, `cron.rs` its cron lines, `occurrences.rs` its due times, `describe.rs`
//! its description.

pub mod cron;
pub mod describe;
pub mod json;
pub mod occurrences;
pub mod plan;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

use crate::clock::{Millis, timestamp};
use crate::datasets::Dataset;
use crate::datasets::schedule_state::StoredSchedule;
use crate::error::{Error, Result};
use json::ScheduleJson;
use occurrences::Engine;
pub use occurrences::{ClockChange, Occurrence};
pub use plan::{Calendar, CatchUp, ScheduleKind, SchedulePlan, weekday_name};

/// The default minimum interval between two runs of a schedule.
pub const MIN_INTERVAL_MINUTES: u32 = 5;
/// How many occurrences are checked for the minimum interval.
const CHECKED_OCCURRENCES: usize = 50;

/// A plan in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    plan: SchedulePlan,
    zone: TimeZone,
    zone_name: String,
    engine: Engine,
}

/// IANA names without a slash that are offered as time zones.
const PLAIN_ZONES: [&str; 12] = [
    "CET", "CST6CDT", "EET", "EST", "EST5EDT", "GMT", "HST", "MET", "MST", "MST7MDT", "PST8PDT",
    "WET",
];
/// Files in the time zone database that are not time zones.
const NO_ZONES: [&str; 4] = ["factory", "localtime", "posixrules", "leapseconds"];

/// The zone with this IANA name.
pub fn zone(name: &str) -> Result<TimeZone> {
    let known = name.len() <= 64
        && !name.starts_with('/')
        && !NO_ZONES.iter().any(|no| name.eq_ignore_ascii_case(no));
    known
        .then(|| TimeZone::get(name).ok())
        .flatten()
        .ok_or_else(|| {
            Error::field(
                "time_zone",
                "There is no such time zone. Use a name such as Europe/Oslo or UTC.",
            )
        })
}

/// The names of all zones, sorted, UTC first.
pub fn zone_names() -> Vec<String> {
    let mut names: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.as_str().to_owned())
        .filter(|name| {
            (PLAIN_ZONES.contains(&name.as_str()) || name.contains('/'))
                && !name.starts_with("Etc/")
                && !name.starts_with("posix/")
                && !name.starts_with("right/")
                && !name.starts_with("SystemV/")
        })
        .collect();
    names.sort();
    names.dedup();
    names.insert(0, "UTC".to_owned());
    names
}

impl Schedule {
    /// A plan in this zone. Does not check whether or how often it fires: see `validate`.
    pub fn new(plan: SchedulePlan, zone_name: &str) -> Result<Self> {
        let zone = zone(zone_name)?;
        let wrong = |why: String| Error::field("schedule", why);
        let engine = match &plan.when {
            ScheduleKind::Manually { .. } => Engine::Never,
            ScheduleKind::Calendar(calendar) => Engine::of_calendar(calendar).map_err(wrong)?,
            ScheduleKind::Cron(line) => {
                let cron = cron::parse(line).map_err(wrong)?;
                // A calendar handles clock changes correctly for several times a day as well, so it
                // is preferred.
                match cron::calendar(line) {
                    Some(calendar) => Engine::of_calendar(&calendar).map_err(wrong)?,
                    None => Engine::Cron(Box::new(cron)),
                }
            }
        };
        Ok(Self {
            plan,
            zone,
            zone_name: zone_name.to_owned(),
            engine,
        })
    }

    /// Returns an error if the schedule never fires, or fires more often than every `min_interval`
    /// minutes.
    pub fn validate(self, now: Millis, min_interval: u32) -> Result<Self> {
        if self.plan.is_manual() {
            return Ok(self);
        }
        let wrong = |why: String| Err(Error::field("schedule", why));
        let occurrences = self.next(now, CHECKED_OCCURRENCES);
        if occurrences.is_empty() {
            return wrong("This schedule never runs: the selected day does not exist. Choose a day that exists.".to_owned());
        }
        let too_often = occurrences.windows(2).any(|pair| {
            pair[1].at.timestamp().as_second() - pair[0].at.timestamp().as_second()
                < i64::from(min_interval) * 60
        });
        if too_often {
            return wrong(format!(
                "This schedule runs too often. Leave at least {min_interval} minutes between two runs."
            ));
        }
        Ok(self)
    }

    /// Parses and validates a cron line of five fields, with the default minimum interval.
    pub fn parse(text: &str, zone_name: &str, now: Millis) -> Result<Self> {
        Self::new(ScheduleJson::from_cron(text).plan()?, zone_name)?
            .validate(now, MIN_INTERVAL_MINUTES)
    }

    /// Reads and validates the JSON form.
    pub fn from_json(
        json: &ScheduleJson,
        zone_name: &str,
        now: Millis,
        min_interval: u32,
    ) -> Result<Self> {
        Self::new(json.plan()?, zone_name)?.validate(now, min_interval)
    }

    /// The stored schedule. If plan and cron line differ, the line was changed in the database, and
    /// the line is used.
    pub fn of(dataset: &Dataset) -> Result<Self> {
        Self::from_stored(
            dataset.schedule_state.plan.as_deref(),
            dataset.schedule.as_deref(),
            &dataset.time_zone,
        )
    }

    /// Like `of`, from the stored columns.
    pub fn from_stored(plan: Option<&str>, line: Option<&str>, zone_name: &str) -> Result<Self> {
        let stored = plan.map(serde_json::from_str::<ScheduleJson>);
        let plan = match (stored, line) {
            (None, None) => SchedulePlan::manual(),
            (None, Some(line)) => ScheduleJson::from_cron(line).plan()?,
            (Some(Ok(json)), line) => {
                let plan = json.plan()?;
                match line {
                    Some(line) if cron_lines(&plan).as_deref() != Some(line) => {
                        ScheduleJson::from_cron(line).plan()?
                    }
                    None if !plan.is_manual() => SchedulePlan::manual(),
                    _ => plan,
                }
            }
            (Some(Err(_)), _) => {
                return Err(Error::field(
                    "schedule",
                    "The stored schedule cannot be read.",
                ));
            }
        };
        Self::new(plan, zone_name)
    }

    pub fn plan(&self) -> &SchedulePlan {
        &self.plan
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }

    /// The schedule as a calendar; `None` for a cron line that no calendar expresses, and for a
    /// manual schedule.
    pub fn calendar(&self) -> Option<Calendar> {
        match &self.plan.when {
            ScheduleKind::Calendar(calendar) => Some(calendar.clone()),
            ScheduleKind::Cron(line) => cron::calendar(line),
            ScheduleKind::Manually { .. } => None,
        }
    }

    /// The columns for the catalogue. `None` for a manual schedule without a reminder.
    pub fn to_stored(&self, now: Millis) -> Option<StoredSchedule> {
        let json = ScheduleJson::from(&self.plan);
        let cron = cron_lines(&self.plan);
        // A schedule that its cron line expresses completely needs no plan.
        let is_plain = json == ScheduleJson::default()
            || cron
                .as_deref()
                .is_some_and(|line| json == ScheduleJson::from_cron(line));
        let plan = if is_plain {
            None
        } else {
            serde_json::to_string(&json).ok()
        };
        (cron.is_some() || plan.is_some()).then(|| StoredSchedule {
            cron,
            plan,
            next: self.next_after(now),
        })
    }

    /// The first due time after `after`, if there is one.
    pub fn next_after(&self, after: Millis) -> Option<Millis> {
        self.next(after, 1)
            .first()
            .map(|occurrence| occurrence.at.timestamp().as_millisecond())
    }

    /// The next `count` occurrences after `after`, in the schedule's time zone.
    pub fn next(&self, after: Millis, count: usize) -> Vec<Occurrence> {
        let after = self
            .plan
            .starts_at
            .map_or(after, |start| after.max(start.saturating_sub(1)));
        self.engine.occurrences(timestamp(after), &self.zone, count)
    }

    /// The first `max` due times from `from` to `to`, both included.
    pub fn between(&self, from: Millis, to: Millis, max: usize) -> Vec<Millis> {
        let mut all = Vec::new();
        let mut after = from - 1;
        // There is usually one.
        let mut batch_size = 2;
        while all.len() < max {
            let batch: Vec<Millis> = self
                .next(after, batch_size)
                .iter()
                .map(|occurrence| occurrence.at.timestamp().as_millisecond())
                .collect();
            all.extend(batch.iter().copied().take_while(|at| *at <= to));
            match batch.last() {
                Some(last) if *last <= to => after = *last,
                _ => break,
            }
            batch_size = 64;
        }
        all.truncate(max);
        all
    }

    /// "every day at 09:00"
    pub fn phrase(&self) -> String {
        match (&self.plan.when, self.calendar()) {
            (_, Some(calendar)) => describe::phrase(&calendar),
            (ScheduleKind::Cron(line), None) => {
                let text = cron::parse(line).map_or_else(|_| line.clone(), |cron| cron.describe());
                let mut letters = text.trim_end_matches('.').chars();
                letters.next().map_or_else(String::new, |first| {
                    first.to_lowercase().chain(letters).collect()
                })
            }
            _ => "manually".to_owned(),
        }
    }

    /// "Every day at 09:00, Europe/Oslo"
    pub fn in_words(&self) -> String {
        let start = self.plan.starts_at.map_or_else(String::new, |at| {
            let at = timestamp(at).to_zoned(self.zone.clone());
            format!(", not before {}", at.strftime("%a %-d %b %Y %H:%M"))
        });
        format!(
            "{}{start}, {}",
            describe::capitalize_first(&self.phrase()),
            self.zone_name
        )
    }
}

/// The cron lines of a plan; `None` for a manual one.
fn cron_lines(plan: &SchedulePlan) -> Option<String> {
    match &plan.when {
        ScheduleKind::Manually { .. } => None,
        ScheduleKind::Cron(line) => Some(line.clone()),
        ScheduleKind::Calendar(calendar) => Some(cron::lines(calendar).join("\n")),
    }
}
