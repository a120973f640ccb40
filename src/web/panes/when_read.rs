//! Reads the fields of the schedule into a plan. Only the tab that is open counts; what is wrong stands beside its field.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::when::WhenFields;
use crate::clock::Millis;
use crate::puller::schedules::cron;
use crate::puller::schedules::plan::{
    Active, Calendar, CatchUp, Days, HOUR_STEPS, MINUTE_STEPS, MOST_REMINDER, MOST_TIMES, Plan, Step, Times, WEEKDAYS, When, clock, clocks, month_days,
    weekday_of, weekday_word,
};

/// Field and sentence.
type Wrong = (&'static str, String);

fn wrong<T>(field: &'static str, why: impl Into<String>) -> Result<T, Wrong> {
    Err((field, why.into()))
}

/// The plan, or everything that is wrong with it.
pub fn plan(f: &WhenFields, zone: &TimeZone, now: Millis) -> Result<Plan, Vec<Wrong>> {
    let mut all = Vec::new();
    let mut keep = |why: Wrong| all.push(why);
    let when = match f.of("tab") {
        "advanced" => advanced(f),
        _ => basic(f),
    };
    let when = when.map_err(&mut keep).ok();
    let by_hand = matches!(when, Some(When::Manually { .. }));
    let starts_at = if by_hand { Ok(None) } else { start(f, zone, now) }.map_err(&mut keep).ok();
    let catch_up = match f.of("catch_up") {
        "" => Ok(CatchUp::default()),
        word => CatchUp::parse(word).ok_or_else(|| ("catch_up", "Choose what happens to missed runs.".to_owned())),
    };
    let catch_up = if by_hand { Ok(CatchUp::default()) } else { catch_up }.map_err(&mut keep).ok();
    match (when, starts_at, catch_up) {
        (Some(when), Some(starts_at), Some(catch_up)) => Ok(Plan { when, starts_at, catch_up }),
        _ => Err(all),
    }
}

/// The field beside which it stands that a schedule never fires or fires too often.
pub fn main_field(f: &WhenFields) -> &'static str {
    match (f.of("tab"), f.of("a_how")) {
        ("advanced", "cron") => "cron",
        ("advanced", _) => "a_times",
        _ => "every",
    }
}

fn basic(f: &WhenFields) -> Result<When, Wrong> {
    let every = |step, active| -> Result<When, Wrong> {
        let minute = if active { 0 } else { minute(f, "minute")? };
        let active = if active { Some(active_hours(f, "active_from", "active_to")?) } else { None };
        Ok(When::Calendar(calendar(Times::Every { step, minute, active }, Days::All)))
    };
    let at = |days| Ok(When::Calendar(calendar(times(f, "at")?, days)));
    match f.of("every") {
        "minutes" => match f.of("minutes").parse().ok().filter(|n| MINUTE_STEPS.contains(n)) {
            Some(n) => every(Step::Minutes(n), f.on("active")),
            None => wrong("every", "Choose how many minutes from the list."),
        },
        "hours" => match f.of("hours").parse().ok().filter(|n| HOUR_STEPS.contains(n)) {
            Some(n) => every(Step::Hours(n), f.on("active")),
            None => wrong("every", "Choose how many hours from the list."),
        },
        "day" => at(every_days(f, "every_days", "days_from")?),
        "weekday" => at(Days::Week((1..=5).collect())),
        "week" => at(weekdays(f, "on_", "on")?),
        "month" if f.is("month_how", "ordinal") => {
            let nth = f.of("nth").parse().ok().filter(|nth| *nth <= 5);
            let Some(nth) = nth else { return wrong("nth", "Choose which weekday of the month.") };
            at(Days::Ordinal { nths: BTreeSet::from([nth]), weekdays: BTreeSet::from([one_weekday(f, "nth_day", "nth")?]) })
        }
        "month" => at(days_of_month(f, "month_days")?),
        "manual" => match f.of("remind") {
            "" => Ok(When::Manually { remind_after: None }),
            hours => match hours.parse().ok().filter(|hours| (1..=MOST_REMINDER).contains(hours)) {
                Some(hours) => Ok(When::Manually { remind_after: Some(hours) }),
                None => wrong("remind", "Choose a time from the list."),
            },
        },
        _ => wrong("every", "Choose how often the DataSet runs."),
    }
}

