//! Every report of LiveChat, from a vendor that answers from a file: its rows, what becomes of an
//! empty answer, of missing fields, of fields that nobody knows and of values of other types. A
//! report without an answer in the file fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chatlake::clock::Clock;
use chatlake::connectors::report::{GroupBy, Menu, RecordRows, Report, Shape, Weekday};
use chatlake::connectors::upstream::{SystemResolver, Upstreams};
use chatlake::connectors::{Connector, Menus, PullRequest, Source, Window};
use jiff::civil::date;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::support::NOON;
use crate::support::pulls::{PulledRows, WEEK, pull, request, shown};
use crate::support::sandbox::{allow, limits, source};

const FILE: &str = include_str!("../fixtures/livechat.json");
const REPORTS: &[Report] = chatlake::connectors::livechat::REPORTS;

type Answers = BTreeMap<String, Value>;

fn answers() -> Answers {
    serde_json::from_str(FILE).unwrap()
}

/// A vendor that answers each path with one body, whatever else is asked.
struct Scripted {
    answers: Arc<Mutex<Answers>>,
    /// Path and query of every call.
    requests: Arc<Mutex<Vec<String>>>,
    source: Source,
}

impl Scripted {
    async fn new(answers: Answers) -> Self {
        let (answers, requests) = (
            Arc::new(Mutex::new(answers)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let (thread_answers, thread_requests) = (answers.clone(), requests.clone());
        let answer = move |request: Request| {
            let path = request.uri().path().replace("%40", "@");
            thread_requests.lock().unwrap().push(format!(
                "{path}?{}",
                request.uri().query().unwrap_or_default()
            ));
            let body: Option<Value> = thread_answers.lock().unwrap().get(&path).cloned();
            async move {
                body.map_or_else(
                    || StatusCode::NOT_FOUND.into_response(),
                    |body| -> Response { axum::Json(body).into_response() },
                )
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(answer)).await },
        );
        let upstreams = Upstreams::with(
            vec![allow("127.0.0.1")],
            Clock::stopped_at(NOON),
            limits(),
            Arc::new(SystemResolver),
        )
        .unwrap();
        Self {
            answers,
            requests,
            source: source(&upstreams, &address, "k"),
        }
    }

    fn take_requests(&self) -> Vec<String> {
        let mut pull_req = std::mem::take(&mut *self.requests.lock().unwrap());
        pull_req.sort();
        pull_req
    }
}

/// A pull of one report for a week, with the menus it needs and no more.
fn pull_request(report: &'static Report) -> PullRequest {
    let mut pull_req = request(&[report.id], &[]);
    pull_req.menus = Menus::default().check(report).unwrap();
    if report.takes(Menu::StartDays) {
        pull_req.windows = vec![WEEK];
    }
    pull_req
}

/// Rows as `column=value` lines, nulls left out.
fn formatted_rows(got: &PulledRows) -> String {
    let mut text = String::new();
    for batch in &got.batches[0] {
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let cells = schema
                .fields()
                .iter()
                .zip(batch.columns())
                .filter(|(_, array)| !array.is_null(row));
            let cells: Vec<String> = cells
                .map(|(field, array)| format!("{}={}", field.name(), shown(array, row)))
                .collect();
            writeln!(text, "  {}", cells.join(" | ")).unwrap();
        }
    }
    text
}

#[tokio::test]
async fn every_report_gives_its_golden_rows() {
    let vendor = Scripted::new(answers()).await;
    let mut text = String::new();
    for report in REPORTS {
        let (got, done) = pull(&vendor.source, &pull_request(report)).await;
        assert_eq!(done, Ok(()), "{}: {:?}", report.id, vendor.take_requests());
        assert!(got.rows(0) > 0, "{} has no case in the file", report.id);
        let counts = got.window_counts[0];
        assert_eq!(
            counts.read,
            counts.kept + counts.duplicates,
            "{}",
            report.id
        );
        assert_ne!(counts.verified(), Some(false), "{}", report.id);
        writeln!(
            text,
            "{} from {}\n{}",
            report.title,
            vendor.take_requests().join(", "),
            formatted_rows(&got)
        )
        .unwrap();
        let declared = got.batches[0][0].schema();
        let columns: Vec<&str> = declared
            .fields()
            .iter()
            .take(report.columns.len())
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(
            columns,
            report
                .columns
                .iter()
                .map(|column| column.name)
                .collect::<Vec<_>>(),
            "{}",
            report.id
        );
    }
    insta::assert_snapshot!("golden_rows", text);
}

