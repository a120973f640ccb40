//! The LiveLeader connector against the sandbox: what it pulls is what there is, field by field,
//! and what goes wrong is told for what it is.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chatlake::clock::Millis;
use chatlake::connectors::pull_error::{Cause, MissingAccess};
use chatlake::connectors::report::Menu;
use chatlake::connectors::{
    self, Completeness, Connector, Menus, PullError, PullRequest, Source, Window,
};
use chatlake::sandbox::Call;
use chatlake::sandbox::faults::{Cut, Doctype, Fault, FaultKind, Label, RetryAfter};
use chatlake::sandbox::truth::TruthQuestion;
use chatlake::secret::Secret;
use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::support::pulls::{PulledRows, WEEK, ZONE, pull, request};
use crate::support::sandbox::Vendor;

const ALL: [&str; 3] = ["chats", "chat_messages", "chat_operators"];
const PASSWORD: &str = "sandbox-password";

fn source_of(vendor: &Vendor, email: &str, password: &str) -> Source {
    Source {
        connector: Connector::LiveLeader,
        fields: BTreeMap::from([("email".to_owned(), email.to_owned())]),
        secrets: BTreeMap::from([("password".to_owned(), Secret::new(password))]),
        zone: TimeZone::get(ZONE).unwrap(),
        upstream: vendor
            .upstreams()
            .for_account("", Connector::LiveLeader, Some(&vendor.address), 0)
            .unwrap(),
    }
}

fn good(vendor: &Vendor) -> Source {
    source_of(vendor, "operator@sandbox.test", PASSWORD)
}

fn pull_request(reports: &[&str], range: Window) -> PullRequest {
    let reports: Vec<_> = reports
        .iter()
        .map(|id| Connector::LiveLeader.report(id).unwrap())
        .collect();
    let windows = connectors::windows(reports[0], Some(range));
    PullRequest {
        reports,
        windows,
        ..request(&[], &[])
    }
}

fn truth(vendor: &Vendor, report: &str, range: Window, agent: Option<&str>) -> Value {
    let question = TruthQuestion {
        connector: Some("liveleader".to_owned()),
        report: report.to_owned(),
        date_from: Some(range.from),
        date_to: Some(range.to),
        timezone: Some(ZONE.to_owned()),
        agent: agent.map(str::to_owned),
        ids: 1,
        records: u8::from(report == "chats"),
        ..TruthQuestion::default()
    };
    vendor.sandbox.truth(&question).unwrap()
}

fn moment(text: &Value) -> Millis {
    text.as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond()
}

fn moments(got: &PulledRows, report: usize, name: &str) -> Vec<Option<Millis>> {
    use arrow::array::{Array, AsArray};
    let cells = got.batches[report].iter().flat_map(|batch| {
        let column = batch
            .column_by_name(name)
            .unwrap()
            .as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        (0..column.len())
            .map(|row| (!column.is_null(row)).then(|| column.value(row).div_euclid(1_000)))
            .collect::<Vec<_>>()
    });
    cells.collect()
}

