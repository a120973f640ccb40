//! Notifications about lateness, API sunsets and overdue manual runs, and who receives them.

use chatlake::actor::{Role, Scope};
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::notifications::outbox::BATCH_WINDOW;
use chatlake::puller::run::RunState;

use super::good_run;
use super::owner_with_dataset;
use crate::support::context::TestContext;
use crate::support::mail::MailServer;
use crate::support::notifications::{
    set_notifications, stored_notifications, stored_notifications_since,
};
use crate::support::{DAY, HOUR, NOON, until};

#[tokio::test(flavor = "multi_thread")]
async fn lateness_stops_and_sunsets_are_notified_once_to_their_recipients() {
    let (ctx, server) = (
        TestContext::stopped_with_workers().await,
        MailServer::new(&[]).await,
    );
    ctx.app
        .puller
        .notifications
        .set_mail_server(&server.mail_settings("none", None))
        .await
        .unwrap();
    let (owner, account, dataset) = owner_with_dataset(&ctx).await;
    let quiet = ctx.dataset(&owner, &account, "agents", "Quiet").await;
    ctx.app
        .datasets
        .set_notifications(
            &owner,
            &quiet,
            &NotificationSettings::new(None, Vec::new(), Vec::new(), 1).unwrap(),
        )
        .await
        .unwrap();
    for dataset in [&dataset, &quiet] {
        ctx.app
            .datasets
            .set_retry_policy(
                &owner,
                dataset,
                chatlake::datasets::policies::RetryPolicy::NEVER,
                Some(1),
            )
            .await
            .unwrap();
    }
    ctx.app.puller.wake_deadlines.notify_one();
    ctx.clock.advance(HOUR + 1);
    until("it is late", async || {
        ctx.app
            .datasets
            .for_run(&quiet)
            .await
            .unwrap()
            .policies
            .late_since
    })
    .await;
    ctx.clock.advance(BATCH_WINDOW);
    let mail = server.count(1).await.remove(0);
    assert_eq!(mail["subject"], "“Agents & groups” is late");
    assert!(
        mail["text"].as_str().unwrap().contains(
            "New data was expected by Fri 20 Nov 2026 at 13:00 UTC. No run has succeeded yet."
        ),
        "{mail}"
    );
    good_run(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    assert_eq!(
        server.count(2).await[1]["subject"],
        "“Agents & groups” is up to date again"
    );

    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE accounts SET api_ends_on = '2026-12-18'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    let notified = async |words: &str| {
        until(words, async || {
            let (notified,): (Option<String>,) =
                sqlx::query_as("SELECT sunset_notified FROM accounts")
                    .fetch_one(ctx.app.db.read())
                    .await
                    .unwrap();
            notified.filter(|notified| notified == words).map(drop)
        })
        .await
    };
    notified("2026-12-18 a month").await;
    ctx.clock.advance(BATCH_WINDOW);
    let mail = server.count(3).await.remove(2);
    assert_eq!(mail["subject"], "LiveChat ends the API that “Support” uses");
    assert!(
        mail["text"]
            .as_str()
            .unwrap()
            .contains("On Fri 18 Dec 2026, in 28 days, LiveChat ends the API"),
        "{mail}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sunset_of_an_api_is_notified_once_per_stage() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE accounts SET api_ends_on = '2027-01-19'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    // Sixty days before it; the day counts in UTC.
    for (left, stage) in [
        (60, "known"),
        (45, "known"),
        (30, "a month"),
        (20, "a month"),
        (7, "a week"),
        (3, "a week"),
        (1, "a day"),
        (0, "a day"),
        (-1, "over"),
    ] {
        let at = NOON + (60 - left) * DAY;
        ctx.clock.advance(at - ctx.clock.now());
        let key = format!("2027-01-19 {stage}");
        until(&key, async || {
            ctx.app.puller.wake_deadlines.notify_one();
            let notified: Option<String> =
                sqlx::query_scalar("SELECT sunset_notified FROM accounts")
                    .fetch_one(ctx.app.db.read())
                    .await
                    .unwrap();
            (notified.as_ref() == Some(&key)).then_some(())
        })
        .await;
        let first = ![45, 20, 3, 0].contains(&left);
        assert_eq!(
            stored_notifications_since(&ctx, at).await.len(),
            usize::from(first),
            "{left} days before"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_manual_dataset_is_notified_once_per_delay() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "By hand").await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    let token = ctx.token(&owner, Scope::Manage).await;
    let body = serde_json::json!({"schedule": {"remind_after_hours": 24}}).to_string();
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let answer = ctx
        .browser()
        .send(
            axum::http::Method::PATCH,
            &format!("/api/v1/datasets/{dataset}"),
            Some(body),
            &headers,
        )
        .await;
    assert_eq!(answer.status, axum::http::StatusCode::OK, "{}", answer.text);
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    let reminders = async || -> i64 {
        let codes: Vec<String> =
            sqlx::query_scalar("SELECT about FROM notifications WHERE kind = 'late'")
                .fetch_all(ctx.app.db.read())
                .await
                .unwrap();
        i64::try_from(
            codes
                .iter()
                .filter(|about| about.contains("\"code\":\"reminder\""))
                .count(),
        )
        .unwrap()
    };
    let wake_deadlines = async || ctx.app.puller.wake_deadlines.notify_one();
    ctx.clock.advance(24 * HOUR - 1);
    wake_deadlines().await;
    assert_eq!(reminders().await, 0);
    ctx.clock.advance(1);
    until("somebody is reminded", async || {
        wake_deadlines().await;
        (reminders().await == 1).then_some(())
    })
    .await;
    ctx.clock.advance(23 * HOUR);
    wake_deadlines().await;
    assert_eq!(reminders().await, 1, "once");
    ctx.clock.advance(HOUR);
    until("and again after as long", async || {
        wake_deadlines().await;
        (reminders().await == 2).then_some(())
    })
    .await;
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    ctx.clock.advance(23 * HOUR);
    wake_deadlines().await;
    assert_eq!(reminders().await, 2, "a run begins it anew");
    assert!(
        stored_notifications(&ctx)
            .await
            .iter()
            .all(|kind| kind == "late"),
        "that somebody pressed Run Now is no news"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduling_pane_names_the_recipients_of_notifications() {
    let ctx = TestContext::new().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    let mut line = async || {
        browser
            .get(&format!("/datasets/{dataset}/settings"))
            .await
            .words("[data-notified]")
    };
    assert!(
        line()
            .await
            .starts_with("No notifications are set up. Change this under Notifications"),
        "{}",
        line().await
    );
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    assert!(
        line().await.starts_with("Notifications go to: Team chat."),
        "{}",
        line().await
    );
    set_notifications(&ctx, &owner, &dataset, &[], 1).await;
    assert!(
        line().await.starts_with("No notifications are set up."),
        "{}",
        line().await
    );
}
