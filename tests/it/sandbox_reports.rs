//! Every report of LiveChat against the sandbox: as many rows as it holds, the very values of every period, and what each fault does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chatlake::connectors::livechat::REPORTS;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::report::{GroupBy, Menu, PeriodRows, Report, Shape};
use chatlake::connectors::upstream::{Limits, SystemNames, Upstreams};
use chatlake::connectors::{self, Completeness, Menus, PullError, PullRequest, Window};
use chatlake::sandbox::faults::{Cut, Fault, Frame, Kind, Odd, RetryAfter};
use chatlake::sandbox::truth::Question;
use futures_util::StreamExt;
use serde_json::Value;

use crate::vendor::*;

/// A pull of one report for these days, with the menus it needs and no more.
fn asked(report: &'static Report, days: Window) -> PullRequest {
    let mut asked = request(&[report.id], &[]);
    asked.menus = Menus::default().check(report).unwrap();
    asked.windows = connectors::windows(report, report.takes(Menu::StartDays).then_some(days));
    asked
}

fn truth(vendor: &Vendor, report: &Report, days: Window, menus: &Menus) -> Value {
    let question = Question {
        report: report.id.to_owned(),
        date_from: Some(days.from),
        date_to: Some(days.to),
        timezone: Some(ZONE.to_owned()),
        group: menus.group.as_ref().map(|group| group.parse().unwrap()),
        agent: menus.login.clone(),
        tag: menus.tag.clone(),
        group_by: menus.group_by.filter(|by| *by != GroupBy::Automatic).map(|by| by.word().to_owned()),
        weekday: menus.weekday.map(|day| day.word().to_owned()),
        include_pending: u8::from(menus.include_pending == Some(true)),
        ids: 1,
        ..Question::default()
    };
    vendor.sandbox.truth(&question).unwrap_or_else(|why| panic!("{}: {why}", report.id))
}

/// Numbers by path joined by `_`; nulls left out.
fn flat(path: &str, value: &Value, into: &mut BTreeMap<String, f64>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| flat(&if path.is_empty() { name.clone() } else { format!("{path}_{name}") }, value, into))
        }
        Value::Number(number) => drop(into.insert(path.to_owned(), number.as_f64().unwrap())),
        _ => {}
    }
}

/// What the rows of each period tell, by column.
fn periods(got: &Got, names: &[&str]) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut periods: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    let currency = got.column(0, "currency");
    for (row, period) in got.column(0, "period").into_iter().enumerate() {
        let values = periods.entry(period.unwrap()).or_default();
        for name in names {
            let prefix = currency[row].as_ref().filter(|_| *name != "goals").map_or_else(String::new, |currency| format!("value_{currency}_"));
            let value = got.column(0, name)[row].as_ref().map(|text| text.parse().unwrap());
            values.extend(value.map(|value| (format!("{prefix}{name}"), value)));
        }
    }
    periods
}

