//! The calendar of the days of a DataSet, and runs for single days.

use axum::http::StatusCode;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::clock::Clock;
use chatlake::ids::DatasetId;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::http::Browser;
use crate::support::until;

/// A backfill of a past month on a DataSet in Merge mode: by chunks, stopped and resumed.
async fn check_backfill(
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

    // An earlier day, and then a day between that stays incomplete: its run fails, and the existing
    // rows stay.
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
    // The day is stored when the vendor returns as many chats as it counts.
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
    check_backfill(&ctx, &owner, &mut browser, &dataset, &token).await;
}
