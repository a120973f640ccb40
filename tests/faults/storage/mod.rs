//! A disk that is full or fails, with the built binary and real system calls. A preloaded library
//! (`tests/fixtures/faults.c`) makes one call fail or stops the growth of files; as root, the full disk
//! is a small tmpfs.

mod failed_system_calls;
mod full_disk;
mod small_disk;
mod upgrade_space;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::{Server, json_of};
use crate::support::until;

use small_disk::Disk;

/// The preloaded library, compiled once.
fn library() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faults.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&path)
            .arg(source)
            .arg("-ldl")
            .output()
            .unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        (dir, path)
    });
    path
}

/// What the preloaded library does in one directory, over several processes.
struct Faults {
    state: File,
    environment: Vec<(String, String)>,
    _dir: tempfile::TempDir,
}

impl Faults {
    /// The `at`-th call fails with this error; none when it is 0.
    fn new(data_dir: &DataDir, at: u64, errno: i32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::write(&path, [0; 16]).unwrap();
        let state = File::options().read(true).write(true).open(&path).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let environment = [
            ("LD_PRELOAD", text(library())),
            ("FAULT_DIR", text(&data_dir.data())),
            ("FAULT_STATE", text(&path)),
            ("FAULT_AT", at.to_string()),
            ("FAULT_ERRNO", errno.to_string()),
        ];
        let environment = environment
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec();
        Self {
            state,
            environment,
            _dir: dir,
        }
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        self.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// How many calls there were.
    fn calls(&self) -> u64 {
        let mut bytes = [0; 8];
        self.state.read_exact_at(&mut bytes, 0).unwrap();
        u64::from_ne_bytes(bytes)
    }

    fn fill(&self, is_full: bool) {
        self.state
            .write_all_at(&u64::from(is_full).to_ne_bytes(), 8)
            .unwrap();
    }

    /// A server that answers. This may need a second start.
    async fn serve(&self, data_dir: &DataDir) -> Server {
        for _ in 0..2 {
            let server = data_dir.spawn_in(
                &self.environment(),
                &["--keep-free-mib", "0", "--log", "warn"],
            );
            let ready = until("the server is ready or ends", async || {
                let ready = server.out().contains("Chatlake is ready at ");
                (ready || server.ended().is_some()).then_some(ready)
            })
            .await;
            if ready {
                until("/readyz", async || {
                    (server.page("/readyz", "").await == 200).then_some(())
                })
                .await;
                return server;
            }
            assert_eq!(
                server.exit(Duration::from_secs(1)).await,
                1,
                "{}",
                server.err()
            );
            assert!(!server.err().contains("panicked"), "{}", server.err());
        }
        panic!("the server does not start again after one fault");
    }
}

/// A data directory with a person and a DataSet of agents without a run. Each scenario uses a copy.
struct Template {
    data_dir: DataDir,
    vendor: LocalSandbox,
    email: String,
    token: String,
    dataset: String,
}

impl Template {
    async fn new() -> Self {
        let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(10).await);
        vendor.sandbox.faults().set(vec![agents_answer()]);
        let email = data_dir.person("olga", "admin").await;
        let token = data_dir.token(&email, "manage").await;
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        let dataset = data_dir.dataset(&email, &account, "agents").await;
        Self {
            data_dir,
            vendor,
            email,
            token,
            dataset,
        }
    }

    fn copy(&self) -> DataDir {
        let data_dir = DataDir::new();
        copy_dir(&self.data_dir.data(), &data_dir.data());
        data_dir
    }
}

/// The vendor returns 30 agents.
fn agents_answer() -> Fault {
    let agents: Vec<Value> = (0..30)
        .map(|number| json!({"login": format!("agent{number}@sandbox.test")}))
        .collect();
    Fault::new(FaultKind::Shape {
        body: Value::from(agents).to_string(),
    })
    .on("/agents")
}

fn copy_dir(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

/// The logins of all rows, sorted.
async fn logins(server: &Server, dataset: &str, token: &str) -> Vec<String> {
    let answer = server
        .send(
            "GET",
            &format!("/api/v1/datasets/{dataset}/data?format=csv"),
            token,
            None,
        )
        .await;
    assert_eq!(answer.status(), 200);
    let bytes = answer.bytes().await.unwrap();
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let at = reader
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "login")
        .unwrap();
    let mut all: Vec<String> = reader
        .records()
        .map(|record| record.unwrap()[at].to_owned())
        .collect();
    all.sort();
    all
}

/// Sends a change until it is accepted: the answer to a change that hit the fault is 503.
async fn change_dataset(
    server: &Server,
    method: &str,
    path: &str,
    token: &str,
    body: Value,
    what: &str,
) -> Value {
    let began = std::time::Instant::now();
    loop {
        let (status, answer) = json_of(
            server
                .send(method, &format!("/api/v1{path}"), token, Some(body.clone()))
                .await,
        )
        .await;
        if status < 300 {
            return answer;
        }
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        assert!(
            status == 503 && matches!(code, "storage_full" | "storage_failed"),
            "{what}: {method} {path}: {status} {answer}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{what}: {method} {path} stays refused: {answer}"
        );
    }
}

/// Runs the DataSet until it succeeds, with at most two runs.
async fn pull_rows(server: &Server, template: &Template, what: &str) -> Vec<String> {
    let Template { dataset, token, .. } = template;
    for _ in 0..2 {
        let run = change_dataset(
            server,
            "POST",
            &format!("/datasets/{dataset}/runs"),
            token,
            json!({}),
            what,
        )
        .await;
        let run = server.over(run["id"].as_str().unwrap(), token).await;
        if run["state"] == "succeeded" {
            return logins(server, dataset, token).await;
        }
        let code = run["error"]["code"].as_str().unwrap_or_default();
        assert!(
            run["state"] == "failed" && matches!(code, "storage_full" | "storage_failed"),
            "{what}: {run}"
        );
    }
    panic!("{what}: one fault fails two runs");
}
