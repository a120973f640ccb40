//! The built binary from outside: how it starts, what it refuses, how it stops, and what it never
//! writes down.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chatlake::auth::invites::{self, AcceptInvite};
use chatlake::auth::passwords::Hasher;
use chatlake::clock::Clock;
use chatlake::db::Db;
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::Server;
use crate::support::tls_vendor::{TlsVendor, certificate};
use crate::support::{PASSWORD, until, until_within};

/// A refused start says one line.
fn one_line(err: &str) -> &str {
    assert_eq!(err.lines().count(), 1, "one line is enough: {err}");
    err.trim_end()
}

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the other side closes; what came.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes))
        .await
        .expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

// ---- the data directory ----

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_umask_the_data_directory_is_for_its_owner_alone() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(60).await);
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let run = server.run(&dataset, &token).await;
    assert_eq!(server.over(&run, &token).await["state"], "succeeded");
    let files = data_dir.listing();
    for name in [
        "chatlake.db",
        "chatlake.db-wal",
        "chatlake.db-shm",
        "vault.key",
        "segments",
    ] {
        assert!(
            files.contains_key(&data_dir.data().join(name)),
            "{name} in {files:?}"
        );
    }
    assert!(
        files
            .keys()
            .any(|path| path.extension().is_some_and(|e| e == "parquet")),
        "{files:?}"
    );
    for (path, (mode, digest)) in files {
        let wanted = if digest == "directory" { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{} has mode {mode:o}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_servers_on_one_directory_one_serves() {
    let data_dir = DataDir::new();
    let first = data_dir.serve().await;
    let began = Instant::now();
    let second = data_dir.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(second.code, 1);
    let said = one_line(&second.err);
    assert!(
        said.contains("already uses") && said.contains(&format!("(process {} on ", first.id())),
        "{said}"
    );
    first.stop().await;

    let racers: Vec<_> = (0..10).map(|_| data_dir.spawn(&[])).collect();
    until("all but one give up", async || {
        (racers
            .iter()
            .filter(|server| server.ended().is_some())
            .count()
            == 9)
            .then_some(())
    })
    .await;
    let winner = racers
        .iter()
        .find(|server| server.ended().is_none())
        .unwrap();
    winner.ready().await;
    winner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_for_long_keeps_its_directory_and_its_runs() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(60).await);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let server = data_dir.serve().await;
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 10_000 })
            .on("/chats")
            .times(1),
    ]);
    vendor.sandbox.forget_calls();
    let run = server.run(&dataset, &token).await;
    until("the vendor is asked", async || {
        (vendor.sandbox.calls_total() > 0).then_some(())
    })
    .await;
    // As if it were stopped for so long that its lease has ended. Not while it writes: then nobody
    // else can.
    let at_once = SqliteConnectOptions::new()
        .filename(data_dir.catalogue())
        .busy_timeout(Duration::ZERO);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(at_once)
        .await
        .unwrap();
    until("it is stopped while it does not write", async || {
        server.signal("STOP");
        let ended = sqlx::query("UPDATE runs SET lease_until = 1 WHERE state = 'running'")
            .execute(&pool)
            .await;
        if ended.is_err() {
            server.signal("CONT");
        }
        ended.ok()
    })
    .await;
    pool.close().await;
    let began = Instant::now();
    let second = data_dir.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(
        second.code == 1 && began.elapsed() < Duration::from_secs(5),
        "{second:?}"
    );
    assert!(
        one_line(&second.err).contains("already uses"),
        "{}",
        second.err
    );
    server.signal("CONT");
    let over = server.over(&run, &token).await;
    assert_eq!(
        (over["state"].as_str(), over["attempt"].as_i64()),
        (Some("succeeded"), Some(1)),
        "{over}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_to_other_machines_is_refused_before_anything_is_made() {
    let data_dir = DataDir::new();
    for arguments in [
        &["serve", "--listen", "0.0.0.0:0"][..],
        &[
            "serve",
            "--listen",
            "0.0.0.0:0",
            "--public-url",
            "http://chat.test",
        ],
    ] {
        let refused = data_dir.run(arguments).await;
        assert_eq!(refused.code, 1);
        assert!(
            one_line(&refused.err).contains("plain http"),
            "{}",
            refused.err
        );
    }
    assert!(!data_dir.data().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_of_a_newer_chatlake_is_refused() {
    let data_dir = DataDir::new();
    data_dir.person("olga", "admin").await;
    let pool = writable(&data_dir).await;
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES (9999, 'later', '2030-01-01', 1, X'00', 1)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let refused = data_dir.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(refused.code, 1);
    assert!(
        one_line(&refused.err).contains("newer Chatlake"),
        "{}",
        refused.err
    );
}

async fn writable(data_dir: &DataDir) -> sqlx::SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(SqliteConnectOptions::new().filename(data_dir.catalogue()))
        .await
        .unwrap()
}

#[tokio::test]
async fn the_catalogue_uses_a_safe_sqlite_version_with_durable_settings() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(db.read())
        .await
        .unwrap();
    let parts: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(
        parts >= vec![3, 51, 3] && parts[..2] != [3, 52],
        "{version}"
    );
    let mut writer = db.write().await.unwrap();
    for (pragma, wanted) in [
        ("foreign_keys", 1),
        ("synchronous", 2),
        ("trusted_schema", 0),
        ("busy_timeout", 5_000),
        ("mmap_size", 0),
    ] {
        let ask = || sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("PRAGMA {pragma}")));
        assert_eq!(
            ask()
                .fetch_optional(&mut *writer)
                .await
                .unwrap()
                .unwrap_or(0),
            wanted,
            "{pragma} of the writer"
        );
        assert_eq!(
            ask().fetch_optional(db.read()).await.unwrap().unwrap_or(0),
            wanted,
            "{pragma} of the readers"
        );
    }
    drop(writer);
    assert!(
        sqlx::query("DELETE FROM users")
            .execute(db.read())
            .await
            .is_err(),
        "a reader cannot write"
    );
}

