//! Converts a calendar to cron lines, and a cron line to a calendar where that is possible. Croner
//! parses the lines and finds the days.

use std::collections::{BTreeMap, BTreeSet};

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::plan::{
    ActiveHours, Calendar, DayRule, HOUR_STEPS, Interval, MINUTE_STEPS, TimesOfDay, minutes_of_day,
    time_at_minute,
};

/// Parses a line of five fields.
pub fn parse(text: &str) -> Result<Cron, String> {
    if text.len() > 128 || text.split_whitespace().count() != 5 {
        return Err(
            "A cron expression has five fields: minute, hour, day of month, month, weekday. \
                    Example: 0 9 * * * runs every day at 09:00."
                .to_owned(),
        );
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    parser.parse(text).map_err(|_| {
        "This cron expression cannot be read. Minutes: 0 to 59. Hours: 0 to 23. Days: 1 to 31. Months: 1 to 12 or JAN to DEC. \
         Weekdays: 0 to 7 or SUN to SAT. A range goes from the smaller to the larger value, as in 9-17."
            .to_owned()
    })
}

/// The fields for day of month, month and weekday.
pub fn day_fields(calendar: &Calendar) -> [String; 3] {
    let any = || "*".to_owned();
    let (day, weekday) = match &calendar.days {
        DayRule::All | DayRule::EveryNth { .. } => (any(), any()),
        DayRule::Week(days) => (any(), list(days.iter().map(|day| day.unsigned_abs()), true)),
        DayRule::Month { days, last } => {
            let mut parts = list(days.iter().copied(), true);
            if *last {
                parts = if parts.is_empty() {
                    "L".to_owned()
                } else {
                    format!("{parts},L")
                };
            }
            (parts, any())
        }
        DayRule::Ordinal { nths, weekdays } => {
            let which = |nth: u8| {
                if nth == 0 {
                    "L".to_owned()
                } else {
                    nth.to_string()
                }
            };
            let parts: Vec<String> = weekdays
                .iter()
                .flat_map(|day| nths.iter().map(move |nth| format!("{day}#{}", which(*nth))))
                .collect();
            (any(), parts.join(","))
        }
    };
    let months = if calendar.months.is_empty() {
        any()
    } else {
        list(calendar.months.iter().copied(), true)
    };
    [day, months, weekday]
}

/// The cron lines of a calendar. A rule that counts days from a date is appended to the line as
/// text.
pub fn lines(calendar: &Calendar) -> Vec<String> {
    let [day, month, weekday] = day_fields(calendar);
    let counted = match calendar.days {
        DayRule::EveryNth { n, from } => format!(" every {n} days from {from}"),
        _ => String::new(),
    };
    time_fields(&calendar.times)
        .into_iter()
        .map(|(minute, hour)| format!("{minute} {hour} {day} {month} {weekday}{counted}"))
        .collect()
}

/// The cron line of a calendar; `None` if no single line expresses it.
pub fn line(calendar: &Calendar) -> Option<String> {
    match &lines(calendar)[..] {
        [line] if self::calendar(line).as_ref() == Some(calendar) => Some(line.clone()),
        _ => None,
    }
}

fn time_fields(times: &TimesOfDay) -> Vec<(String, String)> {
    match times {
        TimesOfDay::Every {
            step: Interval::Minutes(n),
            minute: 0,
            active: None,
        } => return vec![(format!("*/{n}"), "*".to_owned())],
        TimesOfDay::Every {
            step: Interval::Minutes(n),
            minute,
            active: None,
        } => return vec![(format!("{}-59/{n}", minute % n), "*".to_owned())],
        TimesOfDay::Every {
            step: Interval::Hours(1),
            minute,
            active: None,
        } => return vec![(minute.to_string(), "*".to_owned())],
        TimesOfDay::Every {
            step: Interval::Hours(n),
            minute,
            active: None,
        } => return vec![(minute.to_string(), format!("*/{n}"))],
        TimesOfDay::Every {
            step: Interval::Hours(n),
            active: Some(active),
            ..
        } if active.from < active.to && active.from.minute() == active.to.minute() => {
            let step = if *n == 1 {
                String::new()
            } else {
                format!("/{n}")
            };
            return vec![(
                active.from.minute().to_string(),
                format!("{}-{}{step}", active.from.hour(), active.to.hour()),
            )];
        }
        _ => {}
    }
    let mut minutes: BTreeMap<u16, BTreeSet<u8>> = BTreeMap::new();
    for time in times.of_day() {
        minutes
            .entry(minutes_of_day(time) / 60)
            .or_default()
            .insert(time.minute().unsigned_abs());
    }
    let mut hours: BTreeMap<BTreeSet<u8>, Vec<u16>> = BTreeMap::new();
    for (hour, minutes) in minutes {
        hours.entry(minutes).or_default().push(hour);
    }
    let text = |hours: Vec<u16>| {
        hours
            .iter()
            .map(u16::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    hours
        .into_iter()
        .map(|(minutes, hours)| (list(minutes, false), text(hours)))
        .collect()
}

/// Numbers separated by commas. `ranges`: three or more consecutive numbers become a range.
fn list(numbers: impl IntoIterator<Item = u8>, ranges: bool) -> String {
    let numbers: Vec<u8> = numbers.into_iter().collect();
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < numbers.len() {
        let mut end = at;
        while ranges && end + 1 < numbers.len() && numbers[end + 1] == numbers[end] + 1 {
            end += 1;
        }
        if end - at < 2 {
            end = at;
            parts.push(numbers[at].to_string());
        } else {
            parts.push(format!("{}-{}", numbers[at], numbers[end]));
        }
        at = end + 1;
    }
    parts.join(",")
}

/// The calendar of a cron line; `None` if no calendar expresses the line.
pub fn calendar(text: &str) -> Option<Calendar> {
    let [minute, hour, day, month, weekday] = text.split_whitespace().collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let months = if month == "*" {
        BTreeSet::new()
    } else {
        numbers(month, 1, 12)?
    };
    let days = match (day, weekday) {
        ("*", "*") => DayRule::All,
        ("*", weekday) if weekday.contains('#') => ordinals(weekday)?,
        ("*", weekday) => {
            // Cron has two numbers for Sunday: 0 and 7.
            let days: BTreeSet<i8> = numbers(weekday, 0, 7)?
                .into_iter()
                .map(|day| (day % 7).cast_signed())
                .collect();
            if days.len() == 7 {
                DayRule::All
            } else {
                DayRule::Week(days)
            }
        }
        (day, "*") => {
            let plain: Vec<&str> = day.split(',').filter(|part| *part != "L").collect();
            let last = plain.len() < day.split(',').count();
            let days = if plain.is_empty() {
                BTreeSet::new()
            } else {
                numbers(&plain.join(","), 1, 31)?
            };
            DayRule::Month { days, last }
        }
        _ => return None,
    };
    Some(Calendar {
        times: times(minute, hour)?,
        days,
        months,
    })
}

fn times(minute: &str, hour: &str) -> Option<TimesOfDay> {
    if let Some((first, n)) = stepped(minute, 59) {
        let step = Interval::Minutes(Some(n).filter(|n| MINUTE_STEPS.contains(n) && first < *n)?);
        if hour == "*" {
            return Some(TimesOfDay::Every {
                step,
                minute: first,
                active: None,
            });
        }
        let (from, to) = hour.split_once('-')?;
        let (from, to) = (number(from, 23)?, number(to, 23).filter(|_| first == 0)?);
        let active = ActiveHours {
            from: at(from, 0)?,
            to: at(to, 60 - n)?,
        };
        return (from <= to).then_some(TimesOfDay::Every {
            step,
            minute: 0,
            active: Some(active),
        });
    }
    let minute = number(minute, 59)?;
    if hour == "*" {
        return Some(TimesOfDay::Every {
            step: Interval::Hours(1),
            minute,
            active: None,
        });
    }
    if let Some((0, n)) = stepped(hour, 23).filter(|_| hour.starts_with('*')) {
        return HOUR_STEPS.contains(&n).then_some(TimesOfDay::Every {
            step: Interval::Hours(n),
            minute,
            active: None,
        });
    }
    if let Some((from, rest)) = hour.split_once('-') {
        let (to, n) = rest.split_once('/').unwrap_or((rest, "1"));
        let (from, to, n) = (number(from, 23)?, number(to, 23)?, number(n, 12)?);
        let active = ActiveHours {
            from: at(from, minute)?,
            to: at(to, minute)?,
        };
        let fits = from < to && HOUR_STEPS.contains(&n);
        return fits.then_some(TimesOfDay::Every {
            step: Interval::Hours(n),
            minute: 0,
            active: Some(active),
        });
    }
    let hours: Option<BTreeSet<_>> = hour
        .split(',')
        .map(|hour| number(hour, 23).and_then(|hour| at(hour, minute)))
        .collect();
    hours.map(TimesOfDay::At)
}

fn at(hour: u8, minute: u8) -> Option<jiff::civil::Time> {
    time_at_minute(u16::from(hour) * 60 + u16::from(minute))
}

/// The first number and the step of `*/15` or `3-59/15`.
fn stepped(field: &str, end: u8) -> Option<(u8, u8)> {
    let (start, step) = field.split_once('/')?;
    let first = match start {
        "*" => 0,
        range => {
            let (first, last) = range.split_once('-')?;
            number(last, end).filter(|last| *last == end)?;
            number(first, end)?
        }
    };
    Some((first, number(step, end)?))
}

fn ordinals(field: &str) -> Option<DayRule> {
    let (mut weekdays, mut nths, mut pairs) = (BTreeSet::new(), BTreeSet::new(), 0);
    for part in field.split(',') {
        let (day, nth) = part.split_once('#')?;
        weekdays.insert((number(day, 7)? % 7).cast_signed());
        nths.insert(if nth == "L" {
            0
        } else {
            number(nth, 5).filter(|nth| *nth > 0)?
        });
        pairs += 1;
    }
    (pairs == weekdays.len() * nths.len()).then_some(DayRule::Ordinal { nths, weekdays })
}

/// The numbers of `1,3-5`, if all are from `min` to `max`.
fn numbers(field: &str, min: u8, max: u8) -> Option<BTreeSet<u8>> {
    let mut all = BTreeSet::new();
    for part in field.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number(from, max)?, number(to, max)?);
        if from < min || from > to {
            return None;
        }
        all.extend(from..=to);
    }
    Some(all)
}

fn number(text: &str, max: u8) -> Option<u8> {
    text.parse()
        .ok()
        .filter(|n| *n <= max && text.bytes().all(|b| b.is_ascii_digit()))
}
