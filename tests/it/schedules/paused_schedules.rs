//! A paused schedule, in the API, on pages and in the list.

use axum::http::Method;
use chatlake::puller::run::Trigger;
use serde_json::{Value, json};

use super::ScheduleFixture;
use crate::support::{DAY, HOUR};

#[tokio::test]
async fn a_paused_schedule_waits_for_a_person() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"times": ["09:00", "17:30"]})).await;
    let mut browser = fixture.ctx.signed_in(&fixture.owner).await;
    let page = browser
        .submit(&format!("/datasets/{dataset}/pause"), &[])
        .await;
    assert!(
        page.words(".band")
            .starts_with("The schedule was paused by olga, 20 Nov 13:00."),
        "{}",
        page.words(".band")
    );
    assert_eq!(
        browser.get("/datasets").await.words(".status-cell"),
        "Paused by olga, 20 Nov 13:00"
    );
    let response = fixture.dataset_json(&dataset).await;
    assert_eq!(
        (&response["paused"], &response["next_run_at"]),
        (
            &json!({"at": "2026-11-20T12:00:00Z", "by": "olga"}),
            &Value::Null
        )
    );
    fixture.ctx.clock.advance(3 * DAY);
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 0);
    // A change of the schedule does not resume it.
    let (_, response) = fixture
        .ask(
            Method::PATCH,
            &format!("/datasets/{dataset}"),
            Some(json!({"schedule": {"cron": "0 * * * *"}})),
        )
        .await;
    assert!(
        response["paused"]["by"] == "olga" && response["next_run_at"].is_null(),
        "{response}"
    );
    // A second pause changes nothing, and a person can still run it.
    let (status, again) = fixture
        .ask(
            Method::POST,
            &format!("/datasets/{dataset}/pause"),
            Some(json!({})),
        )
        .await;
    assert_eq!(
        (status, again["paused"]["at"].as_str()),
        (200, Some("2026-11-20T12:00:00Z"))
    );
    fixture
        .ctx
        .app
        .puller
        .run_now(&fixture.owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    fixture.all_succeed().await;
    let (status, resumed) = fixture
        .ask(
            Method::POST,
            &format!("/datasets/{dataset}/resume"),
            Some(json!({})),
        )
        .await;
    assert_eq!(
        (status, &resumed["paused"], resumed["next_run_at"].as_str()),
        (200, &Value::Null, Some("2026-11-23T13:00:00Z"))
    );
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    let run = &fixture.runs(&dataset).await[0];
    assert_eq!(
        (run.trigger, run.missed),
        (Trigger::Schedule, 0),
        "nothing is made up for"
    );
    let trail: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT action, actor FROM audit WHERE object = $1 ORDER BY id")
            .bind(&dataset)
            .fetch_all(fixture.ctx.app.db.read())
            .await
            .unwrap();
    assert_eq!(
        trail,
        [
            (
                "dataset.pause".to_owned(),
                Some(fixture.owner.user.to_string())
            ),
            (
                "dataset.resume".to_owned(),
                Some(fixture.owner.user.to_string())
            )
        ]
    );
    // A manual DataSet has no schedule to pause.
    let by_hand = fixture.make(Value::Null).await;
    let (status, why) = fixture
        .ask(
            Method::POST,
            &format!("/datasets/{by_hand}/pause"),
            Some(json!({})),
        )
        .await;
    assert_eq!(
        (status, why["error"]["code"].as_str()),
        (409, Some("no_schedule"))
    );
}