/// The very records, the very items of each, the very values of each period.
fn compare(report: &Report, got: &Got, truth: &Value) {
    assert_eq!(got.rows(0) as u64, truth["count"].as_u64().unwrap(), "{}", report.id);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(rows) = truth["rows"].as_object().filter(|_| report.id != "visitors") {
        let mut pulled: BTreeMap<String, u64> = BTreeMap::new();
        for parent in got.column(0, report.key[0]).into_iter().flatten() {
            *pulled.entry(parent).or_default() += 1;
        }
        let told: BTreeMap<String, u64> = rows.iter().map(|(id, rows)| (id.clone(), rows.as_u64().unwrap())).filter(|(_, rows)| *rows > 0).collect();
        assert_eq!(pulled, told, "{}", report.id);
    } else if let Some(ids) = truth["ids"].as_array().filter(|ids| ids.iter().all(|id| !id.is_null())) {
        let (mut pulled, mut told): (Vec<String>, Vec<String>) = (got.column(0, report.key[0]).into_iter().flatten().collect(), ids.iter().map(text).collect());
        pulled.sort();
        told.sort();
        assert_eq!(pulled, told, "{}", report.id);
    }
    if report.id.ends_with("ranking_report") {
        let column = |name: &str| got.column(0, name).into_iter().map(Option::unwrap).collect::<Vec<_>>();
        let rated = column("good").into_iter().zip(column("bad")).map(|(good, bad)| serde_json::from_str(&format!("[{good},{bad}]")).unwrap());
        let pulled: serde_json::Map<String, Value> = column("name").into_iter().zip(rated).collect();
        assert_eq!(Value::Object(pulled), truth["periods"], "{}", report.id);
    }
    let Shape::Periods(rows) = report.shape else { return };
    let only = report.columns.last().filter(|_| report.columns.len() == 5 || report.id.starts_with("simultaneous")).map(|column| column.name);
    for (period, told) in truth["periods"].as_object().unwrap() {
        let mut wanted = BTreeMap::new();
        flat(if told.is_number() { only.unwrap() } else { "" }, told, &mut wanted);
        let names: Vec<&str> = report.columns[2..].iter().map(|column| column.name).filter(|name| !matches!(*name, "begin" | "end" | "currency")).collect();
        let all = periods(got, &names);
        let pulled = all.get(period).unwrap_or_else(|| panic!("{} has no {period}", report.id));
        for (name, value) in &wanted {
            assert_eq!(pulled.get(name), Some(value), "{} {period} {name}", report.id);
        }
        if rows == PeriodRows::HoursAndMinutes {
            assert!((pulled["hours"] * 60.0 - pulled["minutes"]).abs() < 1e-9, "{} {period}", report.id);
        }
    }
}

#[tokio::test]
async fn every_report_is_what_the_sandbox_holds() {
    let vendor = Vendor::new(1_000, 30).await;
    let day = Window { from: WEEK.from, to: WEEK.from };
    for report in REPORTS {
        for days in [WEEK, day] {
            if days == day && !report.takes(Menu::StartDays) {
                continue;
            }
            let asked = asked(report, days);
            let (got, done) = pull(&vendor.source(), &asked).await;
            assert_eq!(done, Ok(()), "{}", report.id);
            assert!(
                got.tallies.iter().all(|tally| tally.misfits == 0 && tally.completeness != Some(Completeness::Corrected)),
                "{}: {:?}",
                report.id,
                got.tallies
            );
            compare(report, &got, &truth(&vendor, report, days, &asked.menus));
            assert!(got.rows(0) > 0 || days == day, "{}: the sandbox has nothing to show", report.id);
        }
    }
}

#[tokio::test]
async fn every_menu_narrows_what_comes() {
    let vendor = Vendor::new(400, 30).await;
    let agents = connectors::choices(&vendor.source(), Menu::Login).await.unwrap();
    let tags = connectors::choices(&vendor.source(), Menu::Tag).await.unwrap();
    for report in REPORTS {
        for taken in report.menus {
            let mut asked = asked(report, WEEK);
            match taken.menu {
                Menu::Group => asked.menus.group = Some("1".to_owned()),
                Menu::Login => asked.menus.login = Some(agents[1].value.clone()),
                Menu::Tag => asked.menus.tag = Some(tags[0].value.clone()),
                Menu::GroupBy => asked.menus.group_by = Some(GroupBy::Month),
                Menu::IncludePending => asked.menus.include_pending = Some(true),
                Menu::AgentDetails => asked.menus.agent_details = Some(true),
                Menu::Weekday | Menu::StartDays | Menu::EndDays => continue,
            }
            let (got, done) = pull(&vendor.source(), &asked).await;
            assert_eq!(done, Ok(()), "{} by {}", report.id, taken.menu.id());
            compare(report, &got, &truth(&vendor, report, WEEK, &asked.menus));
        }
    }
}