fn advanced(f: &WhenFields) -> Result<When, Wrong> {
    if f.is("a_how", "cron") {
        let line = f.of("cron").trim();
        return match cron::parse(line) {
            Ok(_) => Ok(When::Cron(line.to_owned())),
            Err(why) => wrong("cron", why),
        };
    }
    let times = match f.of("a_times") {
        "once" => times(f, "a_at")?,
        "often" => {
            let Some(step) = Step::parse(f.of("a_step")) else { return wrong("a_times", "Choose how often from the list.") };
            if f.on("a_active") {
                Times::Every { step, minute: 0, active: Some(active_hours(f, "a_from", "a_to")?) }
            } else {
                let minute = minute(f, "a_minute")?;
                Times::Every { step, minute: if let Step::Minutes(n) = step { minute % n } else { minute }, active: None }
            }
        }
        _ => return wrong("a_times", "Choose the times."),
    };
    let days = match f.of("a_days") {
        "all" => Days::All,
        "nth" => every_days(f, "a_every_days", "a_days_from")?,
        "week" => weekdays(f, "a_on_", "a_on")?,
        "month" => days_of_month(f, "a_month_days")?,
        "ordinal" => {
            let nths: BTreeSet<u8> = (0..=5).filter(|nth| f.on(&format!("a_nth_{nth}"))).collect();
            if nths.is_empty() {
                return wrong("a_nth", "Select at least one.");
            }
            Days::Ordinal { nths, weekdays: BTreeSet::from([one_weekday(f, "a_nth_day", "a_nth")?]) }
        }
        _ => return wrong("a_days", "Choose the days."),
    };
    let months = match f.of("a_months") {
        "all" => BTreeSet::new(),
        "some" => (1..=12).filter(|month| f.on(&format!("month_{month}"))).collect(),
        _ => return wrong("a_months", "Choose the months."),
    };
    if f.is("a_months", "some") && months.is_empty() {
        return wrong("a_months", "Select at least one month.");
    }
    let months = if months.len() == 12 { BTreeSet::new() } else { months };
    Ok(When::Calendar(Calendar { months, ..calendar(times, days) }))
}

fn calendar(times: Times, days: Days) -> Calendar {
    // As a step of minutes repeats the minute, so that equal schedules are equal.
    let times = match times {
        Times::Every { step: Step::Minutes(n), minute, active } => Times::Every { step: Step::Minutes(n), minute: minute % n, active },
        times => times,
    };
    Calendar { times, days, months: BTreeSet::new() }
}

fn times(f: &WhenFields, field: &'static str) -> Result<Times, Wrong> {
    match clocks(f.of(field)) {
        Some(times) => Ok(Times::At(times)),
        None => wrong(field, format!("Enter a time such as 09:00. Separate several times with commas, at most {MOST_TIMES}.")),
    }
}

fn minute(f: &WhenFields, field: &'static str) -> Result<u8, Wrong> {
    match f.of(field).trim().parse().ok().filter(|minute| *minute < 60) {
        Some(minute) => Ok(minute),
        None => wrong(field, "Enter a minute from 0 to 59."),
    }
}

fn active_hours(f: &WhenFields, from: &'static str, to: &'static str) -> Result<Active, Wrong> {
    let time = |field: &'static str| -> Result<Time, Wrong> { clock(f.of(field)).map_or_else(|| wrong(field, "Enter a time such as 09:00."), Ok) };
    let active = Active { from: time(from)?, to: time(to)? };
    if active.from == active.to {
        return wrong(to, "Active hours must not start and end at the same time.");
    }
    Ok(active)
}

fn every_days(f: &WhenFields, field: &'static str, from: &'static str) -> Result<Days, Wrong> {
    let text = f.of(field).trim();
    let n: u16 = match if text.is_empty() { Some(1) } else { text.parse().ok().filter(|n| (1..=366).contains(n)) } {
        Some(1) => return Ok(Days::All),
        Some(n) => n,
        None => return wrong(field, "Enter a number of days from 1 to 366."),
    };
    match f.of(from).trim().parse::<Date>() {
        Ok(from) => Ok(Days::EveryNth { n, from }),
        Err(_) => wrong(from, "Enter the first day, for example 2026-12-31."),
    }
}

fn weekdays(f: &WhenFields, start: &str, field: &'static str) -> Result<Days, Wrong> {
    let days: BTreeSet<i8> = WEEKDAYS.iter().filter(|day| f.on(&format!("{start}{}", weekday_word(**day)))).map(|day| day.to_sunday_zero_offset()).collect();
    match days.len() {
        0 => wrong(field, "Select at least one day of the week."),
        7 => Ok(Days::All),
        _ => Ok(Days::Week(days)),
    }
}

fn one_weekday(f: &WhenFields, field: &str, beside: &'static str) -> Result<i8, Wrong> {
    weekday_of(f.of(field)).map_or_else(|| wrong(beside, "Choose a day of the week."), |day| Ok(day.to_sunday_zero_offset()))
}

fn days_of_month(f: &WhenFields, field: &'static str) -> Result<Days, Wrong> {
    match month_days(f.of(field)) {
        Some((days, last)) => Ok(Days::Month { days, last }),
        None => wrong(field, "Enter days of the month such as 1, 15 or last, separated by commas."),
    }
}

/// Delay start.
fn start(f: &WhenFields, zone: &TimeZone, now: Millis) -> Result<Option<Millis>, Wrong> {
    if !f.is("delay", "later") {
        return Ok(None);
    }
    let Ok(day) = f.of("start_day").trim().parse::<Date>() else { return wrong("start_day", "Enter the day in the form 2026-12-31.") };
    let Some(time) = clock(f.of("start_time")) else { return wrong("start_time", "Enter a time such as 09:00.") };
    let Ok(at) = zone.to_timestamp(day.to_datetime(time)) else { return wrong("start_day", "This date is outside the supported range.") };
    // In a stored schedule it may have passed.
    let years = 10 * 366 * 86_400_000;
    if at.as_millisecond() > now + years {
        return wrong("start_day", "The start must be within the next ten years.");
    }
    Ok(Some(at.as_millisecond()))
}
