//! The server dies at every marked step of what it writes, and comes back: `chatlake verify` finds
//! nothing before the next start nor after it, and what was done is done whole or not at all.

use std::collections::BTreeSet;

use chatlake::db::failpoints::KILL_POINTS;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::support::data_dir::DataDir;
use crate::support::mail::WebhookListener;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::Server;
use crate::support::until;

/// A DataSet with three versions, of which two are kept.
struct CrashMatrixFixture {
    data_dir: DataDir,
    vendor: LocalSandbox,
    dataset: String,
    token: String,
}

impl CrashMatrixFixture {
    async fn new(report: &str) -> Self {
        let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(40).await);
        let email = data_dir.person("olga", "admin").await;
        let token = data_dir.token(&email, "manage").await;
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        let dataset = data_dir.dataset(&email, &account, report).await;
        let fixture = Self {
            data_dir,
            vendor,
            dataset,
            token,
        };
        let server = fixture.data_dir.serve().await;
        let kept = fixture
            .call(&server, "PATCH", "/retention", json!({"versions": 2}))
            .await;
        assert_eq!(kept["keeps_versions"], 2, "{kept}");
        for number in 0..3 {
            fixture.change_vendor_rows(report, number);
            fixture.pulled(&server).await;
        }
        server.stop().await;
        fixture
    }

    fn path(&self, rest: &str) -> String {
        format!("/datasets/{}{rest}", self.dataset)
    }

    async fn call(&self, server: &Server, method: &str, rest: &str, body: Value) -> Value {
        let answer = server
            .send(
                method,
                &format!("/api/v1{}", self.path(rest)),
                &self.token,
                Some(body),
            )
            .await;
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
        all.iter()
            .map(|version| {
                (
                    version["number"].as_u64().unwrap(),
                    version["id"].as_str().unwrap().to_owned(),
                )
            })
            .collect()
    }

    /// A server that is to die at this step.
    async fn dying(&self, step: &str) -> Server {
        let server = self.data_dir.spawn_dying(step);
        server.ready().await;
        server
    }

    async fn check_verified(&self, when: &str) {
        let ended = self.data_dir.run(&["verify", "--deep", "--json"]).await;
        assert_eq!(
            (ended.code, ended.out.trim()),
            (0, "[]"),
            "{when}: {ended:?}"
        );
    }

    /// After a death: looks, starts again, looks again.
    async fn restart(&self, step: &str) -> Server {
        self.check_verified(&format!("dead at {step}")).await;
        let server = self.data_dir.serve().await;
        self.check_verified(&format!("back from {step}")).await;
        server
    }

    /// Changes the catalogue of a server that is not there.
    async fn do_sql(&self, statements: &[&'static str]) {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(SqliteConnectOptions::new().filename(self.data_dir.catalogue()))
            .await
            .unwrap();
        for statement in statements {
            sqlx::query(*statement).execute(&pool).await.unwrap();
        }
        pool.close().await;
    }

    /// The vendor tells of so many agents.
    fn set_agents(&self, agents: usize) {
        let agents: Vec<Value> = (0..agents)
            .map(|number| json!({"login": format!("agent{number}")}))
            .collect();
        self.vendor.sandbox.faults().set(vec![
            Fault::new(FaultKind::Shape {
                body: Value::from(agents).to_string(),
            })
            .on("/agents"),
        ]);
    }

    /// The next pull brings other rows than the one before.
    fn change_vendor_rows(&self, report: &str, number: usize) {
        match report {
            "agents" => self.set_agents(20 + number),
            _ => self.vendor.sandbox.end_chats(1),
        }
    }

    /// Dies of a run at this step, and answers the server after that and the run at its end.
    async fn die_during_run(&self, server: Server, step: &str) -> (Server, Value) {
        server
            .send_until_death("POST", &self.path("/runs"), &self.token, json!({}))
            .await;
        let server = self.restart(step).await;
        let (_, runs) = server.get(&self.path("/runs?limit=1"), &self.token).await;
        let run = server
            .over(runs["items"][0]["id"].as_str().unwrap(), &self.token)
            .await;
        (server, run)
    }

    /// The ids of all rows.
    async fn ids(&self, server: &Server) -> Vec<String> {
        let answer = server
            .send(
                "GET",
                &format!("/api/v1{}", self.path("/data?format=csv")),
                &self.token,
                None,
            )
            .await;
        let text = answer.text().await.unwrap();
        csv::Reader::from_reader(text.as_bytes())
            .records()
            .map(|record| record.unwrap()[0].to_owned())
            .collect()
    }

    async fn newest_backfill(&self, server: &Server) -> Value {
        server.get(&self.path("/backfills"), &self.token).await.1["items"][0].clone()
    }
}

