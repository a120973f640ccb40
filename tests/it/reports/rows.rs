//! The rows of every report, also of answers with missing, unknown or mistyped fields.

use std::collections::BTreeSet;
use std::fmt::Write;

use chatlake::connectors::report::{RecordRows, Report, Shape};
use serde_json::{Map, Value, json};

use super::Answers;
use super::REPORTS;
use super::Scripted;
use super::answers;
use super::pull_request;
use crate::support::pulls::{PulledRows, pull, shown};

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

/// The records of an answer: elements of a list, values of periods, or the single object.
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
            // A dashboard has the number of rows that the ledger counts.
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
            // Sales without currencies are one row.
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
