//! When a DataSet is late, and where this is shown.

use chatlake::actor::{Role, Scope};
use chatlake::datasets::policies::RetryPolicy;
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::DatasetId;
use chatlake::puller::run::RunState;
use chatlake::puller::schedules::Schedule;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::json;

use super::audit_actor;
use super::newest_run;
use crate::support::context::TestContext;
use crate::support::datasets::{scheduled, stored_dataset};
use crate::support::notifications::stored_notifications;
use crate::support::{DAY, HOUR, MINUTE, NOON, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_schedule_is_late_only_by_runs_due_after_the_restart() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let paused = scheduled(&ctx, &owner, &account, "Paused", "0 13 * * *").await;
    let by_hand = ctx.dataset(&owner, &account, "agents", "By hand").await;
    for dataset in [&paused, &by_hand] {
        ctx.app
            .datasets
            .set_retry_policy(&owner, dataset, RetryPolicy::NEVER, None)
            .await
            .unwrap();
        assert_eq!(ctx.run(&owner, dataset).await.state, RunState::Succeeded);
    }
    ctx.app
        .puller
        .pause(audit_actor(&owner), &paused)
        .await
        .unwrap();
    ctx.clock.advance(30 * DAY);
    // No run starts, so that only the clock decides.
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    ctx.app
        .puller
        .resume(audit_actor(&owner), &paused)
        .await
        .unwrap();
    let stored = stored_dataset(&ctx, &by_hand).await;
    let daily = DatasetSettings {
        name: DatasetName::parse("By hand").unwrap(),
        description: DatasetDescription::default(),
        account_id: account.clone(),
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
        .configure(&owner, &by_hand, &daily)
        .await
        .unwrap();
    let expected = ctx.clock.now() + HOUR + 6 * HOUR;
    for dataset in [&paused, &by_hand] {
        let due = until("it is reckoned anew", async || {
            ctx.app.puller.wake_deadlines.notify_one();
            let at: Option<i64> = sqlx::query_scalar("SELECT late_at FROM datasets WHERE id = $1")
                .bind(dataset)
                .fetch_one(ctx.app.db.read())
                .await
                .unwrap();
            at.filter(|at| *at > NOON + 20 * DAY)
        })
        .await;
        assert_eq!(
            (due, stored_dataset(&ctx, dataset).await.policies.late_since),
            (expected, None),
            "13:00 and six hours"
        );
    }
    ctx.clock.advance(7 * HOUR + 1);
    for dataset in [&paused, &by_hand] {
        until("it is late now", async || {
            stored_dataset(&ctx, dataset).await.policies.late_since
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_schedule_is_never_late() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let going = scheduled(&ctx, &owner, &account, "Going on", "0 13 * * *").await;
    let paused = scheduled(&ctx, &owner, &account, "Paused", "0 13 * * *").await;
    let expected = scheduled(&ctx, &owner, &account, "Paused and expected", "0 13 * * *").await;
    for (dataset, hours) in [(&going, None), (&paused, None), (&expected, Some(2))] {
        ctx.app
            .datasets
            .set_retry_policy(&owner, dataset, RetryPolicy::NEVER, hours)
            .await
            .unwrap();
        assert_eq!(ctx.run(&owner, dataset).await.state, RunState::Succeeded);
    }
    for dataset in [&paused, &expected] {
        ctx.app
            .puller
            .pause(audit_actor(&owner), dataset)
            .await
            .unwrap();
    }
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    ctx.clock.advance(3 * DAY);
    until("the one that is not paused is late", async || {
        stored_dataset(&ctx, &going).await.policies.late_since
    })
    .await;
    // All DataSets are checked together.
    for dataset in [&paused, &expected] {
        assert_eq!(
            stored_dataset(&ctx, dataset).await.policies.late_since,
            None
        );
    }
    assert!(
        stored_notifications(&ctx)
            .await
            .iter()
            .all(|about| !about.contains("Paused")),
        "{:?}",
        stored_notifications(&ctx).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_late_after_a_quarter_of_the_run_interval_within_bounds() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    // It is noon of a Friday.
    for (cron, due) in [
        ("0 13 * * 1", 3 * DAY + HOUR + 6 * HOUR),
        ("0 13 * * *", HOUR + 6 * HOUR),
        ("0 13,17 * * *", HOUR + HOUR),
        ("*/20 * * * *", 20 * MINUTE + 15 * MINUTE),
    ] {
        let dataset = scheduled(&ctx, &owner, &account, cron, cron).await;
        let late_at = until("it is reckoned", async || {
            ctx.app.puller.wake_deadlines.notify_one();
            sqlx::query_scalar::<_, Option<i64>>("SELECT late_at FROM datasets WHERE id = $1")
                .bind(&dataset)
                .fetch_one(ctx.app.db.read())
                .await
                .unwrap()
        })
        .await;
        assert_eq!(late_at - NOON, due, "{cron}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_data_is_shown_as_late_everywhere_until_it_arrives() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let token = ctx.token(&owner, Scope::Read).await;
    let account = ctx.account(&owner, "Support").await.id;
    // Manual and expected every two hours; manual and never expected; daily at 13:00, which is in
    // an hour.
    let (with_deadline, never) = (
        ctx.dataset(&owner, &account, "agents", "Asked").await,
        ctx.dataset(&owner, &account, "agents", "Never").await,
    );
    let daily = scheduled(&ctx, &owner, &account, "Daily", "0 13 * * *").await;
    ctx.app
        .datasets
        .set_retry_policy(&owner, &with_deadline, RetryPolicy::NEVER, Some(2))
        .await
        .unwrap();
    ctx.app
        .datasets
        .set_retry_policy(&owner, &daily, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    assert_eq!(
        ctx.run(&owner, &with_deadline).await.state,
        RunState::Succeeded
    );
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    let late = async |dataset: &DatasetId| stored_dataset(&ctx, dataset).await.policies.late_since;
    ctx.clock.advance(2 * HOUR - MINUTE);
    newest_run(&ctx, &daily, 1).await;
    assert_eq!(
        (late(&with_deadline).await, late(&daily).await),
        (None, None)
    );
    ctx.clock.advance(2 * MINUTE);
    let since = until("it is late", async || late(&with_deadline).await).await;
    assert_eq!(since, NOON + 2 * HOUR);
    // A quarter of a day would be six hours.
    ctx.clock.advance(5 * HOUR + 1);
    assert_eq!(
        until("the other is late", async || late(&daily).await).await,
        NOON + 7 * HOUR
    );

    // The session has ended meanwhile.
    let mut browser = ctx.signed_in(&owner).await;
    let list = browser.get("/datasets").await;
    assert!(
        list.all(".status.is-warn").contains(&"Late".to_owned()),
        "{:?}",
        list.all(".status")
    );
    assert!(
        list.all(".status-cell")
            .contains(&"Late since today 14:00".to_owned()),
        "{:?}",
        list.all(".status-cell")
    );
    let page = browser.get(&format!("/datasets/{with_deadline}")).await;
    assert!(
        page.words(".facts").contains("Late")
            && page
                .words(".band.is-warn")
                .starts_with("Data is late. It was expected today 14:00."),
        "{}",
        page.text
    );
    let (_, response) = ctx
        .api(
            &token,
            "GET",
            &format!("/datasets/{with_deadline}"),
            json!({}),
        )
        .await;
    assert_eq!(
        (&response["late"], &response["late_since"]),
        (&json!(true), &json!("2026-11-20T14:00:00Z"))
    );
    let (_, response) = ctx
        .api(&token, "GET", &format!("/datasets/{never}"), json!({}))
        .await;
    assert_eq!(response["late"], json!(false));
    let metrics = ctx.metrics().await;
    assert!(metrics.contains("chatlake_datasets_late 2\n"), "{metrics}");
    assert!(
        metrics.contains(&format!(
            "chatlake_dataset_last_success_age_seconds{{dataset=\"{with_deadline}\"}} 25260\n"
        )),
        "{metrics}"
    );

    ctx.sandbox.faults().clear();
    assert_eq!(
        ctx.run(&owner, &with_deadline).await.state,
        RunState::Succeeded
    );
    assert_eq!(late(&with_deadline).await, None);
    // Without an expected time, the DataSet is no longer late.
    ctx.clock.advance(3 * HOUR);
    until("it is late again", async || late(&with_deadline).await).await;
    ctx.app
        .datasets
        .set_retry_policy(&owner, &with_deadline, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    until("it is not late any more", async || {
        late(&with_deadline).await.is_none().then_some(())
    })
    .await;
}
