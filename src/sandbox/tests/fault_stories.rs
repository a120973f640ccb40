//! Tests of the faults that replace or change an answer, over a real socket with a plain client.

use reqwest::Response;
use serde_json::{Value, json};

use super::super::faults::{Fault, FaultKind, Frame, Odd, RetryAfter};
use super::*;

/// The first response of a new sandbox with one fault.
pub async fn struck(kind: FaultKind) -> (Served, reqwest::Result<Response>) {
    let served = Served::start(sandbox(100, 10)).await;
    served.sandbox.faults().add(Fault::new(kind));
    let answer = served.get("/chats").await;
    (served, answer)
}

pub async fn status_of(kind: FaultKind) -> u16 {
    struck(kind).await.1.unwrap().status().as_u16()
}

pub async fn text_of(kind: FaultKind) -> String {
    struck(kind).await.1.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn too_many_requests_names_a_wait_or_not() {
    let wait = async |retry_after| {
        let answer = struck(FaultKind::TooManyRequests { retry_after })
            .await
            .1
            .unwrap();
        assert_eq!(answer.status(), 429);
        answer
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(wait(RetryAfter::Absent).await, None);
    assert_eq!(wait(RetryAfter::Seconds(7)).await.as_deref(), Some("7"));
    assert_eq!(wait(RetryAfter::Seconds(-5)).await.as_deref(), Some("-5"));
    assert_eq!(
        wait(RetryAfter::Seconds(99_999_999_999)).await.as_deref(),
        Some("99999999999")
    );
    assert_eq!(
        wait(RetryAfter::Date(30)).await.as_deref(),
        Some("Fri, 20 Nov 2026 12:30:30 GMT")
    );
}

#[tokio::test]
async fn statuses_and_bodies_in_place_of_an_answer() {
    for status in [403, 500, 502, 503] {
        assert_eq!(status_of(FaultKind::Status { status }).await, status);
    }
    let maintenance = struck(FaultKind::Maintenance {
        retry_after: RetryAfter::Seconds(90),
    })
    .await
    .1
    .unwrap();
    assert_eq!(
        (
            maintenance.status().as_u16(),
            maintenance.headers()["retry-after"].to_str().unwrap()
        ),
        (503, "90")
    );
    for (content_type, is) in [
        (None, "application/json"),
        (Some("text/html".to_owned()), "text/html"),
    ] {
        let answer = struck(FaultKind::Answer {
            status: 407,
            content_type,
            body: "<p>No".to_owned(),
        })
        .await
        .1
        .unwrap();
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers()["content-type"].to_str().unwrap()
            ),
            (407, is)
        );
        assert_eq!(answer.text().await.unwrap(), "<p>No");
    }
    let misdirected = struck(FaultKind::Misdirected {
        region: "fra".to_owned(),
    })
    .await
    .1
    .unwrap();
    assert_eq!(misdirected.status(), 421);
    assert_eq!(
        serde_json::from_str::<Value>(&misdirected.text().await.unwrap()).unwrap()["error"]["data"]
            ["region"],
        "fra"
    );
    let html = struck(FaultKind::Html).await.1.unwrap();
    assert_eq!(html.status(), 200);
    assert!(html.text().await.unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(text_of(FaultKind::Empty).await, "");
    assert_eq!(
        text_of(FaultKind::Shape {
            body: "[]".to_owned()
        })
        .await,
        "[]"
    );
    let moved = struck(FaultKind::Redirect {
        status: 302,
        to: "http://127.0.0.1:1/".to_owned(),
    })
    .await
    .1
    .unwrap();
    assert_eq!(
        (
            moved.status().as_u16(),
            moved.headers()["location"].to_str().unwrap()
        ),
        (302, "http://127.0.0.1:1/")
    );
}

#[tokio::test]
async fn days_without_records_and_frames_follow_the_fault() {
    let served = Served::start(sandbox(100, 10)).await;
    let (empty, some) = (
        "/chats?date_from=2020-01-01&date_to=2020-01-02",
        "/chats?date_from=2020-01-01",
    );
    for (status, body) in [(204, ""), (404, "{}"), (200, "null")] {
        served
            .sandbox
            .faults()
            .set(vec![Fault::new(FaultKind::Quiet {
                status,
                body: body.to_owned(),
            })]);
        let answer = served.get(empty).await.unwrap();
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.text().await.unwrap().as_str()
            ),
            (status, body)
        );
        assert_eq!(
            served.json(some).await["total"],
            100,
            "an answer with records is unchanged"
        );
    }
    for (frame, total, has_pages) in [
        (Frame::TextTotal, json!("100"), true),
        (Frame::NullTotal, json!(null), true),
        (Frame::NoPages, json!(100), false),
    ] {
        served
            .sandbox
            .faults()
            .set(vec![Fault::new(FaultKind::OddFrame { frame })]);
        let answer = served.json(some).await;
        assert_eq!(
            (
                &answer["total"],
                answer.get("pages").is_some(),
                ids_of(&answer).len()
            ),
            (&total, has_pages, 25),
            "{frame:?}"
        );
    }
    // The fault applies only to requests for more days than this.
    served
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).longer_than(1)]);
    for (days, is_struck) in [
        ("date_from=2026-11-10&date_to=2026-11-10", false),
        ("date_from=2026-11-10&date_to=2026-11-11", true),
        ("page=1", false),
    ] {
        assert_eq!(
            served
                .get(&format!("/chats?{days}"))
                .await
                .unwrap()
                .text()
                .await
                .unwrap()
                .starts_with('<'),
            is_struck,
            "{days}"
        );
    }
}

