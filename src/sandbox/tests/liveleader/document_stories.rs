//! Tests of the content of an exported document, and of its agreement with the truth.

use std::collections::HashSet;
use std::time::Instant;

use super::*;

#[tokio::test]
async fn the_document_is_the_truth_field_by_field() {
    let served = Served::start(sandbox(2_000, 60)).await;
    let document = served.document(START, STOP).await;
    let truth = truth_of(&served.sandbox, "report=chats&ids=1&records=1");
    let records: Vec<_> = document.all("chat").into_iter().map(record).collect();
    assert_eq!(Value::from(records.clone()), truth["records"]);
    assert_eq!(Value::from(ids(&document)), truth["ids"]);
    assert_eq!(
        (&truth["count"], &truth["chats"]),
        (&json!(records.len()), &json!(records.len()))
    );
    // All other chats were missed.
    let missed = served
        .sandbox
        .truth(&question("report=chat_agents&ids=1"))
        .unwrap();
    assert_eq!(
        missed["rows"]
            .as_object()
            .unwrap()
            .values()
            .filter(|agents| **agents != 0)
            .count(),
        records.len()
    );
    assert!(records.len() > 1_500 && records.len() < 2_000);
    assert_eq!(
        ids(&document).iter().collect::<HashSet<_>>().len(),
        records.len()
    );
    let uuid = |id: &String| {
        id.len() == 36
            && id.bytes().enumerate().all(|(at, byte)| {
                if [8, 13, 18, 23].contains(&at) {
                    byte == b'-'
                } else {
                    byte.is_ascii_hexdigit()
                }
            })
    };
    assert!(ids(&document).iter().all(uuid));

    let starts: Vec<_> = document
        .all("chat")
        .into_iter()
        .map(|chat| millis(chat.of("start").unwrap()))
        .collect();
    assert!(starts.is_sorted());
    assert!(
        starts.iter().filter(|start| **start % 1_000 != 0).count() > 1_000
            && starts.iter().any(|start| start % 1_000 == 0)
    );
    for chat in document.all("chat") {
        let times: Vec<_> = chat
            .all("msg")
            .into_iter()
            .map(|msg| millis(msg.attribute("time").unwrap()))
            .collect();
        assert!(times.is_sorted());
        assert_eq!(
            (times[0], times[times.len() - 1]),
            (
                millis(chat.of("start").unwrap()),
                millis(chat.of("stop").unwrap())
            )
        );
        let froms: HashSet<_> = chat
            .all("msg")
            .into_iter()
            .map(|msg| msg.attribute("from").unwrap())
            .filter(|from| *from != "visitor")
            .collect();
        let operators: HashSet<_> = chat
            .all("operator")
            .into_iter()
            .map(|operator| operator.text.as_str())
            .collect();
        assert!(froms.is_subset(&operators) && !operators.is_empty());
    }
    let some = |field: &str| {
        records
            .iter()
            .filter(|record| !record[field].is_null())
            .count()
    };
    for field in [
        "referrer",
        "keywords",
        "city",
        "country",
        "organization",
        "isp",
    ] {
        assert!((100..1_500).contains(&some(field)), "{field}");
    }
    assert!(
        records
            .iter()
            .filter(|record| record["operators"].as_array().unwrap().len() > 1)
            .count()
            > 100
    );
}

#[tokio::test]
async fn the_other_reports_count_what_is_in_the_document() {
    let served = Served::start(sandbox(500, 30)).await;
    let document = served.document(START, STOP).await;
    for (report, name) in [("chat_messages", "msg"), ("chat_operators", "operator")] {
        let truth = truth_of(&served.sandbox, &format!("report={report}&ids=1"));
        let rows: Value = document
            .all("chat")
            .into_iter()
            .map(|chat| {
                (
                    chat.of("id").unwrap().to_owned(),
                    json!(chat.all(name).len()),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        assert_eq!(truth["rows"], rows);
        assert_eq!(
            truth["count"].as_u64().unwrap(),
            rows.as_object()
                .unwrap()
                .values()
                .map(|rows| rows.as_u64().unwrap())
                .sum::<u64>()
        );
        assert_eq!(truth["chats"], json!(document.children.len()));
    }
    let of_one = truth_of(
        &served.sandbox,
        "report=chats&ids=1&agent=zofia@sandbox.test",
    );
    let zofias = document.all("chat").into_iter().filter(|chat| {
        chat.all("operator")
            .iter()
            .any(|operator| operator.text == "zofia@sandbox.test")
    });
    assert_eq!(
        of_one["ids"],
        zofias.map(|chat| json!(chat.of("id"))).collect::<Value>()
    );
    for wrong in [
        "connector=other&report=chats",
        "connector=liveleader&report=chat",
        "connector=liveleader&report=chats&group=1",
        "report=chats",
    ] {
        assert!(served.sandbox.truth(&question(wrong)).is_err(), "{wrong}");
    }
    assert_eq!(
        served
            .sandbox
            .truth(&question("connector=livechat&report=chat"))
            .unwrap()["count"],
        500
    );
}

#[tokio::test]
async fn texts_use_every_xml_escape() {
    let served = Served::start(sandbox(1_000, 60)).await;
    let (_, _, text) = served.fetched(&everything()).await;
    for form in [
        "<![CDATA[<script>",
        "&lt;script&gt;",
        "&amp;",
        "&quot;",
        "&apos;",
        "&#13;\n",
        "&#x",
        "\n\nline four",
        "🎉",
        "<url/>",
        "<url></url>",
        "\u{202e}",
        "<!-- ",
        ">\n      ",
        "]]></msg>",
        "佐",
        "<country>",
        "<city>",
    ] {
        assert!(text.contains(form), "{form:?}");
    }
    assert!(!text.contains('\r'));
    let texts: HashSet<_> = read(&text)
        .unwrap()
        .children
        .into_iter()
        .flat_map(|chat| chat.children)
        .filter(|msg| msg.name == "msg")
        .map(|msg| msg.text)
        .collect();
    assert!(
        texts.contains("<script>alert(1)</script>")
            && texts.contains("line one\r\nline two\n\nline four")
            && texts.contains("\"quoted\", and \"\"twice\"\"")
    );
}

#[tokio::test]
async fn a_large_archive_is_streamed_in_chunks() {
    let started = Instant::now();
    let served = Served::start(sandbox(5_000_000, 60)).await;
    let mut answer = served
        .http
        .get(served.url(&everything()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.content_length(), None);
    let mut bytes = 0;
    while bytes < 3_000_000 {
        let chunk = answer.chunk().await.unwrap().unwrap();
        assert!(chunk.len() < 1_000_000);
        bytes += chunk.len();
    }
    drop(answer);
    // Ten minutes of it, near the end.
    let day = served
        .document(
            "2026-11-20T11:00:00.000+00:00",
            "2026-11-20T11:10:00.000+00:00",
        )
        .await;
    assert!(day.children.len() > 100);
    assert!(started.elapsed().as_secs() < 30);
}
