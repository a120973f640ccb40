//! The resolved days, date ranges and clock changes on the panes.

use axum::http::StatusCode;
use chatlake::actor::Role;

use crate::support::panes::{PaneSession, before_spring};

#[tokio::test]
async fn the_resolved_days_are_shown_next_to_the_numbers() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren
        .press(
            &page,
            "report",
            &[
                ("report", "chat"),
                ("start_days", "14"),
                ("end_days", "7"),
                ("time_zone", "Europe/Oslo"),
            ],
        )
        .await;
    assert_eq!(
        page.words("[data-days-words]"),
        "A run today pulls Wed 10 Mar to Wed 17 Mar 2027 , 8 whole days in Europe/Oslo. The date range moves each day."
    );
    assert_eq!(
        (page.all(".day.is-in").len(), page.all(".day").len()),
        (8, 15)
    );
    // Without a script, the time zone of the browser is unknown: UTC until a person chooses.
    let fresh = maren.get("/connect/livechat").await;
    assert!(fresh.words("[data-days-words]").contains("in UTC"));
    assert_eq!(fresh.form().0["time_zone"], "");
    assert_eq!(fresh.each("select[data-browser-zone]", |_| ()).len(), 1);
}

#[tokio::test]
async fn a_reversed_date_range_is_refused_next_to_the_field() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    for step in ["details", "preview"] {
        ctx.sandbox.forget_calls();
        let page = maren
            .press(&page, step, &[("start_days", "3"), ("end_days", "14")])
            .await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec!["details".to_owned()])
        );
        assert_eq!(
            page.wrong("end_days"),
            "End Days must be 3 or less (Start Days is 3)."
        );
        assert_eq!(
            (
                page.form().0["start_days"].as_str(),
                page.form().0["end_days"].as_str()
            ),
            ("3", "14")
        );
        assert!(!ctx.sandbox.calls().iter().any(|call| call.path == "/chats"));
    }
    for odd in ["", "-1", "1.5", "a week", "99999999999999999999"] {
        let page = maren.press(&page, "details", &[("start_days", odd)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(!page.wrong("start_days").is_empty(), "{odd:?}");
        assert_eq!(page.form().0["start_days"], odd);
    }
}

#[tokio::test]
async fn a_clock_change_is_shown_next_to_the_run() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren.press(&page, "details", &[]).await;
    let page = maren
        .press(
            &page,
            "next_runs",
            &[
                ("every", "day"),
                ("at", "02:30"),
                ("time_zone", "Europe/Oslo"),
            ],
        )
        .await;
    assert_eq!(page.open_pane(), ["scheduling"]);
    assert_eq!(
        page.words(".schedule-words"),
        "Runs every day at 02:30, Europe/Oslo (adjusts for daylight saving). Next run: tomorrow 02:30."
    );
    let runs = page.all("#next-runs li");
    assert_eq!(runs.len(), 10);
    assert_eq!(runs[2], "Sat 27 Mar 02:30 +01:00");
    assert_eq!(
        runs[3],
        "Sun 28 Mar 03:00 +02:00 Clocks go forward: 02:30 does not exist that night, so the run starts at 03:00."
    );
    assert_eq!(runs[4], "Mon 29 Mar 02:30 +02:00");

    let mut form = page.form();
    form.0.extend([
        ("step".to_owned(), "next_runs".to_owned()),
        ("at".to_owned(), "half past two".to_owned()),
    ]);
    let alone = maren
        .post("/connect/livechat", &form, Some("next_runs"))
        .await;
    assert_eq!(
        (
            alone.status,
            alone.headers["x-chatlake-fragment"].to_str().unwrap()
        ),
        (StatusCode::OK, "next_runs")
    );
    assert!(alone.text.contains("Enter a time such as 09:00.") && !alone.text.contains("<form"));
}
