//! A server and a sandbox as its vendor, both as processes of the built binary.

use std::process::Command;

use serde_json::json;

use super::data_dir::{BINARY, DataDir};
use super::process::ChildProcess;
use super::server::Server;

/// A server on an empty data directory, and its vendor.
pub struct TestServer {
    /// The address of the vendor.
    pub vendor: String,
    pub url: String,
    /// The link that creates the first admin.
    pub set_up: String,
    server: Server,
    _sandbox: ChildProcess,
    data_dir: DataDir,
}

/// The word of `line` that begins with `start`, without a slash at its end.
fn word(line: &str, start: &str) -> Option<String> {
    line.split_whitespace()
        .find(|word| word.starts_with(start))
        .map(|word| word.trim_end_matches('/').to_owned())
}

impl TestServer {
    pub async fn start(chats: u64) -> Self {
        Self::start_with_delay(chats, 0).await
    }

    /// The vendor needs this number of milliseconds for each answer.
    pub async fn start_with_delay(chats: u64, delay: u64) -> Self {
        let sandbox = ChildProcess::spawn(Command::new(BINARY).args([
            "sandbox",
            "--listen",
            "127.0.0.1:0",
            "--chats",
            &chats.to_string(),
            "--delay",
            &delay.to_string(),
        ]));
        let vendor = sandbox
            .line("the address of the sandbox", |line| {
                word(line, "http://127.0.0.1:")
            })
            .await;
        let data_dir = DataDir::new();
        let server = data_dir.serve_with(&["--log", "error"]).await;
        let set_up = server
            .line("the set-up link", |line| {
                word(line, "http://127.0.0.1:").filter(|link| link.contains("/set-up/"))
            })
            .await;
        Self {
            vendor,
            url: server.url(),
            set_up,
            server,
            _sandbox: sandbox,
            data_dir,
        }
    }

    /// Runs a command on the data directory and returns its output.
    pub async fn command(&self, arguments: &[&str], input: &str) -> String {
        self.data_dir.run_with(arguments, input).await.good()
    }

    /// Changes the number of days that a DataSet of `owner` pulls.
    pub async fn set_start_days(&self, owner: &str, dataset: &str, days: u32) {
        let token = self.data_dir.token(owner, "manage").await;
        let answer = self
            .server
            .send(
                "PATCH",
                &format!("/api/v1/datasets/{dataset}"),
                &token,
                Some(json!({"menus": {"start_days": days, "end_days": 1}})),
            )
            .await;
        assert!(answer.status().is_success(), "{answer:?}");
    }
}
