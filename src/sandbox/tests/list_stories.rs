//! Tests of the short lists, the visitors and the tickets.

use std::collections::HashSet;

use super::*;

fn count(sandbox: &Sandbox, query: &str) -> usize {
    sandbox.truth(&question(query)).unwrap()["count"]
        .as_u64()
        .unwrap() as usize
}

#[tokio::test]
async fn short_lists_are_as_long_as_the_truth() {
    let served = Served::start(sandbox(100, 10)).await;
    for (path, truth) in [
        ("/goals", "report=goals"),
        ("/greetings", "report=greetings"),
        ("/greetings?group=2", "report=greetings&group=2"),
        ("/tags", "report=tags"),
        ("/tags?group=2", "report=tags&group=2"),
        ("/canned_responses", "report=canned_responses&group=0"),
        (
            "/canned_responses?group=7",
            "report=canned_responses&group=7",
        ),
        ("/visitors", "report=visitors"),
        ("/visitors?group[]=2", "report=visitors&group=2"),
    ] {
        let list = served.json(path).await;
        assert_eq!(
            list.as_array().unwrap().len(),
            count(&served.sandbox, truth),
            "{path}"
        );
    }
    let mut canned = 0;
    for group in [0, 1, 2, 3, 4, 7] {
        canned += served
            .json(&format!("/canned_responses?group={group}"))
            .await
            .as_array()
            .unwrap()
            .len();
    }
    assert_eq!(canned, count(&served.sandbox, "report=canned_responses"));
    let trackers = served.json("/goals?type=sales_tracker").await;
    assert_eq!(
        (
            trackers.as_array().unwrap().len(),
            trackers[0]["currency"].as_str()
        ),
        (1, Some("NOK"))
    );
    assert_eq!(served.json("/status").await["status"], "online");
    assert_eq!(
        (
            served.json("/status/0").await,
            served.json("/status/7").await
        ),
        (json!({"status": "online"}), json!({"status": "offline"}))
    );
    assert_eq!(served.status("/status/99").await, 404);
    for wrong in [
        "/canned_responses?group=x",
        "/goals?group=1",
        "/tags?page=2",
        "/status?group=1",
        "/visitors?group=x",
    ] {
        assert_eq!(served.status(wrong).await, 400, "{wrong}");
    }
}

#[tokio::test]
async fn visitors_have_the_parts_that_the_truth_counts() {
    let served = Served::start(sandbox(100, 10)).await;
    let visitors = served.json("/visitors").await;
    let visitors = visitors.as_array().unwrap();
    for (field, report) in [
        ("operators", "visitors_operators"),
        ("prechat_survey", "visitors_prechat_survey"),
        ("visit_path", "visitors_visit_path"),
    ] {
        let items: usize = visitors
            .iter()
            .map(|visitor| visitor[field].as_array().unwrap().len())
            .sum();
        assert_eq!(
            items,
            count(&served.sandbox, &format!("report={report}")),
            "{field}"
        );
        assert!(items > 0, "{field}");
    }
    assert!(
        visitors
            .iter()
            .any(|visitor| visitor["queue_start_time"].is_i64())
            && visitors
                .iter()
                .any(|visitor| visitor["queue_start_time"] == "")
    );
    let chatting = served.json("/visitors?state=chatting").await;
    assert!(
        chatting
            .as_array()
            .unwrap()
            .iter()
            .all(|visitor| visitor["state"] == "chatting" && visitor["chat_id"].is_string())
    );
}

/// The tickets on all pages of a query, in order.
async fn all_tickets(served: &Served, query: &str) -> (Vec<Value>, u64) {
    let (mut all, mut page) = (Vec::new(), 1);
    loop {
        let answer = served.json(&format!("/tickets?page={page}&{query}")).await;
        all.extend(answer["tickets"].as_array().unwrap().clone());
        if page >= answer["pages"].as_u64().unwrap() {
            return (all, answer["total"].as_u64().unwrap());
        }
        page += 1;
    }
}

#[tokio::test]
async fn tickets_put_together_are_the_truth() {
    let served = Served::start(sandbox(2_000, 60)).await;
    for (query, truth) in [
        ("", ""),
        (
            "date_from=2026-11-06&date_to=2026-11-12&timezone=Europe/Oslo",
            "date_from=2026-11-06&date_to=2026-11-12&timezone=Europe/Oslo",
        ),
        (
            "date_from=2026-11-10&date_to=2026-11-10",
            "date_from=2026-11-10&date_to=2026-11-10",
        ),
        ("group=2", "group=2"),
        ("assignee=zofia@sandbox.test", "agent=zofia@sandbox.test"),
        ("tag=refund", "tag=refund"),
        ("group=99", "group=99"),
    ] {
        let (tickets, total) = all_tickets(&served, query).await;
        let ids: Vec<_> = tickets
            .iter()
            .map(|ticket| ticket["id"].as_str().unwrap())
            .collect();
        let truth = served
            .sandbox
            .truth(&question(&format!("report=tickets&ids=1&{truth}")))
            .unwrap();
        assert_eq!(truth["ids"], json!(ids), "{query}");
        assert_eq!(total, ids.len() as u64, "{query}");
        assert_eq!(
            ids.iter().collect::<HashSet<_>>().len(),
            ids.len(),
            "{query}: an id twice"
        );
    }
    assert_eq!(all_tickets(&served, "").await.1, 250);
}