/// Every field of every chat, in all three reports.
fn compare(got: &PulledRows, truth: &Value) {
    let records = truth["records"].as_array().unwrap();
    let mut by_id: BTreeMap<&str, &Value> = records
        .iter()
        .map(|record| (record["id"].as_str().unwrap(), record))
        .collect();
    assert_eq!(got.rows(0), records.len());
    let column = |name: &str| got.column(0, name);
    let (starts, stops) = (moments(got, 0, "start"), moments(got, 0, "stop"));
    let cells: BTreeMap<&str, Vec<Option<String>>> = [
        "id",
        "referrer",
        "keywords",
        "operators",
        "operator_count",
        "visitor_ip",
        "duration",
        "url",
        "message_count",
        "transcript",
        "city",
        "country",
        "organization",
        "isp",
    ]
    .into_iter()
    .map(|name| (name, column(name)))
    .collect();
    for row in 0..got.rows(0) {
        let cell = |name: &str| cells[name][row].clone();
        let record = by_id
            .remove(cell("id").unwrap().as_str())
            .expect("a chat that is there, once");
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        let operators: Vec<&str> = record["operators"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap())
            .collect();
        assert_eq!(cell("operators").unwrap(), operators.join(", "));
        assert_eq!(cell("operator_count").unwrap(), operators.len().to_string());
        for (name, is) in [
            ("referrer", "referrer"),
            ("keywords", "keywords"),
            ("visitor_ip", "visitorip"),
            ("url", "url"),
        ] {
            assert_eq!(cell(name), text(is), "{name} of {record}");
        }
        for name in ["city", "country", "organization", "isp"] {
            assert_eq!(cell(name), text(name), "{name} of {record}");
        }
        assert_eq!(cell("duration").unwrap(), record["duration"].to_string());
        assert_eq!(
            (starts[row], stops[row]),
            (
                Some(moment(&record["start"])),
                Some(moment(&record["stop"]))
            )
        );
        let seen: Vec<Value> = serde_json::from_str(&cell("transcript").unwrap()).unwrap();
        let messages = record["messages"].as_array().unwrap();
        assert_eq!(cell("message_count").unwrap(), messages.len().to_string());
        assert_eq!(seen.len(), messages.len());
        for (seen, is) in seen.iter().zip(messages) {
            assert_eq!(
                (&seen["from"], &seen["text"], moment(&seen["time"])),
                (&is["from"], &is["text"], moment(&is["time"]))
            );
        }
    }
    assert!(by_id.is_empty());
    if got.batches.len() < 3 {
        return;
    }
    let messages: HashSet<(String, String, String, String, Millis, String)> = records
        .iter()
        .flat_map(|record| {
            (1..)
                .zip(record["messages"].as_array().unwrap())
                .map(move |(position, message)| (record, position, message))
        })
        .map(|(record, position, message): (&Value, i32, &Value)| {
            let from = message["from"].as_str().unwrap();
            let sender = if from == "visitor" {
                "visitor"
            } else {
                "operator"
            };
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&record["id"]),
                position.to_string(),
                from.to_owned(),
                sender.to_owned(),
                moment(&message["time"]),
                text(&message["text"]),
            )
        })
        .collect();
    let of = |name: &str| {
        got.column(1, name)
            .into_iter()
            .map(Option::unwrap)
            .collect::<Vec<_>>()
    };
    let (ids, positions, froms, senders, texts) = (
        of("chat_id"),
        of("position"),
        of("from"),
        of("sender"),
        of("text"),
    );
    let times = moments(got, 1, "time");
    let pulled: HashSet<_> = (0..ids.len())
        .map(|row| {
            (
                ids[row].clone(),
                positions[row].clone(),
                froms[row].clone(),
                senders[row].clone(),
                times[row].unwrap(),
                texts[row].clone(),
            )
        })
        .collect();
    assert_eq!((got.rows(1), pulled), (messages.len(), messages));
    let operators: Vec<(String, String)> = records
        .iter()
        .flat_map(|record| {
            record["operators"].as_array().unwrap().iter().map(|one| {
                (
                    record["id"].as_str().unwrap().to_owned(),
                    one.as_str().unwrap().to_owned(),
                )
            })
        })
        .collect();
    let of = |name: &str| {
        got.column(2, name)
            .into_iter()
            .map(Option::unwrap)
            .collect::<Vec<_>>()
    };
    let mut pulled: Vec<(String, String)> = of("chat_id").into_iter().zip(of("operator")).collect();
    let mut seen = operators;
    pulled.sort();
    seen.sort();
    assert_eq!(pulled, seen);
}

fn added_up(got: &PulledRows) -> (u64, u64, u64, u64) {
    for counts in &got.window_counts {
        assert_eq!(
            counts.read,
            counts.kept + counts.duplicates + counts.left_out + counts.rejected,
            "{counts:?}"
        );
    }
    let sum = |of: fn(&connectors::WindowCounts) -> u64| got.window_counts.iter().map(of).sum();
    (
        sum(|t| t.read),
        sum(|t| t.kept),
        sum(|t| t.duplicates),
        sum(|t| t.left_out),
    )
}

/// Start and stop of each call.
fn periods(calls: &[Call]) -> Vec<(jiff::Timestamp, jiff::Timestamp)> {
    let at = |call: &Call, name: &str| call.argument(name).unwrap().parse().unwrap();
    calls
        .iter()
        .map(|call| (at(call, "start"), at(call, "stop")))
        .collect()
}

