//! The panes as the settings of a DataSet.

use axum::http::StatusCode;
use chatlake::actor::Role;

use super::first_runs;
use crate::support::panes::{KEY, PaneSession, before_spring, only_dataset};

#[tokio::test]
async fn the_settings_of_a_dataset_are_the_same_panes() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let dataset = maren
        .make(&[
            ("report", "chat"),
            ("start_days", "14"),
            ("end_days", "7"),
            ("time_zone", "Europe/Oslo"),
            ("name", "Chats"),
        ])
        .await;
    let address = format!("/datasets/{}/settings", dataset.id);
    let page = maren.get(&address).await;
    assert_eq!(
        (page.status, page.open_pane().len(), page.action()),
        (StatusCode::OK, 0, address.clone())
    );
    assert!(
        page.summary("credentials")
            .starts_with("Support Oslo, connected")
    );
    assert_eq!(
        page.summary("details"),
        "Chat, 14 to 7 days ago, all groups, all logins"
    );
    assert_eq!(
        page.summary("scheduling"),
        "Every day at 06:00, Europe/Oslo, Replace"
    );
    assert_eq!(page.summary("name"), "Chats");

    let page = maren.press(&page, "edit_scheduling", &[]).await;
    assert_eq!(page.open_pane(), ["scheduling"]);
    let wrong = maren
        .press(&page, "schedule", &[("every", "hours"), ("hours", "5")])
        .await;
    assert_eq!(
        (wrong.status, wrong.open_pane()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["scheduling".to_owned()]
        )
    );
    let page = maren
        .press(
            &page,
            "schedule",
            &[
                ("every", "hours"),
                ("hours", "6"),
                ("minute", "15"),
                ("start_days", "3"),
                ("end_days", "3"),
            ],
        )
        .await;
    assert_eq!(page.toast(), "Saved. The next run uses these settings.");
    let changed = only_dataset(&maren).await;
    assert_eq!(
        (
            changed.schedule.as_deref(),
            changed.menus.start_days,
            changed.menus.end_days
        ),
        (Some("15 */6 * * *"), Some(3), Some(3))
    );
    assert_eq!(
        page.summary("details"),
        "Chat, 3 days ago, all groups, all logins"
    );
    assert_eq!(first_runs(&ctx).await, 1);

    let page = maren.press(&page, "save", &[("every", "manual")]).await;
    let changed = only_dataset(&maren).await;
    assert_eq!((changed.schedule, changed.next_run_at), (None, None));
    assert_eq!(page.summary("scheduling"), "Manually, Replace");

    let colleague = PaneSession::new(&ctx, "kacper", Role::Editor).await;
    assert_eq!(colleague.get(&address).await.status, StatusCode::NOT_FOUND);
    ctx.app
        .datasets
        .share(&maren.actor, &dataset.id, true)
        .await
        .unwrap();
    assert_eq!(colleague.get(&address).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        colleague.post(&address, &page.form(), None).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_schedule_that_the_form_cannot_show_is_preserved_unless_changed() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let dataset = maren.make(&[("report", "agents")]).await;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE datasets SET schedule = '0 9 1 * 1' WHERE id = $1")
        .bind(&dataset.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let page = maren
        .get(&format!("/datasets/{}/settings", dataset.id))
        .await;
    let form = page.form().0;
    assert_eq!(
        (
            form["tab"].as_str(),
            form["a_how"].as_str(),
            form["cron"].as_str()
        ),
        ("advanced", "cron", "0 9 1 * 1")
    );
    let page = maren
        .press(&page, "save", &[("name", "Once a month")])
        .await;
    assert_eq!(
        (
            only_dataset(&maren).await.schedule.as_deref(),
            page.summary("name").as_str()
        ),
        (Some("0 9 1 * 1"), "Once a month")
    );
    maren
        .press(
            &page,
            "schedule",
            &[("tab", "basic"), ("every", "weekday"), ("at", "07:30")],
        )
        .await;
    assert_eq!(
        only_dataset(&maren).await.schedule.as_deref(),
        Some("30 7 * * 1-5")
    );
}

#[tokio::test]
async fn a_dataset_without_its_account_opens_at_credentials_with_the_reason() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let dataset = maren.make(&[("report", "chat"), ("name", "Chats")]).await;
    ctx.app
        .accounts
        .delete(&maren.actor, dataset.account_id.as_ref().unwrap())
        .await
        .unwrap();
    let page = maren
        .get(&format!("/datasets/{}/settings", dataset.id))
        .await;
    assert_eq!(
        (page.status, page.open_pane()),
        (StatusCode::OK, vec!["credentials".to_owned()])
    );
    assert!(
        page.text
            .contains("The account of this DataSet was deleted"),
        "{}",
        page.text
    );
    assert_eq!(
        maren.press(&page, "save", &[]).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let typed = [
        ("account_id", "new"),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", KEY),
        ("api_url", ctx.vendor.as_str()),
        ("requests_per_minute", "60000"),
    ];
    let page = maren.press(&page, "connect", &typed).await;
    assert_eq!(
        (page.status, page.open_pane().len()),
        (StatusCode::OK, 0),
        "{}",
        page.text
    );
    let healed = only_dataset(&maren).await;
    assert!(healed.account_id.is_some() && healed.next_run_at.is_some());
}
