//! The order in which due runs begin.

use axum::http::Method;
use chatlake::actor::Role;
use chatlake::puller::queue;
use chatlake::puller::run::Trigger;
use serde_json::json;

use super::ScheduleFixture;
use crate::support::context::TestContext;
use crate::support::{HOUR, until};

#[tokio::test]
async fn one_busy_account_does_not_delay_another_and_manual_runs_go_first() {
    let fixture = ScheduleFixture::new().await;
    fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.copy(50).await;
    let other = fixture.ctx.account(&fixture.owner, "Webshop").await.id;
    let of_other = fixture
        .ctx
        .dataset(&fixture.owner, &other, "agents", "Other")
        .await;
    fixture
        .change(
            "UPDATE datasets
             SET schedule = '0 * * * *', next_run_at = 1795179600001
             WHERE name = 'Other'",
        )
        .await;
    let by_hand = fixture
        .ctx
        .dataset(&fixture.owner, &fixture.account, "groups", "Asked for")
        .await;
    fixture.ctx.clock.advance(HOUR + 61_000);
    fixture.tick().await;
    fixture.ctx.clock.advance(60_000);
    let by_person = fixture
        .ctx
        .app
        .puller
        .run_now(&fixture.owner, &by_hand, Trigger::Manual)
        .await
        .unwrap();
    assert_eq!(
        by_person.wait_reason.unwrap().in_words(),
        "a free worker",
        "nothing of the schedule is before it"
    );
    // Four workers: at most three for one account.
    let mut claimed = Vec::new();
    for _ in 0..5 {
        claimed.push(
            fixture
                .claim(3)
                .await
                .first()
                .map(|run| run.dataset_id.clone()),
        );
        // Runs do not wait for each other to share reads here.
        fixture
            .change("UPDATE runs SET batch_wait_until = NULL")
            .await;
    }
    assert_eq!(claimed[0].as_ref(), Some(&by_hand), "a person goes first");
    assert_eq!(
        claimed[1].as_ref(),
        Some(&of_other),
        "then the account that has none under way"
    );
    assert!(
        claimed[2].is_some() && claimed[3].is_some() && claimed[4].is_none(),
        "{claimed:?}"
    );
    let waiting: Vec<(String,)> =
        sqlx::query_as("SELECT id FROM runs WHERE state = 'queued' LIMIT 1")
            .fetch_all(fixture.ctx.app.db.read())
            .await
            .unwrap();
    let (_, response) = fixture
        .ask(Method::GET, &format!("/runs/{}", waiting[0].0), None)
        .await;
    assert_eq!(
        response["waits_for"],
        "the account's other runs: 3 are running"
    );
    let mut browser = fixture.ctx.signed_in(&fixture.owner).await;
    let page = browser.get(&format!("/runs/{}", waiting[0].0)).await;
    assert_eq!(
        page.words("[data-part=title]"),
        "Waiting for the account's other runs: 3 are running"
    );
}

#[tokio::test]
async fn third_attempts_are_made_one_after_the_other() {
    let fixture = ScheduleFixture::new().await;
    fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.copy(2).await;
    fixture.ctx.clock.advance(HOUR + 61_000);
    fixture.tick().await;
    // Two of them were interrupted twice.
    fixture
        .change(
            "UPDATE runs
             SET attempt = 2, due_at = 0, shared_read_id = id
             WHERE id IN (SELECT id FROM runs ORDER BY id LIMIT 2)",
        )
        .await;
    fixture.ctx.clock.advance(61_000);
    let attempts = async || {
        fixture
            .claim(8)
            .await
            .iter()
            .map(|run| run.attempt)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (attempts().await, attempts().await, attempts().await),
        (vec![3], vec![1], vec![]),
        "the other one waits, and nothing else does"
    );
    fixture
        .change(
            "UPDATE runs
             SET state = 'succeeded', finished_at = queued_at, lease_until = NULL
             WHERE attempt = 3",
        )
        .await;
    assert_eq!(attempts().await, [3]);
}

#[tokio::test]
async fn a_run_by_schedule_begins_within_a_second() {
    let ctx = TestContext::with_workers().await;
    let owner = ctx.person("olga", Role::Editor).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    let due = ctx.clock.now() + 700;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE datasets SET schedule = '0 * * * *', next_run_at = $1 WHERE id = $2")
        .bind(due)
        .bind(&dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    ctx.app.puller.wake_scheduler.notify_one();
    let run = until("it has begun", async || {
        queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
            .await
            .unwrap()
            .pop()
            .filter(|run| run.started_at.is_some())
    })
    .await;
    let late = run.started_at.unwrap() - due;
    assert!((0..1_000).contains(&late), "{late} ms");
}
