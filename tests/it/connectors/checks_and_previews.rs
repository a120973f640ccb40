//! The check of credentials, the choices of menus and the preview, with their numbers of calls.

use std::collections::HashSet;

use arrow::array::RecordBatch;
use chatlake::connectors::report::Menu;
use chatlake::connectors::{self, Connector, Menus, Window};
use jiff::tz::TimeZone;
use tokio::net::TcpListener;

use crate::support::pulls::{WEEK, ZONE, shown};
use crate::support::sandbox::{Vendor, source};

fn ids_of(batch: &RecordBatch) -> HashSet<String> {
    let ids = batch.column_by_name("id").unwrap();
    (0..batch.num_rows()).map(|row| shown(ids, row)).collect()
}

#[tokio::test]
async fn check_choices_and_sample_take_a_call_each() {
    let vendor = Vendor::new(2_000, 30).await;
    let source = vendor.source();
    let agents = vendor.truth("agents", WEEK)["count"].as_u64().unwrap();
    assert_eq!(
        connectors::check(&source).await.unwrap(),
        format!("{agents} agents visible")
    );
    let groups = connectors::choices(&source, Menu::Group).await.unwrap();
    assert!(groups.iter().any(|choice| choice.value == "0"));
    let logins = connectors::choices(&source, Menu::Login).await.unwrap();
    assert!(
        logins
            .iter()
            .all(|choice| choice.label.ends_with(&format!("({})", choice.value))),
        "{logins:?}"
    );
    assert_eq!(vendor.sandbox.calls_total(), 3);
    let zone = TimeZone::get(ZONE).unwrap();
    for (id, least) in [
        ("agents", 2),
        ("groups", 2),
        ("chat", 10),
        ("chat_messages", 10),
        ("chat_report", 7),
    ] {
        vendor.sandbox.forget_calls();
        let report = Connector::LiveChat.report(id).unwrap();
        let sample = connectors::sample(
            &source,
            report,
            &Menus::default(),
            &zone,
            (id != "agents" && id != "groups").then_some(WEEK),
            10,
        )
        .await
        .unwrap();
        assert!(
            sample.batch.num_rows() >= least && sample.batch.num_rows() <= 10,
            "{id}: {}",
            sample.batch.num_rows()
        );
        assert_eq!((vendor.sandbox.calls_total(), sample.calls), (1, 1), "{id}");
    }
    // A page has 25 chats. If they give too few rows, one more page is read, and never a third.
    let sample = async |id: &str, range: Window, most: usize| {
        vendor.sandbox.forget_calls();
        let report = Connector::LiveChat.report(id).unwrap();
        let sample =
            connectors::sample(&source, report, &Menus::default(), &zone, Some(range), most)
                .await
                .unwrap();
        assert_eq!(vendor.sandbox.calls_total(), sample.calls, "{id}");
        sample
    };
    let held = vendor.truth("chat", WEEK)["count"].as_u64().unwrap();
    let chats = sample("chat", WEEK, 50).await;
    assert_eq!(
        (
            chats.batch.num_rows(),
            chats.records,
            chats.calls,
            chats.total,
            chats.is_complete
        ),
        (50, 50, 2, Some(held), false)
    );
    assert_eq!(ids_of(&chats.batch).len(), 50, "no chat comes twice");
    let messages = sample("chat_messages", WEEK, 50).await;
    assert!(
        messages.batch.num_rows() == 50
            && messages.records < 25
            && messages.calls == 1
            && !messages.is_complete,
        "{messages:?}"
    );
    let few = sample("chat_goals", WEEK, 50).await;
    assert!(
        few.batch.num_rows() < 50 && few.records == 50 && few.calls == 2 && !few.is_complete,
        "{few:?}"
    );
    let day = Window {
        from: WEEK.from,
        to: WEEK.from,
    };
    let all = vendor.truth("chat", day)["count"].as_u64().unwrap();
    let everything = sample("chat", day, all as usize).await;
    assert!(all <= 50 || everything.calls == 2, "{all}");
    assert_eq!(
        (everything.is_complete, everything.records),
        (all <= 50, all.min(50)),
        "{everything:?}"
    );
}

#[tokio::test]
async fn a_preview_of_a_long_list_has_its_first_rows() {
    // More rows than a batch has.
    let replies: Vec<serde_json::Value> = (0..9_000)
        .map(|n| serde_json::json!({"id": n, "group": 0, "text": "hello", "tags": []}))
        .collect();
    let router = axum::Router::new().route(
        "/canned_responses",
        axum::routing::get(move || async move { axum::Json(replies.clone()) }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let vendor = Vendor::new(10, 30).await;
    let report = Connector::LiveChat.report("canned_responses").unwrap();
    let menus = Menus {
        group: Some("0".to_owned()),
        ..Menus::default()
    };
    let sample = connectors::sample(
        &source(&vendor.upstreams(), &address, "k"),
        report,
        &menus,
        &TimeZone::UTC,
        None,
        50,
    )
    .await
    .unwrap();
    assert_eq!(
        (sample.batch.num_rows(), sample.records, sample.is_complete),
        (50, 9_000, false)
    );
    let ids = sample.batch.column_by_name("id").unwrap();
    assert_eq!(
        (shown(ids, 0), shown(ids, 49)),
        ("0".to_owned(), "49".to_owned())
    );
}
