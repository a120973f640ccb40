//! A data directory for the built binary: its commands, its servers and its files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chatlake::app::App;
use chatlake::clock::Clock;
use chatlake::config::{Config, GlobalArgs, ServeArgs};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::server::Server;
use super::{PASSWORD, TIMEOUT, noon_zone};

/// The path of the built binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_chatlake");

/// How a command ended.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl CommandOutput {
    /// What it printed, if it worked.
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.trim_end().to_owned()
    }

    pub fn json(self) -> Value {
        serde_json::from_str(&self.good()).unwrap()
    }
}

/// A data directory.
pub struct DataDir {
    dir: tempfile::TempDir,
}

impl DataDir {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn catalogue(&self) -> PathBuf {
        self.data().join("chatlake.db")
    }

    /// `chatlake` with nothing of this process's environment. A shell first sets the loosest umask:
    /// modes must not depend on it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .env_clear()
            .current_dir(self.dir.path())
            .args(["-c", "umask 000; exec \"$0\" \"$@\"", BINARY])
            .args(arguments)
            .args([
                "--data",
                self.data().to_str().unwrap(),
                "--allow-upstream",
                "127.0.0.1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.run_with(arguments, "").await
    }

    pub async fn run_with(&self, arguments: &[&str], input: &str) -> CommandOutput {
        end(self.command(arguments), input).await
    }

    /// With these variables, and no others, in its environment.
    pub async fn run_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        end(command, "").await
    }

    pub async fn person(&self, name: &str, role: &str) -> String {
        let email = format!("{name}@house.test");
        self.run_with(
            &[
                "user", "add", "--email", &email, "--name", name, "--role", role,
            ],
            PASSWORD,
        )
        .await
        .good();
        email
    }

    pub async fn token(&self, email: &str, scope: &str) -> String {
        self.run(&[
            "token", "create", "--user", email, "--name", "a script", "--scope", scope,
        ])
        .await
        .good()
    }

    /// An account at this address and its id.
    pub async fn account(&self, email: &str, api_url: &str, key: &str) -> String {
        let arguments = [
            "account",
            "add",
            "--user",
            email,
            "--connector",
            "livechat",
            "--name",
            "Support",
            "--field",
            "username=agent@sandbox.test",
        ];
        self.run_with(
            &[
                &arguments[..],
                &["--api-url", api_url, "--requests-per-minute", "60000"],
            ]
            .concat(),
            key,
        )
        .await
        .good()
    }

    /// A DataSet of the last two weeks, today included, and its id.
    pub async fn dataset(&self, email: &str, account: &str, report: &str) -> String {
        let days: &[&str] = if matches!(report, "agents" | "groups") {
            &[]
        } else {
            &["--start-days", "14", "--end-days", "0"]
        };
        let zone = noon_zone();
        let arguments = [
            "dataset",
            "create",
            "--user",
            email,
            "--name",
            "Mine",
            "--account",
            account,
            "--report",
            report,
            "--time-zone",
            &zone,
        ];
        self.run(&[&arguments[..], days].concat()).await.good()
    }

    pub async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    pub async fn serve_with(&self, arguments: &[&str]) -> Server {
        let server = self.spawn(arguments);
        server.ready().await;
        server
    }

    /// Starts a server without waiting for it.
    pub fn spawn(&self, arguments: &[&str]) -> Server {
        self.spawn_in(&[], arguments)
    }

    /// As `spawn`, with these variables in its environment.
    pub fn spawn_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Server {
        Server::spawn(
            self.serve_command(arguments)
                .envs(environment.iter().copied()),
        )
    }

    /// Starts a server from a shell that first runs this line, such as `ulimit -n 64`.
    pub fn spawn_under(&self, line: &str, arguments: &[&str]) -> Server {
        let serve = self.serve_command(arguments);
        Server::spawn(
            Command::new("/bin/sh")
                .env_clear()
                .current_dir(self.dir.path())
                .arg("-c")
                .arg(format!("{line}; exec \"$0\" \"$@\""))
                .arg(serve.get_program())
                .args(serve.get_args()),
        )
    }

    /// Starts a server that dies at this marked step (`db/failpoints.rs`), as `kill -9` would end
    /// it.
    pub fn spawn_dying(&self, step: &str) -> Server {
        Server::spawn(self.serve_command(&[]).env("CHATLAKE_DIE_AT", step))
    }

    fn serve_command(&self, arguments: &[&str]) -> Command {
        self.command(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat())
    }

    /// Opens the data directory in this process, as a command does. A server may use it at the same
    /// time.
    pub async fn command_app(&self) -> App {
        let global_args = GlobalArgs {
            data: Some(self.data()),
            allow_upstream: vec!["127.0.0.1".parse().unwrap()],
            ..GlobalArgs::default()
        };
        let serve = ServeArgs {
            allow_mail_server: vec!["127.0.0.1".parse().unwrap()],
            ..ServeArgs::default()
        };
        let config = Config::resolve(&global_args, &serve).unwrap();
        App::open_for_command(config, Clock::system())
            .await
            .unwrap_or_else(|why| panic!("{why:?}"))
    }

    /// Every file with its mode and a digest of its bytes.
    pub fn listing(&self) -> BTreeMap<PathBuf, (u32, String)> {
        let mut found = BTreeMap::new();
        list(&self.data(), &mut found);
        found
    }
}

/// Runs a command to its end, off the test's own thread, where a sandbox may be answering it.
async fn end(mut command: Command, input: &str) -> CommandOutput {
    let (what, input) = (format!("{command:?}"), input.to_owned());
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    });
    let ended = tokio::time::timeout(TIMEOUT, ended)
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommandOutput {
        code: ended.status.code().unwrap_or(-1),
        out: text(&ended.stdout),
        err: text(&ended.stderr),
    }
}

fn list(dir: &Path, found: &mut BTreeMap<PathBuf, (u32, String)>) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .map(|about| about.permissions().mode() & 0o7777)
            .ok()
    };
    found.extend(mode(dir).map(|mode| (dir.to_owned(), (mode, "directory".to_owned()))));
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, found);
        } else if let (Some(mode), Ok(bytes)) = (mode(&path), std::fs::read(&path)) {
            found.insert(path, (mode, digest(&bytes)));
        }
    }
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
