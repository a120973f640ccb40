//! Tests of LiveLeader's export: credentials, content, and agreement with the truth.

use std::collections::HashSet;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::liveleader::{EMAIL, GUEST, PASSWORD, STARTER};
use super::xml::{Element, read};
use super::*;

/// The start of a period with all chats.
const START: &str = "2020-01-01T00:00:00.000+00:00";
const STOP: &str = "2030-01-01T00:00:00.000+00:00";

fn path(parameters: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    format!("/a/Srv?{query}")
}

pub fn export(start: &str, stop: &str) -> String {
    path(&[
        ("a", "export"),
        ("email", EMAIL),
        ("password", PASSWORD),
        ("start", start),
        ("stop", stop),
    ])
}

pub fn everything() -> String {
    export(START, STOP)
}

impl Served {
    /// Status, type and text of a response.
    pub async fn fetched(&self, path: &str) -> (u16, String, String) {
        let answer = self.http.get(self.url(path)).send().await.unwrap();
        let kind = answer
            .headers()
            .get("content-type")
            .map(|value| value.to_str().unwrap().to_owned());
        (
            answer.status().as_u16(),
            kind.unwrap_or_default(),
            answer.text().await.unwrap(),
        )
    }

    pub async fn document(&self, start: &str, stop: &str) -> Element {
        let (status, kind, text) = self.fetched(&export(start, stop)).await;
        assert_eq!(
            (status, kind.as_str()),
            (200, "text/xml; charset=utf-8"),
            "{text}"
        );
        read(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
    }
}

pub fn ids(document: &Element) -> Vec<String> {
    document
        .all("chat")
        .into_iter()
        .map(|chat| chat.of("id").unwrap().to_owned())
        .collect()
}

pub fn millis(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn written(millis: i64) -> String {
    format!("{:.3}+00:00", Timestamp::from_millisecond(millis).unwrap()).replace('Z', "")
}

pub fn truth_of(sandbox: &Sandbox, query: &str) -> Value {
    sandbox
        .truth(&question(&format!("connector=liveleader&{query}")))
        .unwrap()
}

/// A chat of a document, in the format of the truth.
pub fn record(chat: &Element) -> Value {
    let time = |text: &str| format!("{:.3}", text.parse::<Timestamp>().unwrap());
    let messages = chat.all("msg").into_iter().map(|msg| {
        let attribute = |name| msg.attribute(name).unwrap();
        json!({"from": attribute("from"), "time": time(attribute("time")), "text": msg.text})
    });
    let mut record = json!({
        "id": chat.of("id"),
        "referrer": chat.of("referrer"),
        "keywords": chat.of("keywords"),
        "operators": chat.all("operator").into_iter().map(|operator| operator.text.as_str()).collect::<Vec<_>>(),
        "visitorip": chat.of("visitorip"),
        "start": time(chat.of("start").unwrap()),
        "stop": time(chat.of("stop").unwrap()),
        "duration": chat.of("duration").unwrap().parse::<i64>().unwrap(),
        "url": chat.of("url"),
        "messages": messages.collect::<Vec<_>>(),
    });
    for name in ["city", "country", "organization", "isp"] {
        if let Some(text) = chat.of(name) {
            record[name] = json!(text);
        }
    }
    record
}

#[tokio::test]
async fn requests_without_permission_are_refused_with_a_reason() {
    let served = Served::start(sandbox(100, 10)).await;
    for (email, password, status, begin) in [
        (
            EMAIL,
            PASSWORD,
            200,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<chats>\n",
        ),
        (EMAIL, "wrong", 401, "Wrong e-mail or password"),
        (EMAIL, "", 401, "Wrong e-mail or password"),
        (
            "nobody@sandbox.test",
            PASSWORD,
            401,
            "Wrong e-mail or password",
        ),
        (GUEST, "wrong", 401, "Wrong e-mail or password"),
        (
            GUEST,
            PASSWORD,
            403,
            "The operator does not have the account permission.",
        ),
        (
            STARTER,
            PASSWORD,
            403,
            "The plan does not include data export.",
        ),
    ] {
        let query = path(&[
            ("a", "export"),
            ("email", email),
            ("password", password),
            ("start", START),
            ("stop", STOP),
        ]);
        let (got, kind, text) = served.fetched(&query).await;
        assert_eq!(
            (got, text.starts_with(begin)),
            (status, true),
            "{email} {text}"
        );
        assert_eq!(
            kind,
            if status == 200 {
                "text/xml; charset=utf-8"
            } else {
                "text/plain; charset=utf-8"
            }
        );
    }
    // The path is case-sensitive, and LiveChat's authentication does not apply to it.
    assert_eq!(
        served
            .fetched(&everything().replace("/a/Srv", "/a/srv"))
            .await
            .0,
        401
    );
    assert_eq!(
        served
            .http
            .post(served.url(&everything()))
            .send()
            .await
            .unwrap()
            .status(),
        405
    );
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let served = Served::start(sandbox(100, 10)).await;
    let good = [
        ("a", "export"),
        ("email", EMAIL),
        ("password", PASSWORD),
        ("start", START),
        ("stop", STOP),
    ];
    let refused = async |parameters: &[(&str, &str)]| {
        let (status, kind, text) = served.fetched(&path(parameters)).await;
        assert_eq!(
            (status, kind.as_str()),
            (400, "text/plain; charset=utf-8"),
            "{parameters:?}: {text}"
        );
        text
    };
    for at in 0..good.len() {
        let mut less = good.to_vec();
        let (name, _) = less.remove(at);
        assert_eq!(
            refused(&less).await,
            format!("The parameter {name} is missing.")
        );
        let twice = [&good[..], &good[at..=at]].concat();
        assert_eq!(
            refused(&twice).await,
            format!("The parameter {name} is unknown or repeated.")
        );
    }
    let with = |at: usize, value: &'static str| {
        let mut other = good;
        other[at].1 = value;
        other
    };
    assert_eq!(
        refused(&with(0, "Export")).await,
        "The parameter a must be export."
    );
    assert_eq!(
        refused(&[&good[..], &[("page", "2")]].concat()).await,
        "The parameter page is unknown or repeated."
    );
    for wrong in [
        "",
        "2026-11-20",
        "2026-11-20T00:00:00+00:00",
        "2026-11-20T00:00:00.00+00:00",
        "2026-11-20T00:00:00.000Z",
        "2026-11-20T00:00:00.000+0000",
        "2026-11-20t00:00:00.000+00:00",
        "2026-11-20T00:00:00,000+00:00",
        "2026-02-30T00:00:00.000+00:00",
        "2026-11-20T00:00:00.000000+00:00",
        "２026-11-20T00:00:00.000+00:0",
    ] {
        assert_eq!(
            refused(&with(3, wrong)).await,
            "The parameter start must be like 2008-08-18T19:24:18.884+02:00.",
            "{wrong}"
        );
    }
    assert_eq!(
        refused(&with(4, "2026-11-20T00:00:00.000 00:00")).await,
        "The parameter stop has a space where its offset begins: a + is written %2B."
    );
    let plus = everything().replace("%2B", "+");
    assert_eq!(
        served.fetched(&plus).await.0,
        400,
        "a plus sign that is not encoded arrives as a space"
    );
    assert_eq!(
        refused(&with(4, "2019-12-31T23:59:59.999+00:00")).await,
        "The parameter stop is before start."
    );
    assert!(served.document(START, START).await.children.is_empty());
}

#[tokio::test]
async fn the_call_log_contains_no_password() {
    let served = Served::start(sandbox(100, 10)).await;
    served.fetched(&everything()).await;
    served
        .fetched("/a/Srv?%70assword=hunter2&a=b&Password=hunter2&password&password=hunter2=hunter2")
        .await;
    served.fetched("/chats?password=hunter2").await;
    let calls = served.sandbox.calls();
    let queries: Vec<_> = calls.iter().map(|call| call.query.as_str()).collect();
    assert_eq!(
        queries,
        [
            "a=export&email=operator%40sandbox.test&password=***&start=2020-01-01T00%3A00%3A00.000%2B00%3A00&stop=2030-01-01T00%3A00%3A00.000%2B00%3A00",
            "%70assword=***&a=b&Password=***&password=***&password=***",
            "password=***",
        ]
    );
    assert_eq!(
        calls.iter().map(|call| call.status).collect::<Vec<_>>(),
        [200, 400, 401]
    );
    let fetched = served
        .http
        .get(served.url("/__calls"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(!fetched.contains(PASSWORD) && !fetched.contains("hunter2"));
}

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
async fn a_period_begins_with_its_start_and_ends_before_its_stop() {
    let served = Served::start(sandbox(2_000, 60)).await;
    let all = served.document(START, STOP).await;
    let starts: Vec<_> = all
        .all("chat")
        .into_iter()
        .map(|chat| millis(chat.of("start").unwrap()))
        .collect();
    for at in [0, 7, 700, starts.len() - 2] {
        let found = ids(&served
            .document(&written(starts[at]), &written(starts[at + 1]))
            .await);
        assert_eq!(found, ids(&all)[at..=at], "{at}");
        assert!(
            served
                .document(&written(starts[at] + 1), &written(starts[at + 1]))
                .await
                .children
                .is_empty()
        );
    }
    // Days in a time zone with a half-hour offset, sent with that offset, have all chats of the
    // truth.
    let mut put_together = Vec::new();
    for day in 1..=20 {
        let (start, stop) = (
            format!("2026-11-{day:02}T00:00:00.000+05:45"),
            format!("2026-11-{:02}T00:00:00.000+05:45", day + 1),
        );
        let found = ids(&served.document(&start, &stop).await);
        let truth = truth_of(
            &served.sandbox,
            &format!(
                "report=chats&ids=1&date_from=2026-11-{day:02}&date_to=2026-11-{day:02}&timezone=Asia/Kathmandu"
            ),
        );
        assert_eq!(Value::from(found.clone()), truth["ids"], "{day}");
        put_together.extend(found);
    }
    assert_eq!(
        put_together,
        ids(&served
            .document(
                "2026-11-01T00:00:00.000+05:45",
                "2026-11-21T00:00:00.000+05:45"
            )
            .await)
    );
    assert!(put_together.len() > 500);
}

#[tokio::test]
async fn a_changing_archive_is_served_as_it_is() {
    let clock = Clock::stopped_at(NOON);
    let served = Served::start(Sandbox::new(
        SandboxOptions {
            chats: 300,
            days: 10,
            ..SandboxOptions::default()
        },
        clock.clone(),
    ))
    .await;
    let mark = served.sandbox.mark();
    let before = ids(&served.document(START, STOP).await);
    for step in 0..20 {
        clock.advance(600_000);
        served.sandbox.end_chats(step % 4);
        served.sandbox.0.world.mutate(step);
        let document = served.document(START, STOP).await;
        assert_eq!(
            Value::from(ids(&document)),
            truth_of(&served.sandbox, "report=chats&ids=1")["ids"],
            "{step}"
        );
        assert!(
            document
                .all("chat")
                .into_iter()
                .map(|chat| millis(chat.of("start").unwrap()))
                .is_sorted()
        );
    }
    let still = truth_of(&served.sandbox, &format!("report=chats&ids=1&since={mark}"));
    let still: Vec<_> = still["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert!(still.len() < before.len() && still.iter().all(|id| before.contains(id)));
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
