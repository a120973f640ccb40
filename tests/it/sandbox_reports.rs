//! Every report of LiveChat against the sandbox: as many rows as it holds, the very values of every
//! period, and what each fault does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chatlake::connectors::livechat::REPORTS;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::report::{GroupBy, Menu, PeriodRows, Report, Shape};
use chatlake::connectors::upstream::{Limits, SystemResolver, Upstreams};
use chatlake::connectors::{self, Completeness, Menus, PullError, PullRequest, Window};
use chatlake::sandbox::faults::{Cut, Fault, FaultKind, Frame, Odd, RetryAfter};
use chatlake::sandbox::truth::TruthQuestion;
use futures_util::StreamExt;
use serde_json::Value;

use crate::support::pulls::{PulledRows, TODAY, WEEK, ZONE, pull, request};
use crate::support::sandbox::{Vendor, allow, limits, source};

/// A pull of one report for these days, with the menus it needs and no more.
fn pull_request(report: &'static Report, days: Window) -> PullRequest {
    let mut pull_req = request(&[report.id], &[]);
    pull_req.menus = Menus::default().check(report).unwrap();
    pull_req.windows = connectors::windows(report, report.takes(Menu::StartDays).then_some(days));
    pull_req
}

fn truth(vendor: &Vendor, report: &Report, days: Window, menus: &Menus) -> Value {
    let question = TruthQuestion {
        report: report.id.to_owned(),
        date_from: Some(days.from),
        date_to: Some(days.to),
        timezone: Some(ZONE.to_owned()),
        group: menus.group.as_ref().map(|group| group.parse().unwrap()),
        agent: menus.login.clone(),
        tag: menus.tag.clone(),
        group_by: menus
            .group_by
            .filter(|by| *by != GroupBy::Automatic)
            .map(|by| by.word().to_owned()),
        weekday: menus.weekday.map(|day| day.word().to_owned()),
        include_pending: u8::from(menus.include_pending == Some(true)),
        ids: 1,
        ..TruthQuestion::default()
    };
    vendor
        .sandbox
        .truth(&question)
        .unwrap_or_else(|why| panic!("{}: {why}", report.id))
}

/// Numbers by path joined by `_`; nulls left out.
fn flat(path: &str, value: &Value, into: &mut BTreeMap<String, f64>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            flat(
                &if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}_{name}")
                },
                value,
                into,
            )
        }),
        Value::Number(number) => drop(into.insert(path.to_owned(), number.as_f64().unwrap())),
        _ => {}
    }
}

/// What the rows of each period tell, by column.
fn periods(got: &PulledRows, names: &[&str]) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut periods: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    let currency = got.column(0, "currency");
    for (row, period) in got.column(0, "period").into_iter().enumerate() {
        let values = periods.entry(period.unwrap()).or_default();
        for name in names {
            let prefix = currency[row]
                .as_ref()
                .filter(|_| *name != "goals")
                .map_or_else(String::new, |currency| format!("value_{currency}_"));
            let value = got.column(0, name)[row]
                .as_ref()
                .map(|text| text.parse().unwrap());
            values.extend(value.map(|value| (format!("{prefix}{name}"), value)));
        }
    }
    periods
}

/// The very records, the very items of each, the very values of each period.
fn compare(report: &Report, got: &PulledRows, truth: &Value) {
    assert_eq!(
        got.rows(0) as u64,
        truth["count"].as_u64().unwrap(),
        "{}",
        report.id
    );
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    if let Some(rows) = truth["rows"]
        .as_object()
        .filter(|_| report.id != "visitors")
    {
        let mut pulled: BTreeMap<String, u64> = BTreeMap::new();
        for parent in got.column(0, report.key[0]).into_iter().flatten() {
            *pulled.entry(parent).or_default() += 1;
        }
        let expected: BTreeMap<String, u64> = rows
            .iter()
            .map(|(id, rows)| (id.clone(), rows.as_u64().unwrap()))
            .filter(|(_, rows)| *rows > 0)
            .collect();
        assert_eq!(pulled, expected, "{}", report.id);
    } else if let Some(ids) = truth["ids"]
        .as_array()
        .filter(|ids| ids.iter().all(|id| !id.is_null()))
    {
        let (mut pulled, mut expected): (Vec<String>, Vec<String>) = (
            got.column(0, report.key[0]).into_iter().flatten().collect(),
            ids.iter().map(text).collect(),
        );
        pulled.sort();
        expected.sort();
        assert_eq!(pulled, expected, "{}", report.id);
    }
    if report.id.ends_with("ranking_report") {
        let column = |name: &str| {
            got.column(0, name)
                .into_iter()
                .map(Option::unwrap)
                .collect::<Vec<_>>()
        };
        let rated = column("good")
            .into_iter()
            .zip(column("bad"))
            .map(|(good, bad)| serde_json::from_str(&format!("[{good},{bad}]")).unwrap());
        let pulled: serde_json::Map<String, Value> =
            column("name").into_iter().zip(rated).collect();
        assert_eq!(Value::Object(pulled), truth["periods"], "{}", report.id);
    }
    let Shape::Periods(rows) = report.shape else {
        return;
    };
    let only = report
        .columns
        .last()
        .filter(|_| report.columns.len() == 5 || report.id.starts_with("simultaneous"))
        .map(|column| column.name);
    for (period, expected) in truth["periods"].as_object().unwrap() {
        let mut wanted = BTreeMap::new();
        flat(
            if expected.is_number() {
                only.unwrap()
            } else {
                ""
            },
            expected,
            &mut wanted,
        );
        let names: Vec<&str> = report.columns[2..]
            .iter()
            .map(|column| column.name)
            .filter(|name| !matches!(*name, "begin" | "end" | "currency"))
            .collect();
        let all = periods(got, &names);
        let pulled = all
            .get(period)
            .unwrap_or_else(|| panic!("{} has no {period}", report.id));
        for (name, value) in &wanted {
            assert_eq!(
                pulled.get(name),
                Some(value),
                "{} {period} {name}",
                report.id
            );
        }
        if rows == PeriodRows::HoursAndMinutes {
            assert!(
                (pulled["hours"] * 60.0 - pulled["minutes"]).abs() < 1e-9,
                "{} {period}",
                report.id
            );
        }
    }
}

