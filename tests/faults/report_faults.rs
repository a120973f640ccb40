//! How every report ends after every fault.

use std::sync::Arc;
use std::time::Duration;

use chatlake::connectors::PullError;
use chatlake::connectors::livechat::REPORTS;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::report::{Report, Shape};
use chatlake::connectors::upstream::{Limits, SystemResolver, Upstreams};
use chatlake::sandbox::faults::{Cut, Fault, FaultKind, Frame, Odd, RetryAfter};
use futures_util::StreamExt;

use crate::support::pulls::{PulledRows, TODAY, pull, pull_request, truth};
use crate::support::sandbox::{Vendor, allow, limits, source};

/// The result of a pull with a fault at every call.
enum ExpectedEnd {
    /// It ends with this error. After a fault that occurs once, every row is read.
    Ends(fn(&PullError) -> bool),
    /// As `Ends`; what has no days, or no total that proves it, may be empty instead.
    EndsOrEmpty(fn(&PullError) -> bool),
    /// It ends with this error, also if the fault occurs once.
    EndsAtOnce(fn(&PullError) -> bool),
    /// It succeeds with every row.
    Nothing,
    /// A pull of an archive ends as short, or is complete; other reports are not affected.
    Short,
}

/// A new kind of fault does not compile without a case here.
fn expected_end(kind: &FaultKind) -> ExpectedEnd {
    match kind {
        FaultKind::Status { status: 401 } => ExpectedEnd::Ends(|e| *e == PullError::Unauthorized),
        FaultKind::Status { status: 400 | 403 } => ExpectedEnd::EndsAtOnce(|e| {
            matches!(
                e,
                PullError::Refused {
                    status: 400 | 403,
                    ..
                }
            )
        }),
        FaultKind::Status { status: 404 } => {
            ExpectedEnd::Ends(|e| matches!(e, PullError::Refused { status: 404, .. }))
        }
        FaultKind::Status { .. } => {
            ExpectedEnd::Ends(|e| matches!(e, PullError::Unavailable(Cause::Status(_))))
        }
        // A long one; a short one is retried.
        FaultKind::TooManyRequests { .. } => {
            ExpectedEnd::EndsAtOnce(|e| matches!(e, PullError::RateLimited { .. }))
        }
        FaultKind::Misdirected { .. } => {
            ExpectedEnd::Ends(|e| matches!(e, PullError::Refused { status: 421, .. }))
        }
        FaultKind::Maintenance { .. } => {
            ExpectedEnd::EndsAtOnce(|e| matches!(e, PullError::RateLimited { .. }))
        }
        FaultKind::Html => ExpectedEnd::Ends(|e| *e == PullError::Unavailable(Cause::WebPage(200))),
        FaultKind::Answer { .. } => ExpectedEnd::Ends(|e| {
            matches!(
                e,
                PullError::Unavailable(
                    Cause::WebPage(403) | Cause::Denied(403) | Cause::NoData(202 | 206)
                )
            )
        }),
        // An empty list or period is accepted when two answers agree.
        FaultKind::Empty => ExpectedEnd::EndsOrEmpty(
            |e| matches!(e, PullError::Malformed { why, .. } if why.contains("empty")),
        ),
        FaultKind::Shape { .. }
        | FaultKind::Cut {
            how: Cut::Clean, ..
        } => ExpectedEnd::Ends(|e| matches!(e, PullError::Malformed { .. })),
        FaultKind::Endless | FaultKind::GzipBomb => ExpectedEnd::EndsAtOnce(
            |e| matches!(e, PullError::Malformed { why, .. } if why.contains("larger")),
        ),
        FaultKind::Redirect { .. } => {
            ExpectedEnd::Ends(|e| matches!(e, PullError::Unavailable(Cause::Redirected(_))))
        }
        FaultKind::HangUp
        | FaultKind::Cut {
            how: Cut::Length | Cut::Chunked,
            ..
        } => ExpectedEnd::Ends(|e| *e == PullError::Unavailable(Cause::ConnectionCut)),
        FaultKind::Late { .. } => {
            ExpectedEnd::Ends(|e| *e == PullError::Unavailable(Cause::FirstByteTimeout))
        }
        FaultKind::Drip { .. } => {
            ExpectedEnd::Ends(|e| *e == PullError::Unavailable(Cause::TooSlow))
        }
        FaultKind::Stall { .. } => {
            ExpectedEnd::Ends(|e| *e == PullError::Unavailable(Cause::NoProgress))
        }
        FaultKind::OddRecord { .. } | FaultKind::Sunset { .. } | FaultKind::Quiet { .. } => {
            ExpectedEnd::Nothing
        }
        FaultKind::OddFrame {
            frame: Frame::TextTotal | Frame::NoPages,
        } => ExpectedEnd::Nothing,
        FaultKind::OddFrame {
            frame: Frame::NullTotal,
        } => unreachable!("it has a test of its own"),
        FaultKind::LyingTotal { .. }
        | FaultKind::Shift { .. }
        | FaultKind::Mutate { .. }
        | FaultKind::RepeatPage => ExpectedEnd::Short,
        // These change the document of LiveLeader, not of LiveChat.
        FaultKind::WrongRoot
        | FaultKind::Doctype { .. }
        | FaultKind::Deep { .. }
        | FaultKind::ManyAttributes { .. }
        | FaultKind::LongText { .. }
        | FaultKind::LargeChat { .. }
        | FaultKind::EndlessChats
        | FaultKind::SampleTimes { .. }
        | FaultKind::OddTimes
        | FaultKind::Encoding { .. }
        | FaultKind::TwoRoots
        | FaultKind::Trailing
        | FaultKind::Unknown
        | FaultKind::Overlap
        | FaultKind::Crlf
        | FaultKind::Twice
        | FaultKind::NoId
        | FaultKind::Bare
        | FaultKind::SeveralOperators
        | FaultKind::CapitalOperators
        | FaultKind::LooseText
        | FaultKind::Shuffle { .. } => ExpectedEnd::Nothing,
    }
}

