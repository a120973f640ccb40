//! Tests of LiveLeader's export. This file requests documents and compares chats with the truth.

mod chat_fault_stories;
mod document_fault_stories;
mod document_stories;
mod network_fault_stories;
mod period_stories;
mod request_stories;
mod xml;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::faults::{Fault, FaultKind};
use super::super::liveleader::{EMAIL, PASSWORD};
use super::*;
use xml::{Element, read};

/// The start of a period with all chats.
const START: &str = "2020-01-01T00:00:00.000+00:00";
const STOP: &str = "2030-01-01T00:00:00.000+00:00";

fn path(parameters: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    format!("/a/Srv?{query}")
}

fn export(start: &str, stop: &str) -> String {
    path(&[
        ("a", "export"),
        ("email", EMAIL),
        ("password", PASSWORD),
        ("start", start),
        ("stop", stop),
    ])
}

fn everything() -> String {
    export(START, STOP)
}

impl Served {
    /// Status, type and text of a response.
    async fn fetched(&self, path: &str) -> (u16, String, String) {
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

    async fn document(&self, start: &str, stop: &str) -> Element {
        let (status, kind, text) = self.fetched(&export(start, stop)).await;
        assert_eq!(
            (status, kind.as_str()),
            (200, "text/xml; charset=utf-8"),
            "{text}"
        );
        read(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
    }
}

fn ids(document: &Element) -> Vec<String> {
    document
        .all("chat")
        .into_iter()
        .map(|chat| chat.of("id").unwrap().to_owned())
        .collect()
}

fn millis(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn written(millis: i64) -> String {
    format!("{:.3}+00:00", Timestamp::from_millisecond(millis).unwrap()).replace('Z', "")
}

fn truth_of(sandbox: &Sandbox, query: &str) -> Value {
    sandbox
        .truth(&question(&format!("connector=liveleader&{query}")))
        .unwrap()
}

/// A chat of a document, in the format of the truth.
fn record(chat: &Element) -> Value {
    let time = |text: &str| format!("{:.3}", text.parse::<Timestamp>().unwrap());
    let messages = chat.all("msg").into_iter().map(|msg| {
        let attribute = |name| msg.attribute(name).unwrap();
        json!({"from": attribute("from"), "time": time(attribute("time")), "text": msg.text})
    });
    let operators = chat
        .all("operator")
        .into_iter()
        .map(|operator| operator.text.as_str());
    let mut record = json!({
        "id": chat.of("id"),
        "referrer": chat.of("referrer"),
        "keywords": chat.of("keywords"),
        "operators": operators.collect::<Vec<_>>(),
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

async fn served_with(kind: FaultKind) -> Served {
    let served = Served::start(sandbox(200, 10)).await;
    served.sandbox.faults().add(Fault::new(kind));
    served
}

async fn text_of(kind: FaultKind) -> String {
    let (status, kind, text) = served_with(kind).await.fetched(&everything()).await;
    assert_eq!(
        (status, kind.as_str()),
        (200, "text/xml; charset=utf-8"),
        "{text}"
    );
    text
}

async fn document_of(kind: FaultKind) -> Element {
    read(&text_of(kind).await).unwrap()
}

async fn whole() -> Element {
    Served::start(sandbox(200, 10))
        .await
        .document(
            "2020-01-01T00:00:00.000+00:00",
            "2030-01-01T00:00:00.000+00:00",
        )
        .await
}

async fn bytes_of(kind: FaultKind) -> (String, Vec<u8>) {
    let served = served_with(kind).await;
    let answer = served
        .http
        .get(served.url(&everything()))
        .send()
        .await
        .unwrap();
    (
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned(),
        answer.bytes().await.unwrap().to_vec(),
    )
}

/// The number of bytes until the body ended, broke or was longer than `limit`, and the longest
/// chunk.
async fn length_of(kind: FaultKind, limit: usize) -> (usize, usize) {
    let served = served_with(kind).await;
    let mut answer = served
        .http
        .get(served.url(&everything()))
        .send()
        .await
        .unwrap();
    let (mut bytes, mut longest) = (0, 0);
    while let Some(chunk) = answer.chunk().await.unwrap() {
        bytes += chunk.len();
        longest = longest.max(chunk.len());
        if bytes > limit {
            break;
        }
    }
    (bytes, longest)
}
