//! What a person pauses, stops or starts while a run waits.

use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::datasets::policies::NotificationKind;
use chatlake::puller::queue;
use chatlake::puller::queue::WorkerLeases;
use chatlake::puller::run::{Run, RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};

use super::audit_actor;
use crate::support::context::TestContext;
use crate::support::datasets::{scheduled, stored_dataset};
use crate::support::notifications::set_notifications;
use crate::support::{MINUTE, NOON, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_pauses_or_stops_is_not_retried() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 13 * * *").await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).on("/agents")]);
    let retry_at = async || stored_dataset(&ctx, &dataset).await.policies.retry_at;
    ctx.run(&owner, &dataset).await;
    assert!(retry_at().await.is_some());
    set_notifications(&ctx, &owner, &dataset, &[NotificationKind::Stopped], 1).await;
    ctx.app
        .puller
        .pause(audit_actor(&owner), &dataset)
        .await
        .unwrap();
    assert_eq!(retry_at().await, None);
    // The recipients are notified once, and the account shows it.
    ctx.app
        .puller
        .pause(audit_actor(&owner), &dataset)
        .await
        .unwrap();
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notifications")
        .fetch_all(ctx.app.db.read())
        .await
        .unwrap();
    assert!(
        about.len() == 1
            && about[0].contains("olga paused the schedule.")
            && about[0].contains("can resume the schedule"),
        "{about:?}"
    );
    let accounts = ctx.signed_in(&owner).await.get("/accounts").await;
    assert!(accounts.text.contains("Paused"), "{}", accounts.text);
    // Also if it is run by hand in the meantime.
    let failed = ctx.run(&owner, &dataset).await;
    assert!(retry_at().await.is_none() && !failed.failure.unwrap().action.contains("retry"));
    ctx.app
        .puller
        .resume(audit_actor(&owner), &dataset)
        .await
        .unwrap();
    ctx.run(&owner, &dataset).await;
    assert!(retry_at().await.is_some());
    ctx.app.datasets.unschedule(&owner, &dataset).await.unwrap();
    assert_eq!(retry_at().await, None);

    // A stopped run that waited because the vendor asked for it is not retried.
    ctx.run(&owner, &dataset).await;
    assert!(retry_at().await.is_some());
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::TooManyRequests {
            retry_after: chatlake::sandbox::faults::RetryAfter::Seconds(7_200),
        })
        .on("/agents"),
    ]);
    let waits = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    until("it waits", async || {
        (queue::get(&ctx.app.db, &waits.id).await.unwrap()?.state == RunState::Waiting)
            .then_some(())
    })
    .await;
    ctx.app.puller.cancel(&owner, &waits.id).await.unwrap();
    assert_eq!(retry_at().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_now_takes_over_the_run_that_waits_for_its_turn() {
    let ctx = TestContext::new().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 13 * * *").await;
    let key = stored_dataset(&ctx, &dataset).await.source_key();
    let mut tx = ctx.app.db.write().await.unwrap();
    assert!(
        queue::enqueue_scheduled(&mut tx, NOON, &dataset, &key, NOON + MINUTE, 0)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let waits = queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    let queued = async || -> Run { queue::get(&ctx.app.db, &waits).await.unwrap().unwrap() };
    assert_eq!(
        (queued().await.trigger, queued().await.due_at),
        (Trigger::Schedule, NOON + MINUTE)
    );
    let mine = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    assert_eq!(mine.id, waits, "one run, not two");
    assert_eq!(
        (mine.trigger, mine.started_by, mine.due_at),
        (Trigger::Manual, Some(owner.user.clone()), NOON)
    );
    // A scheduled time in the meantime uses this run.
    let mut tx = ctx.app.db.write().await.unwrap();
    assert_eq!(
        queue::enqueue(&mut tx, NOON, &dataset, &key, Trigger::Schedule, None)
            .await
            .unwrap(),
        waits
    );
    tx.commit().await.unwrap();
    assert_eq!(queued().await.trigger, Trigger::Manual);
    assert!(
        !queue::claim(
            &ctx.app.db,
            &Clock::stopped_at(NOON),
            &WorkerLeases::new("test"),
            1
        )
        .await
        .unwrap()
        .is_empty(),
        "it is due at once"
    );
}
