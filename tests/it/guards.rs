//! What must not be lost when things meet: days beside a backfill, rows that are held or discarded,
//! columns that are rarely filled, guards beside other changes, trouble that goes on for long, and
//! a record that cannot be read.

use std::time::Duration;

use chatlake::datasets::verify_versions;
use chatlake::ids::DatasetId;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::DAY;
use crate::support::datasets::{DatasetFixture, YESTERDAY};

/// So many agents, as the vendor gives them.
fn agents(number: usize) -> Value {
    json!(
        (0..number)
            .map(|n| json!({"login": format!("agent{n}")}))
            .collect::<Vec<_>>()
    )
}

async fn newest(fixture: &DatasetFixture, dataset: &DatasetId) -> Value {
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

/// The newest backfill once it is so, while the clock goes on.
async fn once(fixture: &DatasetFixture, dataset: &DatasetId, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..2_000 {
        let newest = newest(fixture, dataset).await;
        if is(&newest) {
            return newest;
        }
        fixture.ctx.app.clock.advance(200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not become so: {}", newest(fixture, dataset).await);
}

fn is_over(backfill: &Value) -> bool {
    backfill["state"] != "running"
}

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
async fn days_between_the_last_run_and_a_backfill_are_still_pulled() {
    let fixture = DatasetFixture::new().await;
    let settings = json!({"menus": {"start_days": 10, "end_days": 1}, "update_mode": "merge", "options": {"look_back": 1}});
    let dataset = fixture.dataset("chat", settings).await;
    // The very first rows are those of one day.
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
    // It is 25 November, nothing ran for five days, and somebody pulls one day of them.
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
    // Days right behind those that are held are held from then on.
    fixture.ctx.app.clock.advance(2 * DAY);
    assert_eq!(
        fixture.backfill(&dataset, "2026-11-25", "2026-11-25").await["state"],
        "finished"
    );
    assert_eq!(
        requested_days(&fixture, &dataset, &fixture.good_run(&dataset).await).await,
        ["2026-11-25", "2026-11-26"]
    );
    // Something else is asked for, and one day of it is pulled first.
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

    // Discarded, by its page: the day is still to come.
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
        once(&fixture, &dataset, is_over).await["state"],
        "stopped",
        "held again"
    );

    // Accepted: now it has come. Nothing is said of the schedule by that.
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
    let finished = newest(&fixture, &dataset).await;
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
async fn a_chunk_that_fails_is_tried_again_as_often_as_runs_are() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture.dataset("chat", json!({"menus": YESTERDAY(), "update_mode": "merge", "retry": {"every_minutes": 5, "at_most": 1}})).await;
    fixture.good_run(&dataset).await;
    fixture
        .ctx
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).on("/chats")]);
    fixture.begin(&dataset, "2026-11-10", "2026-11-11").await;
    let waits = once(&fixture, &dataset, |backfill| {
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
    // The vendor is back.
    fixture.ctx.sandbox.faults().clear();
    fixture.ctx.app.clock.advance(6 * 60_000);
    let over = once(&fixture, &dataset, is_over).await;
    assert_eq!(
        (&over["state"], &over["retry_at"]),
        (&json!("finished"), &Value::Null),
        "{over}"
    );

    // And when it is not: once more, then it stops.
    fixture
        .ctx
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).on("/chats")]);
    fixture.begin(&dataset, "2026-11-08", "2026-11-09").await;
    once(&fixture, &dataset, |backfill| {
        !backfill["retry_at"].is_null()
    })
    .await;
    fixture.ctx.app.clock.advance(6 * 60_000);
    let over = once(&fixture, &dataset, is_over).await;
    assert_eq!(over["state"], "stopped", "{over}");
    let page = fixture
        .owner
        .get(&format!("/datasets/{dataset}"))
        .await
        .text;
    assert!(page.contains("has stopped."), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_of_too_few_rows_stays_when_something_else_is_changed() {
    let fixture = DatasetFixture::new().await;
    for mode in ["replace", "merge", "partition"] {
        let dataset = fixture
            .dataset(
                "chat",
                json!({"menus": YESTERDAY(), "update_mode": mode, "options": {"hold_drop": 50}}),
            )
            .await;
        for patch in [
            json!({"schedule": null}),
            json!({"options": {"on_added": "stop"}}),
            json!({"menus": {"start_days": 2, "end_days": 1}}),
        ] {
            assert_eq!(
                fixture.change(&dataset, patch.clone()).await["options"]["hold_drop"],
                50,
                "{mode} {patch}"
            );
        }
        assert_eq!(
            fixture
                .change(&dataset, json!({"update_mode": "append"}))
                .await["options"]["hold_drop"],
            0,
            "Append loses none"
        );
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
        // The vendor counts none: that is certain.
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

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_compared_with_those_that_were_to_be_expected() {
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
    // An answer without rows has no columns, and takes none away.
    fixture.answers(&json!([]));
    fixture.good_run(&dataset).await;
    fixture.answers(&moody(100, 5));
    assert_eq!(
        fixture.good_run(&dataset).await["schema_change"],
        Value::Null
    );
    // One in twenty had a mood: that none of ten has is nothing, nor is that it is back.
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
    // Of two hundred some should have.
    fixture.answers(&moody(200, 0));
    let run = fixture.run(&dataset).await;
    assert_eq!(
        (&run["error"]["code"], &run["schema_change"]["removed"]),
        (&json!("schema_changed"), &json!(["mood"])),
        "{run}"
    );
    // A first version without rows says nothing of columns either.
    let empty = fixture.dataset("agents", json!({"options": strict})).await;
    fixture.answers(&json!([]));
    fixture.good_run(&empty).await;
    fixture.answers(&moody(3, 3));
    fixture.good_run(&empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_lasting_failure_is_reported_with_its_start() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture.dataset("agents", json!({"retry": null})).await;
    fixture.good_run(&dataset).await;
    fixture.ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Status { status: 400 }).on("/agents"),
    ]);
    fixture.ctx.app.clock.advance(1_800_000);
    for _ in 0..35 {
        fixture.ctx.app.clock.advance(60_000);
        assert_eq!(fixture.run(&dataset).await["state"], "failed");
        // So that she stays signed in.
        fixture.owner.get("/activity").await;
    }
    let row = fixture
        .owner
        .get("/datasets")
        .await
        .texts(&format!("tr:has([href='/datasets/{dataset}'])"))[0]
        .clone();
    assert!(row.contains("35 runs in a row"), "{row}");
    let list = fixture
        .owner
        .get("/datasets")
        .await
        .texts(".band")
        .join(" ");
    assert!(list.contains("since 20 Nov 12:3"), "{list}");
    let history = fixture
        .owner
        .get(&format!("/datasets/{dataset}/history"))
        .await
        .text;
    assert!(
        history.contains("1 of 36 runs") && !history.contains("none yet"),
        "{history}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_reports_the_previous_row_count_also_with_a_pending_version() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset("agents", json!({"options": {"hold_drop": 50}}))
        .await;
    fixture.answers(&agents(10));
    let first = fixture.good_run(&dataset).await;
    fixture.answers(&agents(9));
    fixture.good_run(&dataset).await;
    fixture.answers(&agents(2));
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
async fn nothing_is_accepted_while_a_run_is_at_work() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset("agents", json!({"options": {"hold_drop": 50}}))
        .await;
    fixture.answers(&agents(10));
    fixture.good_run(&dataset).await;
    fixture.answers(&agents(2));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_run_behind_a_chunk_of_its_own_dataset_says_so() {
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
    while state(&newest(&fixture, &dataset).await["run_id"]).await != "running" {
        fixture.ctx.app.clock.advance(200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Three workers are idle, and still it is not its turn.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_leaves_all_others_as_they_are() {
    let fixture = DatasetFixture::new().await;
    let (good, bad) = (
        fixture.dataset("agents", json!({"name": "Good one"})).await,
        fixture.dataset("groups", json!({"name": "Bad one"})).await,
    );
    for broken in [
        "menus = x'00ff'",
        "menus = 'nonsense'",
        "schedule = x'00ff', next_run_at = 5",
        "expected_hours = 'soon'",
        "next_run_at = 'soon', schedule = '0 0 1 1 *'",
    ] {
        let mut tx = fixture.ctx.app.db.write().await.unwrap();
        let restore = "UPDATE datasets SET menus = '{}', schedule = NULL, expected_hours = NULL, next_run_at = NULL WHERE id = $1";
        sqlx::query(restore)
            .bind(&bad)
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE datasets SET {broken} WHERE id = $1"
        )))
        .bind(&bad)
        .execute(&mut *tx)
        .await
        .unwrap();
        // What the keeper does once.
        sqlx::query(
            "UPDATE datasets
             SET expected_hours = 1, late_since = NULL, lateness_key = NULL, last_success_at = 1
             WHERE id = $1",
        )
        .bind(&good)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        fixture.ctx.app.puller.wake_scheduler.notify_one();
        fixture.ctx.app.puller.wake_deadlines.notify_one();
        let mut rounds = 0;
        while fixture
            .call("GET", &format!("/datasets/{good}"), Value::Null)
            .await
            .1["late"]
            != true
        {
            fixture.ctx.app.puller.wake_deadlines.notify_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
            rounds += 1;
            assert!(
                rounds < 500,
                "{broken}: the keeper does not get to the others"
            );
        }
        let (status, list) = fixture.call("GET", "/datasets", Value::Null).await;
        assert!(
            status == 200 && list.to_string().contains("Good one"),
            "{broken}: {list}"
        );
        let page = fixture.owner.get("/datasets").await;
        assert_eq!(page.status.as_u16(), 200, "{broken}");
        let is_listed = page.text.contains("Bad one");
        assert!(
            is_listed || page.text.contains(&format!("damaged: {bad}")),
            "{broken}: {}",
            page.text
        );
        let segments = &fixture.ctx.app.datasets.segments;
        let found = verify_versions::verify(&fixture.ctx.app.db, segments, false)
            .await
            .unwrap();
        let checks: Vec<&str> = found
            .iter()
            .filter(|finding| finding.object == bad.as_str())
            .map(|finding| finding.check)
            .collect();
        assert_eq!(
            checks,
            if is_listed { &[][..] } else { &["record"] },
            "{broken}: verify says what the list says"
        );
        for address in ["/accounts", "/activity"] {
            assert_eq!(
                fixture.owner.get(address).await.status.as_u16(),
                200,
                "{broken} {address}"
            );
        }
    }
    assert_eq!(fixture.good_run(&good).await["state"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_for_a_moment_has_taken_no_version_away() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture.dataset("agents", json!({})).await;
    assert_eq!(
        fixture
            .call(
                "PATCH",
                &format!("/datasets/{dataset}/retention"),
                json!({"versions": 10, "days": 5})
            )
            .await
            .0,
        200
    );
    for number in 0..3 {
        fixture.answers(&json!([{"login": format!("agent{number}")}]));
        fixture.good_run(&dataset).await;
    }
    fixture.answers(&json!([{"login": "another"}]));
    fixture.ctx.app.clock.jump(20 * DAY);
    fixture.good_run(&dataset).await;
    fixture.ctx.app.clock.jump(-20 * DAY);
    let versions = fixture
        .call("GET", &format!("/datasets/{dataset}/versions"), Value::Null)
        .await
        .1;
    assert_eq!(versions["items"].as_array().unwrap().len(), 4, "{versions}");
}
