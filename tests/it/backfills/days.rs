//! The days that a backfill pulls, and the days that runs after it pull.

use std::time::Duration;

use chatlake::ids::DatasetId;
use chatlake::sandbox::faults::{Fault, FaultKind, RetryAfter};
use serde_json::{Value, json};

use crate::support::DAY;
use crate::support::datasets::{DatasetFixture, YESTERDAY};

async fn requested_days(fixture: &DatasetFixture, dataset: &DatasetId, run: &Value) -> Vec<String> {
    let windows = fixture
        .call("GET", &format!("/datasets/{dataset}/windows"), Value::Null)
        .await
        .1;
    let of_run = windows["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|window| window["run"] == run["id"] || window["run_id"] == run["id"])
        .cloned();
    of_run
        .map(|window| window["from"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_skips_empty_days_and_stops_at_a_revert() {
    let fixture = DatasetFixture::new().await;
    let leader = fixture.leader().await;
    for (mode, on_empty) in [
        ("append", "check"),
        ("merge", "keep"),
        ("merge", "check"),
        ("partition", "check"),
    ] {
        let dataset = fixture
            .dataset(
                "chats",
                json!({"account_id": leader, "update_mode": mode,
                "options": {"on_empty": on_empty}, "menus": YESTERDAY()}),
            )
            .await;
        let first = fixture.good_run(&dataset).await;
        let rows = fixture.rows(&dataset).await.len();
        assert!(rows > 0 && first["rows"] == json!(rows));
        // These days are before the first chat.
        let done = fixture.backfill(&dataset, "2026-08-01", "2026-08-06").await;
        assert_eq!(
            (&done["state"], &done["chunks_done"]),
            (&json!("finished"), &json!(3)),
            "{mode} {on_empty}: {done}"
        );
        assert_eq!(
            fixture.rows(&dataset).await.len(),
            rows,
            "{mode} {on_empty}"
        );
        let (_, days) = fixture
            .call("GET", &format!("/datasets/{dataset}/coverage"), Value::Null)
            .await;
        let state = days["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|day| day["day"] == "2026-08-03")
            .map_or(json!("missing"), |day| day["state"].clone());
        assert_eq!(
            state,
            if on_empty == "keep" {
                "missing"
            } else {
                "held"
            },
            "{mode} {on_empty}"
        );
    }

    let dataset = fixture
        .dataset(
            "chats",
            json!({"account_id": leader, "update_mode": "merge", "menus": YESTERDAY()}),
        )
        .await;
    let first = fixture.good_run(&dataset).await;
    fixture
        .change(&dataset, json!({"menus": {"start_days": 3, "end_days": 1}}))
        .await;
    assert_eq!(fixture.good_run(&dataset).await["outcome"], Value::Null);
    fixture
        .ctx
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(7_200),
        })]);
    fixture.begin(&dataset, "2026-11-10", "2026-11-15").await;
    let newest = async || {
        fixture
            .call("GET", &format!("/datasets/{dataset}/runs"), Value::Null)
            .await
            .1["items"][0]
            .clone()
    };
    while newest().await["state"] != "waiting" {
        fixture.ctx.app.clock.advance(200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, reverted) = fixture
        .call(
            "POST",
            &format!("/datasets/{dataset}/revert"),
            json!({"version": first["version"]}),
        )
        .await;
    assert_eq!(status, 200, "{reverted}");
    let (_, all) = fixture
        .call(
            "GET",
            &format!("/datasets/{dataset}/backfills"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (&all["items"][0]["state"], &all["items"][0]["why"]),
        (
            &json!("stopped"),
            &json!("The DataSet was reverted to version 1.")
        ),
        "{all}"
    );
    assert!(newest().await["trigger"] == "revert" || newest().await["state"] == "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_between_the_last_run_and_a_backfill_are_still_pulled() {
    let fixture = DatasetFixture::new().await;
    let settings = json!({"menus": {"start_days": 10, "end_days": 1}, "update_mode": "merge", "options": {"look_back": 1}});
    let dataset = fixture.dataset("chat", settings).await;
    // The first rows are those of one day.
    assert_eq!(
        fixture.backfill(&dataset, "2026-11-18", "2026-11-18").await["state"],
        "finished"
    );
    assert_eq!(
        requested_days(&fixture, &dataset, &fixture.good_run(&dataset).await)
            .await
            .len(),
        10,
        "one day says nothing of the others"
    );
    // It is 25 November, nothing ran for five days, and a person pulls one of these days.
    fixture.ctx.app.clock.advance(5 * DAY);
    assert_eq!(
        fixture.backfill(&dataset, "2026-11-23", "2026-11-23").await["state"],
        "finished"
    );
    let days = ["19", "20", "21", "22", "23", "24"].map(|day| format!("2026-11-{day}"));
    assert_eq!(
        requested_days(&fixture, &dataset, &fixture.good_run(&dataset).await).await,
        days
    );
    // Days directly before the stored days then belong to the stored days.
    fixture.ctx.app.clock.advance(2 * DAY);
    assert_eq!(
        fixture.backfill(&dataset, "2026-11-25", "2026-11-25").await["state"],
        "finished"
    );
    assert_eq!(
        requested_days(&fixture, &dataset, &fixture.good_run(&dataset).await).await,
        ["2026-11-25", "2026-11-26"]
    );
    // The request changes, and one day of it is pulled first.
    fixture
        .change(
            &dataset,
            json!({"menus": {"start_days": 10, "end_days": 1, "group": "1"}}),
        )
        .await;
    assert_eq!(
        fixture.backfill(&dataset, "2026-11-26", "2026-11-26").await["state"],
        "finished"
    );
    assert_eq!(
        requested_days(&fixture, &dataset, &fixture.good_run(&dataset).await)
            .await
            .len(),
        10
    );
}