// ---- the vault key ----

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_key_that_is_not_as_it_must_be_refuses_every_start_and_changes_nothing() {
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    data_dir
        .account(&email, "http://127.0.0.1:1", "sandbox-key")
        .await;
    let key = data_dir.data().join("vault.key");
    let good = std::fs::read(&key).unwrap();
    let other = {
        let other = DataDir::new();
        other.person("else", "admin").await;
        std::fs::read(other.data().join("vault.key")).unwrap()
    };
    let zeros = format!("0a0b0c0d {}=\n", "A".repeat(43));
    let id = String::from_utf8_lossy(&good[..8]).into_owned();
    let same_id = format!("{id}{}", String::from_utf8_lossy(&other[8..]));
    let cases: [(&str, Option<&[u8]>, u32); 8] = [
        ("missing", None, 0o600),
        ("another", Some(&other), 0o600),
        ("another under the same id", Some(same_id.as_bytes()), 0o600),
        ("empty", Some(b""), 0o600),
        ("short", Some(&good[..20]), 0o600),
        ("all zeros", Some(zeros.as_bytes()), 0o600),
        ("world-readable", Some(&good), 0o644),
        ("no text", Some(&[0xff; 60]), 0o600),
    ];
    for (name, text, mode) in cases {
        let _ = std::fs::remove_file(&key);
        if let Some(text) = text {
            std::fs::write(&key, text).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let before = data_dir.listing();
        for arguments in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["account", "list"],
        ] {
            let began = Instant::now();
            let refused = data_dir.run(arguments).await;
            assert_eq!(refused.code, 78, "{name}: {refused:?}");
            assert!(
                one_line(&refused.err).contains("vault.key"),
                "{name}: {}",
                refused.err
            );
            assert!(
                !refused
                    .err
                    .contains(std::str::from_utf8(&good[9..40]).unwrap()),
                "{name} shows the key"
            );
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{name}: {:?}",
                began.elapsed()
            );
            assert_eq!(
                changed(&before, &data_dir.listing()),
                Vec::<PathBuf>::new(),
                "{name}: {arguments:?} changed the directory"
            );
        }
    }
    std::fs::write(&key, &good).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        data_dir
            .run(&["account", "list", "--json"])
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// What differs; the lock file holds nothing and may come.
fn changed(
    before: &BTreeMap<PathBuf, (u32, String)>,
    after: &BTreeMap<PathBuf, (u32, String)>,
) -> Vec<PathBuf> {
    let all = before
        .keys()
        .chain(after.keys())
        .filter(|path| !path.ends_with("chatlake.lock"));
    all.filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_made_while_nothing_is_sealed() {
    let data_dir = DataDir::new();
    data_dir.person("olga", "admin").await;
    let key = data_dir.data().join("vault.key");
    let first = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    data_dir.run(&["user", "list"]).await.good();
    assert_ne!(std::fs::read(&key).unwrap(), first);
}

// ---- the first admin ----

#[tokio::test(flavor = "multi_thread")]
async fn the_set_up_link_is_printed_once_and_works_once() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let out = server.out();
    let links: Vec<&str> = out
        .lines()
        .filter(|line| line.contains("/set-up/"))
        .collect();
    let [link] = links[..] else { panic!("{out}") };
    assert!(
        link.trim().starts_with(&server.url()),
        "{link} is no address of {}",
        server.url()
    );
    let code = link.rsplit('/').next().unwrap();
    assert!(!server.err().contains(code), "a log line tells the link");
    let (clock, hasher) = (Clock::system(), Hasher::new(1));
    let db = Db::open(&data_dir.catalogue()).await.unwrap();
    let accept = |email: &str| AcceptInvite {
        email: email.to_owned(),
        name: "First".to_owned(),
        password: Secret::new(PASSWORD),
        address: None,
    };
    assert!(
        invites::find(&db, &clock, code)
            .await
            .unwrap()
            .is_some_and(|invite| invite.is_set_up())
    );
    invites::accept(&db, &clock, &hasher, code, &accept("first@house.test"))
        .await
        .unwrap();
    assert!(
        invites::accept(&db, &clock, &hasher, code, &accept("second@house.test"))
            .await
            .is_err()
    );
    server.stop().await;
    let again = data_dir.serve().await;
    assert!(!again.out().contains("/set-up/"), "{}", again.out());
    assert_eq!(
        data_dir.run(&["user", "list", "--json"]).await.json()[0]["role"],
        "admin"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_link_ends_with_its_server() {
    let data_dir = DataDir::new();
    let code_of = |out: String| {
        out.lines()
            .find_map(|line| line.split_once("/set-up/"))
            .map(|(_, code)| code.trim().to_owned())
            .unwrap()
    };
    let first = data_dir.serve().await;
    let old = code_of(first.out());
    first.stop().await;
    let second = data_dir.serve().await;
    let db = Db::open(&data_dir.catalogue()).await.unwrap();
    assert!(
        invites::find(&db, &Clock::system(), &old)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        invites::find(&db, &Clock::system(), &code_of(second.out()))
            .await
            .unwrap()
            .is_some()
    );
}

// ---- the end ----

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_stalled_downloads_idle_connections_and_half_sent_heads_within_thirty_seconds()
{
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(4_000).await);
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let run = server.run(&dataset, &token).await;
    assert_eq!(server.over(&run, &token).await["state"], "succeeded");
    let whole = server.csv(&dataset, &token).await;

    let address = server.address();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stalled = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /api/v1/datasets/{dataset}/data HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    stalled.read_exact(&mut [0; 1024]).await.unwrap();
    let mut idle = connect(&address).await;
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    let mut half = connect(&address).await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nHo")
        .await
        .unwrap();
    // And a pull that hangs at the vendor.
    vendor
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Late { ms: 120_000 })]);
    let hanging = server.run(&dataset, &token).await;
    until("it runs", async || {
        (server.run_state(&hanging, &token).await == "running").then_some(())
    })
    .await;

    let began = Instant::now();
    server.terminate();
    assert_eq!(
        server.exit(Duration::from_secs(30)).await,
        0,
        "{}",
        server.err()
    );
    assert!(
        began.elapsed() < Duration::from_secs(28),
        "{:?}",
        began.elapsed()
    );
    let received = rest(&mut stalled).await;
    assert!(
        received.len() + 1024 < whole.bytes,
        "the download was not stalled: {} of {}",
        received.len(),
        whole.bytes
    );
    assert!(
        !received.ends_with("0\r\n\r\n"),
        "a download that was cut must not look whole"
    );

    vendor.sandbox.faults().clear();
    let again = data_dir.serve().await;
    assert_eq!(
        again.over(&hanging, &token).await["state"],
        "succeeded",
        "a run that was given back goes on"
    );
    assert_eq!(
        again.get(&format!("/runs/{hanging}"), &token).await.1["attempt"],
        1,
        "and has used up no attempt"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pull_has_read_before_sigterm_is_not_asked_again() {
    let (data_dir, vendor) = (
        DataDir::new(),
        LocalSandbox::still(40, Duration::ZERO).await,
    );
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let whole = server
        .over(&server.run(&dataset, &token).await, &token)
        .await;
    // The days that were asked for.
    let days = || {
        vendor
            .sandbox
            .calls()
            .iter()
            .filter_map(|call| call.argument("date_from"))
            .collect::<std::collections::BTreeSet<_>>()
    };
    let all = days();
    assert_eq!(all.len() as u64, whole["windows_done"].as_u64().unwrap());
    // It hangs in the middle.
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 120_000 })
            .on("/chats")
            .skip(10),
    ]);
    let run = server.run(&dataset, &token).await;
    let done = until("some days are done", async || {
        let (_, run) = server.get(&format!("/runs/{run}"), &token).await;
        run["windows_done"].as_u64().filter(|done| *done >= 1)
    })
    .await;
    server.stop().await;
    vendor.sandbox.faults().clear();
    vendor.sandbox.forget_calls();
    let again = data_dir.serve().await;
    let over = again.over(&run, &token).await;
    assert_eq!(
        (
            over["state"].as_str(),
            over["attempt"].as_u64(),
            &over["rows"]
        ),
        (Some("succeeded"), Some(1), &whole["rows"]),
        "{over}"
    );
    assert_eq!(
        (&over["read"], &over["windows_done"]),
        (&whole["read"], &whole["windows_done"]),
        "{over}"
    );
    let requested = days();
    let again: Vec<_> = all
        .iter()
        .take(done as usize)
        .filter(|day| requested.contains(*day))
        .collect();
    assert!(
        again.is_empty(),
        "of {done} days that were done, these were asked for again: {again:?}"
    );
    assert!(!requested.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(4_000).await);
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let run = server.run(&dataset, &token).await;
    server.over(&run, &token).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stalled = socket
        .connect(server.address().parse().unwrap())
        .await
        .unwrap();
    let request = format!(
        "GET /api/v1/datasets/{dataset}/data HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
        server.address()
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    stalled.read_exact(&mut [0; 1024]).await.unwrap();
    server.terminate();
    until("it is stopping", async || {
        server.err().contains("stopping").then_some(())
    })
    .await;
    server.terminate();
    assert_eq!(server.exit(Duration::from_secs(5)).await, 130);
}

