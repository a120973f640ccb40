//! Which records of a vendor become rows, and what their odd values become: told through the API
//! and CSV, with the sandbox as vendor that answers what the test says. A preview shows the very
//! rows that a run keeps.

use std::collections::{BTreeMap, BTreeSet};

use chatlake::connectors::report::Menu;
use chatlake::connectors::{self, Connector, PullError, Window};
use chatlake::ids::DatasetId;
use chatlake::sandbox::faults::{Fault, FaultKind};
use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::support::DAY;
use crate::support::datasets::{DatasetFixture, YESTERDAY};
use crate::support::pulls::{self, WEEK, ZONE, ids, pull, request};
use crate::support::sandbox::Vendor;

/// Chats as the vendor writes them, all in the one window that is asked for.
fn archive(chats: &[String]) -> String {
    format!(
        r#"{{"chats":[{}],"total":{},"pages":1}}"#,
        chats.join(","),
        chats.len()
    )
}

fn answers(fixture: &DatasetFixture, body: &str) {
    fixture
        .ctx
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Shape {
            body: body.to_owned(),
        })]);
}

/// A chat of yesterday whose id is written as `id`, with these further fields; no id if it is
/// empty.
fn chat(fixture: &DatasetFixture, id: &str, rest: &str) -> String {
    let started = (fixture.ctx.app.clock.now() - DAY) / 1_000;
    let id = if id.is_empty() {
        String::new()
    } else {
        format!("\"id\":{id},")
    };
    let rest = if rest.is_empty() {
        String::new()
    } else {
        format!(",{rest}")
    };
    format!(
        r#"{{{id}"started_timestamp":{started},"messages":[{{"text":"m1"}},{{"text":"m2"}}]{rest}}}"#
    )
}

/// So many chats that nothing is wrong with.
fn good(fixture: &DatasetFixture, from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|n| chat(fixture, &format!("\"G{n}\""), ""))
        .collect()
}

async fn sorted(fixture: &DatasetFixture, dataset: &DatasetId, column: &str) -> Vec<String> {
    let mut all = fixture.column(dataset, column).await;
    all.sort();
    all
}

