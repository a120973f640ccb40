//! Ten years in zones with different clock changes: an hour in spring and autumn, half an hour,
//! around Ramadan, and none.

use jiff::Span;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::*;

const ZONES: [&str; 6] = [
    "Europe/Oslo",
    "US/Pacific",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Asuncion",
    "UTC",
];
const FIRST: &str = "2026-01-01T00:00:00Z";
const DAYS: i32 = 3_653;

fn every_day(zone: &TimeZone) -> impl Iterator<Item = Date> {
    let first = FIRST
        .parse::<Timestamp>()
        .unwrap()
        .to_zoned(zone.clone())
        .date()
        .tomorrow()
        .unwrap();
    (0..DAYS).map(move |n| first.checked_add(Span::new().days(n)).unwrap())
}

/// All clock changes in these years.
fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let (first, last) = (
        FIRST.parse::<Timestamp>().unwrap(),
        timestamp(at(FIRST) + i64::from(DAYS) * 86_400_000),
    );
    let mut changes = Vec::new();
    for change in zone
        .following(first)
        .take_while(|change| change.timestamp() < last)
    {
        let before = timestamp(change.timestamp().as_millisecond() - 1);
        if zone.to_offset(before) != change.offset() {
            changes.push(change.timestamp());
        }
    }
    changes
}

#[test]
fn a_daily_time_comes_exactly_once_on_each_local_day() {
    for name in ZONES {
        // The hours of the clock changes, the times around them, and noon.
        for line in [
            "0 0 * * *",
            "30 1 * * *",
            "45 1 * * *",
            "0 2 * * *",
            "15 2 * * *",
            "30 2 * * *",
            "59 2 * * *",
            "0 3 * * *",
            "0 12 * * *",
            "59 23 * * *",
        ] {
            let schedule = Schedule::parse(line, name, at(FIRST)).unwrap();
            let wanted = schedule.calendar().unwrap().times.of_day()[0];
            let mut after = every_day(&schedule.zone)
                .next()
                .unwrap()
                .to_zoned(schedule.zone.clone())
                .unwrap()
                .timestamp()
                .as_millisecond()
                - 1;
            let mut occurrences = std::iter::from_fn(|| {
                let next = schedule.next(after, 1).pop()?;
                after = next.at.timestamp().as_millisecond();
                Some(next)
            });
            for day in every_day(&schedule.zone) {
                let next = occurrences.next().unwrap();
                assert_eq!(next.at.date(), day, "{name} {line}");
                let here = schedule
                    .zone
                    .to_ambiguous_timestamp(day.to_datetime(wanted));
                if !here.is_ambiguous() {
                    assert_eq!(
                        (next.at.time(), &next.clock_change),
                        (wanted, &None),
                        "{name} {line} {day}"
                    );
                } else if matches!(here.offset(), jiff::tz::AmbiguousOffset::Fold { .. }) {
                    assert_eq!(
                        next.at.timestamp(),
                        here.earlier().unwrap(),
                        "{name} {line} {day}: the first time"
                    );
                } else {
                    assert!(
                        changes(&schedule.zone).contains(&next.at.timestamp()),
                        "{name} {line} {day}: the next time that exists"
                    );
                }
            }
        }
    }
}

#[test]
fn an_hourly_schedule_comes_as_often_as_the_clock_strikes_that_day() {
    for name in ZONES {
        let schedule = Schedule::parse("0 * * * *", name, at(FIRST)).unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for day in every_day(&schedule.zone) {
            let midnight = |day: Date| {
                day.to_zoned(schedule.zone.clone())
                    .unwrap()
                    .timestamp()
                    .as_millisecond()
            };
            let (start, end) = (midnight(day), midnight(day.tomorrow().unwrap()));
            // All clock changes in these zones are multiples of half an hour.
            let strikes = (start..end)
                .step_by(1_800_000)
                .filter(|moment| timestamp(*moment).to_zoned(schedule.zone.clone()).minute() == 0)
                .count();
            let runs = schedule.between(start, end - 1, 100).len();
            assert_eq!(runs, strikes, "{name} {day}");
            *counts.entry(runs).or_insert(0) += 1;
        }
        let days = |hours: usize| counts.get(&hours).copied().unwrap_or(0);
        assert_eq!(days(23) + days(24) + days(25), DAYS, "{name}: {counts:?}");
        match name {
            "UTC" => assert_eq!(days(24), DAYS),
            // Paraguay has permanent summer time since the end of 2024; older time zone databases
            // do not have this change.
            "America/Asuncion" if changes(&schedule.zone).is_empty() => assert_eq!(days(24), DAYS),
            // With a change of half an hour, one full hour does not exist in spring, and none
            // occurs twice in autumn.
            "Australia/Lord_Howe" => assert_eq!((days(23), days(25)), (10, 0)),
            // 2030 has two Ramadans.
            "Africa/Casablanca" => assert_eq!((days(23), days(25)), (11, 11)),
            _ => assert_eq!((days(23), days(25)), (10, 10), "{name}"),
        }
    }
}

/// For each minute of the three hours before and after each clock change: the next occurrence does
/// not depend on the current time.
#[test]
fn around_every_change_the_next_occurrence_does_not_depend_on_the_current_time() {
    for name in ZONES {
        for line in ["30 2 * * *", "15 2,3 * * *", "*/30 * * * *", "0 */2 * * *"] {
            let schedule = Schedule::parse(line, name, at(FIRST)).unwrap();
            for change in changes(&schedule.zone) {
                let (from, to) = (
                    change.as_millisecond() - 3 * 3_600_000,
                    change.as_millisecond() + 3 * 3_600_000,
                );
                let all = schedule.between(from, to + 48 * 3_600_000, 500);
                assert!(
                    all.windows(2).all(|pair| pair[0] < pair[1]),
                    "{name} {line}"
                );
                for minute in (from..to).step_by(60_000) {
                    let expected = all.iter().copied().find(|at| *at > minute);
                    assert_eq!(
                        schedule.next_after(minute),
                        expected,
                        "{name} {line} {}",
                        crate::clock::iso(minute)
                    );
                }
            }
        }
    }
}

/// Lines that no calendar expresses are computed by croner alone. With a single time, they follow
/// the same rule.
#[test]
fn a_bare_cron_line_follows_the_same_rule() {
    for name in ZONES {
        // No calendar expresses "the day of the month or the weekday".
        let schedule = Schedule::parse("30 2 1-31 * 1", name, at(FIRST)).unwrap();
        assert!(schedule.calendar().is_none());
        let mut after = every_day(&schedule.zone)
            .next()
            .unwrap()
            .to_zoned(schedule.zone.clone())
            .unwrap()
            .timestamp()
            .as_millisecond()
            - 1;
        for day in every_day(&schedule.zone) {
            let next = schedule.next(after, 1).pop().unwrap();
            assert_eq!(next.at.date(), day, "{name}");
            after = next.at.timestamp().as_millisecond();
        }
    }
}
