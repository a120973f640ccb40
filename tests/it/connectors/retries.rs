//! Transient faults are retried, rate limits pause an account, and a pull can be cancelled.

use chatlake::connectors::{self, Connector, PullError, Source};
use chatlake::sandbox::faults::{Cut, Fault, FaultKind, RetryAfter};
use tokio::sync::mpsc;

use crate::support::pulls::{WEEK, ids, pull, request};
use crate::support::sandbox::{Vendor, source};

#[tokio::test]
async fn transient_faults_are_retried_and_nothing_is_lost() {
    let vendor = Vendor::new(2_000, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    let passing = [
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(0),
        },
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Date(1),
        },
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Date(-100),
        },
        FaultKind::Status { status: 500 },
        FaultKind::Status { status: 503 },
        FaultKind::HangUp,
        FaultKind::Late { ms: 800 },
        FaultKind::Stall { after: 900 },
        FaultKind::Html,
        FaultKind::Empty,
        FaultKind::Shape {
            body: "[]".to_owned(),
        },
        FaultKind::Shape {
            body: "{}".to_owned(),
        },
        FaultKind::Shape {
            body: r#"{"error":"no"}"#.to_owned(),
        },
        FaultKind::Cut {
            after: 900,
            how: Cut::Length,
        },
        FaultKind::Cut {
            after: 900,
            how: Cut::Chunked,
        },
        FaultKind::Cut {
            after: 900,
            how: Cut::Clean,
        },
        FaultKind::Drip {
            bytes: 4_000,
            every_ms: 5,
        },
    ];
    for kind in passing {
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats").page(3).times(2)]);
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert_eq!(done, Ok(()), "{kind:?}");
        assert_eq!(
            (got.rows(0), got.set(0, "id")),
            (truth.len(), truth.clone()),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_wait_that_the_vendor_requests_is_not_counted_as_an_attempt() {
    let vendor = Vendor::new(1_000, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    for kind in [
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(0),
        },
        FaultKind::Maintenance {
            retry_after: RetryAfter::Seconds(0),
        },
    ] {
        // One more than the number of attempts.
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats").page(3).times(6)]);
        let upstreams = vendor.upstreams();
        let (got, done) = pull(
            &source(&upstreams, &vendor.address, "sandbox-key"),
            &request(&["chat"], &[WEEK]),
        )
        .await;
        assert_eq!(
            (done, got.set(0, "id")),
            (Ok(()), truth.clone()),
            "{kind:?}"
        );
        assert_eq!(upstreams.stats().limited, 6, "{kind:?}");
    }
}

#[tokio::test]
async fn a_rate_limit_pauses_the_whole_account_and_no_other() {
    let vendor = Vendor::new(500, 30).await;
    let upstreams = vendor.upstreams();
    let of = |key: &str| Source {
        upstream: upstreams
            .for_account(key, Connector::LiveChat, Some(&vendor.address), 0)
            .unwrap(),
        ..vendor.source()
    };
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(600),
        })
        .times(1),
    ]);
    assert!(matches!(
        connectors::check(&of("a")).await,
        Err(PullError::RateLimited { .. })
    ));
    let calls = vendor.sandbox.calls_total();
    assert!(
        matches!(connectors::check(&of("a")).await, Err(PullError::RateLimited { wait: Some(w) }) if w.as_secs() > 590)
    );
    assert_eq!(
        vendor.sandbox.calls_total(),
        calls,
        "nothing was asked during the pause"
    );
    connectors::check(&of("b")).await.unwrap();
    let stats = upstreams.stats();
    assert_eq!((stats.calls, stats.limited), (2, 1));
}

#[tokio::test]
async fn a_pull_stops_when_cancelled_and_when_the_receiver_is_dropped() {
    let vendor = Vendor::new(2_000, 30).await;
    vendor.fault(FaultKind::Late { ms: 300 });
    let pull_request = request(&["chat"], &[WEEK]);
    let source = vendor.source();
    let stop = pull_request.cancel.clone();
    let (pulled, ()) = tokio::join!(pull(&source, &pull_request), async move {
        tokio::task::yield_now().await;
        stop.cancel();
    });
    assert_eq!(pulled.1, Err(PullError::Cancelled));
    vendor.sandbox.faults().clear();
    let (out, pulled) = mpsc::channel(1);
    drop(pulled);
    assert_eq!(
        connectors::pull(&source, &request(&["chat"], &[WEEK]), &out).await,
        Err(PullError::Cancelled)
    );
}
