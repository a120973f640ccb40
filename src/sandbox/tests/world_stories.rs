//! Tests of the world's content and of its queries.

use std::collections::HashSet;
use std::time::Instant;

use jiff::ToSpan;
use jiff::civil::{Date, date};
use serde_json::Value;

use super::super::livechat::ACCESS_TOKEN;
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
async fn pages_put_together_are_the_truth() {
    let served = Served::start(sandbox(2_000, 60)).await;
    for query in [
        "",
        "date_from=2026-11-06&date_to=2026-11-19&timezone=Europe/Oslo",
        "date_from=2026-11-20&timezone=Pacific/Auckland",
        "date_from=2026-11-01&date_to=2026-11-01&timezone=America/New_York",
        "group=0",
        "group=7&timezone=Asia/Kathmandu&date_to=2026-11-10",
        "agent=zofia@sandbox.test",
        "agent=smith.john%2Bchat@sandbox.test&group=7",
        "agent=nobody@sandbox.test",
        "group=99",
        "include_pending=1",
        "date_from=2026-12-01",
    ] {
        // Without `date_to` the endpoint ends today in the query's time zone, but the truth has no
        // end.
        let query = if query.contains("2026-12") {
            "date_from=2026-12-01&date_to=2026-12-31"
        } else {
            query
        };
        let (ids, total) = served.all_ids(query).await;
        assert_eq!(ids, true_ids(&served.sandbox, query), "{query}");
        assert_eq!(total, ids.len() as u64, "{query}");
        assert_eq!(
            ids.iter().collect::<HashSet<_>>().len(),
            ids.len(),
            "{query}: an id twice"
        );
    }
    assert_eq!(served.all_ids("").await.1, 2_000);
}

#[tokio::test]
async fn days_add_up_to_the_range_in_every_zone_across_clock_changes() {
    let served = Served::start(sandbox(6_000, 270)).await;
    // Ranges with clock changes: forward at midnight, by half an hour, and back.
    for (zone, from) in [
        ("Europe/Oslo", date(2026, 10, 20)),
        ("America/New_York", date(2026, 10, 27)),
        ("Australia/Lord_Howe", date(2026, 4, 1)),
        ("Africa/Cairo", date(2026, 4, 20)),
        ("America/St_Johns", date(2026, 10, 28)),
        ("Asia/Kathmandu", date(2026, 11, 1)),
        ("UTC", date(2026, 11, 1)),
    ] {
        let to = from.saturating_add(11.days());
        let total = async |from: Date, to: Date| {
            let page = served
                .json(&format!(
                    "/chats?date_from={from}&date_to={to}&timezone={zone}"
                ))
                .await;
            page["total"].as_u64().unwrap()
        };
        let mut days = 0;
        for day in from.series(1.day()).take_while(|day| *day <= to) {
            let here = total(day, day).await;
            assert_eq!(
                here,
                true_ids(
                    &served.sandbox,
                    &format!("date_from={day}&date_to={day}&timezone={zone}")
                )
                .len() as u64,
                "{zone} {day}"
            );
            days += here;
        }
        let whole = total(from, to).await;
        assert_eq!(days, whole, "{zone}");
        assert!(whole > 0, "{zone}");
    }
}

#[tokio::test]
async fn the_report_agrees_with_the_archive() {
    let served = Served::start(sandbox(6_000, 270)).await;
    for query in [
        "date_from=2026-10-20&date_to=2026-11-05&timezone=Europe/Oslo",
        "date_from=2026-10-25&date_to=2026-10-25&timezone=Europe/Oslo",
        "date_from=2026-04-05&date_to=2026-04-05&timezone=Australia/Lord_Howe",
        "date_from=2026-04-24&date_to=2026-04-24&timezone=Africa/Cairo",
        "date_from=2026-11-10&date_to=2026-11-19&group=2&agent=oksana@sandbox.test",
    ] {
        let reported = served
            .json(&format!("/reports/chats/total_chats?{query}"))
            .await;
        let truth = served
            .sandbox
            .truth(&question(&format!("report=chat_report&{query}")))
            .unwrap();
        let reported: Vec<_> = reported
            .as_object()
            .unwrap()
            .iter()
            .map(|(period, value)| (period.clone(), value["chats"].clone()))
            .collect();
        let truth: Vec<_> = truth["periods"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(period, chats)| (period.clone(), chats.clone()))
            .collect();
        assert_eq!(reported, truth, "{query}");
    }
    let months = served
        .json("/reports/chats/total_chats?group_by=month&date_from=2026-09-15&date_to=2026-11-02")
        .await;
    assert_eq!(months["2026-09"]["begin"], "2026-09-15");
    assert_eq!(months["2026-10"]["end"], "2026-10-31");
    let sum: u64 = months
        .as_object()
        .unwrap()
        .values()
        .map(|month| month["chats"].as_u64().unwrap())
        .sum();
    assert_eq!(
        sum,
        true_ids(&served.sandbox, "date_from=2026-09-15&date_to=2026-11-02").len() as u64
    );
}

