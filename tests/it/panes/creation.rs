//! The panes create DataSets and their first runs.

use axum::http::StatusCode;
use chatlake::actor::Role;

use super::first_runs;
use crate::support::panes::{BEFORE_SPRING, KEY, PaneSession, before_spring};

#[tokio::test]
async fn each_report_becomes_a_dataset_without_scripts() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let mut page = maren.connect().await;
    assert_eq!(page.open_pane(), ["details"]);
    assert!(
        page.summary("credentials")
            .starts_with("Support Oslo, connected, "),
        "{}",
        page.summary("credentials")
    );
    for (made, report) in ["agents", "groups", "chat", "chat_messages", "chat_report"]
        .into_iter()
        .enumerate()
    {
        page = maren.press(&page, "report", &[("report", report)]).await;
        assert_eq!(page.open_pane(), ["details"]);
        let takes_days = !matches!(report, "agents" | "groups");
        assert_eq!(
            page.each("[data-menu-field=days]:not([hidden])", |_| ())
                .len(),
            usize::from(takes_days),
            "{report}"
        );
        assert!(page.text.contains("A run today pulls"));
        page = maren
            .press(
                &page,
                "details",
                &[
                    ("start_days", "14"),
                    ("end_days", "7"),
                    ("time_zone", "Europe/Oslo"),
                ],
            )
            .await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::OK, vec!["scheduling".to_owned()])
        );
        page = maren
            .press(&page, "schedule", &[("every", "day"), ("at", "9:00")])
            .await;
        assert_eq!(page.open_pane(), ["name"]);
        assert_eq!(
            page.summary("scheduling"),
            "Every day at 09:00, Europe/Oslo, Replace"
        );
        assert!(
            page.form().0["name"].ends_with(", Support Oslo"),
            "{:?}",
            page.form()
        );
        page = maren
            .press(
                &page,
                "save_new",
                &[("description", "Line one\r\nLine two")],
            )
            .await;
        assert_eq!(page.action(), "/connect/livechat");
        assert!(
            page.toast()
                .contains("is saved. The first run has started."),
            "{}",
            page.toast()
        );
        let all = ctx.app.datasets.list(&maren.actor).await.unwrap();
        let dataset = all.iter().find(|d| d.report.id == report).unwrap();
        assert_eq!(all.len(), made + 1);
        assert_eq!(
            (dataset.menus.start_days, dataset.menus.end_days),
            if takes_days {
                (Some(14), Some(7))
            } else {
                (None, None)
            }
        );
        assert_eq!(
            (dataset.schedule.as_deref(), dataset.time_zone.as_str()),
            (Some("0 9 * * *"), "Europe/Oslo")
        );
        assert_eq!(dataset.description, "Line one\nLine two");
        // Tomorrow at 09:00 in Oslo, which is 08:00 UTC: today's has just passed.
        assert_eq!(dataset.next_run_at, Some(BEFORE_SPRING + 24 * 3_600_000));
        page = maren.press(&page, "connect", &[]).await;
    }
    assert_eq!(first_runs(&ctx).await, 5);
    assert_eq!(ctx.app.accounts.list(&maren.actor).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_last_pane_alone_saves_nothing() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let wrong = [
        ("credentials", ("account_id", "")),
        ("details", ("report", "no_such_report")),
        ("details", ("end_days", "9000")),
        ("details", ("group", "4711")),
        ("scheduling", ("at", "25:00")),
        ("scheduling", ("every", "keep")),
        ("scheduling", ("time_zone", "Mars/Base")),
        ("scheduling", ("update_mode", "upsert")),
        ("name", ("name", " ")),
        ("name", ("description", "a\0b")),
    ];
    for (pane, value) in wrong {
        let page = maren
            .press(&page, "save", &[("name", "Chats"), value])
            .await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec![pane.to_owned()]),
            "{value:?}"
        );
        assert!(
            page.all(".wrong").iter().any(|text| !text.is_empty()),
            "{value:?}"
        );
    }
    assert!(
        ctx.app
            .datasets
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(first_runs(&ctx).await, 0);
}

#[tokio::test]
async fn a_pane_that_is_edited_keeps_what_the_others_hold() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren
        .press(&page, "details", &[("start_days", "5"), ("end_days", "2")])
        .await;
    let page = maren
        .press(
            &page,
            "schedule",
            &[
                ("every", "week"),
                ("on_fri", "on"),
                ("at", "17:45"),
                ("time_zone", "Asia/Tokyo"),
            ],
        )
        .await;
    let page = maren
        .press(
            &page,
            "edit_details",
            &[("name", "Chats <b>of</b> mine"), ("description", "😀")],
        )
        .await;
    assert_eq!(page.open_pane(), ["details"]);
    let page = maren
        .press(&page, "details", &[("report", "chat_messages")])
        .await;
    assert_eq!(page.open_pane(), ["name"]);
    assert_eq!(
        page.summary("details"),
        "Chat Messages, 5 to 2 days ago, all groups, all logins"
    );
    assert_eq!(
        page.summary("scheduling"),
        "Every Monday and Friday at 17:45, Asia/Tokyo, Replace"
    );
    assert_eq!(
        (
            page.form().0["name"].as_str(),
            page.form().0["description"].as_str()
        ),
        ("Chats <b>of</b> mine", "😀")
    );
    // A pane that was not reached yet does not open.
    let fresh = maren.get("/connect/livechat").await;
    assert_eq!(
        maren.press(&fresh, "edit_name", &[]).await.open_pane(),
        ["credentials"]
    );
}

#[tokio::test]
async fn a_proposed_name_follows_the_report_until_it_is_edited() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren.press(&page, "details", &[("report", "chat")]).await;
    let page = maren.press(&page, "schedule", &[]).await;
    assert_eq!(page.form().0["name"], "Chat, Support Oslo");
    let page = maren.press(&page, "edit_details", &[]).await;
    let page = maren.press(&page, "details", &[("report", "agents")]).await;
    assert_eq!(page.form().0["name"], "Agents, Support Oslo");
}

#[tokio::test]
async fn a_form_sent_by_script_gets_a_redirect_target_and_no_secret() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect/livechat").await;
    assert_eq!(
        page.each("form[data-keeps-secret=connect] input[data-secret]", |_| ())
            .len(),
        1
    );
    let mut form = page.form();
    let typed = [
        ("step", "connect"),
        ("account_id", "new"),
        ("account_name", "Support Oslo"),
        ("credentials.username", "agent@sandbox.test"),
        ("api_url", ctx.vendor.as_str()),
        ("credentials.api_key", "canary-4711"),
    ];
    form.0
        .extend(typed.map(|(field, value)| (field.to_owned(), value.to_owned())));
    let refused = maren.post("/connect/livechat", &form, Some("form")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.has("form[data-keeps-secret] [data-again=problem]")
            && refused.has("form[data-keeps-secret] [data-again=credentials] #api_key-wrong")
    );
    assert!(!refused.text.contains("canary-4711"));
    form.0
        .insert("credentials.api_key".to_owned(), KEY.to_owned());
    let done = maren.post("/connect/livechat", &form, Some("form")).await;
    assert_eq!(
        (done.status, done.text.as_str()),
        (StatusCode::NO_CONTENT, "")
    );
    let to = done.headers["x-chatlake-go"].to_str().unwrap().to_owned();
    assert_eq!(maren.get(&to).await.open_pane(), ["details"]);
    // A later step may redirect to another page, so the browser sends the form itself.
    assert!(!maren.get(&to).await.has("form[data-keeps-secret]"));
}