/// One fault of each kind and variant.
fn faults() -> Vec<FaultKind> {
    let mut all = vec![
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(3_600),
        },
        FaultKind::Misdirected {
            region: "fra".to_owned(),
        },
        FaultKind::Html,
        FaultKind::Empty,
        FaultKind::Shape {
            body: r#"{"error":"no"}"#.to_owned(),
        },
        FaultKind::Endless,
        FaultKind::GzipBomb,
        FaultKind::Redirect {
            status: 302,
            to: "http://127.0.0.1:1/x".to_owned(),
        },
        FaultKind::HangUp,
        FaultKind::Late { ms: 5_000 },
        FaultKind::Drip {
            bytes: 1,
            every_ms: 40,
        },
        FaultKind::Stall { after: 1 },
        FaultKind::Sunset {
            legacy: Some("2027-03-01".to_owned()),
            deprecation: None,
        },
        FaultKind::LyingTotal { by: 30 },
        FaultKind::LyingTotal { by: -3 },
        FaultKind::Shift { chats: 1 },
        FaultKind::Mutate { seed: 7 },
        FaultKind::RepeatPage,
        FaultKind::Maintenance {
            retry_after: RetryAfter::Seconds(3_600),
        },
        FaultKind::Answer {
            status: 403,
            content_type: Some("text/html".to_owned()),
            body: "<html>Attention Required!</html>".to_owned(),
        },
        FaultKind::Answer {
            status: 403,
            content_type: Some("text/plain".to_owned()),
            body: "error code: 1020".to_owned(),
        },
        FaultKind::Answer {
            status: 202,
            content_type: None,
            body: r#"{"status":"processing"}"#.to_owned(),
        },
        FaultKind::Answer {
            status: 206,
            content_type: None,
            body: r#"{"chats":["#.to_owned(),
        },
        FaultKind::Quiet {
            status: 404,
            body: r#"{"error":"nothing"}"#.to_owned(),
        },
        FaultKind::OddFrame {
            frame: Frame::TextTotal,
        },
        FaultKind::OddFrame {
            frame: Frame::NoPages,
        },
    ];
    all.extend([400, 401, 403, 404, 500, 502, 503].map(|status| FaultKind::Status { status }));
    all.extend([Cut::Length, Cut::Chunked, Cut::Clean].map(|how| FaultKind::Cut { after: 1, how }));
    all.extend(
        [
            Odd::HugeFloat,
            Odd::HugeInteger,
            Odd::WrongType,
            Odd::DuplicateKey,
            Odd::LoneSurrogate,
            Odd::NoId,
        ]
        .map(|odd| FaultKind::OddRecord { odd }),
    );
    all
}

