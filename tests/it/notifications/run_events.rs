//! Which failures, stops and recoveries of runs are notified, and how often.

use chatlake::actor::Role;
use chatlake::datasets::policies::{NotificationKind, RetryPolicy};
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::puller::run::{RunState, Trigger};
use chatlake::puller::schedules::Schedule;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::json;

use crate::support::context::TestContext;
use crate::support::datasets::{DatasetFixture, park_run, scheduled, stored_dataset};
use crate::support::notifications::{
    set_notifications, stored_notifications, stored_notifications_since,
};
use crate::support::{HOUR, MINUTE, NOON, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_notified_after_lateness_and_again_after_a_restart() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 12 * * *").await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, Some(1))
        .await
        .unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    ctx.clock.advance(HOUR + 1);
    until("it is late", async || {
        stored_dataset(&ctx, &dataset).await.policies.late_since
    })
    .await;
    let fails = async || {
        ctx.sandbox
            .faults()
            .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
        assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Failed);
    };
    fails().await;
    assert_eq!(stored_notifications(&ctx).await, ["late", "failure"]);
    fails().await;
    assert_eq!(
        stored_notifications(&ctx).await.len(),
        2,
        "once, until one succeeds"
    );

    // The schedule stops. A failure after its restart is notified.
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query(
        "UPDATE datasets
         SET next_run_at = NULL, stopped_at = $1, stop_reason = 'parked'
         WHERE id = $2",
    )
    .bind(ctx.clock.now())
    .bind(&dataset)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    ctx.app
        .puller
        .restart_schedule(&owner, &dataset)
        .await
        .unwrap();
    fails().await;
    assert_eq!(
        stored_notifications(&ctx).await,
        ["late", "failure", "failure"]
    );
    ctx.sandbox.faults().clear();
    ctx.clock.advance(MINUTE);
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    assert_eq!(
        stored_notifications(&ctx).await,
        ["late", "failure", "failure", "recovery"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_notified_as_stopped_or_as_a_failure_to_recipients_of_failures_only() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let both = scheduled(&ctx, &owner, &account, "Both", "0 * * * *").await;
    set_notifications(&ctx, &owner, &both, &NotificationKind::ALL, 3).await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 401 })]);
    for _ in 0..3 {
        assert_eq!(
            ctx.run(&owner, &both).await.failure.unwrap().code,
            "unauthorized"
        );
    }
    assert_eq!(
        stored_notifications(&ctx).await,
        ["stopped"],
        "it is not also notified as a failure"
    );

    let other = ctx.account(&owner, "Sales").await.id;
    let failures = scheduled(&ctx, &owner, &other, "Failures", "0 * * * *").await;
    set_notifications(
        &ctx,
        &owner,
        &failures,
        &[NotificationKind::Failure, NotificationKind::Recovery],
        3,
    )
    .await;
    ctx.clock.advance(MINUTE);
    for _ in 0..3 {
        ctx.run(&owner, &failures).await;
    }
    assert!(stored_dataset(&ctx, &failures).await.stopped().is_some());
    assert_eq!(
        stored_notifications_since(&ctx, NOON + MINUTE).await,
        ["failure"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_crashes_the_server_is_notified_once_as_stopped() {
    let ctx = TestContext::new().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let (all, failures) = (
        scheduled(&ctx, &owner, &account, "All", "0 * * * *").await,
        scheduled(&ctx, &owner, &account, "Failures", "0 * * * *").await,
    );
    set_notifications(&ctx, &owner, &all, &NotificationKind::ALL, 1).await;
    set_notifications(&ctx, &owner, &failures, &[NotificationKind::Failure], 1).await;
    for (dataset, kind) in [(&all, "stopped"), (&failures, "failure")] {
        let run = ctx
            .app
            .puller
            .run_now(&owner, dataset, Trigger::Manual)
            .await
            .unwrap();
        park_run(&ctx, &run.id).await;
        assert!(stored_dataset(&ctx, dataset).await.stopped().is_some());
        assert_eq!(
            stored_notifications_since(&ctx, ctx.clock.now()).await,
            [kind]
        );
        ctx.clock.advance(MINUTE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_notified_after_the_chosen_number_of_failures() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 2).await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    let mut counts = Vec::new();
    for _ in 0..3 {
        ctx.run(&owner, &dataset).await;
        counts.push(stored_notifications(&ctx).await.len());
    }
    assert_eq!(counts, [0, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_account_notifies_the_recipients_once() {
    let ctx = TestContext::stopped_with_workers().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let (daily, by_hand) = (
        scheduled(&ctx, &owner, &account, "Daily", "0 13 * * *").await,
        ctx.dataset(&owner, &account, "agents", "By hand").await,
    );
    for dataset in [&daily, &by_hand] {
        set_notifications(&ctx, &owner, dataset, &NotificationKind::ALL, 1).await;
    }
    browser
        .submit(&format!("/accounts/{account}/delete"), &[])
        .await;
    until("it is notified", async || {
        (!stored_notifications(&ctx).await.is_empty()).then_some(())
    })
    .await;
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notifications")
        .fetch_all(ctx.app.db.read())
        .await
        .unwrap();
    assert!(
        about.len() == 1 && about[0].contains("“Support”") && about[0].contains("Daily"),
        "{about:?}"
    );
    ctx.clock.advance(MINUTE);
    ctx.app.puller.wake_deadlines.notify_one();

    // With another account it works again, and the recovery is notified.
    let other = ctx.account(&owner, "Sales").await.id;
    let stored = stored_dataset(&ctx, &daily).await;
    let settings = DatasetSettings {
        name: DatasetName::parse("Daily").unwrap(),
        description: DatasetDescription::default(),
        account_id: other,
        connector: stored.connector,
        report: stored.report,
        menus: stored.menus.clone(),
        update_mode: stored.update_mode,
        options: Default::default(),
        time_zone: "UTC".to_owned(),
        schedule: Schedule::parse("0 13 * * *", "UTC", ctx.clock.now())
            .unwrap()
            .to_stored(ctx.clock.now()),
    };
    ctx.app
        .datasets
        .configure(&owner, &daily, &settings)
        .await
        .unwrap();
    assert_eq!(ctx.run(&owner, &daily).await.state, RunState::Succeeded);
    assert_eq!(stored_notifications(&ctx).await, ["stopped", "recovery"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_lasting_failure_is_reported_with_its_start() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture.dataset("agents", json!({"retry": null})).await;
    fixture.good_run(&dataset).await;
    fixture.ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Status { status: 400 }).on("/agents"),
    ]);
    fixture.ctx.app.clock.advance(1_800_000);
    for _ in 0..35 {
        fixture.ctx.app.clock.advance(60_000);
        assert_eq!(fixture.run(&dataset).await["state"], "failed");
        // This keeps her session valid.
        fixture.owner.get("/activity").await;
    }
    let row = fixture
        .owner
        .get("/datasets")
        .await
        .texts(&format!("tr:has([href='/datasets/{dataset}'])"))[0]
        .clone();
    assert!(row.contains("35 runs in a row"), "{row}");
    let list = fixture
        .owner
        .get("/datasets")
        .await
        .texts(".band")
        .join(" ");
    assert!(list.contains("since 20 Nov 12:3"), "{list}");
    let history = fixture
        .owner
        .get(&format!("/datasets/{dataset}/history"))
        .await
        .text;
    assert!(
        history.contains("1 of 36") && !history.contains("none yet"),
        "{history}"
    );
}
