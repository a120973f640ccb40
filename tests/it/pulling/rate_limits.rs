//! A run that waits because the vendor asks for it.

use chatlake::actor::Role;
use chatlake::puller::run::RunState;
use chatlake::sandbox::faults::{Fault, FaultKind, RetryAfter};

use super::start_run;
use super::wait_for_state;
use crate::support::context::TestContext;
use crate::support::sandbox::of_size;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_must_wait_long_says_until_when_and_who_asked_and_can_be_stopped() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("ada", Role::Admin).await;
    let (account, other) = (
        ctx.shared_account("sandbox-key").await,
        ctx.shared_account("dal:sandbox-token").await,
    );
    let (chats, agents) = (
        ctx.oslo_dataset(&owner.actor, &account, "chat", "Chats")
            .await,
        ctx.oslo_dataset(&owner.actor, &account, "agents", "Agents")
            .await,
    );
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(7_200),
        })
        .on("/chats"),
    ]);
    let waits = wait_for_state(
        &ctx,
        &start_run(&ctx, &owner, &chats).await,
        RunState::Waiting,
    )
    .await;
    let ahead = waits.due_at - ctx.app.clock.now();
    assert!((7_000_000..=7_200_000).contains(&ahead), "{ahead}");
    assert_eq!(waits.attempt, 0, "a wait is no attempt");
    // The whole account waits without a call. Another account does not wait, since workers are
    // free.
    ctx.sandbox.forget_calls();
    let agents_wait = wait_for_state(
        &ctx,
        &start_run(&ctx, &owner, &agents).await,
        RunState::Waiting,
    )
    .await;
    assert!((agents_wait.due_at - waits.due_at).abs() < 5_000);
    assert_eq!(ctx.sandbox.calls_total(), 0);
    let elsewhere = ctx
        .oslo_dataset(&owner.actor, &other, "groups", "Elsewhere")
        .await;
    assert_eq!(
        ctx.run(&owner.actor, &elsewhere).await.state,
        RunState::Succeeded
    );

    let zone = jiff::tz::TimeZone::get("Europe/Oslo").unwrap();
    let time = chatlake::clock::timestamp(waits.due_at)
        .to_zoned(zone)
        .strftime("%H:%M")
        .to_string();
    let list = owner.get("/datasets").await;
    assert!(
        list.texts(".status-cell")
            .iter()
            .any(|cell| cell.starts_with("Waiting")
                && cell.contains(&format!("{time}, LiveChat limits calls"))),
        "{}",
        list.text
    );
    let strip = owner
        .get(&format!("/datasets/{chats}"))
        .await
        .texts(".live")[0]
        .clone();
    assert!(
        strip.contains("Waiting until")
            && strip.contains(&format!("{time}: LiveChat limits calls")),
        "{strip}"
    );
    assert!(
        owner
            .get("/accounts")
            .await
            .texts(".health-cell")
            .iter()
            .any(|cell| cell.contains("Waiting until") && cell.contains("LiveChat limits calls"))
    );
    owner.post(&format!("/runs/{}/stop", waits.id), &[]).await;
    assert_eq!(ctx.ended(&waits.id).await.state, RunState::Cancelled);
}
