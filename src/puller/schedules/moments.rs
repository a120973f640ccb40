//! The moments of a schedule on the clock of its zone. Croner finds days and the moments of a bare cron line; jiff knows when the
//! clocks change. A clock time that is skipped comes at the next moment that exists, one that comes twice comes the first time only;
//! what is to happen time and again is left out while it is skipped, and comes each time.

use croner::Cron;
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use super::cron;
use super::plan::{Calendar, Days, Times};

/// So many days are looked at for one that counts from a day and is in a month that was chosen.
const MOST_DAYS: usize = 2_000;

/// A moment to come.
#[derive(Clone, Debug)]
pub struct Coming {
    pub at: Zoned,
    pub odd: Option<Odd>,
}

/// What the change of the clocks does to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Odd {
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
    Calendar { times: Times, fixed: bool, days: Box<Cron>, every: Option<(i32, Date)> },
}

impl Engine {
    pub fn of_calendar(calendar: &Calendar) -> Result<Self, String> {
        let every = match calendar.days {
            Days::EveryNth { n, from } => Some((i32::from(n.max(1)), from)),
            _ => None,
        };
        let days = Box::new(cron::parse(&format!("0 0 {}", cron::day_fields(calendar).join(" ")))?);
        Ok(Self::Calendar { times: calendar.times.clone(), fixed: calendar.times.is_fixed(), days, every })
    }

    /// The next `many` moments after `after`.
    pub fn coming(&self, after: Timestamp, zone: &TimeZone, many: usize) -> Vec<Coming> {
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
                found.sort_by_key(|coming| coming.at.timestamp());
                found.dedup_by_key(|coming| coming.at.timestamp());
                found.truncate(many);
                found
            }
        }
    }
}

/// The first day from `start` on that counts.
fn day_from(days: &Cron, every: Option<(i32, Date)>, start: Date) -> Option<Date> {
    let mut start = every.map_or(start, |(_, from)| start.max(from));
    for _ in 0..MOST_DAYS {
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

fn of_day(day: Date, times: &[Time], fixed: bool, zone: &TimeZone, after: Timestamp, found: &mut Vec<Coming>) {
    let mut left_out = Vec::new();
    let mut push = |at: Timestamp, odd: Option<Odd>, left_out: &mut Vec<Time>| {
        let odd = odd.or_else(|| (!left_out.is_empty()).then(|| Odd::LeftOut(std::mem::take(left_out))));
        if at > after {
            found.push(Coming { at: at.to_zoned(zone.clone()), odd });
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
                    push(end, Some(Odd::Skipped(*time)), &mut left_out);
                }
            }
            AmbiguousOffset::Gap { .. } => left_out.push(*time),
            AmbiguousOffset::Fold { .. } => {
                if let Ok(at) = here.earlier() {
                    push(at, Some(if fixed { Odd::First(*time) } else { Odd::Twice(*time) }), &mut left_out);
                }
                if let Some(at) = here.later().ok().filter(|_| !fixed) {
                    push(at, Some(Odd::Twice(*time)), &mut left_out);
                }
            }
        }
    }
}

fn by_cron(cron: &Cron, after: Timestamp, zone: &TimeZone, many: usize) -> Vec<Coming> {
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
        let odd = match at.offset().seconds().cmp(&before.offset().seconds()) {
            _ if day_before == at.offset() => None,
            std::cmp::Ordering::Greater => Some(Odd::Forward),
            std::cmp::Ordering::Less => Some(Odd::Back),
            std::cmp::Ordering::Equal => None,
        };
        found.push(Coming { at: at.clone(), odd });
        before = at;
    }
    found
}
