//! What `chatlake verify` says of a catalogue with every way in which a run may end: nothing, until
//! one of them is broken.

use axum::http::StatusCode;
use chatlake::actor::{Role, Scope};
use chatlake::clock::Clock;
use chatlake::datasets::segments::Segments;
use chatlake::datasets::verify_versions as rows;
use chatlake::db::Db;
use chatlake::puller::run::{RunOutcome, RunState};
use chatlake::puller::verify_runs as runs;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::support::context::TestContext;
use crate::support::until;

/// The checks that do not hold, each once.
async fn wrong(ctx: &TestContext, db: &Db) -> Vec<&'static str> {
    let segments = Segments::new(
        ctx.dir.path().join("data/segments"),
        db.clone(),
        Clock::system(),
    )
    .unwrap();
    let mut found = rows::verify(db, &segments, false).await.unwrap();
    found.extend(runs::verify(db).await.unwrap());
    let mut checks: Vec<&str> = found.into_iter().map(|finding| finding.check).collect();
    checks.dedup();
    checks
}

/// A copy of the catalogue in which this was done.
async fn broken(ctx: &TestContext, number: usize, statement: &'static str) -> Db {
    let copy = ctx.dir.path().join(format!("copy-{number}.db"));
    let options = SqliteConnectOptions::new().filename(ctx.dir.path().join("data/chatlake.db"));
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap();
    sqlx::query("VACUUM INTO $1")
        .bind(copy.to_str().unwrap())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let db = Db::open(&copy).await.unwrap();
    let mut tx = db.write().await.unwrap();
    assert!(
        sqlx::query(statement)
            .execute(&mut *tx)
            .await
            .unwrap()
            .rows_affected()
            > 0,
        "{statement} changes nothing"
    );
    tx.commit().await.unwrap();
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_which_a_run_may_end_is_well_and_each_of_them_broken_is_not() {
    let ctx = TestContext::with_workers().await;
    let owner = ctx.person("olga", Role::Editor).await;
    let token = ctx.token(&owner, Scope::Manage).await;
    let account = ctx.account(&owner, "Support").await.id;
    let agents = ctx.dataset(&owner, &account, "agents", "People").await;
    let path = format!("/datasets/{agents}");
    let change = async |path: &str, body: Value| {
        let (status, response) = ctx.api(&token, "PATCH", path, body).await;
        assert_eq!(status, StatusCode::OK, "{response}");
    };
    // A run that brings so many rows, and what became of them.
    let pull_rows = async |count: usize| {
        let people: Vec<Value> = (0..count)
            .map(|number| json!({"login": format!("agent{number}")}))
            .collect();
        ctx.sandbox.faults().set(vec![
            Fault::new(FaultKind::Shape {
                body: Value::from(people).to_string(),
            })
            .on("/agents"),
        ]);
        let run = ctx.run(&owner, &agents).await;
        assert_eq!(
            wrong(&ctx, &ctx.app.db).await,
            [""; 0],
            "after {count} rows came: {:?}",
            run.outcome
        );
        run
    };
    let back_to = async |version: &str| {
        let (status, response) = ctx
            .api(
                &token,
                "POST",
                &format!("{path}/revert"),
                json!({"version": version}),
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{response}");
        assert_eq!(wrong(&ctx, &ctx.app.db).await, [""; 0], "after going back");
    };
    change(
        &path,
        json!({"options": {"hold_drop": 50, "on_empty": "keep"}}),
    )
    .await;
    let first = pull_rows(10).await;
    let discarded = pull_rows(3).await;
    let (status, response) = ctx
        .api(
            &token,
            "POST",
            &format!("/runs/{}/discard", discarded.id),
            json!({}),
        )
        .await;
    assert_eq!(
        (status, response["outcome"].as_str()),
        (StatusCode::OK, Some("discarded")),
        "{response}"
    );
    assert_eq!(wrong(&ctx, &ctx.app.db).await, [""; 0], "after discarding");
    let superseded = pull_rows(2).await;
    let held = pull_rows(1).await;
    assert_eq!(
        (superseded.outcome, held.outcome, held.state),
        (
            Some(RunOutcome::PendingApproval),
            Some(RunOutcome::PendingApproval),
            RunState::Failed
        )
    );
    let (status, response) = ctx
        .api(
            &token,
            "POST",
            &format!("/runs/{}/accept", held.id),
            json!({}),
        )
        .await;
    assert_eq!(
        (status, response["outcome"].as_str()),
        (StatusCode::OK, Some("accepted")),
        "{response}"
    );
    assert_eq!(wrong(&ctx, &ctx.app.db).await, [""; 0], "after accepting");
    assert_eq!(pull_rows(0).await.outcome, Some(RunOutcome::Kept));
    back_to(first.version_id.as_ref().unwrap().as_str()).await;
    assert_eq!(
        pull_rows(3).await.outcome,
        Some(RunOutcome::PendingApproval)
    );
    // And one that builds on others, by chunks of a backfill.
    let chats = ctx.dataset(&owner, &account, "chat", "Chats").await;
    change(
        &format!("/datasets/{chats}"),
        json!({"update_mode": "merge"}),
    )
    .await;
    ctx.run(&owner, &chats).await;
    let days = json!({"from": "2026-01-01", "to": "2026-01-04", "chunk_days": 2});
    let (status, response) = ctx
        .api(
            &token,
            "POST",
            &format!("/datasets/{chats}/backfills"),
            days,
        )
        .await;
    assert!(status.is_success(), "{response}");
    until("the backfill has finished", async || {
        let (_, all) = ctx
            .api(
                &token,
                "GET",
                &format!("/datasets/{chats}/backfills"),
                Value::Null,
            )
            .await;
        (all["items"][0]["state"] == "finished").then_some(())
    })
    .await;
    assert_eq!(wrong(&ctx, &ctx.app.db).await, [""; 0], "after a backfill");

    for (number, (statement, checks)) in [
        (
            "UPDATE runs SET outcome = NULL WHERE outcome = 'held'",
            &["current_newest", "run_version", "held_run"][..],
        ),
        (
            "UPDATE runs SET state = 'succeeded' WHERE outcome = 'held'",
            &["run_version"],
        ),
        (
            "UPDATE datasets SET pending_version = NULL WHERE pending_version IS NOT NULL",
            &["held_run"],
        ),
        (
            "UPDATE datasets SET pending_version = 'ver_none' WHERE pending_version IS NOT NULL",
            &["held_pointer", "held_run"],
        ),
        (
            "UPDATE datasets
             SET pending_version = current_version
             WHERE pending_version IS NOT NULL",
            &["held_pointer", "held_run"],
        ),
        (
            "UPDATE datasets
             SET current_version = pending_version
             WHERE pending_version IS NOT NULL",
            &["held_pointer"],
        ),
        (
            "UPDATE runs SET outcome = NULL WHERE outcome = 'superseded'",
            &["run_version"],
        ),
        (
            "UPDATE runs SET version_id = NULL WHERE outcome = 'superseded'",
            &["commit_run", "run_version"],
        ),
        (
            "UPDATE runs SET outcome = NULL WHERE outcome = 'kept'",
            &["run_version"],
        ),
        (
            "UPDATE runs
             SET version_id = (SELECT MIN(id) FROM versions), rows_after = NULL
             WHERE outcome = 'kept'",
            &["run_version"],
        ),
        (
            "UPDATE runs SET outcome = 'held' WHERE outcome = 'accepted'",
            &["run_version", "held_run"],
        ),
        (
            "UPDATE runs SET decided_at = NULL WHERE outcome = 'accepted'",
            &["accepted_by"],
        ),
        (
            "UPDATE runs SET decided_by = NULL WHERE outcome = 'discarded'",
            &["accepted_by"],
        ),
        (
            "UPDATE runs SET outcome = NULL WHERE outcome = 'discarded'",
            &["run_version"],
        ),
        (
            "UPDATE datasets
             SET current_version = (SELECT version_id FROM runs WHERE outcome = 'accepted')
             WHERE pending_version IS NOT NULL",
            &["current_newest"],
        ),
        (
            "UPDATE runs SET builds_on = 'run_none' WHERE builds_on IS NOT NULL",
            &["builds_on"],
        ),
        (
            "UPDATE runs
             SET builds_on = (SELECT b.id FROM runs b WHERE b.dataset_id <> runs.dataset_id)
             WHERE builds_on IS NOT NULL",
            &["builds_on"],
        ),
        (
            "UPDATE runs SET backfill_id = 'bf_none' WHERE backfill_id IS NOT NULL",
            &["chunk"],
        ),
        (
            "UPDATE runs SET from_day = NULL WHERE trigger = 'backfill'",
            &["chunk"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let db = broken(&ctx, number, statement).await;
        assert_eq!(wrong(&ctx, &db).await, checks, "{statement}");
        db.close().await;
    }
}
