//! Schedules without a next time, and stored schedules that cannot be read.

use axum::http::Method;
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use serde_json::{Value, json};

use super::ScheduleFixture;
use crate::support::HOUR;

#[tokio::test]
async fn an_impossible_schedule_is_notified_once() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"cron": "0 * * * *"})).await;
    let hook = fixture
        .ctx
        .app
        .puller
        .notifications
        .add_webhook("Team", "http://127.0.0.1:1/hook")
        .await
        .unwrap()
        .0
        .id
        .to_string();
    let notify = NotificationSettings::new(
        Some(Vec::new()),
        vec![hook],
        NotificationKind::ALL.into(),
        1,
    )
    .unwrap();
    fixture
        .ctx
        .app
        .datasets
        .set_notifications(&fixture.owner, &dataset, &notify)
        .await
        .unwrap();
    fixture
        .change("UPDATE datasets SET time_zone = 'Mars/Base'")
        .await;
    for _ in 0..3 {
        fixture.ctx.clock.advance(HOUR);
        fixture.tick().await;
    }
    let response: Vec<(String, String)> = sqlx::query_as("SELECT kind, about FROM notifications")
        .fetch_all(fixture.ctx.app.db.read())
        .await
        .unwrap();
    assert!(
        matches!(&response[..], [(kind, about)] if kind == "stopped" && about.contains("The schedule cannot run. \
            There is no such time zone.")),
        "{response:?}"
    );
    // A new schedule works, and a later problem is notified again.
    let saved = json!({"schedule": {"cron": "0 * * * *"}, "time_zone": "UTC"});
    assert_eq!(
        fixture
            .ask(Method::PATCH, &format!("/datasets/{dataset}"), Some(saved))
            .await
            .0,
        200
    );
    fixture
        .change("UPDATE datasets SET schedule = 'nonsense'")
        .await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(
        fixture
            .count("SELECT COUNT(*) FROM notifications WHERE kind = 'stopped'")
            .await,
        2
    );
}

#[tokio::test]
async fn a_run_that_cannot_be_queued_does_not_block_others() {
    let fixture = ScheduleFixture::new().await;
    fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.copy(10).await;
    fixture
        .change(
            "CREATE TRIGGER odd BEFORE INSERT ON runs \
        WHEN NEW.dataset_id = (SELECT id FROM datasets ORDER BY id LIMIT 1 OFFSET 3) \
        BEGIN SELECT RAISE(ABORT, 'odd'); END",
        )
        .await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(fixture.count("SELECT COUNT(*) FROM runs").await, 10);
    assert_eq!(fixture.count(
        "SELECT COUNT(*) FROM datasets WHERE schedule_error = 'Its run could not be queued.'").await, 1);
    fixture.change("DROP TRIGGER odd").await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(
        fixture.count("SELECT COUNT(*) FROM runs").await,
        11,
        "it is tried again in an hour"
    );
    assert_eq!(
        fixture
            .count("SELECT COUNT(*) FROM datasets WHERE schedule_error IS NOT NULL")
            .await,
        0
    );
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_marked_and_the_others_run() {
    let fixture = ScheduleFixture::new().await;
    let mut bad = Vec::new();
    for _ in 0..6 {
        bad.push(fixture.make(json!({"cron": "0 * * * *"})).await);
    }
    let good = fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.copy(20).await;
    for (dataset, sql) in bad.iter().zip([
        "UPDATE datasets SET time_zone = 'Mars/Base' WHERE id = $1",
        "UPDATE datasets SET schedule = '0 0 31 2 x' WHERE id = $1",
        "UPDATE datasets SET schedule = '0 0 31 2 *', next_run_at = NULL WHERE id = $1",
        "UPDATE datasets SET schedule = NULL, schedule_plan = '{\"times\": 7}' WHERE id = $1",
        "UPDATE datasets SET menus = 'nonsense' WHERE id = $1",
        "UPDATE datasets SET schedule = x'00ff' WHERE id = $1",
    ]) {
        let mut tx = fixture.ctx.app.db.write().await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(dataset)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(
        fixture.count("SELECT COUNT(*) FROM runs").await,
        21,
        "every good one"
    );
    assert_eq!(
        fixture
            .count("SELECT COUNT(*) FROM datasets WHERE schedule_error IS NOT NULL")
            .await,
        6
    );
    // The row is checked again later; in the meantime the others run as scheduled.
    assert_eq!(fixture.runs(&good).await.len(), 1);
    let response = fixture.dataset_json(&bad[0]).await;
    assert_eq!(
        (
            response["schedule_problem"].as_str(),
            &response["next_run_at"]
        ),
        (
            Some("There is no such time zone. Use a name such as Europe/Oslo or UTC."),
            &Value::Null
        )
    );
    let mut browser = fixture.ctx.signed_in(&fixture.owner).await;
    let page = browser.get(&format!("/datasets/{}", bad[0])).await;
    assert!(
        page.words(".band").contains("cannot be used")
            && page.words(".facts").contains("Not scheduled"),
        "{}",
        page.words(".band")
    );
    // With a new schedule it runs again.
    let (status, repaired) = fixture
        .ask(
            Method::PATCH,
            &format!("/datasets/{}", bad[0]),
            Some(json!({"schedule": {"cron": "0 * * * *"}, "time_zone": "UTC"})),
        )
        .await;
    assert_eq!(
        (
            status,
            &repaired["schedule_problem"],
            repaired["next_run_at"].as_str()
        ),
        (200, &Value::Null, Some("2026-11-20T14:00:00Z")),
        "{repaired}"
    );
}
