//! An account that its owner takes back: DataSets of others on it stop, say why, and come back when
//! it is shared again.

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::datasets::policies::StopReason;
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::queue;
use chatlake::puller::run::{Run, RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind, RetryAfter};
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::{HOUR, until};

struct UnsharingFixture {
    ctx: TestContext,
    owner: Actor,
    account: AccountId,
    eva: Actor,
    token: String,
    dataset: DatasetId,
}

impl UnsharingFixture {
    /// Olga shares an account; Eva has a DataSet on it that is pulled every hour.
    async fn new() -> Self {
        let ctx = TestContext::stopped_with_workers().await;
        let owner = ctx.person("olga", Role::Editor).await;
        let account = ctx.account(&owner, "Support").await.id;
        let eva = ctx.person("eva", Role::Editor).await;
        let token = ctx.token(&eva, Scope::Manage).await;
        share(&ctx, &owner, &account, true).await;
        let dataset = hourly(&ctx, &eva, &token, &account, "Agents of Eva").await;
        Self {
            ctx,
            owner,
            account,
            eva,
            token,
            dataset,
        }
    }

    async fn dataset_json(&self) -> Value {
        self.ctx
            .api(
                &self.token,
                "GET",
                &format!("/datasets/{}", self.dataset),
                json!({}),
            )
            .await
            .1
    }

    async fn stopped(&self) -> Option<StopReason> {
        self.ctx
            .app
            .datasets
            .for_run(&self.dataset)
            .await
            .unwrap()
            .stopped()
            .map(|stopped| stopped.reason)
    }
}

async fn share(ctx: &TestContext, owner: &Actor, account: &AccountId, shared: bool) {
    ctx.app
        .accounts
        .update(
            owner,
            account,
            &ChangeAccount {
                shared: Some(shared),
                ..ChangeAccount::default()
            },
        )
        .await
        .unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
}

