//! What becomes due, on a clock that the test moves: missed runs, clocks that are set, rows that cannot be read, whose turn it is, pause
//! and resume, and the schedule as programs say it.

use axum::http::{Method, StatusCode};
use chatlake::actor::{Actor, Role, Scope};
use chatlake::clock::{Clock, Millis};
use chatlake::datasets::upkeep::{Kind as Told, Notify};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::queue::{self, Claimed, Holder};
use chatlake::puller::run::Trigger;
use chatlake::puller::scheduler;
use serde_json::{Value, json};

use super::house::{House, NOON};

const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;

/// A house in which nothing is pulled, an editor and an account.
struct Desk {
    house: House,
    owner: Actor,
    account: AccountId,
    token: String,
}

impl Desk {
    async fn new() -> Self {
        let house = House::new().await;
        let owner = house.person("olga", Role::Editor).await;
        let account = house.account(&owner, "Support").await.id;
        let token = house.token(&owner, Scope::Manage).await;
        Self { house, owner, account, token }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask_with(&self.token, method, path, body).await
    }

    async fn ask_with(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let page = self.house.browser().send(method, &format!("/api/v1{path}"), body.map(|body| body.to_string()), &headers).await;
        (page.status.as_u16(), serde_json::from_str(&page.text).unwrap_or(Value::Null))
    }

    /// A DataSet on this schedule, in Oslo.
    async fn make(&self, schedule: Value) -> DatasetId {
        let new = json!({"name": "Agents", "account_id": self.account, "report": "agents", "schedule": schedule, "time_zone": "Europe/Oslo"});
        let (status, made) = self.ask(Method::POST, "/datasets", Some(new)).await;
        assert_eq!(status, 201, "{made}");
        DatasetId::parse(made["id"].as_str().unwrap()).unwrap()
    }

    async fn told(&self, dataset: &DatasetId) -> Value {
        self.ask(Method::GET, &format!("/datasets/{dataset}"), None).await.1
    }

    async fn tick(&self) -> Option<Millis> {
        scheduler::tick(&self.house.app.puller).await.unwrap()
    }

