//! Every report of LiveChat against the sandbox: as many rows as it holds, the very values of every period, and what each fault does.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatlake::connectors::livechat::REPORTS;
use chatlake::connectors::report::{GroupBy, Menu, PeriodRows, Report, Shape};
use chatlake::connectors::upstream::{Limits, SystemNames, Upstreams};
use chatlake::connectors::{self, Menus, PullError, PullRequest, Window};
use chatlake::sandbox::faults::{Cut, Fault, Kind, RetryAfter};
use chatlake::sandbox::truth::Question;
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

fn compare(report: &Report, got: &Got, truth: &Value) {
    assert_eq!(got.rows(0) as u64, truth["count"].as_u64().unwrap(), "{}", report.id);
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
            assert!(got.tallies.iter().all(|tally| tally.misfits == 0 && tally.word() != Some("corrected")), "{}: {:?}", report.id, got.tallies);
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

#[tokio::test]
async fn every_fault_ends_every_report_as_what_it_is_or_is_waited_out() {
    let vendor = Vendor::new(300, 30).await;
    type Wanted = fn(&PullError) -> bool;
    let lasting: [(Kind, Wanted); 10] = [
        (Kind::Status { status: 401 }, |e| *e == PullError::Unauthorized),
        (Kind::Status { status: 403 }, |e| *e == PullError::Unauthorized),
        (Kind::Status { status: 400 }, |e| matches!(e, PullError::Refused { status: 400, .. })),
        (Kind::Status { status: 500 }, |e| matches!(e, PullError::Unavailable(_))),
        (Kind::TooManyRequests { retry_after: RetryAfter::Seconds(3_600) }, |e| matches!(e, PullError::RateLimited { .. })),
        (Kind::Misdirected { region: "fra".to_owned() }, |e| matches!(e, PullError::Refused { status: 421, .. })),
        (Kind::HangUp, |e| matches!(e, PullError::Unavailable(_))),
        (Kind::Cut { after: 1, how: Cut::Clean }, |e| matches!(e, PullError::Malformed { .. })),
        (Kind::Html, |e| matches!(e, PullError::Malformed { why, .. } if why.contains("web page"))),
        (Kind::Shape { body: r#"{"error":"no"}"#.to_owned() }, |e| matches!(e, PullError::Malformed { .. })),
    ];
    let quick = Limits { first_delay: std::time::Duration::from_micros(10), ..limits() };
    for (kind, wanted) in lasting {
        vendor.fault(kind.clone());
        for report in REPORTS {
            let upstreams = Upstreams::with(vec![allow("127.0.0.1")], vendor.clock.clone(), quick.clone(), Arc::new(SystemNames)).unwrap();
            let (got, done) = pull(&source(&upstreams, &vendor.address, "sandbox-key"), &asked(report, TODAY)).await;
            let error = done.expect_err(report.id);
            assert!(wanted(&error), "{} {kind:?}: {error:?}", report.id);
            assert!(got.tallies.is_empty(), "{} {kind:?}: nothing is complete", report.id);
        }
    }
    for kind in [Kind::Status { status: 503 }, Kind::HangUp, Kind::Html, Kind::Empty, Kind::Cut { after: 1, how: Cut::Length }] {
        for report in REPORTS {
            vendor.sandbox.faults().set(vec![Fault::new(kind.clone()).times(1)]);
            let (got, done) = pull(&vendor.source(), &asked(report, TODAY)).await;
            assert_eq!((done, got.tallies.len()), (Ok(()), 1), "{} {kind:?}", report.id);
        }
    }
}
