//! The server dies at every marked step of what it writes, and comes back: `chatlake verify` finds nothing before the next start nor
//! after it, and what was done is done whole or not at all.

use std::collections::BTreeSet;

use chatlake::db::marks::STEPS;
use chatlake::sandbox::faults::{Fault, Kind};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::notices::{Listener, beside};
use super::process::{Home, Server, StandIn, until};

/// A DataSet with three versions, of which two are kept.
struct Stage {
    home: Home,
    vendor: StandIn,
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
        let stage = Self { home, vendor, dataset, token };
        let server = stage.home.serve().await;
        let kept = stage.call(&server, "PATCH", "/retention", json!({"versions": 2})).await;
        assert_eq!(kept["keeps_versions"], 2, "{kept}");
        for number in 0..3 {
            stage.changes(report, number);
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
        let over = server.over(&run, &self.token).await;
        assert_eq!(over["state"], "succeeded", "{over}");
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

    /// Changes the catalogue of a server that is not there.
    async fn do_sql(&self, statements: &[&'static str]) {
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(SqliteConnectOptions::new().filename(self.home.catalogue())).await.unwrap();
        for statement in statements {
            sqlx::query(*statement).execute(&pool).await.unwrap();
        }
        pool.close().await;
    }

    /// The vendor tells of so many agents.
    fn tells_of(&self, agents: usize) {
        let agents: Vec<Value> = (0..agents).map(|number| json!({"login": format!("agent{number}")})).collect();
        self.vendor.sandbox.faults().set(vec![Fault::new(Kind::Shape { body: Value::from(agents).to_string() }).on("/agents")]);
    }

    /// The next pull brings other rows than the one before.
    fn changes(&self, report: &str, number: usize) {
        match report {
            "agents" => self.tells_of(20 + number),
            _ => self.vendor.sandbox.end_chats(1),
        }
    }

    /// Dies of a run at this step, and answers the server after that and the run at its end.
    async fn dies_of_a_run(&self, server: Server, step: &str) -> (Server, Value) {
        server.dies_of("POST", &self.path("/runs"), &self.token, json!({})).await;
        let server = self.back(step).await;
        let (_, runs) = server.get(&self.path("/runs?limit=1"), &self.token).await;
        let run = server.over(runs["items"][0]["id"].as_str().unwrap(), &self.token).await;
        (server, run)
    }

    /// The ids of all rows.
    async fn ids(&self, server: &Server) -> Vec<String> {
        let answer = server.send("GET", &format!("/api/v1{}", self.path("/data?format=csv")), &self.token, None).await;
        let text = answer.text().await.unwrap();
        csv::Reader::from_reader(text.as_bytes()).records().map(|record| record.unwrap()[0].to_owned()).collect()
    }

    async fn newest_backfill(&self, server: &Server) -> Value {
        server.get(&self.path("/backfills"), &self.token).await.1["items"][0].clone()
    }
}

const COMMIT: [&str; 6] = ["commit.files_whole", "commit.begun", "commit.inserted", "commit.done", "retain.dropped", "retain.done"];
const SWEEP: [&str; 3] = ["sweep.dropped", "sweep.file_gone", "sweep.done"];
const BACK: [&str; 5] = ["revert.run_written", "revert.inserted", "revert.done", "delete_version.dropped", "delete_version.done"];
const BACKFILL: [&str; 3] = ["backfill.asked", "backfill.chunk_queued", "backfill.chunk_counted"];
const BACKFILL_ENDS: [&str; 3] = ["backfill.stopped", "backfill.resumed", "backfill.cancelled"];
/// What a run that joins its rows to those from before does, besides.
const JOIN: [&str; 2] = ["build.rewritten", "build.compacted"];
const KEEP: [&str; 2] = ["keep.written", "keep.done"];
const UNCHANGED: [&str; 2] = ["unchanged.written", "unchanged.done"];
const ACCEPT: [&str; 2] = ["accept.written", "accept.done"];
/// In turns a run that fails and one that works again: what is told of both.
const NOTIFY: [&str; 7] = ["notify.written", "notify.gathered", "end.done", "notify.message", "notify.taken_up", "notify.delivered", "notify.settled"];

#[test]
fn every_marked_step_is_died_at() {
    let told: BTreeSet<&str> =
        [&COMMIT[..], &SWEEP, &BACK, &BACKFILL, &BACKFILL_ENDS, &JOIN, &KEEP, &UNCHANGED, &ACCEPT, &NOTIFY].concat().into_iter().collect();
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
    for (number, step) in COMMIT.into_iter().enumerate() {
        stage.changes("agents", 3 + number);
        let server = stage.dying(step).await;
        let before = stage.versions(&server).await;
        let (server, run) = stage.dies_of_a_run(server, step).await;
        assert_eq!(run["state"], "succeeded", "{step}: {run}");
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
    for (number, step) in SWEEP.into_iter().enumerate() {
        let server = stage.home.serve().await;
        stage.changes("agents", 3 + number);
        stage.pulled(&server).await;
        server.stop().await;
        // What was dropped is taken for a day old.
        stage.do_sql(&["UPDATE segments SET dropped_at = 0 WHERE state = 'dropped'"]).await;
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
    stage.call(&server, "PATCH", "", json!({"update_mode": "merge"})).await;
    server.stop().await;
    for step in BACKFILL {
        let server = stage.dying(step).await;
        server.dies_of("POST", &stage.path("/backfills"), &stage.token, days.clone()).await;
        let server = stage.back(step).await;
        let backfill = until("the backfill has finished", async || {
            let newest = stage.newest_backfill(&server).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_rows_are_joined_to_those_from_before_has_joined_them_once() {
    let merging = async {
        let stage = Stage::new("chat").await;
        let server = stage.home.serve().await;
        stage.call(&server, "PATCH", "", json!({"update_mode": "merge"})).await;
        stage.pulled(&server).await;
        stage.call(&server, "PATCH", "", json!({"options": {"look_back": 2}})).await;
        server.stop().await;
        for step in [&JOIN[..1], &COMMIT].concat() {
            // The last days come again and are taken for the old ones: the file of all days is written anew without them.
            stage.vendor.sandbox.end_chats(3);
            let server = stage.dying(step).await;
            let before = stage.ids(&server).await.len();
            let (server, run) = stage.dies_of_a_run(server, step).await;
            assert_eq!((run["state"].as_str(), run["rows_before"].as_u64()), (Some("succeeded"), Some(before as u64)), "{step}: {run}");
            let ids = stage.ids(&server).await;
            assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (before + 3, before + 3), "{step}");
            stage.is_whole(step).await;
            server.stop().await;
        }
    };
    let appending = async {
        let stage = Stage::new("chat").await;
        let server = stage.home.serve().await;
        stage.call(&server, "PATCH", "", json!({"update_mode": "append"})).await;
        server.stop().await;
        for step in COMMIT {
            let server = stage.dying(step).await;
            let before = stage.ids(&server).await.len();
            let (server, run) = stage.dies_of_a_run(server, step).await;
            let each = run["rows"].as_u64().unwrap() as usize;
            assert!(each > 0 && stage.ids(&server).await.len() == before + each, "{step}: {run}");
            stage.is_whole(step).await;
            server.stop().await;
        }
    };
    let compacting = async {
        let stage = Stage::new("agents").await;
        let server = stage.home.serve().await;
        stage.call(&server, "PATCH", "", json!({"update_mode": "append"})).await;
        stage.tells_of(1);
        server.stop().await;
        let server = stage.dying(JOIN[1]).await;
        let before = stage.ids(&server).await.len();
        // Until there are so many small files that they become one.
        until("the server dies", async || {
            server.try_send("POST", &format!("/api/v1{}", stage.path("/runs")), &stage.token, Some(json!({}))).await;
            server.ended()
        })
        .await;
        let server = stage.back(JOIN[1]).await;
        let (_, runs) = server.get(&stage.path("/runs?limit=100"), &stage.token).await;
        let runs = runs["items"].as_array().unwrap();
        let newest = server.over(runs[0]["id"].as_str().unwrap(), &stage.token).await;
        assert_eq!(newest["state"], "succeeded", "{newest}");
        let added = runs.len() - 3;
        assert!(added > 20 && stage.ids(&server).await.len() == before + added, "each of {added} runs has added its row once");
        stage.is_whole(JOIN[1]).await;
        server.stop().await;
    };
    tokio::join!(merging, appending, compacting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_rows_are_kept_held_or_accepted_has_done_it_or_not() {
    let stage = Stage::new("agents").await;
    let server = stage.home.serve().await;
    stage.call(&server, "PATCH", "", json!({"options": {"on_empty": "keep", "hold_drop": 50}})).await;
    let old = server.csv(&stage.dataset, &stage.token).await;
    server.stop().await;
    for step in UNCHANGED {
        let server = stage.dying(step).await;
        let before = stage.versions(&server).await;
        let (server, run) = stage.dies_of_a_run(server, step).await;
        assert_eq!((run["state"].as_str(), run["outcome"].as_str()), (Some("succeeded"), Some("unchanged")), "{step}: {run}");
        assert_eq!((server.csv(&stage.dataset, &stage.token).await, stage.versions(&server).await), (old.clone(), before), "{step}");
        server.stop().await;
    }
    stage.tells_of(0);
    for step in KEEP {
        let server = stage.dying(step).await;
        let (server, run) = stage.dies_of_a_run(server, step).await;
        assert_eq!((run["state"].as_str(), run["outcome"].as_str()), (Some("succeeded"), Some("kept")), "{step}: {run}");
        assert_eq!(server.csv(&stage.dataset, &stage.token).await, old, "{step}");
        server.stop().await;
    }
    stage.tells_of(1);
    for step in &COMMIT[..4] {
        let server = stage.dying(step).await;
        let (server, run) = stage.dies_of_a_run(server, step).await;
        assert_eq!((run["state"].as_str(), run["outcome"].as_str()), (Some("failed"), Some("held")), "{step}: {run}");
        assert_eq!(server.csv(&stage.dataset, &stage.token).await, old, "{step}");
        stage.is_whole(step).await;
        server.stop().await;
    }
    for step in ACCEPT {
        let server = stage.home.serve().await;
        stage.tells_of(40);
        stage.pulled(&server).await;
        stage.tells_of(1);
        let run = server.over(&server.run(&stage.dataset, &stage.token).await, &stage.token).await;
        assert_eq!(run["outcome"], "held", "{run}");
        server.stop().await;
        let (server, run) = (stage.dying(step).await, format!("/runs/{}", run["id"].as_str().unwrap()));
        server.dies_of("POST", &format!("{run}/accept"), &stage.token, json!({})).await;
        let server = stage.back(step).await;
        let (outcome, rows) = if step == "accept.done" { ("accepted", 1) } else { ("held", 40) };
        assert_eq!(server.get(&run, &stage.token).await.1["outcome"], outcome, "{step}");
        assert_eq!(server.csv(&stage.dataset, &stage.token).await.rows, rows, "{step}");
        if outcome == "held" {
            assert_eq!(server.post(&format!("{run}/accept"), &stage.token).await.0, 200, "{step}");
        }
        stage.is_whole(step).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_a_backfill_is_stopped_cancelled_or_resumed_goes_on_from_there() {
    let stage = Stage::new("chat").await;
    let server = stage.home.serve().await;
    stage.call(&server, "PATCH", "", json!({"update_mode": "merge"})).await;
    server.stop().await;
    let days = json!({"from": "2026-01-01", "to": "2026-01-06", "chunk_days": 3});
    let faults = stage.vendor.sandbox.faults();
    let path = async |server: &Server, act: &str| stage.path(&format!("/backfills/{}/{act}", stage.newest_backfill(server).await["id"].as_str().unwrap()));
    let finishes = async |server: &Server| {
        until("the backfill has finished", async || (stage.newest_backfill(server).await["state"] == "finished").then_some(())).await;
    };

    faults.set(vec![Fault::new(Kind::Status { status: 400 }).on("/chats")]);
    let server = stage.dying(BACKFILL_ENDS[0]).await;
    server.dies_of("POST", &stage.path("/backfills"), &stage.token, days.clone()).await;
    let server = stage.back(BACKFILL_ENDS[0]).await;
    assert_eq!(stage.newest_backfill(&server).await["state"], "stopped");
    server.stop().await;
    faults.clear();
    let server = stage.dying(BACKFILL_ENDS[1]).await;
    server.dies_of("POST", &path(&server, "resume").await, &stage.token, json!({})).await;
    let server = stage.back(BACKFILL_ENDS[1]).await;
    finishes(&server).await;
    stage.is_whole("resumed").await;
    server.stop().await;

    faults.set(vec![Fault::new(Kind::Late { ms: 300_000 }).on("/chats")]);
    let server = stage.dying(BACKFILL_ENDS[2]).await;
    stage.call(&server, "POST", "/backfills", days).await;
    let run = until("a chunk is at work", async || stage.newest_backfill(&server).await["run_id"].as_str().map(str::to_owned)).await;
    until("it is at work", async || (server.run_state(&run, &stage.token).await == "running").then_some(())).await;
    server.dies_of("POST", &path(&server, "cancel").await, &stage.token, json!({})).await;
    faults.clear();
    let server = stage.back(BACKFILL_ENDS[2]).await;
    // The chunk that was at work may still come; no other does.
    server.over(&run, &stage.token).await;
    stage.is_whole("cancelled").await;
    let backfill = stage.newest_backfill(&server).await;
    assert_eq!((backfill["state"].as_str(), backfill["run_id"].as_str()), (Some("cancelled"), None), "{backfill}");
    stage.call(&server, "POST", path(&server, "resume").await.trim_start_matches(&stage.path("")), json!({})).await;
    finishes(&server).await;
    stage.is_whole("resumed again").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_somebody_is_told_tells_everything_at_least_once() {
    let (stage, listener) = (Stage::new("agents").await, Listener::new().await);
    let app = beside(&stage.home).await;
    let (hook, _) = app.puller.notices.add_webhook("Team chat", &format!("{}/x", listener.address)).await.unwrap();
    app.stop().await;
    let server = stage.home.serve().await;
    stage.call(&server, "PATCH", "/notifications", json!({"webhooks": [hook.id.as_str()], "emails": []})).await;
    server.stop().await;
    // What waits for others has waited, what is to be tried again is due, and what was told is long ago.
    let later = async || {
        stage
            .do_sql(&[
                "UPDATE notices SET created_at = 0 WHERE message_id IS NULL",
                "UPDATE messages SET next_try_at = 0 WHERE state = 'waiting'",
                "UPDATE messages SET created_at = created_at - 3600000",
            ])
            .await;
    };
    for (number, step) in NOTIFY.into_iter().enumerate() {
        let (state, kind) = if number % 2 == 0 { ("failed", "failure") } else { ("succeeded", "recovery") };
        match kind {
            "failure" => stage.vendor.sandbox.faults().set(vec![Fault::new(Kind::Status { status: 400 }).on("/agents")]),
            _ => stage.vendor.sandbox.faults().clear(),
        }
        let before = listener.all().len();
        let server = if matches!(step, "notify.written" | "end.done") {
            let server = stage.dying(step).await;
            let (server, run) = stage.dies_of_a_run(server, step).await;
            assert_eq!(run["state"], state, "{step}: {run}");
            server
        } else {
            let server = stage.home.serve().await;
            let run = server.run(&stage.dataset, &stage.token).await;
            assert_eq!(server.over(&run, &stage.token).await["state"], state, "{step}");
            server.stop().await;
            later().await;
            // It looks into the outbox as soon as it starts.
            let server = stage.home.spawn_dying(step);
            until("the server dies", async || server.ended()).await;
            stage.back(step).await
        };
        server.stop().await;
        later().await;
        let server = stage.home.serve().await;
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(SqliteConnectOptions::new().filename(stage.home.catalogue()).read_only(true));
        let pool = pool.await.unwrap();
        until("all is told", async || {
            let left = "SELECT (SELECT COUNT(*) FROM notices WHERE message_id IS NULL) + (SELECT COUNT(*) FROM messages WHERE state <> 'sent')";
            let left: i64 = sqlx::query_scalar(left).fetch_one(&pool).await.unwrap();
            (left == 0).then_some(())
        })
        .await;
        pool.close().await;
        let heard = listener.all().split_off(before);
        let ids: BTreeSet<String> = heard.iter().map(|(headers, ..)| headers["x-chatlake-delivery"].to_str().unwrap().to_owned()).collect();
        assert_eq!((ids.len(), heard.len()), (1, if step == "notify.delivered" { 2 } else { 1 }), "{step}: {heard:?}");
        assert!(heard.iter().all(|(_, body, _)| body.contains(&format!("\"kind\":\"{kind}\"")) && *body == heard[0].1), "{step}: {heard:?}");
        stage.is_whole(step).await;
        server.stop().await;
    }
}
