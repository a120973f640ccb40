//! Every fault of LiveLeader is reported with its cause.

use chatlake::connectors::PullError;
use chatlake::connectors::pull_error::Cause;
use chatlake::sandbox::faults::{Cut, Doctype, FaultKind, Label, RetryAfter};

use super::ALL;
use super::DAY;
use super::PASSWORD;
use super::compare;
use super::pull_request;
use super::sum_of_counts;
use super::truth;
use super::valid_source;
use crate::support::pulls::{ZONE, pull};
use crate::support::sandbox::Vendor;

/// What a fault does to a pull of one day.
enum ExpectedPull {
    /// The same chats as without it.
    Same,
    /// All chats, with this number of misfits in the three reports.
    Misfits(u64),
    Malformed(&'static str),
    Unavailable(Cause),
    Refused(u16),
    Limited,
}

/// A new kind of fault does not compile until its result is defined here.
fn expected_pull(kind: &FaultKind) -> ExpectedPull {
    use ExpectedPull::{Limited, Malformed, Misfits, Refused, Same, Unavailable};
    match kind {
        FaultKind::SampleTimes { .. }
        | FaultKind::Crlf
        | FaultKind::Shuffle { .. }
        | FaultKind::Overlap
        | FaultKind::Twice
        | FaultKind::Encoding { .. } => Same,
        FaultKind::Drip { .. }
        | FaultKind::Late { .. }
        | FaultKind::Sunset { .. }
        | FaultKind::Unknown
        | FaultKind::SeveralOperators
        | FaultKind::NoId
        | FaultKind::Bare => Same,
        // Faults of the pages and JSON of LiveChat do not apply.
        FaultKind::OddFrame { .. } => Same,
        // Only a day without chats is answered with 204, and this day has chats.
        FaultKind::Quiet { .. } | FaultKind::CapitalOperators | FaultKind::LooseText => Same,
        FaultKind::OddRecord { .. }
        | FaultKind::LyingTotal { .. }
        | FaultKind::Shift { .. }
        | FaultKind::Mutate { .. }
        | FaultKind::RepeatPage => Same,
        FaultKind::OddTimes => Misfits(2),
        FaultKind::Html => Unavailable(Cause::WebPage(200)),
        FaultKind::Answer {
            status: 403, body, ..
        } if body.is_empty() => Unavailable(Cause::Denied(403)),
        FaultKind::Answer {
            status: 403, body, ..
        } if body.starts_with("<html>") => Unavailable(Cause::WebPage(403)),
        FaultKind::Answer { status: 407, .. } => Unavailable(Cause::ProxyCredentials),
        FaultKind::Answer { status, .. } => Refused(*status),
        FaultKind::Maintenance { .. } => Limited,
        FaultKind::Empty => Malformed("the answer is empty"),
        FaultKind::Shape { .. } => Malformed("text instead of XML"),
        FaultKind::WrongRoot => Malformed("a <error> document instead of <chats>"),
        FaultKind::TwoRoots => Malformed("another document after </chats>"),
        FaultKind::Trailing => Malformed("text after </chats>"),
        FaultKind::Cut {
            how: Cut::Clean, ..
        } => Malformed("the document ends before </chats>"),
        FaultKind::Cut { .. } | FaultKind::HangUp => Unavailable(Cause::ConnectionCut),
        FaultKind::Stall { .. } => Unavailable(Cause::NoProgress),
        FaultKind::Status {
            status: status @ 500..,
        } => Unavailable(Cause::Status(*status)),
        FaultKind::Redirect { status, .. } => Unavailable(Cause::Redirected(*status)),
        FaultKind::Status { status } => Refused(*status),
        FaultKind::Misdirected { .. } => Refused(421),
        FaultKind::TooManyRequests { .. } => Limited,
        FaultKind::Doctype { .. } => Malformed("document type declaration"),
        FaultKind::Deep { .. } => Malformed("nested deeper than 32"),
        // A tag above the maximum size is not parsed.
        FaultKind::ManyAttributes { count } => Malformed(if *count > 100_000 {
            "a text is longer"
        } else {
            "more than 64 attributes"
        }),
        FaultKind::LongText { .. } | FaultKind::Endless => Malformed("a text is longer than 1 MiB"),
        FaultKind::LargeChat { .. } => Malformed("a chat is larger than 16 MiB"),
        FaultKind::GzipBomb => Malformed("expands too much when unpacked"),
        FaultKind::EndlessChats => unreachable!("it has a test of its own"),
    }
}

/// One fault of each kind and variant.
fn faults() -> Vec<FaultKind> {
    let mut all = vec![
        FaultKind::SampleTimes {
            zone: Some(ZONE.to_owned()),
        },
        FaultKind::Crlf,
        FaultKind::Shuffle { seed: 7 },
        FaultKind::Overlap,
        FaultKind::Twice,
        FaultKind::NoId,
        FaultKind::Bare,
        FaultKind::SeveralOperators,
        FaultKind::Unknown,
        FaultKind::Drip {
            bytes: 1_000,
            every_ms: 1,
        },
        FaultKind::Late { ms: 20 },
        FaultKind::Sunset {
            legacy: Some("2027-03-01".to_owned()),
            deprecation: None,
        },
        FaultKind::Mutate { seed: 7 },
        FaultKind::OddTimes,
        FaultKind::Html,
        FaultKind::Answer {
            status: 403,
            content_type: Some("text/html".to_owned()),
            body: "<html><title>Attention Required!</title></html>".to_owned(),
        },
        FaultKind::Answer {
            status: 403,
            content_type: None,
            body: String::new(),
        },
        FaultKind::Answer {
            status: 403,
            content_type: Some("text/plain".to_owned()),
            body: "The export is closed on Sundays.".to_owned(),
        },
        FaultKind::Answer {
            status: 407,
            content_type: Some("text/html".to_owned()),
            body: "<html>Proxy</html>".to_owned(),
        },
        FaultKind::Maintenance {
            retry_after: RetryAfter::Seconds(600),
        },
        FaultKind::CapitalOperators,
        FaultKind::LooseText,
        FaultKind::Quiet {
            status: 204,
            body: String::new(),
        },
        FaultKind::Empty,
        FaultKind::Shape {
            body: "[]".to_owned(),
        },
        FaultKind::WrongRoot,
        FaultKind::TwoRoots,
        FaultKind::Trailing,
        FaultKind::Stall { after: 3_000 },
        FaultKind::HangUp,
        FaultKind::Redirect {
            status: 302,
            to: "https://elsewhere.example/".to_owned(),
        },
        FaultKind::Misdirected {
            region: "fra".to_owned(),
        },
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(600),
        },
        FaultKind::Deep { levels: 2_000_000 },
        FaultKind::ManyAttributes { count: 800_000 },
        FaultKind::ManyAttributes { count: 1_000 },
        FaultKind::LongText { bytes: 1 << 30 },
        FaultKind::LargeChat { bytes: 1 << 30 },
        FaultKind::Endless,
        FaultKind::GzipBomb,
    ];
    all.extend(
        [
            Label::Windows1252,
            Label::Iso88591,
            Label::Utf16Le,
            Label::Utf16Be,
            Label::Utf8Bom,
        ]
        .map(|label| FaultKind::Encoding { label }),
    );
    all.extend(
        [Cut::Clean, Cut::Length, Cut::Chunked].map(|how| FaultKind::Cut { after: 3_000, how }),
    );
    all.extend([500, 503, 404, 410].map(|status| FaultKind::Status { status }));
    all.extend(
        [
            Doctype::Laughs,
            Doctype::External,
            Doctype::Quadratic,
            Doctype::Parameter,
        ]
        .map(|how| FaultKind::Doctype { how }),
    );
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_reported_with_its_cause_and_never_as_fewer_rows() {
    let vendor = Vendor::new(2_000, 60).await;
    let whole = truth(&vendor, "chats", DAY, None);
    let chats = whole["count"].as_u64().unwrap() as usize;
    assert!(chats > 10);
    for kind in faults() {
        vendor.fault(kind.clone());
        let (got, done) = pull(&valid_source(&vendor), &pull_request(&ALL, DAY)).await;
        vendor.sandbox.faults().clear();
        let seen = done
            .as_ref()
            .map_or_else(ToString::to_string, |()| String::new());
        assert!(
            !seen.contains(PASSWORD) && !seen.contains("password="),
            "{seen}"
        );
        match expected_pull(&kind) {
            ExpectedPull::Same => {
                assert_eq!(done, Ok(()), "{kind:?}");
                // This form has only hundredths of seconds, and chats that touch the day are found
                // by overlap.
                match kind {
                    FaultKind::SampleTimes { .. } => assert_eq!(got.rows(0), chats),
                    FaultKind::Overlap => assert!(got.rows(0) >= chats),
                    // Their form is not part of the expected rows.
                    FaultKind::NoId => {
                        assert_eq!(
                            (
                                got.rows(0),
                                got.set(0, "id").len(),
                                got.window_counts[0].rejected
                            ),
                            (chats - 1, chats - 1, 1)
                        );
                        assert!(got.column(1, "chat_id").iter().all(Option::is_some));
                    }
                    FaultKind::Bare => {
                        assert_eq!((got.rows(0), got.set(0, "id").len()), (chats, chats));
                        assert_eq!(
                            (got.set(1, "chat_id").len(), got.set(2, "chat_id").len()),
                            (chats - 1, chats - 1)
                        );
                        assert_eq!(
                            got.empty_parents.iter().map(Vec::len).collect::<Vec<_>>(),
                            [0, 1, 1]
                        );
                    }
                    FaultKind::CapitalOperators => assert!(
                        got.set(2, "operator")
                            .iter()
                            .all(|login| login.ends_with("@SANDBOX.TEST"))
                    ),
                    FaultKind::LooseText => {
                        // The rest of the document is unaffected, the text is as intended, and the
                        // run reports their number.
                        assert_eq!(
                            (
                                got.rows(0),
                                got.window_counts[0].repaired,
                                got.window_counts[0].misfits
                            ),
                            (chats, 8, 0)
                        );
                        let meant = " 10\u{a0}kr, café… AT&T, ?a=1&b=2 \u{fffd}\u{fffd}\u{fffd}.";
                        let texts = got.column(1, "text").into_iter().flatten();
                        assert_eq!(texts.filter(|text| text.ends_with(meant)).count(), 1);
                    }
                    FaultKind::SeveralOperators => {
                        assert!(got.rows(0) == chats && got.rows(2) >= 3 * chats)
                    }
                    FaultKind::Mutate { .. } => assert_eq!(got.rows(0), chats),
                    _ => compare(&got, &whole),
                }
                assert_eq!(
                    sum_of_counts(&got).2,
                    u64::from(kind == FaultKind::Twice),
                    "{kind:?}"
                );
            }
            ExpectedPull::Misfits(misfits) => {
                assert_eq!(
                    (done, got.rows(0), got.window_counts[0].misfits),
                    (Ok(()), chats, misfits),
                    "{kind:?}"
                );
                let kept: Vec<String> = got.column(0, "_misfit").into_iter().flatten().collect();
                assert_eq!(kept, ["{\"start\":\"the day before yesterday, 12.49\"}"]);
                assert_eq!(
                    got.column(1, "_misfit")
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>(),
                    ["{\"time\":\"32-13-2008T25:61:99\"}"]
                );
            }
            ExpectedPull::Malformed(why) => {
                assert!(
                    matches!(&done, Err(PullError::Malformed { why: seen, .. }) if seen.contains(why)),
                    "{kind:?}: {done:?}"
                );
            }
            ExpectedPull::Unavailable(cause) => {
                assert_eq!(done, Err(PullError::Unavailable(cause)), "{kind:?}")
            }
            ExpectedPull::Refused(status) => assert!(
                matches!(done, Err(PullError::Refused { status: seen, .. }) if seen == status),
                "{kind:?}: {done:?}"
            ),
            ExpectedPull::Limited => assert!(
                matches!(done, Err(PullError::RateLimited { .. })),
                "{kind:?}: {done:?}"
            ),
        }
        assert!(
            seen.is_empty() || (got.rows(0) == 0 && got.window_counts.is_empty()),
            "{kind:?}: nothing of a broken document is handed on"
        );
    }
    // No address in a document was requested.
    assert!(
        vendor
            .sandbox
            .calls()
            .iter()
            .all(|call| call.path == "/a/Srv")
    );
}
