//! A DataSet that fails is loud and keeps trying: retries, what takes it off its schedule and
//! brings it back, data that is late, and a run that makes no progress; by a clock that a test
//! moves.

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Role, Scope};
use chatlake::datasets::Dataset;
use chatlake::datasets::policies::RetryPolicy;
use chatlake::ids::DatasetId;
use chatlake::puller::queue;
use chatlake::puller::run::{Run, RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::datasets::scheduled;
use crate::support::http::Page;
use crate::support::panes::PaneSession;
use crate::support::{HOUR, MINUTE, NOON, until};

async fn now(ctx: &TestContext, dataset: &DatasetId) -> Dataset {
    ctx.app.datasets.for_run(dataset).await.unwrap()
}

/// The newest run, once there are so many and it is over.
async fn newest(ctx: &TestContext, dataset: &DatasetId, count: i64) -> Run {
    let newest = until("so many runs", async || {
        (queue::count(&ctx.app.db, dataset).await.unwrap() >= count).then_some(())?;
        queue::of_dataset(&ctx.app.db, dataset, 0, 1)
            .await
            .unwrap()
            .into_iter()
            .next()
    })
    .await;
    ctx.ended(&newest.id).await
}

fn answers_nonsense(ctx: &TestContext) {
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: "nonsense".to_owned(),
        })
        .on("/agents"),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_retried_by_new_runs_up_to_the_limit() {
    let ctx = TestContext::stopped_with_workers().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    answers_nonsense(&ctx);
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
        let due = now(&ctx, &dataset).await.policies.retry_at.unwrap();
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
        let retry = newest(&ctx, &dataset, number + 1).await;
        assert_eq!(
            (retry.trigger, retry.state),
            (Trigger::Retry, RunState::Failed)
        );
    }
    let after = now(&ctx, &dataset).await;
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
        now(&ctx, &dataset).await.policies.retry_at.is_some(),
        "a run by hand is tried again as well"
    );
    ctx.sandbox.faults().clear();
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    assert_eq!(now(&ctx, &dataset).await.policies.retry_at, None);
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
        assert_eq!(now(&ctx, &dataset).await.policies.retry_at, None, "{code}");
    }
    answers_nonsense(&ctx);
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    ctx.run(&owner, &dataset).await;
    assert_eq!(now(&ctx, &dataset).await.policies.retry_at, None);
    // A retry that is to come goes when there is to be none; and when somebody stops the run that
    // would be tried again.
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::new(60, 2).unwrap(), None)
        .await
        .unwrap();
    ctx.run(&owner, &dataset).await;
    let due = now(&ctx, &dataset).await.policies.retry_at.unwrap() - ctx.clock.now();
    assert!((HOUR..=72 * MINUTE).contains(&due), "{due}");
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    assert_eq!(now(&ctx, &dataset).await.policies.retry_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_and_lateness_are_set_in_the_pane_and_the_api_with_errors_next_to_the_field() {
    let ctx = TestContext::new().await;
    let olga = PaneSession::new(&ctx, "olga", Role::Admin).await;
    let page = olga.connect().await;
    let page = olga.press(&page, "details", &[("report", "agents")]).await;
    assert_eq!(
        (
            page.form().0["retry"].as_str(),
            page.form().0["retry_every"].as_str(),
            page.form().0["retry_most"].as_str()
        ),
        ("always", "15", "3")
    );
    let odd = [
        ("retry", "always"),
        ("retry_every", "many"),
        ("retry_most", "0"),
        ("expected_hours", "-1"),
    ];
    let wrong = olga.press(&page, "schedule", &odd).await;
    assert_eq!(
        (wrong.status, wrong.open_pane()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["scheduling".to_owned()]
        )
    );
    assert!(
        ["retry_every", "retry_most", "expected_hours"]
            .iter()
            .all(|field| !wrong.wrong(field).is_empty()),
        "{}",
        wrong.text
    );
    assert_eq!(
        wrong.form().0["retry_every"],
        "many",
        "what was typed stays"
    );
    let good = [
        ("retry_every", "2"),
        ("retry_unit", "hours"),
        ("retry_most", "5"),
        ("expected_hours", "36"),
        ("every", "manual"),
    ];
    let page = olga.press(&wrong, "schedule", &good).await;
    olga.press(&page, "save", &[]).await;
    let dataset = ctx.app.datasets.list(&olga.actor).await.unwrap().remove(0);
    assert_eq!(
        (dataset.policies.retry(), dataset.policies.expected_hours),
        (RetryPolicy::new(120, 5).unwrap(), Some(36))
    );
    let settings = olga
        .get(&format!("/datasets/{}/settings", dataset.id))
        .await;
    assert_eq!(
        (
            settings.form().0["retry_unit"].as_str(),
            settings.form().0["expected_hours"].as_str()
        ),
        ("hours", "36")
    );

    let token = ctx.token(&olga.actor, Scope::Manage).await;
    let path = format!("/datasets/{}", dataset.id);
    let (_, response) = ctx.api(&token, "GET", &path, json!({})).await;
    assert_eq!(
        (&response["retry"], &response["late"]),
        (&json!({"every_minutes": 120, "at_most": 5}), &json!(false))
    );
    let (status, response) = ctx
        .api(
            &token,
            "PATCH",
            &path,
            json!({"retry": null, "expected_within_hours": null}),
        )
        .await;
    assert_eq!(
        (
            status,
            &response["retry"],
            &response["expected_within_hours"]
        ),
        (StatusCode::OK, &Value::Null, &Value::Null),
        "{response}"
    );
    for (body, field) in [
        (
            json!({"retry": {"every_minutes": 0, "at_most": 3}}),
            "retry",
        ),
        (
            json!({"retry": {"every_minutes": 15, "at_most": 21}}),
            "retry",
        ),
        (json!({"expected_within_hours": 0}), "expected_within_hours"),
    ] {
        let (status, response) = ctx.api(&token, "PATCH", &path, body).await;
        assert_eq!(
            (status, response["error"]["field"].as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, Some(field)),
            "{response}"
        );
    }
    let made = json!({"name": "Other", "account_id": dataset.account_id, "report": "agents", "retry": {"every_minutes": 5, "at_most": 1}, "expected_within_hours": 3});
    let (status, response) = ctx.api(&token, "POST", "/datasets", made).await;
    assert_eq!(
        (
            status,
            &response["retry"]["every_minutes"],
            &response["expected_within_hours"]
        ),
        (StatusCode::CREATED, &json!(5), &json!(3)),
        "{response}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_data_is_shown_as_late_everywhere_until_it_arrives() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let token = ctx.token(&owner, Scope::Read).await;
    let account = ctx.account(&owner, "Support").await.id;
    // By hand, and expected every two hours; by hand, and never expected; daily at 13:00, which is
    // an hour away.
    let (with_deadline, never) = (
        ctx.dataset(&owner, &account, "agents", "Asked").await,
        ctx.dataset(&owner, &account, "agents", "Never").await,
    );
    let daily = scheduled(&ctx, &owner, &account, "Daily", "0 13 * * *").await;
    ctx.app
        .datasets
        .set_retry_policy(&owner, &with_deadline, RetryPolicy::NEVER, Some(2))
        .await
        .unwrap();
    ctx.app
        .datasets
        .set_retry_policy(&owner, &daily, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    assert_eq!(
        ctx.run(&owner, &with_deadline).await.state,
        RunState::Succeeded
    );
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    let late = async |dataset: &DatasetId| now(&ctx, dataset).await.policies.late_since;
    ctx.clock.advance(2 * HOUR - MINUTE);
    newest(&ctx, &daily, 1).await;
    assert_eq!(
        (late(&with_deadline).await, late(&daily).await),
        (None, None)
    );
    ctx.clock.advance(2 * MINUTE);
    let since = until("it is late", async || late(&with_deadline).await).await;
    assert_eq!(since, NOON + 2 * HOUR);
    // A quarter of a day would be six hours.
    ctx.clock.advance(5 * HOUR + 1);
    assert_eq!(
        until("the other is late", async || late(&daily).await).await,
        NOON + 7 * HOUR
    );

    // The session has ended meanwhile.
    let mut browser = ctx.signed_in(&owner).await;
    let list = browser.get("/datasets").await;
    assert!(
        list.all(".status.is-warn").contains(&"Late".to_owned()),
        "{:?}",
        list.all(".status")
    );
    assert!(
        list.all(".status-cell")
            .contains(&"Late since today 14:00".to_owned()),
        "{:?}",
        list.all(".status-cell")
    );
    let page = browser.get(&format!("/datasets/{with_deadline}")).await;
    assert!(
        page.words(".facts").contains("Late")
            && page
                .words(".band.is-warn")
                .starts_with("Data is late. It was expected today 14:00."),
        "{}",
        page.text
    );
    let (_, response) = ctx
        .api(
            &token,
            "GET",
            &format!("/datasets/{with_deadline}"),
            json!({}),
        )
        .await;
    assert_eq!(
        (&response["late"], &response["late_since"]),
        (&json!(true), &json!("2026-11-20T14:00:00Z"))
    );
    let (_, response) = ctx
        .api(&token, "GET", &format!("/datasets/{never}"), json!({}))
        .await;
    assert_eq!(response["late"], json!(false));
    let metrics = ctx.metrics().await;
    assert!(metrics.contains("chatlake_datasets_late 2\n"), "{metrics}");
    assert!(
        metrics.contains(&format!(
            "chatlake_dataset_last_success_age_seconds{{dataset=\"{with_deadline}\"}} 25260\n"
        )),
        "{metrics}"
    );

    ctx.sandbox.faults().clear();
    assert_eq!(
        ctx.run(&owner, &with_deadline).await.state,
        RunState::Succeeded
    );
    assert_eq!(late(&with_deadline).await, None);
    // Somebody who no longer expects anything is believed at once.
    ctx.clock.advance(3 * HOUR);
    until("it is late again", async || late(&with_deadline).await).await;
    ctx.app
        .datasets
        .set_retry_policy(&owner, &with_deadline, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    until("it is not late any more", async || {
        late(&with_deadline).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_take_all_datasets_of_the_account_off_their_schedules_until_it_works_again()
 {
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
            newest(&ctx, &first, refusals).await.failure.unwrap().code,
            "unauthorized"
        );
        let dataset = now(&ctx, &first).await;
        assert_eq!(
            (dataset.policies.retry_at, dataset.stopped().is_some()),
            (None, refusals == 3),
            "after {refusals}"
        );
    }
    assert!(
        now(&ctx, &second).await.stopped().is_some(),
        "the others of the account as well"
    );
    ctx.clock.advance(24 * HOUR);
    assert_eq!(
        queue::count(&ctx.app.db, &second).await.unwrap(),
        0,
        "nobody knocks any more"
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

    // New credentials that the vendor takes bring them back by themselves.
    ctx.app
        .accounts
        .update(&owner, &account, &wrong("sandbox-key"))
        .await
        .unwrap();
    assert!(ctx.app.accounts.check(&owner, &account).await.unwrap().ok);
    ctx.clock.advance(31_000);
    until("both are back", async || {
        let (first, second) = (now(&ctx, &first).await, now(&ctx, &second).await);
        (first.next_run_at.is_some() && second.next_run_at.is_some()).then_some(())
    })
    .await;
    assert!(now(&ctx, &first).await.stopped().is_none());
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
    assert!(now(&ctx, &dataset).await.next_run_at.is_none());
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
            .contains("Schedule stopped a run stopped the server")
    );

    // Only who may change it; then once.
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
    // Some beats of the heart at the old time: it has made a call, and that is progress.
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
    let retry = newest(&ctx, &stuck, 2).await;
    assert_eq!(
        (retry.trigger, retry.state),
        (Trigger::Retry, RunState::Succeeded)
    );
}

/// So often is it looked by the time that passes.
const LOOK: i64 = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_work_is_nobody_elses_whatever_the_clock_shows() {
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
    // Four workers; three that took it over would park it.
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
    assert!(now(&ctx, &dataset).await.stopped().is_none());
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
async fn a_clock_that_is_set_back_by_days_keeps_nobody_waiting() {
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
        ctx.clock.advance(LOOK);
    };
    // Three days ahead by mistake: what happens then is written down for then.
    jump(72 * HOUR).await;
    newest(&ctx, &dataset, 1).await;
    assert_eq!(ctx.run(&owner, &watched).await.state, RunState::Succeeded);
    answers_nonsense(&ctx);
    ctx.run(&owner, &dataset).await;
    let due = now(&ctx, &dataset).await.policies.retry_at.unwrap();
    assert!(due > NOON + 72 * HOUR);
    jump(-72 * HOUR).await;
    let due = until("the retry is put right", async || {
        now(&ctx, &dataset)
            .await
            .policies
            .retry_at
            .filter(|at| *at <= ctx.clock.now() + 18 * MINUTE)
    })
    .await;
    let before = queue::count(&ctx.app.db, &dataset).await.unwrap();
    // In a transaction of its own.
    until("the schedule is put right as well", async || {
        (now(&ctx, &dataset).await.next_run_at == Some(NOON + HOUR)).then_some(())
    })
    .await;
    ctx.clock.advance(due - ctx.clock.now());
    assert_eq!(
        newest(&ctx, &dataset, before + 1).await.trigger,
        Trigger::Retry
    );
    // Data that was pulled under that clock is late in good time.
    ctx.clock.advance(2 * HOUR);
    let since = until("it is late", async || {
        now(&ctx, &watched).await.policies.late_since
    })
    .await;
    assert!(since <= NOON + 2 * HOUR + 2 * LOOK, "{}", since - NOON);
}
