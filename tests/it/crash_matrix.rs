//! The server dies at every marked step of what it writes, and comes back: `chatlake verify` finds nothing before the next start nor
//! after it, and what was done is done whole or not at all.

use std::collections::BTreeSet;

use chatlake::connectors::report::UpdateMode;
use chatlake::db::marks::STEPS;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::process::{Home, Server, StandIn, until};

/// A DataSet with three versions, of which two are kept.
struct Stage {
    home: Home,
    _vendor: StandIn,
    dataset: String,
    token: String,
}

impl Stage {
    async fn new(report: &str) -> Self {
        let (home, vendor) = (Home::new(), StandIn::new(40).await);
        let email = home.person("olga", "admin").await;
        let token = home.token(&email, "manage").await;
        let account = home.account(&email, &vendor.address, "sandbox-key").await;
        let dataset = home.dataset(&email, &account, report).await;
        let stage = Self { home, _vendor: vendor, dataset, token };
        let server = stage.home.serve().await;
        let kept = stage.call(&server, "PATCH", "/retention", json!({"versions": 2})).await;
        assert_eq!(kept["keeps_versions"], 2, "{kept}");
        for _ in 0..3 {
            stage.pulled(&server).await;
        }
        server.stop().await;
        stage
    }

    fn path(&self, rest: &str) -> String {
        format!("/datasets/{}{rest}", self.dataset)
    }

