//! The disk is full or fails, under the built binary and with real system calls: nothing is lost,
//! nothing stays broken, and nothing needs to be restarted. A preloaded library
//! (`tests/fixtures/faults.c`) makes one chosen call fail, or lets no file grow; as root the full
//! disk is a small tmpfs.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::{Server, json_of};
use crate::support::{is_soak, until, until_within};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

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

    /// A server that answers, which may take a second start.
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

/// A data directory with a person, a DataSet of agents and nothing pulled, which is copied for each
/// scenario.
struct Template {
    data_dir: DataDir,
    vendor: LocalSandbox,
    email: String,
    token: String,
    dataset: String,
}

/// The vendor tells of 30 agents.
fn agents() -> Fault {
    let agents: Vec<Value> = (0..30)
        .map(|number| json!({"login": format!("agent{number}@sandbox.test")}))
        .collect();
    Fault::new(FaultKind::Shape {
        body: Value::from(agents).to_string(),
    })
    .on("/agents")
}

impl Template {
    async fn new() -> Self {
        let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(10).await);
        vendor.sandbox.faults().set(vec![agents()]);
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
        copied(&self.data_dir.data(), &data_dir.data());
        data_dir
    }
}

fn copied(from: &Path, to: &Path) {
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

/// The logins of all rows, in order of the alphabet.
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

/// Sends a change until it is taken: one that met the fault is answered with 503 and may be sent
/// again.
async fn change(
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

/// Runs the DataSet until it succeeds, which takes two runs at most.
async fn pulled(server: &Server, template: &Template, what: &str) -> Vec<String> {
    let Template { dataset, token, .. } = template;
    for _ in 0..2 {
        let run = change(
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

/// What a scenario left behind.
#[derive(Debug, PartialEq, Eq)]
struct FinalState {
    after: Vec<Vec<String>>,
    name: String,
    versions: usize,
    files: usize,
}

/// Start, sign-in, three pulls with an append and a merge, an edit, a second start with a sweep.
async fn scenario(template: &Template, at: u64, errno: i32) -> (FinalState, u64) {
    let what = &format!("call {at}, errno {errno}");
    let data_dir = template.copy();
    let faults = Faults::new(&data_dir, at, errno);
    let Template {
        dataset,
        token,
        email,
        ..
    } = template;
    let path = format!("/datasets/{dataset}");
    let server = faults.serve(&data_dir).await;
    let cookies = until("somebody signs in", async || {
        let (status, cookies) = server.sign_in(email).await;
        assert!(matches!(status, 303 | 503), "{what}: {status}");
        (status == 303).then_some(cookies)
    })
    .await;
    assert_eq!(server.page("/datasets", &cookies).await, 200, "{what}");
    let mut after = vec![pulled(&server, template, what).await];
    change(
        &server,
        "PATCH",
        &path,
        token,
        json!({"update_mode": "append"}),
        what,
    )
    .await;
    after.push(pulled(&server, template, what).await);
    change(
        &server,
        "PATCH",
        &path,
        token,
        json!({"update_mode": "merge"}),
        what,
    )
    .await;
    after.push(pulled(&server, template, what).await);
    change(
        &server,
        "PATCH",
        &path,
        token,
        json!({"name": "Edited"}),
        what,
    )
    .await;
    change(
        &server,
        "PATCH",
        &format!("{path}/retention"),
        token,
        json!({"versions": 1}),
        what,
    )
    .await;
    assert_eq!(server.page("/readyz", "").await, 200, "{what}");
    let first_log = server.err();
    server.stop().await;

    // What was dropped is taken for a day old; it is swept at the start.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(SqliteConnectOptions::new().filename(data_dir.catalogue()))
        .await
        .unwrap();
    let (running, staged): (i64, i64) = sqlx::query_as(
        "SELECT
             (SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'running', 'waiting')),
             (SELECT COUNT(*) FROM segments WHERE state = 'staged')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!((running, staged), (0, 0), "{what}: {first_log}");
    sqlx::query("UPDATE segments SET dropped_at = 0 WHERE state = 'dropped'")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let server = faults.serve(&data_dir).await;
    let files = || {
        std::fs::read_dir(data_dir.data().join("segments"))
            .unwrap()
            .count()
    };
    if at == 0 || faults.calls() < at {
        until(&format!("{what}: the sweep is done"), async || {
            (files() == 1).then_some(())
        })
        .await;
    }
    after.push(logins(&server, dataset, token).await);
    let (_, about) = server.get(&path, token).await;
    let (_, versions) = server.get(&format!("{path}/versions"), token).await;
    let log = format!("{first_log}{}", server.err());
    server.stop().await;
    // One that the fault kept from sweeping is swept by the next.
    let server = faults.serve(&data_dir).await;
    until(&format!("{what}: the sweep is done"), async || {
        (files() == 1).then_some(())
    })
    .await;
    server.stop().await;
    let ended = data_dir.run(&["verify", "--deep", "--json"]).await;
    assert_eq!(
        (ended.code, ended.out.trim()),
        (0, "[]"),
        "{what}: {ended:?}"
    );
    assert!(
        log.lines().count() < 60 && !log.contains("panicked"),
        "{what}: {log}"
    );
    let final_state = FinalState {
        after,
        name: about["name"].as_str().unwrap().to_owned(),
        versions: versions["items"].as_array().unwrap().len(),
        files: files(),
    };
    (final_state, faults.calls())
}

/// Lets chosen calls fail, some scenarios side by side, and compares what is left with what is left
/// without a fault.
async fn compare(template: &Template, chosen: impl Fn(u64) -> Vec<(u64, i32)>) {
    let (whole, calls) = scenario(template, 0, 0).await;
    assert_eq!(
        whole.after.iter().map(Vec::len).collect::<Vec<_>>(),
        [30, 60, 30, 30],
        "{whole:?}"
    );
    assert!(calls > 100, "only {calls} calls were seen");
    let chosen = chosen(calls);
    let lanes = 4;
    let lane = |first: usize| {
        let chosen: Vec<_> = chosen.iter().skip(first).step_by(lanes).copied().collect();
        let whole = &whole;
        async move {
            for (at, errno) in chosen {
                let (final_state, _) = scenario(template, at, errno).await;
                assert_eq!(&final_state, whole, "call {at} of {calls}, errno {errno}");
            }
        }
    };
    tokio::join!(lane(0), lane(1), lane(2), lane(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_sync_or_rename_that_fails_loses_nothing_and_leaves_nothing_broken() {
    let template = Template::new().await;
    compare(&template, |calls| {
        (1..=8)
            .map(|n| (n * calls / 9, if n % 2 == 0 { ENOSPC } else { EIO }))
            .collect()
    })
    .await;
    drop(template.vendor);
}

/// The long form of the test above: `bin/soak` runs it.
#[tokio::test(flavor = "multi_thread")]
async fn soak_every_write_sync_and_rename_fails_once() {
    if is_soak() {
        let template = Template::new().await;
        compare(&template, |calls| {
            (1..=calls)
                .flat_map(|at| [(at, ENOSPC), (at, EIO)])
                .collect()
        })
        .await;
    }
}

/// A disk of a few MiB below the data directory of a home.
enum Disk<'a> {
    Tmpfs(PathBuf),
    /// Not root: no file there can grow.
    Pretended(&'a Faults),
}

impl<'a> Disk<'a> {
    fn new(data_dir: &DataDir, mib: u32, faults: &'a Faults) -> Self {
        let data = data_dir.data();
        std::fs::create_dir_all(&data).unwrap();
        if !rustix::process::geteuid().is_root() {
            return Self::Pretended(faults);
        }
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(mounted.success(), "no tmpfs can be mounted");
        Self::Tmpfs(data)
    }

    /// Takes all space but so many KiB.
    fn fill_but(&self, kib: u64) {
        match self {
            Self::Tmpfs(data) => {
                let mut fill = File::options()
                    .append(true)
                    .create(true)
                    .open(data.join("fill"))
                    .unwrap();
                while fill.write_all(&[b'x'; 4_096]).is_ok() {}
                let taken = fill.metadata().unwrap().len();
                fill.set_len(taken.saturating_sub(kib * 1_024)).unwrap();
            }
            Self::Pretended(faults) => faults.fill(true),
        }
    }

    fn free(&self) {
        match self {
            Self::Tmpfs(data) => drop(std::fs::remove_file(data.join("fill"))),
            Self::Pretended(faults) => faults.fill(false),
        }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        if let Self::Tmpfs(data) = self {
            // Lazily: a server that is killed a moment later may still be there.
            let _ = Command::new("umount").arg("--lazy").arg(data).status();
        }
    }
}

/// Changes the account's name until there is no space for it, and gives the last answer.
async fn refused(server: &Server, dataset: &str, token: &str) -> (u16, Value) {
    for number in 0..3_000 {
        let body = json!({"description": format!("{number} {}", "n".repeat(400))});
        let answer = json_of(
            server
                .send(
                    "PATCH",
                    &format!("/api/v1/datasets/{dataset}"),
                    token,
                    Some(body),
                )
                .await,
        )
        .await;
        if answer.0 != 200 {
            return answer;
        }
    }
    panic!("the disk is never full");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_refuses_changes_until_there_is_space_again_without_a_restart() {
    let template = Template::new().await;
    let Template {
        dataset,
        token,
        email,
        ..
    } = &template;
    let data_dir = DataDir::new();
    let faults = Faults::new(&data_dir, 0, 0);
    let disk = Disk::new(&data_dir, 16, &faults);
    copied(&template.data_dir.data().join("."), &data_dir.data());
    let server = faults.serve(&data_dir).await;
    let rows = pulled(&server, &template, "before").await;
    let (_, cookies) = server.sign_in(email).await;
    // Some of each kind of work is under way meanwhile.
    for round in 0..2 {
        disk.fill_but(0);
        let (status, answer) = refused(&server, dataset, token).await;
        assert_eq!(
            (status, answer["error"]["code"].as_str()),
            (503, Some("storage_full")),
            "round {round}: {answer}"
        );
        assert!(
            answer["error"]["action"]
                .as_str()
                .unwrap_or_default()
                .contains("free disk space"),
            "{answer}"
        );
        assert_eq!(
            logins(&server, dataset, token).await,
            rows,
            "reading goes on"
        );
        assert_eq!(
            (
                server.page("/datasets", &cookies).await,
                server.page("/healthz", "").await
            ),
            (200, 200)
        );
        let before = server.err().lines().count();
        assert_eq!(refused(&server, dataset, token).await.0, 503);
        disk.free();
        let about = change(
            &server,
            "PATCH",
            &format!("/datasets/{dataset}"),
            token,
            json!({"name": "Saved"}),
            "freed",
        )
        .await;
        assert_eq!(about["name"], "Saved");
        assert_eq!(server.page("/readyz", "").await, 200);
        assert_eq!(server.sign_in(email).await.0, 303);
        assert_eq!(pulled(&server, &template, "freed").await, rows);
        let log = server.err();
        assert!(log.lines().count() < before + 30, "{log}");
    }
    server.stop().await;
    assert_eq!(
        data_dir.run(&["verify", "--deep"]).await.good(),
        "No problems found."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_on_a_full_disk_says_so_and_works_once_there_is_space() {
    let data_dir = DataDir::new();
    let faults = Faults::new(&data_dir, 0, 0);
    let disk = Disk::new(&data_dir, 16, &faults);
    disk.fill_but(0);
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "a long enough passphrase 7").unwrap();
    let file = password.path().to_str().unwrap();
    let add = [
        "user",
        "add",
        "--email",
        "olga@house.test",
        "--name",
        "Olga",
        "--role",
        "admin",
        "--password-file",
        file,
    ];
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &add] {
        let refused = data_dir.run_in(&faults.environment(), arguments).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(
            refused.err.contains("The disk is full")
                && refused.err.contains(data_dir.data().to_str().unwrap()),
            "{}",
            refused.err
        );
        if matches!(disk, Disk::Tmpfs(_)) {
            assert!(
                refused
                    .err
                    .contains("MiB there, then start Chatlake again."),
                "{}",
                refused.err
            );
        }
    }
    disk.free();
    data_dir.person("olga", "admin").await;
    let server = faults.serve(&data_dir).await;
    assert_eq!(server.sign_in("olga@house.test").await.0, 303);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_serves_what_is_stored_and_saves_once_there_is_space() {
    let template = Template::new().await;
    let Template {
        dataset,
        token,
        email,
        ..
    } = &template;
    let data_dir = DataDir::new();
    let faults = Faults::new(&data_dir, 0, 0);
    let disk = Disk::new(&data_dir, 16, &faults);
    copied(&template.data_dir.data().join("."), &data_dir.data());
    let mut server = faults.serve(&data_dir).await;
    let rows = pulled(&server, &template, "before").await;
    let (_, cookies) = server.sign_in(email).await;
    for dies in [false, true] {
        if dies {
            server.kill();
            // The index of the log would have to be made anew, and there is no space for it.
            std::fs::remove_file(data_dir.data().join("chatlake.db-shm")).unwrap();
        } else {
            server.stop().await;
        }
        disk.fill_but(0);
        let full = data_dir.spawn_in(
            &faults.environment(),
            &["--keep-free-mib", "0", "--log", "warn"],
        );
        until("the server says that it is ready", async || {
            assert!(full.ended().is_none(), "dies: {dies}: {}", full.err());
            full.out().contains("Chatlake is ready at ").then_some(())
        })
        .await;
        assert_eq!(logins(&full, dataset, token).await, rows, "dies: {dies}");
        assert_eq!(full.page("/datasets", &cookies).await, 200, "dies: {dies}");
        let (status, answer) = refused(&full, dataset, token).await;
        assert_eq!(
            (status, answer["error"]["code"].as_str()),
            (503, Some("storage_full")),
            "dies: {dies}: {answer}"
        );
        assert_eq!(full.sign_in(email).await.0, 503);
        let log = full.err();
        assert!(
            log.contains(data_dir.data().to_str().unwrap()) && log.contains(" free"),
            "the log names the directory: {log}"
        );
        if matches!(disk, Disk::Tmpfs(_)) {
            assert!(
                log.contains("Free at least 32 MiB there"),
                "the log says how much to free: {log}"
            );
        }
        assert!(log.lines().count() < 30, "{log}");

        disk.free();
        until("it is ready", async || {
            (full.page("/readyz", "").await == 200).then_some(())
        })
        .await;
        assert_eq!(full.sign_in(email).await.0, 303, "dies: {dies}");
        assert_eq!(pulled(&full, &template, "freed").await, rows);
        assert!(full.ended().is_none());
        server = full;
    }
    server.stop().await;
    assert_eq!(
        data_dir.run(&["verify", "--deep"]).await.good(),
        "No problems found."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fills_the_disk_fails_and_gives_its_space_back() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(6_000).await);
    let faults = Faults::new(&data_dir, 0, 0);
    let disk = Disk::new(&data_dir, 16, &faults);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let server = faults.serve(&data_dir).await;
    let files = || {
        std::fs::read_dir(data_dir.data().join("segments"))
            .unwrap()
            .count()
    };
    disk.fill_but(300);
    let run = server.run(&dataset, &token).await;
    let run = server.over(&run, &token).await;
    assert_eq!(
        (run["state"].as_str(), run["error"]["code"].as_str()),
        (Some("failed"), Some("storage_full")),
        "{run}"
    );
    until_within(Duration::from_secs(10), "its files are gone", async || {
        (files() == 0).then_some(())
    })
    .await;
    disk.free();
    let run = server.run(&dataset, &token).await;
    assert_eq!(
        server.over(&run, &token).await["state"],
        "succeeded",
        "{}",
        server.err()
    );
    server.stop().await;
    assert_eq!(
        data_dir.run(&["verify", "--deep"]).await.good(),
        "No problems found."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_at_work_while_nothing_can_be_saved_ends_once_there_is_space() {
    let template = Template::new().await;
    let Template {
        dataset,
        token,
        vendor,
        ..
    } = &template;
    let data_dir = DataDir::new();
    let faults = Faults::new(&data_dir, 0, 0);
    let disk = Disk::new(&data_dir, 16, &faults);
    copied(&template.data_dir.data().join("."), &data_dir.data());
    let server = faults.serve(&data_dir).await;
    let rows = pulled(&server, &template, "before").await;
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 3_000 })
            .on("/agents")
            .times(1),
        agents(),
    ]);
    let run = server.run(dataset, token).await;
    until("it is at work", async || {
        (server.run_state(&run, token).await == "running").then_some(())
    })
    .await;
    disk.fill_but(0);
    assert_eq!(refused(&server, dataset, token).await.0, 503);
    // Beyond the vendor's answer and some heartbeats.
    until_within(
        Duration::from_secs(30),
        "the run met the full disk",
        async || {
            let failed = server.run_state(&run, token).await == "failed";
            (failed || server.err().contains("the run failed")).then_some(())
        },
    )
    .await;
    assert_eq!(logins(&server, dataset, token).await, rows);
    disk.free();
    let run = server.over(&run, token).await;
    assert_eq!(
        (run["state"].as_str(), run["error"]["code"].as_str()),
        (Some("failed"), Some("storage_full")),
        "{run}"
    );
    assert_eq!(pulled(&server, &template, "freed").await, rows);
    let log = server.err();
    assert!(log.lines().count() < 40, "{log}");
    server.stop().await;
    assert_eq!(
        data_dir.run(&["verify", "--deep"]).await.good(),
        "No problems found."
    );
}
