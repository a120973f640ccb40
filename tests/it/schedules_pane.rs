//! The Scheduling pane without scripts: every kind of schedule is chosen, shown in words, stored,
//! shown again as it was, and changed.

use axum::http::StatusCode;
use chatlake::actor::Role;

use crate::support::panes::{PaneSession, before_spring};

/// What is typed, the summary, the cron lines, the first of the next runs.
type ScheduleCase = (
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
    &'static str,
);

const SCHEDULE_CASES: [ScheduleCase; 14] = [
    (
        &[("every", "minutes"), ("minutes", "15")],
        "Every 15 minutes",
        "*/15 * * * *",
        "Wed 24 Mar 09:15 +01:00",
    ),
    (
        &[
            ("every", "hours"),
            ("hours", "3"),
            ("active", "on"),
            ("active_from", "8:00"),
            ("active_to", "18:00"),
        ],
        "Every 3 hours from 08:00 to 18:00, both included (the last at 17:00)",
        "0 8-18/3 * * *",
        "Wed 24 Mar 11:00 +01:00",
    ),
    (
        &[("every", "hours"), ("hours", "1"), ("minute", "13")],
        "Every hour at minute 13",
        "13 * * * *",
        "Wed 24 Mar 09:13 +01:00",
    ),
    (
        &[("every", "day"), ("at", "9:00, 17:30")],
        "Every day at 09:00 and 17:30",
        "0 9 * * *\n30 17 * * *",
        "Wed 24 Mar 17:30 +01:00",
    ),
    (
        &[
            ("every", "day"),
            ("every_days", "2"),
            ("days_from", "2027-03-23"),
            ("at", "02:30"),
        ],
        "Every 2 days, starting 23 Mar 2027, at 02:30",
        "30 2 * * * every 2 days from 2027-03-23",
        "Thu 25 Mar 02:30 +01:00",
    ),
    (
        &[("every", "weekday"), ("at", "07:30")],
        "Monday to Friday at 07:30",
        "30 7 * * 1-5",
        "Thu 25 Mar 07:30 +01:00",
    ),
    (
        &[("every", "week"), ("on_thu", "on"), ("at", "07:30")],
        "Every Monday and Thursday at 07:30",
        "30 7 * * 1,4",
        "Thu 25 Mar 07:30 +01:00",
    ),
    (
        &[
            ("every", "month"),
            ("month_days", "1, last"),
            ("at", "06:00"),
        ],
        "On the 1st and last day of the month at 06:00",
        "0 6 1,L * *",
        "Wed 31 Mar 06:00 +02:00",
    ),
    (
        &[
            ("every", "month"),
            ("month_how", "ordinal"),
            ("nth", "2"),
            ("nth_day", "fri"),
            ("at", "06:00"),
        ],
        "On the second Friday of the month at 06:00",
        "0 6 * * 5#2",
        "Fri 9 Apr 06:00 +02:00",
    ),
    (
        &[
            ("tab", "advanced"),
            ("a_at", "07:00 12:00 17:00"),
            ("a_days", "week"),
            ("a_months", "some"),
        ],
        "Monday to Friday at 07:00, 12:00 and 17:00",
        "0 7,12,17 * * 1-5",
        "Wed 24 Mar 12:00 +01:00",
    ),
    (
        &[
            ("tab", "advanced"),
            ("a_times", "often"),
            ("a_step", "30m"),
            ("a_active", "on"),
            ("a_days", "ordinal"),
            ("a_nth_day", "sun"),
        ],
        "Every 30 minutes from 08:00 to 18:00, both included, on the second and fourth Sunday of the month",
        "0 18 * * 0#2,0#4\n0,30 8,9,10,11,12,13,14,15,16,17 * * 0#2,0#4",
        "Sun 28 Mar 08:00 +02:00",
    ),
    (
        &[
            ("tab", "advanced"),
            ("a_days", "month"),
            ("a_month_days", "15"),
        ],
        "On the 15th of the month at 06:00",
        "0 6 15 * *",
        "Thu 15 Apr 06:00 +02:00",
    ),
    (
        &[
            ("tab", "advanced"),
            ("a_how", "cron"),
            ("cron", "15 9 1 * 1"),
        ],
        "At 09:15, on day 1 of the month and on Monday",
        "15 9 1 * 1",
        "Mon 29 Mar 09:15 +02:00",
    ),
    (
        &[
            ("every", "day"),
            ("at", "09:00"),
            ("delay", "later"),
            ("start_day", "2027-04-01"),
            ("start_time", "12:00"),
            ("catch_up", "none"),
        ],
        "Every day at 09:00, not before Thu 1 Apr 2027 12:00",
        "0 9 * * *",
        "Fri 2 Apr 09:00 +02:00",
    ),
];

