//! Every page shows the same state of a run that is being stopped, of a DataSet whose schedule is
//! stopped, and of an account that works again. Waiting runs show how long they have waited.

use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Actor, Role};
use chatlake::clock::Clock;
use chatlake::ids::{DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::puller::run::{RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;

use crate::support::context::TestContext;
use crate::support::datasets::scheduled;
use crate::support::http::{Browser, Page};
use crate::support::{HOUR, until};

fn head(page: &Page) -> String {
    page.words(".head .facts .status")
}

async fn set(ctx: &TestContext, run: &RunId, what: &str) {
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "UPDATE runs SET {what} WHERE id = $1"
    )))
    .bind(run)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_run_that_is_being_stopped_is_one_state_on_every_page() {
    // Nothing is pulled here, so what stands in the catalogue stays.
    let ctx = TestContext::new().await;
    let (olga, mut browser) = ctx.signed_in_person("olga", Role::Admin).await;
    let account = ctx.account(&olga, "Support").await.id;
    let dataset = ctx.dataset(&olga, &account, "chat", "Chats").await;
    let run = ctx
        .app
        .puller
        .run_now(&olga, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    set(&ctx, &run, "state = 'running', started_at = queued_at").await;
    let overview = format!("/datasets/{dataset}");
    let running = browser.get(&overview).await;
    assert_eq!(
        (
            head(&running).as_str(),
            running.words("[data-part=status]").as_str()
        ),
        ("Running", "Running")
    );
    assert_eq!(
        running.words("[data-part=meanwhile]"),
        "The first rows appear when the run finishes."
    );
    let stop = format!("/runs/{run}/stop");
    assert_eq!(
        running.attribute("[data-part=stop]", "href"),
        Some(stop.clone())
    );
    assert!(
        browser
            .get(&stop)
            .await
            .has(&format!("form[action='{stop}'] button.is-danger"))
    );

    set(&ctx, &run, "cancel_requested = 1").await;
    for path in [
        overview.clone(),
        format!("{overview}/data"),
        format!("{overview}/history"),
        format!("/runs/{run}"),
    ] {
        let page = browser.get(&path).await;
        assert_eq!(
            (
                head(&page).as_str(),
                page.words("[data-part=status]").as_str()
            ),
            ("Cancelling", "Cancelling"),
            "{path}"
        );
        assert!(
            !page.has("[data-part=stop]") && !page.text.contains("when the run finishes"),
            "{path}"
        );
        assert_eq!(
            page.attribute(".head [data-run-status]", "data-run-status"),
            Some(run.to_string()),
            "{path}"
        );
    }
    assert!(
        browser
            .get("/datasets")
            .await
            .words(".status-cell")
            .starts_with("Cancelling")
    );
    assert!(
        browser
            .get(&stop)
            .await
            .words("[data-dialog-body]")
            .contains("The run is already being cancelled.")
    );
    let news: serde_json::Value =
        serde_json::from_slice(&browser.get(&format!("/runs/{run}/progress")).await.bytes).unwrap();
    assert_eq!(
        (
            news["status"].as_str(),
            news["stoppable"].as_bool(),
            news["meanwhile"].as_str()
        ),
        (
            Some("Cancelling"),
            Some(false),
            Some("There are no rows yet.")
        )
    );

    set(&ctx, &run, "state = 'cancelled', finished_at = queued_at").await;
    let over = browser.get(&overview).await;
    assert!(
        head(&over) == "Not run yet" && !over.has("run-progress"),
        "{}",
        head(&over)
    );
}

/// An account that refuses, and two DataSets of it that are off their schedules by now.
async fn stopped(ctx: &TestContext) -> (Actor, Browser, [DatasetId; 2]) {
    let olga = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&olga, "Support").await.id;
    let datasets = [
        scheduled(ctx, &olga, &account, "First", "0 * * * *").await,
        scheduled(ctx, &olga, &account, "Second", "30 18 * * *").await,
    ];
    let wrong = ChangeAccount {
        credentials: [("api_key".to_owned(), Secret::new("wrong"))].into(),
        ..ChangeAccount::default()
    };
    ctx.app
        .accounts
        .update(&olga, &account, &wrong)
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(
            ctx.run(&olga, &datasets[0]).await.failure.unwrap().code,
            "unauthorized"
        );
    }
    let off = async || {
        ctx.app
            .datasets
            .get(&olga, &datasets[1])
            .await
            .unwrap()
            .stopped()
            .is_some()
            .then_some(())
    };
    until("both are off their schedules", off).await;
    let browser = ctx.signed_in(&olga).await;
    (olga, browser, datasets)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_is_off_its_schedule_says_so_once_with_one_button() {
    let ctx = TestContext::stopped_with_workers().await;
    let (olga, mut browser, [first, _]) = stopped(&ctx).await;
    let account = ctx.app.accounts.list(&olga).await.unwrap().remove(0).id;
    let update = format!("a[href='/accounts/{account}/edit']");
    let page = browser.get(&format!("/datasets/{first}")).await;
    assert_eq!(page.all(".band").len(), 1, "{:?}", page.all(".band"));
    let band = page.words(".band.is-bad");
    assert!(
        band.starts_with("Schedule stopped")
            && band.contains("LiveChat rejected the credentials of “Support” 3 times in a row."),
        "{band}"
    );
    assert!(
        band.contains("Then the schedule resumes automatically.")
            && page.has(&format!(".band {update}")),
        "{band}"
    );
    assert_eq!(page.all(".band-actions .button").len(), 1);
    assert!(
        !page.text.contains("uses the new credentials") && !page.has(".three"),
        "nothing on the page says something else"
    );
    assert!(page.words(".head .facts").contains("No next run"));
    // Its record says what holds now, wherever it stands.
    let run = queue::of_dataset(&ctx.app.db, &first, 0, 1)
        .await
        .unwrap()
        .remove(0);
    for path in [
        format!("/datasets/{first}/history"),
        format!("/runs/{}", run.id),
    ] {
        let record = browser.get(&path).await.words(".three");
        assert!(
            record.contains("The schedule is stopped.")
                && !record.contains("uses the new credentials"),
            "{path}: {record}"
        );
    }
    // The list: each on its row, in the same words, and no banner that says it again.
    let list = browser.get("/datasets").await;
    assert!(
        list.all(".bands .band").is_empty(),
        "{:?}",
        list.all(".bands .band")
    );
    assert_eq!(list.all(".band-row .band").len(), 2);
    assert_eq!(list.words(".band-row .band"), band);
    // Where the rows are not on the page, the banner is.
    let elsewhere = browser.get("/datasets?q=nothing").await;
    assert!(
        elsewhere
            .words(".bands .band")
            .starts_with("The schedules of 2 DataSets stopped."),
        "{:?}",
        elsewhere.all(".band")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_new_credentials_what_failed_is_run_with_one_press() {
    let ctx = TestContext::stopped_with_workers().await;
    let (olga, mut browser, [first, second]) = stopped(&ctx).await;
    let account = ctx.app.accounts.list(&olga).await.unwrap().remove(0);
    let before = browser.get("/accounts").await;
    assert!(
        !before.text.contains("/run-failed"),
        "nothing is offered while the account is refused"
    );
    ctx.clock.advance(HOUR);
    let mut browser = {
        drop(browser);
        ctx.signed_in(&olga).await
    };
    let vendor = ctx.vendor.clone();
    let fields = [
        ("name", "Support"),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", "sandbox-key"),
        ("api_url", vendor.as_str()),
    ];
    let page = browser
        .submit(&format!("/accounts/{}/edit", account.id), &fields)
        .await;
    let band = page.words(".bands .band.is-good");
    assert!(
        band.starts_with("“Support” works again:")
            && band.contains("“First” has not run since LiveChat rejected the old credentials."),
        "{band}"
    );
    assert_eq!(page.words(".bands form button"), "Run 1 failed DataSet");
    // The DataSet itself says the same, and nobody is asked for new credentials any more.
    until("it is back on its schedule", async || {
        ctx.app
            .datasets
            .get(&olga, &first)
            .await
            .unwrap()
            .next_run_at
            .map(drop)
    })
    .await;
    let overview = browser.get(&format!("/datasets/{first}")).await;
    let said = overview.words(".band.is-bad");
    assert!(
        said.contains("They work now.") && !said.contains("must enter new credentials"),
        "{said}"
    );
    assert!(
        !overview.text.contains("uses the new credentials"),
        "the record below does not ask for what was done"
    );
    assert_eq!(overview.words(".band-actions button"), "Run now");
    let runs = queue::count(&ctx.app.db, &second).await.unwrap();
    // While a run is under way nobody is asked to begin one.
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Late { ms: 600_000 })]);
    browser
        .submit(&format!("/accounts/{}/run-failed", account.id), &[])
        .await;
    let overview = browser.get(&format!("/datasets/{first}")).await;
    assert!(
        overview
            .words(".band.is-info")
            .starts_with("LiveChat accepts the credentials again. A run is in progress."),
        "{}",
        overview.text
    );
    assert!(!overview.has(".band.is-bad"));
    assert!(!browser.get("/datasets").await.has(".bands .band.is-bad"));
    let run = queue::of_dataset(&ctx.app.db, &first, 0, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    ctx.app.puller.cancel(&olga, &run).await.unwrap();
    until("it is stopped", async || {
        ctx.app
            .puller
            .get(&olga, &run)
            .await
            .unwrap()
            .state
            .is_final()
            .then_some(())
    })
    .await;
    ctx.sandbox.faults().clear();
    let sent = browser
        .submit(&format!("/accounts/{}/run-failed", account.id), &[])
        .await;
    assert_eq!(sent.toast(), "1 run started. The list shows the progress.");
    let done = until("it has run", async || {
        let newest = queue::of_dataset(&ctx.app.db, &first, 0, 1)
            .await
            .unwrap()
            .remove(0);
        newest.state.is_final().then_some(newest)
    })
    .await;
    assert_eq!(done.state, RunState::Succeeded, "{:?}", done.failure);
    assert_eq!(
        queue::count(&ctx.app.db, &second).await.unwrap(),
        runs,
        "what did not fail is not run"
    );
    let after = browser.get("/accounts").await;
    assert!(!after.text.contains("/run-failed"));
    assert_eq!(
        browser
            .submit(&format!("/accounts/{}/run-failed", account.id), &[])
            .await
            .toast(),
        "No failed DataSet of Support needs a run."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_waited_is_a_part_of_how_long_it_took() {
    let ctx = TestContext::with(Clock::system(), |_| {}).await;
    ctx.app.start_pulling().await.unwrap();
    let olga = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&olga, "Support").await.id;
    // So few calls that several requests wait for theirs at a time.
    let slow = ChangeAccount {
        requests_per_minute: Some(240),
        ..ChangeAccount::default()
    };
    ctx.app
        .accounts
        .update(&olga, &account, &slow)
        .await
        .unwrap();
    let dataset = ctx.dataset(&olga, &account, "chat", "Chats").await;
    let run = ctx.run(&olga, &dataset).await;
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.failure);
    let took = run.duration(ctx.clock.now()).unwrap();
    assert!(
        run.calls > 6 && run.waited_ms > 0,
        "it had to wait: {} calls, {} ms",
        run.calls,
        run.waited_ms
    );
    assert!(run.waited_ms <= took, "{} ms of {took} ms", run.waited_ms);
    let mut browser = ctx.signed_in(&olga).await;
    let page = browser.get(&format!("/runs/{}", run.id)).await;
    assert!(
        page.words(".run-detail .sums").contains("Waiting time")
            && page.words(".phases").contains("of it waiting, because"),
        "{}",
        page.text
    );
}
