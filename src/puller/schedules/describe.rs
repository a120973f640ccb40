//! Describes a schedule in words, for pages, the API and the log.

use std::collections::BTreeSet;

use jiff::civil::Weekday;

use super::occurrences::ClockChange;
use super::plan::{
    Calendar, DayRule, Interval, MONTHS, TimesOfDay, WEEKDAYS, format_time_of_day, weekday_name,
};

/// "every day at 09:00 and 17:30, in every month except July"
pub fn phrase(calendar: &Calendar) -> String {
    let months = months(&calendar.months);
    let days = days(&calendar.days);
    match &calendar.times {
        TimesOfDay::At(times) => {
            let times: Vec<String> = times.iter().map(|time| format_time_of_day(*time)).collect();
            format!(
                "{} at {}{months}",
                days.unwrap_or_else(|| "every day".to_owned()),
                join_with_and(&times)
            )
        }
        times => {
            let on = days.map_or_else(String::new, |days| {
                format!(", {}{}", days.trim_end_matches(','), past_midnight(times))
            });
            format!("{}{on}{months}", describe_interval(times))
        }
    }
}

/// The note for active hours that pass midnight: the hours after midnight belong to their own date,
/// not to the evening before.
fn past_midnight(times: &TimesOfDay) -> String {
    match times {
        TimesOfDay::Every {
            active: Some(active),
            ..
        } if active.from > active.to => {
            format!(
                " (on these days until {} and from {})",
                format_time_of_day(active.to),
                format_time_of_day(active.from)
            )
        }
        _ => String::new(),
    }
}

fn describe_interval(times: &TimesOfDay) -> String {
    let TimesOfDay::Every {
        step,
        minute,
        active,
    } = times
    else {
        return String::new();
    };
    let every = match step {
        Interval::Minutes(n) => format!("every {n} minutes"),
        Interval::Hours(1) => "every hour".to_owned(),
        Interval::Hours(n) => format!("every {n} hours"),
    };
    if let Some(active) = active {
        let mut text = format!(
            "{every} from {} to {}, both included",
            format_time_of_day(active.from),
            format_time_of_day(active.to)
        );
        let last = times
            .of_day()
            .into_iter()
            .rfind(|time| active.from > active.to || *time <= active.to);
        if active.from < active.to
            && let Some(last) = last.filter(|last| *last != active.to)
        {
            text.push_str(&format!(" (the last at {})", format_time_of_day(last)));
        }
        return text;
    }
    match (step, minute) {
        (Interval::Minutes(_), 0) => every,
        (Interval::Minutes(n), minute) => format!("{every}, starting at minute {}", minute % n),
        (Interval::Hours(1), 0) => format!("{every}, on the hour"),
        (Interval::Hours(1), minute) => format!("{every} at minute {minute}"),
        (Interval::Hours(_), 0) => format!("{every}, from midnight"),
        (Interval::Hours(_), minute) => format!("{every} at minute {minute}, from midnight"),
    }
}

fn days(days: &DayRule) -> Option<String> {
    let weekday = |day: &i8| {
        Weekday::from_sunday_zero_offset(*day)
            .map(weekday_name)
            .unwrap_or_default()
            .to_owned()
    };
    let in_order = |days: &BTreeSet<i8>| -> Vec<String> {
        WEEKDAYS
            .iter()
            .map(|day| day.to_sunday_zero_offset())
            .filter(|day| days.contains(day))
            .map(|day| weekday(&day))
            .collect()
    };
    Some(match days {
        DayRule::All => return None,
        DayRule::EveryNth { n: 1, .. } => return None,
        DayRule::EveryNth { n, from } => {
            format!("every {n} days, starting {},", from.strftime("%-d %b %Y"))
        }
        DayRule::Week(days) if *days == (1..=5).collect() => "Monday to Friday".to_owned(),
        DayRule::Week(days) => format!("every {}", join_with_and(&in_order(days))),
        DayRule::Month { days, last } => {
            let mut all: Vec<String> = days.iter().map(|day| nth_day(*day)).collect();
            if *last {
                all.push("last day".to_owned());
            }
            format!("on the {} of the month", join_with_and(&all))
        }
        DayRule::Ordinal { nths, weekdays } => {
            // 0 means the last one and is named last.
            let mut order: Vec<u8> = nths.iter().copied().filter(|nth| *nth > 0).collect();
            order.extend(nths.contains(&0).then_some(0));
            let which: Vec<String> = order
                .into_iter()
                .map(|nth| nth_word(nth).to_owned())
                .collect();
            format!(
                "on the {} {} of the month",
                join_with_and(&which),
                join_with_and(&in_order(weekdays))
            )
        }
    })
}

/// "first" to "fifth"; 0 is "last".
pub fn nth_word(nth: u8) -> &'static str {
    ["last", "first", "second", "third", "fourth", "fifth"]
        .get(usize::from(nth))
        .copied()
        .unwrap_or("last")
}

fn nth_day(day: u8) -> String {
    let end = match (day % 10, day) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{day}{end}")
}

fn months(months: &BTreeSet<u8>) -> String {
    let name = |month: u8| {
        MONTHS
            .get(usize::from(month).saturating_sub(1))
            .copied()
            .unwrap_or_default()
            .to_owned()
    };
    match months.len() {
        0 | 12 => String::new(),
        ..=8 => format!(
            ", in {}",
            join_with_and(&months.iter().map(|month| name(*month)).collect::<Vec<_>>())
        ),
        _ => format!(
            ", in every month except {}",
            join_with_and(
                &(1..=12)
                    .filter(|month| !months.contains(month))
                    .map(name)
                    .collect::<Vec<_>>()
            )
        ),
    }
}

/// "a, b and c"
fn join_with_and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// The effect of a clock change on a run, as a sentence. `actual`: the start time of the run.
pub fn describe_clock_change(clock_change: &ClockChange, actual: &str) -> String {
    match clock_change {
        ClockChange::Skipped(time) => format!(
            "Clocks go forward: {} does not exist that night, so the run starts at {actual}.",
            format_time_of_day(*time)
        ),
        ClockChange::First(time) => format!(
            "Clocks go back: {} occurs twice that night. The run starts only the first time.",
            format_time_of_day(*time)
        ),
        ClockChange::Twice(time) => format!(
            "Clocks go back: {} occurs twice that night, with a run each time.",
            format_time_of_day(*time)
        ),
        ClockChange::LeftOut(times) => {
            let (times, verb) = (
                times
                    .iter()
                    .map(|time| format_time_of_day(*time))
                    .collect::<Vec<_>>(),
                if times.len() == 1 { "does" } else { "do" },
            );
            format!(
                "Clocks go forward: {} {verb} not exist that night, so there is no run then.",
                join_with_and(&times)
            )
        }
        ClockChange::Forward => "Clocks went forward since the previous run.".to_owned(),
        ClockChange::Back => "Clocks went back since the previous run.".to_owned(),
    }
}

/// The text with an upper case first letter.
pub fn capitalize_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
