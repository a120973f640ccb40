//! What counts as rejected credentials, and what stands between this server and its vendor: a
//! firewall, a proxy, a tired server. None of those takes a DataSet off its schedule, and all goes
//! on by itself once they are out of the way.

use chatlake::accounts::Health;
use chatlake::actor::Role;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::{self, PullError};
use chatlake::datasets::policies::RetryPolicy;
use chatlake::puller::queue;
use chatlake::puller::run::{Run, RunState};
use chatlake::sandbox::faults::{Fault, FaultKind};

use crate::support::context::TestContext;
use crate::support::datasets::scheduled;
use crate::support::pulls::{WEEK, ids, pull, request};
use crate::support::sandbox::{Vendor, source};
use crate::support::{HOUR, until};

const BLOCKED: &str = "<!DOCTYPE html><html><head><title>Attention Required!</title></head><body>Sorry, you \
    have been blocked</body></html>";

fn answer(status: u16, kind: &str, body: &str) -> FaultKind {
    FaultKind::Answer {
        status,
        content_type: Some(kind.to_owned()),
        body: body.to_owned(),
    }
}

fn json(status: u16, body: &str) -> FaultKind {
    answer(status, "application/json", body)
}

#[tokio::test]
async fn credentials_are_bad_only_if_they_are_rejected_twice_and_not_by_a_web_page() {
    let vendor = Vendor::new(500, 30).await;
    let refused = |said: &str| {
        Err(PullError::Refused {
            status: 403,
            vendor_message: said.to_owned(),
        })
    };
    let unavailable = |cause| Err(PullError::Unavailable(cause));
    for (kind, wanted) in [
        (
            json(401, r#"{"error":"Wrong username or API key"}"#),
            Err(PullError::Unauthorized),
        ),
        (
            json(
                403,
                r#"{"error":{"type":"authentication","message":"Token expired"}}"#,
            ),
            Err(PullError::Unauthorized),
        ),
        (
            answer(401, "text/plain", "Unauthorized"),
            Err(PullError::Unauthorized),
        ),
        // Good ones that do not reach this.
        (
            json(
                403,
                r#"{"error":{"type":"authorization","message":"Missing scope: chats--all:ro"}}"#,
            ),
            refused("Missing scope: chats--all:ro"),
        ),
        (
            json(403, r#"{"error":"Only the owner may read this"}"#),
            refused("Only the owner may read this"),
        ),
        // Somebody on the way.
        (
            answer(401, "text/html", BLOCKED),
            unavailable(Cause::WebPage(401)),
        ),
        (
            answer(403, "text/html", BLOCKED),
            unavailable(Cause::WebPage(403)),
        ),
        (
            answer(403, "application/json", BLOCKED),
            unavailable(Cause::WebPage(403)),
        ),
        (
            answer(405, "text/html", ""),
            unavailable(Cause::WebPage(405)),
        ),
        (
            answer(200, "text/html", BLOCKED),
            unavailable(Cause::WebPage(200)),
        ),
        (
            answer(404, "text/html", "<h1>Not found</h1>"),
            unavailable(Cause::WebPage(404)),
        ),
        (
            answer(403, "text/plain", "error code: 1020"),
            unavailable(Cause::Denied(403)),
        ),
        (
            answer(403, "application/json", ""),
            unavailable(Cause::Denied(403)),
        ),
        (
            answer(407, "text/html", BLOCKED),
            unavailable(Cause::ProxyCredentials),
        ),
        (
            answer(407, "text/plain", ""),
            unavailable(Cause::ProxyCredentials),
        ),
    ] {
        vendor.fault(kind.clone());
        let upstreams = vendor.upstreams();
        let source = source(&upstreams, &vendor.address, "sandbox-key");
        let (got, done) = pull(&source, &request(&["chat"], &[WEEK])).await;
        assert_eq!(done, wanted, "{kind:?}");
        assert!(got.window_counts.is_empty());
        assert_eq!(
            connectors::check(&source).await.map(|_| ()),
            wanted,
            "{kind:?}"
        );
        let calls = if matches!(wanted, Err(PullError::Refused { .. })) {
            2
        } else {
            3
        };
        assert!(
            upstreams.stats().calls >= calls,
            "{kind:?}: what may pass is asked again"
        );
        vendor.sandbox.faults().clear();
        assert_eq!(
            pull(&source, &request(&["agents"], &[])).await.1,
            Ok(()),
            "{kind:?}: it works as soon as it may"
        );
    }
}

#[tokio::test]
async fn a_rejection_that_the_check_does_not_confirm_passes() {
    let vendor = Vendor::new(2_000, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    for kind in [
        FaultKind::Status { status: 401 },
        json(403, r#"{"error":{"type":"authentication","message":"no"}}"#),
    ] {
        vendor.sandbox.forget_calls();
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats").skip(3).times(1)]);
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert_eq!(
            (done, got.set(0, "id")),
            (Ok(()), truth.clone()),
            "{kind:?}"
        );
        let checks = vendor
            .sandbox
            .calls()
            .iter()
            .filter(|call| call.path == "/agents")
            .count();
        assert_eq!(checks, 1, "{kind:?}");
        // Several at once are one check.
        vendor.sandbox.forget_calls();
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats").skip(1).times(5)]);
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert_eq!((done, got.rows(0)), (Ok(()), truth.len()), "{kind:?}");
        // One that stays is no statement about the credentials either, as long as the check accepts
        // them.
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats")]);
        let (_, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert!(
            matches!(
                done,
                Err(PullError::Unavailable(Cause::Unconfirmed(401 | 403)))
            ),
            "{kind:?}: {done:?}"
        );
        // Nor is one whose check meets a firewall.
        vendor.sandbox.faults().set(vec![
            Fault::new(answer(403, "text/html", BLOCKED)).on("/agents"),
            Fault::new(kind.clone()).on("/chats"),
        ]);
        let (_, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert!(
            matches!(
                done,
                Err(PullError::Unavailable(Cause::Unconfirmed(401 | 403)))
            ),
            "{kind:?}: {done:?}"
        );
    }
}

/// Lets the next run of the schedule come, and waits for its end.
async fn next_run(ctx: &TestContext, dataset: &chatlake::ids::DatasetId) -> Run {
    let before = queue::count(&ctx.app.db, dataset).await.unwrap();
    ctx.clock.advance(HOUR);
    let run = until("the next run", async || {
        (queue::count(&ctx.app.db, dataset).await.unwrap() > before).then_some(())?;
        queue::of_dataset(&ctx.app.db, dataset, 0, 1)
            .await
            .unwrap()
            .into_iter()
            .next()
    })
    .await;
    ctx.ended(&run.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_page_stops_no_schedule_and_runs_succeed_once_it_is_gone() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 * * * *").await;
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    for (kind, code, said) in [
        (
            answer(403, "text/html", BLOCKED),
            "unavailable",
            "LiveChat returned a web page (status 403) instead of data",
        ),
        (
            answer(407, "text/html", BLOCKED),
            "unavailable",
            "A proxy between this server and LiveChat",
        ),
        (
            json(
                403,
                r#"{"error":{"type":"authorization","message":"Missing scope: agents--all:ro"}}"#,
            ),
            "refused",
            "“Missing scope: agents--all:ro”",
        ),
    ] {
        ctx.sandbox.faults().set(vec![Fault::new(kind.clone())]);
        // More often than would stop the account.
        for _ in 0..4 {
            let failure = next_run(&ctx, &dataset).await.failure.unwrap();
            assert!(
                failure.code == code && failure.message.contains(said),
                "{kind:?}: {failure:?}"
            );
            assert!(
                !failure.message.contains("rejected the credentials")
                    && !failure.who.contains("must enter new credentials"),
                "{failure:?}"
            );
        }
        let now = ctx.app.accounts.get(&owner, &account).await.unwrap();
        assert_eq!(
            (
                now.auth_failures,
                now.is_stopped(),
                now.health == Health::Failing
            ),
            (0, false, false),
            "{kind:?}"
        );
        let standing = ctx.app.datasets.for_run(&dataset).await.unwrap();
        assert!(
            standing.stopped().is_none() && standing.next_run_at.is_some(),
            "{kind:?}"
        );
        ctx.sandbox.faults().clear();
        assert_eq!(
            next_run(&ctx, &dataset).await.state,
            RunState::Succeeded,
            "{kind:?}: nobody had to do anything"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rejection_among_many_good_answers_of_each_run_stops_nothing() {
    let ctx = TestContext::with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "chat", "Chats").await;
    for _ in 0..3 {
        ctx.sandbox.faults().set(vec![
            Fault::new(FaultKind::Status { status: 401 })
                .on("/chats")
                .skip(4)
                .times(1),
        ]);
        let run = ctx.run(&owner, &dataset).await;
        assert_eq!(
            (run.state, ctx.sandbox.faults().list()),
            (RunState::Succeeded, Vec::new()),
            "{:?}",
            run.failure
        );
        let now = ctx.app.accounts.get(&owner, &account).await.unwrap();
        assert_eq!((now.auth_failures, now.health), (0, Health::Valid));
    }
}
