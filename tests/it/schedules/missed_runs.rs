//! Runs that were due while no server ran or the DataSet could not run.

use std::time::Duration;

use axum::http::Method;
use chatlake::actor::Role;
use chatlake::ids::DatasetId;
use chatlake::puller::queue;
use chatlake::puller::run::{RunState, Trigger};
use serde_json::json;

use super::ScheduleFixture;
use crate::support::context::TestContext;
use crate::support::sandbox::of_size;
use crate::support::{DAY, HOUR, NOON};

#[tokio::test]
async fn a_thousand_hourly_datasets_run_once_each_after_three_days_offline() {
    let fixture = ScheduleFixture::new().await;
    let first = fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.copy(999).await;
    // Noon has just passed.
    assert_eq!(fixture.tick().await, Some(NOON + HOUR));
    fixture.ctx.clock.advance(3 * DAY + HOUR / 2);
    fixture.tick().await;
    assert_eq!(
        fixture.count("SELECT COUNT(*) FROM runs").await,
        1_000,
        "not 72,000"
    );
    assert_eq!(fixture.runs(&first).await[0].missed, 71);
    assert_eq!(
        fixture
            .count("SELECT COUNT(*) FROM datasets WHERE next_run_at <= 0 OR next_run_at IS NULL")
            .await,
        0
    );
    // Their starts are distributed over at most a minute.
    let now = fixture.ctx.clock.now();
    let seconds = fixture
        .count("SELECT COUNT(DISTINCT due_at / 1000) FROM runs")
        .await;
    let (least, most): (i64, i64) = sqlx::query_as("SELECT MIN(due_at), MAX(due_at) FROM runs")
        .fetch_one(fixture.ctx.app.db.read())
        .await
        .unwrap();
    assert!(
        (40..=61).contains(&seconds) && least == now && most <= now + 60_000,
        "{seconds} {least} {most}"
    );
    fixture.tick().await;
    assert_eq!(fixture.count("SELECT COUNT(*) FROM runs").await, 1_000);
}

#[tokio::test]
async fn missed_runs_are_handled_as_the_dataset_is_configured() {
    let fixture = ScheduleFixture::new().await;
    let one = fixture.make(json!({"cron": "0 * * * *"})).await;
    let all = fixture
        .make(json!({"cron": "0 * * * *", "catch_up": "all"}))
        .await;
    let none = fixture
        .make(json!({"cron": "0 * * * *", "catch_up": "none"}))
        .await;
    fixture.tick().await;
    fixture.ctx.clock.advance(4 * HOUR + HOUR / 2);
    // One after the other: each run begins after the end of the previous one.
    for made in 1..=4 {
        assert_eq!(
            fixture.tick().await,
            Some(fixture.ctx.clock.now() + if made < 4 { 1_000 } else { HOUR / 2 })
        );
        fixture.tick().await;
        assert_eq!(fixture.runs(&all).await.len(), made);
        fixture.all_succeed().await;
    }
    fixture.tick().await;
    assert_eq!(
        (
            fixture.runs(&all).await.len(),
            fixture.runs(&one).await.len(),
            fixture.runs(&none).await.len()
        ),
        (4, 1, 0)
    );
    assert_eq!(fixture.runs(&one).await[0].missed, 3);
    // The page shows the omitted times until a run shows them.
    assert_eq!(fixture.dataset_json(&none).await["missed"], 4);
    let mut browser = fixture.ctx.signed_in(&fixture.owner).await;
    let page = browser.get(&format!("/datasets/{none}")).await;
    assert!(
        page.words(".band")
            .starts_with("4 runs were missed and skipped."),
        "{}",
        page.words(".band")
    );
    fixture.ctx.clock.advance(HOUR / 2);
    fixture.tick().await;
    assert_eq!(
        (
            fixture.runs(&none).await.len(),
            fixture.runs(&none).await[0].missed,
            fixture.dataset_json(&none).await["missed"].clone()
        ),
        (1, 4, json!(0))
    );
    let run = fixture.runs(&none).await[0].id.to_string();
    let record = browser.get(&format!("/runs/{run}")).await.words(".sums");
    assert!(record.contains("Missed before this run 4 runs"), "{record}");
    let (_, response) = fixture
        .ask(Method::GET, &format!("/runs/{run}"), None)
        .await;
    assert_eq!(
        (&response["missed"], &response["trigger"]),
        (&json!(4), &json!("schedule"))
    );
}

