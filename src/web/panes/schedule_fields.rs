//! The schedule fields of the Scheduling pane, exactly as submitted. The form contains the fields
//! of both tabs, so switching tabs loses no input. `schedule_parse.rs` converts the fields to a
//! plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::timestamp;
use crate::puller::schedules::plan::{
    Calendar, DayRule, Interval, ScheduleKind, SchedulePlan, TimesOfDay, WEEKDAYS,
    format_time_of_day, weekday_word,
};
use crate::puller::schedules::{Schedule, cron};

/// The names of all fields, except `catch_up` and the checkboxes, which begin with one of
/// `SWITCHES`, such as `on_mon` and `month_1`.
const NAMES: [&str; 34] = [
    "tab",
    "every",
    "minutes",
    "hours",
    "minute",
    "active",
    "active_from",
    "active_to",
    "every_days",
    "days_from",
    "month_how",
    "month_days",
    "nth",
    "nth_day",
    "at",
    "remind",
    "a_how",
    "a_times",
    "a_at",
    "a_step",
    "a_minute",
    "a_active",
    "a_from",
    "a_to",
    "a_days",
    "a_every_days",
    "a_days_from",
    "a_month_days",
    "a_nth_day",
    "a_months",
    "cron",
    "delay",
    "start_day",
    "start_time",
];
const SWITCHES: [&str; 4] = ["on_", "a_on_", "a_nth_", "month_"];

/// The fields by name. Unchecked and missing fields are absent.
#[derive(Clone, Debug, Default)]
pub struct ScheduleFields(BTreeMap<String, String>);

impl ScheduleFields {
    /// Reads a field of a request. Unknown fields are ignored.
    pub fn put(&mut self, field: &str, value: String) {
        let numbered = |start: &str| {
            field
                .strip_prefix(start)
                .is_some_and(|end| end.len() <= 3 && !end.is_empty())
        };
        if NAMES.contains(&field)
            || field == "catch_up"
            || SWITCHES.iter().any(|start| numbered(start))
        {
            self.0.insert(field.to_owned(), value);
        }
    }

    fn set(&mut self, field: &str, value: impl Into<String>) {
        self.0.insert(field.to_owned(), value.into());
    }