    async fn runs(&self, dataset: &DatasetId) -> Vec<chatlake::puller::run::Run> {
        queue::of_dataset(&self.house.app.db, dataset, 0, 1_000).await.unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.house.app.db.read()).await.unwrap()
    }

    async fn change(&self, sql: &'static str) {
        let mut tx = self.house.app.db.write().await.unwrap();
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// So many more DataSets like the one that is there, each asking for something else.
    async fn copy(&self, many: usize) {
        let mut tx = self.house.app.db.write().await.unwrap();
        for n in 0..many {
            sqlx::query(
                "INSERT INTO datasets (id, owner_id, account_id, connector, report, name, description, menus, update_mode, time_zone, schedule, next_run_at, \
                 created_at, updated_at, last_due_at, plan) SELECT $1, owner_id, account_id, connector, report, name, description, \
                 '{\"login\":\"' || $2 || '\"}', update_mode, time_zone, schedule, next_run_at, created_at, updated_at, last_due_at, plan FROM datasets \
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
        self.change("UPDATE runs SET state = 'succeeded', finished_at = queued_at, lease_until = NULL WHERE finished_at IS NULL").await;
    }

    async fn claim(&self, most: i64) -> Vec<Claimed> {
        queue::claim(&self.house.app.db, &self.house.clock, &Holder::new("a worker"), most).await.unwrap()
    }
}

#[tokio::test]
async fn three_days_off_cost_a_thousand_hourly_datasets_one_run_each() {
    let desk = Desk::new().await;
    let first = desk.make(json!({"cron": "0 * * * *"})).await;
    desk.copy(999).await;
    // Noon itself has passed.
    assert_eq!(desk.tick().await, Some(NOON + HOUR));
    desk.house.clock.advance(3 * DAY + HOUR / 2);
    desk.tick().await;
    assert_eq!(desk.count("SELECT COUNT(*) FROM runs").await, 1_000, "not 72,000");
    assert_eq!(desk.runs(&first).await[0].missed, 71);
    assert_eq!(desk.count("SELECT COUNT(*) FROM datasets WHERE next_run_at <= 0 OR next_run_at IS NULL").await, 0);
    // Their starts are spread, over a minute at most.
    let now = desk.house.clock.now();
    let seconds = desk.count("SELECT COUNT(DISTINCT due_at / 1000) FROM runs").await;
    let (least, most): (i64, i64) = sqlx::query_as("SELECT MIN(due_at), MAX(due_at) FROM runs").fetch_one(desk.house.app.db.read()).await.unwrap();
    assert!((40..=61).contains(&seconds) && least == now && most <= now + 60_000, "{seconds} {least} {most}");
    desk.tick().await;
    assert_eq!(desk.count("SELECT COUNT(*) FROM runs").await, 1_000);
}

#[tokio::test]
async fn what_was_missed_is_made_up_for_as_the_dataset_has_it() {
    let desk = Desk::new().await;
    let one = desk.make(json!({"cron": "0 * * * *"})).await;
    let all = desk.make(json!({"cron": "0 * * * *", "catch_up": "all"})).await;
    let none = desk.make(json!({"cron": "0 * * * *", "catch_up": "none"})).await;
    desk.tick().await;
    desk.house.clock.advance(4 * HOUR + HOUR / 2);
    // One after the other: the next one when the one before is over.
    for made in 1..=4 {
        assert_eq!(desk.tick().await, Some(desk.house.clock.now() + if made < 4 { 1_000 } else { HOUR / 2 }));
        desk.tick().await;
        assert_eq!(desk.runs(&all).await.len(), made);
        desk.all_succeed().await;
    }
    desk.tick().await;
    assert_eq!((desk.runs(&all).await.len(), desk.runs(&one).await.len(), desk.runs(&none).await.len()), (4, 1, 0));
    assert_eq!(desk.runs(&one).await[0].missed, 3);
    // What was left out is told on the page until a run tells it.
    assert_eq!(desk.told(&none).await["missed"], 4);
    let mut browser = desk.house.signed_in(&desk.owner).await;
    let page = browser.get(&format!("/datasets/{none}")).await;
    assert!(page.words(".band").starts_with("4 runs were missed and skipped."), "{}", page.words(".band"));
    desk.house.clock.advance(HOUR / 2);
    desk.tick().await;
    assert_eq!((desk.runs(&none).await.len(), desk.runs(&none).await[0].missed, desk.told(&none).await["missed"].clone()), (1, 4, json!(0)));
    let run = desk.runs(&none).await[0].id.to_string();
    let record = browser.get(&format!("/runs/{run}")).await.words(".sums");
    assert!(record.contains("Missed before this run 4 runs"), "{record}");
    let (_, told) = desk.ask(Method::GET, &format!("/runs/{run}"), None).await;
    assert_eq!((&told["missed"], &told["trigger"]), (&json!(4), &json!("schedule")));
}

#[tokio::test]
async fn a_clock_that_is_set_makes_nothing_run_twice_and_nothing_wait_for_ever() {
    let desk = Desk::new().await;
    let dataset = desk.make(json!({"cron": "0 * * * *"})).await;
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 1);
    desk.all_succeed().await;
    // An hour back, and the same hour again.
    desk.house.clock.advance(-HOUR);
    for _ in 0..4 {
        desk.tick().await;
        desk.house.clock.advance(HOUR / 4);
    }
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 1, "13:00 comes once");
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 2);
    desk.all_succeed().await;
    // Weeks ahead by mistake: one run for all that seems to have passed; and back again.
    desk.house.clock.advance(20 * DAY);
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 3);
    let waits = desk.make(json!({"cron": "0 12 * * *"})).await;
    desk.house.clock.advance(-20 * DAY);
    desk.tick().await;
    let next = |told: Value| told["next_run_at"].as_str().unwrap().to_owned();
    assert_eq!((next(desk.told(&dataset).await).as_str(), next(desk.told(&waits).await).as_str()), ("2026-11-20T15:00:00Z", "2026-11-21T11:00:00Z"));
    desk.all_succeed().await;
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 4, "it goes on at the right hour");
}

#[tokio::test]
async fn a_run_queued_under_a_clock_far_ahead_does_not_wait_for_that_day() {
    let desk = Desk::new().await;
    let dataset = desk.make(json!({"cron": "0 * * * *"})).await;
    desk.house.clock.advance(30 * DAY);
    desk.tick().await;
    desk.house.clock.advance(-30 * DAY);
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await[0].due_at, desk.house.clock.now());
    assert_eq!(desk.claim(4).await.len(), 1);
}

