//! Tests of every fault over a real socket with a plain client.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};

use super::super::faults::{Cut, Fault, FaultKind, Frame, Odd, RetryAfter};
use super::*;

/// The first response of a new sandbox with one fault.
async fn struck(kind: FaultKind) -> (Served, reqwest::Result<Response>) {
    let served = Served::start(sandbox(100, 10)).await;
    served.sandbox.faults().add(Fault::new(kind));
    let answer = served.get("/chats").await;
    (served, answer)
}

async fn status_of(kind: FaultKind) -> u16 {
    struck(kind).await.1.unwrap().status().as_u16()
}

async fn text_of(kind: FaultKind) -> String {
    struck(kind).await.1.unwrap().text().await.unwrap()
}

/// The number of bytes until the body ends or breaks, and whether it breaks.
async fn read_until_broken(mut answer: Response) -> (usize, bool) {
    let mut bytes = 0;
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => return (bytes, false),
            Err(_) => return (bytes, true),
        }
    }
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
async fn connections_that_drop_stall_and_crawl() {
    let (served, answer) = struck(FaultKind::HangUp).await;
    assert!(answer.is_err());
    // A client may retry by itself when a connection drops; each attempt is logged.
    assert!(served.sandbox.calls().iter().all(|call| call.status == 0));

    let cut = struck(FaultKind::Cut {
        after: 900,
        how: Cut::Length,
    })
    .await
    .1
    .unwrap();
    assert!(cut.content_length().unwrap() > 900);
    assert_eq!(read_until_broken(cut).await, (900, true));
    let cut = struck(FaultKind::Cut {
        after: 900,
        how: Cut::Chunked,
    })
    .await
    .1
    .unwrap();
    assert_eq!(cut.content_length(), None);
    assert_eq!(read_until_broken(cut).await, (900, true));
    let cut = struck(FaultKind::Cut {
        after: 900,
        how: Cut::Clean,
    })
    .await
    .1
    .unwrap();
    assert_eq!(read_until_broken(cut).await, (900, false));

    let (_served, stalled) = struck(FaultKind::Stall { after: 900 }).await;
    let (mut stalled, mut bytes) = (stalled.unwrap(), 0);
    while bytes < 900 {
        bytes += stalled.chunk().await.unwrap().unwrap().len();
    }
    assert_eq!(bytes, 900);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), stalled.chunk())
            .await
            .is_err(),
        "data after the stall"
    );

    let started = Instant::now();
    assert_eq!(status_of(FaultKind::Late { ms: 100 }).await, 200);
    assert!(started.elapsed() >= Duration::from_millis(100));
    let served = Served::start(sandbox(100, 10)).await;
    served
        .sandbox
        .faults()
        .add(Fault::new(FaultKind::Late { ms: 60_000 }));
    assert!(
        served
            .request("/chats")
            .timeout(Duration::from_millis(100))
            .send()
            .await
            .is_err()
    );
    tokio::time::timeout(Duration::from_secs(5), async {
        while served.sandbox.calls_total() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("a call that the client cancelled is not logged"));

    let started = Instant::now();
    let slow = text_of(FaultKind::Drip {
        bytes: 20_000,
        every_ms: 20,
    })
    .await;
    assert!(serde_json::from_str::<Value>(&slow).is_ok());
    assert!(
        started.elapsed()
            >= Duration::from_millis(20 * (slow.len() as u64 / 20_000).saturating_sub(1))
    );
}

#[tokio::test]
async fn bodies_without_an_end() {
    for kind in [FaultKind::Endless, FaultKind::GzipBomb] {
        let (_served, answer) = struck(kind.clone()).await;
        let (mut answer, mut bytes) = (answer.unwrap(), 0);
        while bytes < 20_000_000 {
            bytes += answer
                .chunk()
                .await
                .unwrap_or_else(|why| panic!("{kind:?} broke: {why}"))
                .unwrap()
                .len();
        }
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
    assert_eq!(
        put(json!([{"fault": "too_many_requests", "retry_after": {"seconds": 2}, "path": "/chats", "times": 1}, {"fault": "html", "page": 4}])).await,
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

#[tokio::test]
async fn a_stopped_sandbox_lets_go_even_of_a_stalled_answer() {
    let sandbox = sandbox(100, 10);
    sandbox
        .faults()
        .add(Fault::new(FaultKind::Stall { after: 10 }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/chats", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (sandbox, stop) = (sandbox.clone(), stop.clone());
        async move { sandbox.serve(listener, stop).await }
    });
    let _answer = client()
        .get(url)
        .basic_auth(LOGIN, Some(API_KEY))
        .header("X-API-Version", "2")
        .send()
        .await
        .unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
