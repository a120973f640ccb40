//! The keys of rows: ids in odd forms, custom keys, and keys that are missing.

use std::collections::BTreeMap;

use serde_json::json;

use super::archive;
use super::chat;
use super::record_counts;
use super::set_answer;
use super::sorted_column;
use crate::support::datasets::{DatasetFixture, YESTERDAY};

#[tokio::test(flavor = "multi_thread")]
async fn a_numeric_id_is_stored_as_its_digits_and_merged_however_it_is_written() {
    let fixture = DatasetFixture::new().await;
    let merge = json!({"menus": YESTERDAY(), "update_mode": "merge"});
    let (chats, messages) = (
        fixture.dataset("chat", merge.clone()).await,
        fixture.dataset("chat_messages", merge).await,
    );
    let spellings: [&[&str]; 4] = [
        &["70000", "70001", "\"A\""],
        &["\"70000\"", "70001", "\"A\""],
        &["70000.0", "7.0001e4", "\"A\""],
        &["70000", "\"70000\"", "70001", "\"A\""],
    ];
    for written in spellings {
        let all: Vec<String> = written.iter().map(|id| chat(&fixture, id, "")).collect();
        set_answer(&fixture, &archive(&all));
        for (dataset, column, wanted) in [
            (&chats, "id", vec!["70000", "70001", "A"]),
            (
                &messages,
                "chat_id",
                vec!["70000", "70000", "70001", "70001", "A", "A"],
            ),
        ] {
            let run = fixture.run(dataset).await;
            if written.len() > 3 {
                // One id in two forms is one chat, so the total of the vendor is not reached.
                assert_eq!(
                    (&run["state"], &run["error"]["code"]),
                    (&json!("failed"), &json!("incomplete")),
                    "{run}"
                );
            } else {
                assert_eq!(
                    (&run["state"], &run["misfits"]),
                    (&json!("succeeded"), &json!(0)),
                    "{run}"
                );
            }
            assert_eq!(
                sorted_column(&fixture, dataset, column).await,
                wanted,
                "{written:?}"
            );
            assert!(!fixture.rows(dataset).await[0].contains_key("_misfit"));
        }
    }
    // A list with integer ids also accepts them as strings.
    let groups = fixture
        .dataset("groups", json!({"update_mode": "merge"}))
        .await;
    for body in [
        r#"[{"id":0,"name":"a"},{"id":7,"name":"b"}]"#,
        r#"[{"id":"0","name":"c"},{"id":"7","name":"d"},{"id":7.0,"name":"twice"}]"#,
    ] {
        set_answer(&fixture, body);
        fixture.good_run(&groups).await;
    }
    assert_eq!(
        (
            fixture.column(&groups, "id").await,
            fixture.column(&groups, "name").await
        ),
        (vec!["0".into(), "7".into()], vec!["c".into(), "d".into()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_an_empty_custom_key_are_identified_by_the_reports_key() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset(
            "chat",
            json!({"menus": YESTERDAY(), "update_mode": "merge", "key": ["visitor_name"]}),
        )
        .await;
    // The expected rows: by the name, or by the id of a chat without a name.
    let mut model: BTreeMap<String, String> = BTreeMap::new();
    let names = [
        "\"\"",
        "null",
        "\" \"",
        "",
        "\"Ann\"",
        "7",
        "\"7\"",
        "[\"odd\"]",
    ];
    for round in 0..6 {
        let mut chats = Vec::new();
        let mut ids_by_known = BTreeMap::new();
        for n in 0..10 {
            let (id, name) = (
                format!("C{}", (round * 5 + n) % 23),
                names[(n * 3 + round) % names.len()],
            );
            let visitor = if name.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{\"name\":{name}}}")
            };
            chats.push(chat(
                &fixture,
                &format!("\"{id}\""),
                &format!("\"visitor\":{visitor}"),
            ));
            let known = match name {
                "\"Ann\"" => "name Ann".to_owned(),
                "7" | "\"7\"" => "name 7".to_owned(),
                _ => format!("id {id}"),
            };
            ids_by_known.entry(known).or_insert_with(Vec::new).push(id);
        }
        set_answer(&fixture, &archive(&chats));
        fixture.good_run(&dataset).await;
        // Rows of one run do not replace each other.
        model.extend(
            ids_by_known
                .into_iter()
                .map(|(known, ids)| (known, ids.join(" "))),
        );
        let mut wanted: Vec<&str> = model.values().flat_map(|ids| ids.split(' ')).collect();
        wanted.sort_unstable();
        assert_eq!(
            sorted_column(&fixture, &dataset, "id").await,
            wanted,
            "round {round}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_one_value_of_a_custom_key_replaces_only_itself() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset(
            "chat",
            json!({"menus": YESTERDAY(), "update_mode": "merge", "key": ["visitor_city", "rate"]}),
        )
        .await;
    let of = |id: &str, city: &str, rate: &str| {
        chat(
            &fixture,
            &format!("\"{id}\""),
            &format!(r#""visitor":{{"city":{city}}},"rate":{rate}"#),
        )
    };
    set_answer(
        &fixture,
        &archive(&[
            of("A", "\"\"", "\"good\""),
            of("B", "null", "\"good\""),
            of("C", "\"Oslo\"", "\"good\""),
            of("D", "\"Oslo\"", "\"\""),
        ]),
    );
    fixture.good_run(&dataset).await;
    set_answer(
        &fixture,
        &archive(&[
            of("B", "\"\"", "\"bad\""),
            of("E", "\"\"", "\"good\""),
            of("F", "\"Oslo\"", "\"good\""),
        ]),
    );
    fixture.good_run(&dataset).await;
    assert_eq!(
        sorted_column(&fixture, &dataset, "id").await,
        ["A", "B", "D", "E", "F"],
        "F replaces C, and B replaces itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_of_liveleader_without_an_id_is_rejected() {
    let fixture = DatasetFixture::new().await;
    let leader = fixture.leader().await;
    let dataset = fixture
        .dataset(
            "chats",
            json!({"account_id": leader, "menus": YESTERDAY(), "update_mode": "merge"}),
        )
        .await;
    let chat_xml = |n: usize, id: &str| {
        format!(
            "<chat>{id}<operator>a@b.test</operator><start>2026-11-19T10:00:{:02}Z</start></chat>",
            n % 60
        )
    };
    for bad in ["", "<id></id>", "<id>  </id>"] {
        let mut chats: Vec<String> = (1..100)
            .map(|n| chat_xml(n, &format!("<id>{n}</id>")))
            .collect();
        chats.push(chat_xml(0, bad));
        set_answer(&fixture, &format!("<chats>{}</chats>", chats.concat()));
        assert_eq!(
            record_counts(&fixture.good_run(&dataset).await),
            [100, 99, 0, 0, 1],
            "{bad}"
        );
        chats[0] = chat_xml(1, bad);
        set_answer(&fixture, &format!("<chats>{}</chats>", chats.concat()));
        let run = fixture.run(&dataset).await;
        assert_eq!(
            (&run["error"]["code"], fixture.rows(&dataset).await.len()),
            (&json!("unexpected_records"), 99),
            "{run}"
        );
        assert!(
            run["error"]["message"]
                .as_str()
                .unwrap()
                .starts_with("2 of 100 rows from LiveLeader"),
            "{run}"
        );
    }
}
