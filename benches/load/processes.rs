//! The server and the simulated vendor as processes, and their memory.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::DAYS;
use crate::api_client::Api;

const PASSWORD: &str = "a long enough passphrase 7";
const MIB: f64 = 1_048_576.0;

fn chatlake() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatlake"));
    // Removes settings from the environment, so that they do not affect the server.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CHATLAKE_")) {
        command.env_remove(name);
    }
    command
}

/// Waits for the line that contains `before` and returns the word after it.
fn word_after(child: &mut Child, before: &str) -> String {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.contains(before))
        .expect("it says where it listens");
    line.split(before)
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

pub struct Server {
    child: Child,
    /// Ends with a slash.
    pub url: String,
}

impl Server {
    pub async fn start(data: &Path) -> Self {
        let mut child = chatlake()
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--allow-upstream",
                "127.0.0.1",
                "--connections-per-address",
                "0",
                "--log",
                "warn",
                "--data",
            ])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let url = word_after(&mut child, "Chatlake is ready at ");
        let server = Self { child, url };
        let address = server
            .url
            .strip_prefix("http://")
            .unwrap()
            .trim_end_matches('/');
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let head = BufReader::new(stream).lines().next().unwrap().unwrap();
        assert!(head.contains(" 200 "), "/readyz answers {head}");
        server
    }

    /// `VmRSS` (current) or `VmHWM` (peak), in MiB.
    pub fn memory(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1_024.0 / MIB
    }

    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub struct Vendor {
    child: Child,
    pub url: String,
}

impl Vendor {
    pub fn start(chats: u64) -> Self {
        Self::with(chats, DAYS, &[])
    }

    pub fn with(chats: u64, days: u32, more: &[&str]) -> Self {
        let mut child = chatlake()
            .args([
                "sandbox",
                "--listen",
                "127.0.0.1:0",
                "--chats",
                &chats.to_string(),
                "--days",
                &days.to_string(),
            ])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let url = word_after(&mut child, "LiveChat at ");
        Self { child, url }
    }

    pub async fn forget_calls(&self, api: &Api) {
        api.client
            .delete(format!("{}/__calls", self.url))
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }

    /// Time in milliseconds and status of every call for chats, in order.
    pub async fn calls(&self, api: &Api) -> Vec<(i64, u64)> {
        let response: Value = serde_json::from_slice(
            &api.client
                .get(format!("{}/__calls", self.url))
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap(),
        )
        .unwrap();
        let chats = response["calls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|call| call["path"] == "/chats");
        let mut calls: Vec<_> = chats
            .map(|call| {
                (
                    call["at"].as_i64().unwrap(),
                    call["status"].as_u64().unwrap(),
                )
            })
            .collect();
        calls.sort_unstable();
        calls
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Adds an admin and returns a token of theirs.
pub fn new_admin(data: &Path, email: &str) -> String {
    let command = |arguments: &[&str], input: &str| {
        let mut child = chatlake()
            .args(arguments)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "chatlake {} ends with {}",
            arguments.join(" "),
            output.status
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    command(
        &[
            "user", "add", "--email", email, "--name", "Owner", "--role", "admin",
        ],
        &format!("{PASSWORD}\n"),
    );
    command(
        &[
            "token", "create", "--user", email, "--name", "bench", "--scope", "manage",
        ],
        "",
    )
}
