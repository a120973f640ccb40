//! A schedule as a typed value: the choices of a person, before occurrences are computed. Every
//! value is valid.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time, Weekday};

use crate::clock::Millis;

/// The maximum delay of a reminder in hours: a year.
pub const MAX_REMINDER_HOURS: u32 = 8_784;
/// The steps in minutes divide an hour and the steps in hours divide a day, so that the interval
/// over midnight is as long as the others.
pub const MINUTE_STEPS: [u8; 5] = [5, 10, 15, 20, 30];
pub const HOUR_STEPS: [u8; 7] = [1, 2, 3, 4, 6, 8, 12];
/// The maximum number of clock times a day.
pub const MAX_TIMES: usize = 24;
/// The delays of a reminder that the pane offers, in hours.
pub const REMINDERS: [(u32, &str); 8] = [
    (1, "1 hour"),
    (6, "6 hours"),
    (24, "1 day"),
    (72, "3 days"),
    (168, "1 week"),
    (336, "2 weeks"),
    (720, "1 month"),
    (2_160, "3 months"),
];

/// When a DataSet is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulePlan {
    pub when: ScheduleKind,
    /// No run before this time.
    pub starts_at: Option<Millis>,
    pub catch_up: CatchUp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleKind {
    /// A person starts each run. After `remind_after` hours without new rows, a reminder is sent.
    Manually {
        remind_after: Option<u32>,
    },
    /// A line of five fields.
    Cron(String),
    Calendar(Calendar),
}

/// What happens to due times that passed while no run could start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// One run for all of them.
    #[default]
    One,
    /// One run for each, one after the other.
    All,
    /// No run.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub times: TimesOfDay,
    pub days: DayRule,
    /// Numbers from 1; empty for all months.
    pub months: BTreeSet<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimesOfDay {
    /// Clock times; each gives one run a day, also when the clocks change.
    At(BTreeSet<Time>),
    /// At intervals: within the active hours, or all day from `minute` past midnight on.
    Every {
        step: Interval,
        minute: u8,
        active: Option<ActiveHours>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    Minutes(u8),
    Hours(u8),
}

/// Both ends are included. Intervals are counted from `from`. The hours may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveHours {
    pub from: Time,
    pub to: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DayRule {
    All,
    /// Every n days, counted from the day `from`.
    EveryNth {
        n: u16,
        from: Date,
    },
    /// Days of the week by `Weekday::to_sunday_zero_offset`.
    Week(BTreeSet<i8>),
    Month {
        days: BTreeSet<u8>,
        last: bool,
    },
    /// For example the second and the fourth Sunday of a month; 0 is the last one.
    Ordinal {
        nths: BTreeSet<u8>,
        weekdays: BTreeSet<i8>,
    },
}

impl SchedulePlan {
    pub fn new(when: ScheduleKind) -> Self {
        Self {
            when,
            starts_at: None,
            catch_up: CatchUp::default(),
        }
    }

    pub fn manual() -> Self {
        Self::new(ScheduleKind::Manually { remind_after: None })
    }

    pub fn is_manual(&self) -> bool {
        matches!(self.when, ScheduleKind::Manually { .. })
    }

    /// After how many hours without new rows a reminder is sent.
    pub fn remind_after(&self) -> Option<u32> {
        match self.when {
            ScheduleKind::Manually { remind_after } => remind_after,
            _ => None,
        }
    }
}

impl CatchUp {
    pub const ALL: [CatchUp; 3] = [CatchUp::One, CatchUp::All, CatchUp::None];

    pub fn word(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::All => "all",
            Self::None => "none",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.word() == word)
    }
}

impl Calendar {
    /// Once a day at these times.
    pub fn at(times: impl IntoIterator<Item = Time>, days: DayRule) -> Self {
        Self {
            times: TimesOfDay::At(times.into_iter().collect()),
            days,
            months: BTreeSet::new(),
        }
    }
}

impl Interval {
    pub fn minutes(self) -> u16 {
        match self {
            Self::Minutes(n) => n.into(),
            Self::Hours(n) => u16::from(n) * 60,
        }
    }