#[tokio::test]
async fn only_the_newest_25_000_can_be_read() {
    let served = Served::start(sandbox(30_000, 60)).await;
    let last = served.json("/chats?page=1000").await;
    assert_eq!(
        (last["total"].as_u64(), last["pages"].as_u64()),
        (Some(30_000), Some(1_000))
    );
    assert_eq!(ids_of(&last), true_ids(&served.sandbox, "")[24_975..25_000]);
    assert_eq!(served.status("/chats?page=1001").await, 400);
    assert_eq!(served.status("/chats?page=1000&group=3").await, 200);
}

#[tokio::test]
async fn credentials_version_and_arguments_are_checked() {
    let served = Served::start(sandbox(100, 10)).await;
    let plain = |path: &str| served.http.get(served.url(path));
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(plain("/agents")).await, 401);
    assert_eq!(
        status(
            plain("/agents")
                .basic_auth(LOGIN, Some("wrong"))
                .header("X-API-Version", "2")
        )
        .await,
        401
    );
    assert_eq!(
        status(
            plain("/agents")
                .basic_auth("somebody@sandbox.test", Some(API_KEY))
                .header("X-API-Version", "2")
        )
        .await,
        401
    );
    assert_eq!(
        status(plain("/agents").basic_auth(LOGIN, Some(API_KEY))).await,
        400
    );
    assert_eq!(
        status(
            plain("/agents")
                .basic_auth(LOGIN, Some(API_KEY))
                .header("X-API-Version", "3")
        )
        .await,
        400
    );
    assert_eq!(
        status(
            plain("/agents")
                .basic_auth(LOGIN, Some(ACCESS_TOKEN))
                .header("X-API-Version", "2")
        )
        .await,
        200
    );
    for wrong in [
        "/chats?page=0",
        "/chats?page=x",
        "/chats?date_from=2026-13-01",
        "/chats?date_from=2026-11-20&date_to=2026-11-19",
        "/chats?timezone=Mars/Olympus",
        "/chats?group=sales",
        "/chats?include_pending=yes",
        "/chats?pgae=2",
        "/chats?page=1&page=2",
        "/reports/chats/total_chats?group_by=week",
        "/reports/chats/total_chats?date_from=1900-01-01",
        "/groups?x=1",
    ] {
        let answer = served.get(wrong).await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
        assert!(
            serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["error"]
                .is_string(),
            "{wrong}"
        );
    }
    for missing in ["/nothing", "/agents/nobody@sandbox.test", "/chats/1"] {
        assert_eq!(served.status(missing).await, 404, "{missing}");
    }
    assert_eq!(
        status(
            served
                .http
                .post(served.url("/chats"))
                .basic_auth(LOGIN, Some(API_KEY))
                .header("X-API-Version", "2")
        )
        .await,
        405
    );
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
async fn chats_that_end_while_pages_are_read_are_the_newest_from_then_on() {
    let served = Served::start(sandbox(200, 10)).await;
    served.sandbox.faults().add(
        Fault::new(faults::FaultKind::Shift { chats: 3 })
            .on("/chats")
            .times(2),
    );
    let before = served.json("/chats").await;
    let shifted = served.json("/chats?page=2").await;
    assert_eq!(shifted["total"], 203);
    assert_eq!(
        ids_of(&shifted)[..3],
        ids_of(&before)[22..],
        "the last three chats of page 1 are repeated"
    );
    let (ids, total) = served.all_ids("").await;
    assert_eq!((total, ids), (206, true_ids(&served.sandbox, "")));
    let today = served
        .json("/reports/chats/total_chats?date_from=2026-11-20&group_by=day")
        .await;
    assert_eq!(
        today["2026-11-20"]["chats"],
        true_ids(&served.sandbox, "date_from=2026-11-20").len()
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
