//! History: what a DataSet was, which days it holds, going back, and how much of it is kept. Told
//! through pages, the API and the command.

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::clock::Clock;
use chatlake::datasets::options::{DatasetOptions, OnEmpty};
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::ids::DatasetId;
use chatlake::puller::run::{Run, RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::http::Browser;
use crate::support::sandbox::LocalSandbox;
use crate::support::until;

/// An owner at a browser, and a DataSet of the last seven days with two versions that differ.
async fn of_two(ctx: &TestContext) -> (Actor, Browser, DatasetId, Run, Run) {
    let (owner, browser) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "People").await;
    let one = ctx.run(&owner, &dataset).await;
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: "[]".to_owned(),
        })
        .on("/agents"),
    ]);
    ctx.app
        .datasets
        .set_options(
            &owner,
            &dataset,
            &DatasetOptions {
                on_empty: OnEmpty::Empty,
                ..DatasetOptions::default()
            },
        )
        .await
        .unwrap();
    let two = ctx.run(&owner, &dataset).await;
    ctx.sandbox.faults().clear();
    assert_eq!(
        (one.state, two.state, two.rows),
        (RunState::Succeeded, RunState::Succeeded, 0)
    );
    (owner, browser, dataset, one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_looks_at_older_rows_and_goes_back_to_them() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser, dataset, one, two) = of_two(&ctx).await;
    let base = format!("/datasets/{dataset}");
    let history = browser.get(&format!("{base}/history")).await;
    let (old, now) = (
        one.version_id.clone().unwrap(),
        two.version_id.clone().unwrap(),
    );
    assert!(
        history.has(&format!("a[href='{base}/versions/{old}/revert']"))
            && !history.has(&format!("a[href='{base}/versions/{now}/revert']")),
        "{}",
        history.text
    );
    assert!(
        history.all(".charts svg[role=img]").len() == 2 && history.all(".charts table").len() == 2,
        "each picture has its table"
    );
    assert!(
        history
            .attribute(".charts svg", "aria-label")
            .unwrap()
            .contains("0 failed")
    );
    let rows = format!("−{}", one.rows);
    assert!(
        history
            .all(".history-run .rows")
            .iter()
            .any(|words| words.starts_with(&rows)),
        "{:?}",
        history.all(".history-run .rows")
    );

    // The older rows, page by page and sorted, without leaving their version.
    let data = browser
        .get(&format!("{base}/data?version={old}&sort=login"))
        .await;
    assert!(
        data.words(".band").contains("Version 1, created"),
        "{}",
        data.words(".band")
    );
    assert_eq!(data.all("table.data tbody tr").len() as i64, one.rows);
    let links = data.all("thead a").len();
    assert!(
        links > 3
            && data
                .text
                .matches(&format!("version={old}&#38;sort="))
                .count()
                + data
                    .text
                    .matches(&format!("version={old}&amp;sort="))
                    .count()
                >= links,
        "sorting stays in the version"
    );
    assert_eq!(
        data.attribute("input[name=version]", "value").as_deref(),
        Some(old.as_str())
    );
    assert!(
        browser
            .get(&format!("{base}/data"))
            .await
            .words("h2")
            .contains("no rows")
    );
    assert_eq!(
        browser
            .get(&format!(
                "{base}/data?version={}",
                chatlake::ids::VersionId::new()
            ))
            .await
            .status,
        StatusCode::NOT_FOUND
    );

    let question = browser.get(&format!("{base}/versions/{old}/revert")).await;
    assert!(
        question.title().contains("Revert to version 1?")
            && question
                .words(".ask-body")
                .contains("Version 2 (0 rows) stays in History"),
        "{}",
        question.words(".ask-body")
    );
    let back = browser
        .submit(&format!("{base}/versions/{old}/revert"), &[])
        .await;
    assert!(
        back.toast().contains("Reverted to version 1."),
        "{}",
        back.toast()
    );
    assert_eq!(
        browser
            .get(&format!("{base}/data"))
            .await
            .all("table.data tbody tr")
            .len() as i64,
        one.rows
    );
    let newest = &back.all(".history-run .asked")[0];
    assert_eq!(newest, "reverted to version 1");

    // Who did it is on the run and in the trail.
    let runs = chatlake::puller::queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap();
    let run = &runs[0];
    assert_eq!(
        (
            run.trigger,
            run.started_by.as_ref(),
            run.reverted_to,
            run.change()
        ),
        (Trigger::Revert, Some(&owner.user), Some(1), Some(one.rows))
    );
    let page = browser.get(&format!("/runs/{}", run.id)).await;
    assert!(
        page.words(".run-log")
            .contains("olga reverted to version 1."),
        "{}",
        page.words(".run-log")
    );
    let trail = chatlake::auth::audit::list(&ctx.app.db, None, 10)
        .await
        .unwrap();
    assert!(
        trail
            .iter()
            .any(|entry| entry.action == "version.revert"
                && entry.actor.as_ref() == Some(&owner.user))
    );
    // And forward: what was current is kept.
    let (status, run) = ctx
        .api(
            &ctx.token(&owner, Scope::Manage).await,
            "POST",
            &format!("{base}/revert"),
            json!({"version": now}),
        )
        .await;
    assert_eq!(
        (
            status,
            run["trigger"].as_str(),
            run["back_to"].as_i64(),
            run["rows_after"].as_i64()
        ),
        (StatusCode::OK, Some("revert"), Some(2), Some(0)),
        "{run}"
    );
    assert!(
        browser
            .get(&format!("{base}/data"))
            .await
            .words("h2")
            .contains("no rows")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_goes_back_while_a_run_is_at_work_and_the_current_version_stays() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser, dataset, one, two) = of_two(&ctx).await;
    let base = format!("/datasets/{dataset}");
    let token = ctx.token(&owner, Scope::Manage).await;
    let (old, now) = (one.version_id.unwrap(), two.version_id.unwrap());
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 300_000 }).on("/agents"),
    ]);
    let run = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    until("it is at work", async || {
        (ctx.app.puller.get(&owner, &run.id).await.unwrap().state == RunState::Running)
            .then_some(())
    })
    .await;
    let (status, error) = ctx
        .api(
            &token,
            "POST",
            &format!("{base}/revert"),
            json!({"version": old}),
        )
        .await;
    assert_eq!(
        (status, error["error"]["code"].as_str()),
        (StatusCode::CONFLICT, Some("run_under_way")),
        "{error}"
    );
    let question = browser.get(&format!("{base}/versions/{old}/revert")).await;
    assert!(
        question.words(".ask").contains("A run is in progress") && !question.has(".ask form"),
        "{}",
        question.text
    );
    assert_eq!(
        browser
            .post(&format!("{base}/versions/{old}/revert"), &[])
            .await
            .status,
        StatusCode::CONFLICT
    );
    ctx.app.puller.cancel(&owner, &run.id).await.unwrap();
    ctx.sandbox.faults().clear();
    until("it has ended", async || {
        ctx.app
            .puller
            .get(&owner, &run.id)
            .await
            .unwrap()
            .state
            .is_final()
            .then_some(())
    })
    .await;

    for (version, code) in [
        (&now, "version_current"),
        (&chatlake::ids::VersionId::new(), "not_found"),
    ] {
        let (_, error) = ctx
            .api(
                &token,
                "POST",
                &format!("{base}/revert"),
                json!({"version": version}),
            )
            .await;
        assert_eq!(error["error"]["code"], code);
        let (_, error) = ctx
            .api(
                &token,
                "DELETE",
                &format!("{base}/versions/{version}"),
                json!({}),
            )
            .await;
        assert_eq!(error["error"]["code"], code);
    }
    assert!(
        browser
            .get(&format!("{base}/versions/{now}/delete"))
            .await
            .words(".ask")
            .contains("cannot be deleted")
    );
    let gone = browser
        .submit(&format!("{base}/versions/{old}/delete"), &[])
        .await;
    assert_eq!(gone.toast(), "Version 1 deleted.");
    assert_eq!(
        browser
            .get(&format!("{base}/data?version={old}"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let trail = chatlake::auth::audit::list(&ctx.app.db, None, 10)
        .await
        .unwrap();
    assert!(
        trail.iter().any(|entry| entry.action == "version.delete"
            && entry.object.as_deref() == Some(old.as_str()))
    );
    let (status, _) = ctx
        .api(
            &token,
            "POST",
            &format!("{base}/revert"),
            json!({"version": old}),
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_keeps_as_much_history_as_its_owner_says() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser, dataset, ..) = of_two(&ctx).await;
    let base = format!("/datasets/{dataset}");
    let form = browser.get(&format!("{base}/retention")).await;
    assert_eq!(
        (
            form.attribute("#versions", "placeholder").as_deref(),
            form.attribute("#days", "value").as_deref()
        ),
        (Some("10"), Some(""))
    );
    let wrong = browser
        .post(
            &format!("{base}/retention"),
            &[("versions", "0"), ("days", "many")],
        )
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.wrong("days").contains("whole number"),
        "{}",
        wrong.text
    );
    let wrong = browser
        .post(
            &format!("{base}/retention"),
            &[("versions", "0"), ("days", "")],
        )
        .await;
    assert!(
        wrong.wrong("versions").contains("from 1 to 1000")
            && wrong.attribute("#versions", "value").as_deref() == Some("0"),
        "{}",
        wrong.text
    );
    let saved = browser
        .submit(
            &format!("{base}/retention"),
            &[("versions", "1"), ("days", "")],
        )
        .await;
    assert_eq!(saved.toast(), "Saved. 1 version deleted.");
    assert!(
        saved.text.contains("Keeps 1 version, up to 30 days."),
        "{}",
        saved.words("main")
    );
    ctx.run(&owner, &dataset).await;
    let token = ctx.token(&owner, Scope::Manage).await;
    // Retention follows the commit that ends the run.
    until("one version is listed", async || {
        let (_, listed) = ctx
            .api(&token, "GET", &format!("{base}/versions"), Value::Null)
            .await;
        (listed["items"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let (status, kept) = ctx
        .api(
            &token,
            "PATCH",
            &format!("{base}/retention"),
            json!({"days": 5}),
        )
        .await;
    assert_eq!(
        (
            status,
            &kept["versions"],
            &kept["keeps_versions"],
            &kept["keeps_days"]
        ),
        (StatusCode::OK, &Value::Null, &json!(10), &json!(5)),
        "{kept}"
    );
    assert!(kept["bytes"].as_u64().unwrap() > 0, "{kept}");
    let (status, wrong) = ctx
        .api(
            &token,
            "PATCH",
            &format!("{base}/retention"),
            json!({"versions": 1001}),
        )
        .await;
    assert_eq!(
        (status, wrong["error"]["field"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("versions")),
        "{wrong}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calendar_shows_every_day_and_single_days_are_pulled_only_where_other_rows_stay() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "chat", "Chats").await;
    let base = format!("/datasets/{dataset}");
    let token = ctx.token(&owner, Scope::Manage).await;
    assert!(
        browser
            .get(&format!("{base}/coverage"))
            .await
            .text
            .contains("No days pulled yet.")
    );
    ctx.run(&owner, &dataset).await;
    let (_, days) = ctx
        .api(&token, "GET", &format!("{base}/coverage"), Value::Null)
        .await;
    let days = days["items"].as_array().unwrap().clone();
    assert_eq!(days.len(), 7);
    assert!(
        days.iter()
            .all(|day| day["state"] == "verified" && day["run_id"].is_string()),
        "{days:?}"
    );
    let calendar = browser.get(&format!("{base}/coverage")).await;
    let cells = calendar.all("a.cal-day.is-verified");
    assert_eq!(cells.len(), 7);
    assert!(
        calendar
            .attribute("a.cal-day", "aria-label")
            .unwrap()
            .ends_with(": verified"),
        "words, not colour alone"
    );
    assert!(calendar.text.contains("Every day was pulled."));
    assert!(
        browser
            .get(&format!("{base}/history"))
            .await
            .all("a.cal-day")
            .len()
            == 7
    );

    let day = days[3]["day"].as_str().unwrap();
    let page = browser.get(&format!("{base}/days/{day}")).await;
    assert!(
        page.words("tbody tr").contains("Verified")
            && page.words("tbody tr").contains("current rows"),
        "{}",
        page.words("tbody tr")
    );
    assert!(
        page.text.contains("A single day cannot be pulled")
            && page.has(&format!("form[action='{base}/run'] button"))
    );
    assert_eq!(
        browser.get(&format!("{base}/days/2020-01-01")).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        browser.get(&format!("{base}/days/nonsense")).await.status,
        StatusCode::NOT_FOUND
    );
    let explained = browser.get(&format!("{base}/backfill")).await;
    assert!(
        explained.text.contains("not available with Replace")
            && !explained.has("form[action$='/backfill']")
    );

    let agents = ctx.dataset(&owner, &account, "agents", "People").await;
    ctx.run(&owner, &agents).await;
    let (_, none) = ctx
        .api(
            &token,
            "GET",
            &format!("/datasets/{agents}/coverage"),
            Value::Null,
        )
        .await;
    assert_eq!(none["items"], json!([]), "a report without days has none");
    let backfill_body = json!({"from": "2026-01-01", "to": "2026-01-05"});
    for (dataset, code) in [(&agents, "no_days"), (&dataset, "replaces_all")] {
        let (status, error) = ctx
            .api(
                &token,
                "POST",
                &format!("/datasets/{dataset}/backfills"),
                backfill_body.clone(),
            )
            .await;
        assert_eq!(
            (status, error["error"]["code"].as_str()),
            (StatusCode::CONFLICT, Some(code)),
            "{error}"
        );
    }
    let sums = ctx.dataset(&owner, &account, "chat_report", "Sums").await;
    let (status, merged) = ctx
        .api(
            &token,
            "PATCH",
            &format!("/datasets/{sums}"),
            json!({"update_mode": "merge", "retry": null}),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{merged}");
    let (status, error) = ctx
        .api(
            &token,
            "POST",
            &format!("/datasets/{sums}/backfills"),
            backfill_body.clone(),
        )
        .await;
    assert_eq!(
        (status, error["error"]["code"].as_str()),
        (StatusCode::CONFLICT, Some("no_days")),
        "sums over a range are not days apart: {error}"
    );
    let page = browser.get(&format!("/datasets/{sums}/backfill")).await;
    assert!(
        page.text.contains("always pulls its whole date range"),
        "{}",
        page.words("main")
    );
    let (status, error) = ctx
        .api(
            &token,
            "POST",
            &format!("{base}/backfills"),
            json!({"from": "2026-01-09", "to": "2026-01-05", "chunk_days": 40}),
        )
        .await;
    assert_eq!(
        (status, error["error"]["field"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("from")),
        "{error}"
    );
    fills(&ctx, &owner, &mut browser, &dataset, &token).await;
}

/// A month that is past, on a DataSet that merges: chunk by chunk, stopped and gone on with.
async fn fills(
    ctx: &TestContext,
    owner: &Actor,
    browser: &mut Browser,
    dataset: &DatasetId,
    token: &str,
) {
    let base = format!("/datasets/{dataset}");
    let (status, merged) = ctx
        .api(
            token,
            "PATCH",
            &base,
            json!({"update_mode": "merge", "retry": null}),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{merged}");
    ctx.run(owner, dataset).await;
    let today = Clock::system()
        .timestamp()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let back = |days: i32| {
        today
            .saturating_sub(jiff::Span::new().days(days))
            .to_string()
    };
    let begun = browser
        .submit(
            &format!("{base}/backfill"),
            &[("from", &back(20)), ("to", &back(8)), ("chunk_days", "5")],
        )
        .await;
    assert!(begun.toast().contains("Backfill started"), "{}", begun.text);
    let newest = async || {
        ctx.api(token, "GET", &format!("{base}/backfills"), Value::Null)
            .await
            .1["items"][0]
            .clone()
    };
    let done = until("the backfill has ended", async || {
        Some(newest().await).filter(|backfill| backfill["state"] != "running")
    })
    .await;
    assert_eq!(
        (
            done["state"].as_str(),
            done["chunks"].as_i64(),
            done["chunks_done"].as_i64()
        ),
        (Some("finished"), Some(3), Some(3)),
        "{done}"
    );
    let (_, days) = ctx
        .api(token, "GET", &format!("{base}/coverage"), Value::Null)
        .await;
    let days = days["items"].as_array().unwrap();
    assert_eq!(
        (days.len(), days[0]["day"].as_str()),
        (20, Some(back(20).as_str())),
        "{days:?}"
    );
    assert!(
        days.iter().all(|day| day["state"] == "verified"),
        "{days:?}"
    );
    let again = browser
        .submit(
            &format!("{base}/backfill"),
            &[("from", &back(9)), ("to", &back(9)), ("chunk_days", "1")],
        )
        .await;
    assert!(again.toast().contains("Backfill started"));
    until("the day has come again", async || {
        (newest().await["state"] == "finished").then_some(())
    })
    .await;

    // A day further back, and then one between that stays short: it ends its run, and the rows from
    // before stay.
    let backfill_body = |day: String| json!({"from": day, "to": day, "chunk_days": 1});
    ctx.api(
        token,
        "POST",
        &format!("{base}/backfills"),
        backfill_body(back(25)),
    )
    .await;
    until("that day has come", async || {
        (newest().await["state"] == "finished").then_some(())
    })
    .await;
    let before = ctx.app.datasets.versions.current(dataset).await.unwrap();
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::LyingTotal { by: 3 }).on("/chats"),
    ]);
    ctx.api(
        token,
        "POST",
        &format!("{base}/backfills"),
        backfill_body(back(23)),
    )
    .await;
    let stopped = until("the backfill has stopped", async || {
        Some(newest().await).filter(|backfill| backfill["state"] != "running")
    })
    .await;
    ctx.sandbox.faults().clear();
    assert_eq!(
        (stopped["state"].as_str(), stopped["chunks_done"].as_i64()),
        (Some("stopped"), Some(0)),
        "{stopped}"
    );
    assert_eq!(
        ctx.app.datasets.versions.current(dataset).await.unwrap(),
        before
    );
    let (_, days) = ctx
        .api(token, "GET", &format!("{base}/coverage"), Value::Null)
        .await;
    let states: Vec<&str> = days["items"].as_array().unwrap()[..6]
        .iter()
        .map(|day| day["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        [
            "verified", "missing", "short", "missing", "missing", "verified"
        ]
    );
    let page = browser.get(&format!("{base}/days/{}", back(23))).await;
    assert!(
        page.words("tbody tr").contains("Incomplete"),
        "{}",
        page.words("main")
    );
    // And is held, when the vendor gives what it tells of.
    ctx.api(
        token,
        "POST",
        &format!(
            "{base}/backfills/{}/resume",
            stopped["id"].as_str().unwrap()
        ),
        json!({}),
    )
    .await;
    until("the day has come", async || {
        (newest().await["state"] == "finished").then_some(())
    })
    .await;
    let (_, days) = ctx
        .api(token, "GET", &format!("{base}/coverage"), Value::Null)
        .await;
    assert_eq!(days["items"][2]["state"], "verified", "{days}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_settings_and_no_rows() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser, dataset, ..) = of_two(&ctx).await;
    let account = ctx
        .app
        .datasets
        .get(&owner, &dataset)
        .await
        .unwrap()
        .account_id
        .unwrap();
    let settings = browser
        .submit(&format!("/datasets/{dataset}/duplicate"), &[])
        .await;
    assert_eq!(
        (settings.status, settings.title().as_str()),
        (StatusCode::OK, "Copy of People")
    );
    let token = ctx.token(&owner, Scope::Manage).await;
    let (status, copy) = ctx
        .api(
            &token,
            "POST",
            &format!("/datasets/{dataset}/duplicate"),
            json!({}),
        )
        .await;
    assert_eq!(
        (status, &copy["name"], &copy["report"], &copy["rows"]),
        (
            StatusCode::CREATED,
            &json!("Copy of People"),
            &json!("agents"),
            &Value::Null
        ),
        "{copy}"
    );
    let chosen = json!({"update_mode": "merge", "key": ["login", "name"], "options": {"on_empty": "keep", "on_added": "stop", "hold_drop": 40, "second_read": false}});
    let (status, chosen) = ctx
        .api(&token, "PATCH", &format!("/datasets/{dataset}"), chosen)
        .await;
    assert_eq!(status, StatusCode::OK, "{chosen}");
    let (_, copy) = ctx
        .api(
            &token,
            "POST",
            &format!("/datasets/{dataset}/duplicate"),
            json!({}),
        )
        .await;
    for field in [
        "update_mode",
        "key",
        "options",
        "menus",
        "schedule",
        "time_zone",
        "retry",
        "expected_hours",
        "notify",
        "paused",
    ] {
        assert_eq!(copy[field], chosen[field], "{field}");
    }
    assert_eq!(copy["options"]["hold_drop"], 40, "{copy}");
    // A colleague's copy tells the colleague, and nobody whom the owner chose.
    ctx.app
        .accounts
        .update(
            &owner,
            &account,
            &ChangeAccount {
                shared: Some(true),
                ..ChangeAccount::default()
            },
        )
        .await
        .unwrap();
    ctx.app
        .datasets
        .share(&owner, &dataset, true)
        .await
        .unwrap();
    let notify = NotificationSettings::new(
        Some(vec!["boss@elsewhere.test".to_owned()]),
        Vec::new(),
        vec![NotificationKind::Failure],
        3,
    )
    .unwrap();
    ctx.app
        .datasets
        .set_notifications(&owner, &dataset, &notify)
        .await
        .unwrap();
    let mut emails = Vec::new();
    for copier in [&owner, &ctx.person("carl", Role::Editor).await] {
        let copy = ctx.app.datasets.duplicate(copier, &dataset).await.unwrap();
        let copied = ctx
            .app
            .datasets
            .get(copier, &copy)
            .await
            .unwrap()
            .policies
            .notification_settings();
        assert_eq!(
            (copied.webhooks, copied.on, copied.after),
            (Vec::new(), vec![NotificationKind::Failure], 3)
        );
        emails.push(copied.emails);
    }
    assert_eq!(emails, [Some(vec!["boss@elsewhere.test".to_owned()]), None]);
    ctx.app
        .accounts
        .update(
            &owner,
            &account,
            &ChangeAccount {
                shared: Some(false),
                ..ChangeAccount::default()
            },
        )
        .await
        .unwrap();
    // Somebody who may see the DataSet, and not its account.
    ctx.app
        .datasets
        .share(&owner, &dataset, true)
        .await
        .unwrap();
    let account = ctx
        .app
        .datasets
        .for_run(&dataset)
        .await
        .unwrap()
        .account_id
        .unwrap();
    let (_, mut stranger) = ctx.signed_in_person("stan", Role::Editor).await;
    let refused = stranger
        .post(&format!("/datasets/{dataset}/duplicate"), &[])
        .await;
    assert!(
        refused.status == StatusCode::FORBIDDEN && refused.text.contains("is not shared with you"),
        "{}",
        refused.text
    );

    // With the account as well it is a colleague's own: whoever the owner had told of failures is
    // not told of the copy's.
    let change = ChangeAccount {
        shared: Some(true),
        ..ChangeAccount::default()
    };
    ctx.app
        .accounts
        .update(&owner, &account, &change)
        .await
        .unwrap();
    let hook = ctx
        .app
        .puller
        .notifications
        .add_webhook("Team chat", "http://127.0.0.1:9/x")
        .await
        .unwrap()
        .0
        .id
        .to_string();
    let notify = NotificationSettings::new(
        Some(vec!["ops@house.test".to_owned()]),
        vec![hook],
        vec![NotificationKind::Failure],
        3,
    )
    .unwrap();
    ctx.app
        .datasets
        .set_notifications(&owner, &dataset, &notify)
        .await
        .unwrap();
    let (colleague, _) = ctx.signed_in_person("nora", Role::Editor).await;
    let notifications_of_copy = async |who: &Actor| {
        let token = ctx.token(who, Scope::Manage).await;
        let (status, copy) = ctx
            .api(
                &token,
                "POST",
                &format!("/datasets/{dataset}/duplicate"),
                json!({}),
            )
            .await;
        assert_eq!(status, StatusCode::CREATED, "{copy}");
        ctx.app
            .datasets
            .for_run(&DatasetId::parse(copy["id"].as_str().unwrap()).unwrap())
            .await
            .unwrap()
            .policies
            .notification_settings()
    };
    assert_eq!(notifications_of_copy(&owner).await, notify);
    assert_eq!(
        notifications_of_copy(&colleague).await,
        NotificationSettings {
            emails: None,
            webhooks: Vec::new(),
            ..notify
        }
    );
}

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

#[tokio::test(flavor = "multi_thread")]
async fn verify_runs_with_and_without_a_server_and_changes_nothing() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(30).await);
    let missing = data_dir.run(&["verify"]).await;
    assert!(
        missing.code == 1 && missing.err.contains("is not a Chatlake data directory"),
        "{missing:?}"
    );
    assert!(!data_dir.data().exists());
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "run").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let server = data_dir.serve().await;
    let run = server.run(&dataset, &token).await;
    assert_eq!(server.over(&run, &token).await["state"], "succeeded");
    assert_eq!(data_dir.run(&["verify"]).await.good(), "No problems found.");
    server.stop().await;
    let before = data_dir.listing();
    assert_eq!(
        data_dir.run(&["verify", "--deep"]).await.good(),
        "No problems found."
    );
    assert_eq!(data_dir.listing(), before, "it writes nothing");

    let segments = data_dir.data().join("segments");
    let file = std::fs::read_dir(&segments)
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "parquet"))
        .unwrap();
    std::fs::copy(
        &file,
        segments.join(format!("{}.parquet", chatlake::ids::SegmentId::new())),
    )
    .unwrap();
    std::fs::remove_file(&file).unwrap();
    let wrong = data_dir.run(&["verify"]).await;
    let lines: Vec<&str> = wrong.out.lines().collect();
    assert_eq!((wrong.code, lines.len()), (1, 2), "{wrong:?}");
    assert!(
        lines[0].starts_with("segment_file: seg_") && lines[1].starts_with("orphan: seg_"),
        "{lines:?}"
    );
    assert!(wrong.err.contains("2 problems found."), "{wrong:?}");
    let output = data_dir.run(&["verify", "--json"]).await;
    let findings: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(
        (findings[0]["check"].as_str(), findings[1]["check"].as_str()),
        (Some("segment_file"), Some("orphan")),
        "{findings}"
    );
}
