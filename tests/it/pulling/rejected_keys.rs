//! API keys that the vendor rejects, and permissions that are missing.

use chatlake::accounts::ChangeAccount;
use chatlake::actor::Role;
use chatlake::puller::run::RunState;
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;

use super::failure_code;
use super::start_run;
use crate::support::context::TestContext;
use crate::support::sandbox::of_size;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rejected_three_times_is_not_used_until_it_changes() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("ada", Role::Admin).await;
    let account = ctx.shared_account("wrong-key").await;
    let mut datasets = Vec::new();
    for n in 0..6 {
        datasets.push(
            ctx.oslo_dataset(
                &owner.actor,
                &account,
                if n % 2 == 0 { "agents" } else { "chat" },
                &format!("Number {n}"),
            )
            .await,
        );
    }
    ctx.sandbox.forget_calls();
    let mut runs = Vec::new();
    for dataset in &datasets {
        runs.push(start_run(&ctx, &owner, dataset).await);
    }
    for run in &runs {
        let run = ctx.ended(&run.id).await;
        assert!(
            matches!(failure_code(&run), "unauthorized" | "credentials_stopped"),
            "{:?}",
            run.failure
        );
    }
    // Each attempt makes two calls: one for the report, and one that checks the credentials.
    assert!(
        ctx.sandbox.calls_total() <= 6,
        "it called the vendor {} times",
        ctx.sandbox.calls_total()
    );
    while ctx
        .app
        .accounts
        .get(&owner.actor, &account)
        .await
        .unwrap()
        .auth_failures
        < 3
    {
        ctx.run(&owner.actor, &datasets[0]).await;
    }
    let calls = ctx.sandbox.calls_total();
    assert!(calls <= 6, "it called the vendor {calls} times");
    let stopped = ctx.run(&owner.actor, &datasets[1]).await;
    assert_eq!(
        (failure_code(&stopped), ctx.sandbox.calls_total()),
        ("credentials_stopped", calls)
    );
    let failure = stopped.failure.unwrap();
    assert!(
        failure.who.contains("Support Oslo") && failure.action.contains("No request was sent"),
        "{failure:?}"
    );
    let page = owner.get("/accounts").await;
    assert!(
        page.text.contains("Rejected") && page.text.contains("until the credentials change"),
        "{}",
        page.text
    );
    let change = ChangeAccount {
        credentials: [("api_key".to_owned(), Secret::new("sandbox-key"))].into(),
        ..ChangeAccount::default()
    };
    ctx.app
        .accounts
        .update(&owner.actor, &account, &change)
        .await
        .unwrap();
    for dataset in &datasets {
        assert_eq!(
            ctx.run(&owner.actor, dataset).await.state,
            RunState::Succeeded
        );
    }
    assert!(owner.get("/accounts").await.text.contains("Valid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_tag_menu_does_not_reject_the_key() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Status { status: 403 }).on("/tags"),
    ]);
    for _ in 0..4 {
        assert!(
            ctx.app
                .accounts
                .choices(
                    &owner.actor,
                    &account,
                    chatlake::connectors::report::Menu::Tag
                )
                .await
                .is_err()
        );
    }
    let agents = ctx
        .oslo_dataset(&owner.actor, &account, "agents", "Agents")
        .await;
    assert_eq!(
        ctx.run(&owner.actor, &agents).await.state,
        RunState::Succeeded
    );
    let seen = ctx.app.accounts.get(&owner.actor, &account).await.unwrap();
    assert_eq!((seen.auth_failures, seen.is_stopped()), (0, false));
}
