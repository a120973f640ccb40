//! A crash at a failpoint of a commit, of retention, of the sweep, of a revert or of a pending version.

use std::collections::BTreeSet;

use serde_json::json;

use super::COMBINE;
use super::COMMIT;
use super::CrashMatrixFixture;
use super::PENDING;
use super::PUBLISH;
use super::REVERT;
use super::SWEEP;
use super::UNCHANGED;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_commit_or_retention_is_atomic() {
    let fixture = CrashMatrixFixture::new("agents").await;
    for (number, step) in COMMIT.into_iter().enumerate() {
        fixture.change_vendor_rows("agents", 3 + number);
        let server = fixture.dying(step).await;
        let before = fixture.versions(&server).await;
        let (server, run) = fixture.die_during_run(server, step).await;
        assert_eq!(run["state"], "succeeded", "{step}: {run}");
        let after = fixture.versions(&server).await;
        assert_eq!(
            after[0].0,
            before[0].0 + 1,
            "{step}: one version came of the run"
        );
        until("retention has done its work", async || {
            (fixture.versions(&server).await.len() == 2).then_some(())
        })
        .await;
        fixture.check_verified(step).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_the_sweep_is_atomic() {
    let fixture = CrashMatrixFixture::new("agents").await;
    for (number, step) in SWEEP.into_iter().enumerate() {
        let server = fixture.data_dir.serve().await;
        fixture.change_vendor_rows("agents", 3 + number);
        fixture.pulled(&server).await;
        server.stop().await;
        // The dropped segments count as a day old.
        fixture
            .do_sql(&["UPDATE segments SET dropped_at = 0 WHERE state = 'dropped'"])
            .await;
        let files = || {
            std::fs::read_dir(fixture.data_dir.data().join("segments"))
                .unwrap()
                .count()
        };
        let before = files();
        // The server sweeps as soon as it starts.
        let server = fixture.data_dir.spawn_dying(step);
        until("the server dies", async || server.ended()).await;
        let server = fixture.restart(step).await;
        until("what was dropped is gone", async || {
            (files() < before).then_some(())
        })
        .await;
        assert_eq!(fixture.versions(&server).await.len(), 2, "{step}");
        fixture.check_verified(step).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_revert_is_atomic() {
    let fixture = CrashMatrixFixture::new("agents").await;
    for step in REVERT {
        let server = fixture.dying(step).await;
        let before = fixture.versions(&server).await;
        let (current, old) = (&before[0], &before[1]);
        if step.starts_with("revert.") {
            server
                .send_until_death(
                    "POST",
                    &fixture.path("/revert"),
                    &fixture.token,
                    json!({"version": old.1}),
                )
                .await;
        } else {
            server
                .send_until_death(
                    "DELETE",
                    &fixture.path(&format!("/versions/{}", old.1)),
                    &fixture.token,
                    json!({}),
                )
                .await;
        }
        let server = fixture.restart(step).await;
        let after = fixture.versions(&server).await;
        match step {
            "revert.done" => assert_eq!(after[0].0, current.0 + 1, "{step}"),
            "delete_version.done" => assert_eq!(after, std::slice::from_ref(current), "{step}"),
            _ => assert_eq!(after, before, "{step}"),
        }
        fixture.pulled(&server).await;
        fixture.check_verified(step).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_new_and_existing_rows_are_combined_combines_them_once() {
    let merging = async {
        let fixture = CrashMatrixFixture::new("chat").await;
        let server = fixture.data_dir.serve().await;
        fixture
            .call(&server, "PATCH", "", json!({"update_mode": "merge"}))
            .await;
        fixture.pulled(&server).await;
        fixture
            .call(&server, "PATCH", "", json!({"options": {"look_back": 2}}))
            .await;
        server.stop().await;
        for step in [&COMBINE[..1], &COMMIT].concat() {
            // The last days are read again and replace the old rows: the file of all days is
            // rewritten without these.
            fixture.vendor.sandbox.end_chats(3);
            let server = fixture.dying(step).await;
            let before = fixture.ids(&server).await.len();
            let (server, run) = fixture.die_during_run(server, step).await;
            assert_eq!(
                (run["state"].as_str(), run["rows_before"].as_u64()),
                (Some("succeeded"), Some(before as u64)),
                "{step}: {run}"
            );
            let ids = fixture.ids(&server).await;
            assert_eq!(
                (ids.len(), ids.iter().collect::<BTreeSet<_>>().len()),
                (before + 3, before + 3),
                "{step}"
            );
            fixture.check_verified(step).await;
            server.stop().await;
        }
    };
    let appending = async {
        let fixture = CrashMatrixFixture::new("chat").await;
        let server = fixture.data_dir.serve().await;
        fixture
            .call(&server, "PATCH", "", json!({"update_mode": "append"}))
            .await;
        server.stop().await;
        for step in COMMIT {
            let server = fixture.dying(step).await;
            let before = fixture.ids(&server).await.len();
            let (server, run) = fixture.die_during_run(server, step).await;
            let each = run["rows"].as_u64().unwrap() as usize;
            assert!(
                each > 0 && fixture.ids(&server).await.len() == before + each,
                "{step}: {run}"
            );
            fixture.check_verified(step).await;
            server.stop().await;
        }
    };
    let compacting = async {
        let fixture = CrashMatrixFixture::new("agents").await;
        let server = fixture.data_dir.serve().await;
        fixture
            .call(&server, "PATCH", "", json!({"update_mode": "append"}))
            .await;
        fixture.set_agents(1);
        server.stop().await;
        let server = fixture.dying(COMBINE[1]).await;
        let before = fixture.ids(&server).await.len();
        // Until the small files are compacted into one.
        until("the server dies", async || {
            server
                .try_send(
                    "POST",
                    &format!("/api/v1{}", fixture.path("/runs")),
                    &fixture.token,
                    Some(json!({})),
                )
                .await;
            server.ended()
        })
        .await;
        let server = fixture.restart(COMBINE[1]).await;
        let (_, runs) = server
            .get(&fixture.path("/runs?limit=100"), &fixture.token)
            .await;
        let runs = runs["items"].as_array().unwrap();
        let newest = server
            .over(runs[0]["id"].as_str().unwrap(), &fixture.token)
            .await;
        assert_eq!(newest["state"], "succeeded", "{newest}");
        let added = runs.len() - 3;
        assert!(
            added > 20 && fixture.ids(&server).await.len() == before + added,
            "each of {added} runs has added its row once"
        );
        fixture.check_verified(COMBINE[1]).await;
        server.stop().await;
    };
    tokio::join!(merging, appending, compacting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_pending_version_is_written_or_published_is_atomic() {
    let fixture = CrashMatrixFixture::new("agents").await;
    let server = fixture.data_dir.serve().await;
    fixture
        .call(
            &server,
            "PATCH",
            "",
            json!({"options": {"on_empty": "keep", "hold_drop": 50}}),
        )
        .await;
    let old = server.csv(&fixture.dataset, &fixture.token).await;
    server.stop().await;
    for step in UNCHANGED {
        let server = fixture.dying(step).await;
        let before = fixture.versions(&server).await;
        let (server, run) = fixture.die_during_run(server, step).await;
        assert_eq!(
            (run["state"].as_str(), run["outcome"].as_str()),
            (Some("succeeded"), Some("unchanged")),
            "{step}: {run}"
        );
        assert_eq!(
            (
                server.csv(&fixture.dataset, &fixture.token).await,
                fixture.versions(&server).await
            ),
            (old.clone(), before),
            "{step}"
        );
        server.stop().await;
    }
    fixture.set_agents(0);
    for step in PENDING {
        let server = fixture.dying(step).await;
        let (server, run) = fixture.die_during_run(server, step).await;
        assert_eq!(
            (run["state"].as_str(), run["outcome"].as_str()),
            (Some("succeeded"), Some("kept")),
            "{step}: {run}"
        );
        assert_eq!(
            server.csv(&fixture.dataset, &fixture.token).await,
            old,
            "{step}"
        );
        server.stop().await;
    }
    fixture.set_agents(1);
    for step in &COMMIT[..4] {
        let server = fixture.dying(step).await;
        let (server, run) = fixture.die_during_run(server, step).await;
        assert_eq!(
            (run["state"].as_str(), run["outcome"].as_str()),
            (Some("failed"), Some("held")),
            "{step}: {run}"
        );
        assert_eq!(
            server.csv(&fixture.dataset, &fixture.token).await,
            old,
            "{step}"
        );
        fixture.check_verified(step).await;
        server.stop().await;
    }
    for step in PUBLISH {
        let server = fixture.data_dir.serve().await;
        fixture.set_agents(40);
        fixture.pulled(&server).await;
        fixture.set_agents(1);
        let run = server
            .over(
                &server.run(&fixture.dataset, &fixture.token).await,
                &fixture.token,
            )
            .await;
        assert_eq!(run["outcome"], "held", "{run}");
        server.stop().await;
        let (server, run) = (
            fixture.dying(step).await,
            format!("/runs/{}", run["id"].as_str().unwrap()),
        );
        server
            .send_until_death("POST", &format!("{run}/accept"), &fixture.token, json!({}))
            .await;
        let server = fixture.restart(step).await;
        let (outcome, rows) = if step == "accept.done" {
            ("accepted", 1)
        } else {
            ("held", 40)
        };
        assert_eq!(
            server.get(&run, &fixture.token).await.1["outcome"],
            outcome,
            "{step}"
        );
        assert_eq!(
            server.csv(&fixture.dataset, &fixture.token).await.rows,
            rows,
            "{step}"
        );
        if outcome == "held" {
            assert_eq!(
                server
                    .post(&format!("{run}/accept"), &fixture.token)
                    .await
                    .0,
                200,
                "{step}"
            );
        }
        fixture.check_verified(step).await;
        server.stop().await;
    }
}
