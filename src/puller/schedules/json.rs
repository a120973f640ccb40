//! A schedule as a JSON object: for the API and for the catalogue, which stores it next to the cron
//! lines.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::cron;
use super::plan::{
    ActiveHours, Calendar, CatchUp, DayRule, Interval, MAX_REMINDER_HOURS, MAX_TIMES, ScheduleKind,
    SchedulePlan, TimesOfDay, WEEKDAYS, format_time_of_day, parse_time, parse_weekday,
    weekday_word,
};
use crate::clock::iso;
use crate::error::{Error, Result};

/// The fields of the object. Absent values are not serialized.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minute: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_days: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekdays: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<Vec<NumberOrLast>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month_days: Option<Vec<NumberOrLast>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub months: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remind_after_hours: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
}

/// A number, or `last`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "each must be a whole number, or the word last")]
pub enum NumberOrLast {
    Number(u8),
    Word(String),
}

fn wrong<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::field("schedule", why))
}

impl ScheduleJson {
    pub fn from_cron(line: &str) -> Self {
        Self {
            cron: Some(line.to_owned()),
            ..Self::default()
        }
    }

    /// Validates all values and converts them to a plan.
    pub fn plan(&self) -> Result<SchedulePlan> {
        let starts_at = match self.starts_at.as_deref().map(str::parse::<Timestamp>) {
            None => None,
            Some(Ok(at)) => Some(at.as_millisecond()),
            Some(Err(_)) => return wrong("starts_at must be a time such as 2026-12-01T08:00:00Z."),
        };
        let catch_up = match self.catch_up.as_deref().map(CatchUp::parse) {
            None => CatchUp::default(),
            Some(Some(way)) => way,
            Some(None) => return wrong("catch_up must be one, all or none."),
        };
        let when = self.when()?;
        if matches!(when, ScheduleKind::Manually { .. })
            && (starts_at.is_some() || self.catch_up.is_some())
        {
            return wrong("A manual schedule cannot have starts_at or catch_up.");
        }
        Ok(SchedulePlan {
            when,
            starts_at,
            catch_up,
        })
    }

    fn when(&self) -> Result<ScheduleKind> {
        let days = [
            self.every_days.is_some(),
            self.weekdays.is_some(),
            self.month_days.is_some(),
        ];
        let is_calendar = self.times.is_some() || self.every.is_some();
        let parts = [
            self.minute.is_some(),
            self.active_from.is_some(),
            self.active_to.is_some(),
            self.days_from.is_some(),
            self.nth.is_some(),
            self.months.is_some(),
        ];
        let further = days.contains(&true) || parts.contains(&true);
        match (&self.cron, self.remind_after_hours, is_calendar) {
            (Some(line), None, false) if !further => {
                cron::parse(line.trim()).or_else(wrong)?;
                Ok(ScheduleKind::Cron(line.trim().to_owned()))
            }
            (None, Some(hours), false) if !further => {
                if !(1..=MAX_REMINDER_HOURS).contains(&hours) {
                    return wrong("remind_after_hours must be from 1 to 8,784 (one year).");
                }
                Ok(ScheduleKind::Manually {
                    remind_after: Some(hours),
                })
            }
            (None, None, true) => {
                if days.iter().filter(|is_set| **is_set).count() > 1 {
                    return wrong("Use only one of every_days, weekdays and month_days.");
                }
                Ok(ScheduleKind::Calendar(Calendar {
                    times: self.times()?,
                    days: self.days()?,
                    months: self.months()?,
                }))
            }
            _ => wrong(
                "A schedule needs cron, times, every or remind_after_hours. Use cron and remind_after_hours without other schedule fields. \
                 Use null for a manual schedule.",
            ),
        }
    }

    fn times(&self) -> Result<TimesOfDay> {
        let time = |text: &str| match parse_time(text) {
            Some(time) => Ok(time),
            None => wrong(format!("{text:?} is not a time. Use the form 09:00.")),
        };
        if let Some(times) = &self.times {
            if self.every.is_some()
                || self.minute.is_some()
                || self.active_from.is_some()
                || self.active_to.is_some()
            {
                return wrong(
                    "Use times or every, not both. minute, active_from and active_to need every.",
                );
            }
            if times.is_empty() || times.len() > MAX_TIMES {
                return wrong(format!("times must have 1 to {MAX_TIMES} entries."));
            }
            return Ok(TimesOfDay::At(
                times.iter().map(|text| time(text)).collect::<Result<_>>()?,
            ));
        }
        let Some(step) = self.every.as_deref().and_then(Interval::parse) else {
            return wrong("every must be 5m, 10m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h or 12h.");
        };
        let active = match (&self.active_from, &self.active_to) {
            (None, None) => None,
            (Some(from), Some(to)) => Some(ActiveHours {
                from: time(from)?,
                to: time(to)?,
            }),
            _ => return wrong("Active hours need active_from and active_to."),
        };
        if active.is_some_and(|active| active.from == active.to) {
            return wrong(
                "active_from and active_to must be different. For runs all day, leave both out.",
            );
        }
        let minute = self.minute.unwrap_or(0);
        if minute > 59 || (active.is_some() && minute > 0) {
            return wrong(
                "minute must be from 0 to 59. With active hours, leave minute out: active_from sets it.",
            );
        }
        // The smallest minute of the same schedule, so that equal schedules are stored equally.
        let minute = if let Interval::Minutes(n) = step {
            minute % n
        } else {
            minute
        };
        Ok(TimesOfDay::Every {
            step,
            minute,
            active,
        })
    }

