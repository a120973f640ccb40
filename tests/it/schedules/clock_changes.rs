//! A clock that is set forwards or backwards.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::clock::{Clock, Millis};
use chatlake::puller::run::Trigger;
use serde_json::{Value, json};

use super::ScheduleFixture;
use crate::support::context::TestContext;
use crate::support::{DAY, HOUR, MINUTE, NOON};

#[tokio::test]
async fn a_clock_change_neither_repeats_nor_prevents_runs() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 1);
    fixture.all_succeed().await;
    // An hour back: the same hour passes again.
    fixture.ctx.clock.advance(-HOUR);
    for _ in 0..4 {
        fixture.tick().await;
        fixture.ctx.clock.advance(HOUR / 4);
    }
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 1, "13:00 comes once");
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 2);
    fixture.all_succeed().await;
    // The clock is weeks ahead: one run for all missed times; then back again.
    fixture.ctx.clock.advance(20 * DAY);
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 3);
    let waits = fixture.make(json!({"cron": "0 12 * * *"})).await;
    fixture.ctx.clock.advance(-20 * DAY);
    fixture.tick().await;
    let next = |response: Value| response["next_run_at"].as_str().unwrap().to_owned();
    assert_eq!(
        (
            next(fixture.dataset_json(&dataset).await).as_str(),
            next(fixture.dataset_json(&waits).await).as_str()
        ),
        ("2026-11-20T15:00:00Z", "2026-11-21T11:00:00Z")
    );
    fixture.all_succeed().await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(
        fixture.runs(&dataset).await.len(),
        4,
        "it goes on at the right hour"
    );
}

#[tokio::test]
async fn a_run_queued_under_a_clock_far_ahead_does_not_wait_for_that_day() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.ctx.clock.advance(30 * DAY);
    fixture.tick().await;
    fixture.ctx.clock.advance(-30 * DAY);
    fixture.tick().await;
    assert_eq!(
        fixture.runs(&dataset).await[0].due_at,
        fixture.ctx.clock.now()
    );
    assert_eq!(fixture.claim(4).await.len(), 1);
}

#[tokio::test]
async fn a_clock_that_was_ahead_and_is_corrected_stops_no_schedule() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"cron": "*/15 * * * *"})).await;
    let mut runs = 0;
    fixture.tick().await;
    for ahead in [HOUR, 20 * HOUR, DAY] {
        fixture.ctx.clock.jump(ahead);
        // A DataSet that is saved in the meantime is planned by this clock.
        let saved = fixture.make(json!({"cron": "*/15 * * * *"})).await;
        fixture.tick().await;
        fixture.ctx.clock.jump(-ahead);
        fixture.tick().await;
        runs += 1;
        for one in [&dataset, &saved] {
            let next = chatlake::clock::timestamp(fixture.ctx.clock.now())
                .strftime("%H")
                .to_string();
            let response = fixture.dataset_json(one).await["next_run_at"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_eq!(
                response,
                format!("2026-11-20T{next}:15:00Z"),
                "after {ahead}"
            );
        }
        fixture.all_succeed().await;
        fixture.ctx.clock.advance(HOUR / 4);
        fixture.tick().await;
        runs += 1;
        assert_eq!(fixture.runs(&dataset).await.len(), runs, "after {ahead}");
        fixture.all_succeed().await;
        fixture.ctx.clock.advance(HOUR * 3 / 4);
        fixture
            .change("UPDATE datasets SET last_due_at = NULL, next_run_at = NULL")
            .await;
        fixture.tick().await;
    }
}

