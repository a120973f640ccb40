//! Tests of the period of an export, also while the archive changes.

use super::*;

#[tokio::test]
async fn a_period_begins_with_its_start_and_ends_before_its_stop() {
    let served = Served::start(sandbox(2_000, 60)).await;
    let all = served.document(START, STOP).await;
    let starts: Vec<_> = all
        .all("chat")
        .into_iter()
        .map(|chat| millis(chat.of("start").unwrap()))
        .collect();
    for at in [0, 7, 700, starts.len() - 2] {
        let found = ids(&served
            .document(&written(starts[at]), &written(starts[at + 1]))
            .await);
        assert_eq!(found, ids(&all)[at..=at], "{at}");
        assert!(
            served
                .document(&written(starts[at] + 1), &written(starts[at + 1]))
                .await
                .children
                .is_empty()
        );
    }
    // Days in a time zone with a half-hour offset, sent with that offset, have all chats of the
    // truth.
    let mut put_together = Vec::new();
    for day in 1..=20 {
        let (start, stop) = (
            format!("2026-11-{day:02}T00:00:00.000+05:45"),
            format!("2026-11-{:02}T00:00:00.000+05:45", day + 1),
        );
        let found = ids(&served.document(&start, &stop).await);
        let truth = truth_of(
            &served.sandbox,
            &format!(
                "report=chats&ids=1&date_from=2026-11-{day:02}&date_to=2026-11-{day:02}&timezone=Asia/Kathmandu"
            ),
        );
        assert_eq!(Value::from(found.clone()), truth["ids"], "{day}");
        put_together.extend(found);
    }
    assert_eq!(
        put_together,
        ids(&served
            .document(
                "2026-11-01T00:00:00.000+05:45",
                "2026-11-21T00:00:00.000+05:45"
            )
            .await)
    );
    assert!(put_together.len() > 500);
}

#[tokio::test]
async fn a_changing_archive_is_served_as_it_is() {
    let clock = Clock::stopped_at(NOON);
    let served = Served::start(Sandbox::new(
        SandboxOptions {
            chats: 300,
            days: 10,
            ..SandboxOptions::default()
        },
        clock.clone(),
    ))
    .await;
    let mark = served.sandbox.mark();
    let before = ids(&served.document(START, STOP).await);
    for step in 0..20 {
        clock.advance(600_000);
        served.sandbox.end_chats(step % 4);
        served.sandbox.0.world.mutate(step);
        let document = served.document(START, STOP).await;
        assert_eq!(
            Value::from(ids(&document)),
            truth_of(&served.sandbox, "report=chats&ids=1")["ids"],
            "{step}"
        );
        assert!(
            document
                .all("chat")
                .into_iter()
                .map(|chat| millis(chat.of("start").unwrap()))
                .is_sorted()
        );
    }
    let still = truth_of(&served.sandbox, &format!("report=chats&ids=1&since={mark}"));
    let still: Vec<_> = still["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert!(still.len() < before.len() && still.iter().all(|id| before.contains(id)));
}