const MONTH: Window = Window {
    from: date(2026, 10, 15),
    to: date(2026, 11, 14),
};
const DAY: Window = Window {
    from: date(2026, 11, 12),
    to: date(2026, 11, 12),
};

#[tokio::test]
async fn every_report_is_what_the_vendor_holds_field_by_field() {
    let vendor = Vendor::new(2_000, 60).await;
    let (got, done) = pull(&good(&vendor), &pull_request(&ALL, MONTH)).await;
    assert_eq!(done, Ok(()));
    let truth = truth(&vendor, "chats", MONTH, None);
    assert!(got.rows(0) > 500, "{}", got.rows(0));
    compare(&got, &truth);
    // Each day has its line, whatever was asked for together; the days' counts are those of the
    // chats that began on them.
    assert_eq!(got.window_counts.len(), 31);
    let (read, kept, duplicates, left_out) = added_up(&got);
    assert_eq!(
        (read, kept, duplicates, left_out),
        (got.rows(0) as u64, read, 0, 0)
    );
    assert!(got.window_counts.iter().all(|counts| (
        counts.misfits,
        counts.total,
        counts.completeness
    ) == (0, None, Some(Completeness::Complete))));
    let zone = TimeZone::get(ZONE).unwrap();
    for (day, counts) in pull_request(&ALL, MONTH)
        .windows
        .iter()
        .zip(&got.window_counts)
    {
        let of_day = moments(&got, 0, "start").into_iter().flatten();
        let of_day = of_day
            .filter(|at| {
                chatlake::clock::timestamp(*at)
                    .to_zoned(zone.clone())
                    .date()
                    == day.from
            })
            .count();
        assert_eq!(counts.kept, of_day as u64, "{day}");
    }
}

#[tokio::test]
async fn periods_meet_without_a_gap_or_an_overlap_and_grow_while_they_are_small() {
    let vendor = Vendor::new(300, 60).await;
    let source = good(&vendor);
    let (_, done) = pull(&source, &pull_request(&["chats"], MONTH)).await;
    assert_eq!(done, Ok(()));
    let calls = vendor.sandbox.calls();
    let mut asked_for = periods(&calls);
    asked_for.sort();
    let zone = TimeZone::get(ZONE).unwrap();
    let midnight = |day: jiff::civil::Date| day.to_zoned(zone.clone()).unwrap().timestamp();
    assert_eq!(
        (asked_for[0].0, asked_for[asked_for.len() - 1].1),
        (midnight(MONTH.from), midnight(date(2026, 11, 15)))
    );
    assert!(
        asked_for.windows(2).all(|two| two[0].1 == two[1].0),
        "{asked_for:?}"
    );
    assert!(
        (5..=10).contains(&calls.len()),
        "{} calls for 31 days",
        calls.len()
    );
    assert_eq!(source.upstream.call_stats().calls, calls.len() as u64);
    // The plus of an offset is not a space, and the password is not in the record of the sandbox
    // either.
    assert!(calls.iter().all(|call| call.query.contains("%2B0")
        && call.query.contains("start=2026-")
        && call.query.contains("T00%3A00%3A00.000%2B0")));
    assert!(calls.iter().all(|call| !call.query.contains(PASSWORD)));
}

#[tokio::test]
async fn an_operator_filter_narrows_the_chats() {
    let vendor = Vendor::new(1_000, 30).await;
    let mut some = pull_request(&ALL, WEEK);
    some.menus.login = Some("Zofia@Sandbox.test".to_owned());
    let (got, done) = pull(&good(&vendor), &some).await;
    assert_eq!(done, Ok(()));
    compare(
        &got,
        &truth(&vendor, "chats", WEEK, Some("zofia@sandbox.test")),
    );
    let (read, kept, _, left_out) = added_up(&got);
    assert!(
        kept > 0 && left_out > 0 && read == kept + left_out,
        "{read} {kept} {left_out}"
    );
    // However the vendor writes it.
    vendor.fault(FaultKind::CapitalOperators);
    for login in ["zofia@sandbox.test", "Zofia@Sandbox.test"] {
        some.menus.login = Some(login.to_owned());
        let (capital, done) = pull(&good(&vendor), &some).await;
        assert_eq!(
            (done, capital.set(0, "id")),
            (Ok(()), got.set(0, "id")),
            "{login}"
        );
        let sample = connectors::sample(
            &good(&vendor),
            some.reports[0],
            &some.menus,
            &some.zone,
            Some(WEEK),
            50,
        )
        .await
        .unwrap();
        assert!(sample.batch.num_rows() > 0, "{login}");
    }
    vendor.sandbox.faults().clear();
    some.menus.login = Some("nobody@sandbox.test".to_owned());
    let (got, done) = pull(&good(&vendor), &some).await;
    assert_eq!((done, got.rows(0), added_up(&got).1), (Ok(()), 0, 0));
    // The columns are there all the same.
    let sample = connectors::sample(
        &good(&vendor),
        some.reports[0],
        &some.menus,
        &some.zone,
        Some(WEEK),
        50,
    )
    .await
    .unwrap();
    assert_eq!((sample.batch.num_rows(), sample.is_complete), (0, true));
    assert!(sample.batch.column_by_name("transcript").is_some());
}

