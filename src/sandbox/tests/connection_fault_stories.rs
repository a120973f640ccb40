//! Tests of the faults of connections: they drop, stall or crawl, or their bodies have no end.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::Value;

use super::super::faults::{Cut, Fault, FaultKind};
use super::fault_stories::{status_of, struck, text_of};
use super::*;

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
