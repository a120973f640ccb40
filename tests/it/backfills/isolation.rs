//! A backfill does not change the schedule, the retries and the notifications of its DataSet.

use chatlake::actor::Role;
use chatlake::datasets::policies::{NotificationKind, RetryPolicy};
use chatlake::puller::backfills::{BackfillRange, BackfillState};
use chatlake::puller::run::{RunState, Trigger};
use chatlake::puller::{queue, scheduler};
use chatlake::sandbox::faults::{Fault, FaultKind};

use crate::support::context::TestContext;
use crate::support::datasets::{merging, park_run, stored_dataset};
use crate::support::notifications::{set_notifications, stored_notifications};
use crate::support::until;

/// Past days, in one chunk.
fn past_days(ctx: &TestContext, days: i32) -> BackfillRange {
    let today = ctx
        .clock
        .timestamp()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let back = |days: i32| {
        today
            .saturating_sub(jiff::Span::new().days(days))
            .to_string()
    };
    BackfillRange::check(&back(days + 2), &back(days), "7", today).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_changes_no_schedule_retry_or_notification_however_it_ends() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = merging(&ctx, &owner, &account, Some("0 4 1 1 *")).await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    let puller = &ctx.app.puller;
    let over = async || {
        until("the backfill is over", async || {
            Some(puller.backfills(&owner, &dataset).await.unwrap().remove(0))
                .filter(|b| b.state != BackfillState::Running)
        })
        .await
    };

    // A failed chunk concerns only the backfill: only its stop is notified.
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).on("/chats")]);
    puller
        .backfill(&owner, &dataset, &past_days(&ctx, 10))
        .await
        .unwrap();
    let stopped = over().await;
    assert!(
        stopped.state == BackfillState::Stopped && stopped.stop_reason.is_some(),
        "{stopped:?}"
    );
    assert_eq!(
        (
            stored_dataset(&ctx, &dataset).await.policies.retry_at,
            stored_notifications(&ctx).await
        ),
        (None, vec!["failure".to_owned()])
    );
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notifications")
        .fetch_all(ctx.app.db.read())
        .await
        .unwrap();
    assert!(
        about[0].contains("backfill_stopped")
            && about[0].contains("can resume it under History, Backfill"),
        "{about:?}"
    );
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::DEFAULT, None)
        .await
        .unwrap();
    let good = browser.get("/datasets").await.words(".status-cell");
    assert!(good.starts_with("Up to date"), "{good}");
    let page = browser.get(&format!("/datasets/{dataset}")).await;
    assert!(
        !page.words(".head .facts").contains("Failed") && page.text.contains("has stopped."),
        "{}",
        page.words("main")
    );

    // A chunk that succeeds is not a recovery.
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Failed);
    let before = stored_dataset(&ctx, &dataset).await.policies;
    assert!(before.retry_at.is_some());
    ctx.sandbox.faults().clear();
    puller
        .resume_backfill(&owner, &dataset, &stopped.id)
        .await
        .unwrap();
    assert_eq!(over().await.state, BackfillState::Finished);
    let after = stored_dataset(&ctx, &dataset).await.policies;
    assert_eq!(
        (
            after.retry_at,
            after.last_success_at,
            stored_notifications(&ctx).await
        ),
        (
            before.retry_at,
            before.last_success_at,
            vec!["failure".to_owned(); 2]
        )
    );
    let bad = browser.get("/datasets").await.words(".status-cell");
    assert!(bad.starts_with("Failed"), "{bad}");
    assert!(
        browser
            .get(&format!("/datasets/{dataset}"))
            .await
            .words(".head .facts")
            .contains("Failed")
    );

    // Neither is a chunk that a person stops.
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 300_000 }).on("/chats"),
    ]);
    let begun = puller
        .backfill(&owner, &dataset, &past_days(&ctx, 20))
        .await
        .unwrap();
    until("its chunk is at work", async || {
        let run = puller
            .backfills(&owner, &dataset)
            .await
            .unwrap()
            .remove(0)
            .run?;
        (queue::get(&ctx.app.db, &run).await.unwrap()?.state == RunState::Running).then_some(())
    })
    .await;
    puller
        .cancel_backfill(&owner, &dataset, &begun.id)
        .await
        .unwrap();
    until("its chunk has ended", async || {
        puller
            .backfills(&owner, &dataset)
            .await
            .unwrap()
            .remove(0)
            .run
            .is_none()
            .then_some(())
    })
    .await;
    assert_eq!(
        stored_dataset(&ctx, &dataset).await.policies.retry_at,
        before.retry_at
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_crashes_the_server_does_not_stop_the_schedule() {
    let ctx = TestContext::new().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = merging(&ctx, &owner, &account, Some("0 * * * *")).await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    ctx.app
        .puller
        .backfill(&owner, &dataset, &past_days(&ctx, 10))
        .await
        .unwrap();
    scheduler::tick(&ctx.app.puller).await.unwrap();
    let chunk = queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(chunk.trigger, Trigger::Backfill);
    park_run(&ctx, &chunk.id).await;
    let after = stored_dataset(&ctx, &dataset).await;
    assert!(
        after.next_run_at.is_some() && after.stopped().is_none(),
        "{after:?}"
    );
    assert!(stored_notifications(&ctx).await.is_empty());
}