/// What a fault does to a pull of one day.
enum ExpectedPull {
    /// The same chats as without it.
    Same,
    /// All chats, with so many misfits over the three reports.
    Misfits(u64),
    Malformed(&'static str),
    Unavailable(Cause),
    Refused(u16),
    Limited,
}

/// A new kind of fault does not compile until its fate is decided here.
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
        // LiveChat's pages and JSON have nothing to do with it.
        FaultKind::OddFrame { .. } => Same,
        // A day without chats is told by 204, and this one has some.
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
        // A tag that is larger than any piece may be is never looked into.
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

/// One of each kind, and of each way.
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
        let (got, done) = pull(&good(&vendor), &pull_request(&ALL, DAY)).await;
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
                // The sample's form has hundredths only, and what touches the day is told by an
                // overlap.
                match kind {
                    FaultKind::SampleTimes { .. } => assert_eq!(got.rows(0), chats),
                    FaultKind::Overlap => assert!(got.rows(0) >= chats),
                    // They are told in ways that the truth does not know of.
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
                        // The rest of the document is as good as ever, the text is as it was meant,
                        // and the run says how many there were.
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
                    added_up(&got).2,
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
    // Nothing that a document names was fetched.
    assert!(
        vendor
            .sandbox
            .calls()
            .iter()
            .all(|call| call.path == "/a/Srv")
    );
}

#[tokio::test]
async fn the_sample_form_keeps_its_hundredths_in_the_zone_of_the_account() {
    let vendor = Vendor::new(600, 30).await;
    let whole = truth(&vendor, "chats", WEEK, None);
    vendor.fault(FaultKind::SampleTimes {
        zone: Some("America/New_York".to_owned()),
    });
    let mut source = good(&vendor);
    source.zone = TimeZone::get("America/New_York").unwrap();
    let (got, done) = pull(&source, &pull_request(&["chats"], WEEK)).await;
    assert_eq!(
        (
            done,
            got.window_counts
                .iter()
                .map(|counts| counts.misfits)
                .sum::<u64>()
        ),
        (Ok(()), 0)
    );
    let seen: BTreeMap<String, Millis> = whole["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            (
                record["id"].as_str().unwrap().to_owned(),
                moment(&record["start"]),
            )
        })
        .collect();
    let pulled: BTreeMap<String, Millis> = got
        .column(0, "id")
        .into_iter()
        .flatten()
        .zip(moments(&got, 0, "start").into_iter().flatten())
        .collect();
    assert_eq!(pulled.len(), seen.len());
    assert!(pulled.iter().all(|(id, at)| *at == seen[id] / 10 * 10));
}