#[tokio::test]
async fn a_clock_that_was_ahead_and_is_put_right_stops_no_schedule() {
    let desk = Desk::new().await;
    let dataset = desk.make(json!({"cron": "*/15 * * * *"})).await;
    let mut runs = 0;
    desk.tick().await;
    for ahead in [HOUR, 20 * HOUR, DAY] {
        desk.house.clock.set_by(ahead);
        // Saved meanwhile, it is planned for then.
        let saved = desk.make(json!({"cron": "*/15 * * * *"})).await;
        desk.tick().await;
        desk.house.clock.set_by(-ahead);
        desk.tick().await;
        runs += 1;
        for one in [&dataset, &saved] {
            let next = chatlake::clock::timestamp(desk.house.clock.now()).strftime("%H").to_string();
            let told = desk.told(one).await["next_run_at"].as_str().unwrap().to_owned();
            assert_eq!(told, format!("2026-11-20T{next}:15:00Z"), "after {ahead}");
        }
        desk.all_succeed().await;
        desk.house.clock.advance(HOUR / 4);
        desk.tick().await;
        runs += 1;
        assert_eq!(desk.runs(&dataset).await.len(), runs, "after {ahead}");
        desk.all_succeed().await;
        desk.house.clock.advance(HOUR * 3 / 4);
        desk.change("UPDATE datasets SET last_due_at = NULL, next_run_at = NULL").await;
        desk.tick().await;
    }
}

