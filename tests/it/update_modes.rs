//! How new rows meet those that are there, and what guards those: told through the API and the
//! pages, with the sandbox as vendor and a clock that the test moves.

use std::collections::BTreeMap;
use std::time::Duration;

use chatlake::clock::iso;
use chatlake::ids::RunId;
use chatlake::sandbox::faults::{Fault, FaultKind, RetryAfter};
use serde_json::{Value, json};

use crate::support::DAY;
use crate::support::datasets::{DatasetFixture, YESTERDAY};
use crate::support::panes::fields_of;

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
    // As moments: 12:00:01Z is before 12:00:01.8Z, but not as text.
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
    // Nothing to add is nothing to lose.
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
async fn merge_takes_new_rows_for_old_ones_by_the_reports_key_or_a_chosen_one() {
    let fixture = DatasetFixture::new().await;
    fixture.answers(&json!([{"login": "ann", "name": "Ann"}, {"login": "bob", "name": "Bob"}, {"login": "cyd", "name": "Bob"}, {"login": "dee"}]));
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
async fn rows_of_a_chat_that_was_read_go_also_when_it_has_none_any_more() {
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
    // A was emptied, B lost its second message, D is new, and C was not read.
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
    // Even when nothing else came.
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
    // That day again: C is gone.
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
    // Segments that lost no row are the same files.
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
async fn look_back_pulls_all_days_once_and_then_what_is_new_with_some_days_before() {
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
    // Nothing ran for three days: none of them is missed.
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
    // Something else is asked for: what is held says nothing of it.
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
    // Never further back than Start Days.
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
    // And off again.
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
async fn a_version_that_lost_too_many_rows_waits_for_approval_or_a_better_run() {
    let fixture = DatasetFixture::new().await;
    let agents = |number: usize| {
        json!(
            (0..number)
                .map(|n| json!({"login": format!("agent{n}")}))
                .collect::<Vec<_>>()
        )
    };
    let dataset = fixture
        .dataset("agents", json!({"options": {"hold_drop": 50}}))
        .await;
    fixture.answers(&agents(10));
    fixture.good_run(&dataset).await;
    fixture.answers(&agents(5));
    assert_eq!(
        fixture.good_run(&dataset).await["outcome"],
        Value::Null,
        "half is not more than half"
    );
    fixture.answers(&agents(2));
    let held = fixture.run(&dataset).await;
    assert_eq!(
        (&held["state"], &held["outcome"], &held["error"]["code"]),
        (&json!("failed"), &json!("held"), &json!("held")),
        "{held}"
    );
    assert_eq!(
        (&held["rows"], &held["rows_before"], &held["rows_after"]),
        (&json!(2), &json!(5), &json!(2))
    );
    assert_eq!(
        fixture.rows(&dataset).await.len(),
        5,
        "people read the rows from before"
    );
    let (_, response) = fixture
        .call("GET", &format!("/datasets/{dataset}"), Value::Null)
        .await;
    assert_eq!(
        (&response["held_version"], &response["rows"]),
        (&held["version"], &json!(5))
    );
    // It is loud, and its rows can be looked at.
    let list = fixture.owner.get("/datasets").await.text;
    assert!(
        list.contains("Waiting for approval")
            && list.contains("1 DataSet failed.")
            && list.contains("Publish these rows"),
        "{list}"
    );
    let run = RunId::parse(held["id"].as_str().unwrap()).unwrap();
    let page = fixture.owner.get(&format!("/runs/{run}")).await;
    assert!(
        page.texts(".three")[0].contains("60 % fewer"),
        "{}",
        page.text
    );
    let rows = fixture
        .owner
        .get(&format!(
            "/datasets/{dataset}/download?version={}",
            held["version"].as_str().unwrap()
        ))
        .await;
    assert_eq!(rows.text.lines().count(), 3);

    // The next run holds its own version; the first one can be accepted no more.
    fixture.answers(&agents(1));
    let second = fixture.run(&dataset).await;
    assert_eq!(second["outcome"], "held");
    let (status, refused) = fixture
        .call("POST", &format!("/runs/{run}/accept"), json!({}))
        .await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("not_held"))
    );
    assert_eq!(
        fixture
            .call("GET", &format!("/runs/{run}"), Value::Null)
            .await
            .1["outcome"],
        "superseded"
    );
    assert!(
        !fixture
            .owner
            .get(&format!("/runs/{run}"))
            .await
            .text
            .contains("Publish these rows")
    );
    let (status, accepted) = fixture
        .call(
            "POST",
            &format!("/runs/{}/accept", second["id"].as_str().unwrap()),
            json!({}),
        )
        .await;
    assert_eq!(
        (
            status,
            &accepted["state"],
            &accepted["outcome"],
            &accepted["accepted_by"]
        ),
        (200, &json!("succeeded"), &json!("accepted"), &json!("olga"))
    );
    assert!(
        accepted["error"].is_null() && accepted["accepted_at"].is_string(),
        "{accepted}"
    );
    assert_eq!(fixture.rows(&dataset).await.len(), 1);
    let list = fixture.owner.get("/datasets").await.text;
    assert!(
        list.contains("Up to date") && !list.contains("DataSet failed."),
        "{list}"
    );

    // A later run that brings enough takes the place of a held one by itself.
    fixture.answers(&agents(9));
    fixture.good_run(&dataset).await;
    fixture.answers(&agents(1));
    let third = fixture.run(&dataset).await;
    assert_eq!(third["outcome"], "held");
    fixture.answers(&agents(8));
    fixture.good_run(&dataset).await;
    assert_eq!(
        fixture
            .call(
                "GET",
                &format!("/runs/{}", third["id"].as_str().unwrap()),
                Value::Null
            )
            .await
            .1["outcome"],
        "superseded"
    );
    let (_, response) = fixture
        .call("GET", &format!("/datasets/{dataset}"), Value::Null)
        .await;
    assert_eq!(
        (&response["held_version"], &response["rows"]),
        (&Value::Null, &json!(8))
    );
    // By the button of its page.
    fixture.answers(&agents(3));
    let fourth = fixture.run(&dataset).await;
    let to = fixture
        .owner
        .post(
            &format!("/runs/{}/accept", fourth["id"].as_str().unwrap()),
            &[],
        )
        .await;
    assert_eq!(
        (to.status.as_u16(), to.header("location")),
        (303, format!("/datasets/{dataset}").as_str())
    );
    assert_eq!(fixture.rows(&dataset).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_version_is_resolved_by_its_deletion_or_a_revert() {
    let fixture = DatasetFixture::new().await;
    let agents = |number: usize| {
        json!(
            (0..number)
                .map(|n| json!({"login": format!("agent{n}")}))
                .collect::<Vec<_>>()
        )
    };
    let dataset = fixture
        .dataset("agents", json!({"options": {"hold_drop": 50}}))
        .await;
    fixture.answers(&agents(10));
    let first = fixture.good_run(&dataset).await;
    fixture.answers(&agents(9));
    fixture.good_run(&dataset).await;
    for deleted in [true, false] {
        fixture.answers(&agents(2));
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
async fn a_merge_that_loses_too_many_rows_waits_for_approval_too() {
    let fixture = DatasetFixture::new().await;
    let options =
        json!({"update_mode": "merge", "options": {"hold_drop": 50}, "menus": YESTERDAY()});
    let dataset = fixture.dataset("chat_messages", options).await;
    fixture.holds(&[
        fixture.chat("A", 1, &["a", "b", "c", "x"]),
        fixture.chat("B", 1, &["d"]),
    ]);
    fixture.good_run(&dataset).await;
    fixture.holds(&[fixture.chat("A", 1, &[]), fixture.chat("C", 1, &["e"])]);
    let held = fixture.run(&dataset).await;
    assert_eq!(
        (
            &held["outcome"],
            &held["rows"],
            &held["rows_before"],
            &held["rows_after"]
        ),
        (&json!("held"), &json!(1), &json!(5), &json!(2)),
        "{held}"
    );
    assert_eq!(fixture.rows(&dataset).await.len(), 5);
    let (status, _) = fixture
        .call(
            "POST",
            &format!("/runs/{}/accept", held["id"].as_str().unwrap()),
            json!({}),
        )
        .await;
    assert_eq!(
        (status, fixture.column(&dataset, "text").await),
        (200, vec!["d".to_owned(), "e".to_owned()])
    );
}

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
async fn a_backfill_skips_empty_days_and_stops_at_a_revert() {
    let fixture = DatasetFixture::new().await;
    let leader = fixture.leader().await;
    for (mode, on_empty) in [
        ("append", "check"),
        ("merge", "keep"),
        ("merge", "check"),
        ("partition", "check"),
    ] {
        let dataset =
            fixture.dataset("chats", json!({"account_id": leader, "update_mode": mode, "options": {"on_empty": on_empty}, "menus": YESTERDAY()})).await;
        let first = fixture.good_run(&dataset).await;
        let rows = fixture.rows(&dataset).await.len();
        assert!(rows > 0 && first["rows"] == json!(rows));
        // Long before there were chats.
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
        "what went away is told once"
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
    // Another report is what somebody asked for.
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
async fn invalid_values_are_refused_with_their_field_by_api_and_pages() {
    let fixture = DatasetFixture::new().await;
    let new = |rest: Value| {
        let mut new = json!({"name": "X", "account_id": fixture.account, "report": "agents"});
        new.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        new
    };
    for (rest, field) in [
        (json!({"update_mode": "upsert"}), "update_mode"),
        (json!({"update_mode": "partition"}), "update_mode"),
        (json!({"update_mode": "merge", "key": ["shoe_size"]}), "key"),
        (
            json!({"update_mode": "replace", "options": {"look_back": 3}}),
            "look_back",
        ),
        (
            json!({"update_mode": "merge", "options": {"look_back": 3}}),
            "look_back",
        ),
        (
            json!({"update_mode": "append", "options": {"hold_drop": 3}}),
            "hold_drop",
        ),
        (json!({"options": {"hold_drop": 300}}), "hold_drop"),
        (json!({"options": {"on_empty": "sometimes"}}), "on_empty"),
        (json!({"options": {"on_added": "perhaps"}}), "on_added"),
        (
            json!({"options": {"second_read": "perhaps"}}),
            "options.second_read",
        ),
    ] {
        let (status, refused) = fixture.call("POST", "/datasets", new(rest.clone())).await;
        assert_eq!(
            (status, refused["error"]["field"].as_str()),
            (422, Some(field)),
            "{rest}: {refused}"
        );
    }
    assert_eq!(
        fixture
            .call("POST", "/datasets", new(json!({"options": {"colour": 1}})))
            .await
            .0,
        422
    );
    // What an earlier mode took is let go with it.
    let dataset = fixture
        .dataset(
            "chat",
            json!({"update_mode": "partition", "options": {"look_back": 5}}),
        )
        .await;
    let now = fixture
        .change(&dataset, json!({"update_mode": "replace"}))
        .await;
    assert_eq!(
        (&now["update_mode"], &now["options"]["look_back"]),
        (&json!("replace"), &json!(0))
    );

    // The settings of a DataSet, by a browser without scripts.
    let page = fixture
        .owner
        .get(&format!("/datasets/{dataset}/settings"))
        .await
        .html();
    let mut fields: BTreeMap<String, String> = fields_of(&page);
    fields.insert("step".to_owned(), "schedule".to_owned());
    let press = async |changed: &[(&str, &str)]| {
        let mut all = fields.clone();
        all.extend(
            changed
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let pairs: Vec<(&str, &str)> = all
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        fixture
            .owner
            .post(&format!("/datasets/{dataset}/settings"), &pairs)
            .await
    };
    for (changed, field) in [
        (
            &[("update_mode", "merge"), ("key", "id, shoe_size")][..],
            "key",
        ),
        (
            &[("update_mode", "merge"), ("look_back", "some")][..],
            "look_back",
        ),
        (&[("hold_drop", "120")][..], "hold_drop"),
        (&[("on_retyped", "never")][..], "on_retyped"),
        (&[("second_read", "perhaps")][..], "second_read"),
    ] {
        let answer = press(changed).await;
        assert_eq!(answer.status.as_u16(), 422, "{changed:?}");
        assert!(
            answer.text.contains(&format!("id=\"{field}-wrong\"")),
            "{changed:?}"
        );
    }
    let shown = press(&[("update_mode", "append"), ("step", "next_runs")]).await;
    assert!(
        shown.text.contains("Every run pulls 7 days"),
        "the pane warns"
    );
    let saved = press(&[
        ("update_mode", "merge"),
        ("key", "visitor_id, rate"),
        ("look_back", "3"),
        ("on_empty", "keep"),
        ("on_added", "stop"),
        ("second_read", "off"),
    ])
    .await;
    assert_eq!(saved.status.as_u16(), 303, "{}", saved.text);
    let (_, now) = fixture
        .call("GET", &format!("/datasets/{dataset}"), Value::Null)
        .await;
    assert_eq!(
        (&now["update_mode"], &now["key"]),
        (&json!("merge"), &json!(["visitor_id", "rate"]))
    );
    let options = json!({"look_back": 3, "on_empty": "keep", "hold_drop": 0, "on_added": "stop", "on_removed": "warn", "on_retyped": "warn", "second_read": false});
    assert_eq!(now["options"], options);
    let page = fixture
        .owner
        .get(&format!("/datasets/{dataset}/settings"))
        .await
        .html();
    let again = fields_of(&page);
    let shown = ["update_mode", "key", "look_back", "on_empty", "second_read"]
        .map(|name| again[name].as_str());
    assert_eq!(shown, ["merge", "visitor_id, rate", "3", "keep", "off"]);
    assert!(iso(fixture.ctx.app.clock.now()).starts_with("2026-11-2"));
}