#[tokio::test]
async fn a_chat_in_two_windows_is_stored_once_also_after_an_interruption() {
    let vendor = Vendor::new(20_000, 20).await;
    vendor.fault(FaultKind::Overlap);
    let few = Window {
        from: date(2026, 11, 10),
        to: date(2026, 11, 14),
    };
    let (got, done) = pull(&good(&vendor), &pull_request(&ALL, few)).await;
    assert_eq!(done, Ok(()));
    let (read, kept, duplicates, _) = added_up(&got);
    assert_eq!(
        (got.rows(0), got.set(0, "id").len()),
        (kept as usize, kept as usize)
    );
    assert!(duplicates > 0 && read == kept + duplicates);
    assert_eq!(got.set(0, "id"), got.set(1, "chat_id"));
    assert_eq!(got.set(0, "id"), got.set(2, "chat_id"));
    let messages: HashSet<(String, String)> = got
        .column(1, "chat_id")
        .into_iter()
        .flatten()
        .zip(got.column(1, "position").into_iter().flatten())
        .collect();
    assert_eq!(messages.len(), got.rows(1));

    // The same in two parts: the second one begins behind a window that is there already.
    let mut second = pull_request(
        &ALL,
        Window {
            from: date(2026, 11, 12),
            ..few
        },
    );
    second.previous_window = Some(Window {
        from: date(2026, 11, 11),
        to: date(2026, 11, 11),
    });
    let (first, _) = pull(
        &good(&vendor),
        &pull_request(
            &ALL,
            Window {
                to: date(2026, 11, 11),
                ..few
            },
        ),
    )
    .await;
    let (rest, done) = pull(&good(&vendor), &second).await;
    assert_eq!(done, Ok(()));
    assert!(first.set(0, "id").is_disjoint(&rest.set(0, "id")));
    assert_eq!(first.rows(0) + rest.rows(0), got.rows(0));
}

#[tokio::test]
async fn what_nobody_knows_becomes_columns() {
    let vendor = Vendor::new(300, 30).await;
    vendor.fault(FaultKind::Unknown);
    let (got, done) = pull(&good(&vendor), &pull_request(&ALL, WEEK)).await;
    assert_eq!(done, Ok(()));
    compare(&got, &truth(&vendor, "chats", WEEK, None));
    let names: HashSet<String> = got.batches[0][0]
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    for name in [
        "lang",
        "priority",
        "rating",
        "rating_scale",
        "tag",
        "archived",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
        assert!(got.column(0, name).iter().all(Option::is_some), "{name}");
    }
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("visitor_") && name != "visitor_ip"),
        "{names:?}"
    );
    assert!(
        got.column(0, "tag")[0].as_ref().unwrap().starts_with('['),
        "what comes twice is a list"
    );
    assert!(
        got.column(1, "read")
            .iter()
            .all(|cell| cell.as_deref() == Some("true"))
    );
    assert!(
        got.column(0, "transcript")[0]
            .as_ref()
            .unwrap()
            .contains("\"read\":\"true\"")
    );
}

#[tokio::test]
async fn a_failure_costs_one_window() {
    let vendor = Vendor::new(400, 60).await;
    // What is asked for several days is never good, but their days alone are: unreadable, or not
    // there at all.
    for kind in [
        FaultKind::Shape {
            body: "nonsense".to_owned(),
        },
        FaultKind::Html,
        FaultKind::Status { status: 500 },
    ] {
        vendor.sandbox.forget_calls();
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).longer_than(1)]);
        let (got, done) = pull(&good(&vendor), &pull_request(&["chats"], MONTH)).await;
        assert_eq!((done, got.window_counts.len()), (Ok(()), 31), "{kind:?}");
        compare(&got, &truth(&vendor, "chats", MONTH, None));
        assert!(
            vendor.sandbox.calls().iter().any(|call| call.days() > 1),
            "{kind:?}: several days were asked for together"
        );
    }
    vendor.sandbox.faults().clear();
    // One that comes good at the second time is asked for twice, and nothing else is.
    vendor.sandbox.forget_calls();
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Cut {
            after: 500,
            how: Cut::Length,
        })
        .times(1),
    ]);
    let (got, done) = pull(&good(&vendor), &pull_request(&["chats"], MONTH)).await;
    assert_eq!(done, Ok(()));
    compare(&got, &truth(&vendor, "chats", MONTH, None));
    let mut asked_for = periods(&vendor.sandbox.calls());
    let calls = asked_for.len();
    asked_for.sort();
    asked_for.dedup();
    assert_eq!(calls, asked_for.len() + 1);
    // A window that stays bad ends the pull, and says which one it is; what came before it counts.
    vendor
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Empty).skip(2)]);
    let (got, done) = pull(&good(&vendor), &pull_request(&["chats"], WEEK)).await;
    assert!(done.unwrap_err().to_string().contains("(days: 2026-11-"));
    assert!(got.window_counts.len() <= 2);
}