#[tokio::test]
async fn a_slot_that_falls_due_during_a_run_is_counted_as_missed() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    // The run has not begun: it also counts for the next time.
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(
        (
            fixture.runs(&dataset).await[0].missed,
            &fixture.dataset_json(&dataset).await["missed"]
        ),
        (1, &json!(0))
    );
    let held = fixture.claim(4).await;
    assert_eq!(held.len(), 1);
    for missed in 1..=2 {
        fixture.ctx.clock.advance(HOUR);
        fixture.tick().await;
        assert_eq!(
            (
                fixture.runs(&dataset).await[0].missed,
                &fixture.dataset_json(&dataset).await["missed"]
            ),
            (1, &json!(missed)),
            "it is at work"
        );
    }
    fixture.all_succeed().await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    let runs = fixture.runs(&dataset).await;
    assert_eq!(
        (
            runs.len(),
            runs[0].missed,
            &fixture.dataset_json(&dataset).await["missed"]
        ),
        (2, 2, &json!(0)),
        "the next run reports it"
    );
}

#[tokio::test]
async fn a_pause_ends_a_backlog_of_missed_runs() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture
        .make(json!({"cron": "0 * * * *", "catch_up": "all"}))
        .await;
    fixture.ctx.clock.advance(5 * HOUR);
    fixture.tick().await;
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 1, "one after the other");
    fixture.all_succeed().await;
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 2);
    fixture.all_succeed().await;
    assert_eq!(
        fixture
            .ask(
                Method::POST,
                &format!("/datasets/{dataset}/pause"),
                Some(json!({}))
            )
            .await
            .0,
        200
    );
    fixture.tick().await;
    assert_eq!(
        fixture
            .ask(
                Method::POST,
                &format!("/datasets/{dataset}/resume"),
                Some(json!({}))
            )
            .await
            .0,
        200
    );
    fixture.tick().await;
    assert_eq!(
        fixture.runs(&dataset).await.len(),
        2,
        "what was missed stays missed"
    );
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_times_become_one_run_and_an_unreadable_schedule_stops_no_other() {
    let ctx = TestContext::with_sandbox(of_size(200, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let (good, bad) = (
        ctx.oslo_dataset(&owner.actor, &account, "agents", "Good")
            .await,
        ctx.oslo_dataset(&owner.actor, &account, "groups", "Bad")
            .await,
    );
    let now = ctx.app.clock.now();
    // Both missed three days of hourly runs.
    for (dataset, cron) in [(&bad, "0 0 31 2 x"), (&good, "0 * * * *")] {
        let mut tx = ctx.app.db.write().await.unwrap();
        sqlx::query("UPDATE datasets SET schedule = $1, next_run_at = $2 WHERE id = $3")
            .bind(cron)
            .bind(now - 3 * 86_400_000)
            .bind(dataset)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    ctx.app.puller.wake_scheduler.notify_one();
    let run = loop {
        if let Some(run) = queue::of_dataset(&ctx.app.db, &good, 0, 10)
            .await
            .unwrap()
            .into_iter()
            .next()
        {
            break run;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let run = ctx.ended(&run.id).await;
    assert_eq!(
        (run.state, run.trigger),
        (RunState::Succeeded, Trigger::Schedule)
    );
    assert_eq!(
        queue::count(&ctx.app.db, &good).await.unwrap(),
        1,
        "one run for all that was missed"
    );
    assert_eq!(queue::count(&ctx.app.db, &bad).await.unwrap(), 0);
    let next = async |dataset: &DatasetId| {
        ctx.app
            .datasets
            .for_run(dataset)
            .await
            .unwrap()
            .next_run_at
            .unwrap()
    };
    assert!((now..now + 3_600_000 + 60_000).contains(&next(&good).await));
    assert!(next(&bad).await > now, "it is looked at again later");
}
