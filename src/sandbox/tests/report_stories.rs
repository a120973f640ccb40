//! Tests of every report against the truth, which computes it chat by chat.

use std::collections::{BTreeMap, HashSet};

use super::*;

/// Report, path, and whether it has an agent parameter.
const REPORTS: [(&str, &str, bool); 17] = [
    ("chat_engagement_report", "/reports/chats/engagement", true),
    ("ratings_report", "/reports/chats/ratings", true),
    (
        "queued_visitor_report",
        "/reports/chats/queued_visitors",
        false,
    ),
    (
        "queue_waiting_times_report",
        "/reports/chats/queued_visitors/waiting_times",
        false,
    ),
    ("availability_report", "/reports/availability", true),
    ("chatting_time_report", "/reports/chats/chatting_time", true),
    (
        "first_response_time_report",
        "/reports/chats/first_response_time",
        true,
    ),
    ("response_time_report", "/reports/chats/response_time", true),
    ("goals_report", "/reports/chats/goals", true),
    ("greetings_report", "/reports/chats/greetings", false),
    ("new_tickets_report", "/reports/tickets/new_tickets", false),
    (
        "tickets_first_response_report",
        "/reports/tickets/first_response_time",
        true,
    ),
    (
        "solved_ticket_report",
        "/reports/tickets/solved_tickets",
        true,
    ),
    (
        "ticket_resolution_time_report",
        "/reports/tickets/resolution_time",
        true,
    ),
    (
        "ticket_sources_report",
        "/reports/tickets/ticket_sources",
        false,
    ),
    ("ticket_ratings_report", "/reports/tickets/ratings", true),
    (
        "missed_chats_report",
        "/reports/chats/not_replied_chats",
        false,
    ),
];

#[tokio::test]
async fn every_report_by_period_is_the_truth() {
    let served = Served::start(sandbox(4_000, 60)).await;
    for (report, path, takes_agent) in REPORTS {
        let group = if report == "missed_chats_report" {
            "groups[]"
        } else {
            "group"
        };
        let mut queries = vec![
            "date_from=2026-11-06&date_to=2026-11-19&timezone=Europe/Oslo".to_owned(),
            "date_from=2026-11-20&date_to=2026-11-20&timezone=Asia/Kathmandu".to_owned(),
            "date_from=2026-10-25&date_to=2026-10-26&timezone=Europe/Oslo".to_owned(),
            format!("date_from=2026-11-01&date_to=2026-11-12&{group}=2"),
        ];
        if takes_agent {
            queries.push(
                "date_from=2026-11-01&date_to=2026-11-12&agent=oksana@sandbox.test".to_owned(),
            );
        }
        if !matches!(report, "availability_report" | "chatting_time_report") {
            queries.push(
                "date_from=2026-11-03&date_to=2026-11-12&timezone=America/St_Johns&group_by=hour"
                    .to_owned(),
            );
        }
        for query in queries {
            let reported = served.json(&format!("{path}?{query}")).await;
            let truth = served
                .sandbox
                .truth(&question(&format!(
                    "report={report}&{}",
                    query.replace("groups[]", "group")
                )))
                .unwrap();
            let reported: BTreeMap<_, _> = reported.as_object().unwrap().iter().collect();
            let truth: BTreeMap<_, _> = truth["periods"].as_object().unwrap().iter().collect();
            assert_eq!(reported, truth, "{report} {query}");
        }
    }
}

