//! Invalid settings of a DataSet are refused with the name of their field.

use std::collections::BTreeMap;

use chatlake::clock::iso;
use serde_json::{Value, json};

use crate::support::datasets::DatasetFixture;
use crate::support::panes::fields_of;

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
    // A change of the mode removes the settings of the earlier mode.
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
    let options = json!({"look_back": 3, "on_empty": "keep", "hold_drop": 0, "on_added": "stop",
        "on_removed": "warn", "on_retyped": "warn", "second_read": false});
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
