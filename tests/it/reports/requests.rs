//! The requests that a pull of a report sends.

use std::collections::BTreeSet;
use std::fmt::Write;

use chatlake::connectors::report::{GroupBy, Weekday};
use chatlake::connectors::{Connector, Menus, Window};
use jiff::civil::date;
use serde_json::json;

use super::REPORTS;
use super::Scripted;
use super::answers;
use super::pull_request;
use crate::support::pulls::{pull, request};

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
async fn by_hour_each_day_is_requested_separately() {
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
    // Fields that only the list has are kept.
    assert_eq!(
        got.column(0, "status"),
        [
            Some("accepting chats".to_owned()),
            Some("offline".to_owned())
        ]
    );
    // An agent who left between the two calls keeps the values of the list.
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
