//! Which failed runs are retried, and how often.

use chatlake::actor::Role;
use chatlake::datasets::policies::RetryPolicy;
use chatlake::puller::queue;
use chatlake::puller::run::{RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};

use super::newest_run;
use super::set_nonsense_answer;
use crate::support::context::TestContext;
use crate::support::datasets::stored_dataset;
use crate::support::{HOUR, MINUTE};

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_retried_by_new_runs_up_to_the_limit() {
    let ctx = TestContext::stopped_with_workers().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    set_nonsense_answer(&ctx);
    let first = ctx.run(&owner, &dataset).await;
    assert_eq!(
        (first.state, first.failure.as_ref().unwrap().code.as_str()),
        (RunState::Failed, "malformed")
    );
    assert!(
        first.failure.unwrap().action.contains("retry 1 of 3"),
        "the run itself says what is next"
    );
    for number in 1..=3 {
        let due = stored_dataset(&ctx, &dataset)
            .await
            .policies
            .retry_at
            .unwrap();
        let wait = due - ctx.clock.now();
        assert!(
            (15 * MINUTE..=18 * MINUTE).contains(&wait),
            "retry {number} comes after {wait} ms"
        );
        let page = browser.get(&format!("/datasets/{dataset}")).await;
        assert!(
            page.words(".facts")
                .contains(&format!("Retry {number} of 3 today")),
            "{}",
            page.words(".facts")
        );
        ctx.clock.advance(wait - 1);
        tokio::task::yield_now().await;
        assert_eq!(
            queue::count(&ctx.app.db, &dataset).await.unwrap(),
            number,
            "not before it is due"
        );
        ctx.clock.advance(100);
        let retry = newest_run(&ctx, &dataset, number + 1).await;
        assert_eq!(
            (retry.trigger, retry.state),
            (Trigger::Retry, RunState::Failed)
        );
    }
    let after = stored_dataset(&ctx, &dataset).await;
    assert_eq!(after.policies.retry_at, None, "three retries and no more");
    let page = browser.get("/datasets").await;
    assert!(
        page.words(".status-cell")
            .contains("Failed 4 runs in a row"),
        "{}",
        page.words(".status-cell")
    );

    // Run now does not wait for a retry, and a success ends the chain.
    ctx.run(&owner, &dataset).await;
    assert!(
        stored_dataset(&ctx, &dataset)
            .await
            .policies
            .retry_at
            .is_some(),
        "a run by hand is tried again as well"
    );
    ctx.sandbox.faults().clear();
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    assert_eq!(stored_dataset(&ctx, &dataset).await.policies.retry_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_a_person_must_fix_and_disabled_retries_are_not_retried() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    for (fault, code) in [
        (FaultKind::Status { status: 400 }, "refused"),
        (FaultKind::Status { status: 401 }, "unauthorized"),
        (FaultKind::Status { status: 403 }, "refused"),
    ] {
        ctx.sandbox.faults().set(vec![Fault::new(fault)]);
        let failed = ctx.run(&owner, &dataset).await;
        assert_eq!(failed.failure.unwrap().code, code);
        assert_eq!(
            stored_dataset(&ctx, &dataset).await.policies.retry_at,
            None,
            "{code}"
        );
    }
    set_nonsense_answer(&ctx);
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    ctx.run(&owner, &dataset).await;
    assert_eq!(stored_dataset(&ctx, &dataset).await.policies.retry_at, None);
    // A planned retry is deleted when retries are disabled, and when a person stops the run.
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::new(60, 2).unwrap(), None)
        .await
        .unwrap();
    ctx.run(&owner, &dataset).await;
    let due = stored_dataset(&ctx, &dataset)
        .await
        .policies
        .retry_at
        .unwrap()
        - ctx.clock.now();
    assert!((HOUR..=72 * MINUTE).contains(&due), "{due}");
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    assert_eq!(stored_dataset(&ctx, &dataset).await.policies.retry_at, None);
}
