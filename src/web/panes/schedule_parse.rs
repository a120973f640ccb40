//! Validates the form fields of the schedule and converts them to a plan. Only the open tab counts.
//! Errors are reported per field.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::schedule_fields::ScheduleFields;
use crate::clock::Millis;
use crate::puller::schedules::cron;
use crate::puller::schedules::plan::{
    ActiveHours, Calendar, CatchUp, DayRule, HOUR_STEPS, Interval, MAX_REMINDER_HOURS, MAX_TIMES,
    MINUTE_STEPS, ScheduleKind, SchedulePlan, TimesOfDay, WEEKDAYS, parse_month_days, parse_time,
    parse_times, parse_weekday, weekday_word,
};

/// An error: field and sentence.
type FieldError = (&'static str, String);

fn field_error<T>(field: &'static str, why: impl Into<String>) -> Result<T, FieldError> {
    Err((field, why.into()))
}

/// The plan, or all errors.
pub fn plan(
    f: &ScheduleFields,
    zone: &TimeZone,
    now: Millis,
) -> Result<SchedulePlan, Vec<FieldError>> {
    let mut all = Vec::new();
    let mut collect = |why: FieldError| all.push(why);
    let when = match f.of("tab") {
        "advanced" => advanced(f),
        _ => basic(f),
    };
    let when = when.map_err(&mut collect).ok();
    let is_manual = matches!(when, Some(ScheduleKind::Manually { .. }));
    let starts_at = if is_manual {
        Ok(None)
    } else {
        start(f, zone, now)
    }
    .map_err(&mut collect)
    .ok();
    let catch_up = match f.of("catch_up") {
        "" => Ok(CatchUp::default()),
        word => CatchUp::parse(word)
            .ok_or_else(|| ("catch_up", "Choose what happens to missed runs.".to_owned())),
    };
    let catch_up = if is_manual {
        Ok(CatchUp::default())
    } else {
        catch_up
    }
    .map_err(&mut collect)
    .ok();
    match (when, starts_at, catch_up) {
        (Some(when), Some(starts_at), Some(catch_up)) => Ok(SchedulePlan {
            when,
            starts_at,
            catch_up,
        }),
        _ => Err(all),
    }
}

/// The field that shows the error of a schedule that never runs or runs too often.
pub fn main_field(f: &ScheduleFields) -> &'static str {
    match (f.of("tab"), f.of("a_how")) {
        ("advanced", "cron") => "cron",
        ("advanced", _) => "a_times",
        _ => "every",
    }
}

fn basic(f: &ScheduleFields) -> Result<ScheduleKind, FieldError> {
    let every = |step, active| -> Result<ScheduleKind, FieldError> {
        let minute = if active { 0 } else { minute(f, "minute")? };
        let active = if active {
            Some(active_hours(f, "active_from", "active_to")?)
        } else {
            None
        };
        Ok(ScheduleKind::Calendar(calendar(
            TimesOfDay::Every {
                step,
                minute,
                active,
            },
            DayRule::All,
        )))
    };
    let at = |days| Ok(ScheduleKind::Calendar(calendar(times(f, "at")?, days)));
    match f.of("every") {
        "minutes" => match f
            .of("minutes")
            .parse()
            .ok()
            .filter(|n| MINUTE_STEPS.contains(n))
        {
            Some(n) => every(Interval::Minutes(n), f.on("active")),
            None => field_error("every", "Choose how many minutes from the list."),
        },
        "hours" => match f
            .of("hours")
            .parse()
            .ok()
            .filter(|n| HOUR_STEPS.contains(n))
        {
            Some(n) => every(Interval::Hours(n), f.on("active")),
            None => field_error("every", "Choose how many hours from the list."),
        },
        "day" => at(every_days(f, "every_days", "days_from")?),
        "weekday" => at(DayRule::Week((1..=5).collect())),
        "week" => at(weekdays(f, "on_", "on")?),
        "month" if f.is("month_how", "ordinal") => {
            let nth = f.of("nth").parse().ok().filter(|nth| *nth <= 5);
            let Some(nth) = nth else {
                return field_error("nth", "Choose which weekday of the month.");
            };
            at(DayRule::Ordinal {
                nths: BTreeSet::from([nth]),
                weekdays: BTreeSet::from([one_weekday(f, "nth_day", "nth")?]),
            })
        }
        "month" => at(days_of_month(f, "month_days")?),
        "manual" => match f.of("remind") {
            "" => Ok(ScheduleKind::Manually { remind_after: None }),
            hours => match hours
                .parse()
                .ok()
                .filter(|hours| (1..=MAX_REMINDER_HOURS).contains(hours))
            {
                Some(hours) => Ok(ScheduleKind::Manually {
                    remind_after: Some(hours),
                }),
                None => field_error("remind", "Choose a time from the list."),
            },
        },
        _ => field_error("every", "Choose how often the DataSet runs."),
    }
}