// ---- what comes in ----

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_never_complete_time_out() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let address = server.address();
    // All at once, since each is a matter of waiting.
    tokio::join!(
        half_sent_heads(&server),
        an_idle_connection(&address),
        a_silent_connection(&address),
        a_dripping_body(&address)
    );
}

fn in_ten_seconds(began: Instant) {
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(13)).contains(&took),
        "{took:?}"
    );
}

async fn half_sent_heads(server: &Server) {
    let began = Instant::now();
    let mut halves = Vec::new();
    for _ in 0..50 {
        let mut half = connect(&server.address()).await;
        half.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127")
            .await
            .unwrap();
        halves.push(half);
    }
    assert_eq!(
        server.send("GET", "/healthz", "", None).await.status(),
        200,
        "the others are served meanwhile"
    );
    for half in &mut halves {
        let said = rest(half).await;
        assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    }
    in_ten_seconds(began);
}

/// One that has had an answer and asks nothing more.
async fn an_idle_connection(address: &str) {
    let mut idle = connect(address).await;
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    let began = Instant::now();
    rest(&mut idle).await;
    in_ten_seconds(began);
}

/// One on which nothing was ever said.
async fn a_silent_connection(address: &str) {
    let mut silent = connect(address).await;
    let began = Instant::now();
    let said = rest(&mut silent).await;
    assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    in_ten_seconds(began);
}