/// What is in place of records: elements of a list, values of periods, or the one object.
fn records<'a>(report: &Report, body: &'a mut Value) -> Vec<&'a mut Value> {
    match report.shape {
        Shape::List { under: None, .. } => body.as_array_mut().unwrap().iter_mut().collect(),
        Shape::List {
            under: Some(name), ..
        }
        | Shape::Archive { records: name, .. } => {
            body[name].as_array_mut().unwrap().iter_mut().collect()
        }
        Shape::Periods(_) => body.as_object_mut().unwrap().values_mut().collect(),
        Shape::Single => vec![body],
        Shape::Export(_) => unreachable!("LiveChat exports no documents"),
    }
}

/// The answers of a report, each record changed.
fn changed(report: &Report, change: impl Fn(&mut Value)) -> Answers {
    let mut all = answers();
    let prefix = report.request.path.split('{').next().unwrap();
    for (path, body) in &mut all {
        if path == prefix || (report.request.path.contains('{') && path.starts_with(prefix)) {
            records(report, body).into_iter().for_each(&change);
        }
    }
    all
}

fn ids_of(report: &Report) -> BTreeSet<&'static str> {
    report
        .key
        .iter()
        .copied()
        .chain(["id", "login", "status"])
        .collect()
}

#[tokio::test]
async fn an_empty_answer_is_no_rows_and_no_fault() {
    for report in REPORTS {
        let empty = match report.shape {
            Shape::List { under: None, .. } => json!([]),
            Shape::List {
                under: Some(name), ..
            } => json!({ name: [] }),
            Shape::Archive { records, .. } => json!({records: [], "total": 0, "pages": 0}),
            Shape::Periods(_) | Shape::Single | Shape::Export(_) => json!({}),
        };
        let mut all = answers();
        let prefix = report.request.path.split('{').next().unwrap();
        all.iter_mut()
            .filter(|(path, _)| path.starts_with(prefix))
            .for_each(|(_, body)| *body = empty.clone());
        let (got, done) = pull(&Scripted::new(all).await.source, &pull_request(report)).await;
        if report.id == "status_report" {
            assert!(done.is_err(), "a status without a status is none");
        } else {
            assert_eq!(done, Ok(()), "{}", report.id);
            // Of a dashboard it is told that it holds nothing.
            let rows = if report.shape == Shape::Single {
                got.window_counts[0].read as usize
            } else {
                0
            };
            assert_eq!(got.rows(0), rows, "{}", report.id);
        }
    }
}

#[tokio::test]
async fn fields_that_are_missing_leave_their_cells_empty() {
    for report in REPORTS {
        let kept = ids_of(report);
        let all = changed(report, |record| {
            if let Value::Object(fields) = record {
                fields.retain(|name, _| kept.contains(name.as_str()));
            }
        });
        let (got, done) = pull(&Scripted::new(all).await.source, &pull_request(report)).await;
        assert_eq!(done, Ok(()), "{}", report.id);
        let items = matches!(
            report.shape,
            Shape::Archive {
                rows: RecordRows::Items { .. },
                ..
            } | Shape::List {
                rows: RecordRows::Items { .. },
                ..
            }
        );
        assert_eq!(got.rows(0) == 0, items, "{}", report.id);
        assert_eq!(got.window_counts[0].misfits, 0, "{}", report.id);
    }
}

#[tokio::test]
async fn unknown_fields_become_columns_with_their_original_values() {
    for report in REPORTS {
        let list = match report.shape {
            Shape::Archive {
                rows: RecordRows::Items { list, .. },
                ..
            }
            | Shape::List {
                rows: RecordRows::Items { list, .. },
                ..
            } => Some(list),
            _ => None,
        };
        let add = |value: &mut Value| {
            if let Value::Object(fields) = value {
                fields.insert("brand_new".to_owned(), json!({"deep": [1, "x"]}));
            }
        };
        let all = changed(report, |record| match list {
            Some(list) => record
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .for_each(add),
            None => add(record),
        });
        let (got, done) = pull(&Scripted::new(all).await.source, &pull_request(report)).await;
        assert_eq!(done, Ok(()), "{}", report.id);
        let (name, text) = if report.shape == Shape::Single {
            ("brand_new_deep", "[1,\"x\"]")
        } else {
            ("brand_new", "{\"deep\":[1,\"x\"]}")
        };
        let new: Vec<String> = got.column(0, name).into_iter().flatten().collect();
        // Tags and tickets that are plain texts, and counts that are plain numbers, have no fields.
        if !matches!(report.id, "chat_tags" | "simultaneous_chats_report") {
            assert!(
                !new.is_empty() && new.iter().all(|value| value == text),
                "{}: {new:?}",
                report.id
            );
        }
    }
}