#[tokio::test]
async fn a_period_without_content_has_no_chats_when_that_is_said_twice() {
    let answer = |status: u16| FaultKind::Answer {
        status,
        content_type: None,
        body: String::new(),
    };
    let few = Vendor::new(12, 60).await;
    few.fault(FaultKind::Quiet {
        status: 204,
        body: String::new(),
    });
    let (got, done) = pull(&good(&few), &pull_request(&ALL, MONTH)).await;
    assert_eq!((done, got.window_counts.len()), (Ok(()), 31));
    let whole = truth(&few, "chats", MONTH, None);
    assert!((1..12).contains(&whole["count"].as_u64().unwrap()));
    compare(&got, &whole);
    // Said once of a day that has some, it is asked again; and that the export is not there is no
    // answer at all.
    let vendor = Vendor::new(2_000, 60).await;
    let whole = truth(&vendor, "chats", DAY, None);
    for status in [202, 204, 206, 404] {
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(answer(status)).times(1)]);
        let (got, done) = pull(&good(&vendor), &pull_request(&ALL, DAY)).await;
        assert_eq!(done, Ok(()), "{status}");
        compare(&got, &whole);
    }
    vendor.fault(answer(404));
    let (_, done) = pull(&good(&vendor), &pull_request(&ALL, DAY)).await;
    assert_eq!(
        done,
        Err(PullError::Refused {
            status: 404,
            vendor_message: String::new()
        })
    );
}