#[tokio::test]
async fn waits_that_began_on_a_wrong_clock_keep_their_length() {
    // The clock goes back while the server runs, or while it does not run.
    for seen in [true, false] {
        let fixture = ScheduleFixture::new().await;
        let limited = fixture.make(json!({"cron": "0 * * * *"})).await;
        let notifications = &fixture.ctx.app.puller.notifications;
        let hook = notifications
            .add_webhook("Team", "http://127.0.0.1:1/hook")
            .await
            .unwrap()
            .0
            .id
            .to_string();
        fixture.ctx.clock.advance(30 * DAY);
        if seen {
            fixture.tick().await;
        } else {
            fixture
                .change(
                    "INSERT INTO clock (id, seen_at) VALUES ('seen', 1795176000000 + 2592000000)",
                )
                .await;
            fixture
                .ctx
                .app
                .puller
                .run_now(&fixture.owner, &limited, Trigger::Manual)
                .await
                .unwrap();
        }
        let then = fixture.ctx.clock.now();
        fixture
            .change(
                "UPDATE runs SET state = 'waiting', due_at = 1795176000000 + 2592000000 + 300000",
            )
            .await;
        fixture
            .change(
                "UPDATE datasets
                 SET
                     retry_at = 1795176000000 + 2592000000 + 600000,
                     last_success_at = 1795176000000 + 2592000000",
            )
            .await;
        fixture
            .change("UPDATE accounts SET paused_until = 1795176000000 + 2592000000 + 300000")
            .await;
        let mut tx = fixture.ctx.app.db.write().await.unwrap();
        for (id, state) in [("a", "waiting"), ("b", "sent")] {
            sqlx::query(
                "INSERT INTO messages (
                     id, channel, recipient, subject, body, notification_count, state,
                     next_try_at, created_at
                 )
                 VALUES ($1, 'webhook', $2, '', '', 1, $3, $4 + 120000, $4)",
            )
            .bind(id)
            .bind(&hook)
            .bind(state)
            .bind(then)
            .execute(&mut *tx)
            .await
            .unwrap();
        }
        sqlx::query(
            "INSERT INTO notifications (id, channel, recipient, kind, about, created_at) \
            VALUES ('n', 'webhook', $1, 'late', '{}', $2)",
        )
        .bind(&hook)
        .bind(then)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        fixture.ctx.clock.advance(-30 * DAY);
        fixture.tick().await;
        let now = fixture.ctx.clock.now();
        let run = fixture.runs(&limited).await.remove(0);
        assert_eq!(
            (run.state.word(), run.due_at),
            ("waiting", now + 5 * MINUTE),
            "seen: {seen}"
        );
        let moments =
            "SELECT retry_at, last_success_at, (SELECT paused_until FROM accounts) FROM datasets";
        let moments: (Millis, Millis, Millis) = sqlx::query_as(moments)
            .fetch_one(fixture.ctx.app.db.read())
            .await
            .unwrap();
        assert_eq!(
            moments,
            (now + 10 * MINUTE, now, now + 5 * MINUTE),
            "seen: {seen}"
        );
        let messages: Vec<(Millis, Millis)> = sqlx::query_as(
            "SELECT created_at, CASE WHEN state = 'waiting' THEN next_try_at ELSE created_at END
             FROM messages
             ORDER BY id",
        )
        .fetch_all(fixture.ctx.app.db.read())
        .await
        .unwrap();
        assert_eq!(
            messages,
            [(now, now + 2 * MINUTE), (now, now)],
            "seen: {seen}"
        );
        assert_eq!(
            fixture.count("SELECT created_at FROM notifications").await,
            now,
            "seen: {seen}"
        );
        // After the pause of the vendor, the run begins.
        fixture.ctx.clock.advance(5 * MINUTE);
        assert_eq!(fixture.claim(4).await.len(), 1, "seen: {seen}");
    }
}

#[tokio::test]
async fn a_server_whose_clock_cannot_be_right_schedules_nothing_and_says_so() {
    let ctx = TestContext::with(Clock::stopped_at(5_000), |_| {}).await;
    let (_, mut browser) = ctx.signed_in_person("ada", Role::Admin).await;
    ctx.app.start_pulling().await.unwrap();
    let ready = browser.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        ready
            .text
            .starts_with("The server clock shows 1970-01-01 00:00 UTC, which is wrong."),
        "{}",
        ready.text
    );
    let account = ctx
        .account(&ctx.person("olga", Role::Admin).await, "Support")
        .await
        .id;
    let owner = ctx.person("owen", Role::Admin).await;
    ctx.dataset(&owner, &account, "agents", "Agents").await;
    assert!(
        browser
            .get("/datasets")
            .await
            .words(".band.is-bad")
            .contains("No scheduled runs start until the clock is correct.")
    );
    ctx.clock.advance(NOON);
    assert_eq!(browser.get("/readyz").await.status, StatusCode::OK);
}