fn advanced(f: &ScheduleFields) -> Result<ScheduleKind, FieldError> {
    if f.is("a_how", "cron") {
        let line = f.of("cron").trim();
        return match cron::parse(line) {
            Ok(_) => Ok(ScheduleKind::Cron(line.to_owned())),
            Err(why) => field_error("cron", why),
        };
    }
    let times = match f.of("a_times") {
        "once" => times(f, "a_at")?,
        "often" => {
            let Some(step) = Interval::parse(f.of("a_step")) else {
                return field_error("a_times", "Choose how often from the list.");
            };
            if f.on("a_active") {
                TimesOfDay::Every {
                    step,
                    minute: 0,
                    active: Some(active_hours(f, "a_from", "a_to")?),
                }
            } else {
                let minute = minute(f, "a_minute")?;
                TimesOfDay::Every {
                    step,
                    minute: if let Interval::Minutes(n) = step {
                        minute % n
                    } else {
                        minute
                    },
                    active: None,
                }
            }
        }
        _ => return field_error("a_times", "Choose the times."),
    };
    let days = match f.of("a_days") {
        "all" => DayRule::All,
        "nth" => every_days(f, "a_every_days", "a_days_from")?,
        "week" => weekdays(f, "a_on_", "a_on")?,
        "month" => days_of_month(f, "a_month_days")?,
        "ordinal" => {
            let nths: BTreeSet<u8> = (0..=5)
                .filter(|nth| f.on(&format!("a_nth_{nth}")))
                .collect();
            if nths.is_empty() {
                return field_error("a_nth", "Select at least one.");
            }
            DayRule::Ordinal {
                nths,
                weekdays: BTreeSet::from([one_weekday(f, "a_nth_day", "a_nth")?]),
            }
        }
        _ => return field_error("a_days", "Choose the days."),
    };
    let months = match f.of("a_months") {
        "all" => BTreeSet::new(),
        "some" => (1..=12)
            .filter(|month| f.on(&format!("month_{month}")))
            .collect(),
        _ => return field_error("a_months", "Choose the months."),
    };
    if f.is("a_months", "some") && months.is_empty() {
        return field_error("a_months", "Select at least one month.");
    }
    let months = if months.len() == 12 {
        BTreeSet::new()
    } else {
        months
    };
    Ok(ScheduleKind::Calendar(Calendar {
        months,
        ..calendar(times, days)
    }))
}

fn calendar(times: TimesOfDay, days: DayRule) -> Calendar {
    // A step of minutes already contains the minute, so it is normalized: equal schedules have
    // equal plans.
    let times = match times {
        TimesOfDay::Every {
            step: Interval::Minutes(n),
            minute,
            active,
        } => TimesOfDay::Every {
            step: Interval::Minutes(n),
            minute: minute % n,
            active,
        },
        times => times,
    };
    Calendar {
        times,
        days,
        months: BTreeSet::new(),
    }
}

