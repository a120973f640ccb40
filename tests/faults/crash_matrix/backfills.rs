//! A crash at a failpoint of a backfill.

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::json;

use super::BACKFILL;
use super::BACKFILL_STATES;
use super::CrashMatrixFixture;
use crate::support::server::Server;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_continues_after_a_crash() {
    let fixture = CrashMatrixFixture::new("chat").await;
    let server = fixture.data_dir.serve().await;
    let days = json!({"from": "2026-01-01", "to": "2026-01-06", "chunk_days": 3});
    let refused = server
        .send(
            "POST",
            &format!("/api/v1{}", fixture.path("/backfills")),
            &fixture.token,
            Some(days.clone()),
        )
        .await;
    assert_eq!(refused.status(), 409, "every run replaces all rows");
    assert!(refused.text().await.unwrap().contains("replaces_all"));
    fixture
        .call(&server, "PATCH", "", json!({"update_mode": "merge"}))
        .await;
    server.stop().await;
    for step in BACKFILL {
        let server = fixture.dying(step).await;
        server
            .send_until_death(
                "POST",
                &fixture.path("/backfills"),
                &fixture.token,
                days.clone(),
            )
            .await;
        let server = fixture.restart(step).await;
        let backfill = until("the backfill has finished", async || {
            let newest = fixture.newest_backfill(&server).await;
            assert_ne!(newest["state"], "stopped", "{step}: {newest}");
            (newest["state"] == "finished").then_some(newest)
        })
        .await;
        assert_eq!(
            (
                backfill["chunks"].as_u64(),
                backfill["chunks_done"].as_u64()
            ),
            (Some(2), Some(2)),
            "{step}"
        );
        let (_, runs) = server
            .get(&fixture.path("/runs?limit=2"), &fixture.token)
            .await;
        for run in runs["items"].as_array().unwrap() {
            assert_eq!(
                (run["trigger"].as_str(), run["state"].as_str()),
                (Some("backfill"), Some("succeeded")),
                "{step}: {run}"
            );
        }
        assert_eq!(
            runs["items"][0]["from"], "2026-01-01",
            "{step}: the oldest days come last"
        );
        fixture.check_verified(step).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_backfill_stops_or_is_resumed_or_cancelled_is_atomic() {
    let fixture = CrashMatrixFixture::new("chat").await;
    let server = fixture.data_dir.serve().await;
    fixture
        .call(&server, "PATCH", "", json!({"update_mode": "merge"}))
        .await;
    server.stop().await;
    let days = json!({"from": "2026-01-01", "to": "2026-01-06", "chunk_days": 3});
    let faults = fixture.vendor.sandbox.faults();
    let path = async |server: &Server, act: &str| {
        fixture.path(&format!(
            "/backfills/{}/{act}",
            fixture.newest_backfill(server).await["id"]
                .as_str()
                .unwrap()
        ))
    };
    let finishes = async |server: &Server| {
        until("the backfill has finished", async || {
            (fixture.newest_backfill(server).await["state"] == "finished").then_some(())
        })
        .await;
    };

    faults.set(vec![
        Fault::new(FaultKind::Status { status: 400 }).on("/chats"),
    ]);
    let server = fixture.dying(BACKFILL_STATES[0]).await;
    server
        .send_until_death(
            "POST",
            &fixture.path("/backfills"),
            &fixture.token,
            days.clone(),
        )
        .await;
    let server = fixture.restart(BACKFILL_STATES[0]).await;
    assert_eq!(fixture.newest_backfill(&server).await["state"], "stopped");
    server.stop().await;
    faults.clear();
    let server = fixture.dying(BACKFILL_STATES[1]).await;
    server
        .send_until_death(
            "POST",
            &path(&server, "resume").await,
            &fixture.token,
            json!({}),
        )
        .await;
    let server = fixture.restart(BACKFILL_STATES[1]).await;
    finishes(&server).await;
    fixture.check_verified("resumed").await;
    server.stop().await;

    faults.set(vec![
        Fault::new(FaultKind::Late { ms: 300_000 }).on("/chats"),
    ]);
    let server = fixture.dying(BACKFILL_STATES[2]).await;
    fixture.call(&server, "POST", "/backfills", days).await;
    let run = until("a chunk is at work", async || {
        fixture.newest_backfill(&server).await["run_id"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    until("it is at work", async || {
        (server.run_state(&run, &fixture.token).await == "running").then_some(())
    })
    .await;
    server
        .send_until_death(
            "POST",
            &path(&server, "cancel").await,
            &fixture.token,
            json!({}),
        )
        .await;
    faults.clear();
    let server = fixture.restart(BACKFILL_STATES[2]).await;
    // The active chunk may still end; no other chunk starts.
    server.over(&run, &fixture.token).await;
    fixture.check_verified("cancelled").await;
    let backfill = fixture.newest_backfill(&server).await;
    assert_eq!(
        (backfill["state"].as_str(), backfill["run_id"].as_str()),
        (Some("cancelled"), None),
        "{backfill}"
    );
    fixture
        .call(
            &server,
            "POST",
            path(&server, "resume")
                .await
                .trim_start_matches(&fixture.path("")),
            json!({}),
        )
        .await;
    finishes(&server).await;
    fixture.check_verified("resumed again").await;
    server.stop().await;
}
