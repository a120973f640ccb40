//! Runs wait while the disk is nearly full.

use axum::http::StatusCode;
use chatlake::actor::{Role, Scope};
use chatlake::clock::Clock;
use chatlake::puller::run::{RunState, Trigger};
use serde_json::Value;

use crate::support::context::TestContext;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_nearly_full_runs_wait_and_say_so_and_reading_goes_on() {
    let ctx = TestContext::with(Clock::system(), |config| {
        config.keep_free_mib = u64::MAX >> 21
    })
    .await;
    ctx.app.start_pulling().await.unwrap();
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "People").await;
    let run = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    let waiting = until("it waits", async || {
        Some(ctx.app.puller.get(&owner, &run.id).await.unwrap())
            .filter(|run| run.state == RunState::Waiting && run.deferred_reason.is_some())
    })
    .await;
    assert!(
        waiting
            .deferred_reason
            .as_ref()
            .unwrap()
            .contains("Runs start when "),
        "{waiting:?}"
    );
    assert_eq!(waiting.attempt, 0, "no attempt is used up");
    let (_, response) = ctx
        .api(
            &ctx.token(&owner, Scope::Read).await,
            "GET",
            &format!("/runs/{}", run.id),
            Value::Null,
        )
        .await;
    assert_eq!(
        response["waits_for"].as_str(),
        waiting.deferred_reason.as_deref(),
        "{response}"
    );
    assert!(response["waits_until"].is_string(), "{response}");
    let page = browser.get(&format!("/datasets/{dataset}")).await;
    assert!(
        page.status == StatusCode::OK && page.text.contains("Runs start when "),
        "{}",
        page.words("main")
    );
    let page = browser.get(&format!("/runs/{}", run.id)).await;
    assert!(
        page.words(".three").contains("must free disk space"),
        "{}",
        page.words("main")
    );
    assert_eq!(
        ctx.sandbox.calls_total(),
        0,
        "nothing was asked of the vendor"
    );
}
