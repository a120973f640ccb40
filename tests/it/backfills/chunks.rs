//! Chunks that wait for approval, that fail, or that other runs wait for.

use std::time::Duration;

use chatlake::ids::DatasetId;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::datasets::{DatasetFixture, YESTERDAY};

async fn newest_backfill(fixture: &DatasetFixture, dataset: &DatasetId) -> Value {
    fixture
        .call(
            "GET",
            &format!("/datasets/{dataset}/backfills"),
            Value::Null,
        )
        .await
        .1["items"][0]
        .clone()
}

/// The newest backfill as soon as it fulfils the condition, while the clock advances.
async fn backfill_when(
    fixture: &DatasetFixture,
    dataset: &DatasetId,
    is: impl Fn(&Value) -> bool,
) -> Value {
    for _ in 0..2_000 {
        let newest = newest_backfill(fixture, dataset).await;
        if is(&newest) {
            return newest;
        }
        fixture.ctx.app.clock.advance(200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!(
        "the backfill does not reach the state: {}",
        newest_backfill(fixture, dataset).await
    );
}

fn is_over(backfill: &Value) -> bool {
    backfill["state"] != "running"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_pending_approval_is_not_done_until_it_is_accepted() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset(
            "chat",
            json!({"menus": YESTERDAY(), "update_mode": "partition", "options": {"hold_drop": 50}}),
        )
        .await;
    fixture.holds(&[
        fixture.chat("A", 1, &[]),
        fixture.chat("B", 1, &[]),
        fixture.chat("C", 1, &[]),
        fixture.chat("D", 1, &[]),
    ]);
    fixture.good_run(&dataset).await;
    fixture.holds(&[fixture.chat("A", 1, &[])]);
    let stopped = fixture.backfill(&dataset, "2026-11-19", "2026-11-19").await;
    assert_eq!(
        (
            &stopped["state"],
            &stopped["chunks_done"],
            &stopped["left_to"]
        ),
        (&json!("stopped"), &json!(0), &json!("2026-11-19")),
        "{stopped}"
    );
    let page = fixture
        .owner
        .get(&format!("/datasets/{dataset}"))
        .await
        .text;
    assert!(
        page.contains("The backfill of")
            && page.contains("has stopped")
            && page.contains("0 of 1 date range"),
        "{page}"
    );

    // Discarded on its page: the day is still missing.
    let (_, response) = fixture
        .call("GET", &format!("/datasets/{dataset}"), Value::Null)
        .await;
    let runs = fixture
        .call("GET", &format!("/datasets/{dataset}/runs"), Value::Null)
        .await
        .1;
    let held = runs["items"][0].clone();
    assert_eq!(
        (&held["outcome"], &held["version"]),
        (&json!("held"), &response["held_version"]),
        "{held}"
    );
    let run = format!("/runs/{}", held["id"].as_str().unwrap());
    assert!(
        fixture
            .owner
            .get(&run)
            .await
            .text
            .contains("Discard these rows")
    );
    assert_eq!(
        fixture
            .owner
            .post(&format!("{run}/discard"), &[])
            .await
            .status
            .as_u16(),
        303
    );
    let (_, gone) = fixture.call("GET", &run, Value::Null).await;
    assert_eq!(
        (
            &gone["outcome"],
            &gone["discarded_by"],
            &gone["accepted_by"]
        ),
        (&json!("discarded"), &json!("olga"), &Value::Null),
        "{gone}"
    );
    assert_eq!(
        (&gone["error"]["who"], fixture.rows(&dataset).await.len()),
        (&json!("No action needed."), 4),
        "{gone}"
    );
    assert_eq!(
        fixture
            .call("POST", &format!("{run}/discard"), json!({}))
            .await
            .1["error"]["code"],
        "not_held"
    );
    let again = format!(
        "/datasets/{dataset}/backfills/{}/resume",
        stopped["id"].as_str().unwrap()
    );
    assert_eq!(fixture.call("POST", &again, json!({})).await.0, 200);
    assert_eq!(
        backfill_when(&fixture, &dataset, is_over).await["state"],
        "stopped",
        "held again"
    );

    // Published: the day is present. The schedule is unchanged.
    let before = fixture
        .call("GET", &format!("/datasets/{dataset}"), Value::Null)
        .await
        .1["last_success_at"]
        .clone();
    let runs = fixture
        .call("GET", &format!("/datasets/{dataset}/runs"), Value::Null)
        .await
        .1;
    let (status, accepted) = fixture
        .call(
            "POST",
            &format!("/runs/{}/accept", runs["items"][0]["id"].as_str().unwrap()),
            json!({}),
        )
        .await;
    assert_eq!(status, 200, "{accepted}");
    let finished = newest_backfill(&fixture, &dataset).await;
    assert_eq!(
        (
            &finished["state"],
            &finished["chunks_done"],
            &finished["left_to"]
        ),
        (&json!("finished"), &json!(1), &Value::Null),
        "{finished}"
    );
    assert_eq!(
        fixture
            .call("GET", &format!("/datasets/{dataset}"), Value::Null)
            .await
            .1["last_success_at"],
        before
    );
    assert_eq!(fixture.column(&dataset, "id").await, ["A"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_chunk_is_retried_as_often_as_a_run() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset(
            "chat",
            json!({"menus": YESTERDAY(),
        "update_mode": "merge", "retry": {"every_minutes": 5, "at_most": 1}}),
        )
        .await;
    fixture.good_run(&dataset).await;
    fixture
        .ctx
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).on("/chats")]);
    fixture.begin(&dataset, "2026-11-10", "2026-11-11").await;
    let waits = backfill_when(&fixture, &dataset, |backfill| {
        !backfill["retry_at"].is_null()
    })
    .await;
    assert_eq!(
        (&waits["state"], &waits["chunks_done"]),
        (&json!("running"), &json!(0)),
        "{waits}"
    );
    let page = fixture
        .owner
        .get(&format!("/datasets/{dataset}/backfill"))
        .await
        .text;
    assert!(
        page.contains("A date range failed. Chatlake retries it"),
        "{page}"
    );
    let runs = fixture
        .call("GET", &format!("/datasets/{dataset}/runs"), Value::Null)
        .await
        .1;
    assert!(
        runs["items"][0]["error"]["action"]
            .as_str()
            .unwrap()
            .contains("retry 1 of 1"),
        "{runs}"
    );
    // The vendor answers again.
    fixture.ctx.sandbox.faults().clear();
    fixture.ctx.app.clock.advance(6 * 60_000);
    let over = backfill_when(&fixture, &dataset, is_over).await;
    assert_eq!(
        (&over["state"], &over["retry_at"]),
        (&json!("finished"), &Value::Null),
        "{over}"
    );

    // The vendor still fails: one retry, then the backfill stops.
    fixture
        .ctx
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).on("/chats")]);
    fixture.begin(&dataset, "2026-11-08", "2026-11-09").await;
    backfill_when(&fixture, &dataset, |backfill| {
        !backfill["retry_at"].is_null()
    })
    .await;
    fixture.ctx.app.clock.advance(6 * 60_000);
    let over = backfill_when(&fixture, &dataset, is_over).await;
    assert_eq!(over["state"], "stopped", "{over}");
    let page = fixture
        .owner
        .get(&format!("/datasets/{dataset}"))
        .await
        .text;
    assert!(page.contains("has stopped."), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_a_chunk_of_its_dataset_says_so() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset(
            "chat",
            json!({"menus": YESTERDAY(), "update_mode": "merge"}),
        )
        .await;
    fixture.ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 60_000 }).on("/chats"),
    ]);
    fixture.begin(&dataset, "2026-11-10", "2026-11-11").await;
    let state = async |run: &Value| {
        fixture
            .call(
                "GET",
                &format!("/runs/{}", run.as_str().unwrap_or_default()),
                Value::Null,
            )
            .await
            .1["state"]
            .clone()
    };
    while state(&newest_backfill(&fixture, &dataset).await["run_id"]).await != "running" {
        fixture.ctx.app.clock.advance(200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Three workers are idle, but the run must still wait.
    let (_, waits) = fixture
        .call("POST", &format!("/datasets/{dataset}/runs"), json!({}))
        .await;
    let (_, response) = fixture
        .call(
            "GET",
            &format!("/runs/{}", waits["id"].as_str().unwrap()),
            Value::Null,
        )
        .await;
    assert_eq!(
        (&response["state"], &response["waits_for"]),
        (&json!("queued"), &json!("another run of this DataSet")),
        "{response}"
    );
}
