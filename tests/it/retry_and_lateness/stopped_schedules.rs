//! What stops a schedule, and who restarts it.

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Role, Scope};
use chatlake::puller::queue;
use chatlake::puller::run::{RunState, Trigger};
use chatlake::secret::Secret;
use serde_json::json;

use super::newest_run;
use crate::support::context::TestContext;
use crate::support::datasets::{scheduled, stored_dataset};
use crate::support::http::Page;
use crate::support::{HOUR, until};

#[tokio::test(flavor = "multi_thread")]
async fn rejected_credentials_stop_all_schedules_of_the_account_until_it_works_again() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let (first, second) = (
        scheduled(&ctx, &owner, &account, "First", "0 * * * *").await,
        scheduled(&ctx, &owner, &account, "Second", "30 18 * * *").await,
    );
    let wrong = |key: &str| ChangeAccount {
        credentials: [("api_key".to_owned(), Secret::new(key))].into(),
        ..ChangeAccount::default()
    };
    ctx.app
        .accounts
        .update(&owner, &account, &wrong("wrong"))
        .await
        .unwrap();
    for refusals in 1..=3 {
        ctx.clock.advance(HOUR);
        assert_eq!(
            newest_run(&ctx, &first, refusals)
                .await
                .failure
                .unwrap()
                .code,
            "unauthorized"
        );
        let dataset = stored_dataset(&ctx, &first).await;
        assert_eq!(
            (dataset.policies.retry_at, dataset.stopped().is_some()),
            (None, refusals == 3),
            "after {refusals}"
        );
    }
    assert!(
        stored_dataset(&ctx, &second).await.stopped().is_some(),
        "the others of the account as well"
    );
    ctx.clock.advance(24 * HOUR);
    assert_eq!(
        queue::count(&ctx.app.db, &second).await.unwrap(),
        0,
        "the vendor gets no more calls"
    );

    // The session has ended meanwhile.
    let mut browser = ctx.signed_in(&owner).await;
    let says =
        |page: &Page, words: &str| assert!(page.text.contains(words), "{words}: {}", page.text);
    let list = browser.get("/datasets").await;
    assert!(
        list.all(".band-row .band")
            .iter()
            .all(|band| band.starts_with("Schedule stopped")),
        "{:?}",
        list.all(".band")
    );
    assert!(
        list.all(".status-cell")
            .iter()
            .all(|cell| cell == "Schedule stopped credentials rejected"),
        "{:?}",
        list.all(".status-cell")
    );
    says(
        &browser.get("/accounts").await,
        "Schedules stopped: 2 DataSets",
    );
    let page = browser.get(&format!("/datasets/{second}")).await;
    assert!(
        page.words(".band.is-bad").contains("Schedule stopped")
            && page.has(&format!(".band a[href='/accounts/{account}/edit']")),
        "{}",
        page.text
    );
    let refused = browser
        .submit(&format!("/datasets/{second}/bring-back"), &[])
        .await;
    assert!(
        refused.toast().contains("still rejects the credentials"),
        "{}",
        refused.toast()
    );

    // New credentials that the vendor accepts restart the schedules.
    ctx.app
        .accounts
        .update(&owner, &account, &wrong("sandbox-key"))
        .await
        .unwrap();
    assert!(ctx.app.accounts.check(&owner, &account).await.unwrap().ok);
    ctx.clock.advance(31_000);
    until("both are back", async || {
        let (first, second) = (
            stored_dataset(&ctx, &first).await,
            stored_dataset(&ctx, &second).await,
        );
        (first.next_run_at.is_some() && second.next_run_at.is_some()).then_some(())
    })
    .await;
    assert!(stored_dataset(&ctx, &first).await.stopped().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_run_stops_its_schedule_and_a_person_restarts_it() {
    let ctx = TestContext::new().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Killer", "0 * * * *").await;
    let token = ctx.token(&owner, Scope::Manage).await;
    let run = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE runs SET attempt = 3 WHERE id = $1")
        .bind(&run.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    queue::requeue_interrupted(&ctx.app.db, &ctx.clock)
        .await
        .unwrap();
    assert_eq!(
        queue::get(&ctx.app.db, &run.id)
            .await
            .unwrap()
            .unwrap()
            .state,
        RunState::Parked
    );
    assert!(stored_dataset(&ctx, &dataset).await.next_run_at.is_none());
    let (_, response) = ctx
        .api(&token, "GET", &format!("/datasets/{dataset}"), json!({}))
        .await;
    assert_eq!(
        response["stopped"],
        json!({"since": "2026-11-20T12:00:00Z", "reason": "parked"})
    );
    assert!(
        browser
            .get("/datasets")
            .await
            .words(".status-cell")
            .contains("Schedule stopped server stopped during a run")
    );

    // Only a person who may change the DataSet restarts it, and only once.
    let (stranger, mut other) = ctx.signed_in_person("stan", Role::Editor).await;
    assert_eq!(
        other
            .post(&format!("/datasets/{dataset}/bring-back"), &[])
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert!(
        ctx.app
            .puller
            .restart_schedule(&stranger, &dataset)
            .await
            .is_err()
    );
    let back = browser
        .submit(&format!("/datasets/{dataset}/bring-back"), &[])
        .await;
    assert_eq!(back.toast(), "Schedule resumed. Next run today 13:00.");
    let (status, response) = ctx
        .api(
            &token,
            "POST",
            &format!("/datasets/{dataset}/bring-back"),
            json!({}),
        )
        .await;
    assert_eq!(
        (status, response["error"]["code"].as_str()),
        (StatusCode::CONFLICT, Some("not_stopped")),
        "{response}"
    );
}
