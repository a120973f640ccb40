//! Tests of the world's content.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::Value;

use super::*;

#[tokio::test]
async fn equal_options_make_equal_worlds() {
    let page = async |sandbox: Sandbox| {
        Served::start(sandbox)
            .await
            .get("/chats?page=7")
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let first = page(sandbox(2_000, 60)).await;
    assert_eq!(first, page(sandbox(2_000, 60)).await);
    let other = Sandbox::new(
        SandboxOptions {
            seed: 2,
            ..SandboxOptions::default()
        },
        Clock::stopped_at(NOON),
    );
    assert_ne!(first, page(other).await);
}

#[tokio::test]
async fn agents_and_groups_are_lists() {
    let served = Served::start(sandbox(100, 10)).await;
    let agents = served.json("/agents").await;
    assert_eq!(agents.as_array().unwrap().len(), 12);
    let accepting = served.json("/agents?status=accepting%20chats").await;
    assert!((1..12).contains(&accepting.as_array().unwrap().len()));
    let one = served.json("/agents/smith.john+chat@sandbox.test").await;
    assert_eq!(
        (
            one["name"].as_str(),
            one["groups"].as_array().unwrap().len()
        ),
        (Some("Smith, John"), 2)
    );
    let groups = served.json("/groups").await;
    assert_eq!(groups.as_array().unwrap().len(), 6);
    assert!(groups[0].get("agents").is_none() && groups[1]["agents"].is_array());
    for report in ["agents", "groups"] {
        assert_eq!(
            served
                .sandbox
                .truth(&question(&format!("report={report}")))
                .unwrap()["count"],
            if report == "agents" { 12 } else { 6 }
        );
    }
}

#[tokio::test]
async fn the_archive_is_as_awkward_as_a_real_one() {
    let served = Served::start(sandbox(2_000, 60)).await;
    let mut chats = Vec::new();
    for page in 1..=80 {
        chats.extend(
            served.json(&format!("/chats?page={page}")).await["chats"]
                .as_array()
                .unwrap()
                .clone(),
        );
    }
    let some = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        assert!(chats.iter().any(wanted), "no chat with {what}")
    };
    let is_array = |value: &Value| value.is_array();
    some("a visitor object", &|chat| {
        chat["visitor"]["name"].is_string()
    });
    some("an old shape", &|chat| {
        chat["visitor_name"].is_string() && chat.get("visitor").is_none()
    });
    some("no e-mail", &|chat| {
        chat["visitor"].is_object() && chat["visitor"].get("email").is_none()
    });
    some("several agents", &|chat| {
        chat["agents"].as_array().unwrap().len() > 1
    });
    some("a missed chat", &|chat| {
        chat["type"] == "missed_chat"
            && chat["agents"].as_array().unwrap().is_empty()
            && chat["messages"].as_array().unwrap().len() == 1
    });
    some("several groups", &|chat| {
        chat["group"].as_array().unwrap().len() > 1
    });
    some("a supervisor", &|chat| {
        !chat["supervisors"].as_array().unwrap().is_empty()
    });
    some("a queue", &|chat| chat["queue"]["duration"].is_u64());
    some("a goal with order", &|chat| {
        chat["goals"][0]["order"]["price"].is_string()
    });
    some("a goal without order", &|chat| {
        chat["goals"][0].is_object() && chat["goals"][0].get("order").is_none()
    });
    some("ticket ids", &|chat| chat["tickets"][0].is_string());
    some("ticket objects", &|chat| {
        chat["tickets"][0]["id"].is_string()
    });
    some("custom variables", &|chat| {
        is_array(&chat["custom_variables"])
    });
    some("integration variables", &|chat| {
        is_array(&chat["integration_variables"])
    });
    some("files", &|chat| {
        chat["events"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| is_array(&event["files"]))
    });
    some("an undeclared text", &|chat| chat["ai_summary"].is_string());
    some("an undeclared object", &|chat| {
        chat["sentiment"].is_object()
    });
    for text in [
        "<script>",
        "=1+1",
        "+47",
        "@sum",
        "\r\n",
        "👨‍👩‍👧‍👦",
        "\u{202e}",
        "\"quoted\"",
        "; DROP",
    ] {
        some(text, &|chat| {
            chat["messages"]
                .as_array()
                .unwrap()
                .iter()
                .any(|message| message["text"].as_str().unwrap().contains(text))
        });
    }
    let messages: usize = chats
        .iter()
        .map(|chat| chat["messages"].as_array().unwrap().len())
        .sum();
    assert!(
        (9..=14).contains(&(messages / chats.len())),
        "{} messages per chat",
        messages / chats.len()
    );
    assert_eq!(
        served
            .sandbox
            .truth(&question("report=chat_messages"))
            .unwrap()["count"],
        messages
    );
    let starts: Vec<_> = chats
        .iter()
        .map(|chat| chat["started_timestamp"].as_i64().unwrap())
        .collect();
    assert!(starts.is_sorted_by(|newer, older| newer >= older));
    assert!(
        chats
            .iter()
            .all(|chat| chat["ended_timestamp"].as_i64().unwrap() <= NOON / 1_000)
    );
}

#[tokio::test]
async fn calls_are_logged_except_those_to_the_sandbox_itself() {
    let served = Served::start(sandbox(100, 10)).await;
    served.json("/chats?page=2").await;
    served.status("/nothing").await;
    let calls = served.json("/__calls").await;
    assert_eq!(calls["total"], 2);
    assert_eq!(
        (
            calls["calls"][0]["query"].as_str(),
            calls["calls"][1]["status"].as_u64()
        ),
        (Some("page=2"), Some(404))
    );
    served
        .http
        .delete(served.url("/__calls"))
        .send()
        .await
        .unwrap();
    assert_eq!(served.sandbox.calls_total(), 0);
    let truth = served.json("/__truth?report=chat&date_from=2026-11-15&date_to=2026-11-18&timezone=Europe/Oslo&ids=1").await;
    assert_eq!(
        truth["count"].as_u64().unwrap(),
        truth["ids"].as_array().unwrap().len() as u64
    );
    assert_eq!(served.status("/__truth?report=nonsense").await, 400);
}

#[test]
fn ids_are_all_different() {
    let ids: HashSet<_> = (0..300_000)
        .map(|number| super::super::chat::id(1, number))
        .collect();
    assert_eq!(ids.len(), 300_000);
    assert!(ids.iter().all(|id| id.len() == 10));
}

#[test]
fn a_million_chats_are_no_slower_than_a_thousand() {
    let world = super::super::world::World::new(
        &SandboxOptions {
            chats: 1_000_000,
            ..SandboxOptions::default()
        },
        Clock::stopped_at(NOON),
    );
    let filter = super::super::selection::ChatFilter {
        groups: vec![7],
        agents: vec!["adaeze@sandbox.test".to_owned()],
        ..Default::default()
    };
    let started = Instant::now();
    for page in 0..20 {
        let selection = world.select(0..NOON / 1_000, &Default::default());
        assert_eq!(selection.total(), 1_000_000);
        assert_eq!(selection.numbers(page * 49_000, 25).len(), 25);
        let narrow = world.select(0..NOON / 1_000, &filter);
        assert_eq!(narrow.numbers(narrow.total() - 25, 25).len(), 25);
    }
    // A scan of the archive would take minutes in a debug build.
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