async fn hourly(
    ctx: &TestContext,
    of: &Actor,
    token: &str,
    account: &AccountId,
    name: &str,
) -> DatasetId {
    let dataset = ctx.dataset(of, account, "agents", name).await;
    let (status, response) = ctx
        .api(
            token,
            "PATCH",
            &format!("/datasets/{dataset}"),
            json!({"schedule": {"cron": "0 * * * *"}}),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{response}");
    dataset
}

/// Lets an hour pass, and answers the run that a DataSet's schedule began.
async fn next_run(ctx: &TestContext, dataset: &DatasetId) -> Run {
    // A moment that comes while a run is alive makes no other run.
    until("no run is alive", async || {
        let newest = queue::of_dataset(&ctx.app.db, dataset, 0, 1)
            .await
            .unwrap()
            .into_iter()
            .next();
        newest.is_none_or(|run| run.state.is_final()).then_some(())
    })
    .await;
    let before = queue::count(&ctx.app.db, dataset).await.unwrap();
    ctx.clock.advance(HOUR);
    until("a run by the schedule", async || {
        let newest = queue::of_dataset(&ctx.app.db, dataset, 0, 1)
            .await
            .unwrap()
            .into_iter()
            .next()?;
        (queue::count(&ctx.app.db, dataset).await.unwrap() > before && newest.state.is_final())
            .then_some(newest)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn datasets_of_others_stop_with_a_reason_and_restart_when_the_account_is_shared_again() {
    let fixture = UnsharingFixture::new().await;
    let ctx = &fixture.ctx;
    // Olga's own DataSet on it, and one of an admin, who may use every account.
    let own = hourly(
        ctx,
        &fixture.owner,
        &ctx.token(&fixture.owner, Scope::Manage).await,
        &fixture.account,
        "Own",
    )
    .await;
    let ada = ctx.person("ada", Role::Admin).await;
    let of_admin = hourly(
        ctx,
        &ada,
        &ctx.token(&ada, Scope::Manage).await,
        &fixture.account,
        "Of an admin",
    )
    .await;
    assert_eq!(
        next_run(ctx, &fixture.dataset).await.state,
        RunState::Succeeded
    );

    // The page says what happens before and after.
    let mut olga = ctx.signed_in(&fixture.owner).await;
    let edit = format!("/accounts/{}/edit", fixture.account);
    assert!(
        olga.get(&edit)
            .await
            .text
            .contains("1 DataSet of another owner uses it. If you stop sharing, it stops updating")
    );
    let fields = [
        ("name", "Support"),
        ("credentials.username", "agent@sandbox.test"),
        ("requests_per_minute", "60000"),
        ("account_zone", "UTC"),
    ];
    let saved = olga.submit(&edit, &fields).await;
    assert!(
        saved
            .toast()
            .contains("1 DataSet of another owner stops updating"),
        "{}",
        saved.toast()
    );
    until("it is off its schedule", async || {
        (fixture.stopped().await == Some(StopReason::Unshared)).then_some(())
    })
    .await;

    // The others go on, and this one asks the vendor for nothing, whoever asks for it.
    let calls = ctx.sandbox.calls_total();
    let runs = queue::count(&ctx.app.db, &fixture.dataset).await.unwrap();
    for dataset in [&own, &of_admin] {
        assert_eq!(next_run(ctx, dataset).await.state, RunState::Succeeded);
    }
    assert_eq!(
        queue::count(&ctx.app.db, &fixture.dataset).await.unwrap(),
        runs
    );
    assert!(ctx.sandbox.calls_total() > calls);
    for by in [&fixture.eva, &ada] {
        let refused = ctx
            .app
            .puller
            .run_now(by, &fixture.dataset, Trigger::Manual)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), "account_not_shared", "{refused}");
        let refused = ctx
            .app
            .puller
            .restart_schedule(by, &fixture.dataset)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), "account_not_shared", "{refused}");
    }
    let response = fixture.dataset_json().await;
    assert_eq!(
        (&response["stopped"]["reason"], &response["next_run_at"]),
        (&json!("unshared"), &Value::Null),
        "{response}"
    );
    let mut eva = ctx.signed_in(&fixture.eva).await;
    let page = eva.get(&format!("/datasets/{}", fixture.dataset)).await;
    assert!(
        page.words(".band")
            .contains("the account is no longer shared with the owner of the DataSet"),
        "{}",
        page.words(".band")
    );
    let list = eva.get("/datasets").await;
    assert!(
        list.words(".band")
            .contains("the account is no longer shared with the owner"),
        "{}",
        list.words(".band")
    );
    // Who may share the account again is led there.
    let page = ctx
        .signed_in(&ada)
        .await
        .get(&format!("/datasets/{}", fixture.dataset))
        .await;
    assert_eq!(
        page.attribute(".band-actions a", "href"),
        Some(format!("/accounts/{}/edit", fixture.account))
    );
    assert_eq!(page.words(".band-actions a"), "Share the account again");

    // Shared again, it is back by itself and works.
    let (status, _) = ctx
        .api(
            &ctx.token(&fixture.owner, Scope::Manage).await,
            "PATCH",
            &format!("/accounts/{}", fixture.account),
            json!({"shared": true}),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    until("it is back on its schedule", async || {
        fixture.dataset_json().await["next_run_at"]
            .is_string()
            .then_some(())
    })
    .await;
    assert_eq!(
        (
            fixture.stopped().await,
            next_run(ctx, &fixture.dataset).await.state
        ),
        (None, RunState::Succeeded)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_the_vendor_fails_without_asking_again() {
    let fixture = UnsharingFixture::new().await;
    let ctx = &fixture.ctx;
    // One that waits for as long as the vendor asked.
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(7_200),
        })]);
    let waiting = ctx
        .app
        .puller
        .run_now(&fixture.eva, &fixture.dataset, Trigger::Manual)
        .await
        .unwrap();
    until("it waits", async || {
        (ctx.app
            .puller
            .get(&fixture.eva, &waiting.id)
            .await
            .unwrap()
            .state
            == RunState::Waiting)
            .then_some(())
    })
    .await;
    share(ctx, &fixture.owner, &fixture.account, false).await;
    until("it is off its schedule", async || {
        (fixture.stopped().await == Some(StopReason::Unshared)).then_some(())
    })
    .await;
    ctx.sandbox.faults().clear();
    let calls = ctx.sandbox.calls_total();
    ctx.clock.advance(2 * HOUR);
    let over = ctx.ended(&waiting.id).await;
    assert_eq!(
        (over.state, over.failure.map(|failure| failure.code)),
        (RunState::Failed, Some("account_not_shared".to_owned()))
    );
    assert_eq!(ctx.sandbox.calls_total(), calls, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_progress_is_stopped_and_an_admin_may_use_every_account() {
    let fixture = UnsharingFixture::new().await;
    let ctx = &fixture.ctx;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Stall { after: 5 })]);
    let running = ctx
        .app
        .puller
        .run_now(&fixture.eva, &fixture.dataset, Trigger::Manual)
        .await
        .unwrap();
    until("the vendor is asked", async || {
        (ctx.sandbox.calls_total() > 0).then_some(())
    })
    .await;
    share(ctx, &fixture.owner, &fixture.account, false).await;
    assert_eq!(ctx.ended(&running.id).await.state, RunState::Cancelled);
    ctx.sandbox.faults().clear();
    assert_eq!(fixture.stopped().await, Some(StopReason::Unshared));

    // Somebody who becomes an admin may use it.
    chatlake::auth::users::set_role(
        &ctx.app.db,
        &ctx.clock,
        &fixture.eva.user,
        Role::Admin,
        None,
    )
    .await
    .unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    until("it is back on its schedule", async || {
        fixture.stopped().await.is_none().then_some(())
    })
    .await;
    let eva = Actor {
        role: Role::Admin,
        ..fixture.eva.clone()
    };
    assert_eq!(
        ctx.run(&eva, &fixture.dataset).await.state,
        RunState::Succeeded
    );
}
