//! Tests of the world as the clock advances and while it changes.

use std::collections::HashSet;

use super::super::faults::{Fault, FaultKind};
use super::*;

const DAY: i64 = 86_400_000;

fn at(moment: i64) -> (Sandbox, Clock) {
    let clock = Clock::stopped_at(moment);
    (
        Sandbox::new(SandboxOptions::default(), clock.clone()),
        clock,
    )
}

#[test]
fn new_chats_are_added_as_days_pass_and_old_ones_stay() {
    let (sandbox, clock) = at(NOON);
    let before = true_ids(&sandbox, "");
    assert_eq!(before.len(), 2_000);
    clock.advance(3 * DAY);
    let after = true_ids(&sandbox, "");
    let more = after.len() - before.len();
    assert!((60..140).contains(&more), "{more} in three days");
    assert_eq!(after[more..], before, "the new ones are the newest");
    assert!(!true_ids(&sandbox, "date_from=2026-11-23").is_empty());
    assert!(true_ids(&sandbox, "include_pending=1").len() < after.len() + 10);
}

#[tokio::test]
async fn a_restart_on_another_day_serves_the_same_chats() {
    let (first, clock) = at(NOON);
    clock.advance(5 * DAY + 1_234_567);
    let (second, _) = at(NOON + 5 * DAY + 1_234_567);
    let query = "/chats?date_from=2026-10-20&date_to=2026-11-25&timezone=Europe/Oslo&page=9";
    let first = Served::start(first).await.json(query).await;
    assert_eq!(
        first["chats"],
        Served::start(second.clone()).await.json(query).await["chats"]
    );
    assert_eq!(
        true_ids(&second, "").len(),
        2_000,
        "each start has the configured number of chats"
    );
}

#[tokio::test]
async fn pending_chats_are_listed_on_request() {
    let sandbox = sandbox(30_000, 60);
    let served = Served::start(sandbox.clone()).await;
    let page = served.json("/chats?include_pending=1").await;
    let pending = page["total"].as_u64().unwrap() - 30_000;
    assert!(pending > 5, "{pending}");
    assert_eq!(
        true_ids(&sandbox, "include_pending=1").len() as u64,
        30_000 + pending
    );
    assert_eq!(
        page["chats"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|chat| chat["pending"] == true)
            .count() as u64,
        pending.min(25)
    );
    assert_eq!(served.json("/chats").await["total"], 30_000);
}

#[tokio::test]
async fn a_changing_archive_agrees_with_its_truth_and_the_mark_lists_unchanged_chats() {
    let served = Served::start(sandbox(400, 12)).await;
    served.json("/chats").await;
    served.sandbox.faults().add(
        Fault::new(FaultKind::Mutate { seed: 5 })
            .on("/chats")
            .times(60),
    );
    let before: HashSet<_> = true_ids(&served.sandbox, "").into_iter().collect();
    let mark = served
        .http
        .post(served.url("/__mark"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let mark = serde_json::from_str::<Value>(&mark).unwrap()["id"]
        .as_u64()
        .unwrap();
    let mut totals = Vec::new();
    for page in 1..=60 {
        totals.push(
            served.json(&format!("/chats?page={}", page % 15 + 1)).await["total"]
                .as_u64()
                .unwrap(),
        );
    }
    assert!(
        !totals.is_sorted() && totals.iter().max() > totals.first(),
        "{totals:?}"
    );
    for query in [
        "",
        "group=2",
        "tag[]=refund&timezone=Asia/Kathmandu",
        "date_from=2026-11-12&date_to=2026-11-20",
        "agent=zofia@sandbox.test",
    ] {
        assert_eq!(
            served.all_ids(query).await.0,
            true_ids(&served.sandbox, &query.replace("tag[]", "tag")),
            "{query}"
        );
    }
    let now: HashSet<_> = true_ids(&served.sandbox, "").into_iter().collect();
    let stayed: HashSet<_> = true_ids(&served.sandbox, &format!("since={mark}"))
        .into_iter()
        .collect();
    assert_eq!(stayed, before.intersection(&now).cloned().collect());
    assert!(stayed.len() < before.len() && stayed.len() < now.len());
    assert_eq!(served.status("/__truth?report=chat&since=99").await, 400);
    // The reports still agree with the archive.
    let reported = served
        .json("/reports/chats/total_chats?date_from=2026-11-20&group_by=day")
        .await;
    assert_eq!(
        reported["2026-11-20"]["chats"],
        true_ids(&served.sandbox, "date_from=2026-11-20").len()
    );
}

#[tokio::test]
async fn equal_seeds_change_an_archive_equally() {
    let run = async |seed: u64| {
        let served = Served::start(sandbox(300, 10)).await;
        served
            .sandbox
            .faults()
            .add(Fault::new(FaultKind::Mutate { seed }));
        for _ in 0..12 {
            served.json("/chats").await;
        }
        true_ids(&served.sandbox, "")
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}
