//! Columns that are added or removed are shown on the run, and fail it if configured.

use serde_json::{Value, json};

use crate::support::datasets::DatasetFixture;

#[tokio::test(flavor = "multi_thread")]
async fn columns_absent_on_few_days_are_not_removed_where_rows_of_several_runs_remain() {
    let fixture = DatasetFixture::new().await;
    let stop =
        json!({"update_mode": "append", "options": {"on_added": "stop", "on_removed": "stop"}});
    let dataset = fixture.dataset("agents", stop).await;
    for (logins, state) in [
        (json!([{"login": "ann", "mood": "glad"}]), "succeeded"),
        (json!([{"login": "bob"}]), "succeeded"),
        (json!([{"login": "eve", "mood": "calm"}]), "succeeded"),
        (json!([{"login": "kim", "shift": "late"}]), "failed"),
    ] {
        fixture.answers(&logins);
        let run = fixture.run(&dataset).await;
        assert_eq!(run["state"], state, "{run}");
        assert_eq!(
            run["schema_change"].is_null(),
            state == "succeeded",
            "{run}"
        );
    }
    assert_eq!(fixture.column(&dataset, "mood").await, ["glad", "", "calm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_column_is_shown_on_the_run_and_fails_it_if_configured() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture.dataset("agents", json!({})).await;
    fixture.answers(&json!([{"login": "ann", "mood": "glad"}]));
    let first = fixture.good_run(&dataset).await;
    assert!(first["schema_change"].is_null());
    fixture.answers(&json!([{"login": "ann", "shoes": 42}]));
    let second = fixture.good_run(&dataset).await;
    assert_eq!(
        second["schema_change"],
        json!({"added": ["shoes"], "removed": ["mood"], "retyped": [], "verdict": "warn"})
    );
    let page = fixture
        .owner
        .get(&format!("/runs/{}", second["id"].as_str().unwrap()))
        .await;
    assert_eq!(
        page.texts(".run-detail .band.is-warn"),
        ["1 column is new: shoes. 1 column was removed: mood."]
    );
    assert!(
        fixture.good_run(&dataset).await["schema_change"].is_null(),
        "a removed column is notified once"
    );

    fixture
        .change(
            &dataset,
            json!({"options": {"on_added": "accept", "on_removed": "stop"}}),
        )
        .await;
    fixture.answers(&json!([{"login": "ann", "shoes": 42, "hat": 1}]));
    assert_eq!(
        fixture.good_run(&dataset).await["schema_change"]["verdict"],
        "accept"
    );
    let before = fixture.rows(&dataset).await;
    fixture.answers(&json!([{"login": "bob"}]));
    let stopped = fixture.run(&dataset).await;
    assert_eq!(
        (&stopped["state"], &stopped["error"]["code"]),
        (&json!("failed"), &json!("schema_changed")),
        "{stopped}"
    );
    assert_eq!(
        (
            &stopped["schema_change"]["removed"],
            &stopped["schema_change"]["verdict"]
        ),
        (&json!(["shoes", "hat"]), &json!("stop"))
    );
    assert_eq!(fixture.rows(&dataset).await, before);
    assert!(
        fixture
            .owner
            .get("/datasets")
            .await
            .text
            .contains("this DataSet is set to stop when columns change")
    );
    // Another report is an intended change.
    fixture
        .change(
            &dataset,
            json!({"report": "groups", "options": {"on_added": "stop"}}),
        )
        .await;
    fixture.answers(&json!([{"id": 1, "name": "Sales"}]));
    fixture.good_run(&dataset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_compared_with_the_expected_columns() {
    let fixture = DatasetFixture::new().await;
    let strict = json!({"on_added": "stop", "on_removed": "stop", "on_empty": "empty"});
    let dataset = fixture.dataset("agents", json!({"options": strict})).await;
    let moody = |number: usize, moods: usize| -> Value {
        let agent = |n: usize| {
            if n < moods {
                json!({"login": format!("a{n}"), "mood": "glad"})
            } else {
                json!({"login": format!("a{n}")})
            }
        };
        json!((0..number).map(agent).collect::<Vec<_>>())
    };
    fixture.answers(&moody(100, 5));
    fixture.good_run(&dataset).await;
    // An answer without rows has no columns, and removes none.
    fixture.answers(&json!([]));
    fixture.good_run(&dataset).await;
    fixture.answers(&moody(100, 5));
    assert_eq!(
        fixture.good_run(&dataset).await["schema_change"],
        Value::Null
    );
    // One in twenty had a mood: its absence from ten rows is not a change, and neither is its
    // return.
    fixture.answers(&moody(10, 0));
    assert_eq!(
        fixture.good_run(&dataset).await["schema_change"],
        Value::Null
    );
    fixture.answers(&moody(100, 5));
    assert_eq!(
        fixture.good_run(&dataset).await["schema_change"],
        Value::Null
    );
    // Some of two hundred rows should have it.
    fixture.answers(&moody(200, 0));
    let run = fixture.run(&dataset).await;
    assert_eq!(
        (&run["error"]["code"], &run["schema_change"]["removed"]),
        (&json!("schema_changed"), &json!(["mood"])),
        "{run}"
    );
    // A first version without rows does not define columns either.
    let empty = fixture.dataset("agents", json!({"options": strict})).await;
    fixture.answers(&json!([]));
    fixture.good_run(&empty).await;
    fixture.answers(&moody(3, 3));
    fixture.good_run(&empty).await;
}
