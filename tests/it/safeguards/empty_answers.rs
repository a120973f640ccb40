//! An answer without rows keeps the existing rows, clears them or fails the run.

use serde_json::{Value, json};

use crate::support::datasets::{DatasetFixture, YESTERDAY};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_response_keeps_the_rows_clears_them_or_fails_as_configured() {
    let fixture = DatasetFixture::new().await;
    for (on_empty, state, outcome, code, left) in [
        ("keep", "succeeded", json!("kept"), "", 2),
        ("empty", "succeeded", Value::Null, "", 0),
        ("fail", "failed", Value::Null, "empty_answer", 2),
    ] {
        let dataset = fixture
            .dataset("agents", json!({"options": {"on_empty": on_empty}}))
            .await;
        fixture.answers(&json!([{"login": "ann"}, {"login": "bob"}]));
        fixture.good_run(&dataset).await;
        fixture.answers(&json!([]));
        let run = fixture.run(&dataset).await;
        assert_eq!(
            (
                run["state"].as_str().unwrap(),
                &run["outcome"],
                run["rows"].as_i64()
            ),
            (state, &outcome, Some(0)),
            "{on_empty}: {run}"
        );
        assert_eq!(run["error"]["code"].as_str().unwrap_or_default(), code);
        assert_eq!(fixture.rows(&dataset).await.len(), left, "{on_empty}");
        let id = dataset.to_string();
        let row = fixture
            .owner
            .get("/datasets")
            .await
            .texts(&format!("tr:has([href='/datasets/{id}'])"))[0]
            .clone();
        if on_empty == "fail" {
            assert!(row.contains("Failed"), "{row}");
        } else {
            assert!(row.contains("0 rows"), "{row}");
            let record = fixture
                .owner
                .get(&format!("/datasets/{id}/history"))
                .await
                .texts(".history-list details")[0]
                .clone();
            assert!(
                on_empty != "keep"
                    || (record.contains("0 rows") && record.contains("existing rows unchanged")),
                "{record}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_replace_keeps_its_rows_and_every_mode_reports_0_rows() {
    let fixture = DatasetFixture::new().await;
    for (mode, outcome, left) in [
        ("replace", json!("kept"), 2),
        ("merge", json!("unchanged"), 2),
        ("append", json!("kept"), 2),
        ("partition", Value::Null, 0),
    ] {
        let dataset = fixture
            .dataset("chat", json!({"menus": YESTERDAY(), "update_mode": mode}))
            .await;
        fixture.holds(&[fixture.chat("A", 1, &[]), fixture.chat("B", 1, &[])]);
        fixture.good_run(&dataset).await;
        // The vendor counts no records, which is certain.
        fixture.holds(&[]);
        let run = fixture.good_run(&dataset).await;
        assert_eq!(
            (
                &run["outcome"],
                &run["rows"],
                fixture.rows(&dataset).await.len()
            ),
            (&outcome, &json!(0), left),
            "{mode}: {run}"
        );
        let row = fixture
            .owner
            .get("/datasets")
            .await
            .texts(&format!("tr:has([href='/datasets/{dataset}'])"))[0]
            .clone();
        let history = fixture
            .owner
            .get(&format!("/datasets/{dataset}/history"))
            .await
            .texts(".history-list details")[0]
            .clone();
        let head = fixture
            .owner
            .get(&format!("/datasets/{dataset}"))
            .await
            .texts(".head")[0]
            .clone();
        assert!(
            row.contains("0 rows") && history.contains("0 rows") && head.contains("0 rows"),
            "{mode}: {row} | {history} | {head}"
        );
    }
}
