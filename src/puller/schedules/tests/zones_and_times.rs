//! Time zones, clock changes and due times.

use super::*;

#[test]
fn a_time_that_the_clocks_skip_runs_when_they_have_gone_forward() {
    assert_eq!(
        next("30 2 * * *", "Europe/Oslo", "2027-03-27T00:00:00Z", 3),
        [
            "2027-03-27 02:30 +01:00",
            "2027-03-28 03:00 +02:00",
            "2027-03-29 02:30 +02:00"
        ]
    );
}

#[test]
fn zones_without_a_slash_are_zones_and_files_beside_them_are_none() {
    for name in [
        "UTC",
        "GMT",
        "CET",
        "EET",
        "MET",
        "WET",
        "EST",
        "MST",
        "HST",
        "EST5EDT",
        "CST6CDT",
        "MST7MDT",
        "PST8PDT",
        "Japan",
        "Etc/GMT-3",
        "Europe/Kiev",
    ] {
        assert!(zone(name).is_ok(), "{name}");
    }
    for name in [
        "",
        "/etc/localtime",
        "localtime",
        "Factory",
        "posixrules",
        "EST5",
        "CEST",
        "Mars",
        "Mars/Phobos",
        "../UTC",
        "CET/",
    ] {
        assert_eq!(
            zone(name).unwrap_err().message(),
            "There is no such time zone. Use a name such as Europe/Oslo or UTC.",
            "{name}"
        );
    }
    let names = zone_names();
    assert_eq!(names[0], "UTC");
    for name in ["CET", "EST5EDT", "GMT", "Europe/Oslo"] {
        assert_eq!(
            names.iter().filter(|listed| *listed == name).count(),
            1,
            "{name}"
        );
    }
    assert!(names.iter().all(|name| zone(name).is_ok()));
    // CET has clock changes as well.
    assert_eq!(
        next("30 2 * * *", "CET", "2027-03-27T00:00:00Z", 2),
        ["2027-03-27 02:30 +01:00", "2027-03-28 03:00 +02:00"]
    );
}

#[test]
fn a_time_that_comes_twice_runs_the_first_time_only() {
    assert_eq!(
        next("30 2 * * *", "Europe/Oslo", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]
    );
    // Several times a day follow the same rule.
    assert_eq!(
        next("30 2,14 * * *", "Europe/Oslo", "2026-10-24T13:00:00Z", 3),
        [
            "2026-10-25 02:30 +02:00",
            "2026-10-25 14:30 +01:00",
            "2026-10-26 02:30 +01:00"
        ]
    );
}

#[test]
fn midnight_that_is_skipped_still_has_its_day() {
    // In Cairo the clocks go from 00:00 to 01:00.
    assert_eq!(
        next("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 2),
        ["2026-04-24 01:00 +03:00", "2026-04-25 00:00 +03:00"]
    );
}

#[test]
fn croner_finds_the_same_moments_as_the_calendar_where_no_clock_changes() {
    for line in [
        "0 9 * * *",
        "0 7,12,17 * 1-6,8-12 1-5",
        "15 */6 * * *",
        "*/15 * * * *",
        "0 8-17/3 * * *",
        "0 9 * * 5#2",
        "0 9 * * 0#L",
        "0 9 1,15,L * *",
        "13-59/30 * * * *",
        "30 9 29 2 *",
    ] {
        let now = at("2026-11-20T12:00:00Z");
        let calendar = Schedule::parse(line, "UTC", now).unwrap();
        assert!(calendar.calendar().is_some(), "{line}");
        let bare = Engine::Cron(Box::new(cron::parse(line).unwrap()));
        let moments = |occurrences: Vec<Occurrence>| {
            occurrences
                .iter()
                .map(|c| iso(c.at.timestamp().as_millisecond()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            moments(calendar.next(now, 200)),
            moments(bare.occurrences(timestamp(now), &TimeZone::UTC, 200)),
            "{line}"
        );
    }
}

#[test]
fn clock_changes_are_described() {
    let notes = |line: &str, after: &str| {
        let schedule = Schedule::parse(line, "Europe/Oslo", at(after)).unwrap();
        let note_of = |c: &Occurrence| {
            let time = c.at.strftime("%H:%M").to_string();
            let note = c
                .clock_change
                .as_ref()
                .map_or_else(String::new, |clock_change| {
                    describe::describe_clock_change(clock_change, &time)
                });
            (time, note)
        };
        schedule
            .next(at(after), 5)
            .iter()
            .map(note_of)
            .collect::<Vec<_>>()
    };
    let spring = notes("30 2 * * *", "2027-03-26T12:00:00Z");
    assert_eq!(
        spring[1],
        (
            "03:00".to_owned(),
            "Clocks go forward: 02:30 does not exist that night, so the run starts at 03:00."
                .to_owned()
        )
    );
    assert!(
        spring
            .iter()
            .enumerate()
            .all(|(at, (_, note))| at == 1 || note.is_empty()),
        "{spring:?}"
    );
    let autumn = notes("30 2 * * *", "2026-10-24T12:00:00Z");
    assert!(
        autumn[0]
            .1
            .starts_with("Clocks go back: 02:30 occurs twice"),
        "{autumn:?}"
    );
    let morning = notes("0 9 * * *", "2027-03-26T12:00:00Z");
    assert!(
        morning.iter().all(|(_, note)| note.is_empty()),
        "{morning:?}"
    );
    let hours = notes("30 */2 * * *", "2027-03-27T23:00:00Z");
    assert_eq!(
        hours[1],
        (
            "04:30".to_owned(),
            "Clocks go forward: 02:30 does not exist that night, so there is no run then."
                .to_owned()
        )
    );
    assert!(
        hours
            .iter()
            .enumerate()
            .all(|(at, (_, note))| at == 1 || note.is_empty()),
        "{hours:?}"
    );
    let back = notes("0 * * * *", "2026-10-24T23:30:00Z");
    assert_eq!(
        back.iter()
            .map(|(time, _)| time.as_str())
            .collect::<Vec<_>>(),
        ["02:00", "02:00", "03:00", "04:00", "05:00"],
        "{back:?}"
    );
    assert!(
        back[..2]
            .iter()
            .all(|(_, note)| note.contains("a run each time")),
        "{back:?}"
    );
}

#[test]
fn missed_due_times_are_counted_up_to_a_maximum() {
    let hourly = Schedule::parse("0 * * * *", "UTC", 0).unwrap();
    let from = at("2026-11-20T12:00:00Z");
    assert_eq!(
        hourly.between(from, from + 3 * 86_400_000, 10_000).len(),
        73
    );
    assert_eq!(hourly.between(from, from, 10_000), [from]);
    assert_eq!(
        hourly.between(from + 1, from + 2, 10_000),
        Vec::<Millis>::new()
    );
    assert_eq!(hourly.between(from, from + 3 * 86_400_000, 10).len(), 10);
}