#[tokio::test]
async fn reports_agree_with_the_archive() {
    let served = Served::start(sandbox(4_000, 60)).await;
    let days = "date_from=2026-11-01&date_to=2026-11-14&timezone=Europe/Oslo";
    let sum = |report: &Value, field: &str| {
        report
            .as_object()
            .unwrap()
            .values()
            .map(|value| value[field].as_u64().unwrap())
            .sum::<u64>()
    };
    let total = served.json(&format!("/chats?{days}")).await["total"]
        .as_u64()
        .unwrap();
    assert!(total > 500);
    let engagement = served
        .json(&format!("/reports/chats/engagement?{days}"))
        .await;
    let engaged: u64 = [
        "chats_from_auto_invite",
        "chats_from_immediate_start",
        "chats_from_manual_invite",
    ]
    .iter()
    .map(|field| sum(&engagement, field))
    .sum();
    assert_eq!(
        (
            sum(
                &served
                    .json(&format!("/reports/chats/total_chats?{days}"))
                    .await,
                "chats"
            ),
            engaged
        ),
        (total, total)
    );
    let good = served.json(&format!("/chats?rate=rated_good&{days}")).await["total"]
        .as_u64()
        .unwrap();
    assert_eq!(
        sum(
            &served.json(&format!("/reports/chats/ratings?{days}")).await,
            "good"
        ),
        good
    );
    let months = served
        .json("/reports/chats/ratings?group_by=month&date_from=2026-10-15&date_to=2026-11-14")
        .await;
    assert_eq!(
        (
            months["2026-10"]["begin"].as_str(),
            months["2026-11"]["end"].as_str()
        ),
        (Some("2026-10-15"), Some("2026-11-14"))
    );
    let goals = served.json(&format!("/reports/chats/goals?{days}")).await;
    let goals: Vec<_> = goals.as_object().unwrap().values().collect();
    assert!(
        goals.iter().any(|day| day["value"].is_object()),
        "no day with sales"
    );
    let empty = served
        .json("/reports/chats/goals?date_from=2026-11-20&date_to=2026-11-20")
        .await;
    assert!(
        empty["23:00"].get("value").is_none() && empty["23:00"]["goals"] == 0,
        "{empty}"
    );
    let none = served
        .json("/reports/chats/first_response_time?date_from=2026-11-20&date_to=2026-11-20")
        .await;
    assert_eq!(
        none["23:00"],
        json!({"first_response_time": {"count": 0, "seconds": null}})
    );
    assert!(
        served
            .json("/reports/availability?date_from=2026-11-20&date_to=2026-11-20")
            .await["09:00"]["minutes"]
            .is_f64()
    );
    let krone = served
        .json(&format!(
            "/reports/chats/goals?currency=NOK&sales_tracker=ST1&{days}"
        ))
        .await;
    assert!(krone.as_object().unwrap().values().all(|day| {
        day.get("value")
            .is_none_or(|value| value.as_object().unwrap().keys().eq(["NOK"]))
    }));
}

#[tokio::test]
async fn rankings_and_occupancy_are_the_truth() {
    let served = Served::start(sandbox(4_000, 60)).await;
    for (report, path) in [
        ("ranking_report", "/reports/chats/ratings/ranking"),
        ("ticket_ranking_report", "/reports/tickets/ratings/ranking"),
    ] {
        for query in [
            "date_from=2026-10-01&date_to=2026-11-14&timezone=Asia/Tokyo",
            "date_from=2026-10-01&date_to=2026-11-14&group=2",
        ] {
            let reported = served.json(&format!("{path}?{query}")).await;
            let reported: BTreeMap<_, _> = reported["ranking"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| {
                    (
                        one["name"].as_str().unwrap(),
                        json!([one["good"], one["bad"]]),
                    )
                })
                .collect();
            let truth = served
                .sandbox
                .truth(&question(&format!("report={report}&{query}")))
                .unwrap();
            assert_eq!(
                (truth["count"].as_u64().unwrap(), &truth["periods"]),
                (reported.len() as u64, &json!(reported)),
                "{report} {query}"
            );
            assert!(reported.len() > 2, "{report} {query}");
        }
    }
    let query = "date_from=2026-10-20&date_to=2026-11-16&timezone=Europe/Oslo&weekday=mon";
    let reported = served
        .json(&format!("/reports/chats/agents_occupancy?{query}"))
        .await;
    let truth = served
        .sandbox
        .truth(&question(&format!(
            "report=simultaneous_chats_report&{query}"
        )))
        .unwrap();
    assert_eq!(
        (&reported, truth["count"].as_u64()),
        (&truth["periods"], Some(96))
    );
    assert!(
        reported
            .as_object()
            .unwrap()
            .values()
            .any(|going| going.as_u64().unwrap() > 0)
    );
    for wrong in [
        "/reports/chats/agents_occupancy",
        "/reports/chats/agents_occupancy?weekday=monday",
        "/reports/chats/ratings/ranking?agent=x",
        "/reports/availability?group_by=day",
    ] {
        assert_eq!(served.status(wrong).await, 400, "{wrong}");
    }
}

