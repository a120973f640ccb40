//! Slow answers are cut, and runs that wait are stopped by a person, a limit or the end of the server.

use std::sync::Arc;
use std::time::Duration;

use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::upstream::{Limits, SystemResolver, Upstreams};
use chatlake::connectors::{Connector, PullError, PullRequest, Source};
use chatlake::puller::queue;
use chatlake::puller::run::{RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;

use super::RunFixture;
use super::SilentServer;
use crate::support::context::TestContext;
use crate::support::pulls::{WEEK, pull, request};
use crate::support::sandbox::{Vendor, allow, limits, source};
use crate::support::{HOUR, NOON, until};

#[tokio::test]
async fn answers_below_the_minimum_rate_are_cut_for_both_vendors() {
    let vendor = Vendor::new(200, 20).await;
    let limits = Limits {
        rate_window: Duration::from_millis(400),
        min_bytes: 1_024,
        tries: 2,
        no_progress: Duration::from_secs(30),
        ..limits()
    };
    let upstreams = Upstreams::with(
        vec![allow("127.0.0.1")],
        vendor.clock.clone(),
        limits,
        Arc::new(SystemResolver),
    )
    .unwrap();
    let livechat = source(&upstreams, &vendor.address, "sandbox-key");
    let liveleader = Source {
        connector: Connector::LiveLeader,
        fields: [("email".to_owned(), "operator@sandbox.test".to_owned())].into(),
        secrets: [("password".to_owned(), Secret::new("sandbox-password"))].into(),
        upstream: upstreams
            .for_account("", Connector::LiveLeader, Some(&vendor.address), 0)
            .unwrap(),
        ..livechat.clone()
    };
    let chats = request(&["chat"], &[WEEK]);
    let exported = PullRequest {
        reports: vec![Connector::LiveLeader.report("chats").unwrap()],
        ..request(&[], &[WEEK])
    };
    for (source, request) in [(&livechat, &chats), (&liveleader, &exported)] {
        vendor.fault(FaultKind::Drip {
            bytes: 1,
            every_ms: 30,
        });
        let (got, error) = pull(source, request).await;
        assert!(
            matches!(
                error,
                Err(PullError::Unavailable(Cause::BelowMinRate {
                    received: 1..=100,
                    min: 1_024
                }))
            ),
            "{error:?}"
        );
        assert_eq!(got.rows(0), 0);
        // An answer that is only slow is read to its end.
        vendor.fault(FaultKind::Drip {
            bytes: 2_000,
            every_ms: 5,
        });
        let (got, done) = pull(source, request).await;
        assert!(done.is_ok() && got.rows(0) > 0, "{done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_for_their_vendor_can_be_stopped_and_are_requeued_at_shutdown() {
    let fixture = RunFixture::new("1").await;
    let mut hosts = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..4 {
        hosts.push(SilentServer::silent().await);
        runs.push(
            fixture
                .run_at("livechat", &hosts.last().unwrap().address)
                .await,
        );
    }
    fixture.all_wait(&runs, "Waiting for LiveChat").await;
    assert_eq!(
        fixture
            .server
            .post(&format!("/runs/{}/cancel", runs[0]), &fixture.token)
            .await
            .0,
        200
    );
    assert_eq!(
        fixture.server.over(&runs[0], &fixture.token).await["state"],
        "cancelled"
    );
    fixture.server.stop().await;
    let calls: Vec<usize> = hosts.iter().map(SilentServer::calls).collect();
    let again = fixture.data_dir.serve_with(&["--workers", "1"]).await;
    for ((run, host), calls) in runs.iter().zip(&hosts).zip(calls).skip(1) {
        until("it goes on", async || (host.calls() > calls).then_some(())).await;
        let run = again.get(&format!("/runs/{run}"), &fixture.token).await.1;
        assert_eq!(
            (run["state"].as_str(), run["attempt"].as_u64()),
            (Some("running"), Some(1)),
            "the stop is no attempt: {run}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_the_time_limit_is_stopped_notified_and_retried() {
    let ctx = TestContext::with(Clock::stopped_at(NOON), |config| {
        (config.workers, config.max_run_hours) = (1, 2)
    })
    .await;
    ctx.app.start_pulling().await.unwrap();
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Late { ms: 300_000 })]);
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
    ctx.clock.advance(2 * HOUR);
    let over = until("it is over", async || {
        queue::get(&ctx.app.db, &run)
            .await
            .unwrap()
            .filter(|run| run.state.is_final())
    })
    .await;
    let failure = over.failure.unwrap();
    assert_eq!(
        (over.state, failure.code.as_str()),
        (RunState::Failed, "run_too_long"),
        "{failure:?}"
    );
    assert!(
        failure.message.contains("longer than 2 hours") && failure.action.contains("retry 1 of 3"),
        "{failure:?}"
    );
    ctx.sandbox.faults().clear();
    let retry = until("it is tried again", async || {
        ctx.clock.advance(60_000);
        queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
            .await
            .unwrap()
            .into_iter()
            .next()
            .filter(|run| run.state == RunState::Succeeded)
    })
    .await;
    assert_eq!(retry.trigger, Trigger::Retry);
}
