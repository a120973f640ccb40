//! Permanent faults are errors with their cause and without the credential.

use std::sync::Arc;

use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::upstream::{Limits, SystemResolver, Upstreams};
use chatlake::connectors::{self, PullError};
use chatlake::sandbox::faults::{Cut, FaultKind, RetryAfter};
use jiff::civil::date;
use tokio::net::TcpListener;

use crate::support::pulls::{WEEK, pull, request};
use crate::support::sandbox::{Vendor, allow, limits, source};

const CANARY: &str = "dal:canary-4711+/=";

#[tokio::test]
async fn permanent_faults_are_reported_with_their_cause() {
    let vendor = Vendor::new(1_000, 30).await;
    let sorted =
        |kind: FaultKind, wanted: fn(&PullError) -> bool, calls: u64| (kind, wanted, calls);
    let lasting = [
        // The second call is the check of the credentials.
        sorted(
            FaultKind::Status { status: 401 },
            |e| *e == PullError::Unauthorized,
            2,
        ),
        sorted(
            FaultKind::Status { status: 403 },
            |e| matches!(e, PullError::Refused { status: 403, vendor_message: said } if said == "Something went wrong"),
            1,
        ),
        sorted(
            FaultKind::Status { status: 400 },
            |e| matches!(e, PullError::Refused { status: 400, vendor_message: said } if said == "Something went wrong"),
            1,
        ),
        // Two calls with days, two without days, and one for its words.
        sorted(
            FaultKind::Status { status: 404 },
            |e| matches!(e, PullError::Refused { status: 404, vendor_message: said } if said == "Something went wrong"),
            7,
        ),
        sorted(
            FaultKind::Status { status: 500 },
            |e| *e == PullError::Unavailable(Cause::Status(500)),
            5,
        ),
        sorted(
            FaultKind::HangUp,
            |e| *e == PullError::Unavailable(Cause::ConnectionCut),
            5,
        ),
        sorted(
            FaultKind::Late { ms: 800 },
            |e| *e == PullError::Unavailable(Cause::FirstByteTimeout),
            5,
        ),
        sorted(
            FaultKind::Stall { after: 100 },
            |e| *e == PullError::Unavailable(Cause::NoProgress),
            5,
        ),
        sorted(
            FaultKind::Cut {
                after: 100,
                how: Cut::Length,
            },
            |e| *e == PullError::Unavailable(Cause::ConnectionCut),
            5,
        ),
        sorted(
            FaultKind::Cut {
                after: 100,
                how: Cut::Chunked,
            },
            |e| *e == PullError::Unavailable(Cause::ConnectionCut),
            5,
        ),
        sorted(
            FaultKind::Cut {
                after: 100,
                how: Cut::Clean,
            },
            |e| matches!(e, PullError::Malformed { at, .. } if at.page == 1 && at.path == "/chats"),
            3,
        ),
        sorted(
            FaultKind::Html,
            |e| *e == PullError::Unavailable(Cause::WebPage(200)),
            3,
        ),
        sorted(
            FaultKind::Empty,
            |e| matches!(e, PullError::Malformed { why, .. } if why.contains("empty")),
            7,
        ),
        sorted(
            FaultKind::Shape {
                body: "[]".to_owned(),
            },
            |e| matches!(e, PullError::Malformed { .. }),
            7,
        ),
        sorted(
            FaultKind::Shape {
                body: "[".repeat(1_000_000),
            },
            |e| matches!(e, PullError::Malformed { .. }),
            3,
        ),
        sorted(
            FaultKind::GzipBomb,
            |e| matches!(e, PullError::Malformed { why, .. } if why.contains("larger")),
            1,
        ),
        sorted(
            FaultKind::Redirect {
                status: 302,
                to: "http://127.0.0.1:1/x".to_owned(),
            },
            |e| *e == PullError::Unavailable(Cause::Redirected(302)),
            3,
        ),
        sorted(
            FaultKind::TooManyRequests {
                retry_after: RetryAfter::Seconds(3_600),
            },
            |e| matches!(e, PullError::RateLimited { wait: Some(w) } if w.as_secs() == 3_600),
            1,
        ),
        sorted(
            FaultKind::TooManyRequests {
                retry_after: RetryAfter::Seconds(315_360_000),
            },
            |e| matches!(e, PullError::RateLimited { wait: Some(w) } if w.as_secs() == 86_400),
            1,
        ),
        sorted(
            FaultKind::TooManyRequests {
                retry_after: RetryAfter::Seconds(-5),
            },
            |e| matches!(e, PullError::RateLimited { wait: Some(w) } if w.as_secs() == 5),
            1,
        ),
        sorted(
            FaultKind::Maintenance {
                retry_after: RetryAfter::Seconds(1_800),
            },
            |e| matches!(e, PullError::RateLimited { wait: Some(w) } if w.as_secs() == 1_800),
            1,
        ),
        sorted(
            FaultKind::Maintenance {
                retry_after: RetryAfter::Absent,
            },
            |e| *e == PullError::Unavailable(Cause::Status(503)),
            5,
        ),
        sorted(
            FaultKind::TooManyRequests {
                retry_after: RetryAfter::Absent,
            },
            |e| matches!(e, PullError::RateLimited { .. }),
            1,
        ),
    ];
    for (kind, wanted, calls) in lasting {
        vendor.fault(kind.clone());
        let upstreams = vendor.upstreams();
        let (got, done) = pull(
            &source(&upstreams, &vendor.address, "sandbox-key"),
            &request(&["chat"], &[WEEK]),
        )
        .await;
        let error = done.unwrap_err();
        let shown = format!("{:.60}", format!("{kind:?}"));
        assert!(wanted(&error), "{shown}: {error:?}");
        assert_eq!(upstreams.stats().calls, calls, "{shown}");
        assert!(
            got.window_counts.is_empty(),
            "{shown}: no window is complete"
        );
    }
    // An endless answer at full speed ends at the size limit.
    vendor.fault(FaultKind::Endless);
    let small = Limits {
        max_bytes: 4 << 20,
        ..limits()
    };
    let upstreams = Upstreams::with(
        vec![allow("127.0.0.1")],
        vendor.clock.clone(),
        small,
        Arc::new(SystemResolver),
    )
    .unwrap();
    let (_, done) = pull(
        &source(&upstreams, &vendor.address, "sandbox-key"),
        &request(&["chat"], &[WEEK]),
    )
    .await;
    assert!(
        matches!(done, Err(PullError::Malformed { ref why, .. }) if why.contains("4 MiB")),
        "{done:?}"
    );
}