fn times(f: &ScheduleFields, field: &'static str) -> Result<TimesOfDay, FieldError> {
    match parse_times(f.of(field)) {
        Some(times) => Ok(TimesOfDay::At(times)),
        None => field_error(
            field,
            format!(
                "Enter a time such as 09:00. Separate several times with commas, \
                 at most {MAX_TIMES}."
            ),
        ),
    }
}

fn minute(f: &ScheduleFields, field: &'static str) -> Result<u8, FieldError> {
    match f
        .of(field)
        .trim()
        .parse()
        .ok()
        .filter(|minute| *minute < 60)
    {
        Some(minute) => Ok(minute),
        None => field_error(field, "Enter a minute from 0 to 59."),
    }
}

fn active_hours(
    f: &ScheduleFields,
    from: &'static str,
    to: &'static str,
) -> Result<ActiveHours, FieldError> {
    let time = |field: &'static str| -> Result<Time, FieldError> {
        parse_time(f.of(field))
            .map_or_else(|| field_error(field, "Enter a time such as 09:00."), Ok)
    };
    let active = ActiveHours {
        from: time(from)?,
        to: time(to)?,
    };
    if active.from == active.to {
        return field_error(to, "Active hours must not start and end at the same time.");
    }
    Ok(active)
}

fn every_days(
    f: &ScheduleFields,
    field: &'static str,
    from: &'static str,
) -> Result<DayRule, FieldError> {
    let text = f.of(field).trim();
    let n: u16 = match if text.is_empty() {
        Some(1)
    } else {
        text.parse().ok().filter(|n| (1..=366).contains(n))
    } {
        Some(1) => return Ok(DayRule::All),
        Some(n) => n,
        None => return field_error(field, "Enter a number of days from 1 to 366."),
    };
    match f.of(from).trim().parse::<Date>() {
        Ok(from) => Ok(DayRule::EveryNth { n, from }),
        Err(_) => field_error(from, "Enter the first day, for example 2026-12-31."),
    }
}

fn weekdays(f: &ScheduleFields, start: &str, field: &'static str) -> Result<DayRule, FieldError> {
    let days: BTreeSet<i8> = WEEKDAYS
        .iter()
        .filter(|day| f.on(&format!("{start}{}", weekday_word(**day))))
        .map(|day| day.to_sunday_zero_offset())
        .collect();
    match days.len() {
        0 => field_error(field, "Select at least one day of the week."),
        7 => Ok(DayRule::All),
        _ => Ok(DayRule::Week(days)),
    }
}

fn one_weekday(
    f: &ScheduleFields,
    field: &str,
    error_field: &'static str,
) -> Result<i8, FieldError> {
    parse_weekday(f.of(field)).map_or_else(
        || field_error(error_field, "Choose a day of the week."),
        |day| Ok(day.to_sunday_zero_offset()),
    )
}

fn days_of_month(f: &ScheduleFields, field: &'static str) -> Result<DayRule, FieldError> {
    match parse_month_days(f.of(field)) {
        Some((days, last)) => Ok(DayRule::Month { days, last }),
        None => field_error(
            field,
            "Enter days of the month such as 1, 15 or last, separated by commas.",
        ),
    }
}

/// Validates the field "Delay start".
fn start(f: &ScheduleFields, zone: &TimeZone, now: Millis) -> Result<Option<Millis>, FieldError> {
    if !f.is("delay", "later") {
        return Ok(None);
    }
    let Ok(day) = f.of("start_day").trim().parse::<Date>() else {
        return field_error("start_day", "Enter the day in the form 2026-12-31.");
    };
    let Some(time) = parse_time(f.of("start_time")) else {
        return field_error("start_time", "Enter a time such as 09:00.");
    };
    let Ok(at) = zone.to_timestamp(day.to_datetime(time)) else {
        return field_error("start_day", "This date is outside the supported range.");
    };
    // In a stored schedule the start may be in the past.
    let years = 10 * 366 * 86_400_000;
    if at.as_millisecond() > now + years {
        return field_error("start_day", "The start must be within the next ten years.");
    }
    Ok(Some(at.as_millisecond()))
}
