//! DataSets: their settings, and a person with a DataSet whose rows a test chooses.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use chatlake::accounts::NewAccount;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::clock::Clock;
use chatlake::connectors::report::UpdateMode;
use chatlake::connectors::{Connector, Menus};
use chatlake::datasets::schedule_state::StoredSchedule;
use chatlake::datasets::{Dataset, DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::{AccountId, DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::puller::run::RunState;
use chatlake::puller::schedules::Schedule;
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;
use serde_json::{Value, json};

use super::context::TestContext;
use super::http::PersonBrowser;
use super::sandbox::of_size;
use super::{DAY, NOON};

/// The settings of a DataSet without a schedule, with the defaults of its report, in UTC.
pub fn dataset_settings(
    connector: Connector,
    account: &AccountId,
    report: &str,
    name: &str,
) -> DatasetSettings {
    let report = connector.report(report).unwrap();
    DatasetSettings {
        name: DatasetName::parse(name).unwrap(),
        description: DatasetDescription::default(),
        account_id: account.clone(),
        connector,
        report,
        menus: Menus::default().check(report).unwrap(),
        update_mode: report.mode,
        options: Default::default(),
        time_zone: "UTC".to_owned(),
        schedule: None,
    }
}

fn stored_schedule(cron: &str, now: i64) -> Option<StoredSchedule> {
    Schedule::parse(cron, "UTC", now).unwrap().to_stored(now)
}

/// A DataSet of agents on this schedule.
pub async fn scheduled(
    ctx: &TestContext,
    owner: &Actor,
    account: &AccountId,
    name: &str,
    cron: &str,
) -> DatasetId {
    let settings = DatasetSettings {
        schedule: stored_schedule(cron, NOON),
        ..dataset_settings(Connector::LiveChat, account, "agents", name)
    };
    ctx.app.datasets.create(owner, &settings).await.unwrap()
}

/// A DataSet of chats with the update mode Merge, on this schedule.
pub async fn merging(
    ctx: &TestContext,
    owner: &Actor,
    account: &AccountId,
    cron: Option<&str>,
) -> DatasetId {
    let settings = DatasetSettings {
        update_mode: UpdateMode::Merge,
        schedule: cron.and_then(|cron| stored_schedule(cron, ctx.clock.now())),
        ..dataset_settings(Connector::LiveChat, account, "chat", "Chats")
    };
    ctx.app.datasets.create(owner, &settings).await.unwrap()
}

/// A person with a session, a token and an account at the sandbox. The clock is stopped until a
/// test moves it.
pub struct DatasetFixture {
    pub ctx: TestContext,
    pub owner: PersonBrowser,
    pub token: String,
    pub account: AccountId,
}

impl DatasetFixture {
    pub async fn new() -> Self {
        let clock = Clock::stopped_at(NOON);
        let ctx = TestContext::with_sandbox_at(of_size(900, 20), clock).await;
        let owner = ctx.person_with_session("olga", Role::Editor).await;
        let account = ctx.shared_account("sandbox-key").await;
        let token = ctx.token(&owner.actor, Scope::Manage).await;
        Self {
            ctx,
            owner,
            token,
            account,
        }
    }

    /// Sends a request of the owner to the API.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, body) = self.ctx.api(&self.token, method, path, body).await;
        (status.as_u16(), body)
    }

    pub async fn dataset(&self, report: &str, rest: Value) -> DatasetId {
        let mut new = json!({"name": report, "account_id": self.account, "report": report});
        new.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        let (status, made) = self.call("POST", "/datasets", new).await;
        assert_eq!(status, 201, "{made}");
        DatasetId::parse(made["id"].as_str().unwrap()).unwrap()
    }

    pub async fn change(&self, dataset: &DatasetId, patch: Value) -> Value {
        let (status, now) = self
            .call("PATCH", &format!("/datasets/{dataset}"), patch)
            .await;
        assert_eq!(status, 200, "{now}");
        now
    }

    /// A shared LiveLeader account.
    pub async fn leader(&self) -> AccountId {
        let admin = self.ctx.person_without_password("mia", Role::Admin).await;
        let new = NewAccount {
            connector: Connector::LiveLeader,
            name: "Night desk".to_owned(),
            credentials: BTreeMap::from([
                ("email".to_owned(), Secret::new("operator@sandbox.test")),
                ("password".to_owned(), Secret::new("sandbox-password")),
            ]),
            api_url: Some(self.ctx.vendor.clone()),
            requests_per_minute: Some(60_000),
            time_zone: None,
        };
        let accounts = &self.ctx.app.accounts;
        let id = accounts.create(&admin, &new).await.unwrap().id;
        self.ctx.share_account(&admin, &id).await;
        id
    }

    /// Begins a backfill in chunks of two days.
    pub async fn begin(&self, dataset: &DatasetId, from: &str, to: &str) {
        let (status, begun) = self
            .call(
                "POST",
                &format!("/datasets/{dataset}/backfills"),
                json!({"from": from, "to": to, "chunk_days": 2}),
            )
            .await;
        assert_eq!(status, 202, "{begun}");
    }

    /// As `begin`, and waits for the end of the backfill.
    pub async fn backfill(&self, dataset: &DatasetId, from: &str, to: &str) -> Value {
        self.begin(dataset, from, to).await;
        for _ in 0..1_000 {
            let (_, all) = self
                .call(
                    "GET",
                    &format!("/datasets/{dataset}/backfills"),
                    Value::Null,
                )
                .await;
            if all["items"][0]["state"] != "running" {
                return all["items"][0].clone();
            }
            self.ctx.clock.advance(200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the backfill does not end");
    }

    /// Runs a DataSet and moves the clock until the run ends. Returns the run.
    pub async fn run(&self, dataset: &DatasetId) -> Value {
        let (_, run) = self
            .call("POST", &format!("/datasets/{dataset}/runs"), json!({}))
            .await;
        let path = format!(
            "/runs/{}",
            run["id"]
                .as_str()
                .unwrap_or_else(|| panic!("no run was made: {run}"))
        );
        for _ in 0..1_000 {
            let (_, run) = self.call("GET", &path, Value::Null).await;
            assert!(run["state"].is_string(), "{run}");
            if matches!(
                run["state"].as_str().unwrap(),
                "succeeded" | "failed" | "cancelled" | "parked"
            ) {
                return run;
            }
            self.ctx.clock.advance(200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the run does not end");
    }

    pub async fn good_run(&self, dataset: &DatasetId) -> Value {
        let run = self.run(dataset).await;
        assert_eq!(run["state"], "succeeded", "{run}");
        run
    }

    /// The rows of the current version, by column.
    pub async fn rows(&self, dataset: &DatasetId) -> Vec<BTreeMap<String, String>> {
        let answer = self
            .ctx
            .browser()
            .send(
                Method::GET,
                &format!("/api/v1/datasets/{dataset}/data"),
                None,
                &[("authorization", &format!("Bearer {}", self.token))],
            )
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        let mut reader = csv::Reader::from_reader(&answer.bytes[..]);
        reader.deserialize().map(Result::unwrap).collect()
    }

    pub async fn column(&self, dataset: &DatasetId, name: &str) -> Vec<String> {
        self.rows(dataset)
            .await
            .into_iter()
            .map(|mut row| {
                row.remove(name)
                    .unwrap_or_else(|| panic!("there is no column {name}"))
            })
            .collect()
    }

    /// The sandbox answers every request with this body.
    pub fn answers(&self, body: &Value) {
        self.ctx
            .sandbox
            .faults()
            .set(vec![Fault::new(FaultKind::Shape {
                body: body.to_string(),
            })]);
    }

    /// A chat that began `days` days ago, with these messages.
    pub fn chat(&self, id: &str, days: i64, messages: &[&str]) -> Value {
        let started = (self.ctx.clock.now() - days * DAY) / 1_000;
        let messages: Vec<Value> = messages.iter().map(|text| json!({"text": text})).collect();
        json!({"id": id, "started_timestamp": started, "messages": messages})
    }

    /// The sandbox answers every request with these chats.
    pub fn holds(&self, chats: &[Value]) {
        self.answers(&json!({"chats": chats, "total": chats.len(), "pages": 1}));
    }

    /// The number of chats of these days in the sandbox.
    pub fn truth(&self, from: &str, to: &str) -> usize {
        let question =
            json!({"report": "chat", "date_from": from, "date_to": to, "timezone": "UTC"});
        self.ctx
            .sandbox
            .truth(&serde_json::from_value(question).unwrap())
            .unwrap()["count"]
            .as_u64()
            .unwrap() as usize
    }
}

/// The menus of a DataSet that pulls only yesterday.
pub const YESTERDAY: fn() -> Value = || json!({"start_days": 1, "end_days": 1});

/// The DataSet as the catalogue has it now.
pub async fn stored_dataset(ctx: &TestContext, dataset: &DatasetId) -> Dataset {
    ctx.app.datasets.for_run(dataset).await.unwrap()
}

/// The run was active during its third crash.
pub async fn park_run(ctx: &TestContext, run: &RunId) {
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE runs SET attempt = 3 WHERE id = $1")
        .bind(run)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    queue::requeue_interrupted(&ctx.app.db, &ctx.clock)
        .await
        .unwrap();
    assert_eq!(
        queue::get(&ctx.app.db, run).await.unwrap().unwrap().state,
        RunState::Parked
    );
}