#[tokio::test]
async fn records_and_pages_that_are_odd() {
    for (odd, text) in [
        (Odd::HugeFloat, r#""duration":1e999,"#),
        (Odd::HugeInteger, r#""duration":9007199254740993,"#),
        (Odd::WrongType, r#""duration":"forty","#),
        (Odd::DuplicateKey, r#""duration":40,"duration":41,"#),
        (Odd::LoneSurrogate, r#""text":"\ud800 "#),
    ] {
        let page = text_of(FaultKind::OddRecord { odd }).await;
        assert_eq!(page.matches(text).count(), 1, "{odd:?}");
        let parses = serde_json::from_str::<Value>(&page).is_ok();
        assert_eq!(
            parses,
            !matches!(odd, Odd::HugeFloat | Odd::LoneSurrogate),
            "{odd:?}"
        );
    }
    let nameless: Value =
        serde_json::from_str(&text_of(FaultKind::OddRecord { odd: Odd::NoId }).await).unwrap();
    assert!(
        nameless["chats"][0].get("id").is_none()
            && nameless["chats"][0]["visitor_id"].is_string()
                | nameless["chats"][0]["visitor"]["id"].is_string()
    );
    assert!(nameless["chats"][1]["id"].is_string());
    let lying: Value =
        serde_json::from_str(&text_of(FaultKind::LyingTotal { by: 30 }).await).unwrap();
    assert_eq!(
        (lying["total"].as_u64(), lying["pages"].as_u64()),
        (Some(130), Some(6))
    );
    let sunset = struck(FaultKind::Sunset {
        legacy: Some("2027-01-31".to_owned()),
        deprecation: None,
    })
    .await
    .1
    .unwrap();
    assert_eq!(sunset.headers()["legacy"], "2027-01-31");
    assert!(!sunset.headers().contains_key("deprecation"));

    let served = Served::start(sandbox(100, 10)).await;
    served
        .sandbox
        .faults()
        .add(Fault::new(FaultKind::RepeatPage).page(3));
    let (first, second, third) = (
        served.json("/chats").await,
        served.json("/chats?page=2").await,
        served.json("/chats?page=3").await,
    );
    assert_ne!(ids_of(&first), ids_of(&second));
    assert_eq!(ids_of(&second), ids_of(&third));
}

#[tokio::test]
async fn a_fault_strikes_only_what_it_names() {
    let served = Served::start(sandbox(100, 10)).await;
    served.sandbox.faults().add(
        Fault::new(FaultKind::Status { status: 503 })
            .on("/chats")
            .page(2)
            .skip(1)
            .times(2),
    );
    assert_eq!(
        served.status("/agents?page=2").await,
        400,
        "the fault applies to another path"
    );
    let mut statuses = Vec::new();
    for page in [1, 2, 2, 1, 2, 2] {
        statuses.push(served.status(&format!("/chats?page={page}")).await);
    }
    assert_eq!(statuses, [200, 200, 503, 200, 503, 200]);
    assert!(served.sandbox.faults().list().is_empty());
}

#[tokio::test]
async fn faults_are_set_over_http_too() {
    let served = Served::start(sandbox(100, 10)).await;
    let url = served.url("/__faults");
    let put = async |body: Value| {
        served
            .http
            .put(&url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let too_many = json!({
        "fault": "too_many_requests",
        "retry_after": {"seconds": 2},
        "path": "/chats",
        "times": 1,
    });
    assert_eq!(
        put(json!([too_many, {"fault": "html", "page": 4}])).await,
        204
    );
    assert_eq!(served.json("/__faults").await.as_array().unwrap().len(), 2);
    assert_eq!(served.status("/chats").await, 429);
    assert_eq!(served.status("/chats").await, 200);
    assert_eq!(put(json!({"fault": "status", "status": 502})).await, 204);
    assert_eq!(served.status("/groups").await, 502);
    served.http.delete(&url).send().await.unwrap();
    assert_eq!(served.status("/groups").await, 200);
    assert_eq!(put(json!({"fault": "no_such_fault"})).await, 422);
}