#[tokio::test]
async fn values_of_other_types_lose_no_row() {
    let clean = Scripted::new(answers()).await;
    for report in REPORTS {
        let (before, _) = pull(&clean.source, &pull_request(report)).await;
        for odd in [
            json!(true),
            json!({"x": 1}),
            json!("odd"),
            json!(1.5),
            json!([]),
        ] {
            let keys = ids_of(report);
            let list = match report.shape {
                Shape::Archive {
                    rows: RecordRows::Items { list, .. },
                    ..
                }
                | Shape::List {
                    rows: RecordRows::Items { list, .. },
                    ..
                } => Some(list),
                _ => None,
            };
            let spoil = |fields: &mut Map<String, Value>| {
                fields
                    .iter_mut()
                    .filter(|(name, _)| !keys.contains(name.as_str()))
                    .for_each(|(_, value)| *value = odd.clone())
            };
            let all = changed(report, |record| match list {
                Some(list) => {
                    let items = record.get_mut(list).and_then(Value::as_array_mut);
                    items
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_object_mut)
                        .for_each(spoil);
                }
                None => {
                    if let Value::Object(fields) = record {
                        spoil(fields);
                    }
                }
            });
            let (got, done) = pull(&Scripted::new(all).await.source, &pull_request(report)).await;
            assert_eq!(done, Ok(()), "{} {odd}", report.id);
            // Sales that are no currencies are one row.
            let least = if report.id == "goals_report" {
                3
            } else {
                before.rows(0)
            };
            assert!(
                got.rows(0) >= least,
                "{} {odd}: {} of {}",
                report.id,
                got.rows(0),
                before.rows(0)
            );
        }
    }
}

#[tokio::test]
async fn menus_are_sent_as_the_vendor_takes_them() {
    let vendor = Scripted::new(answers()).await;
    let chosen = Menus {
        group: Some("1".to_owned()),
        login: Some("ann@chat.test".to_owned()),
        group_by: Some(GroupBy::Month),
        tag: Some("sale".to_owned()),
        weekday: Some(Weekday::Wed),
        include_pending: Some(true),
        agent_details: Some(true),
        ..Menus::default()
    };
    let mut text = String::new();
    for report in REPORTS {
        let mut pull_req = pull_request(report);
        pull_req.menus = chosen.clone();
        pull(&vendor.source, &pull_req).await.1.unwrap();
        writeln!(text, "{}: {}", report.id, vendor.take_requests().join(", ")).unwrap();
    }
    insta::assert_snapshot!("menus_sent", text);
}

#[tokio::test]
async fn by_hour_each_day_is_asked_for_by_itself() {
    let mut all = answers();
    all.insert(
        "/reports/chats/total_chats".to_owned(),
        json!({"00:00": {"chats": 1}, "23:00": {"chats": 2}}),
    );
    let vendor = Scripted::new(all).await;
    let mut pull_req = request(
        &["chat_report"],
        &[Window {
            from: date(2026, 11, 8),
            to: date(2026, 11, 10),
        }],
    );
    pull_req.menus.group_by = Some(GroupBy::Hour);
    let (got, done) = pull(&vendor.source, &pull_req).await;
    assert_eq!(
        (done, got.rows(0), vendor.take_requests().len()),
        (Ok(()), 6, 3)
    );
    let starts: Vec<String> = got
        .column(0, "period_start")
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(
        starts[..2],
        ["2026-11-07T23:00:00Z", "2026-11-08T22:00:00Z"]
    );
    assert_eq!(
        starts.iter().collect::<BTreeSet<_>>().len(),
        6,
        "no two periods begin at once"
    );
}

#[tokio::test]
async fn agents_have_their_details_when_asked_for() {
    let vendor = Scripted::new(answers()).await;
    let mut pull_req = pull_request(Connector::LiveChat.report("agents").unwrap());
    pull_req.menus.agent_details = Some(true);
    let (got, done) = pull(&vendor.source, &pull_req).await;
    assert_eq!((done, got.rows(0)), (Ok(()), 2));
    assert_eq!(
        got.column(0, "group_names"),
        [Some("Sales, Help".to_owned()), None]
    );
    // What only the list tells stays.
    assert_eq!(
        got.column(0, "status"),
        [
            Some("accepting chats".to_owned()),
            Some("offline".to_owned())
        ]
    );
    // One who left between the two calls stays as the list has it.
    vendor
        .answers
        .lock()
        .unwrap()
        .remove("/agents/bob@chat.test");
    let (got, done) = pull(&vendor.source, &pull_req).await;
    assert_eq!(
        (done, got.column(0, "last_logout")),
        (Ok(()), vec![Some("2026-11-19T14:53:20Z".to_owned()), None])
    );
}
