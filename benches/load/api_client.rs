//! A client of the server's API.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::DAYS;
use crate::processes::{Server, Vendor, new_admin};

/// A client of the server's API with an admin token.
pub struct Api {
    pub client: reqwest::Client,
    pub base: String,
    pub token: String,
}

impl Api {
    pub fn new(server: &Server, data: &Path) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .no_gzip()
            .build()
            .unwrap();
        Self {
            client,
            base: format!("{}api/v1", server.url),
            token: new_admin(data, "owner@bench.test"),
        }
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method.parse().unwrap(), format!("{}{path}", self.base))
            .bearer_auth(&self.token)
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        assert!(
            status.is_success(),
            "{method} {path} answers {status}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).await
    }

    /// Runs a DataSet and returns the run after it has succeeded.
    pub async fn run(&self, dataset: &str) -> Value {
        let run = self
            .ask(
                "POST",
                &format!("/datasets/{dataset}/runs"),
                Some(json!({})),
            )
            .await;
        loop {
            sleep(Duration::from_millis(10)).await;
            let run = self
                .get(&format!("/runs/{}", run["id"].as_str().unwrap()))
                .await;
            match run["state"].as_str().unwrap() {
                "queued" | "running" => {}
                "succeeded" => return run,
                other => panic!("the run is {other}: {}", run["error"]),
            }
        }
    }

    pub async fn account(&self, vendor: &Vendor) -> String {
        self.account_in_pace(vendor, 60_000).await
    }

    pub async fn account_in_pace(&self, vendor: &Vendor, per_minute: u32) -> String {
        let new = json!({
            "connector": "livechat",
            "name": "Sandbox",
            "api_url": vendor.url,
            "requests_per_minute": per_minute,
            "credentials": {"username": "agent@sandbox.test", "api_key": "sandbox-key"},
        });
        self.ask("POST", "/accounts", Some(new)).await["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub async fn dataset(&self, account: &str, report: &str) -> String {
        self.dataset_of(account, report, DAYS).await
    }

    pub async fn dataset_of(&self, account: &str, report: &str, days: u32) -> String {
        self.dataset_between(account, report, days, 0).await
    }

    pub async fn dataset_between(
        &self,
        account: &str,
        report: &str,
        start_days: u32,
        end_days: u32,
    ) -> String {
        let menus = json!({"start_days": start_days, "end_days": end_days});
        let new = json!({"name": report, "account_id": account, "report": report, "menus": menus});
        self.ask("POST", "/datasets", Some(new)).await["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}
