//! Which records are rejected, and how many of them fail a run.

use std::collections::BTreeSet;

use chatlake::connectors;
use chatlake::connectors::report::Menu;
use serde_json::json;

use super::archive;
use super::chat;
use super::record_counts;
use super::set_answer;
use crate::support::datasets::{DatasetFixture, YESTERDAY};
use crate::support::pulls::{WEEK, pull, request};
use crate::support::sandbox::Vendor;

/// Valid chats with consecutive ids.
fn valid_chats(fixture: &DatasetFixture, from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|n| chat(fixture, &format!("\"G{n}\""), ""))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_another_shape_fail_the_run_and_the_rows_stay() {
    let fixture = DatasetFixture::new().await;
    for (report, column, rows) in [
        ("chat", "id", 20),
        ("chat_messages", "chat_id", 40),
        ("agents", "login", 20),
    ] {
        let agents = report == "agents";
        let record = |n: usize| {
            if agents {
                format!(r#"{{"login":"agent{n}"}}"#)
            } else {
                chat(&fixture, &format!("\"C{n}\""), "")
            }
        };
        let body = |records: &[String]| {
            if agents {
                format!("[{}]", records.join(","))
            } else {
                archive(records)
            }
        };
        for mode in ["replace", "append", "merge"] {
            let menus = if agents { json!({}) } else { YESTERDAY() };
            let dataset = fixture
                .dataset(report, json!({"menus": menus, "update_mode": mode}))
                .await;
            set_answer(&fixture, &body(&(0..20).map(record).collect::<Vec<_>>()));
            fixture.good_run(&dataset).await;
            let foo: Vec<String> = (0..20).map(|n| format!("{{\"foo\":{n}}}")).collect();
            let others: Vec<String> = ["\"x\"", "5", "null", "[]"].map(str::to_owned).into();
            for (records, said) in [
                (foo, "20 of 20 rows"),
                (others, "4 of 4 rows"),
                (vec!["{}".to_owned()], "1 of 1 row "),
            ] {
                set_answer(&fixture, &body(&records));
                let run = fixture.run(&dataset).await;
                assert_eq!(
                    (&run["state"], &run["error"]["code"]),
                    (&json!("failed"), &json!("unexpected_records")),
                    "{report} {mode}: {run}"
                );
                let message = run["error"]["message"].as_str().unwrap();
                assert!(
                    message.starts_with(said) && message.contains("LiveChat"),
                    "{message}"
                );
                assert!(
                    run["error"]["action"]
                        .as_str()
                        .unwrap()
                        .contains("unchanged"),
                    "{run}"
                );
                assert_eq!(
                    fixture.column(&dataset, column).await.len(),
                    rows,
                    "{report} {mode}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_in_a_hundred_may_be_rejected_and_is_counted() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset(
            "chat",
            json!({"menus": YESTERDAY(), "update_mode": "merge"}),
        )
        .await;
    for bad in ["", "null", "\"\"", "\" \"", "true", "[1]", "{\"id\":1}"] {
        let mut chats = valid_chats(&fixture, 0, 99);
        chats.insert(40, chat(&fixture, bad, ""));
        set_answer(&fixture, &archive(&chats));
        let run = fixture.good_run(&dataset).await;
        assert_eq!(
            (record_counts(&run), &run["verified"]),
            ([100, 99, 0, 0, 1], &json!(true)),
            "{bad}: {run}"
        );
        assert_eq!(
            fixture.rows(&dataset).await.len(),
            99,
            "a record without an id is not added with every merge"
        );
        // Two rejected records of a hundred are too many.
        chats[0] = chat(&fixture, bad, "\"type\":\"chat\"");
        set_answer(&fixture, &archive(&chats));
        let run = fixture.run(&dataset).await;
        assert_eq!(
            (&run["error"]["code"], record_counts(&run)),
            (&json!("unexpected_records"), [100, 98, 0, 0, 2]),
            "{bad}: {run}"
        );
        assert_eq!(fixture.rows(&dataset).await.len(), 99);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn periods_without_a_name_or_with_a_value_of_another_shape_are_rejected() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset(
            "chat_report",
            json!({"menus": {"start_days": 3, "end_days": 1}}),
        )
        .await;
    set_answer(
        &fixture,
        r#"{"2026-11-17":{"chats":3},"2026-11-18":null,"2026-11-19":[]}"#,
    );
    let run = fixture.good_run(&dataset).await;
    assert_eq!(
        (record_counts(&run), &run["misfits"]),
        ([3, 3, 0, 0, 0], &json!(0)),
        "a day without any values is a row"
    );
    assert_eq!(fixture.column(&dataset, "chats").await, ["3", "", ""]);
    for bad in [
        r#""2026-11-19":"x""#,
        r#""2026-11-19":7"#,
        r#""2026-11-19":[1]"#,
        r#""":{"chats":1}"#,
    ] {
        set_answer(
            &fixture,
            &format!(r#"{{"2026-11-18":{{"chats":3}},{bad}}}"#),
        );
        let run = fixture.run(&dataset).await;
        assert_eq!(
            (&run["error"]["code"], record_counts(&run)),
            (&json!("unexpected_records"), [2, 1, 0, 0, 1]),
            "{bad}: {run}"
        );
        assert_eq!(fixture.rows(&dataset).await.len(), 3);
    }
}

/// Every LiveChat report that reads records, with ids of every kind: no valid record is rejected,
/// and none is stored twice.
#[tokio::test]
async fn no_record_of_the_sandbox_is_rejected() {
    let vendor = Vendor::new(400, 30).await;
    for report in chatlake::connectors::livechat::REPORTS {
        let mut pull_request = request(&[report.id], &[]);
        pull_request.menus = connectors::Menus::default().check(report).unwrap();
        if report.takes(Menu::StartDays) {
            pull_request.windows = vec![WEEK];
        }
        let (got, done) = pull(&vendor.source(), &pull_request).await;
        assert_eq!(
            (
                done,
                got.window_counts
                    .iter()
                    .map(|counts| counts.rejected)
                    .sum::<u64>()
            ),
            (Ok(()), 0),
            "{}",
            report.id
        );
        // The key is unique, and none of its first cells is empty.
        let keys: Vec<Vec<Option<String>>> =
            report.key.iter().map(|name| got.column(0, name)).collect();
        let rows: BTreeSet<Vec<&Option<String>>> = (0..got.rows(0))
            .map(|row| keys.iter().map(|column| &column[row]).collect())
            .collect();
        assert_eq!(rows.len(), got.rows(0), "{}", report.id);
        assert!(keys[0].iter().all(Option::is_some), "{}", report.id);
    }
}