    async fn call(&self, server: &Server, method: &str, rest: &str, body: Value) -> Value {
        let answer = server.send(method, &format!("/api/v1{}", self.path(rest)), &self.token, Some(body)).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{method} {rest}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn pulled(&self, server: &Server) {
        let run = server.run(&self.dataset, &self.token).await;
        assert_eq!(server.over(&run, &self.token).await["state"], "succeeded");
    }

    /// Numbers of the versions that are kept, newest first; the first one is current.
    async fn versions(&self, server: &Server) -> Vec<(u64, String)> {
        let (_, listed) = server.get(&self.path("/versions"), &self.token).await;
        let all = listed["items"].as_array().unwrap();
        assert_eq!(all[0]["current"], true, "{listed}");
        all.iter().map(|version| (version["number"].as_u64().unwrap(), version["id"].as_str().unwrap().to_owned())).collect()
    }

    /// A server that is to die at this step.
    async fn dying(&self, step: &str) -> Server {
        let server = self.home.spawn_dying(step);
        server.ready().await;
        server
    }

    async fn is_whole(&self, when: &str) {
        let ended = self.home.run(&["verify", "--deep", "--json"]).await;
        assert_eq!((ended.code, ended.out.trim()), (0, "[]"), "{when}: {ended:?}");
    }

    /// After a death: looks, starts again, looks again.
    async fn back(&self, step: &str) -> Server {
        self.is_whole(&format!("dead at {step}")).await;
        let server = self.home.serve().await;
        self.is_whole(&format!("back from {step}")).await;
        server
    }

    /// What was dropped is taken for a day old.
    async fn a_day_later(&self) {
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(SqliteConnectOptions::new().filename(self.home.catalogue())).await.unwrap();
        sqlx::query("UPDATE segments SET dropped_at = 0 WHERE state = 'dropped'").execute(&pool).await.unwrap();
        pool.close().await;
    }
}

const COMMIT: [&str; 6] = ["commit.files_whole", "commit.begun", "commit.inserted", "commit.done", "retain.dropped", "retain.done"];
const SWEEP: [&str; 3] = ["sweep.dropped", "sweep.file_gone", "sweep.done"];
const BACK: [&str; 5] = ["revert.run_written", "revert.inserted", "revert.done", "delete_version.dropped", "delete_version.done"];
const BACKFILL: [&str; 3] = ["backfill.asked", "backfill.chunk_queued", "backfill.chunk_counted"];

#[test]
fn every_marked_step_is_died_at() {
    let told: BTreeSet<&str> = [&COMMIT[..], &SWEEP, &BACK, &BACKFILL].concat().into_iter().collect();
    assert_eq!(told, STEPS.into_iter().collect());
    // And marked, wherever that is: nothing is in the list that no code names, and nothing is named that is not in it.
    let mut marked = BTreeSet::new();
    for source in sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(source).unwrap();
        marked.extend(text.split("step(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    assert_eq!(marked.iter().map(String::as_str).collect::<BTreeSet<_>>(), told);
}

fn sources(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let (dirs, files): (Vec<_>, Vec<_>) = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).partition(|path| path.is_dir());
    let mut all: Vec<_> = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    all.extend(dirs.iter().flat_map(|dir| sources(dir)));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_at_any_step_of_a_commit_or_of_retention_leaves_everything_whole() {
    let stage = Stage::new("agents").await;
    for step in COMMIT {
        let server = stage.dying(step).await;
        let before = stage.versions(&server).await;
        server.dies_of("POST", &stage.path("/runs"), &stage.token, json!({})).await;
        let server = stage.back(step).await;
        let (_, runs) = server.get(&stage.path("/runs?limit=1"), &stage.token).await;
        let run = runs["items"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(server.over(&run, &stage.token).await["state"], "succeeded", "{step}");
        let after = stage.versions(&server).await;
        assert_eq!(after[0].0, before[0].0 + 1, "{step}: one version came of the run");
        until("retention has done its work", async || (stage.versions(&server).await.len() == 2).then_some(())).await;
        stage.is_whole(step).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_at_any_step_of_the_sweep_leaves_everything_whole() {
    let stage = Stage::new("agents").await;
    for step in SWEEP {
        let server = stage.home.serve().await;
        stage.pulled(&server).await;
        server.stop().await;
        stage.a_day_later().await;
        let files = || std::fs::read_dir(stage.home.data().join("segments")).unwrap().count();
        let before = files();
        // It sweeps as soon as it starts.
        let server = stage.home.spawn_dying(step);
        until("the server dies", async || server.ended()).await;
        let server = stage.back(step).await;
        until("what was dropped is gone", async || (files() < before).then_some(())).await;
        assert_eq!(stage.versions(&server).await.len(), 2, "{step}");
        stage.is_whole(step).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_somebody_goes_back_has_gone_back_or_not() {
    let stage = Stage::new("agents").await;
    for step in BACK {
        let server = stage.dying(step).await;
        let before = stage.versions(&server).await;
        let (current, old) = (&before[0], &before[1]);
        if step.starts_with("revert.") {
            server.dies_of("POST", &stage.path("/revert"), &stage.token, json!({"version": old.1})).await;
        } else {
            server.dies_of("DELETE", &stage.path(&format!("/versions/{}", old.1)), &stage.token, json!({})).await;
        }
        let server = stage.back(step).await;
        let after = stage.versions(&server).await;
        match step {
            "revert.done" => assert_eq!(after[0].0, current.0 + 1, "{step}"),
            "delete_version.done" => assert_eq!(after, std::slice::from_ref(current), "{step}"),
            _ => assert_eq!(after, before, "{step}"),
        }
        stage.pulled(&server).await;
        stage.is_whole(step).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_at_any_step_of_a_backfill_goes_on_with_it() {
    let stage = Stage::new("chat").await;
    let server = stage.home.serve().await;
    let days = json!({"from": "2026-01-01", "to": "2026-01-06", "chunk_days": 3});
    let refused = server.send("POST", &format!("/api/v1{}", stage.path("/backfills")), &stage.token, Some(days.clone())).await;
    assert_eq!(refused.status(), 409, "every run replaces all rows");
    assert!(refused.text().await.unwrap().contains("replaces_all"));
    if UpdateMode::parse("merge").is_none() {
        // Nothing keeps the rows that are there, so there is nothing to fill.
        return;
    }
    stage.call(&server, "PATCH", "", json!({"update_mode": "merge"})).await;
    server.stop().await;
    for step in BACKFILL {
        let server = stage.dying(step).await;
        server.dies_of("POST", &stage.path("/backfills"), &stage.token, days.clone()).await;
        let server = stage.back(step).await;
        let backfill = until("the backfill has finished", async || {
            let (_, all) = server.get(&stage.path("/backfills"), &stage.token).await;
            let newest = all["items"][0].clone();
            assert_ne!(newest["state"], "stopped", "{step}: {newest}");
            (newest["state"] == "finished").then_some(newest)
        })
        .await;
        assert_eq!((backfill["chunks"].as_u64(), backfill["chunks_done"].as_u64()), (Some(2), Some(2)), "{step}");
        let (_, runs) = server.get(&stage.path("/runs?limit=2"), &stage.token).await;
        for run in runs["items"].as_array().unwrap() {
            assert_eq!((run["trigger"].as_str(), run["state"].as_str()), (Some("backfill"), Some("succeeded")), "{step}: {run}");
        }
        assert_eq!(runs["items"][0]["from"], "2026-01-01", "{step}: the oldest days come last");
        stage.is_whole(step).await;
        server.stop().await;
    }
}