fn counts(run: &Value) -> [u64; 5] {
    ["read", "kept", "duplicates", "left_out", "rejected"]
        .map(|name| run[name].as_u64().unwrap_or_else(|| panic!("{run}")))
}

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
        answers(&fixture, &archive(&all));
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
                // One chat under two spellings is one chat, and so the vendor's total is not met.
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
                sorted(&fixture, dataset, column).await,
                wanted,
                "{written:?}"
            );
            assert!(!fixture.rows(dataset).await[0].contains_key("_misfit"));
        }
    }
    // A list whose ids are whole numbers takes them as texts, too.
    let groups = fixture
        .dataset("groups", json!({"update_mode": "merge"}))
        .await;
    for body in [
        r#"[{"id":0,"name":"a"},{"id":7,"name":"b"}]"#,
        r#"[{"id":"0","name":"c"},{"id":"7","name":"d"},{"id":7.0,"name":"twice"}]"#,
    ] {
        answers(&fixture, body);
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
            answers(&fixture, &body(&(0..20).map(record).collect::<Vec<_>>()));
            fixture.good_run(&dataset).await;
            let foo: Vec<String> = (0..20).map(|n| format!("{{\"foo\":{n}}}")).collect();
            let others: Vec<String> = ["\"x\"", "5", "null", "[]"].map(str::to_owned).into();
            for (records, said) in [
                (foo, "20 of 20 rows"),
                (others, "4 of 4 rows"),
                (vec!["{}".to_owned()], "1 of 1 row "),
            ] {
                answers(&fixture, &body(&records));
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
        let mut chats = good(&fixture, 0, 99);
        chats.insert(40, chat(&fixture, bad, ""));
        answers(&fixture, &archive(&chats));
        let run = fixture.good_run(&dataset).await;
        assert_eq!(
            (counts(&run), &run["verified"]),
            ([100, 99, 0, 0, 1], &json!(true)),
            "{bad}: {run}"
        );
        assert_eq!(
            fixture.rows(&dataset).await.len(),
            99,
            "a record without an id is not added with every merge"
        );
        // Two of a hundred are too many.
        chats[0] = chat(&fixture, bad, "\"type\":\"chat\"");
        answers(&fixture, &archive(&chats));
        let run = fixture.run(&dataset).await;
        assert_eq!(
            (&run["error"]["code"], counts(&run)),
            (&json!("unexpected_records"), [100, 98, 0, 0, 2]),
            "{bad}: {run}"
        );
        assert_eq!(fixture.rows(&dataset).await.len(), 99);
    }
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
    // A model of what there is: by the name, or by the id of a chat without one.
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
        answers(&fixture, &archive(&chats));
        fixture.good_run(&dataset).await;
        // Rows of one run never replace one another.
        model.extend(
            ids_by_known
                .into_iter()
                .map(|(known, ids)| (known, ids.join(" "))),
        );
        let mut wanted: Vec<&str> = model.values().flat_map(|ids| ids.split(' ')).collect();
        wanted.sort_unstable();
        assert_eq!(
            sorted(&fixture, &dataset, "id").await,
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
    answers(
        &fixture,
        &archive(&[
            of("A", "\"\"", "\"good\""),
            of("B", "null", "\"good\""),
            of("C", "\"Oslo\"", "\"good\""),
            of("D", "\"Oslo\"", "\"\""),
        ]),
    );
    fixture.good_run(&dataset).await;
    answers(
        &fixture,
        &archive(&[
            of("B", "\"\"", "\"bad\""),
            of("E", "\"\"", "\"good\""),
            of("F", "\"Oslo\"", "\"good\""),
        ]),
    );
    fixture.good_run(&dataset).await;
    assert_eq!(
        sorted(&fixture, &dataset, "id").await,
        ["A", "B", "D", "E", "F"],
        "F replaces C, and B replaces itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_at_midnight_belongs_to_the_day_that_begins() {
    let fixture = DatasetFixture::new().await;
    let leader = fixture.leader().await;
    let sets = ["append", "merge", "partition"]
        .map(|mode| json!({"account_id": leader, "menus": YESTERDAY(), "update_mode": mode}));
    let mut datasets = Vec::new();
    for set in sets {
        datasets.push(fixture.dataset("chats", set).await);
    }
    let messages = fixture
        .dataset(
            "chat_messages",
            json!({"account_id": leader, "menus": YESTERDAY(), "update_mode": "append"}),
        )
        .await;
    let chat_xml = |id: &str, start: &str| {
        format!(
            "<chat><id>{id}</id><operator>a@b.test</operator><start>{start}</start><stop>{start}</stop><msg from=\"visitor\" time=\"{start}\">x</msg></chat>"
        )
    };
    let document = |chats: &[String]| format!("<chats>{}</chats>", chats.concat());
    // It is noon of 20 November. The vendor takes the end of a period as a part of it, and writes
    // it in its own zone.
    answers(
        &fixture,
        &document(&[
            chat_xml("A", "2026-11-19T10:00:00.000Z"),
            chat_xml("M", "2026-11-20T01:00:00.000+01:00"),
            chat_xml("N", "20-11-2026T00:00:0000"),
        ]),
    );
    for dataset in datasets.iter().chain([&messages]) {
        assert_eq!(counts(&fixture.good_run(dataset).await), [3, 1, 0, 2, 0]);
    }
    fixture.ctx.app.clock.advance(DAY);
    answers(
        &fixture,
        &document(&[
            chat_xml("M", "2026-11-20T01:00:00.000+01:00"),
            chat_xml("N", "20-11-2026T00:00:0000"),
            chat_xml("B", "2026-11-20T23:59:59.999Z"),
        ]),
    );
    for dataset in &datasets {
        assert_eq!(counts(&fixture.good_run(dataset).await), [3, 3, 0, 0, 0]);
        assert_eq!(fixture.column(dataset, "id").await, ["A", "M", "N", "B"]);
    }
    fixture.good_run(&messages).await;
    assert_eq!(
        fixture.column(&messages, "chat_id").await,
        ["A", "M", "N", "B"]
    );
    // Days that are asked for together keep such a chat once.
    let both = fixture
        .dataset(
            "chats",
            json!({"account_id": leader, "menus": {"start_days": 2, "end_days": 1}}),
        )
        .await;
    answers(
        &fixture,
        &document(&[
            chat_xml("A", "2026-11-19T10:00:00.000Z"),
            chat_xml("M", "2026-11-20T00:00:00.000Z"),
        ]),
    );
    fixture.good_run(&both).await;
    assert_eq!(sorted(&fixture, &both, "id").await, ["A", "M"]);
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
        answers(&fixture, &format!("<chats>{}</chats>", chats.concat()));
        assert_eq!(
            counts(&fixture.good_run(&dataset).await),
            [100, 99, 0, 0, 1],
            "{bad}"
        );
        chats[0] = chat_xml(1, bad);
        answers(&fixture, &format!("<chats>{}</chats>", chats.concat()));
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

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_decimals_are_in_their_cells_and_others_in_the_misfit_column() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset("ranking_report", json!({"menus": YESTERDAY()}))
        .await;
    let scores = [
        ("0.6103094355280591", "0.610309435528059"),
        ("0.10000000000000001", "0.1"),
        ("1.0E-05", "0.00001"),
        ("\"0.25\"", "0.25"),
        ("-0.50", "-0.5"),
        ("0.123456789012345678", "0.12345678901234568"),
        ("\"a lot\"", ""),
    ];
    let ranking: Vec<String> = scores
        .iter()
        .enumerate()
        .map(|(n, (score, _))| format!(r#"{{"name":"agent{n}","good":"3","score":{score}}}"#))
        .collect();
    answers(
        &fixture,
        &format!(r#"{{"ranking":[{}]}}"#, ranking.join(",")),
    );
    let run = fixture.good_run(&dataset).await;
    assert_eq!(run["misfits"], json!(2));
    let float = |text: &str| text.parse::<f64>().ok();
    let stored_scores: Vec<Option<f64>> = fixture
        .column(&dataset, "score")
        .await
        .iter()
        .map(|text| float(text))
        .collect();
    assert_eq!(stored_scores, scores.map(|(_, cell)| float(cell)));
    assert_eq!(fixture.column(&dataset, "good").await, ["3"; 7]);
    let misfits = fixture.column(&dataset, "_misfit").await;
    assert_eq!(
        misfits,
        [
            "",
            "",
            "",
            "",
            "",
            r#"{"score":0.123456789012345678}"#,
            r#"{"score":"a lot"}"#
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_a_surrogate_pair_costs_a_character_and_no_page() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset("chat_messages", json!({"menus": YESTERDAY()}))
        .await;
    // Neither does it stand in the way of a check or a menu.
    answers(
        &fixture,
        r#"[{"login":"a@b.test","name":"Ann \ud83d"},{"login":"b@b.test"}]"#,
    );
    let agents = fixture.dataset("agents", json!({})).await;
    fixture.good_run(&agents).await;
    assert_eq!(fixture.column(&agents, "name").await, ["Ann \u{fffd}", ""]);
    let whole = chat(&fixture, "\"C1\"", "")
        .replace("m1", r"cut within its last emoji \ud83d")
        .replace("m2", r"\ude00 and \ud83d\ude00");
    answers(
        &fixture,
        &archive(&[whole, chat(&fixture, "\"C2\"", r#""brand_new":"\ud83d""#)]),
    );
    let run = fixture.good_run(&dataset).await;
    assert_eq!(run["misfits"], json!(2));
    assert_eq!(
        fixture.column(&dataset, "text").await,
        [
            "cut within its last emoji \u{fffd}",
            "\u{fffd} and 😀",
            "m1",
            "m2"
        ]
    );
    let misfits = fixture.column(&dataset, "_misfit").await;
    assert_eq!(
        misfits,
        [
            r#"{"text":"cut within its last emoji \ud83d"}"#,
            r#"{"text":"\ude00 and \ud83d\ude00"}"#,
            "",
            ""
        ]
    );
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
    answers(
        &fixture,
        r#"{"2026-11-17":{"chats":3},"2026-11-18":null,"2026-11-19":[]}"#,
    );
    let run = fixture.good_run(&dataset).await;
    assert_eq!(
        (counts(&run), &run["misfits"]),
        ([3, 3, 0, 0, 0], &json!(0)),
        "a day of which nothing is told is a row"
    );
    assert_eq!(fixture.column(&dataset, "chats").await, ["3", "", ""]);
    for bad in [
        r#""2026-11-19":"x""#,
        r#""2026-11-19":7"#,
        r#""2026-11-19":[1]"#,
        r#""":{"chats":1}"#,
    ] {
        answers(
            &fixture,
            &format!(r#"{{"2026-11-18":{{"chats":3}},{bad}}}"#),
        );
        let run = fixture.run(&dataset).await;
        assert_eq!(
            (&run["error"]["code"], counts(&run)),
            (&json!("unexpected_records"), [2, 1, 0, 0, 1]),
            "{bad}: {run}"
        );
        assert_eq!(fixture.rows(&dataset).await.len(), 3);
    }
}

#[tokio::test]
async fn a_preview_has_the_rows_that_a_run_keeps() {
    let vendor = Vendor::new(10, 30).await;
    let day = Window {
        from: date(2026, 11, 12),
        to: date(2026, 11, 12),
    };
    let zone = TimeZone::get(ZONE).unwrap();
    let chats = [
        r#"{"id":70000,"duration":"125","visitor":{"name":"cut \ud83d"},"rate":5}"#,
        r#"{"id":"B","duration":12.5,"pending":"true","new":0.6103094355280591}"#,
        r#"{"id":null,"duration":1}"#,
        "\"no record\"",
    ];
    let report = Connector::LiveChat.report("chat").unwrap();
    let sample = async |chats: &[&str]| {
        let all: Vec<String> = chats.iter().map(|chat| (*chat).to_owned()).collect();
        vendor.fault(FaultKind::Shape {
            body: archive(&all),
        });
        connectors::sample(
            &vendor.source(),
            report,
            &connectors::Menus::default(),
            &zone,
            Some(day),
            10,
        )
        .await
    };
    vendor.fault(FaultKind::Shape {
        body: r#"[{"login":"a@b.test","name":"Ann \ud83d"},{"login":7}]"#.to_owned(),
    });
    assert_eq!(
        connectors::check(&vendor.source()).await.unwrap(),
        "2 agents visible"
    );
    let logins = connectors::choices(&vendor.source(), Menu::Login)
        .await
        .unwrap();
    assert_eq!(
        logins
            .into_iter()
            .map(|login| login.label)
            .collect::<Vec<_>>(),
        ["Ann \u{fffd} (a@b.test)", "7"]
    );
    // Over one in a hundred rejected: the preview of all there is says what the run would say.
    assert_eq!(
        sample(&chats).await.map(|_| ()),
        Err(PullError::UnexpectedRecords { rejected: 2, of: 4 })
    );
    assert_eq!(
        sample(&["{\"foo\":1}"]).await.map(|_| ()),
        Err(PullError::UnexpectedRecords { rejected: 1, of: 1 })
    );
    let shown = sample(&chats[..2]).await.unwrap();
    assert_eq!((shown.records, shown.is_complete), (2, true));
    let (got, done) = pull(&vendor.source(), &request(&["chat"], &[day])).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        got.batches[0]
            .iter()
            .map(|batch| batch.num_rows())
            .sum::<usize>(),
        shown.batch.num_rows()
    );
    for field in shown.batch.schema().fields() {
        let column = shown.batch.column_by_name(field.name()).unwrap();
        let cells: Vec<Option<String>> = (0..column.len())
            .map(|row| (!column.is_null(row)).then(|| pulls::shown(column, row)))
            .collect();
        assert_eq!(got.column(0, field.name()), cells, "{}", field.name());
    }
    assert_eq!(got.set(0, "id"), ids(&json!({"ids": ["70000", "B"]})));
    assert_eq!(got.window_counts[0].misfits, 2);
}

/// Every LiveChat report that reads records, with ids of every kind: nothing legitimate is
/// rejected, and nothing is there twice.
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
        // The key tells all rows apart, and none of its first cells is empty.
        let keys: Vec<Vec<Option<String>>> =
            report.key.iter().map(|name| got.column(0, name)).collect();
        let rows: BTreeSet<Vec<&Option<String>>> = (0..got.rows(0))
            .map(|row| keys.iter().map(|column| &column[row]).collect())
            .collect();
        assert_eq!(rows.len(), got.rows(0), "{}", report.id);
        assert!(keys[0].iter().all(Option::is_some), "{}", report.id);
    }
}