#[tokio::test]
async fn dashboards_cover_the_last_seven_days() {
    let served = Served::start(sandbox(4_000, 60)).await;
    let total = |query: &str| {
        served
            .sandbox
            .truth(&question(&format!(
                "report=chat&date_from=2026-11-14&date_to=2026-11-20&{query}"
            )))
            .unwrap()["count"]
            .clone()
    };
    let all = served.json("/reports/dashboard").await;
    assert_eq!(
        (&all["chats"]["chats"], &all["period"]["from"]),
        (&total(""), &json!("2026-11-14"))
    );
    let agent = served
        .json("/reports/dashboard/agent/zofia@sandbox.test")
        .await;
    assert_eq!(
        (&agent["chats"]["chats"], &agent["agent"]["login"]),
        (
            &total("agent=zofia@sandbox.test"),
            &json!("zofia@sandbox.test")
        )
    );
    let group = served.json("/reports/dashboard/group/2").await;
    assert_eq!(
        (&group["chats"]["chats"], &group["group"]["id"]),
        (&total("group=2"), &json!(2))
    );
    for missing in [
        "/reports/dashboard/agent/nobody",
        "/reports/dashboard/group/99",
        "/reports/dashboard/group/x",
    ] {
        assert_eq!(served.status(missing).await, 404, "{missing}");
    }
}

/// Titles of the connector's reports, from the vendor's reference.
const TITLES: &str = "Agents, Agent Dashboard Report, Availability Report, Canned Responses, Chat, Chat \
    Agents, Chat Custom Variables, Chat Events, Chat Goals, Chat Messages, Chat Postchat \
    Survey, Chat Report, Chat Supervisors, Chat Tags, Chat Tickets, Chatting Time Report, \
    Dashboard Report, Goals, Goals Report, Greetings, Greetings Report, Groups, Group \
    Dashboard Report, New Tickets Report, Queue Waiting Times Report, Queued Visitor Report, \
    Ranking Report, Ratings Report, Solved Ticket Report, Status Report, Tickets First \
    Response Report, Ticket Resolution Time Report, Tickets, Ticket Sources Report, \
    Visitors, Visitors Operators, Visitors Prechat Survey, Visitors Visit Path, Chat \
    Engagement Report, Missed Chats Report, First Response Time Report, Response Time \
    Report, Simultaneous Chats Report, Ticket Ratings Report, Ticket Ranking Report, Tags, \
    Chat Prechat Survey, Chat Integration Variables";

#[test]
fn every_report_has_a_truth() {
    let sandbox = sandbox(2_000, 60);
    let ids: HashSet<_> = TITLES
        .split(", ")
        .map(|title| title.to_lowercase().replace(' ', "_"))
        .collect();
    assert_eq!(ids.len(), 48);
    for id in &ids {
        let truth = sandbox
            .truth(&question(&format!(
                "report={id}&date_from=2026-10-01&date_to=2026-11-19"
            )))
            .unwrap();
        assert!(truth["count"].as_u64().unwrap() > 0, "{id}");
        assert_eq!(truth["report"], id.as_str());
    }
    for (report, _, _) in REPORTS {
        assert!(ids.contains(report), "{report}");
    }
    assert!(sandbox.truth(&question("report=nonsense")).is_err());
}

#[tokio::test]
async fn chat_parts_are_counted_as_in_the_archive() {
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
    for (report, field) in [
        ("chat_agents", "agents"),
        ("chat_custom_variables", "custom_variables"),
        ("chat_events", "events"),
        ("chat_goals", "goals"),
        ("chat_integration_variables", "integration_variables"),
        ("chat_messages", "messages"),
        ("chat_postchat_survey", "postchat_survey"),
        ("chat_prechat_survey", "prechat_survey"),
        ("chat_supervisors", "supervisors"),
        ("chat_tags", "tags"),
        ("chat_tickets", "tickets"),
    ] {
        let items: usize = chats
            .iter()
            .map(|chat| chat[field].as_array().map_or(0, Vec::len))
            .sum();
        let truth = served
            .sandbox
            .truth(&question(&format!("report={report}")))
            .unwrap();
        assert_eq!(
            (
                truth["count"].as_u64().unwrap() as usize,
                truth["chats"].as_u64()
            ),
            (items, Some(2_000)),
            "{report}"
        );
        assert!(items > 0, "{report}");
    }
}