/// Pulls every report, many at a time, each with its own HTTP client.
async fn pull_all(
    vendor: &Vendor,
    limits: &Limits,
) -> Vec<(&'static Report, PulledRows, Result<(), PullError>)> {
    let pulls = REPORTS.iter().map(|report| async move {
        let upstreams = Upstreams::with(
            vec![allow("127.0.0.1")],
            vendor.clock.clone(),
            limits.clone(),
            Arc::new(SystemResolver),
        )
        .unwrap();
        let (got, done) = pull(
            &source(&upstreams, &vendor.address, "sandbox-key"),
            &pull_request(report, TODAY),
        )
        .await;
        (report, got, done)
    });
    futures_util::stream::iter(pulls)
        .buffered(12)
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_ends_every_report_with_its_own_error_or_is_retried() {
    let patient = Limits {
        first_byte: Duration::from_secs(5),
        no_progress: Duration::from_secs(5),
        attempt_timeout: Duration::from_secs(20),
        first_delay: Duration::from_micros(10),
        ..limits()
    };
    for kind in faults() {
        let vendor = Vendor::new(300, 30).await;
        vendor.fault(kind.clone());
        let fate = expected_end(&kind);
        // Only the limit that a slow fault is to meet is short: a busy machine must not meet
        // another one first.
        let limits = match kind {
            FaultKind::Late { .. } => Limits {
                first_byte: Duration::from_millis(250),
                ..patient.clone()
            },
            FaultKind::Stall { .. } => Limits {
                no_progress: Duration::from_millis(150),
                ..patient.clone()
            },
            FaultKind::Drip { .. } => Limits {
                attempt_timeout: Duration::from_millis(400),
                ..patient.clone()
            },
            _ => patient.clone(),
        };
        let lasting = Limits {
            tries: 2,
            malformed_tries: 2,
            max_bytes: 2 << 20,
            ..limits.clone()
        };
        for (report, got, done) in pull_all(&vendor, &lasting).await {
            let archive = matches!(report.shape, Shape::Archive { .. });
            match (&fate, &done) {
                (
                    ExpectedEnd::Ends(wanted)
                    | ExpectedEnd::EndsOrEmpty(wanted)
                    | ExpectedEnd::EndsAtOnce(wanted),
                    Err(error),
                ) if wanted(error) => {
                    assert!(
                        got.window_counts.is_empty(),
                        "{} {kind:?}: nothing is complete",
                        report.id
                    );
                }
                (ExpectedEnd::Nothing | ExpectedEnd::Short, Ok(())) => {
                    assert!(
                        got.window_counts.iter().all(|counts| counts.read
                            == counts.kept + counts.duplicates + counts.rejected),
                        "{} {kind:?}",
                        report.id
                    );
                    let rejected: u64 =
                        got.window_counts.iter().map(|counts| counts.rejected).sum();
                    if matches!(fate, ExpectedEnd::Nothing) && rejected == 0 {
                        assert_eq!(
                            got.rows(0) as u64,
                            truth(&vendor, report, TODAY, &pull_request(report, TODAY).menus)["count"],
                            "{} {kind:?}",
                            report.id
                        );
                    }
                    assert!(
                        rejected == 0 || matches!(kind, FaultKind::OddRecord { odd: Odd::NoId }),
                        "{} {kind:?}",
                        report.id
                    );
                }
                // A list that keeps changing may have the right number of rows by chance, and is
                // refused all the same.
                (ExpectedEnd::Short, Err(PullError::Incomplete { have, of, .. }))
                    if archive && (have != of || matches!(kind, FaultKind::Mutate { .. })) => {}
                (ExpectedEnd::EndsOrEmpty(_), Ok(())) if !archive && got.rows(0) == 0 => {}
                // An answer of two bytes arrives in time at any rate.
                (ExpectedEnd::Ends(_), Ok(()))
                    if matches!(kind, FaultKind::Drip { .. }) && got.rows(0) == 0 => {}
                _ => panic!("{} {kind:?}: {done:?}", report.id),
            }
        }
        // A wrong count is never accepted.
        if matches!(kind, FaultKind::LyingTotal { .. }) {
            let (_, done) = pull(
                &vendor.source(),
                &pull_request(
                    REPORTS.iter().find(|report| report.id == "chat").unwrap(),
                    TODAY,
                ),
            )
            .await;
            assert!(
                matches!(done, Err(PullError::Incomplete { .. })),
                "{kind:?}: {done:?}"
            );
        }
        if matches!(
            fate,
            ExpectedEnd::Ends(_) | ExpectedEnd::EndsOrEmpty(_) | ExpectedEnd::Nothing
        ) {
            once_in_lanes(&kind, &limits).await;
        }
    }
}

/// A fault that occurs once per report is retried, or has no effect. Runs in lanes with their own
/// vendors, because most of the time is waiting.
async fn once_in_lanes(kind: &FaultKind, limits: &Limits) {
    let lanes = REPORTS.chunks(6).map(|reports| {
        let (kind, limits) = (kind.clone(), limits.clone());
        tokio::spawn(async move {
            let vendor = Vendor::new(300, 30).await;
            for report in reports {
                vendor
                    .sandbox
                    .faults()
                    .set(vec![Fault::new(kind.clone()).times(1)]);
                let upstreams = Upstreams::with(
                    vec![allow("127.0.0.1")],
                    vendor.clock.clone(),
                    limits.clone(),
                    Arc::new(SystemResolver),
                )
                .unwrap();
                let (got, done) = pull(
                    &source(&upstreams, &vendor.address, "sandbox-key"),
                    &pull_request(report, TODAY),
                )
                .await;
                assert_eq!(
                    (done, got.window_counts.len()),
                    (Ok(()), 1),
                    "{} {kind:?}",
                    report.id
                );
                let (rows, count) = (
                    got.rows(0) as u64,
                    truth(&vendor, report, TODAY, &pull_request(report, TODAY).menus)["count"]
                        .as_u64()
                        .unwrap(),
                );
                // A record without an id is rejected; one that has its id in another read is kept
                // from there.
                let is_nameless = matches!(kind, FaultKind::OddRecord { odd: Odd::NoId })
                    && got.window_counts[0].rejected == 1;
                assert!(
                    rows == count || is_nameless,
                    "{} {kind:?}: {rows} of {count}",
                    report.id
                );
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}