    /// `15m`, `3h`
    pub fn word(self) -> String {
        match self {
            Self::Minutes(n) => format!("{n}m"),
            Self::Hours(n) => format!("{n}h"),
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        let step = match (word.strip_suffix('m'), word.strip_suffix('h')) {
            (Some(n), _) => Self::Minutes(n.parse().ok().filter(|n| MINUTE_STEPS.contains(n))?),
            (_, Some(n)) => Self::Hours(n.parse().ok().filter(|n| HOUR_STEPS.contains(n))?),
            _ => return None,
        };
        (step.word() == word).then_some(step)
    }

    /// All intervals.
    pub fn all() -> impl Iterator<Item = Self> {
        MINUTE_STEPS
            .into_iter()
            .map(Self::Minutes)
            .chain(HOUR_STEPS.into_iter().map(Self::Hours))
    }
}

impl TimesOfDay {
    /// The clock times of a day, in order.
    pub fn of_day(&self) -> Vec<Time> {
        match self {
            Self::At(times) => times.iter().copied().collect(),
            Self::Every {
                step,
                minute,
                active: None,
            } => {
                let first = u16::from(*minute) % step.minutes().max(1);
                (first..1_440)
                    .step_by(step.minutes().into())
                    .filter_map(time_at_minute)
                    .collect()
            }
            Self::Every {
                step,
                active: Some(active),
                ..
            } => {
                let (from, to) = (minutes_of_day(active.from), minutes_of_day(active.to));
                let length = (to + 1_440 - from) % 1_440;
                let mut times: Vec<Time> = (0..=length)
                    .step_by(step.minutes().into())
                    .filter_map(|past| time_at_minute((from + past) % 1_440))
                    .collect();
                times.sort();
                times
            }
        }
    }

    /// Whether runs are at clock times, not at intervals.
    pub fn is_fixed(&self) -> bool {
        matches!(self, Self::At(_))
    }
}

/// Minutes past midnight.
pub fn minutes_of_day(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

/// The clock time `minute` minutes past midnight.
pub fn time_at_minute(minute: u16) -> Option<Time> {
    Time::new(
        i8::try_from(minute / 60).ok()?,
        i8::try_from(minute % 60).ok()?,
        0,
        0,
    )
    .ok()
}

/// Parses `09:00`, `9:00`, `9.00`, `0900` or `9`.
pub fn parse_time(text: &str) -> Option<Time> {
    let text = text.trim();
    let (hour, minute) = match text.split_once([':', '.']) {
        Some((hour, minute)) if minute.len() == 2 => (hour, minute),
        Some(_) => return None,
        None if text.len() == 4 && text.is_ascii() => text.split_at(2),
        None => (text, "0"),
    };
    let number = |text: &str, max: u16| {
        text.parse::<u16>()
            .ok()
            .filter(|n| *n <= max && text.len() <= 2 && !text.starts_with('+'))
    };
    time_at_minute(number(hour, 23)? * 60 + number(minute, 59)?)
}

/// `09:00`
pub fn format_time_of_day(time: Time) -> String {
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// Parses clock times that are separated by commas, semicolons or spaces.
pub fn parse_times(text: &str) -> Option<BTreeSet<Time>> {
    let parts: Vec<&str> = text
        .split([',', ';', ' '])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() || parts.len() > MAX_TIMES {
        return None;
    }
    parts.into_iter().map(parse_time).collect()
}

/// Parses days of a month such as `1, 15, last`. Returns the numbers, and whether the last day is
/// included.
pub fn parse_month_days(text: &str) -> Option<(BTreeSet<u8>, bool)> {
    let (mut days, mut last) = (BTreeSet::new(), false);
    for part in text
        .split([',', ';', ' '])
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        if part.eq_ignore_ascii_case("last") {
            last = true;
        } else {
            days.insert(
                part.trim_end_matches('.')
                    .parse()
                    .ok()
                    .filter(|day| (1..=31).contains(day))?,
            );
        }
    }
    (last || !days.is_empty()).then_some((days, last))
}

pub const WEEKDAYS: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// `mon` to `sun`
pub fn weekday_word(day: Weekday) -> &'static str {
    ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
        .get(usize::from(day.to_sunday_zero_offset().unsigned_abs()))
        .copied()
        .unwrap_or("sun")
}

/// Parses `mon` or `Monday`, in any case.
pub fn parse_weekday(word: &str) -> Option<Weekday> {
    let word = word.trim().to_lowercase();
    WEEKDAYS
        .into_iter()
        .find(|day| word == weekday_word(*day) || word == weekday_name(*day).to_lowercase())
}