const COMMIT: [&str; 6] = [
    "commit.files_whole",
    "commit.begun",
    "commit.inserted",
    "commit.done",
    "retain.dropped",
    "retain.done",
];
const SWEEP: [&str; 3] = ["sweep.dropped", "sweep.file_gone", "sweep.done"];
const BACK: [&str; 5] = [
    "revert.run_written",
    "revert.inserted",
    "revert.done",
    "delete_version.dropped",
    "delete_version.done",
];
const BACKFILL: [&str; 3] = [
    "backfill.asked",
    "backfill.chunk_queued",
    "backfill.chunk_counted",
];
const BACKFILL_ENDS: [&str; 3] = ["backfill.stopped", "backfill.resumed", "backfill.cancelled"];
/// What a run that joins its rows to those from before does, besides.
const JOIN: [&str; 2] = ["build.rewritten", "build.compacted"];
const KEEP: [&str; 2] = ["keep.written", "keep.done"];
const UNCHANGED: [&str; 2] = ["unchanged.written", "unchanged.done"];
const ACCEPT: [&str; 2] = ["accept.written", "accept.done"];
/// In turns a run that fails and one that works again: what is told of both.
const NOTIFY: [&str; 7] = [
    "notify.written",
    "notify.gathered",
    "end.done",
    "notify.message",
    "notify.taken_up",
    "notify.delivered",
    "notify.settled",
];

#[test]
fn every_marked_step_is_died_at() {
    let covered: BTreeSet<&str> = [
        &COMMIT[..],
        &SWEEP,
        &BACK,
        &BACKFILL,
        &BACKFILL_ENDS,
        &JOIN,
        &KEEP,
        &UNCHANGED,
        &ACCEPT,
        &NOTIFY,
    ]
    .concat()
    .into_iter()
    .collect();
    assert_eq!(covered, KILL_POINTS.into_iter().collect());
    // And marked, wherever that is: nothing is in the list that no code names, and nothing is named
    // that is not in it.
    let mut marked = BTreeSet::new();
    for source in sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(source).unwrap();
        marked.extend(
            text.split("kill_point(\"")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned()),
        );
    }
    assert_eq!(
        marked.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        covered
    );
}

