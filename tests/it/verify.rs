//! What `chatlake verify` says of a catalogue with every way in which a run may end: nothing, until one of them is broken.

use axum::http::StatusCode;
use chatlake::actor::{Role, Scope};
use chatlake::clock::Clock;
use chatlake::datasets::segments::Segments;
use chatlake::datasets::verify as rows;
use chatlake::db::Db;
use chatlake::puller::run::{Outcome, State};
use chatlake::puller::verify as runs;
use chatlake::sandbox::faults::{Fault, Kind};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::history::call;
use super::house::House;
use super::process::until;

/// The checks that do not hold, each once.
async fn wrong(house: &House, db: &Db) -> Vec<&'static str> {
    let segments = Segments::new(house.dir.path().join("data/segments"), db.clone(), Clock::system()).unwrap();
    let mut found = rows::look(db, &segments, false).await.unwrap();
    found.extend(runs::look(db).await.unwrap());
    let mut checks: Vec<&str> = found.into_iter().map(|finding| finding.check).collect();
    checks.dedup();
    checks
}

/// A copy of the catalogue in which this was done.
async fn broken(house: &House, number: usize, statement: &'static str) -> Db {
    let copy = house.dir.path().join(format!("copy-{number}.db"));
    let options = SqliteConnectOptions::new().filename(house.dir.path().join("data/chatlake.db"));
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    sqlx::query("VACUUM INTO $1").bind(copy.to_str().unwrap()).execute(&pool).await.unwrap();
    pool.close().await;
    let db = Db::open(&copy).await.unwrap();
    let mut tx = db.write().await.unwrap();
    assert!(sqlx::query(statement).execute(&mut *tx).await.unwrap().rows_affected() > 0, "{statement} changes nothing");
    tx.commit().await.unwrap();
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_which_a_run_may_end_is_well_and_each_of_them_broken_is_not() {
    let house = House::live().await;
    let owner = house.person("olga", Role::Editor).await;
    let token = house.token(&owner, Scope::Manage).await;
    let account = house.account(&owner, "Support").await.id;
    let agents = house.dataset(&owner, &account, "agents", "People").await;
    let path = format!("/datasets/{agents}");
    let change = async |path: &str, body: Value| {
        let (status, told) = call(&house, &token, "PATCH", path, body).await;
        assert_eq!(status, StatusCode::OK, "{told}");
    };
    // A run that brings so many rows, and what became of them.
    let brings = async |count: usize| {
        let people: Vec<Value> = (0..count).map(|number| json!({"login": format!("agent{number}")})).collect();
        house.sandbox.faults().set(vec![Fault::new(Kind::Shape { body: Value::from(people).to_string() }).on("/agents")]);
        let run = house.run(&owner, &agents).await;
        assert_eq!(wrong(&house, &house.app.db).await, [""; 0], "after {count} rows came: {:?}", run.outcome);
        run
    };
    let back_to = async |version: &str| {
        let (status, told) = call(&house, &token, "POST", &format!("{path}/revert"), json!({"version": version})).await;
        assert_eq!(status, StatusCode::OK, "{told}");
        assert_eq!(wrong(&house, &house.app.db).await, [""; 0], "after going back");
    };
    change(&path, json!({"options": {"hold_drop": 50, "on_empty": "keep"}})).await;
    let first = brings(10).await;
    let discarded = brings(3).await;
    let (status, told) = call(&house, &token, "POST", &format!("/runs/{}/discard", discarded.id), json!({})).await;
    assert_eq!((status, told["outcome"].as_str()), (StatusCode::OK, Some("discarded")), "{told}");
    assert_eq!(wrong(&house, &house.app.db).await, [""; 0], "after discarding");
    let superseded = brings(2).await;
    let held = brings(1).await;
    assert_eq!((superseded.outcome, held.outcome, held.state), (Some(Outcome::Held), Some(Outcome::Held), State::Failed));
    let (status, told) = call(&house, &token, "POST", &format!("/runs/{}/accept", held.id), json!({})).await;
    assert_eq!((status, told["outcome"].as_str()), (StatusCode::OK, Some("accepted")), "{told}");
    assert_eq!(wrong(&house, &house.app.db).await, [""; 0], "after accepting");
    assert_eq!(brings(0).await.outcome, Some(Outcome::Kept));
    back_to(first.version_id.as_ref().unwrap().as_str()).await;
    assert_eq!(brings(3).await.outcome, Some(Outcome::Held));
    // And one that builds on others, by chunks of a backfill.
    let chats = house.dataset(&owner, &account, "chat", "Chats").await;
    change(&format!("/datasets/{chats}"), json!({"update_mode": "merge"})).await;
    house.run(&owner, &chats).await;
    let days = json!({"from": "2026-01-01", "to": "2026-01-04", "chunk_days": 2});
    let (status, told) = call(&house, &token, "POST", &format!("/datasets/{chats}/backfills"), days).await;
    assert!(status.is_success(), "{told}");
    until("the backfill has finished", async || {
        let (_, all) = call(&house, &token, "GET", &format!("/datasets/{chats}/backfills"), Value::Null).await;
        (all["items"][0]["state"] == "finished").then_some(())
    })
    .await;
    assert_eq!(wrong(&house, &house.app.db).await, [""; 0], "after a backfill");

    for (number, (statement, checks)) in [
        ("UPDATE runs SET outcome = NULL WHERE outcome = 'held'", &["current_newest", "run_version", "held_run"][..]),
        ("UPDATE runs SET state = 'succeeded' WHERE outcome = 'held'", &["run_version"]),
        ("UPDATE datasets SET held_version = NULL WHERE held_version IS NOT NULL", &["held_run"]),
        ("UPDATE datasets SET held_version = 'ver_none' WHERE held_version IS NOT NULL", &["held_pointer", "held_run"]),
        ("UPDATE datasets SET held_version = current_version WHERE held_version IS NOT NULL", &["held_pointer", "held_run"]),
        ("UPDATE datasets SET current_version = held_version WHERE held_version IS NOT NULL", &["held_pointer"]),
        ("UPDATE runs SET outcome = NULL WHERE outcome = 'superseded'", &["run_version"]),
        ("UPDATE runs SET version_id = NULL WHERE outcome = 'superseded'", &["commit_run", "run_version"]),
        ("UPDATE runs SET outcome = NULL WHERE outcome = 'kept'", &["run_version"]),
        ("UPDATE runs SET version_id = (SELECT MIN(id) FROM versions), rows_after = NULL WHERE outcome = 'kept'", &["run_version"]),
        ("UPDATE runs SET outcome = 'held' WHERE outcome = 'accepted'", &["run_version", "held_run"]),
        ("UPDATE runs SET accepted_at = NULL WHERE outcome = 'accepted'", &["accepted_by"]),
        ("UPDATE runs SET accepted_by = NULL WHERE outcome = 'discarded'", &["accepted_by"]),
        ("UPDATE runs SET outcome = NULL WHERE outcome = 'discarded'", &["run_version"]),
        ("UPDATE datasets SET current_version = (SELECT version_id FROM runs WHERE outcome = 'accepted') WHERE held_version IS NOT NULL", &["current_newest"]),
        ("UPDATE runs SET builds_on = 'run_none' WHERE builds_on IS NOT NULL", &["builds_on"]),
        ("UPDATE runs SET builds_on = (SELECT b.id FROM runs b WHERE b.dataset_id <> runs.dataset_id) WHERE builds_on IS NOT NULL", &["builds_on"]),
        ("UPDATE runs SET backfill_id = 'bf_none' WHERE backfill_id IS NOT NULL", &["chunk"]),
        ("UPDATE runs SET from_day = NULL WHERE cause = 'backfill'", &["chunk"]),
    ]
    .into_iter()
    .enumerate()
    {
        let db = broken(&house, number, statement).await;
        assert_eq!(wrong(&house, &db).await, checks, "{statement}");
        db.close().await;
    }
}