#[tokio::test]
async fn every_report_is_what_the_sandbox_holds() {
    let vendor = Vendor::new(1_000, 30).await;
    let day = Window {
        from: WEEK.from,
        to: WEEK.from,
    };
    for report in REPORTS {
        for days in [WEEK, day] {
            if days == day && !report.takes(Menu::StartDays) {
                continue;
            }
            let pull_req = pull_request(report, days);
            let (got, done) = pull(&vendor.source(), &pull_req).await;
            assert_eq!(done, Ok(()), "{}", report.id);
            assert!(
                got.window_counts.iter().all(|counts| counts.misfits == 0
                    && counts.completeness != Some(Completeness::Corrected)),
                "{}: {:?}",
                report.id,
                got.window_counts
            );
            compare(report, &got, &truth(&vendor, report, days, &pull_req.menus));
            assert!(
                got.rows(0) > 0 || days == day,
                "{}: the sandbox has nothing to show",
                report.id
            );
        }
    }
}

#[tokio::test]
async fn every_menu_narrows_the_rows() {
    let vendor = Vendor::new(400, 30).await;
    let agents = connectors::choices(&vendor.source(), Menu::Login)
        .await
        .unwrap();
    let tags = connectors::choices(&vendor.source(), Menu::Tag)
        .await
        .unwrap();
    for report in REPORTS {
        for taken in report.menus {
            let mut pull_req = pull_request(report, WEEK);
            match taken.menu {
                Menu::Group => pull_req.menus.group = Some("1".to_owned()),
                Menu::Login => pull_req.menus.login = Some(agents[1].value.clone()),
                Menu::Tag => pull_req.menus.tag = Some(tags[0].value.clone()),
                Menu::GroupBy => pull_req.menus.group_by = Some(GroupBy::Month),
                Menu::IncludePending => pull_req.menus.include_pending = Some(true),
                Menu::AgentDetails => pull_req.menus.agent_details = Some(true),
                Menu::Weekday | Menu::StartDays | Menu::EndDays => continue,
            }
            let (got, done) = pull(&vendor.source(), &pull_req).await;
            assert_eq!(done, Ok(()), "{} by {}", report.id, taken.menu.id());
            compare(report, &got, &truth(&vendor, report, WEEK, &pull_req.menus));
        }
    }
}

/// What becomes of a pull that meets a fault at every call.
enum ExpectedEnd {
    /// It ends so; of a fault that strikes once, every row is there in the end.
    Ends(fn(&PullError) -> bool),
    /// As `Ends`; what has no days, or no total that proves it, may be empty instead.
    EndsOrEmpty(fn(&PullError) -> bool),
    /// It ends so, at the first time already.
    EndsAtOnce(fn(&PullError) -> bool),
    /// Nothing: every row is there.
    Nothing,
    /// An archive stays short and ends so, or is whole; nothing else is touched.
    Short,
}

/// A new kind of fault does not compile until its fate is decided here.
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
        // A long one; a short one is waited out.
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
        // That a list or a report of a period holds nothing is believed when it is said twice.
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
        // These are about LiveLeader's document, and touch nothing of LiveChat's.
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

/// One of each kind, and of each way.
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

/// Pulls every report, many at a time, each with a way out of its own.
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
async fn every_fault_ends_every_report_as_what_it_is_or_is_waited_out() {
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
                // One that keeps changing may come to the very number, and is not believed all the
                // same.
                (ExpectedEnd::Short, Err(PullError::Incomplete { have, of, .. }))
                    if archive && (have != of || matches!(kind, FaultKind::Mutate { .. })) => {}
                (ExpectedEnd::EndsOrEmpty(_), Ok(())) if !archive && got.rows(0) == 0 => {}
                // An answer of two bytes is soon there, however slowly they come.
                (ExpectedEnd::Ends(_), Ok(()))
                    if matches!(kind, FaultKind::Drip { .. }) && got.rows(0) == 0 => {}
                _ => panic!("{} {kind:?}: {done:?}", report.id),
            }
        }
        // A lie about the count is never taken for the truth.
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

/// A fault that strikes each report once is waited out, or does no harm. In lanes with vendors of
/// their own: most of the time goes by waiting.
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
