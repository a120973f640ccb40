//! Which schedules are accepted, how they are stored, and how they are described.

use super::*;

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
            r#"{"times":["07:00","12:00","17:00"],"weekdays":["mon","tue","wed","thu","fri"],
                "months":[1,2,3,4,5,6,8,9,10,11,12]}"#,
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
fn a_schedule_is_described_in_words() {
    let words = |cron| Schedule::parse(cron, "Europe/Oslo", 0).unwrap().in_words();
    assert_eq!(words("0 9 * * *"), "Every day at 09:00, Europe/Oslo");
    assert_eq!(words("30 6 * * 1"), "Every Monday at 06:30, Europe/Oslo");
    assert_eq!(words("0 * * * *"), "Every hour, on the hour, Europe/Oslo");
}