#[tokio::test]
async fn credential_permission_and_plan_errors_are_distinguished() {
    let vendor = Vendor::new(50, 10).await;
    let check = async |email: &str, password: &str| {
        connectors::check(&source_of(&vendor, email, password)).await
    };
    assert_eq!(
        check("operator@sandbox.test", PASSWORD).await,
        Ok("data export works".to_owned())
    );
    assert_eq!(vendor.sandbox.calls_total(), 1);
    let (from, to) = periods(&vendor.sandbox.calls())[0];
    assert_eq!((to - from).total(jiff::Unit::Minute).unwrap(), 1.0);
    vendor.sandbox.forget_calls();
    assert_eq!(
        check("operator@sandbox.test", "wrong").await,
        Err(PullError::Unauthorized)
    );
    assert_eq!(
        vendor.sandbox.calls_total(),
        2,
        "the last minute is asked for once more"
    );
    assert_eq!(
        check("guest@sandbox.test", PASSWORD).await,
        Err(PullError::NotAllowed(MissingAccess::Permission))
    );
    assert_eq!(
        check("starter@sandbox.test", PASSWORD).await,
        Err(PullError::NotAllowed(MissingAccess::Plan))
    );
    vendor.fault(FaultKind::Html);
    let seen = check("operator@sandbox.test", PASSWORD)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        seen.contains("web page")
            && seen.contains("wrong email or password")
            && seen.contains("no data export in the plan"),
        "{seen}"
    );
    vendor.fault(FaultKind::Shape {
        body: "<error>Wrong password</error>".to_owned(),
    });
    let seen = check("operator@sandbox.test", PASSWORD)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        seen.contains("wrong email or password") && seen.contains("no data export in the plan"),
        "{seen}"
    );
    // Words about a login are no rejection, whoever says them; a 403 without a page is told in its
    // words.
    for (body, is) in [
        (
            "Access denied. Login id 4711",
            Some("Access denied. Login id 4711"),
        ),
        ("<div>Login blocked by the firewall</div>", None),
    ] {
        vendor.fault(FaultKind::Answer {
            status: 403,
            content_type: Some("text/plain".to_owned()),
            body: body.to_owned(),
        });
        let refused = is.map_or(PullError::Unavailable(Cause::WebPage(403)), |said| {
            PullError::Refused {
                status: 403,
                vendor_message: said.to_owned(),
            }
        });
        assert_eq!(
            check("operator@sandbox.test", PASSWORD).await,
            Err(refused),
            "{body}"
        );
    }
    // Said once, and not to the check: a tired server, not bad credentials.
    vendor
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 401 }).times(1)]);
    let (got, done) = pull(&good(&vendor), &pull_request(&["chats"], DAY)).await;
    assert_eq!(
        (done, got.rows(0) as u64),
        (
            Ok(()),
            truth(&vendor, "chats", DAY, None)["count"]
                .as_u64()
                .unwrap()
        )
    );
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Status { status: 401 }).longer_than(0),
    ]);
    let (_, done) = pull(&good(&vendor), &pull_request(&["chats"], DAY)).await;
    assert!(
        matches!(done, Err(PullError::Unavailable(Cause::Unconfirmed(_)))),
        "{done:?}"
    );
    // Nor is a firewall's page a statement about the plan, or the credentials.
    vendor.fault(FaultKind::Answer {
        status: 403,
        content_type: Some("text/html".to_owned()),
        body: "<html>Sorry, you have been blocked</html>".to_owned(),
    });
    assert_eq!(
        check("operator@sandbox.test", PASSWORD).await,
        Err(PullError::Unavailable(Cause::WebPage(403)))
    );
    assert!(
        connectors::choices(&good(&vendor), Menu::Login)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_sample_is_of_the_newest_days_that_have_any() {
    let vendor = Vendor::new(60, 10).await;
    let report = Connector::LiveLeader.report("chats").unwrap();
    let zone = TimeZone::get(ZONE).unwrap();
    let sample = async |range: Window, most: usize| {
        vendor.sandbox.forget_calls();
        connectors::sample(
            &good(&vendor),
            report,
            &Menus::default(),
            &zone,
            Some(range),
            most,
        )
        .await
        .unwrap()
    };
    let all = Window {
        from: date(2026, 10, 1),
        to: date(2026, 11, 20),
    };
    let newest = sample(all, 3).await;
    assert!((1..=3).contains(&newest.batch.num_rows()));
    assert_eq!(
        (newest.newest, newest.is_complete, newest.calls),
        (true, false, vendor.sandbox.calls_total())
    );
    let week = sample(
        Window {
            from: date(2026, 11, 11),
            to: date(2026, 11, 17),
        },
        2,
    )
    .await;
    assert_eq!(
        (week.batch.num_rows(), week.newest, week.is_complete),
        (2, true, false)
    );
    // A range that ends long after the last chat is gone back from until there are rows.
    let beyond = Window {
        from: date(2026, 11, 1),
        to: date(2027, 3, 1),
    };
    let found = sample(beyond, 500).await;
    assert!(found.batch.num_rows() > 0 && found.newest);
    let mut asked_for = periods(&vendor.sandbox.calls());
    asked_for.reverse();
    assert!(
        asked_for.len() > 3 && asked_for.windows(2).all(|two| two[0].1 == two[1].0),
        "{asked_for:?}"
    );
    // Nothing at all is said to be nothing at all.
    let none = sample(
        Window {
            from: date(2026, 1, 1),
            to: date(2026, 6, 1),
        },
        50,
    )
    .await;
    assert_eq!(
        (none.batch.num_rows(), none.is_complete, none.records),
        (0, true, 0)
    );
    // A document without an end is left when there is enough of it.
    vendor.fault(FaultKind::EndlessChats);
    let some = tokio::time::timeout(Duration::from_secs(60), sample(DAY, 50))
        .await
        .unwrap();
    assert_eq!(
        (some.batch.num_rows(), some.newest, some.is_complete),
        (50, false, false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_an_end_can_be_stopped_and_leaves_nothing_behind() {
    let vendor = Vendor::new(100, 10).await;
    vendor.fault(FaultKind::EndlessChats);
    let scratch = tempfile::tempdir().unwrap();
    let mut endless = pull_request(&ALL, DAY);
    endless.scratch = scratch.path().to_owned();
    let cancel = endless.cancel.clone();
    let source = good(&vendor);
    let pulling = async {
        let (out, mut come) = tokio::sync::mpsc::channel(4);
        let pulling = connectors::pull(&source, &endless, &out);
        tokio::pin!(pulling);
        let mut seen = 0;
        loop {
            tokio::select! {
                done = &mut pulling => break (done, seen),
                pulled = come.recv() => match pulled {
                    Some(connectors::PullEvent::Progress { read, .. }) => {
                        seen = read;
                        if read > 1_000 {
                            cancel.cancel();
                        }
                    }
                    other => panic!("nothing of it is handed on: {other:?}"),
                },
            }
        }
    };
    let (done, seen) = tokio::time::timeout(Duration::from_secs(60), pulling)
        .await
        .unwrap();
    assert!(
        done == Err(PullError::Cancelled) && seen > 1_000,
        "{done:?} {seen}"
    );
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}
