//! What becomes due, on a clock that the test moves: missed runs, clocks that are set, rows that
//! cannot be read, whose turn it is, pause and resume, and the schedule as programs say it.

use axum::http::{Method, StatusCode};
use chatlake::actor::{Actor, Role, Scope};
use chatlake::clock::{Clock, Millis};
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::queue::{self, Claimed, WorkerLeases};
use chatlake::puller::run::Trigger;
use chatlake::puller::scheduler;
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::{DAY, HOUR, MINUTE, NOON, until};

/// A ctx in which nothing is pulled, an editor and an account.
struct ScheduleFixture {
    ctx: TestContext,
    owner: Actor,
    account: AccountId,
    token: String,
}

impl ScheduleFixture {
    async fn new() -> Self {
        let ctx = TestContext::new().await;
        let owner = ctx.person("olga", Role::Editor).await;
        let account = ctx.account(&owner, "Support").await.id;
        let token = ctx.token(&owner, Scope::Manage).await;
        Self {
            ctx,
            owner,
            account,
            token,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask_with(&self.token, method, path, body).await
    }

    async fn ask_with(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let page = self
            .ctx
            .browser()
            .send(
                method,
                &format!("/api/v1{path}"),
                body.map(|body| body.to_string()),
                &headers,
            )
            .await;
        (
            page.status.as_u16(),
            serde_json::from_str(&page.text).unwrap_or(Value::Null),
        )
    }

    /// A DataSet on this schedule, in Oslo.
    async fn make(&self, schedule: Value) -> DatasetId {
        let new = json!({"name": "Agents", "account_id": self.account, "report": "agents", "schedule": schedule, "time_zone": "Europe/Oslo"});
        let (status, made) = self.ask(Method::POST, "/datasets", Some(new)).await;
        assert_eq!(status, 201, "{made}");
        DatasetId::parse(made["id"].as_str().unwrap()).unwrap()
    }

    async fn dataset_json(&self, dataset: &DatasetId) -> Value {
        self.ask(Method::GET, &format!("/datasets/{dataset}"), None)
            .await
            .1
    }

    async fn tick(&self) -> Option<Millis> {
        scheduler::tick(&self.ctx.app.puller).await.unwrap()
    }

    async fn runs(&self, dataset: &DatasetId) -> Vec<chatlake::puller::run::Run> {
        queue::of_dataset(&self.ctx.app.db, dataset, 0, 1_000)
            .await
            .unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(self.ctx.app.db.read())
            .await
            .unwrap()
    }

    async fn change(&self, sql: &'static str) {
        let mut tx = self.ctx.app.db.write().await.unwrap();
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// So many more DataSets like the one that is there, each asking for something else.
    async fn copy(&self, many: usize) {
        let mut tx = self.ctx.app.db.write().await.unwrap();
        for n in 0..many {
            sqlx::query(
                "INSERT INTO datasets (id, owner_id, account_id, connector, report, name, description, menus, update_mode, time_zone, schedule, next_run_at, \
                 created_at, updated_at, last_due_at, schedule_plan) SELECT $1, owner_id, account_id, connector, report, name, description, \
                 '{\"login\":\"' || $2 || '\"}', update_mode, time_zone, schedule, next_run_at, created_at, updated_at, last_due_at, schedule_plan FROM datasets \
                 WHERE name = 'Agents' LIMIT 1",
            )
            .bind(DatasetId::new())
            .bind(n.to_string())
            .execute(&mut *tx)
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Ends every run that is alive.
    async fn all_succeed(&self) {
        self.change(
            "UPDATE runs
             SET state = 'succeeded', finished_at = queued_at, lease_until = NULL
             WHERE finished_at IS NULL",
        )
        .await;
    }

    async fn claim(&self, most: i64) -> Vec<Claimed> {
        queue::claim(
            &self.ctx.app.db,
            &self.ctx.clock,
            &WorkerLeases::new("a worker"),
            most,
        )
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn three_days_off_cost_a_thousand_hourly_datasets_one_run_each() {
    let fixture = ScheduleFixture::new().await;
    let first = fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.copy(999).await;
    // Noon itself has passed.
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
    // Their starts are spread, over a minute at most.
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
async fn what_was_missed_is_made_up_for_as_the_dataset_has_it() {
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
    // One after the other: the next one when the one before is over.
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
    // What was left out is told on the page until a run tells it.
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
async fn a_clock_that_is_set_makes_nothing_run_twice_and_nothing_wait_for_ever() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 1);
    fixture.all_succeed().await;
    // An hour back, and the same hour again.
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
    // Weeks ahead by mistake: one run for all that seems to have passed; and back again.
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
async fn a_clock_that_was_ahead_and_is_put_right_stops_no_schedule() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"cron": "*/15 * * * *"})).await;
    let mut runs = 0;
    fixture.tick().await;
    for ahead in [HOUR, 20 * HOUR, DAY] {
        fixture.ctx.clock.jump(ahead);
        // Saved meanwhile, it is planned for then.
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
async fn what_waits_for_a_moment_of_a_wrong_clock_waits_as_long_as_it_would_have() {
    // The clock goes back while the server looks, or while it does not run.
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
        sqlx::query("INSERT INTO notifications (id, channel, recipient, kind, about, created_at) VALUES ('n', 'webhook', $1, 'late', '{}', $2)")
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
        // The vendor's pause over, it is its turn.
        fixture.ctx.clock.advance(5 * MINUTE);
        assert_eq!(fixture.claim(4).await.len(), 1, "seen: {seen}");
    }
}

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
        matches!(&response[..], [(kind, about)] if kind == "stopped" && about.contains("The schedule cannot run. There is no such time zone.")),
        "{response:?}"
    );
    // Saved anew it is well; what goes wrong later is told again.
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
async fn a_slot_that_falls_due_during_a_run_is_counted_as_missed() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    // It has not begun: it stands for the next one too.
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
        "the next run tells"
    );
}

#[tokio::test]
async fn a_pause_ends_a_backlog_that_is_made_up_for_one_by_one() {
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

#[tokio::test]
async fn a_run_that_cannot_be_queued_keeps_no_other_from_it() {
    let fixture = ScheduleFixture::new().await;
    fixture.make(json!({"cron": "0 * * * *"})).await;
    fixture.copy(10).await;
    fixture.change("CREATE TRIGGER odd BEFORE INSERT ON runs WHEN NEW.dataset_id = (SELECT id FROM datasets ORDER BY id LIMIT 1 OFFSET 3) BEGIN SELECT RAISE(ABORT, 'odd'); END").await;
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
    // Later it is looked at again; meanwhile the others keep their hours.
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
    // Saved anew it runs again.
    let (status, mended) = fixture
        .ask(
            Method::PATCH,
            &format!("/datasets/{}", bad[0]),
            Some(json!({"schedule": {"cron": "0 * * * *"}, "time_zone": "UTC"})),
        )
        .await;
    assert_eq!(
        (
            status,
            &mended["schedule_problem"],
            mended["next_run_at"].as_str()
        ),
        (200, &Value::Null, Some("2026-11-20T14:00:00Z")),
        "{mended}"
    );
}

#[tokio::test]
async fn a_paused_schedule_waits_for_a_person() {
    let fixture = ScheduleFixture::new().await;
    let dataset = fixture.make(json!({"times": ["09:00", "17:30"]})).await;
    let mut browser = fixture.ctx.signed_in(&fixture.owner).await;
    let page = browser
        .submit(&format!("/datasets/{dataset}/pause"), &[])
        .await;
    assert!(
        page.words(".band")
            .starts_with("The schedule was paused by olga, 20 Nov 13:00."),
        "{}",
        page.words(".band")
    );
    assert_eq!(
        browser.get("/datasets").await.words(".status-cell"),
        "Paused by olga, 20 Nov 13:00"
    );
    let response = fixture.dataset_json(&dataset).await;
    assert_eq!(
        (&response["paused"], &response["next_run_at"]),
        (
            &json!({"at": "2026-11-20T12:00:00Z", "by": "olga"}),
            &Value::Null
        )
    );
    fixture.ctx.clock.advance(3 * DAY);
    fixture.tick().await;
    assert_eq!(fixture.runs(&dataset).await.len(), 0);
    // A change of the schedule does not resume it.
    let (_, response) = fixture
        .ask(
            Method::PATCH,
            &format!("/datasets/{dataset}"),
            Some(json!({"schedule": {"cron": "0 * * * *"}})),
        )
        .await;
    assert!(
        response["paused"]["by"] == "olga" && response["next_run_at"].is_null(),
        "{response}"
    );
    // Pausing again changes nothing; a person runs it all the same.
    let (status, again) = fixture
        .ask(
            Method::POST,
            &format!("/datasets/{dataset}/pause"),
            Some(json!({})),
        )
        .await;
    assert_eq!(
        (status, again["paused"]["at"].as_str()),
        (200, Some("2026-11-20T12:00:00Z"))
    );
    fixture
        .ctx
        .app
        .puller
        .run_now(&fixture.owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    fixture.all_succeed().await;
    let (status, resumed) = fixture
        .ask(
            Method::POST,
            &format!("/datasets/{dataset}/resume"),
            Some(json!({})),
        )
        .await;
    assert_eq!(
        (status, &resumed["paused"], resumed["next_run_at"].as_str()),
        (200, &Value::Null, Some("2026-11-23T13:00:00Z"))
    );
    fixture.ctx.clock.advance(HOUR);
    fixture.tick().await;
    let run = &fixture.runs(&dataset).await[0];
    assert_eq!(
        (run.trigger, run.missed),
        (Trigger::Schedule, 0),
        "nothing is made up for"
    );
    let trail: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT action, actor FROM audit WHERE object = $1 ORDER BY id")
            .bind(&dataset)
            .fetch_all(fixture.ctx.app.db.read())
            .await
            .unwrap();
    assert_eq!(
        trail,
        [
            (
                "dataset.pause".to_owned(),
                Some(fixture.owner.user.to_string())
            ),
            (
                "dataset.resume".to_owned(),
                Some(fixture.owner.user.to_string())
            )
        ]
    );
    // One that is run by hand has nothing to pause.
    let by_hand = fixture.make(Value::Null).await;
    let (status, why) = fixture
        .ask(
            Method::POST,
            &format!("/datasets/{by_hand}/pause"),
            Some(json!({})),
        )
        .await;
    assert_eq!(
        (status, why["error"]["code"].as_str()),
        (409, Some("no_schedule"))
    );
}

#[tokio::test]
async fn programs_say_every_kind_of_schedule_and_read_the_same_back() {
    let fixture = ScheduleFixture::new().await;
    for (schedule, words, next) in [
        (
            json!({"cron": "0 9 * * *"}),
            "Every day at 09:00, Europe/Oslo",
            "2026-11-21T08:00:00Z",
        ),
        (
            json!({"times": ["09:00", "17:30"]}),
            "Every day at 09:00 and 17:30, Europe/Oslo",
            "2026-11-20T16:30:00Z",
        ),
        (
            json!({"every": "15m", "active_from": "08:00", "active_to": "18:00"}),
            "Every 15 minutes from 08:00 to 18:00, both included, Europe/Oslo",
            "2026-11-20T12:15:00Z",
        ),
        (
            json!({"times": ["09:00", "17:30"], "weekdays": ["fri"], "nth": [2, "last"]}),
            "On the second and last Friday of the month at 09:00 and 17:30, Europe/Oslo",
            "2026-11-27T08:00:00Z",
        ),
        (
            json!({"times": ["09:00"], "every_days": 3, "days_from": "2026-11-20"}),
            "Every 3 days, starting 20 Nov 2026, at 09:00, Europe/Oslo",
            "2026-11-23T08:00:00Z",
        ),
        (
            json!({"cron": "0 9 1 * 1", "catch_up": "none", "starts_at": "2026-12-02T00:00:00Z"}),
            "",
            "2026-12-07T08:00:00Z",
        ),
    ] {
        let dataset = fixture.make(schedule.clone()).await;
        let response = fixture.dataset_json(&dataset).await;
        assert_eq!(
            (&response["schedule"], response["next_run_at"].as_str()),
            (&schedule, Some(next)),
            "{response}"
        );
        assert!(
            words.is_empty() || response["schedule_words"] == words,
            "{response}"
        );
        // Another change leaves it.
        let (_, response) = fixture
            .ask(
                Method::PATCH,
                &format!("/datasets/{dataset}"),
                Some(json!({"report": "groups"})),
            )
            .await;
        assert_eq!(
            (&response["schedule"], response["next_run_at"].as_str()),
            (&schedule, Some(next)),
            "{response}"
        );
    }
    let dataset = fixture.make(json!({"remind_after_hours": 24})).await;
    assert_eq!(
        fixture.dataset_json(&dataset).await["schedule"],
        json!({"remind_after_hours": 24})
    );
    fixture.ctx.clock.advance(25 * HOUR);
    let mut browser = fixture.ctx.signed_in(&fixture.owner).await;
    assert!(
        browser
            .get(&format!("/datasets/{dataset}"))
            .await
            .words(".band")
            .contains("older than its reminder allows")
    );
    for wrong in [
        json!({"cron": "0 0 31 2 *"}),
        json!({"every": "1m"}),
        json!({"times": ["9 o'clock"]}),
        json!({}),
        json!({"cron": "0 9 * * *", "odd": 1}),
    ] {
        let new = json!({"name": "Agents", "account_id": fixture.account, "report": "agents", "schedule": wrong});
        let (status, why) = fixture.ask(Method::POST, "/datasets", Some(new)).await;
        assert!(
            matches!(status, 400 | 422)
                && why["error"]["message"]
                    .as_str()
                    .is_some_and(|text| text.ends_with('.')),
            "{status} {why}"
        );
    }
}

#[tokio::test]
async fn one_account_with_many_does_not_keep_another_waiting_and_people_go_first() {
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
    // Four workers: three at most for one account.
    let mut claimed = Vec::new();
    for _ in 0..5 {
        claimed.push(
            fixture
                .claim(3)
                .await
                .first()
                .map(|run| run.dataset_id.clone()),
        );
        // They do not gather for each other here.
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
