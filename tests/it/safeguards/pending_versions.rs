//! How a pending version is published, discarded or replaced.

use std::time::Duration;

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::datasets::DatasetFixture;

/// Agents, as the vendor returns them.
fn agents_json(number: usize) -> Value {
    json!(
        (0..number)
            .map(|n| json!({"login": format!("agent{n}")}))
            .collect::<Vec<_>>()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_version_is_resolved_by_its_deletion_or_a_revert() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset("agents", json!({"options": {"hold_drop": 50}}))
        .await;
    fixture.answers(&agents_json(10));
    let first = fixture.good_run(&dataset).await;
    fixture.answers(&agents_json(9));
    fixture.good_run(&dataset).await;
    for deleted in [true, false] {
        fixture.answers(&agents_json(2));
        let held = fixture.run(&dataset).await;
        assert_eq!(held["outcome"], "held");
        let (status, answer) = if deleted {
            fixture
                .call(
                    "DELETE",
                    &format!(
                        "/datasets/{dataset}/versions/{}",
                        held["version"].as_str().unwrap()
                    ),
                    json!({}),
                )
                .await
        } else {
            fixture
                .call(
                    "POST",
                    &format!("/datasets/{dataset}/revert"),
                    json!({"version": first["version"]}),
                )
                .await
        };
        assert!((200..300).contains(&status), "{answer}");
        let run = format!("/runs/{}", held["id"].as_str().unwrap());
        let (status, refused) = fixture
            .call("POST", &format!("{run}/accept"), json!({}))
            .await;
        assert_eq!(
            (status, &refused["error"]["code"]),
            (409, &json!("not_held")),
            "{refused}"
        );
        assert_eq!(
            fixture.call("GET", &run, Value::Null).await.1["outcome"],
            if deleted { "discarded" } else { "superseded" }
        );
        let (_, response) = fixture
            .call("GET", &format!("/datasets/{dataset}"), Value::Null)
            .await;
        assert_eq!(
            (&response["held_version"], &response["rows"]),
            (&Value::Null, &json!(if deleted { 9 } else { 10 }))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_reports_the_previous_row_count_also_with_a_pending_version() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset("agents", json!({"options": {"hold_drop": 50}}))
        .await;
    fixture.answers(&agents_json(10));
    let first = fixture.good_run(&dataset).await;
    fixture.answers(&agents_json(9));
    fixture.good_run(&dataset).await;
    fixture.answers(&agents_json(2));
    assert_eq!(fixture.run(&dataset).await["outcome"], "held");
    let (status, back) = fixture
        .call(
            "POST",
            &format!("/datasets/{dataset}/revert"),
            json!({"version": first["version"]}),
        )
        .await;
    assert_eq!(
        (status, &back["rows_before"], &back["rows_after"]),
        (200, &json!(9), &json!(10)),
        "{back}"
    );
    let page = fixture
        .owner
        .get(&format!("/datasets/{dataset}"))
        .await
        .text;
    assert!(page.contains("+1 row since the previous version"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pending_version_is_published_during_a_run() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset("agents", json!({"options": {"hold_drop": 50}}))
        .await;
    fixture.answers(&agents_json(10));
    fixture.good_run(&dataset).await;
    fixture.answers(&agents_json(2));
    let held = fixture.run(&dataset).await;
    assert_eq!(held["outcome"], "held");
    fixture.ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 60_000 }).on("/agents"),
    ]);
    let (_, next) = fixture
        .call("POST", &format!("/datasets/{dataset}/runs"), json!({}))
        .await;
    let path = format!("/runs/{}", next["id"].as_str().unwrap());
    while fixture.call("GET", &path, Value::Null).await.1["state"] != "running" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let accept = format!("/runs/{}/accept", held["id"].as_str().unwrap());
    let (status, refused) = fixture.call("POST", &accept, json!({})).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("run_under_way")),
        "{refused}"
    );
    assert_eq!(
        fixture
            .call("POST", &format!("{path}/cancel"), json!({}))
            .await
            .0,
        200
    );
    while fixture.call("GET", &path, Value::Null).await.1["state"] == "running" {
        fixture.ctx.app.clock.advance(11_000);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fixture.call("POST", &accept, json!({})).await.0, 200);
}
