//! The connector of LiveLeader, against the sandbox.

mod errors;
mod faults;
mod preview;
mod rows;

use std::collections::{BTreeMap, HashSet};

use chatlake::clock::Millis;
use chatlake::connectors::{self, Connector, PullRequest, Source, Window};
use chatlake::sandbox::Call;
use chatlake::sandbox::truth::TruthQuestion;
use chatlake::secret::Secret;
use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::support::pulls::{PulledRows, ZONE, request};
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

fn valid_source(vendor: &Vendor) -> Source {
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

fn parse_time(text: &Value) -> Millis {
    text.as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond()
}

fn column_times(got: &PulledRows, report: usize, name: &str) -> Vec<Option<Millis>> {
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
    let (starts, stops) = (column_times(got, 0, "start"), column_times(got, 0, "stop"));
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
                Some(parse_time(&record["start"])),
                Some(parse_time(&record["stop"]))
            )
        );
        let seen: Vec<Value> = serde_json::from_str(&cell("transcript").unwrap()).unwrap();
        let messages = record["messages"].as_array().unwrap();
        assert_eq!(cell("message_count").unwrap(), messages.len().to_string());
        assert_eq!(seen.len(), messages.len());
        for (seen, is) in seen.iter().zip(messages) {
            assert_eq!(
                (&seen["from"], &seen["text"], parse_time(&seen["time"])),
                (&is["from"], &is["text"], parse_time(&is["time"]))
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
                parse_time(&message["time"]),
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
    let times = column_times(got, 1, "time");
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

fn sum_of_counts(got: &PulledRows) -> (u64, u64, u64, u64) {
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
