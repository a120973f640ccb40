//! What `chatlake verify` says about a directory with every kind of ended run: no problem, until a
//! statement breaks one.

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
use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::until;

/// The checks that fail, each once.
async fn failed_checks(ctx: &TestContext, db: &Db) -> Vec<&'static str> {
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

/// A copy of the catalogue after this statement.
async fn broken_copy(ctx: &TestContext, number: usize, statement: &'static str) -> Db {
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
async fn verify_runs_with_and_without_a_server_and_changes_nothing() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(30).await);
    let missing = data_dir.run(&["verify"]).await;
    assert!(
        missing.code == 1 && missing.err.contains("is not a Chatlake data directory"),
        "{missing:?}"
    );
    assert!(!data_dir.data().exists());
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "run").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let server = data_dir.serve().await;
    let run = server.run(&dataset, &token).await;
    assert_eq!(server.over(&run, &token).await["state"], "succeeded");
    assert_eq!(data_dir.run(&["verify"]).await.good(), "No problems found.");
    server.stop().await;
    let before = data_dir.listing();
    assert_eq!(
        data_dir.run(&["verify", "--deep"]).await.good(),
        "No problems found."
    );
    assert_eq!(data_dir.listing(), before, "it writes nothing");

    let segments = data_dir.data().join("segments");
    let file = std::fs::read_dir(&segments)
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "parquet"))
        .unwrap();
    std::fs::copy(
        &file,
        segments.join(format!("{}.parquet", chatlake::ids::SegmentId::new())),
    )
    .unwrap();
    std::fs::remove_file(&file).unwrap();
    let wrong = data_dir.run(&["verify"]).await;
    let lines: Vec<&str> = wrong.out.lines().collect();
    assert_eq!((wrong.code, lines.len()), (1, 2), "{wrong:?}");
    assert!(
        lines[0].starts_with("segment_file: seg_") && lines[1].starts_with("orphan: seg_"),
        "{lines:?}"
    );
    assert!(wrong.err.contains("2 problems found."), "{wrong:?}");
    let output = data_dir.run(&["verify", "--json"]).await;
    let findings: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(
        (findings[0]["check"].as_str(), findings[1]["check"].as_str()),
        (Some("segment_file"), Some("orphan")),
        "{findings}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_accepts_every_end_of_a_run_and_reports_each_broken_one() {
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
    // A run that pulls this number of rows.
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
            failed_checks(&ctx, &ctx.app.db).await,
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
        assert_eq!(
            failed_checks(&ctx, &ctx.app.db).await,
            [""; 0],
            "after going back"
        );
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
    assert_eq!(
        failed_checks(&ctx, &ctx.app.db).await,
        [""; 0],
        "after discarding"
    );
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
    assert_eq!(
        failed_checks(&ctx, &ctx.app.db).await,
        [""; 0],
        "after accepting"
    );
    assert_eq!(pull_rows(0).await.outcome, Some(RunOutcome::Kept));
    back_to(first.version_id.as_ref().unwrap().as_str()).await;
    assert_eq!(
        pull_rows(3).await.outcome,
        Some(RunOutcome::PendingApproval)
    );
    // A run that combines its rows with others, by the chunks of a backfill.
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
    assert_eq!(
        failed_checks(&ctx, &ctx.app.db).await,
        [""; 0],
        "after a backfill"
    );

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
        let db = broken_copy(&ctx, number, statement).await;
        assert_eq!(failed_checks(&ctx, &db).await, checks, "{statement}");
        db.close().await;
    }
}
