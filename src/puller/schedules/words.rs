//! A schedule in words, as pages, programs and the log tell it.

use std::collections::BTreeSet;

use jiff::civil::Weekday;

use super::moments::Odd;
use super::plan::{Calendar, Days, MONTHS, Step, Times, WEEKDAYS, clock_text, weekday_name};

/// "every day at 09:00 and 17:30, in every month except July"
pub fn phrase(calendar: &Calendar) -> String {
    let months = months(&calendar.months);
    let days = days(&calendar.days);
    match &calendar.times {
        Times::At(times) => {
            let times: Vec<String> = times.iter().map(|time| clock_text(*time)).collect();
            format!("{} at {}{months}", days.unwrap_or_else(|| "every day".to_owned()), listed(&times))
        }
        times => {
            let on = days.map_or_else(String::new, |days| format!(", {}{}", days.trim_end_matches(','), past_midnight(times)));
            format!("{}{on}{months}", often(times))
        }
    }
}

/// The hours of active hours that pass midnight are those of the day on which they are, and not of the evening before.
fn past_midnight(times: &Times) -> String {
    match times {
        Times::Every { active: Some(active), .. } if active.from > active.to => {
            format!(" (on these days until {} and from {})", clock_text(active.to), clock_text(active.from))
        }
        _ => String::new(),
    }
}

fn often(times: &Times) -> String {
    let Times::Every { step, minute, active } = times else { return String::new() };
    let every = match step {
        Step::Minutes(n) => format!("every {n} minutes"),
        Step::Hours(1) => "every hour".to_owned(),
        Step::Hours(n) => format!("every {n} hours"),
    };
    if let Some(active) = active {
        let mut said = format!("{every} from {} to {}, both included", clock_text(active.from), clock_text(active.to));
        let last = times.of_day().into_iter().rfind(|time| active.from > active.to || *time <= active.to);
        if active.from < active.to
            && let Some(last) = last.filter(|last| *last != active.to)
        {
            said.push_str(&format!(" (the last at {})", clock_text(last)));
        }
        return said;
    }
    match (step, minute) {
        (Step::Minutes(_), 0) => every,
        (Step::Minutes(n), minute) => format!("{every}, starting at minute {}", minute % n),
        (Step::Hours(1), 0) => format!("{every}, on the hour"),
        (Step::Hours(1), minute) => format!("{every} at minute {minute}"),
        (Step::Hours(_), 0) => format!("{every}, from midnight"),
        (Step::Hours(_), minute) => format!("{every} at minute {minute}, from midnight"),
    }
}

fn days(days: &Days) -> Option<String> {
    let weekday = |day: &i8| Weekday::from_sunday_zero_offset(*day).map(weekday_name).unwrap_or_default().to_owned();
    let in_order = |days: &BTreeSet<i8>| -> Vec<String> {
        WEEKDAYS.iter().map(|day| day.to_sunday_zero_offset()).filter(|day| days.contains(day)).map(|day| weekday(&day)).collect()
    };
    Some(match days {
        Days::All => return None,
        Days::EveryNth { n: 1, .. } => return None,
        Days::EveryNth { n, from } => format!("every {n} days, starting {},", from.strftime("%-d %b %Y")),
        Days::Week(days) if *days == (1..=5).collect() => "Monday to Friday".to_owned(),
        Days::Week(days) => format!("every {}", listed(&in_order(days))),
        Days::Month { days, last } => {
            let mut all: Vec<String> = days.iter().map(|day| nth_day(*day)).collect();
            if *last {
                all.push("last day".to_owned());
            }
            format!("on the {} of the month", listed(&all))
        }
        Days::Ordinal { nths, weekdays } => {
            // The last one is told last.
            let mut order: Vec<u8> = nths.iter().copied().filter(|nth| *nth > 0).collect();
            order.extend(nths.contains(&0).then_some(0));
            let which: Vec<String> = order.into_iter().map(|nth| nth_word(nth).to_owned()).collect();
            format!("on the {} {} of the month", listed(&which), listed(&in_order(weekdays)))
        }
    })
}

/// first to fifth; 0 is the last.
pub fn nth_word(nth: u8) -> &'static str {
    ["last", "first", "second", "third", "fourth", "fifth"].get(usize::from(nth)).copied().unwrap_or("last")
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
    let name = |month: u8| MONTHS.get(usize::from(month).saturating_sub(1)).copied().unwrap_or_default().to_owned();
    match months.len() {
        0 | 12 => String::new(),
        ..=8 => format!(", in {}", listed(&months.iter().map(|month| name(*month)).collect::<Vec<_>>())),
        _ => format!(", in every month except {}", listed(&(1..=12).filter(|month| !months.contains(month)).map(name).collect::<Vec<_>>())),
    }
}

/// "a, b and c"
fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// What the change of the clocks does to a run, in a sentence. `actual`: when it starts.
pub fn odd(odd: &Odd, actual: &str) -> String {
    match odd {
        Odd::Skipped(time) => format!("Clocks go forward: {} does not exist that night, so the run starts at {actual}.", clock_text(*time)),
        Odd::First(time) => format!("Clocks go back: {} occurs twice that night. The run starts only the first time.", clock_text(*time)),
        Odd::Twice(time) => format!("Clocks go back: {} occurs twice that night, with a run each time.", clock_text(*time)),
        Odd::LeftOut(times) => {
            let (times, are) = (times.iter().map(|time| clock_text(*time)).collect::<Vec<_>>(), if times.len() == 1 { "does" } else { "do" });
            format!("Clocks go forward: {} {are} not exist that night, so there is no run then.", listed(&times))
        }
        Odd::Forward => "Clocks went forward since the previous run.".to_owned(),
        Odd::Back => "Clocks went back since the previous run.".to_owned(),
    }
}

/// The first letter as at the start of a sentence.
pub fn begun(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
