//! The server is killed at every failpoint: `chatlake verify` finds no problem before and after the next
//! start, and each change is complete or absent.

mod backfills;
mod failpoints;
mod notifications;
mod versions;

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::Server;

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

    /// Numbers of the existing versions, newest first. The first one is current.
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

    /// A server that ends at this failpoint.
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

    /// After a crash: verifies, starts the server, and verifies again.
    async fn restart(&self, step: &str) -> Server {
        self.check_verified(&format!("dead at {step}")).await;
        let server = self.data_dir.serve().await;
        self.check_verified(&format!("back from {step}")).await;
        server
    }

    /// Changes the catalogue while no server runs.
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

    /// The vendor returns this number of agents.
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

    /// The next pull reads other rows than the previous one.
    fn change_vendor_rows(&self, report: &str, number: usize) {
        match report {
            "agents" => self.set_agents(20 + number),
            _ => self.vendor.sandbox.end_chats(1),
        }
    }

    /// Crashes during a run at this failpoint. Returns the next server and the ended run.
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

const REVERT: [&str; 5] = [
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

const BACKFILL_STATES: [&str; 3] = ["backfill.stopped", "backfill.resumed", "backfill.cancelled"];

/// The further steps of a run that combines its rows with existing rows.
const COMBINE: [&str; 2] = ["build.rewritten", "build.compacted"];

const PENDING: [&str; 2] = ["keep.written", "keep.done"];

const UNCHANGED: [&str; 2] = ["unchanged.written", "unchanged.done"];

const PUBLISH: [&str; 2] = ["accept.written", "accept.done"];

/// The steps of notifications about runs that fail and runs that succeed again.
const NOTIFY: [&str; 7] = [
    "notify.written",
    "notify.gathered",
    "end.done",
    "notify.message",
    "notify.taken_up",
    "notify.delivered",
    "notify.settled",
];