#[tokio::test]
async fn the_credential_is_in_no_error() {
    let vendor = Vendor::new(100, 30).await;
    let pair = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("agent@sandbox.test:{CANARY}"),
    );
    let mut shown = Vec::new();
    for kind in [
        FaultKind::Status { status: 401 },
        FaultKind::Status { status: 404 },
        FaultKind::Status { status: 500 },
        FaultKind::Html,
        FaultKind::HangUp,
        FaultKind::Late { ms: 800 },
        FaultKind::Redirect {
            status: 307,
            to: format!("http://127.0.0.1:1/{CANARY}"),
        },
        FaultKind::Shape {
            body: format!("\"Basic {pair}\""),
        },
    ] {
        vendor.fault(kind);
        let error = connectors::check(&vendor.source_with(CANARY))
            .await
            .unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    let upstreams = vendor.upstreams();
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for address in [
        format!("http://{closed}/{CANARY}").replace("+/=", ""),
        format!("https://{}", vendor.address.trim_start_matches("http://")),
    ] {
        let error = connectors::check(&source(&upstreams, &address, CANARY))
            .await
            .unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    shown.push(format!("{:?}", vendor.source_with(CANARY)));
    for text in shown {
        for bad in ["4711", "canary", &pair, "http://", "https://"] {
            assert!(!text.contains(bad), "{bad} in {text}");
        }
    }
}

#[tokio::test]
async fn the_sunset_of_the_api_is_reported() {
    let vendor = Vendor::new(500, 30).await;
    vendor.fault(FaultKind::Sunset {
        legacy: Some("2027-03-01".to_owned()),
        deprecation: None,
    });
    let source = vendor.source();
    let (_, done) = pull(&source, &request(&["chat"], &[WEEK])).await;
    assert_eq!(
        (done, source.upstream.vendor_hints().api_ends_on),
        (Ok(()), Some(date(2027, 3, 1)))
    );
}
