//! Runs without progress, and leases and retries on a clock that is set.

use chatlake::actor::Role;
use chatlake::datasets::policies::RetryPolicy;
use chatlake::puller::queue;
use chatlake::puller::run::{RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};

use super::newest_run;
use super::set_nonsense_answer;
use crate::support::context::TestContext;
use crate::support::datasets::{scheduled, stored_dataset};
use crate::support::{HOUR, MINUTE, NOON, until};

/// The interval of the checks, in milliseconds.
const CHECK_INTERVAL: i64 = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_progress_for_five_minutes_is_stopped_with_a_reason_and_retried() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let (stuck, other) = (
        ctx.dataset(&owner, &account, "agents", "Agents").await,
        ctx.dataset(&owner, &account, "groups", "Groups").await,
    );
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 600_000 }).on("/agents"),
    ]);
    let run_id = ctx
        .app
        .puller
        .run_now(&owner, &stuck, Trigger::Manual)
        .await
        .unwrap()
        .id;
    let is_calling = || {
        ctx.app
            .accounts
            .gauges()
            .get(account.as_str())
            .is_some_and(|gauge| gauge.in_flight > 0)
    };
    until("the vendor is asked", async || is_calling().then_some(())).await;
    // Some heartbeats at the old time: the run has made a call, which is progress.
    tokio::time::sleep(queue::HEARTBEAT + std::time::Duration::from_millis(500)).await;
    ctx.clock.advance(5 * MINUTE);
    let over = ctx.ended(&run_id).await;
    let failure = over.failure.unwrap();
    assert_eq!(
        (over.state, failure.code.as_str()),
        (RunState::Failed, "no_progress"),
        "{failure:?}"
    );
    assert!(
        failure.message.contains("no progress for 5 minutes")
            && failure.action.contains("retry 1 of 3"),
        "{failure:?}"
    );
    assert_eq!(
        ctx.run(&owner, &other).await.state,
        RunState::Succeeded,
        "the worker is free again"
    );
    ctx.sandbox.faults().clear();
    ctx.clock.advance(18 * MINUTE);
    let retry = newest_run(&ctx, &stuck, 2).await;
    assert_eq!(
        (retry.trigger, retry.state),
        (Trigger::Retry, RunState::Succeeded)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_run_keeps_its_lease_whatever_the_clock_shows() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 9 1 1 *").await;
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 5_000 })
            .on("/agents")
            .times(1),
    ]);
    let run = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    until("the vendor is asked", async || {
        ctx.app
            .accounts
            .gauges()
            .get(account.as_str())
            .filter(|gauge| gauge.in_flight > 0)
            .map(|_| ())
    })
    .await;
    // Four workers: three claims would park the run.
    for _ in 0..4 {
        ctx.clock.jump(24 * HOUR);
        ctx.app.puller.wake_dispatcher.notify_waiters();
        let claimed = queue::claim(&ctx.app.db, &ctx.clock, &ctx.app.puller.leases, 8)
            .await
            .unwrap();
        assert!(claimed.is_empty(), "{claimed:?}");
        tokio::task::yield_now().await;
    }
    let over = ctx.ended(&run).await;
    assert_eq!(
        (over.state, over.attempt),
        (RunState::Succeeded, 1),
        "{over:?}"
    );
    assert!(stored_dataset(&ctx, &dataset).await.stopped().is_none());
    assert_eq!(
        ctx.sandbox
            .calls()
            .iter()
            .filter(|call| call.path.ends_with("/agents"))
            .count(),
        1,
        "it was read once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_by_days_delays_nothing() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 * * * *").await;
    let watched = ctx.dataset(&owner, &account, "groups", "Watched").await;
    ctx.app
        .datasets
        .set_retry_policy(&owner, &watched, RetryPolicy::NEVER, Some(2))
        .await
        .unwrap();
    let jump = async |by: i64| {
        ctx.clock.jump(by);
        ctx.clock.advance(CHECK_INTERVAL);
    };
    // The clock is three days ahead: events are stored with this time.
    jump(72 * HOUR).await;
    newest_run(&ctx, &dataset, 1).await;
    assert_eq!(ctx.run(&owner, &watched).await.state, RunState::Succeeded);
    set_nonsense_answer(&ctx);
    ctx.run(&owner, &dataset).await;
    let due = stored_dataset(&ctx, &dataset)
        .await
        .policies
        .retry_at
        .unwrap();
    assert!(due > NOON + 72 * HOUR);
    jump(-72 * HOUR).await;
    let due = until("the retry is put right", async || {
        stored_dataset(&ctx, &dataset)
            .await
            .policies
            .retry_at
            .filter(|at| *at <= ctx.clock.now() + 18 * MINUTE)
    })
    .await;
    let before = queue::count(&ctx.app.db, &dataset).await.unwrap();
    // In a separate transaction.
    until("the schedule is put right as well", async || {
        (stored_dataset(&ctx, &dataset).await.next_run_at == Some(NOON + HOUR)).then_some(())
    })
    .await;
    ctx.clock.advance(due - ctx.clock.now());
    assert_eq!(
        newest_run(&ctx, &dataset, before + 1).await.trigger,
        Trigger::Retry
    );
    // Data that was pulled under that clock is late at the right time.
    ctx.clock.advance(2 * HOUR);
    let since = until("it is late", async || {
        stored_dataset(&ctx, &watched).await.policies.late_since
    })
    .await;
    assert!(
        since <= NOON + 2 * HOUR + 2 * CHECK_INTERVAL,
        "{}",
        since - NOON
    );
}