fn sources(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let (dirs, files): (Vec<_>, Vec<_>) = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .partition(|path| path.is_dir());
    let mut all: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect();
    all.extend(dirs.iter().flat_map(|dir| sources(dir)));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_at_any_step_of_a_commit_or_of_retention_leaves_everything_whole() {
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
async fn a_server_that_dies_at_any_step_of_the_sweep_leaves_everything_whole() {
    let fixture = CrashMatrixFixture::new("agents").await;
    for (number, step) in SWEEP.into_iter().enumerate() {
        let server = fixture.data_dir.serve().await;
        fixture.change_vendor_rows("agents", 3 + number);
        fixture.pulled(&server).await;
        server.stop().await;
        // What was dropped is taken for a day old.
        fixture
            .do_sql(&["UPDATE segments SET dropped_at = 0 WHERE state = 'dropped'"])
            .await;
        let files = || {
            std::fs::read_dir(fixture.data_dir.data().join("segments"))
                .unwrap()
                .count()
        };
        let before = files();
        // It sweeps as soon as it starts.
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
    for step in BACK {
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
async fn a_server_that_dies_at_any_step_of_a_backfill_goes_on_with_it() {
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
async fn a_server_that_dies_while_rows_are_joined_to_those_from_before_has_joined_them_once() {
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
        for step in [&JOIN[..1], &COMMIT].concat() {
            // The last days come again and are taken for the old ones: the file of all days is
            // written anew without them.
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
        let server = fixture.dying(JOIN[1]).await;
        let before = fixture.ids(&server).await.len();
        // Until there are so many small files that they become one.
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
        let server = fixture.restart(JOIN[1]).await;
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
        fixture.check_verified(JOIN[1]).await;
        server.stop().await;
    };
    tokio::join!(merging, appending, compacting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_rows_are_kept_pending_or_accepted_is_atomic() {
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
    for step in KEEP {
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
    for step in ACCEPT {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_a_backfill_is_stopped_cancelled_or_resumed_goes_on_from_there() {
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
    let server = fixture.dying(BACKFILL_ENDS[0]).await;
    server
        .send_until_death(
            "POST",
            &fixture.path("/backfills"),
            &fixture.token,
            days.clone(),
        )
        .await;
    let server = fixture.restart(BACKFILL_ENDS[0]).await;
    assert_eq!(fixture.newest_backfill(&server).await["state"], "stopped");
    server.stop().await;
    faults.clear();
    let server = fixture.dying(BACKFILL_ENDS[1]).await;
    server
        .send_until_death(
            "POST",
            &path(&server, "resume").await,
            &fixture.token,
            json!({}),
        )
        .await;
    let server = fixture.restart(BACKFILL_ENDS[1]).await;
    finishes(&server).await;
    fixture.check_verified("resumed").await;
    server.stop().await;

    faults.set(vec![
        Fault::new(FaultKind::Late { ms: 300_000 }).on("/chats"),
    ]);
    let server = fixture.dying(BACKFILL_ENDS[2]).await;
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
    let server = fixture.restart(BACKFILL_ENDS[2]).await;
    // The chunk that was at work may still come; no other does.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_notifying_delivers_every_notification_at_least_once() {
    let (fixture, listener) = (
        CrashMatrixFixture::new("agents").await,
        WebhookListener::new().await,
    );
    let app = fixture.data_dir.command_app().await;
    let (hook, _) = app
        .puller
        .notifications
        .add_webhook("Team chat", &format!("{}/x", listener.address))
        .await
        .unwrap();
    app.stop().await;
    let server = fixture.data_dir.serve().await;
    fixture
        .call(
            &server,
            "PATCH",
            "/notifications",
            json!({"webhooks": [hook.id.as_str()], "emails": []}),
        )
        .await;
    server.stop().await;
    // What waits for others has waited, what is to be tried again is due, and what was told is long
    // ago.
    let later = async || {
        fixture
            .do_sql(&[
                "UPDATE notifications SET created_at = 0 WHERE message_id IS NULL",
                "UPDATE messages SET next_try_at = 0 WHERE state = 'waiting'",
                "UPDATE messages SET created_at = created_at - 3600000",
            ])
            .await;
    };
    for (number, step) in NOTIFY.into_iter().enumerate() {
        let (state, kind) = if number % 2 == 0 {
            ("failed", "failure")
        } else {
            ("succeeded", "recovery")
        };
        match kind {
            "failure" => fixture.vendor.sandbox.faults().set(vec![
                Fault::new(FaultKind::Status { status: 400 }).on("/agents"),
            ]),
            _ => fixture.vendor.sandbox.faults().clear(),
        }
        let before = listener.all().len();
        let server = if matches!(step, "notify.written" | "end.done") {
            let server = fixture.dying(step).await;
            let (server, run) = fixture.die_during_run(server, step).await;
            assert_eq!(run["state"], state, "{step}: {run}");
            server
        } else {
            let server = fixture.data_dir.serve().await;
            let run = server.run(&fixture.dataset, &fixture.token).await;
            assert_eq!(
                server.over(&run, &fixture.token).await["state"],
                state,
                "{step}"
            );
            server.stop().await;
            later().await;
            // It looks into the outbox as soon as it starts.
            let server = fixture.data_dir.spawn_dying(step);
            until("the server dies", async || server.ended()).await;
            fixture.restart(step).await
        };
        server.stop().await;
        later().await;
        let server = fixture.data_dir.serve().await;
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(
            SqliteConnectOptions::new()
                .filename(fixture.data_dir.catalogue())
                .read_only(true),
        );
        let pool = pool.await.unwrap();
        until("all is told", async || {
            let left = "SELECT (
                     SELECT COUNT(*)
                     FROM notifications
                     WHERE message_id IS NULL
                 ) + (SELECT COUNT(*) FROM messages WHERE state <> 'sent')";
            let left: i64 = sqlx::query_scalar(left).fetch_one(&pool).await.unwrap();
            (left == 0).then_some(())
        })
        .await;
        pool.close().await;
        let posts = listener.all().split_off(before);
        let ids: BTreeSet<String> = posts
            .iter()
            .map(|(headers, ..)| headers["x-chatlake-delivery"].to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            (ids.len(), posts.len()),
            (1, if step == "notify.delivered" { 2 } else { 1 }),
            "{step}: {posts:?}"
        );
        assert!(
            posts.iter().all(
                |(_, body, _)| body.contains(&format!("\"kind\":\"{kind}\""))
                    && *body == posts[0].1
            ),
            "{step}: {posts:?}"
        );
        fixture.check_verified(step).await;
        server.stop().await;
    }
}
