//! Vendors that accept connections and send nothing, or very little.

mod time_limits;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::data_dir::DataDir;
use crate::support::server::{Server, json_of};
use crate::support::until;

/// A host on the loopback address that never answers, or only a byte at a time. It stops with its
/// last handle.
struct SilentServer {
    address: String,
    /// The number of requests with a complete head.
    calls: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl SilentServer {
    /// Accepts and never answers.
    async fn silent() -> Self {
        Self::new(None).await
    }

    /// Begins an answer with this text and then sends single spaces.
    async fn dripping(begin: &str) -> Self {
        Self::new(Some(begin.to_owned())).await
    }

    async fn new(begin: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (calls, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (counted, stopped) = (calls.clone(), stop.clone());
        tokio::spawn(stopped.clone().run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(stopped.clone().run_until_cancelled_owned(answer(
                    socket,
                    begin.clone(),
                    counted.clone(),
                )));
            }
        }));
        Self {
            address,
            calls,
            _stop: stop.drop_guard(),
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn answer(mut socket: TcpStream, begin: Option<String>, calls: Arc<AtomicUsize>) {
    let (mut head, mut piece) = (Vec::new(), [0; 4_096]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match socket.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(&piece[..count]),
        }
    }
    calls.fetch_add(1, Ordering::SeqCst);
    let Some(begin) = begin else {
        // Until the other side closes the connection.
        let _ = socket.read(&mut piece).await;
        return;
    };
    let start = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{begin}\r\n",
        begin.len()
    );
    let mut next = socket.write_all(start.as_bytes()).await;
    while next.is_ok() {
        tokio::time::sleep(Duration::from_millis(300)).await;
        next = socket.write_all(b"1\r\n \r\n").await;
    }
}

/// A server and a person with a token.
struct RunFixture {
    server: Server,
    token: String,
    data_dir: DataDir,
}

impl RunFixture {
    async fn new(workers: &str) -> Self {
        let data_dir = DataDir::new();
        let email = data_dir.person("olga", "admin").await;
        let token = data_dir.token(&email, "manage").await;
        let server = data_dir.serve_with(&["--workers", workers]).await;
        Self {
            server,
            token,
            data_dir,
        }
    }

    async fn made(&self, path: &str, body: Value) -> String {
        let answer = self
            .server
            .send("POST", &format!("/api/v1{path}"), &self.token, Some(body))
            .await;
        let (status, made) = json_of(answer).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    async fn account(&self, connector: &str, address: &str) -> String {
        let credentials = match connector {
            "livechat" => json!({"username": "agent@sandbox.test", "api_key": "sandbox-key"}),
            _ => json!({"email": "operator@sandbox.test", "password": "sandbox-password"}),
        };
        let account = json!({"connector": connector, "name": "Support", "credentials": credentials,
            "api_url": address, "requests_per_minute": 60_000});
        self.made("/accounts", account).await
    }

    async fn dataset(&self, account: &str, report: &str) -> String {
        self.made(
            "/datasets",
            json!({"name": report, "account_id": account, "report": report}),
        )
        .await
    }

    /// A run on a separate account at this address.
    async fn run_at(&self, connector: &str, address: &str) -> String {
        let report = if connector == "livechat" {
            "chat"
        } else {
            "chats"
        };
        let dataset = self
            .dataset(&self.account(connector, address).await, report)
            .await;
        self.server.run(&dataset, &self.token).await
    }

    async fn get(&self, run: &str) -> Value {
        self.server
            .get(&format!("/runs/{run}"), &self.token)
            .await
            .1
    }

    async fn all_wait(&self, runs: &[String], phase: &str) {
        for run in runs {
            until("the page says that it waits for the vendor", async || {
                let run = self.get(run).await;
                assert_eq!(run["error"], Value::Null, "{run}");
                (run["progress"]["phase"] == phase).then_some(())
            })
            .await;
        }
    }

    fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.server.id()))
            .unwrap()
            .count()
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
