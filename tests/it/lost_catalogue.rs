//! The catalogue is missing, empty, or older than the files beside it: the start is refused with the way out, and no rows are deleted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use chatlake::db::commits;
use chatlake::ids::SegmentId;
use sqlx::Connection;

use super::process::{Ended, Home, Server, StandIn, until};

/// A data directory with one version of a DataSet. Its server has stopped.
struct Stage {
    home: Home,
    vendor: StandIn,
    dataset: String,
    token: String,
}

impl Stage {
    async fn new() -> Self {
        let (home, vendor) = (Home::new(), StandIn::new(40).await);
        let email = home.person("olga", "admin").await;
        let token = home.token(&email, "manage").await;
        let account = home.account(&email, &vendor.address, "sandbox-key").await;
        let dataset = home.dataset(&email, &account, "agents").await;
        let stage = Self { home, vendor, dataset, token };
        let server = stage.home.serve().await;
        stage.pull(&server).await;
        server.stop().await;
        stage
    }

    async fn pull(&self, server: &Server) {
        let run = server.run(&self.dataset, &self.token).await;
        assert_eq!(server.over(&run, &self.token).await["state"], "succeeded");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.data().join(name)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = std::fs::read_dir(self.file("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }

    /// A copy of the whole directory, or of some of its files.
    fn copy(&self, names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            copy(&self.file(name), dir.path());
        }
        dir
    }

    async fn is_refused(&self, code: &str) -> String {
        let mut said = String::new();
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["user", "list"]] {
            let before = self.segments();
            let Ended { code: exit, err, out } = self.home.run(arguments).await;
            assert_eq!(exit, 1, "{arguments:?}: {out} {err}");
            assert!(err.contains(code), "{arguments:?}: {err}");
            assert_eq!(self.segments(), before);
            let line = err.lines().last().unwrap().to_owned();
            assert!(line.starts_with("chatlake: "), "{err}");
            said = line;
        }
        said
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_lost_its_catalogue_is_refused_and_keeps_its_rows() {
    let stage = Stage::new().await;
    let rows = stage.segments();
    assert!(!rows.is_empty());
    for path in &rows {
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let saved = stage.copy(&["chatlake.db"]);
    let catalogue = stage.home.catalogue();

    std::fs::remove_file(&catalogue).unwrap();
    let said = stage.is_refused("is missing").await;
    assert!(said.contains("Restore chatlake.db from the backup") && said.contains("segment file"), "{said}");
    assert!(!catalogue.exists(), "nothing is made in its place");

    std::fs::write(&catalogue, "").unwrap();
    stage.is_refused("is empty").await;
    let found = stage.home.run(&["verify"]).await;
    assert!(found.code == 1 && found.err.contains("Restore chatlake.db from the backup"), "{}", found.err);
    assert_eq!(std::fs::metadata(&catalogue).unwrap().len(), 0);

    // A file without tables is no catalogue either.
    let commit_file = stage.home.data().join(commits::FILE);
    let kept = stage.copy(&[commits::FILE]);
    std::fs::remove_file(&commit_file).unwrap();
    std::fs::remove_file(&catalogue).unwrap();
    let blank = sqlx::sqlite::SqliteConnectOptions::new().filename(&catalogue).create_if_missing(true);
    let mut blank = sqlx::SqliteConnection::connect_with(&blank).await.unwrap();
    for statement in ["CREATE TABLE a (b)", "DROP TABLE a"] {
        sqlx::query(statement).execute(&mut blank).await.unwrap();
    }
    blank.close().await.unwrap();
    stage.is_refused("has no tables").await;
    copy(&kept.path().join(commits::FILE), &stage.home.data());
    std::fs::remove_file(&catalogue).unwrap();
    std::fs::create_dir(&catalogue).unwrap();
    stage.is_refused("is a directory").await;
    std::fs::remove_dir(&catalogue).unwrap();
    std::fs::write(&catalogue, "").unwrap();

    // With no rows at all the commit file tells.
    let hidden = tempfile::tempdir().unwrap();
    for path in &rows {
        std::fs::rename(path, hidden.path().join(path.file_name().unwrap())).unwrap();
    }
    let said = stage.is_refused("is empty").await;
    assert!(said.contains(commits::FILE), "{said}");
    for path in &rows {
        std::fs::rename(hidden.path().join(path.file_name().unwrap()), path).unwrap();
    }

    // What it asks for mends it.
    copy(&saved.path().join("chatlake.db"), &stage.home.data());
    let server = stage.home.serve().await;
    assert!(server.csv(&stage.dataset, &stage.token).await.rows > 0);
    server.stop().await;
    assert_eq!(stage.segments(), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_with_a_damaged_page_or_cut_short_is_refused_with_the_page_and_left_as_it_is() {
    let stage = Stage::new().await;
    let catalogue = stage.home.catalogue();
    let whole = std::fs::read(&catalogue).unwrap();
    let page = 4_096;
    let mut scrambled = whole.clone();
    for byte in &mut scrambled[6 * page..7 * page] {
        *byte = 0xA5;
    }
    let no_catalogue = vec![0xA5; whole.len()];
    for (name, bytes) in [("scrambled", &scrambled[..]), ("cut short", &whole[..whole.len() / 2 / page * page]), ("something else", &no_catalogue)] {
        std::fs::write(&catalogue, bytes).unwrap();
        let refused = stage.home.run(&["serve", "--listen", "127.0.0.1:0"]).await;
        assert!(refused.code == 1 && refused.err.contains("is damaged") && refused.err.contains("restore chatlake.db"), "{name}: {refused:?}");
        assert!(std::fs::read(&catalogue).unwrap() == bytes, "{name}: it is left as it is");
        let found = stage.home.run(&["verify"]).await;
        assert_eq!(found.code, 1, "{name}: {found:?}");
    }
    std::fs::write(&catalogue, &whole).unwrap();
    stage.home.serve().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_a_key_alone_is_a_new_installation_and_says_so() {
    let home = Home::new();
    let server = home.serve().await;
    assert!(!server.err().contains("starts as a new installation"), "{}", server.err());
    server.stop().await;
    let key = std::fs::read(home.data().join("vault.key")).unwrap();
    for entry in std::fs::read_dir(home.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("vault.key") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let server = home.serve().await;
    assert!(server.err().contains("starts as a new installation"), "{}", server.err());
    assert!(server.out().contains("No one can sign in yet"));
    server.stop().await;
    assert_eq!(std::fs::read(home.data().join("vault.key")).unwrap(), key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_that_was_copied_without_its_log_is_refused_until_the_log_or_the_decision_comes() {
    let stage = Stage::new().await;
    let server = stage.home.serve().await;
    stage.pull(&server).await;
    until("the commit is noted", async || {
        let noted = commits::Mark::read(&stage.home.data())?;
        (noted.commits >= 2).then_some(())
    })
    .await;
    server.kill();
    let whole = stage.copy(&["chatlake.db", "chatlake.db-wal", commits::FILE]);
    assert!(std::fs::metadata(stage.file("chatlake.db-wal")).unwrap().len() > 0);

    // Back after the crash, with all of it: no false alarm.
    let server = stage.home.serve().await;
    let rows = server.csv(&stage.dataset, &stage.token).await;
    server.stop().await;

    // A copy of the catalogue without its log.
    for name in ["chatlake.db-wal", "chatlake.db-shm"] {
        let _ = std::fs::remove_file(stage.file(name));
    }
    copy(&whole.path().join("chatlake.db"), &stage.home.data());
    let said = stage.is_refused("is older than the data directory").await;
    assert!(said.contains("chatlake.db-wal") && said.contains("delete "), "{said}");
    let found = stage.home.run(&["verify"]).await;
    assert!(found.code == 1 && found.out.contains("commit_file: chatlake.commit"), "{found:?}");

    // With its log it is whole.
    for name in ["chatlake.db", "chatlake.db-wal"] {
        copy(&whole.path().join(name), &stage.home.data());
    }
    let server = stage.home.serve().await;
    assert_eq!(server.csv(&stage.dataset, &stage.token).await, rows);
    server.stop().await;
    assert_eq!(stage.home.run(&["verify"]).await.good(), "No problems found.");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_catalogue_is_refused_and_a_backup_with_its_commit_file_is_not() {
    let stage = Stage::new().await;
    let backup = stage.copy(&["chatlake.db", commits::FILE]);
    let files = stage.segments();
    let server = stage.home.serve().await;
    stage.pull(&server).await;
    server.stop().await;
    let newer = stage.segments();
    assert!(newer.len() > files.len());

    copy(&backup.path().join("chatlake.db"), &stage.home.data());
    let said = stage.is_refused("is older than the data directory").await;
    assert!(said.contains("Restore chatlake.db together with its chatlake.db-wal, or delete"), "{said}");

    // The backup as a whole is fine. Files that it does not know stay for now.
    copy(&backup.path().join(commits::FILE), &stage.home.data());
    let server = stage.home.serve().await;
    assert!(server.csv(&stage.dataset, &stage.token).await.rows > 0);
    server.stop().await;
    assert_eq!(stage.segments(), newer);

    // So is an older catalogue that somebody decided for. Commands beside the server work, and the commit file is made anew.
    std::fs::remove_file(stage.file(commits::FILE)).unwrap();
    let server = stage.home.serve().await;
    stage.pull(&server).await;
    assert!(stage.home.run(&["user", "list", "--json"]).await.json().as_array().unwrap().len() == 1);
    assert_eq!(stage.home.run(&["verify"]).await.code, 1, "files that the catalogue does not name are told of");
    server.stop().await;
    assert!(commits::Mark::read(&stage.home.data()).unwrap().commits > 0);
    assert!(stage.home.serve().await.csv(&stage.dataset, &stage.token).await.rows > 0);
    drop(stage.vendor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_file_that_a_power_loss_tore_or_left_behind_is_no_alarm() {
    let stage = Stage::new().await;
    let path = stage.file(commits::FILE);
    let older = std::fs::read(&path).unwrap();
    let server = stage.home.serve().await;
    stage.pull(&server).await;
    server.stop().await;
    for content in [older.clone(), Vec::new(), vec![0; older.len()], older[..older.len() / 2].to_vec()] {
        std::fs::write(&path, &content).unwrap();
        let server = stage.home.serve().await;
        assert!(server.csv(&stage.dataset, &stage.token).await.rows > 0);
        server.stop().await;
        assert!(commits::Mark::read(&stage.home.data()).unwrap().commits >= 2, "it is written again");
    }
    assert_eq!(stage.home.run(&["verify"]).await.good(), "No problems found.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_catalogue_does_not_name_outlives_the_start() {
    let stage = Stage::new().await;
    let unknown = stage.file("segments").join(format!("{}.parquet", SegmentId::new()));
    std::fs::write(&unknown, "of another catalogue").unwrap();
    std::fs::File::options().write(true).open(&unknown).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    // One of a version that was moved to the trash while another catalogue was there comes back.
    let of_version = stage.segments().into_iter().find(|path| *path != unknown).unwrap();
    std::fs::create_dir(stage.file("trash")).unwrap();
    let moved = stage.file("trash").join(of_version.file_name().unwrap());
    std::fs::rename(&of_version, &moved).unwrap();
    let found = stage.home.run(&["verify"]).await;
    assert!(found.out.contains("its file is in trash/"), "{found:?}");
    let server = stage.home.serve().await;
    until("the file is back", async || of_version.exists().then_some(())).await;
    assert!(server.csv(&stage.dataset, &stage.token).await.rows > 0);
    server.stop().await;
    assert!(unknown.exists() && !moved.exists());

    // One in the trash stays there for a day, unless the disk is nearly full.
    let waits = stage.file("trash").join(unknown.file_name().unwrap());
    std::fs::rename(&unknown, &waits).unwrap();
    let content = std::fs::read(&waits).unwrap();
    std::fs::write(&waits, content).unwrap();
    let server = stage.home.serve_with(&["--keep-free-mib", "0"]).await;
    stage.pull(&server).await;
    server.stop().await;
    assert!(waits.exists());
    let server = stage.home.serve_with(&["--keep-free-mib", "1000000000"]).await;
    until("the trash is empty", async || (!waits.exists()).then_some(())).await;
    server.stop().await;
}