/// A form of which a byte comes each second.
async fn a_dripping_body(address: &str) {
    let mut slow = connect(address).await;
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nHost: {address}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let (began, mut said) = (Instant::now(), Vec::<u8>::new());
    let mut drops = tokio::time::interval(Duration::from_secs(1));
    let (mut from, mut to) = slow.split();
    loop {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the connection stays open"
        );
        tokio::select! {
            read = from.read_buf(&mut said) => if !read.is_ok_and(|bytes| bytes > 0) { break },
            _ = drops.tick() => drop(to.write_all(b"x").await),
        }
    }
    let (took, said) = (began.elapsed(), String::from_utf8_lossy(&said).into_owned());
    assert!(
        (Duration::from_secs(29)..Duration::from_secs(35)).contains(&took),
        "{took:?}"
    );
    assert!(said.starts_with("HTTP/1.1 4"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let address = server.address();
    let many: String = (0..150).map(|n| format!("X-{n}: 1\r\n")).collect();
    let heads = [
        (
            "a long head",
            format!(
                "GET /healthz HTTP/1.1\r\nHost: {address}\r\nX-Long: {}\r\n\r\n",
                "x".repeat(40 * 1024)
            ),
        ),
        (
            "many heads",
            format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n{many}\r\n"),
        ),
        (
            "a long address",
            format!(
                "GET /{} HTTP/1.1\r\nHost: {address}\r\n\r\n",
                "x".repeat(40 * 1024)
            ),
        ),
        (
            "a long body",
            format!(
                "POST /api/v1/accounts HTTP/1.1\r\nHost: {address}\r\nContent-Length: 70000\r\n\r\n"
            ),
        ),
    ];
    for (name, request) in heads {
        let mut stream = connect(&address).await;
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 4"), "{name}: {answer}");
    }
    // Without a length: the cap holds by what comes.
    let mut stream = connect(&address).await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let head = format!(
        "POST /api/v1/accounts HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    for _ in 0..8 {
        // It may hang up before all is sent.
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_succeeds_only_while_a_server_is_ready() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let address = server.address();
    assert_eq!(
        data_dir
            .run(&["healthcheck", "--listen", &address])
            .await
            .code,
        0
    );
    server.stop().await;
    let gone = data_dir.run(&["healthcheck", "--listen", &address]).await;
    assert_eq!(gone.code, 69);
    assert!(
        one_line(&gone.err).contains("does not answer"),
        "{}",
        gone.err
    );
}

// ---- commands ----

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_says_of_listening_concerns_servers_alone() {
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    let file = data_dir.data().join("chatlake.toml");
    // The server of this directory is told its public address by flag or environment, which no
    // other command sees.
    std::fs::write(&file, "listen = \"0.0.0.0:0\"\n").unwrap();
    data_dir.person("kim", "viewer").await;
    data_dir.token(&email, "read").await;
    for listing in [
        ["user", "list"],
        ["token", "list"],
        ["account", "list"],
        ["dataset", "list"],
    ] {
        data_dir.run(&listing).await.good();
    }
    for serving in ["serve", "demo"] {
        let refused = data_dir.run(&[serving]).await;
        assert_eq!(refused.code, 1, "{serving}");
        assert!(
            one_line(&refused.err).contains("plain http"),
            "{serving}: {}",
            refused.err
        );
    }

    let server = data_dir.serve().await;
    std::fs::write(
        &file,
        format!("listen = \"{}\"\nworkers = 0\n", server.address()),
    )
    .unwrap();
    assert_eq!(
        data_dir.run(&["healthcheck"]).await.code,
        0,
        "where it listens is known, though workers is no number of them"
    );
    server.stop().await;
    let gone = data_dir.run(&["healthcheck"]).await;
    assert!(
        gone.code == 69 && gone.err.contains(&server.address()),
        "{gone:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_with_and_without_a_running_server() {
    let vendor = LocalSandbox::new(60).await;
    for with_server in [false, true] {
        let data_dir = DataDir::new();
        let server = if with_server {
            Some(data_dir.serve().await)
        } else {
            None
        };
        let email = data_dir.person("olga", "admin").await;
        assert_eq!(
            data_dir
                .run_with(
                    &[
                        "user", "add", "--email", "a@b.test", "--name", "A", "--role", "viewer"
                    ],
                    "short"
                )
                .await
                .code,
            1,
            "a short password"
        );
        data_dir.person("kim", "viewer").await;
        let people = data_dir.run(&["user", "list", "--json"]).await.json();
        assert_eq!(people.as_array().unwrap().len(), 2, "{people}");
        assert!(!people.to_string().contains("argon2"), "{people}");
        data_dir
            .run_with(
                &["user", "password", "--email", "kim@house.test"],
                "another good password 9",
            )
            .await
            .good();
        let token = data_dir.token("kim@house.test", "read").await;
        assert!(
            token.starts_with("clk_") && !token.contains(char::is_whitespace),
            "{token}"
        );
        let tokens = data_dir.run(&["token", "list", "--json"]).await.json();
        assert!(
            !tokens.to_string().contains(&token),
            "a listing tells a token"
        );
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        assert!(
            data_dir
                .run(&["account", "check", &account])
                .await
                .good()
                .len()
                > 3
        );
        let accounts = data_dir.run(&["account", "list", "--json"]).await.json();
        assert!(
            accounts[0]["health"] == "valid" && !accounts.to_string().contains("sandbox-key"),
            "{accounts}"
        );
        let dataset = data_dir.dataset(&email, &account, "agents").await;
        let ran = data_dir.run(&["dataset", "run", &dataset]).await.good();
        let listed = data_dir.run(&["dataset", "list", "--json"]).await.json();
        assert_eq!(
            ran,
            format!("{} rows", listed[0]["rows"]),
            "beside a server: {with_server}"
        );
        let file = data_dir.data().join("agents.csv");
        data_dir
            .run(&[
                "dataset",
                "export",
                &dataset,
                "--output",
                file.to_str().unwrap(),
            ])
            .await
            .good();
        let exported = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            data_dir.run(&["dataset", "export", &dataset]).await.good(),
            exported.trim_end(),
            "to a file and to standard output"
        );
        if let Some(server) = &server {
            assert_eq!(server.get("/datasets", &token).await.0, 200);
        }
        data_dir
            .run(&["token", "revoke", tokens[0]["id"].as_str().unwrap()])
            .await
            .good();
        data_dir
            .run(&["user", "disable", "--email", "kim@house.test"])
            .await
            .good();
        if let Some(server) = &server {
            assert_eq!(server.get("/datasets", &token).await.0, 401);
            server.stop().await;
        }
        for unknown in [
            &["account", "check", "acc_1"][..],
            &["dataset", "run", "ds_1"],
            &["token", "revoke", "x"],
            &["user", "disable", "--email", "no@body.test"],
        ] {
            let refused = data_dir.run(unknown).await;
            assert_eq!(refused.code, 1, "{unknown:?}");
            one_line(&refused.err);
        }
    }
}

// ---- the way out ----

#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_certificate_must_be_good_for_its_name_today() {
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    let authority = certificate("authority.pem");
    let trusting = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    for (name, good) in [
        ("right.pem", true),
        ("wrong_name.pem", false),
        ("expired.pem", false),
        ("self_signed.pem", false),
    ] {
        let vendor = TlsVendor::new(name);
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        let checked = data_dir
            .run_in(&trusting, &["account", "check", &account])
            .await;
        assert_eq!(checked.code, 1, "{name}: {checked:?}");
        assert_eq!(
            checked.err.contains("certificate"),
            !good,
            "{name}: {}",
            checked.err
        );
        assert_eq!(vendor.calls() > 0, good, "{name} is told the credentials");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_is_not_used() {
    let (data_dir, vendor, tls) = (
        DataDir::new(),
        LocalSandbox::new(40).await,
        TlsVendor::new("right.pem"),
    );
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, authority) = (
        format!("http://{}", proxy.local_addr().unwrap()),
        certificate("authority.pem"),
    );
    let names = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let mut environment: Vec<(&str, &str)> =
        names.iter().map(|name| (*name, at.as_str())).collect();
    environment.push(("SSL_CERT_FILE", authority.to_str().unwrap()));
    let email = data_dir.person("olga", "admin").await;
    let plain = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let secure = data_dir.account(&email, &tls.address, "sandbox-key").await;
    data_dir
        .run_in(&environment, &["account", "check", &plain])
        .await
        .good();
    assert_eq!(
        data_dir
            .run_in(&environment, &["account", "check", &secure])
            .await
            .code,
        1
    );
    assert!(tls.calls() > 0, "it was asked itself");
    let proxied = tokio::time::timeout(Duration::from_millis(100), proxy.accept()).await;
    assert!(proxied.is_err(), "the proxy was asked: {proxied:?}");
}

// ---- what never gets out ----

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_gets_into_the_log_at_trace_however_a_vendor_fails() {
    sweep_everything(&LIVECHAT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_in_an_address_gets_into_the_log_at_trace_however_a_vendor_fails() {
    sweep_everything(&LIVELEADER).await;
}

/// A connector, as the sweep for secrets uses it.
struct SecretSweep {
    connector: &'static str,
    login: &'static str,
    secret: &'static str,
    good: &'static str,
    report: &'static str,
}

const LIVECHAT: SecretSweep = SecretSweep {
    connector: "livechat",
    login: "username=agent@sandbox.test",
    secret: "api_key",
    good: "sandbox-key",
    report: "agents",
};
const LIVELEADER: SecretSweep = SecretSweep {
    connector: "liveleader",
    login: "email=operator@sandbox.test",
    secret: "password",
    good: "sandbox-password",
    report: "chats",
};

const CANARY: &str = "kanarie+geheim/4711=&%<é>~";

async fn sweep_everything(of: &SecretSweep) {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(40).await);
    let server = data_dir
        .serve_with(&["--log", "trace", "--log-format", "json"])
        .await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let echo = echo().await;
    let (closed, account) = (
        closed_port().await,
        data_dir
            .run_with(&account_at(of, &email, &vendor.address), CANARY)
            .await
            .good(),
    );
    // The stand-in does not know the canary: 401. The others fail in their own ways, or repeat what
    // they were sent.
    let mut pulled = vec![("unauthorized", account)];
    for (name, address) in [
        ("echo", echo.as_str()),
        ("closed", closed.as_str()),
        ("no such host", "http://no-such-host.invalid"),
    ] {
        let id = data_dir
            .run_with(&account_at(of, &email, address), CANARY)
            .await;
        // A host that no setting allows cannot even be saved.
        if id.code == 0 {
            pulled.push((name, id.good()));
        }
    }
    let good = data_dir
        .run_with(&account_at(of, &email, &vendor.address), of.good)
        .await
        .good();
    let redirect = FaultKind::Redirect {
        status: 302,
        to: format!("{echo}/?next={CANARY}"),
    };
    let faults = [
        FaultKind::Html,
        redirect,
        FaultKind::Status { status: 400 },
        FaultKind::HangUp,
        FaultKind::Shape {
            body: format!("[\"{CANARY}\""),
        },
    ];
    let mut failed = 0;
    for (name, account) in &pulled {
        let dataset = data_dir.dataset(&email, account, of.report).await;
        let run = server.run(&dataset, &token).await;
        let record = until_within(Duration::from_secs(150), name, async || {
            let run = server.get(&format!("/runs/{run}"), &token).await.1;
            (run["state"] == "failed").then_some(run)
        });
        sweep(CANARY, &record.await.to_string(), name);
        failed += 1;
        sweep(
            CANARY,
            &server
                .post(&format!("/accounts/{account}/check"), &token)
                .await
                .1
                .to_string(),
            name,
        );
        sweep(
            CANARY,
            &server
                .get(&format!("/accounts/{account}"), &token)
                .await
                .1
                .to_string(),
            name,
        );
    }
    assert!(failed >= 3, "{pulled:?}");
    for fault in faults {
        vendor.sandbox.faults().set(vec![Fault::new(fault.clone())]);
        let checked = server
            .post(&format!("/accounts/{good}/check"), &token)
            .await
            .1;
        assert_eq!(checked["ok"], false, "{fault:?}: {checked}");
        sweep(CANARY, &checked.to_string(), "a check");
    }
    // Canaries in everything that a caller can send, too.
    for path in [
        format!("/api/v1/accounts?{}", "password=kanarie%2Bgeheim%2F4711"),
        "/set-up/kanarie-geheim-4711".to_owned(),
    ] {
        server
            .send("GET", &path, CANARY.trim_end_matches("é~"), None)
            .await;
    }
    let body = json!({"connector": of.connector, "name": "x", "credentials": {of.secret: CANARY, "more": CANARY}, "api_url": format!("http://{CANARY}")});
    let refused = server
        .send("POST", "/api/v1/accounts", &token, Some(body))
        .await;
    assert_eq!(refused.status(), 422);
    sweep(
        CANARY,
        &refused.text().await.unwrap(),
        "an answer to a form",
    );
    let log = server.err();
    sweep(CANARY, &log, "the log");
    for plain in ["kanarie%2Bgeheim", "kanarie-geheim", &token, of.good] {
        assert!(!log.contains(plain), "the log holds {plain}");
    }
    assert!(log.lines().count() > 20, "the log is not at trace:\n{log}");
    for line in log.lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok(),
            "no JSON line: {line}"
        );
    }
    let metrics = server
        .send("GET", "/metrics", "", None)
        .await
        .text()
        .await
        .unwrap();
    sweep(CANARY, &metrics, "the metrics");
    server.stop().await;
    for path in data_dir
        .listing()
        .into_keys()
        .filter(|path| path.is_file() && !path.ends_with("vault.key"))
    {
        sweep(
            CANARY,
            &String::from_utf8_lossy(&std::fs::read(&path).unwrap()),
            &path.display().to_string(),
        );
    }
}

fn account_at<'a>(of: &SecretSweep, email: &'a str, address: &'a str) -> Vec<&'a str> {
    let fixed = [
        "account",
        "add",
        "--connector",
        of.connector,
        "--name",
        "Other",
        "--field",
        of.login,
        "--requests-per-minute",
        "60000",
    ];
    [&fixed[..], &["--user", email, "--api-url", address]].concat()
}

/// Looks for the secret as it is and as it travels.
fn sweep(secret: &str, text: &str, place: &str) {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = url::Url::parse("http://x.test").map(|mut url| {
        url.set_path(secret);
        url.path()[1..].to_owned()
    });
    let basic = format!("agent@sandbox.test:{secret}");
    let json = serde_json::to_string(secret)
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let html = secret
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let debug = format!("{secret:?}").trim_matches('"').to_owned();
    let shapes = [
        secret.to_owned(),
        form,
        percent.clone(),
        percent.to_lowercase(),
        path.unwrap(),
        html,
        json,
        debug,
        STANDARD.encode(&basic),
        STANDARD_NO_PAD.encode(secret),
    ];
    for shape in shapes.into_iter().chain([
        URL_SAFE_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(&basic),
        secret[..16].to_owned(),
    ]) {
        assert!(
            !text.contains(&shape),
            "{place} holds the secret as {shape}"
        );
    }
}

/// A vendor that answers 400 with everything it was sent, its address in the body.
async fn echo() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                let length = stream.read(&mut buffer).await.unwrap_or(0);
                let (_, secret) = plain_of(&buffer[..length]);
                let body = format!("{}\n{secret}\n", String::from_utf8_lossy(&buffer[..length]));
                let answer = format!(
                    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

/// User and secret of a request's Basic credentials.
fn plain_of(request: &[u8]) -> (String, String) {
    use base64::Engine;
    let text = String::from_utf8_lossy(request).into_owned();
    let basic = text.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .starts_with("authorization: basic ")
            .then(|| line[21..].trim().to_owned())
    });
    let query = text
        .split_whitespace()
        .nth(1)
        .and_then(|address| address.split_once('?'))
        .map(|(_, query)| query.to_owned())
        .unwrap_or_default();
    if let Some((_, password)) =
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "password")
    {
        return (String::new(), password.into_owned());
    }
    let plain = basic
        .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    plain
        .and_then(|text| {
            text.split_once(':')
                .map(|(user, secret)| (user.to_owned(), secret.to_owned()))
        })
        .unwrap_or_default()
}

async fn closed_port() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_can_be_read_by_a_machine_and_name_nobody() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "read").await;
    server.get("/datasets", &token).await;
    server
        .send("GET", "/nobody@house.test?token=x", "", None)
        .await;
    let text = server
        .send("GET", "/metrics", "", None)
        .await
        .text()
        .await
        .unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut samples = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line
            .rsplit_once(' ')
            .unwrap_or_else(|| panic!("no sample: {line}"));
        assert!(
            name.starts_with("chatlake_") || name.starts_with("process_"),
            "{line}"
        );
        assert!(value.parse::<f64>().is_ok(), "{line}");
        samples += 1;
    }
    assert!(
        samples > 5 && text.contains("chatlake_answers_total"),
        "{text}"
    );
    assert!(
        !text.contains('@') && !text.contains("token=") && !text.contains(&email),
        "{text}"
    );
}
