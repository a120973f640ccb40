//! The integrity of stored rows: damage, and runs that change nothing.

mod damaged_rows;
mod unchanged_runs;

use std::path::PathBuf;

use axum::http::{Method, StatusCode};
use chatlake::actor::{Actor, Role, Scope};
use chatlake::ids::DatasetId;
use chatlake::puller::run::Run;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::http::{Browser, Page};

/// A DataSet of agents, its owner and a token.
struct IntegrityFixture {
    ctx: TestContext,
    owner: Actor,
    browser: Browser,
    token: String,
    dataset: DatasetId,
}

impl IntegrityFixture {
    async fn new() -> Self {
        let ctx = TestContext::with_workers().await;
        let (owner, browser) = ctx.signed_in_person("olga", Role::Editor).await;
        let token = ctx.token(&owner, Scope::Manage).await;
        let account = ctx.account(&owner, "Support").await.id;
        let dataset = ctx.dataset(&owner, &account, "agents", "People").await;
        Self {
            ctx,
            owner,
            browser,
            token,
            dataset,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/datasets/{}{rest}", self.dataset)
    }

    /// A run that pulls agents with these names.
    async fn pull_rows(&self, names: &[&str]) -> Run {
        let people: Vec<Value> = names
            .iter()
            .map(|name| json!({"login": format!("{name}@house.test"), "name": name}))
            .collect();
        self.ctx.sandbox.faults().set(vec![
            Fault::new(FaultKind::Shape {
                body: Value::from(people).to_string(),
            })
            .on("/agents"),
        ]);
        self.ctx.run(&self.owner, &self.dataset).await
    }

    async fn call(&self, method: &str, rest: &str, body: Value) -> (StatusCode, Value) {
        self.ctx
            .api(&self.token, method, &self.path(rest), body)
            .await
    }

    async fn update_mode(&self, mode: &str) {
        let (status, response) = self.call("PATCH", "", json!({"update_mode": mode})).await;
        assert_eq!(status, StatusCode::OK, "{response}");
    }

    async fn csv(&self, etag: Option<&str>) -> Page {
        let authorization = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(etag.map(|etag| ("if-none-match", etag)));
        self.ctx
            .browser()
            .send(
                Method::GET,
                &format!("/api/v1{}", self.path("/data?format=csv")),
                None,
                &headers,
            )
            .await
    }

    async fn versions(&self) -> Vec<Value> {
        self.call("GET", "/versions", Value::Null).await.1["items"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// The files of the current version.
    async fn files(&self) -> Vec<PathBuf> {
        let current = self
            .ctx
            .app
            .datasets
            .versions
            .current(&self.dataset)
            .await
            .unwrap()
            .unwrap();
        let segments = self.ctx.app.datasets.segments.dir().to_owned();
        current
            .segments
            .iter()
            .map(|segment| segments.join(format!("{}.parquet", segment.id)))
            .collect()
    }

    async fn flip_a_bit(&self) {
        let file = self.files().await.remove(0);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(file, bytes).unwrap();
    }
}

fn etag(page: &Page) -> String {
    page.headers["etag"].to_str().unwrap().to_owned()
}
