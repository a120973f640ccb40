//! The occurrences of a schedule in its time zone. Croner finds days and the times of a bare cron line; jiff knows the clock
//! changes. A skipped clock time runs at the next moment that exists, one that occurs twice runs the first time; an interval
//! leaves out skipped times and runs at repeated ones.

use croner::Cron;
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use super::cron;
use super::plan::{Calendar, DayRule, TimesOfDay};

/// So many days are looked at for one that counts from a day and is in a month that was chosen.
const MAX_DAYS_SEARCHED: usize = 2_000;

/// A moment to come.
#[derive(Clone, Debug)]
pub struct Occurrence {
    pub at: Zoned,
    pub clock_change: Option<ClockChange>,
}

/// What the change of the clocks does to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockChange {
    /// This clock time does not exist that day.
    Skipped(Time),
    /// This clock time comes twice; this is the first and only run.
    First(Time),
    /// This clock time comes twice, and each time it runs.
    Twice(Time),
    /// These clock times before it do not exist that day, and nothing runs then.
    LeftOut(Vec<Time>),
    /// The clocks change between the moment before and this one.
    Forward,
    Back,
}

/// What works out the moments.
#[derive(Clone, Debug)]
pub enum Engine {
    Never,
    Cron(Box<Cron>),
    Calendar { times: TimesOfDay, fixed: bool, days: Box<Cron>, every: Option<(i32, Date)> },
}

impl Engine {
    pub fn of_calendar(calendar: &Calendar) -> Result<Self, String> {
        let every = match calendar.days {
            DayRule::EveryNth { n, from } => Some((i32::from(n.max(1)), from)),
            _ => None,
        };
        let days = Box::new(cron::parse(&format!("0 0 {}", cron::day_fields(calendar).join(" ")))?);
        Ok(Self::Calendar { times: calendar.times.clone(), fixed: calendar.times.is_fixed(), days, every })
    }

    /// The next `many` moments after `after`.
    pub fn occurrences(&self, after: Timestamp, zone: &TimeZone, many: usize) -> Vec<Occurrence> {
        match self {
            Self::Never => Vec::new(),
            Self::Cron(cron) => by_cron(cron, after, zone, many),
            Self::Calendar { times, fixed, days, every } => {
                let times = times.of_day();
                let mut found = Vec::with_capacity(many);
                let start = after.to_zoned(zone.clone()).date().yesterday().ok();
                let mut date = start.and_then(|start| day_from(days, *every, start));
                // The day after the last one too: where midnight comes twice, days overlap.
                let mut enough = false;
                while let Some(day) = date {
                    of_day(day, &times, *fixed, zone, after, &mut found);
                    if enough {
                        break;
                    }
                    enough = found.len() >= many;
                    date = day.tomorrow().ok().and_then(|next| day_from(days, *every, next));
                }
                found.sort_by_key(|occurrences| occurrences.at.timestamp());
                found.dedup_by_key(|occurrences| occurrences.at.timestamp());
                found.truncate(many);
                found
            }
        }
    }
}

/// The first day from `start` on that counts.
fn day_from(days: &Cron, every: Option<(i32, Date)>, start: Date) -> Option<Date> {
    let mut start = every.map_or(start, |(_, from)| start.max(from));
    for _ in 0..MAX_DAYS_SEARCHED {
        let found = days.find_next_occurrence(&start.to_zoned(TimeZone::UTC).ok()?, true).ok()?.date();
        let Some((n, from)) = every else { return Some(found) };
        let past = found.since(from).ok()?.get_days() % n;
        if past == 0 {
            return Some(found);
        }
        start = found.checked_add(Span::new().days(n - past)).ok()?;
    }
    None
}

fn of_day(day: Date, times: &[Time], fixed: bool, zone: &TimeZone, after: Timestamp, found: &mut Vec<Occurrence>) {
    let mut left_out = Vec::new();
    let mut push = |at: Timestamp, clock_change: Option<ClockChange>, left_out: &mut Vec<Time>| {
        let clock_change = clock_change.or_else(|| (!left_out.is_empty()).then(|| ClockChange::LeftOut(std::mem::take(left_out))));
        if at > after {
            found.push(Occurrence { at: at.to_zoned(zone.clone()), clock_change });
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
                // The clock time as the later offset tells it is before the change; the change ends the gap.
                let end = here.earlier().ok().and_then(|before| zone.following(before).next().map(|change| change.timestamp()));
                if let Some(end) = end {
                    push(end, Some(ClockChange::Skipped(*time)), &mut left_out);
                }
            }
            AmbiguousOffset::Gap { .. } => left_out.push(*time),
            AmbiguousOffset::Fold { .. } => {
                if let Ok(at) = here.earlier() {
                    push(at, Some(if fixed { ClockChange::First(*time) } else { ClockChange::Twice(*time) }), &mut left_out);
                }
                if let Some(at) = here.later().ok().filter(|_| !fixed) {
                    push(at, Some(ClockChange::Twice(*time)), &mut left_out);
                }
            }
        }
    }
}

fn by_cron(cron: &Cron, after: Timestamp, zone: &TimeZone, many: usize) -> Vec<Occurrence> {
    let mut before = after.to_zoned(zone.clone());
    let mut found = Vec::with_capacity(many);
    while found.len() < many {
        let Ok(at) = cron.find_next_occurrence(&before, false) else { break };
        // What does not go on would never end.
        if at.timestamp() <= before.timestamp() {
            break;
        }
        // Only what has changed in the day before it is worth a word.
        let day_before = zone.to_offset(at.timestamp() - SignedDuration::from_hours(24));
        let clock_change = match at.offset().seconds().cmp(&before.offset().seconds()) {
            _ if day_before == at.offset() => None,
            std::cmp::Ordering::Greater => Some(ClockChange::Forward),
            std::cmp::Ordering::Less => Some(ClockChange::Back),
            std::cmp::Ordering::Equal => None,
        };
        found.push(Occurrence { at: at.clone(), clock_change });
        before = at;
    }
    found
}