#[tokio::test]
async fn what_waits_for_a_moment_of_a_wrong_clock_waits_as_long_as_it_would_have() {
    const MINUTE: Millis = 60_000;
    // The clock goes back while the server looks, or while it does not run.
    for seen in [true, false] {
        let desk = Desk::new().await;
        let limited = desk.make(json!({"cron": "0 * * * *"})).await;
        let notices = &desk.house.app.puller.notices;
        let hook = notices.add_webhook("Team", "http://127.0.0.1:1/hook").await.unwrap().0.id.to_string();
        desk.house.clock.advance(30 * DAY);
        if seen {
            desk.tick().await;
        } else {
            desk.change("INSERT INTO clock (id, seen_at) VALUES ('seen', 1795176000000 + 2592000000)").await;
            desk.house.app.puller.run_now(&desk.owner, &limited, Trigger::Manual).await.unwrap();
        }
        let then = desk.house.clock.now();
        desk.change("UPDATE runs SET state = 'waiting', due_at = 1795176000000 + 2592000000 + 300000").await;
        desk.change("UPDATE datasets SET retry_at = 1795176000000 + 2592000000 + 600000, last_success_at = 1795176000000 + 2592000000").await;
        desk.change("UPDATE accounts SET paused_until = 1795176000000 + 2592000000 + 300000").await;
        let mut tx = desk.house.app.db.write().await.unwrap();
        for (id, state) in [("a", "waiting"), ("b", "sent")] {
            sqlx::query("INSERT INTO messages (id, channel, recipient, subject, body, notices, state, next_try_at, created_at) VALUES ($1, 'webhook', $2, '', '', 1, $3, $4 + 120000, $4)")
                .bind(id)
                .bind(&hook)
                .bind(state)
                .bind(then)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        sqlx::query("INSERT INTO notices (id, channel, recipient, kind, about, created_at) VALUES ('n', 'webhook', $1, 'late', '{}', $2)")
            .bind(&hook)
            .bind(then)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        desk.house.clock.advance(-30 * DAY);
        desk.tick().await;
        let now = desk.house.clock.now();
        let run = desk.runs(&limited).await.remove(0);
        assert_eq!((run.state.word(), run.due_at), ("waiting", now + 5 * MINUTE), "seen: {seen}");
        let moments = "SELECT retry_at, last_success_at, (SELECT paused_until FROM accounts) FROM datasets";
        let moments: (Millis, Millis, Millis) = sqlx::query_as(moments).fetch_one(desk.house.app.db.read()).await.unwrap();
        assert_eq!(moments, (now + 10 * MINUTE, now, now + 5 * MINUTE), "seen: {seen}");
        let messages: Vec<(Millis, Millis)> =
            sqlx::query_as("SELECT created_at, CASE WHEN state = 'waiting' THEN next_try_at ELSE created_at END FROM messages ORDER BY id")
                .fetch_all(desk.house.app.db.read())
                .await
                .unwrap();
        assert_eq!(messages, [(now, now + 2 * MINUTE), (now, now)], "seen: {seen}");
        assert_eq!(desk.count("SELECT created_at FROM notices").await, now, "seen: {seen}");
        // The vendor's pause over, it is its turn.
        desk.house.clock.advance(5 * MINUTE);
        assert_eq!(desk.claim(4).await.len(), 1, "seen: {seen}");
    }
}

#[tokio::test]
async fn a_schedule_that_cannot_be_followed_is_told_once() {
    let desk = Desk::new().await;
    let dataset = desk.make(json!({"cron": "0 * * * *"})).await;
    let hook = desk.house.app.puller.notices.add_webhook("Team", "http://127.0.0.1:1/hook").await.unwrap().0.id.to_string();
    let notify = Notify::new(Some(Vec::new()), vec![hook], Told::ALL.into(), 1).unwrap();
    desk.house.app.datasets.set_notify(&desk.owner, &dataset, &notify).await.unwrap();
    desk.change("UPDATE datasets SET time_zone = 'Mars/Base'").await;
    for _ in 0..3 {
        desk.house.clock.advance(HOUR);
        desk.tick().await;
    }
    let told: Vec<(String, String)> = sqlx::query_as("SELECT kind, about FROM notices").fetch_all(desk.house.app.db.read()).await.unwrap();
    assert!(matches!(&told[..], [(kind, about)] if kind == "stopped" && about.contains("The schedule cannot run. There is no such time zone.")), "{told:?}");
    // Saved anew it is well; what goes wrong later is told again.
    let saved = json!({"schedule": {"cron": "0 * * * *"}, "time_zone": "UTC"});
    assert_eq!(desk.ask(Method::PATCH, &format!("/datasets/{dataset}"), Some(saved)).await.0, 200);
    desk.change("UPDATE datasets SET schedule = 'nonsense'").await;
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!(desk.count("SELECT COUNT(*) FROM notices WHERE kind = 'stopped'").await, 2);
}

#[tokio::test]
async fn a_moment_that_comes_while_a_run_is_alive_is_counted() {
    let desk = Desk::new().await;
    let dataset = desk.make(json!({"cron": "0 * * * *"})).await;
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    // It has not begun: it stands for the next one too.
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!((desk.runs(&dataset).await[0].missed, &desk.told(&dataset).await["missed"]), (1, &json!(0)));
    let held = desk.claim(4).await;
    assert_eq!(held.len(), 1);
    for missed in 1..=2 {
        desk.house.clock.advance(HOUR);
        desk.tick().await;
        assert_eq!((desk.runs(&dataset).await[0].missed, &desk.told(&dataset).await["missed"]), (1, &json!(missed)), "it is at work");
    }
    desk.all_succeed().await;
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    let runs = desk.runs(&dataset).await;
    assert_eq!((runs.len(), runs[0].missed, &desk.told(&dataset).await["missed"]), (2, 2, &json!(0)), "the next run tells");
}

#[tokio::test]
async fn a_pause_ends_a_backlog_that_is_made_up_for_one_by_one() {
    let desk = Desk::new().await;
    let dataset = desk.make(json!({"cron": "0 * * * *", "catch_up": "all"})).await;
    desk.house.clock.advance(5 * HOUR);
    desk.tick().await;
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 1, "one after the other");
    desk.all_succeed().await;
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 2);
    desk.all_succeed().await;
    assert_eq!(desk.ask(Method::POST, &format!("/datasets/{dataset}/pause"), Some(json!({}))).await.0, 200);
    desk.tick().await;
    assert_eq!(desk.ask(Method::POST, &format!("/datasets/{dataset}/resume"), Some(json!({}))).await.0, 200);
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 2, "what was missed stays missed");
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 3);
}

#[tokio::test]
async fn a_run_that_cannot_be_queued_keeps_no_other_from_it() {
    let desk = Desk::new().await;
    desk.make(json!({"cron": "0 * * * *"})).await;
    desk.copy(10).await;
    desk.change("CREATE TRIGGER odd BEFORE INSERT ON runs WHEN NEW.dataset_id = (SELECT id FROM datasets ORDER BY id LIMIT 1 OFFSET 3) BEGIN SELECT RAISE(ABORT, 'odd'); END").await;
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!(desk.count("SELECT COUNT(*) FROM runs").await, 10);
    assert_eq!(desk.count("SELECT COUNT(*) FROM datasets WHERE schedule_error = 'Its run could not be queued.'").await, 1);
    desk.change("DROP TRIGGER odd").await;
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!(desk.count("SELECT COUNT(*) FROM runs").await, 11, "it is tried again in an hour");
    assert_eq!(desk.count("SELECT COUNT(*) FROM datasets WHERE schedule_error IS NOT NULL").await, 0);
}