#[tokio::test]
async fn every_kind_of_schedule_is_chosen_summarised_stored_and_shown_again() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let dataset = maren
        .make(&[
            ("report", "agents"),
            ("time_zone", "Europe/Oslo"),
            ("every", "manual"),
        ])
        .await;
    let settings = format!("/datasets/{}/settings", dataset.id);
    let start = maren.get(&settings).await;
    for (typed, words, cron, first) in SCHEDULE_CASES {
        // Whatever was typed before goes back to what is usual.
        let usual = [("tab", "basic"), ("every", "manual")];
        let page = maren.press(&start, "save", &usual).await;
        assert_eq!(page.summary("scheduling"), "Manually, Replace");
        let page = maren.press(&page, "next_runs", typed).await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::OK, vec!["scheduling".to_owned()]),
            "{typed:?}: {:?}",
            page.all(".wrong")
        );
        assert_eq!(
            (
                page.all("#next-runs li").len(),
                page.all("#next-runs li")[0].as_str()
            ),
            (10, first),
            "{typed:?}"
        );
        let page = maren.press(&page, "save", &[]).await;
        assert_eq!(
            page.toast(),
            "Saved. The next run uses these settings.",
            "{typed:?}"
        );
        let said = page.summary("scheduling");
        assert!(
            said == format!("{words}, Europe/Oslo, Replace") || typed.contains(&("a_how", "cron")),
            "{typed:?}: {said}"
        );
        let stored = ctx
            .app
            .datasets
            .get(&maren.actor, &dataset.id)
            .await
            .unwrap();
        assert_eq!(stored.schedule.as_deref(), Some(cron), "{typed:?}");
        // Saved again as it is shown, it stays as it is.
        let again = maren.get(&settings).await;
        maren.press(&again, "save", &[]).await;
        let same = ctx
            .app
            .datasets
            .get(&maren.actor, &dataset.id)
            .await
            .unwrap();
        assert_eq!(
            (same.schedule, same.schedule_state.plan, same.next_run_at),
            (
                stored.schedule,
                stored.schedule_state.plan,
                stored.next_run_at
            ),
            "{typed:?}"
        );
    }
    maren
        .press(
            &start,
            "save",
            &[("tab", "basic"), ("every", "manual"), ("remind", "168")],
        )
        .await;
    let page = maren.get(&settings).await;
    assert_eq!(
        (
            page.form().0["every"].as_str(),
            page.form().0["remind"].as_str()
        ),
        ("manual", "168")
    );
}

