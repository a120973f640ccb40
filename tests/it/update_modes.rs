//! How new rows are combined with existing rows: Replace, Append, Merge and Partition.

use serde_json::{Value, json};

use crate::support::DAY;
use crate::support::datasets::{DatasetFixture, YESTERDAY};

#[tokio::test(flavor = "multi_thread")]
async fn append_keeps_all_rows_with_the_run_that_added_them() {
    let fixture = DatasetFixture::new().await;
    fixture.answers(&json!([{"login": "ann"}, {"login": "bob"}]));
    let dataset = fixture.dataset("agents", json!({})).await;
    fixture.good_run(&dataset).await;
    assert!(
        !fixture.rows(&dataset).await[0].contains_key("_batch_id"),
        "Replace needs no such column"
    );
    fixture
        .change(&dataset, json!({"update_mode": "append"}))
        .await;
    fixture.answers(&json!([{"login": "bob", "mood": "glad"}]));
    let second = fixture.good_run(&dataset).await;
    assert_eq!(
        (
            &second["rows"],
            &second["rows_before"],
            &second["rows_after"],
            &second["rows_dropped"]
        ),
        (&json!(1), &json!(2), &json!(3), &json!(0))
    );
    fixture.good_run(&dataset).await;
    assert_eq!(
        fixture.column(&dataset, "login").await,
        ["ann", "bob", "bob", "bob"]
    );
    assert_eq!(
        fixture.column(&dataset, "mood").await,
        ["", "", "glad", "glad"]
    );
    assert_eq!(
        fixture.column(&dataset, "_batch_id").await,
        ["", "", "1", "2"],
        "rows of before the change have none"
    );
    let moments = fixture.column(&dataset, "_batch_last_run").await;
    // Compared as times: 12:00:01Z is before 12:00:01.8Z, but not as text.
    let moment = |at: usize| moments[at].parse::<jiff::Timestamp>().unwrap();
    assert!(
        moments[0].is_empty() && moment(2) < moment(3) && moments[2].ends_with('Z'),
        "{moments:?}"
    );
    let columns: Vec<String> = fixture
        .call("GET", &format!("/datasets/{dataset}/schema"), Value::Null)
        .await
        .1["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        columns[columns.len() - 2..],
        ["_batch_id", "_batch_last_run"]
    );
    // A run that adds no rows loses none.
    fixture.answers(&json!([]));
    let empty = fixture.good_run(&dataset).await;
    assert_eq!(
        (
            &empty["outcome"],
            &empty["rows"],
            fixture.rows(&dataset).await.len()
        ),
        (&json!("kept"), &json!(0), 4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_replaces_rows_by_the_key_of_the_report_or_a_chosen_one() {
    let fixture = DatasetFixture::new().await;
    fixture.answers(
        &json!([{"login": "ann", "name": "Ann"}, {"login": "bob", "name": "Bob"},
        {"login": "cyd", "name": "Bob"}, {"login": "dee"}]),
    );
    let dataset = fixture
        .dataset("agents", json!({"update_mode": "merge"}))
        .await;
    fixture.good_run(&dataset).await;
    fixture.answers(&json!([{"login": "bob", "name": "Robert"}, {"login": "eve", "name": "Eve"}]));
    let run = fixture.good_run(&dataset).await;
    assert_eq!(
        (&run["rows"], &run["rows_dropped"], &run["rows_after"]),
        (&json!(2), &json!(1), &json!(5))
    );
    assert_eq!(
        fixture.column(&dataset, "login").await,
        ["ann", "cyd", "dee", "bob", "eve"]
    );

    let now = fixture.change(&dataset, json!({"key": ["name"]})).await;
    assert_eq!(now["key"], json!(["name"]));
    fixture.answers(&json!([{"login": "rob", "name": "Bob"}, {"login": "nil"}]));
    fixture.good_run(&dataset).await;
    assert_eq!(
        fixture.column(&dataset, "login").await,
        ["ann", "dee", "bob", "eve", "rob", "nil"],
        "a row without a key takes nobody's place"
    );
    assert_eq!(
        fixture.change(&dataset, json!({"key": []})).await["key"],
        json!(["login"]),
        "back to the report's own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_deletes_the_rows_of_a_chat_that_became_empty() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset(
            "chat_messages",
            json!({"menus": YESTERDAY(), "update_mode": "merge"}),
        )
        .await;
    fixture.holds(&[
        fixture.chat("A", 1, &["a1", "a2"]),
        fixture.chat("B", 1, &["b1", "b2"]),
        fixture.chat("C", 1, &["c1"]),
    ]);
    fixture.good_run(&dataset).await;
    assert_eq!(
        fixture.column(&dataset, "text").await,
        ["a1", "a2", "b1", "b2", "c1"]
    );
    // A has no messages now, B lost its second message, D is new, and C was not read.
    fixture.holds(&[
        fixture.chat("A", 1, &[]),
        fixture.chat("B", 1, &["b1"]),
        fixture.chat("D", 1, &["d1"]),
    ]);
    let run = fixture.good_run(&dataset).await;
    assert_eq!(fixture.column(&dataset, "text").await, ["c1", "b1", "d1"]);
    assert_eq!(run["rows_dropped"], json!(4));
    let left: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM windows WHERE empty_parents IS NOT NULL")
            .fetch_one(fixture.ctx.app.db.read())
            .await
            .unwrap();
    assert_eq!(left, 0, "what was noted for the merge goes with it");
    // Even if no other row was read.
    fixture.holds(&[fixture.chat("C", 1, &[])]);
    fixture.good_run(&dataset).await;
    assert_eq!(fixture.column(&dataset, "text").await, ["b1", "d1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_replaces_the_days_that_were_pulled_and_merge_keeps_what_the_vendor_deleted() {
    let fixture = DatasetFixture::new().await;
    let menus = YESTERDAY();
    let partition = fixture
        .dataset("chat", json!({"menus": menus, "update_mode": "partition"}))
        .await;
    let merge = fixture
        .dataset("chat", json!({"menus": menus, "update_mode": "merge"}))
        .await;
    fixture.holds(&[fixture.chat("A", 1, &[]), fixture.chat("B", 1, &[])]);
    for dataset in [&partition, &merge] {
        fixture.good_run(dataset).await;
    }
    // The next day: another day is pulled.
    fixture.ctx.app.clock.advance(DAY);
    fixture.holds(&[fixture.chat("C", 1, &[]), fixture.chat("D", 1, &[])]);
    for dataset in [&partition, &merge] {
        fixture.good_run(dataset).await;
        assert_eq!(fixture.column(dataset, "id").await, ["A", "B", "C", "D"]);
    }
    // The same day again: C was deleted.
    fixture.holds(&[fixture.chat("D", 1, &[]), fixture.chat("E", 1, &[])]);
    let run = fixture.good_run(&partition).await;
    assert_eq!(
        (fixture.column(&partition, "id").await, &run["rows_dropped"]),
        (["A", "B", "D", "E"].map(str::to_owned).into(), &json!(2))
    );
    fixture.good_run(&merge).await;
    assert_eq!(
        fixture.column(&merge, "id").await,
        ["A", "B", "C", "D", "E"]
    );
    // Segments without a deleted row are the same files.
    let versions = fixture
        .ctx
        .app
        .datasets
        .versions
        .list(&partition)
        .await
        .unwrap();
    assert_eq!(versions[0].segments[0], versions[2].segments[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn look_back_pulls_all_days_once_and_then_the_new_days_with_some_days_before() {
    let fixture = DatasetFixture::new().await;
    let days = json!({"start_days": 10, "end_days": 1});
    let dataset = fixture
        .dataset(
            "chat",
            json!({"menus": days, "update_mode": "merge", "options": {"look_back": 2}}),
        )
        .await;
    let requested_days = async |run: &Value| {
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
            .collect::<Vec<_>>()
    };
    // It is noon of 20 November.
    let first = fixture.good_run(&dataset).await;
    let got = requested_days(&first).await;
    assert_eq!(
        (got.len(), got[0].as_str(), got[9].as_str()),
        (10, "2026-11-10", "2026-11-19")
    );
    assert_eq!(
        fixture.rows(&dataset).await.len(),
        fixture.truth("2026-11-10", "2026-11-19")
    );
    // Again on the same day: the last two days.
    assert_eq!(
        requested_days(&fixture.good_run(&dataset).await).await,
        ["2026-11-18", "2026-11-19"]
    );
    fixture.ctx.app.clock.advance(DAY);
    let next = fixture.good_run(&dataset).await;
    assert_eq!(
        requested_days(&next).await,
        ["2026-11-18", "2026-11-19", "2026-11-20"]
    );
    assert_eq!(
        next["rows_dropped"].as_u64().unwrap() as usize,
        fixture.truth("2026-11-18", "2026-11-19")
    );
    // Nothing ran for three days: none of these days is omitted.
    fixture.ctx.app.clock.advance(3 * DAY);
    assert_eq!(
        requested_days(&fixture.good_run(&dataset).await).await,
        [
            "2026-11-19",
            "2026-11-20",
            "2026-11-21",
            "2026-11-22",
            "2026-11-23"
        ]
    );
    let ids: std::collections::BTreeSet<String> =
        fixture.column(&dataset, "id").await.into_iter().collect();
    assert_eq!(
        (ids.len(), fixture.rows(&dataset).await.len()),
        (fixture.truth("2026-11-10", "2026-11-23"), ids.len())
    );
    // The request changes: the stored days do not count for it.
    fixture
        .change(
            &dataset,
            json!({"menus": {"start_days": 10, "end_days": 1, "group": "1"}}),
        )
        .await;
    assert_eq!(
        requested_days(&fixture.good_run(&dataset).await)
            .await
            .len(),
        10
    );
    // Never earlier than Start Days.
    fixture
        .change(
            &dataset,
            json!({"menus": {"start_days": 3, "end_days": 1}, "options": {"look_back": 10}}),
        )
        .await;
    fixture.good_run(&dataset).await;
    assert_eq!(
        requested_days(&fixture.good_run(&dataset).await).await,
        ["2026-11-21", "2026-11-22", "2026-11-23"]
    );
    // Look-back is disabled again.
    fixture
        .change(
            &dataset,
            json!({"menus": {"start_days": 10, "end_days": 1}, "options": {"look_back": 0}}),
        )
        .await;
    assert_eq!(
        requested_days(&fixture.good_run(&dataset).await)
            .await
            .len(),
        10
    );
}
