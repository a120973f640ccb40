//! A server with a simulated vendor, and what a program needs to use its API.

use serde_json::Value;

use super::data_dir::DataDir;
use super::sandbox::LocalSandbox;
use super::server::Server;

pub struct ApiServer {
    pub data_dir: DataDir,
    pub vendor: LocalSandbox,
    pub server: Server,
    pub account: String,
    pub token: String,
}

/// The person who has the account and the token.
pub const OWNER: &str = "olga@house.test";

impl ApiServer {
    pub async fn new(chats: u64) -> Self {
        let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(chats).await);
        let server = data_dir.serve().await;
        data_dir.person("olga", "admin").await;
        let token = data_dir.token(OWNER, "manage").await;
        let account = data_dir
            .account(OWNER, &vendor.address, "sandbox-key")
            .await;
        Self {
            data_dir,
            vendor,
            server,
            account,
            token,
        }
    }

    pub async fn pulled(&self, report: &str) -> String {
        let dataset = self.data_dir.dataset(OWNER, &self.account, report).await;
        self.pull(&dataset).await;
        dataset
    }

    pub async fn pull(&self, dataset: &str) -> Value {
        let run = self.server.run(dataset, &self.token).await;
        let over = self.server.over(&run, &self.token).await;
        assert_eq!(over["state"], "succeeded", "{over}");
        over
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let answer = self
            .server
            .send(method, &format!("/api/v1{path}"), &self.token, Some(body))
            .await;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}