#[tokio::test]
async fn a_server_whose_clock_cannot_be_right_schedules_nothing_and_says_so() {
    let house = House::with(Clock::stopped_at(5_000), |_| {}).await;
    let (_, mut browser) = house.at_browser("ada", Role::Admin).await;
    house.app.start_pulling().await.unwrap();
    let ready = browser.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text.starts_with("The server clock shows 1970-01-01 00:00 UTC, which is wrong."), "{}", ready.text);
    let account = house.account(&house.person("olga", Role::Admin).await, "Support").await.id;
    let owner = house.person("owen", Role::Admin).await;
    house.dataset(&owner, &account, "agents", "Agents").await;
    assert!(browser.get("/datasets").await.words(".band.is-bad").contains("No scheduled runs start until the clock is correct."));
    house.clock.advance(NOON);
    assert_eq!(browser.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_marked_and_the_others_run() {
    let desk = Desk::new().await;
    let mut bad = Vec::new();
    for _ in 0..6 {
        bad.push(desk.make(json!({"cron": "0 * * * *"})).await);
    }
    let good = desk.make(json!({"cron": "0 * * * *"})).await;
    desk.copy(20).await;
    for (dataset, sql) in bad.iter().zip([
        "UPDATE datasets SET time_zone = 'Mars/Base' WHERE id = $1",
        "UPDATE datasets SET schedule = '0 0 31 2 x' WHERE id = $1",
        "UPDATE datasets SET schedule = '0 0 31 2 *', next_run_at = NULL WHERE id = $1",
        "UPDATE datasets SET schedule = NULL, plan = '{\"times\": 7}' WHERE id = $1",
        "UPDATE datasets SET menus = 'nonsense' WHERE id = $1",
        "UPDATE datasets SET schedule = x'00ff' WHERE id = $1",
    ]) {
        let mut tx = desk.house.app.db.write().await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(dataset).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    assert_eq!(desk.count("SELECT COUNT(*) FROM runs").await, 21, "every good one");
    assert_eq!(desk.count("SELECT COUNT(*) FROM datasets WHERE schedule_error IS NOT NULL").await, 6);
    // Later it is looked at again; meanwhile the others keep their hours.
    assert_eq!(desk.runs(&good).await.len(), 1);
    let told = desk.told(&bad[0]).await;
    assert_eq!(
        (told["schedule_problem"].as_str(), &told["next_run_at"]),
        (Some("There is no such time zone. Use a name such as Europe/Oslo or UTC."), &Value::Null)
    );
    let mut browser = desk.house.signed_in(&desk.owner).await;
    let page = browser.get(&format!("/datasets/{}", bad[0])).await;
    assert!(page.words(".band").contains("cannot be used") && page.words(".facts").contains("Not scheduled"), "{}", page.words(".band"));
    // Saved anew it runs again.
    let (status, mended) =
        desk.ask(Method::PATCH, &format!("/datasets/{}", bad[0]), Some(json!({"schedule": {"cron": "0 * * * *"}, "time_zone": "UTC"}))).await;
    assert_eq!((status, &mended["schedule_problem"], mended["next_run_at"].as_str()), (200, &Value::Null, Some("2026-11-20T14:00:00Z")), "{mended}");
}

#[tokio::test]
async fn a_paused_schedule_waits_for_a_person() {
    let desk = Desk::new().await;
    let dataset = desk.make(json!({"times": ["09:00", "17:30"]})).await;
    let mut browser = desk.house.signed_in(&desk.owner).await;
    let page = browser.submit(&format!("/datasets/{dataset}/pause"), &[]).await;
    assert!(page.words(".band").starts_with("The schedule was paused by olga, 20 Nov 13:00."), "{}", page.words(".band"));
    assert_eq!(browser.get("/datasets").await.words(".status-cell"), "Paused by olga, 20 Nov 13:00");
    let told = desk.told(&dataset).await;
    assert_eq!((&told["paused"], &told["next_run_at"]), (&json!({"at": "2026-11-20T12:00:00Z", "by": "olga"}), &Value::Null));
    desk.house.clock.advance(3 * DAY);
    desk.tick().await;
    assert_eq!(desk.runs(&dataset).await.len(), 0);
    // A change of the schedule does not resume it.
    let (_, told) = desk.ask(Method::PATCH, &format!("/datasets/{dataset}"), Some(json!({"schedule": {"cron": "0 * * * *"}}))).await;
    assert!(told["paused"]["by"] == "olga" && told["next_run_at"].is_null(), "{told}");
    // Pausing again changes nothing; a person runs it all the same.
    let (status, again) = desk.ask(Method::POST, &format!("/datasets/{dataset}/pause"), Some(json!({}))).await;
    assert_eq!((status, again["paused"]["at"].as_str()), (200, Some("2026-11-20T12:00:00Z")));
    desk.house.app.puller.run_now(&desk.owner, &dataset, Trigger::Manual).await.unwrap();
    desk.all_succeed().await;
    let (status, resumed) = desk.ask(Method::POST, &format!("/datasets/{dataset}/resume"), Some(json!({}))).await;
    assert_eq!((status, &resumed["paused"], resumed["next_run_at"].as_str()), (200, &Value::Null, Some("2026-11-23T13:00:00Z")));
    desk.house.clock.advance(HOUR);
    desk.tick().await;
    let run = &desk.runs(&dataset).await[0];
    assert_eq!((run.trigger, run.missed), (Trigger::Schedule, 0), "nothing is made up for");
    let trail: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT action, actor FROM audit WHERE object = $1 ORDER BY id").bind(&dataset).fetch_all(desk.house.app.db.read()).await.unwrap();
    assert_eq!(trail, [("dataset.pause".to_owned(), Some(desk.owner.user.to_string())), ("dataset.resume".to_owned(), Some(desk.owner.user.to_string()))]);
    // One that is run by hand has nothing to pause.
    let by_hand = desk.make(Value::Null).await;
    let (status, why) = desk.ask(Method::POST, &format!("/datasets/{by_hand}/pause"), Some(json!({}))).await;
    assert_eq!((status, why["error"]["code"].as_str()), (409, Some("no_schedule")));
}

#[tokio::test]
async fn programs_say_every_kind_of_schedule_and_read_the_same_back() {
    let desk = Desk::new().await;
    for (schedule, words, next) in [
        (json!({"cron": "0 9 * * *"}), "Every day at 09:00, Europe/Oslo", "2026-11-21T08:00:00Z"),
        (json!({"times": ["09:00", "17:30"]}), "Every day at 09:00 and 17:30, Europe/Oslo", "2026-11-20T16:30:00Z"),
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
        (json!({"cron": "0 9 1 * 1", "catch_up": "none", "starts_at": "2026-12-02T00:00:00Z"}), "", "2026-12-07T08:00:00Z"),
    ] {
        let dataset = desk.make(schedule.clone()).await;
        let told = desk.told(&dataset).await;
        assert_eq!((&told["schedule"], told["next_run_at"].as_str()), (&schedule, Some(next)), "{told}");
        assert!(words.is_empty() || told["schedule_words"] == words, "{told}");
        // Another change leaves it.
        let (_, told) = desk.ask(Method::PATCH, &format!("/datasets/{dataset}"), Some(json!({"report": "groups"}))).await;
        assert_eq!((&told["schedule"], told["next_run_at"].as_str()), (&schedule, Some(next)), "{told}");
    }
    let dataset = desk.make(json!({"remind_after_hours": 24})).await;
    assert_eq!(desk.told(&dataset).await["schedule"], json!({"remind_after_hours": 24}));
    desk.house.clock.advance(25 * HOUR);
    let mut browser = desk.house.signed_in(&desk.owner).await;
    assert!(browser.get(&format!("/datasets/{dataset}")).await.words(".band").contains("older than its reminder allows"));
    for wrong in [json!({"cron": "0 0 31 2 *"}), json!({"every": "1m"}), json!({"times": ["9 o'clock"]}), json!({}), json!({"cron": "0 9 * * *", "odd": 1})] {
        let new = json!({"name": "Agents", "account_id": desk.account, "report": "agents", "schedule": wrong});
        let (status, why) = desk.ask(Method::POST, "/datasets", Some(new)).await;
        assert!(matches!(status, 400 | 422) && why["error"]["message"].as_str().is_some_and(|text| text.ends_with('.')), "{status} {why}");
    }
}

#[tokio::test]
async fn one_account_with_many_does_not_keep_another_waiting_and_people_go_first() {
    let desk = Desk::new().await;
    desk.make(json!({"cron": "0 * * * *"})).await;
    desk.copy(50).await;
    let other = desk.house.account(&desk.owner, "Webshop").await.id;
    let of_other = desk.house.dataset(&desk.owner, &other, "agents", "Other").await;
    desk.change("UPDATE datasets SET schedule = '0 * * * *', next_run_at = 1795179600001 WHERE name = 'Other'").await;
    let asked = desk.house.dataset(&desk.owner, &desk.account, "groups", "Asked for").await;
    desk.house.clock.advance(HOUR + 61_000);
    desk.tick().await;
    desk.house.clock.advance(60_000);
    let by_person = desk.house.app.puller.run_now(&desk.owner, &asked, Trigger::Manual).await.unwrap();
    assert_eq!(by_person.waits_for.unwrap().words(), "a free worker", "nothing of the schedule is before it");
    // Four workers: three at most for one account.
    let mut claimed = Vec::new();
    for _ in 0..5 {
        claimed.push(desk.claim(3).await.first().map(|run| run.dataset_id.clone()));
        // They do not gather for each other here.
        desk.change("UPDATE runs SET gather_until = NULL").await;
    }
    assert_eq!(claimed[0].as_ref(), Some(&asked), "a person goes first");
    assert_eq!(claimed[1].as_ref(), Some(&of_other), "then the account that has none under way");
    assert!(claimed[2].is_some() && claimed[3].is_some() && claimed[4].is_none(), "{claimed:?}");
    let waiting: Vec<(String,)> = sqlx::query_as("SELECT id FROM runs WHERE state = 'queued' LIMIT 1").fetch_all(desk.house.app.db.read()).await.unwrap();
    let (_, told) = desk.ask(Method::GET, &format!("/runs/{}", waiting[0].0), None).await;
    assert_eq!(told["waits_for"], "the account's other runs: 3 are running");
    let mut browser = desk.house.signed_in(&desk.owner).await;
    let page = browser.get(&format!("/runs/{}", waiting[0].0)).await;
    assert_eq!(page.words("[data-part=title]"), "Waiting for the account's other runs: 3 are running");
}

#[tokio::test]
async fn third_attempts_are_made_one_after_the_other() {
    let desk = Desk::new().await;
    desk.make(json!({"cron": "0 * * * *"})).await;
    desk.copy(2).await;
    desk.house.clock.advance(HOUR + 61_000);
    desk.tick().await;
    // Two of them were interrupted twice.
    desk.change("UPDATE runs SET attempt = 2, due_at = 0, reading = id WHERE id IN (SELECT id FROM runs ORDER BY id LIMIT 2)").await;
    desk.house.clock.advance(61_000);
    let attempts = async || desk.claim(8).await.iter().map(|run| run.attempt).collect::<Vec<_>>();
    assert_eq!((attempts().await, attempts().await, attempts().await), (vec![3], vec![1], vec![]), "the other one waits, and nothing else does");
    desk.change("UPDATE runs SET state = 'succeeded', finished_at = queued_at, lease_until = NULL WHERE attempt = 3").await;
    assert_eq!(attempts().await, [3]);
}

#[tokio::test]
async fn a_run_by_schedule_begins_within_a_second() {
    let house = House::live().await;
    let owner = house.person("olga", Role::Editor).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = house.dataset(&owner, &account, "agents", "Agents").await;
    let due = house.clock.now() + 700;
    let mut tx = house.app.db.write().await.unwrap();
    sqlx::query("UPDATE datasets SET schedule = '0 * * * *', next_run_at = $1 WHERE id = $2").bind(due).bind(&dataset).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    house.app.puller.rescheduled.notify_one();
    let run = super::process::until("it has begun", async || {
        queue::of_dataset(&house.app.db, &dataset, 0, 1).await.unwrap().pop().filter(|run| run.started_at.is_some())
    })
    .await;
    let late = run.started_at.unwrap() - due;
    assert!((0..1_000).contains(&late), "{late} ms");
}