/// What becomes of a pull that meets a fault at every call.
enum Fate {
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
fn fate(kind: &Kind) -> Fate {
    match kind {
        Kind::Status { status: 401 } => Fate::Ends(|e| *e == PullError::Unauthorized),
        Kind::Status { status: 400 | 403 } => Fate::EndsAtOnce(|e| matches!(e, PullError::Refused { status: 400 | 403, .. })),
        Kind::Status { status: 404 } => Fate::Ends(|e| matches!(e, PullError::Refused { status: 404, .. })),
        Kind::Status { .. } => Fate::Ends(|e| matches!(e, PullError::Unavailable(Cause::Status(_)))),
        // A long one; a short one is waited out.
        Kind::TooManyRequests { .. } => Fate::EndsAtOnce(|e| matches!(e, PullError::RateLimited { .. })),
        Kind::Misdirected { .. } => Fate::Ends(|e| matches!(e, PullError::Refused { status: 421, .. })),
        Kind::Maintenance { .. } => Fate::EndsAtOnce(|e| matches!(e, PullError::RateLimited { .. })),
        Kind::Html => Fate::Ends(|e| *e == PullError::Unavailable(Cause::WebPage(200))),
        Kind::Answer { .. } => Fate::Ends(|e| matches!(e, PullError::Unavailable(Cause::WebPage(403) | Cause::Denied(403) | Cause::NoData(202 | 206)))),
        // That a list or a report of a period holds nothing is believed when it is said twice.
        Kind::Empty => Fate::EndsOrEmpty(|e| matches!(e, PullError::Malformed { why, .. } if why.contains("empty"))),
        Kind::Shape { .. } | Kind::Cut { how: Cut::Clean, .. } => Fate::Ends(|e| matches!(e, PullError::Malformed { .. })),
        Kind::Endless | Kind::GzipBomb => Fate::EndsAtOnce(|e| matches!(e, PullError::Malformed { why, .. } if why.contains("larger"))),
        Kind::Redirect { .. } => Fate::Ends(|e| matches!(e, PullError::Unavailable(Cause::Redirected(_)))),
        Kind::HangUp | Kind::Cut { how: Cut::Length | Cut::Chunked, .. } => Fate::Ends(|e| *e == PullError::Unavailable(Cause::ConnectionCut)),
        Kind::Late { .. } => Fate::Ends(|e| *e == PullError::Unavailable(Cause::FirstByteTimeout)),
        Kind::Drip { .. } => Fate::Ends(|e| *e == PullError::Unavailable(Cause::TooSlow)),
        Kind::Stall { .. } => Fate::Ends(|e| *e == PullError::Unavailable(Cause::NoProgress)),
        Kind::OddRecord { .. } | Kind::Sunset { .. } | Kind::Quiet { .. } => Fate::Nothing,
        Kind::OddFrame { frame: Frame::TextTotal | Frame::NoPages } => Fate::Nothing,
        Kind::OddFrame { frame: Frame::NullTotal } => unreachable!("it has a test of its own"),
        Kind::LyingTotal { .. } | Kind::Shift { .. } | Kind::Mutate { .. } | Kind::RepeatPage => Fate::Short,
        // These are about LiveLeader's document, and touch nothing of LiveChat's.
        Kind::WrongRoot
        | Kind::Doctype { .. }
        | Kind::Deep { .. }
        | Kind::ManyAttributes { .. }
        | Kind::LongText { .. }
        | Kind::LargeChat { .. }
        | Kind::EndlessChats
        | Kind::SampleTimes { .. }
        | Kind::OddTimes
        | Kind::Encoding { .. }
        | Kind::TwoRoots
        | Kind::Trailing
        | Kind::Unknown
        | Kind::Overlap
        | Kind::Crlf
        | Kind::Twice
        | Kind::NoId
        | Kind::Bare
        | Kind::SeveralOperators
        | Kind::CapitalOperators
        | Kind::LooseText
        | Kind::Shuffle { .. } => Fate::Nothing,
    }
}

/// One of each kind, and of each way.
fn faults() -> Vec<Kind> {
    let mut all = vec![
        Kind::TooManyRequests { retry_after: RetryAfter::Seconds(3_600) },
        Kind::Misdirected { region: "fra".to_owned() },
        Kind::Html,
        Kind::Empty,
        Kind::Shape { body: r#"{"error":"no"}"#.to_owned() },
        Kind::Endless,
        Kind::GzipBomb,
        Kind::Redirect { status: 302, to: "http://127.0.0.1:1/x".to_owned() },
        Kind::HangUp,
        Kind::Late { ms: 5_000 },
        Kind::Drip { bytes: 1, every_ms: 40 },
        Kind::Stall { after: 1 },
        Kind::Sunset { legacy: Some("2027-03-01".to_owned()), deprecation: None },
        Kind::LyingTotal { by: 30 },
        Kind::LyingTotal { by: -3 },
        Kind::Shift { chats: 1 },
        Kind::Mutate { seed: 7 },
        Kind::RepeatPage,
        Kind::Maintenance { retry_after: RetryAfter::Seconds(3_600) },
        Kind::Answer { status: 403, content_type: Some("text/html".to_owned()), body: "<html>Attention Required!</html>".to_owned() },
        Kind::Answer { status: 403, content_type: Some("text/plain".to_owned()), body: "error code: 1020".to_owned() },
        Kind::Answer { status: 202, content_type: None, body: r#"{"status":"processing"}"#.to_owned() },
        Kind::Answer { status: 206, content_type: None, body: r#"{"chats":["#.to_owned() },
        Kind::Quiet { status: 404, body: r#"{"error":"nothing"}"#.to_owned() },
        Kind::OddFrame { frame: Frame::TextTotal },
        Kind::OddFrame { frame: Frame::NoPages },
    ];
    all.extend([400, 401, 403, 404, 500, 502, 503].map(|status| Kind::Status { status }));
    all.extend([Cut::Length, Cut::Chunked, Cut::Clean].map(|how| Kind::Cut { after: 1, how }));
    all.extend([Odd::HugeFloat, Odd::HugeInteger, Odd::WrongType, Odd::DuplicateKey, Odd::LoneSurrogate, Odd::NoId].map(|odd| Kind::OddRecord { odd }));
    all
}

/// Pulls every report, many at a time, each with a way out of its own.
async fn pull_all(vendor: &Vendor, limits: &Limits) -> Vec<(&'static Report, Got, Result<(), PullError>)> {
    let pulls = REPORTS.iter().map(|report| async move {
        let upstreams = Upstreams::with(vec![allow("127.0.0.1")], vendor.clock.clone(), limits.clone(), Arc::new(SystemNames)).unwrap();
        let (got, done) = pull(&source(&upstreams, &vendor.address, "sandbox-key"), &asked(report, TODAY)).await;
        (report, got, done)
    });
    futures_util::stream::iter(pulls).buffered(12).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_ends_every_report_as_what_it_is_or_is_waited_out() {
    let patient = Limits {
        first_byte: Duration::from_secs(5),
        no_progress: Duration::from_secs(5),
        whole: Duration::from_secs(20),
        first_delay: Duration::from_micros(10),
        ..limits()
    };
    for kind in faults() {
        let vendor = Vendor::new(300, 30).await;
        vendor.fault(kind.clone());
        let fate = fate(&kind);
        // Only the limit that a slow fault is to meet is short: a busy machine must not meet another one first.
        let limits = match kind {
            Kind::Late { .. } => Limits { first_byte: Duration::from_millis(250), ..patient.clone() },
            Kind::Stall { .. } => Limits { no_progress: Duration::from_millis(150), ..patient.clone() },
            Kind::Drip { .. } => Limits { whole: Duration::from_millis(400), ..patient.clone() },
            _ => patient.clone(),
        };
        let lasting = Limits { tries: 2, malformed_tries: 2, most_bytes: 2 << 20, ..limits.clone() };
        for (report, got, done) in pull_all(&vendor, &lasting).await {
            let archive = matches!(report.shape, Shape::Archive { .. });
            match (&fate, &done) {
                (Fate::Ends(wanted) | Fate::EndsOrEmpty(wanted) | Fate::EndsAtOnce(wanted), Err(error)) if wanted(error) => {
                    assert!(got.tallies.is_empty(), "{} {kind:?}: nothing is complete", report.id);
                }
                (Fate::Nothing | Fate::Short, Ok(())) => {
                    assert!(got.tallies.iter().all(|tally| tally.read == tally.kept + tally.duplicates + tally.rejected), "{} {kind:?}", report.id);
                    let rejected: u64 = got.tallies.iter().map(|tally| tally.rejected).sum();
                    if matches!(fate, Fate::Nothing) && rejected == 0 {
                        assert_eq!(got.rows(0) as u64, truth(&vendor, report, TODAY, &asked(report, TODAY).menus)["count"], "{} {kind:?}", report.id);
                    }
                    assert!(rejected == 0 || matches!(kind, Kind::OddRecord { odd: Odd::NoId }), "{} {kind:?}", report.id);
                }
                // One that keeps changing may come to the very number, and is not believed all the same.
                (Fate::Short, Err(PullError::Incomplete { have, of, .. })) if archive && (have != of || matches!(kind, Kind::Mutate { .. })) => {}
                (Fate::EndsOrEmpty(_), Ok(())) if !archive && got.rows(0) == 0 => {}
                // An answer of two bytes is soon there, however slowly they come.
                (Fate::Ends(_), Ok(())) if matches!(kind, Kind::Drip { .. }) && got.rows(0) == 0 => {}
                _ => panic!("{} {kind:?}: {done:?}", report.id),
            }
        }
        // A lie about the count is never taken for the truth.
        if matches!(kind, Kind::LyingTotal { .. }) {
            let (_, done) = pull(&vendor.source(), &asked(REPORTS.iter().find(|report| report.id == "chat").unwrap(), TODAY)).await;
            assert!(matches!(done, Err(PullError::Incomplete { .. })), "{kind:?}: {done:?}");
        }
        if matches!(fate, Fate::Ends(_) | Fate::EndsOrEmpty(_) | Fate::Nothing) {
            once_in_lanes(&kind, &limits).await;
        }
    }
}

/// A fault that strikes each report once is waited out, or does no harm. In lanes with vendors of their own: most of the time goes by
/// waiting.
async fn once_in_lanes(kind: &Kind, limits: &Limits) {
    let lanes = REPORTS.chunks(6).map(|reports| {
        let (kind, limits) = (kind.clone(), limits.clone());
        tokio::spawn(async move {
            let vendor = Vendor::new(300, 30).await;
            for report in reports {
                vendor.sandbox.faults().set(vec![Fault::new(kind.clone()).times(1)]);
                let upstreams = Upstreams::with(vec![allow("127.0.0.1")], vendor.clock.clone(), limits.clone(), Arc::new(SystemNames)).unwrap();
                let (got, done) = pull(&source(&upstreams, &vendor.address, "sandbox-key"), &asked(report, TODAY)).await;
                assert_eq!((done, got.tallies.len()), (Ok(()), 1), "{} {kind:?}", report.id);
                let (rows, count) = (got.rows(0) as u64, truth(&vendor, report, TODAY, &asked(report, TODAY).menus)["count"].as_u64().unwrap());
                // A record without an id is rejected; one that has its id in another read is kept from there.
                let is_nameless = matches!(kind, Kind::OddRecord { odd: Odd::NoId }) && got.tallies[0].rejected == 1;
                assert!(rows == count || is_nameless, "{} {kind:?}: {rows} of {count}", report.id);
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}
