//! The occurrences of a schedule in its time zone. Croner finds days and the times of a bare cron
//! line; jiff knows the clock changes. A skipped clock time runs at the next time that exists, and
//! one that occurs twice runs the first time. An interval leaves out skipped times and runs at
//! repeated ones.

use croner::Cron;
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use super::cron;
use super::plan::{Calendar, DayRule, TimesOfDay};

/// The maximum number of candidates when a rule counts days from a date and only some months are
/// selected.
const MAX_DAYS_SEARCHED: usize = 2_000;

/// A due time of a schedule.
#[derive(Clone, Debug)]
pub struct Occurrence {
    pub at: Zoned,
    pub clock_change: Option<ClockChange>,
}

/// The effect of a clock change on an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockChange {
    /// This clock time does not exist that day, so the run starts later.
    Skipped(Time),
    /// This clock time occurs twice; there is a run only the first time.
    First(Time),
    /// This clock time occurs twice, with a run each time.
    Twice(Time),
    /// These earlier clock times do not exist that day and have no run.
    LeftOut(Vec<Time>),
    /// The clocks went forward since the previous occurrence.
    Forward,
    /// The clocks went back since the previous occurrence.
    Back,
}

/// Computes the occurrences.
#[derive(Clone, Debug)]
pub enum Engine {
    Never,
    Cron(Box<Cron>),
    Calendar {
        times: TimesOfDay,
        fixed: bool,
        days: Box<Cron>,
        every: Option<(i32, Date)>,
    },
}

impl Engine {
    pub fn of_calendar(calendar: &Calendar) -> Result<Self, String> {
        let every = match calendar.days {
            DayRule::EveryNth { n, from } => Some((i32::from(n.max(1)), from)),
            _ => None,
        };
        let days = Box::new(cron::parse(&format!(
            "0 0 {}",
            cron::day_fields(calendar).join(" ")
        ))?);
        Ok(Self::Calendar {
            times: calendar.times.clone(),
            fixed: calendar.times.is_fixed(),
            days,
            every,
        })
    }

    /// The next `count` occurrences after `after`.
    pub fn occurrences(&self, after: Timestamp, zone: &TimeZone, count: usize) -> Vec<Occurrence> {
        match self {
            Self::Never => Vec::new(),
            Self::Cron(cron) => by_cron(cron, after, zone, count),
            Self::Calendar {
                times,
                fixed,
                days,
                every,
            } => {
                let times = times.of_day();
                let mut found = Vec::with_capacity(count);
                let start = after.to_zoned(zone.clone()).date().yesterday().ok();
                let mut date = start.and_then(|start| day_from(days, *every, start));
                // One more day is computed after enough are found: days overlap if midnight occurs
                // twice.
                let mut enough = false;
                while let Some(day) = date {
                    of_day(day, &times, *fixed, zone, after, &mut found);
                    if enough {
                        break;
                    }
                    enough = found.len() >= count;
                    date = day
                        .tomorrow()
                        .ok()
                        .and_then(|next| day_from(days, *every, next));
                }
                found.sort_by_key(|occurrence| occurrence.at.timestamp());
                found.dedup_by_key(|occurrence| occurrence.at.timestamp());
                found.truncate(count);
                found
            }
        }
    }
}

/// The first day of the rule from `start` on. `every`: only each n-th day, counted from a date.
fn day_from(days: &Cron, every: Option<(i32, Date)>, start: Date) -> Option<Date> {
    let mut start = every.map_or(start, |(_, from)| start.max(from));
    for _ in 0..MAX_DAYS_SEARCHED {
        let found = days
            .find_next_occurrence(&start.to_zoned(TimeZone::UTC).ok()?, true)
            .ok()?
            .date();
        let Some((n, from)) = every else {
            return Some(found);
        };
        let past = found.since(from).ok()?.get_days() % n;
        if past == 0 {
            return Some(found);
        }
        start = found.checked_add(Span::new().days(n - past)).ok()?;
    }
    None
}

fn of_day(
    day: Date,
    times: &[Time],
    fixed: bool,
    zone: &TimeZone,
    after: Timestamp,
    found: &mut Vec<Occurrence>,
) {
    let mut left_out = Vec::new();
    let mut push = |at: Timestamp, clock_change: Option<ClockChange>, left_out: &mut Vec<Time>| {
        let clock_change = clock_change.or_else(|| {
            (!left_out.is_empty()).then(|| ClockChange::LeftOut(std::mem::take(left_out)))
        });
        if at > after {
            found.push(Occurrence {
                at: at.to_zoned(zone.clone()),
                clock_change,
            });
        }
    };
    for time in times {
        let here = zone.to_ambiguous_timestamp(day.to_datetime(*time));
        match here.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                if let Ok(at) = here.compatible() {
                    push(at, None, &mut left_out);
                }
            }
            AmbiguousOffset::Gap { .. } if fixed => {
                // The skipped time, converted with the offset after the change, is before the
                // change. The change is the end of the gap.
                let end = here.earlier().ok().and_then(|before| {
                    zone.following(before)
                        .next()
                        .map(|change| change.timestamp())
                });
                if let Some(end) = end {
                    push(end, Some(ClockChange::Skipped(*time)), &mut left_out);
                }
            }
            AmbiguousOffset::Gap { .. } => left_out.push(*time),
            AmbiguousOffset::Fold { .. } => {
                if let Ok(at) = here.earlier() {
                    push(
                        at,
                        Some(if fixed {
                            ClockChange::First(*time)
                        } else {
                            ClockChange::Twice(*time)
                        }),
                        &mut left_out,
                    );
                }
                if let Some(at) = here.later().ok().filter(|_| !fixed) {
                    push(at, Some(ClockChange::Twice(*time)), &mut left_out);
                }
            }
        }
    }
}

fn by_cron(cron: &Cron, after: Timestamp, zone: &TimeZone, count: usize) -> Vec<Occurrence> {
    let mut before = after.to_zoned(zone.clone());
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let Ok(at) = cron.find_next_occurrence(&before, false) else {
            break;
        };
        // Stops if croner does not advance, which would be an endless loop.
        if at.timestamp() <= before.timestamp() {
            break;
        }
        // A clock change is only mentioned if it is less than a day ago.
        let day_before = zone.to_offset(at.timestamp() - SignedDuration::from_hours(24));
        let clock_change = match at.offset().seconds().cmp(&before.offset().seconds()) {
            _ if day_before == at.offset() => None,
            std::cmp::Ordering::Greater => Some(ClockChange::Forward),
            std::cmp::Ordering::Less => Some(ClockChange::Back),
            std::cmp::Ordering::Equal => None,
        };
        found.push(Occurrence {
            at: at.clone(),
            clock_change,
        });
        before = at;
    }
    found
}