    pub fn of(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    pub fn is(&self, field: &str, value: &str) -> bool {
        self.of(field) == value
    }

    pub fn on(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// The form for a new schedule: every morning.
    pub fn fresh() -> Self {
        let mut fields = Self::default();
        let usual = [
            ("tab", "basic"),
            ("every", "day"),
            ("minutes", "30"),
            ("hours", "6"),
            ("minute", "0"),
            ("active_from", "08:00"),
            ("active_to", "18:00"),
            ("every_days", "1"),
            ("month_how", "days"),
            ("month_days", "1"),
            ("nth", "2"),
            ("nth_day", "fri"),
            ("at", "06:00"),
            ("remind", ""),
            ("a_how", "fields"),
            ("a_times", "once"),
            ("a_at", "06:00"),
            ("a_step", "3h"),
            ("a_minute", "0"),
            ("a_from", "08:00"),
            ("a_to", "18:00"),
            ("a_days", "all"),
            ("a_every_days", "2"),
            ("a_month_days", "1, 15"),
            ("a_nth_2", "on"),
            ("a_nth_4", "on"),
            ("a_nth_day", "sun"),
            ("a_months", "all"),
            ("cron", "0 6 * * *"),
            ("delay", "now"),
            ("start_time", "06:00"),
            ("catch_up", "one"),
            ("on_mon", "on"),
        ];
        for (field, value) in usual {
            fields.set(field, value);
        }
        for day in &WEEKDAYS[..5] {
            fields.set(&format!("a_on_{}", weekday_word(*day)), "on");
        }
        for month in 1..=12 {
            fields.set(&format!("month_{month}"), "on");
        }
        fields
    }

    /// The form for a stored schedule. The other tab and unneeded fields have their defaults.
    pub fn stored(schedule: &Schedule) -> Self {
        let mut fields = Self::fresh();
        let SchedulePlan {
            when,
            starts_at,
            catch_up,
        } = schedule.plan();
        fields.set("catch_up", catch_up.word());
        if let Some(at) = starts_at {
            let at = timestamp(*at).to_zoned(schedule.zone().clone());
            fields.set("delay", "later");
            fields.set("start_day", at.date().to_string());
            fields.set("start_time", format_time_of_day(at.time()));
        }
        if let ScheduleKind::Manually { remind_after } = when {
            fields.set("every", "manual");
            fields.set(
                "remind",
                remind_after
                    .map(|hours| hours.to_string())
                    .unwrap_or_default(),
            );
        }
        if let Some(calendar) = schedule.calendar() {
            let line = cron::line(&calendar);
            fields.set("cron", line.clone().unwrap_or_default());
            let advanced = fields.advanced(&calendar);
            if !fields.basic(&calendar) {
                fields.set("tab", "advanced");
                fields.set("a_how", if advanced { "fields" } else { "cron" });
            }
        } else if let ScheduleKind::Cron(line) = when {
            fields.set("tab", "advanced");
            fields.set("a_how", "cron");
            fields.set("cron", line.as_str());
        }
        fields
    }

    fn switch(&mut self, start: &str, all: impl IntoIterator<Item = String>) {
        let is_one = |end: &str| {
            end.parse::<u8>().is_ok() || WEEKDAYS.iter().any(|day| weekday_word(*day) == end)
        };
        self.0
            .retain(|field, _| !field.strip_prefix(start).is_some_and(is_one));
        for one in all {
            self.set(&format!("{start}{one}"), "on");
        }
    }

    /// Sets the fields of the first tab. Returns false if it cannot express the schedule.
    fn basic(&mut self, calendar: &Calendar) -> bool {
        if !calendar.months.is_empty() {
            return false;
        }
        if let TimesOfDay::Every {
            step,
            minute,
            active,
        } = &calendar.times
        {
            if calendar.days != DayRule::All {
                return false;
            }
            match step {
                Interval::Minutes(n) => {
                    self.set("every", "minutes");
                    self.set("minutes", n.to_string());
                }
                Interval::Hours(n) => {
                    self.set("every", "hours");
                    self.set("hours", n.to_string());
                }
            }
            self.set("minute", minute.to_string());
            if let Some(active) = active {
                self.set("active", "on");
                self.set("active_from", format_time_of_day(active.from));
                self.set("active_to", format_time_of_day(active.to));
            }
            return true;
        }
        let every = match &calendar.days {
            DayRule::All => "day",
            DayRule::EveryNth { n, from } => {
                self.set("every_days", n.to_string());
                self.set("days_from", from.to_string());
                "day"
            }
            DayRule::Week(days) if *days == (1..=5).collect() => "weekday",
            DayRule::Week(days) => {
                self.switch("on_", words_of(days));
                "week"
            }
            DayRule::Month { days, last } => {
                self.set("month_how", "days");
                self.set("month_days", days_text(days, *last));
                "month"
            }
            DayRule::Ordinal { nths, weekdays } => {
                let (Some(nth), Some(day), 1, 1) = (
                    nths.first(),
                    words_of(weekdays).pop(),
                    nths.len(),
                    weekdays.len(),
                ) else {
                    return false;
                };
                self.set("month_how", "ordinal");
                self.set("nth", nth.to_string());
                self.set("nth_day", day);
                "month"
            }
        };
        self.set("every", every);
        self.set("at", times_text(&calendar.times));
        true
    }

    /// Sets the fields of the second tab. Returns false if they cannot express the schedule.
    fn advanced(&mut self, calendar: &Calendar) -> bool {
        match &calendar.times {
            TimesOfDay::At(_) => {
                self.set("a_times", "once");
                self.set("a_at", times_text(&calendar.times));
            }
            TimesOfDay::Every {
                step,
                minute,
                active,
            } => {
                self.set("a_times", "often");
                self.set("a_step", step.word());
                self.set("a_minute", minute.to_string());
                if let Some(active) = active {
                    self.set("a_active", "on");
                    self.set("a_from", format_time_of_day(active.from));
                    self.set("a_to", format_time_of_day(active.to));
                }
            }
        }
        let days = match &calendar.days {
            DayRule::All => "all",
            DayRule::EveryNth { n, from } => {
                self.set("a_every_days", n.to_string());
                self.set("a_days_from", from.to_string());
                "nth"
            }
            DayRule::Week(days) => {
                self.switch("a_on_", words_of(days));
                "week"
            }
            DayRule::Month { days, last } => {
                self.set("a_month_days", days_text(days, *last));
                "month"
            }
            DayRule::Ordinal { nths, weekdays } => {
                if weekdays.len() != 1 {
                    return false;
                }
                self.switch("a_nth_", nths.iter().map(u8::to_string));
                self.set("a_nth_day", words_of(weekdays).concat());
                "ordinal"
            }
        };
        self.set("a_days", days);
        if !calendar.months.is_empty() {
            self.set("a_months", "some");
            self.switch("month_", calendar.months.iter().map(u8::to_string));
        }
        true
    }
}

fn words_of(days: &BTreeSet<i8>) -> Vec<String> {
    WEEKDAYS
        .iter()
        .filter(|day| days.contains(&day.to_sunday_zero_offset()))
        .map(|day| weekday_word(*day).to_owned())
        .collect()
}

fn times_text(times: &TimesOfDay) -> String {
    times
        .of_day()
        .into_iter()
        .map(format_time_of_day)
        .collect::<Vec<_>>()
        .join(", ")
}

fn days_text(days: &BTreeSet<u8>, last: bool) -> String {
    days.iter()
        .map(u8::to_string)
        .chain(last.then(|| "last".to_owned()))
        .collect::<Vec<_>>()
        .join(", ")
}
