//! Tests of faults of the network and the host on LiveLeader's export, and of setting its faults.

use std::time::Duration;

use super::super::super::faults::{Cut, Doctype, Label, RetryAfter};
use super::*;

#[tokio::test]
async fn faults_of_the_network_and_the_host_are_liveleaders_too() {
    let fetched = async |kind: FaultKind| served_with(kind).await.fetched(&everything()).await;
    let plain = "text/plain; charset=utf-8".to_owned();
    assert_eq!(
        fetched(FaultKind::Status { status: 503 }).await,
        (503, plain.clone(), "Something went wrong".to_owned())
    );
    assert_eq!(
        fetched(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(7)
        })
        .await,
        (429, plain, "Too many requests".to_owned())
    );
    assert!(
        fetched(FaultKind::Html)
            .await
            .2
            .starts_with("<!DOCTYPE html>")
    );
    assert_eq!(fetched(FaultKind::Empty).await.2, "");
    assert_eq!(
        fetched(FaultKind::Shape {
            body: "<chats/>".to_owned()
        })
        .await,
        (
            200,
            "text/xml; charset=utf-8".to_owned(),
            "<chats/>".to_owned()
        )
    );
    assert_eq!(
        fetched(FaultKind::Redirect {
            status: 302,
            to: "http://127.0.0.1:1/".to_owned()
        })
        .await
        .0,
        302
    );
    assert_eq!(fetched(FaultKind::Late { ms: 1 }).await.0, 200);
    assert!(
        read(
            &fetched(FaultKind::Drip {
                bytes: 50_000,
                every_ms: 1
            })
            .await
            .2
        )
        .is_ok()
    );
    assert!(length_of(FaultKind::Endless, 2_000_000).await.0 > 2_000_000);
    assert!(length_of(FaultKind::GzipBomb, 2_000_000).await.0 > 2_000_000);
    let served = served_with(FaultKind::HangUp).await;
    assert!(
        served
            .http
            .get(served.url(&everything()))
            .send()
            .await
            .is_err()
    );
    for (how, breaks) in [
        (Cut::Length, true),
        (Cut::Chunked, true),
        (Cut::Clean, false),
    ] {
        let served = served_with(FaultKind::Cut { after: 900, how }).await;
        let answer = served
            .http
            .get(served.url(&everything()))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.content_length().is_some(), how != Cut::Chunked);
        let text = answer.text().await;
        assert_eq!(text.is_err(), breaks, "{how:?}");
        assert!(text.is_err() || read(&text.unwrap()).is_err(), "{how:?}");
    }
    let served = served_with(FaultKind::Stall { after: 900 }).await;
    let mut answer = served
        .http
        .get(served.url(&everything()))
        .send()
        .await
        .unwrap();
    let mut bytes = 0;
    while bytes < 900 {
        bytes += answer.chunk().await.unwrap().unwrap().len();
    }
    assert!(
        tokio::time::timeout(Duration::from_millis(200), answer.chunk())
            .await
            .is_err(),
        "data after the stall"
    );
    // A request without permission gets no document.
    let wrong = everything().replace("sandbox-password", "wrong");
    assert_eq!(
        served_with(FaultKind::EndlessChats)
            .await
            .fetched(&wrong)
            .await
            .0,
        401
    );
    // LiveChat is not affected.
    assert_eq!(
        served_with(FaultKind::WrongRoot).await.json("/chats").await["total"],
        200
    );
}

#[tokio::test]
async fn xml_faults_are_set_over_http_too() {
    let served = Served::start(sandbox(100, 10)).await;
    for (fault, kind) in [
        (
            json!({"fault": "sample_times"}),
            FaultKind::SampleTimes { zone: None },
        ),
        (
            json!({"fault": "sample_times", "zone": "Europe/Oslo"}),
            FaultKind::SampleTimes {
                zone: Some("Europe/Oslo".to_owned()),
            },
        ),
        (
            json!({"fault": "encoding", "label": "windows-1252"}),
            FaultKind::Encoding {
                label: Label::Windows1252,
            },
        ),
        (
            json!({"fault": "encoding", "label": "iso-8859-1"}),
            FaultKind::Encoding {
                label: Label::Iso88591,
            },
        ),
        (
            json!({"fault": "encoding", "label": "utf-16le"}),
            FaultKind::Encoding {
                label: Label::Utf16Le,
            },
        ),
        (
            json!({"fault": "encoding", "label": "utf-16be"}),
            FaultKind::Encoding {
                label: Label::Utf16Be,
            },
        ),
        (
            json!({"fault": "encoding", "label": "utf-8-bom"}),
            FaultKind::Encoding {
                label: Label::Utf8Bom,
            },
        ),
        (
            json!({"fault": "doctype", "how": "laughs"}),
            FaultKind::Doctype {
                how: Doctype::Laughs,
            },
        ),
        (
            json!({"fault": "doctype", "how": "parameter"}),
            FaultKind::Doctype {
                how: Doctype::Parameter,
            },
        ),
        (
            json!({"fault": "deep", "levels": 2_000_000}),
            FaultKind::Deep { levels: 2_000_000 },
        ),
        (
            json!({"fault": "many_attributes", "count": 9}),
            FaultKind::ManyAttributes { count: 9 },
        ),
        (
            json!({"fault": "long_text", "bytes": 9}),
            FaultKind::LongText { bytes: 9 },
        ),
        (
            json!({"fault": "large_chat", "bytes": 9}),
            FaultKind::LargeChat { bytes: 9 },
        ),
        (json!({"fault": "endless_chats"}), FaultKind::EndlessChats),
        (json!({"fault": "no_id"}), FaultKind::NoId),
        (json!({"fault": "bare"}), FaultKind::Bare),
        (
            json!({"fault": "several_operators"}),
            FaultKind::SeveralOperators,
        ),
        (
            json!({"fault": "capital_operators"}),
            FaultKind::CapitalOperators,
        ),
        (json!({"fault": "loose_text"}), FaultKind::LooseText),
        (
            json!({"fault": "answer", "status": 403, "body": ""}),
            FaultKind::Answer {
                status: 403,
                content_type: None,
                body: String::new(),
            },
        ),
        (
            json!({"fault": "shuffle", "seed": 4}),
            FaultKind::Shuffle { seed: 4 },
        ),
    ] {
        let put = served
            .http
            .put(served.url("/__faults"))
            .header("content-type", "application/json")
            .body(fault.to_string());
        assert_eq!(put.send().await.unwrap().status(), 204, "{fault}");
        assert_eq!(served.sandbox.faults().list(), [Fault::new(kind)]);
    }
}