#[tokio::test]
async fn tickets_have_every_shape() {
    let served = Served::start(sandbox(4_000, 60)).await;
    let (tickets, _) = all_tickets(&served, "").await;
    let some = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        assert!(tickets.iter().any(wanted), "no ticket with {what}")
    };
    some("an assignee", &|ticket| {
        ticket["assignee"]["id"].is_string()
    });
    some("no assignee", &|ticket| ticket.get("assignee").is_none());
    some("no first response", &|ticket| {
        ticket["firstResponse"] == json!({})
    });
    some("a first response", &|ticket| {
        ticket["firstResponse"]["seconds"].is_i64()
    });
    some("several opened", &|ticket| {
        ticket["opened"].as_array().unwrap().len() > 1
    });
    some("an open end", &|ticket| {
        ticket["opened"][0].get("to").is_none()
    });
    some("a private event", &|ticket| {
        ticket["events"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["is_private"] == true)
    });
    some("an undeclared field", &|ticket| ticket["rate"].is_string());
    for status in ["open", "pending", "solved", "spam"] {
        let (found, total) = all_tickets(&served, &format!("status={status}")).await;
        assert!(
            total > 0 && found.iter().all(|ticket| ticket["status"] == status),
            "{status}"
        );
    }
    let modified = |tickets: &[Value]| {
        tickets
            .iter()
            .map(|ticket| ticket["modified"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert!(modified(&tickets).is_sorted_by(|newer, older| newer >= older));
    assert!(modified(&all_tickets(&served, "order=asc").await.0).is_sorted());
    assert!(modified(&tickets).iter().all(|at| *at <= NOON / 1_000));
    let mail = tickets[3]["requester"]["mail"].as_str().unwrap();
    assert!(
        all_tickets(&served, &format!("requester[mail]={mail}"))
            .await
            .0
            .iter()
            .all(|ticket| ticket["requester"]["mail"] == mail)
    );
    // The tickets that chats refer to exist.
    let known: HashSet<_> = tickets
        .iter()
        .map(|ticket| ticket["id"].as_str().unwrap())
        .collect();
    let newest = served.json("/chats").await;
    let named = newest["chats"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|chat| chat["tickets"].get(0))
        .map(|ticket| ticket.as_str().or(ticket["id"].as_str()).unwrap());
    assert!(named.into_iter().all(|id| known.contains(id)));
    for wrong in [
        "/tickets?status=closed",
        "/tickets?page=0",
        "/tickets?order=up",
        "/tickets?agent=x",
        "/tickets?page=1001",
    ] {
        assert_eq!(served.status(wrong).await, 400, "{wrong}");
    }
}

#[tokio::test]
async fn chats_are_found_by_what_they_are() {
    let served = Served::start(sandbox(2_000, 60)).await;
    let all = async |query: &str| {
        let mut found = Vec::new();
        for page in 1..=served.json(&format!("/chats?{query}")).await["pages"]
            .as_u64()
            .unwrap()
        {
            found.extend(
                served.json(&format!("/chats?page={page}&{query}")).await["chats"]
                    .as_array()
                    .unwrap()
                    .clone(),
            );
        }
        found
    };
    let everything = all("").await;
    let length = |value: &Value| value.as_array().map_or(0, Vec::len);
    let has_tag = |chat: &Value, tag: &str| {
        chat["tags"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one == tag)
    };
    let some_line = |chat: &Value| chat.to_string().to_lowercase().contains("lovelace");
    type Holds<'a> = &'a dyn Fn(&Value) -> bool;
    let cases: [(&str, Holds<'_>); 9] = [
        ("tag[]=refund", &|chat| has_tag(chat, "refund")),
        ("tag[]=refund&tag[]=spam", &|chat| {
            has_tag(chat, "refund") || has_tag(chat, "spam")
        }),
        ("has_goal=1", &|chat| length(&chat["goals"]) > 0),
        ("has_goal=0", &|chat| length(&chat["goals"]) == 0),
        ("goal=1041", &|chat| chat["goals"][0]["id"] == 1041),
        ("rate=rated_bad", &|chat| chat["rate"] == "rated_bad"),
        ("queued=1", &|chat| chat["queue"].is_object()),
        ("tagged=0", &|chat| length(&chat["tags"]) == 0),
        ("query=LOVELACE", &some_line),
    ];
    for (query, holds) in cases {
        let expected: Vec<_> = everything
            .iter()
            .filter(|chat| holds(chat))
            .map(|chat| chat["id"].clone())
            .collect();
        let found: Vec<_> = all(query)
            .await
            .iter()
            .map(|chat| chat["id"].clone())
            .collect();
        assert_eq!(found, expected, "{query}");
        assert!(!found.is_empty(), "{query}");
    }
}
