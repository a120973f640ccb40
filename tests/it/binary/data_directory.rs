//! The data directory of the built binary: who may read it, how many servers use it, and which one is
//! refused.

use std::time::{Duration, Instant};

use chatlake::db::Db;
use chatlake::sandbox::faults::{Fault, FaultKind};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::single_line;
use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::until;

async fn writable_catalogue(data_dir: &DataDir) -> sqlx::SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(SqliteConnectOptions::new().filename(data_dir.catalogue()))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_directory_is_private_to_its_owner_under_any_umask() {
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
async fn only_one_of_many_servers_on_one_directory_serves() {
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
    let said = single_line(&second.err);
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
    // This state is the same as after a stop that outlasts the lease. The server must not be
    // writing, since then no other process can write.
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
        single_line(&second.err).contains("already uses"),
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
            single_line(&refused.err).contains("plain http"),
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
    let pool = writable_catalogue(&data_dir).await;
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
        VALUES (9999, 'later', '2030-01-01', 1, X'00', 1)")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let refused = data_dir.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(refused.code, 1);
    assert!(
        single_line(&refused.err).contains("newer Chatlake"),
        "{}",
        refused.err
    );
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