    fn days(&self) -> Result<DayRule> {
        if self.days_from.is_some() && self.every_days.is_none() {
            return wrong("days_from needs every_days.");
        }
        if self.nth.is_some() && self.weekdays.is_none() {
            return wrong("nth needs weekdays.");
        }
        if let Some(n) = self.every_days {
            if !(1..=366).contains(&n) {
                return wrong("every_days must be from 1 to 366.");
            }
            return match (n, self.days_from.as_deref().map(str::parse::<Date>)) {
                (1, _) => Ok(DayRule::All),
                (n, Some(Ok(from))) => Ok(DayRule::EveryNth { n, from }),
                _ => wrong("every_days needs days_from, the first day, for example 2026-12-01."),
            };
        }
        if let Some(words) = &self.weekdays {
            let days: Option<BTreeSet<i8>> = words
                .iter()
                .map(|word| parse_weekday(word).map(|day| day.to_sunday_zero_offset()))
                .collect();
            let Some(weekdays) = days.filter(|days| !days.is_empty()) else {
                return wrong("weekdays are mon, tue, wed, thu, fri, sat and sun.");
            };
            let Some(nth) = &self.nth else {
                return Ok(if weekdays.len() == 7 {
                    DayRule::All
                } else {
                    DayRule::Week(weekdays)
                });
            };
            if weekdays.len() > 1 {
                return wrong("nth needs exactly one weekday.");
            }
            let nths = numbers(nth, 5).filter(|nths| !nths.is_empty());
            return nths.map_or_else(
                || wrong("nth must contain 1 to 5 or last."),
                |nths| Ok(DayRule::Ordinal { nths, weekdays }),
            );
        }
        let Some(days) = &self.month_days else {
            return Ok(DayRule::All);
        };
        match numbers(days, 31) {
            Some(mut days) if !days.is_empty() => {
                let last = days.remove(&0);
                Ok(DayRule::Month { days, last })
            }
            _ => wrong("month_days must contain 1 to 31 or last."),
        }
    }

    fn months(&self) -> Result<BTreeSet<u8>> {
        let months: BTreeSet<u8> = self.months.iter().flatten().copied().collect();
        if self.months.as_ref().is_some_and(Vec::is_empty)
            || months.iter().any(|month| !(1..=12).contains(month))
        {
            return wrong("months must contain 1 to 12. Leave it out for all months.");
        }
        Ok(if months.len() == 12 {
            BTreeSet::new()
        } else {
            months
        })
    }
}

/// The numbers from 1 to `max`; 0 stands for `last`. `None` if one is not valid.
fn numbers(all: &[NumberOrLast], max: u8) -> Option<BTreeSet<u8>> {
    let one = |which: &NumberOrLast| match which {
        NumberOrLast::Number(n) => Some(*n).filter(|n| (1..=max).contains(n)),
        NumberOrLast::Word(word) => (word == "last").then_some(0),
    };
    all.iter().map(one).collect()
}

fn which(numbers: impl Iterator<Item = u8>, last: bool) -> Vec<NumberOrLast> {
    let numbers = numbers.filter(|n| *n > 0).map(NumberOrLast::Number);
    numbers
        .chain(last.then(|| NumberOrLast::Word("last".to_owned())))
        .collect()
}

impl From<&SchedulePlan> for ScheduleJson {
    fn from(plan: &SchedulePlan) -> Self {
        let mut json = match &plan.when {
            ScheduleKind::Manually { remind_after } => Self {
                remind_after_hours: *remind_after,
                ..Self::default()
            },
            ScheduleKind::Cron(line) => Self::from_cron(line),
            ScheduleKind::Calendar(calendar) => cron::line(calendar)
                .map_or_else(|| calendar_json(calendar), |line| Self::from_cron(&line)),
        };
        json.starts_at = plan.starts_at.map(iso);
        json.catch_up =
            (plan.catch_up != CatchUp::default()).then(|| plan.catch_up.word().to_owned());
        json
    }
}

fn calendar_json(calendar: &Calendar) -> ScheduleJson {
    let mut json = ScheduleJson::default();
    match &calendar.times {
        TimesOfDay::At(times) => {
            json.times = Some(times.iter().map(|time| format_time_of_day(*time)).collect())
        }
        TimesOfDay::Every {
            step,
            minute,
            active,
        } => {
            json.every = Some(step.word());
            json.minute = (*minute > 0 && active.is_none()).then_some(*minute);
            json.active_from = active.map(|active| format_time_of_day(active.from));
            json.active_to = active.map(|active| format_time_of_day(active.to));
        }
    }
    let words = |days: &BTreeSet<i8>| {
        WEEKDAYS
            .iter()
            .filter(|day| days.contains(&day.to_sunday_zero_offset()))
            .map(|day| weekday_word(*day).to_owned())
            .collect::<Vec<_>>()
    };
    match &calendar.days {
        DayRule::All => {}
        DayRule::EveryNth { n, from } => {
            (json.every_days, json.days_from) = (Some(*n), Some(from.to_string()))
        }
        DayRule::Week(days) => json.weekdays = Some(words(days)),
        DayRule::Month { days, last } => json.month_days = Some(which(days.iter().copied(), *last)),
        DayRule::Ordinal { nths, weekdays } => {
            (json.nth, json.weekdays) = (
                Some(which(nths.iter().copied(), nths.contains(&0))),
                Some(words(weekdays)),
            )
        }
    }
    json.months = (!calendar.months.is_empty()).then(|| calendar.months.iter().copied().collect());
    json
}
