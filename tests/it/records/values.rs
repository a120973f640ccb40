//! Unusual values of records, in files and in the preview.

use chatlake::connectors::report::Menu;
use chatlake::connectors::{self, Connector, PullError, Window};
use chatlake::sandbox::faults::FaultKind;
use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::json;

use super::archive;
use super::chat;
use super::record_counts;
use super::set_answer;
use super::sorted_column;
use crate::support::DAY;
use crate::support::datasets::{DatasetFixture, YESTERDAY};
use crate::support::pulls::{self, ZONE, ids, pull, request};
use crate::support::sandbox::Vendor;

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
            "<chat><id>{id}</id><operator>a@b.test</operator><start>{start}</start><stop>{start}</stop>\
             <msg from=\"visitor\" time=\"{start}\">x</msg></chat>"
        )
    };
    let document = |chats: &[String]| format!("<chats>{}</chats>", chats.concat());
    // It is noon of 20 November. The vendor includes the end of a period, and writes it in its own
    // zone.
    set_answer(
        &fixture,
        &document(&[
            chat_xml("A", "2026-11-19T10:00:00.000Z"),
            chat_xml("M", "2026-11-20T01:00:00.000+01:00"),
            chat_xml("N", "20-11-2026T00:00:0000"),
        ]),
    );
    for dataset in datasets.iter().chain([&messages]) {
        assert_eq!(
            record_counts(&fixture.good_run(dataset).await),
            [3, 1, 0, 2, 0]
        );
    }
    fixture.ctx.app.clock.advance(DAY);
    set_answer(
        &fixture,
        &document(&[
            chat_xml("M", "2026-11-20T01:00:00.000+01:00"),
            chat_xml("N", "20-11-2026T00:00:0000"),
            chat_xml("B", "2026-11-20T23:59:59.999Z"),
        ]),
    );
    for dataset in &datasets {
        assert_eq!(
            record_counts(&fixture.good_run(dataset).await),
            [3, 3, 0, 0, 0]
        );
        assert_eq!(fixture.column(dataset, "id").await, ["A", "M", "N", "B"]);
    }
    fixture.good_run(&messages).await;
    assert_eq!(
        fixture.column(&messages, "chat_id").await,
        ["A", "M", "N", "B"]
    );
    // Days that are requested together store such a chat once.
    let both = fixture
        .dataset(
            "chats",
            json!({"account_id": leader, "menus": {"start_days": 2, "end_days": 1}}),
        )
        .await;
    set_answer(
        &fixture,
        &document(&[
            chat_xml("A", "2026-11-19T10:00:00.000Z"),
            chat_xml("M", "2026-11-20T00:00:00.000Z"),
        ]),
    );
    fixture.good_run(&both).await;
    assert_eq!(sorted_column(&fixture, &both, "id").await, ["A", "M"]);
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
    set_answer(
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
async fn half_of_a_surrogate_pair_becomes_a_replacement_character() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture
        .dataset("chat_messages", json!({"menus": YESTERDAY()}))
        .await;
    // It does not fail a check or a menu either.
    set_answer(
        &fixture,
        r#"[{"login":"a@b.test","name":"Ann \ud83d"},{"login":"b@b.test"}]"#,
    );
    let agents = fixture.dataset("agents", json!({})).await;
    fixture.good_run(&agents).await;
    assert_eq!(fixture.column(&agents, "name").await, ["Ann \u{fffd}", ""]);
    let whole = chat(&fixture, "\"C1\"", "")
        .replace("m1", r"cut within its last emoji \ud83d")
        .replace("m2", r"\ude00 and \ud83d\ude00");
    set_answer(
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
    // More than one in a hundred is rejected: the preview reports the same error as the run.
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
