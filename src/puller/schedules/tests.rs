//! Parsing, occurrences and descriptions of schedules.

use super::*;
use crate::clock::iso;

pub(super) fn at(text: &str) -> Millis {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

pub(super) fn parse_json(json: &str) -> ScheduleJson {
    serde_json::from_str(json).unwrap()
}

fn of(json: &str, zone: &str, now: &str) -> Result<Schedule> {
    Schedule::from_json(&parse_json(json), zone, at(now), MIN_INTERVAL_MINUTES)
}

fn texts(schedule: &Schedule, after: &str, many: usize) -> Vec<String> {
    schedule
        .next(at(after), many)
        .iter()
        .map(|occurrence| occurrence.at.strftime("%Y-%m-%d %H:%M %:z").to_string())
        .collect()
}

fn next(cron: &str, zone: &str, after: &str, many: usize) -> Vec<String> {
    texts(
        &Schedule::parse(cron, zone, at(after)).unwrap(),
        after,
        many,
    )
}

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
fn schedules_that_never_fire_or_fire_too_often_are_refused() {
    for cron in [
        "0 0 31 2 *",
        "* * * * *",
        "*/4 * * * *",
        "",
        "0 9 * *",
        "0 9 * * * *",
        "@daily",
        "a b c d e",
        &"0 ".repeat(5_000),
    ] {
        assert!(
            Schedule::parse(cron, "UTC", at("2026-11-21T00:00:00Z")).is_err(),
            "{cron:?}"
        );
    }
    for zone in ["", "Mars/Base", "../etc/passwd", "/etc/localtime", "Oslo"] {
        assert!(Schedule::parse("0 9 * * *", zone, 0).is_err(), "{zone:?}");
    }
    let hourly = Schedule::new(parse_json(r#"{"every":"30m"}"#).plan().unwrap(), "UTC").unwrap();
    assert!(hourly.clone().validate(0, 60).is_err() && hourly.validate(0, 30).is_ok());
}

#[test]
fn valid_json_is_parsed_and_other_json_is_refused_with_a_sentence() {
    let now = "2026-11-20T12:00:00Z";
    let good = [
        (
            r#"{"times":["9:00","17:30"]}"#,
            "Every day at 09:00 and 17:30, Europe/Oslo",
            "2026-11-20 17:30 +01:00",
        ),
        (
            r#"{"times":["09:00"],"weekdays":["mon","thu"],"months":[1,2]}"#,
            "Every Monday and Thursday at 09:00, in January and February, Europe/Oslo",
            "2027-01-04 09:00 +01:00",
        ),
        (
            r#"{"times":["09:00"],"weekdays":["fri"],"nth":[2]}"#,
            "On the second Friday of the month at 09:00, Europe/Oslo",
            "2026-12-11 09:00 +01:00",
        ),
        (
            r#"{"times":["09:00"],"weekdays":["sun"],"nth":[2,4,"last"]}"#,
            "On the second, fourth and last Sunday of the month at 09:00, Europe/Oslo",
            "2026-11-22 09:00 +01:00",
        ),
        (
            r#"{"times":["09:00"],"month_days":[1,15,"last"]}"#,
            "On the 1st, 15th and last day of the month at 09:00, Europe/Oslo",
            "2026-11-30 09:00 +01:00",
        ),
        (
            r#"{"times":["09:00"],"every_days":3,"days_from":"2026-11-20"}"#,
            "Every 3 days, starting 20 Nov 2026, at 09:00, Europe/Oslo",
            "2026-11-23 09:00 +01:00",
        ),
        (
            r#"{"every":"15m","active_from":"08:00","active_to":"18:00"}"#,
            "Every 15 minutes from 08:00 to 18:00, both included, Europe/Oslo",
            "2026-11-20 13:15 +01:00",
        ),
        (
            r#"{"every":"3h","active_from":"08:00","active_to":"18:00"}"#,
            "Every 3 hours from 08:00 to 18:00, both included (the last at 17:00), Europe/Oslo",
            "2026-11-20 14:00 +01:00",
        ),
        (
            r#"{"every":"2h","active_from":"22:00","active_to":"04:00"}"#,
            "Every 2 hours from 22:00 to 04:00, both included, Europe/Oslo",
            "2026-11-20 22:00 +01:00",
        ),
        (
            r#"{"every":"30m","minute":13}"#,
            "Every 30 minutes, starting at minute 13, Europe/Oslo",
            "2026-11-20 13:13 +01:00",
        ),
        (
            r#"{"cron":"0 9 * * 1-5"}"#,
            "Monday to Friday at 09:00, Europe/Oslo",
            "2026-11-23 09:00 +01:00",
        ),
        (
            r#"{"cron":"5 */6 * * *"}"#,
            "Every 6 hours at minute 5, from midnight, Europe/Oslo",
            "2026-11-20 18:05 +01:00",
        ),
        (
            r#"{"cron":"0 9 * * *","starts_at":"2027-01-01T09:00:00Z"}"#,
            "Every day at 09:00, not before Fri 1 Jan 2027 10:00, Europe/Oslo",
            "2027-01-02 09:00 +01:00",
        ),
        (r#"{"cron":"0 9 1 * 1"}"#, "", "2026-11-23 09:00 +01:00"),
    ];
    for (json, words, first) in good {
        let schedule = of(json, "Europe/Oslo", now).unwrap_or_else(|why| panic!("{json}: {why}"));
        assert!(
            words.is_empty() || schedule.in_words() == words,
            "{json}: {}",
            schedule.in_words()
        );
        assert_eq!(texts(&schedule, now, 1), [first], "{json}");
        // The schedule stays the same after a round trip through JSON.
        let again = Schedule::new(
            ScheduleJson::from(schedule.plan()).plan().unwrap(),
            "Europe/Oslo",
        )
        .unwrap();
        assert_eq!(
            (again.in_words(), texts(&again, now, 30)),
            (schedule.in_words(), texts(&schedule, now, 30)),
            "{json}"
        );
    }
    let bad = [
        "{}",
        r#"{"times":[]}"#,
        r#"{"times":["25:00"]}"#,
        r#"{"times":["09:00"],"cron":"0 9 * * *"}"#,
        r#"{"times":["09:00"],"every":"1h"}"#,
        r#"{"times":["09:00","09:03"]}"#,
        r#"{"every":"7m"}"#,
        r#"{"every":"5h"}"#,
        r#"{"every":"1h","active_from":"08:00"}"#,
        r#"{"every":"1h","active_from":"08:00","active_to":"08:00"}"#,
        r#"{"every":"1h","minute":60}"#,
        r#"{"times":["09:00"],"weekdays":["someday"]}"#,
        r#"{"times":["09:00"],"nth":[2]}"#,
        r#"{"times":["09:00"],"weekdays":["mon"],"month_days":[1]}"#,
        r#"{"times":["09:00"],"month_days":[32]}"#,
        r#"{"times":["09:00"],"month_days":[31],"months":[2]}"#,
        r#"{"times":["09:00"],"every_days":3}"#,
        r#"{"times":["09:00"],"months":[13]}"#,
        r#"{"times":["09:00"],"months":[]}"#,
        r#"{"times":["09:00"],"catch_up":"some"}"#,
        r#"{"times":["09:00"],"starts_at":"tomorrow"}"#,
        r#"{"remind_after_hours":0}"#,
        r#"{"remind_after_hours":24,"times":["09:00"]}"#,
        r#"{"remind_after_hours":24,"catch_up":"all"}"#,
        r#"{"weekdays":["mon"]}"#,
    ];
    for json in bad {
        let why = of(json, "UTC", now).unwrap_err();
        assert!(
            why.message().ends_with('.') && why.field_errors()[0].0 == "schedule",
            "{json}: {why}"
        );
    }
}

#[test]
fn a_calendar_that_one_line_expresses_is_stored_as_that_line() {
    for (json, line) in [
        (r#"{"times":["09:00"]}"#, "0 9 * * *"),
        (
            r#"{"times":["07:00","12:00","17:00"],"weekdays":["mon","tue","wed","thu","fri"],"months":[1,2,3,4,5,6,8,9,10,11,12]}"#,
            "0 7,12,17 * 1-6,8-12 1-5",
        ),
        (r#"{"every":"6h","minute":15}"#, "15 */6 * * *"),
        (r#"{"every":"15m"}"#, "*/15 * * * *"),
        (
            r#"{"every":"3h","active_from":"08:00","active_to":"17:00"}"#,
            "0 8-17/3 * * *",
        ),
        (
            r#"{"times":["09:00"],"weekdays":["fri"],"nth":[2]}"#,
            "0 9 * * 5#2",
        ),
        (
            r#"{"times":["09:00"],"month_days":[1,15,"last"]}"#,
            "0 9 1,15,L * *",
        ),
    ] {
        let schedule = of(json, "UTC", "2026-11-20T12:00:00Z").unwrap();
        let stored = schedule.to_stored(0).unwrap();
        assert_eq!(
            (stored.cron.as_deref(), stored.plan),
            (Some(line), None),
            "{json}"
        );
    }
    let two = of(
        r#"{"times":["09:00","17:30"]}"#,
        "UTC",
        "2026-11-20T12:00:00Z",
    )
    .unwrap()
    .to_stored(0)
    .unwrap();
    assert_eq!(two.cron.as_deref(), Some("0 9 * * *\n30 17 * * *"));
    assert!(two.plan.is_some());
    assert!(
        Schedule::new(SchedulePlan::manual(), "UTC")
            .unwrap()
            .to_stored(0)
            .is_none()
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
fn a_schedule_is_described_in_words() {
    let words = |cron| Schedule::parse(cron, "Europe/Oslo", 0).unwrap().in_words();
    assert_eq!(words("0 9 * * *"), "Every day at 09:00, Europe/Oslo");
    assert_eq!(words("30 6 * * 1"), "Every Monday at 06:30, Europe/Oslo");
    assert_eq!(words("0 * * * *"), "Every hour, on the hour, Europe/Oslo");
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
