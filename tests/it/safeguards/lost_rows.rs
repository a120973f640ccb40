//! A version that lost too many rows waits for approval.

use chatlake::ids::RunId;
use serde_json::{Value, json};

use crate::support::datasets::{DatasetFixture, YESTERDAY};

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
    // The pending version is shown everywhere, and its rows can be viewed.
    let list = fixture.owner.get("/datasets").await.text;
    assert!(
        list.contains("Waiting for approval")
            && !list.contains("DataSet failed.")
            && list.contains("Publish these rows"),
        "{list}"
    );
    let run = RunId::parse(held["id"].as_str().unwrap()).unwrap();
    let page = fixture.owner.get(&format!("/runs/{run}")).await;
    assert!(
        page.texts(".three")[0].contains("60% fewer"),
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

    // The next run has its own pending version; the first one can no longer be published.
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

    // A later run with enough rows replaces a pending version automatically.
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
    // With the button of its page.
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
async fn the_safeguard_against_lost_rows_stays_when_another_setting_changes() {
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
