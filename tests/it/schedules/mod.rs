//! When scheduled runs are due, on a clock that the test moves.

mod api;
mod clock_changes;
mod invalid_schedules;
mod missed_runs;
mod paused_schedules;
mod queue_order;

use axum::http::Method;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::clock::Millis;
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::queue::{self, Claimed, WorkerLeases};
use chatlake::puller::scheduler;
use serde_json::{Value, json};

use crate::support::context::TestContext;

/// A context without workers, an editor and an account.
struct ScheduleFixture {
    ctx: TestContext,
    owner: Actor,
    account: AccountId,
    token: String,
}

impl ScheduleFixture {
    async fn new() -> Self {
        let ctx = TestContext::new().await;
        let owner = ctx.person("olga", Role::Editor).await;
        let account = ctx.account(&owner, "Support").await.id;
        let token = ctx.token(&owner, Scope::Manage).await;
        Self {
            ctx,
            owner,
            account,
            token,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask_with(&self.token, method, path, body).await
    }

    async fn ask_with(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let page = self
            .ctx
            .browser()
            .send(
                method,
                &format!("/api/v1{path}"),
                body.map(|body| body.to_string()),
                &headers,
            )
            .await;
        (
            page.status.as_u16(),
            serde_json::from_str(&page.text).unwrap_or(Value::Null),
        )
    }

    /// A DataSet on this schedule, in Oslo.
    async fn make(&self, schedule: Value) -> DatasetId {
        let new = json!({"name": "Agents", "account_id": self.account, "report": "agents",
            "schedule": schedule, "time_zone": "Europe/Oslo"});
        let (status, made) = self.ask(Method::POST, "/datasets", Some(new)).await;
        assert_eq!(status, 201, "{made}");
        DatasetId::parse(made["id"].as_str().unwrap()).unwrap()
    }

    async fn dataset_json(&self, dataset: &DatasetId) -> Value {
        self.ask(Method::GET, &format!("/datasets/{dataset}"), None)
            .await
            .1
    }

    async fn tick(&self) -> Option<Millis> {
        scheduler::tick(&self.ctx.app.puller).await.unwrap()
    }

    async fn runs(&self, dataset: &DatasetId) -> Vec<chatlake::puller::run::Run> {
        queue::of_dataset(&self.ctx.app.db, dataset, 0, 1_000)
            .await
            .unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(self.ctx.app.db.read())
            .await
            .unwrap()
    }

    async fn change(&self, sql: &'static str) {
        let mut tx = self.ctx.app.db.write().await.unwrap();
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// More DataSets like the existing one, each with another request.
    async fn copy(&self, many: usize) {
        let mut tx = self.ctx.app.db.write().await.unwrap();
        for n in 0..many {
            sqlx::query(
                "INSERT INTO datasets (id, owner_id, account_id, connector, report, name, description, menus, update_mode, \
                 time_zone, schedule, next_run_at, \
                 created_at, updated_at, last_due_at, schedule_plan) SELECT $1, owner_id, account_id, connector, report, \
                     name, description, \
                 '{\"login\":\"' || $2 || '\"}', update_mode, time_zone, schedule, next_run_at, created_at, updated_at, \
                  last_due_at, schedule_plan FROM datasets \
                 WHERE name = 'Agents' LIMIT 1",
            )
            .bind(DatasetId::new())
            .bind(n.to_string())
            .execute(&mut *tx)
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Ends every active run with success.
    async fn all_succeed(&self) {
        self.change(
            "UPDATE runs
             SET state = 'succeeded', finished_at = queued_at, lease_until = NULL
             WHERE finished_at IS NULL",
        )
        .await;
    }

    async fn claim(&self, most: i64) -> Vec<Claimed> {
        queue::claim(
            &self.ctx.app.db,
            &self.ctx.clock,
            &WorkerLeases::new("a worker"),
            most,
        )
        .await
        .unwrap()
    }
}