#[tokio::test]
async fn errors_are_shown_next_to_their_field_and_input_is_preserved_on_both_tabs() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren
        .press(
            &page,
            "details",
            &[("report", "agents"), ("time_zone", "Europe/Oslo")],
        )
        .await;
    let wrong: [(&[(&str, &str)], &str); 22] = [
        (&[("every", "minutes"), ("minutes", "7")], "every"),
        (&[("every", "hours"), ("minute", "61")], "minute"),
        (
            &[
                ("every", "hours"),
                ("active", "on"),
                ("active_from", "noon"),
            ],
            "active_from",
        ),
        (
            &[("every", "hours"), ("active", "on"), ("active_to", "08:00")],
            "active_to",
        ),
        (&[("every", "day"), ("at", "9:00, half past five")], "at"),
        (&[("every", "day"), ("at", "9:00, 9:02")], "every"),
        (&[("every", "day"), ("every_days", "0")], "every_days"),
        (
            &[("every", "day"), ("every_days", "2"), ("days_from", "soon")],
            "days_from",
        ),
        (&[("every", "month"), ("month_days", "32")], "month_days"),
        (
            &[("every", "month"), ("month_how", "ordinal"), ("nth", "9")],
            "nth",
        ),
        (&[("every", "manual"), ("remind", "0")], "remind"),
        (&[("every", "sometimes")], "every"),
        (&[("delay", "later")], "start_day"),
        (
            &[
                ("delay", "later"),
                ("start_day", "2027-04-01"),
                ("start_time", "x"),
            ],
            "start_time",
        ),
        (&[("catch_up", "some")], "catch_up"),
        (&[("tab", "advanced"), ("a_at", "")], "a_at"),
        (
            &[("tab", "advanced"), ("a_times", "often"), ("a_step", "7m")],
            "a_times",
        ),
        (
            &[
                ("tab", "advanced"),
                ("a_days", "month"),
                ("a_month_days", "first"),
            ],
            "a_month_days",
        ),
        (&[("tab", "advanced"), ("a_days", "some")], "a_days"),
        (
            &[
                ("tab", "advanced"),
                ("a_how", "cron"),
                ("cron", "0 0 31 2 *"),
            ],
            "cron",
        ),
        (
            &[
                ("tab", "advanced"),
                ("a_how", "cron"),
                ("cron", "every day"),
            ],
            "cron",
        ),
        (
            &[
                ("tab", "advanced"),
                ("a_how", "cron"),
                ("cron", "* * * * *"),
            ],
            "cron",
        ),
    ];
    for (typed, field) in wrong {
        let page = maren.press(&page, "schedule", typed).await;
        assert_eq!(
            (page.status, page.open_pane()),
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                vec!["scheduling".to_owned()]
            ),
            "{typed:?}"
        );
        assert!(
            page.wrong(field).ends_with('.'),
            "{typed:?}: {:?}",
            page.all(".wrong")
        );
        let form = page.form().0;
        assert!(
            typed.iter().all(
                |(field, value)| form.get(*field).is_none_or(|held| held == value
                    || field.ends_with('s')
                    || *field == "every"
                    || field.starts_with("a_")
                    || *field == "nth"
                    || *field == "remind"
                    || *field == "catch_up")
            ),
            "{typed:?}"
        );
    }
    // All errors are shown at once, and an error elsewhere in the pane leaves the next
    // runs as they are.
    let both = maren
        .press(
            &page,
            "schedule",
            &[
                ("every", "day"),
                ("at", "04:45"),
                ("hold_drop", "150"),
                ("retry", "always"),
                ("retry_every", "0"),
            ],
        )
        .await;
    assert!(
        !both.wrong("hold_drop").is_empty()
            && both.words(".schedule-words").contains("every day at 04:45"),
        "{:?}",
        both.all(".wrong")
    );
    let three = maren
        .press(
            &page,
            "schedule",
            &[
                ("every", "day"),
                ("at", "soon"),
                ("update_mode", "merge"),
                ("hold_drop", "x"),
            ],
        )
        .await;
    assert!(
        !three.wrong("at").is_empty() && !three.wrong("hold_drop").is_empty(),
        "{:?}",
        three.all(".wrong")
    );
    // Other years than this one are shown.
    let leap = maren
        .press(
            &page,
            "next_runs",
            &[
                ("tab", "advanced"),
                ("a_how", "cron"),
                ("cron", "0 0 29 2 *"),
            ],
        )
        .await;
    assert!(
        leap.all("#next-runs li")[0].contains("29 Feb 2028")
            && leap.words(".schedule-words").contains("Tue 29 Feb 2028"),
        "{}",
        leap.words("#next-runs")
    );
    // To the other tab and back.
    let page = maren
        .press(&page, "next_runs", &[("at", "03:15"), ("every", "weekday")])
        .await;
    let page = maren
        .press(
            &page,
            "next_runs",
            &[("tab", "advanced"), ("a_at", "04:45")],
        )
        .await;
    assert!(
        page.words(".schedule-words").contains("every day at 04:45"),
        "{}",
        page.words(".schedule-words")
    );
    let page = maren.press(&page, "next_runs", &[("tab", "basic")]).await;
    assert!(
        page.words(".schedule-words")
            .contains("Monday to Friday at 03:15"),
        "{}",
        page.words(".schedule-words")
    );
    assert_eq!(page.form().0["a_at"], "04:45");
}
