//! Every report has the rows and the values that the sandbox holds.

use std::collections::BTreeMap;

use chatlake::connectors::livechat::REPORTS;
use chatlake::connectors::report::{GroupBy, Menu, PeriodRows, Report, Shape};
use chatlake::connectors::{self, Completeness, Window};
use serde_json::Value;

use crate::support::pulls::{PulledRows, WEEK, pull, pull_request, truth};
use crate::support::sandbox::Vendor;

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

/// The values of each period, by column.
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

/// Compares the records, the items of each record, and the values of each period.
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
