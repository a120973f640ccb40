//! The catalogue is missing, empty, or older than the files beside it: the start is refused with
//! the way out, and no rows are deleted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use chatlake::db::commits;
use chatlake::ids::SegmentId;
use sqlx::Connection;

use crate::support::data_dir::{CommandOutput, DataDir};
use crate::support::sandbox::LocalSandbox;
use crate::support::server::Server;
use crate::support::until;

/// A data directory with one version of a DataSet. Its server has stopped.
struct LostCatalogueFixture {
    data_dir: DataDir,
    vendor: LocalSandbox,
    dataset: String,
    token: String,
}

impl LostCatalogueFixture {
    async fn new() -> Self {
        let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(40).await);
        let email = data_dir.person("olga", "admin").await;
        let token = data_dir.token(&email, "manage").await;
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        let dataset = data_dir.dataset(&email, &account, "agents").await;
        let fixture = Self {
            data_dir,
            vendor,
            dataset,
            token,
        };
        let server = fixture.data_dir.serve().await;
        fixture.pull(&server).await;
        server.stop().await;
        fixture
    }

    async fn pull(&self, server: &Server) {
        let run = server.run(&self.dataset, &self.token).await;
        assert_eq!(server.over(&run, &self.token).await["state"], "succeeded");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data_dir.data().join(name)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = std::fs::read_dir(self.file("segments"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
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
            let CommandOutput {
                code: exit,
                err,
                out,
            } = self.data_dir.run(arguments).await;
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
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_lost_its_catalogue_is_refused_and_keeps_its_rows() {
    let fixture = LostCatalogueFixture::new().await;
    let rows = fixture.segments();
    assert!(!rows.is_empty());
    for path in &rows {
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    let saved = fixture.copy(&["chatlake.db"]);
    let catalogue = fixture.data_dir.catalogue();

    std::fs::remove_file(&catalogue).unwrap();
    let said = fixture.is_refused("is missing").await;
    assert!(
        said.contains("Restore chatlake.db from the backup") && said.contains("segment file"),
        "{said}"
    );
    assert!(!catalogue.exists(), "nothing is made in its place");

    std::fs::write(&catalogue, "").unwrap();
    fixture.is_refused("is empty").await;
    let found = fixture.data_dir.run(&["verify"]).await;
    assert!(
        found.code == 1 && found.err.contains("Restore chatlake.db from the backup"),
        "{}",
        found.err
    );
    assert_eq!(std::fs::metadata(&catalogue).unwrap().len(), 0);

    // A file without tables is no catalogue either.
    let commit_file = fixture.data_dir.data().join(commits::FILE);
    let kept = fixture.copy(&[commits::FILE]);
    std::fs::remove_file(&commit_file).unwrap();
    std::fs::remove_file(&catalogue).unwrap();
    let blank = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&catalogue)
        .create_if_missing(true);
    let mut blank = sqlx::SqliteConnection::connect_with(&blank).await.unwrap();
    for statement in ["CREATE TABLE a (b)", "DROP TABLE a"] {
        sqlx::query(statement).execute(&mut blank).await.unwrap();
    }
    blank.close().await.unwrap();
    fixture.is_refused("has no tables").await;
    copy(&kept.path().join(commits::FILE), &fixture.data_dir.data());
    std::fs::remove_file(&catalogue).unwrap();
    std::fs::create_dir(&catalogue).unwrap();
    fixture.is_refused("is a directory").await;
    std::fs::remove_dir(&catalogue).unwrap();
    std::fs::write(&catalogue, "").unwrap();

    // Without rows, the commit file proves the loss.
    let hidden = tempfile::tempdir().unwrap();
    for path in &rows {
        std::fs::rename(path, hidden.path().join(path.file_name().unwrap())).unwrap();
    }
    let said = fixture.is_refused("is empty").await;
    assert!(said.contains(commits::FILE), "{said}");
    for path in &rows {
        std::fs::rename(hidden.path().join(path.file_name().unwrap()), path).unwrap();
    }

    // What it asks for mends it.
    copy(&saved.path().join("chatlake.db"), &fixture.data_dir.data());
    let server = fixture.data_dir.serve().await;
    assert!(server.csv(&fixture.dataset, &fixture.token).await.rows > 0);
    server.stop().await;
    assert_eq!(fixture.segments(), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_with_a_damaged_page_or_cut_short_is_refused_with_the_page_and_left_as_it_is() {
    let fixture = LostCatalogueFixture::new().await;
    let catalogue = fixture.data_dir.catalogue();
    let whole = std::fs::read(&catalogue).unwrap();
    let page = 4_096;
    let mut scrambled = whole.clone();
    for byte in &mut scrambled[6 * page..7 * page] {
        *byte = 0xA5;
    }
    let no_catalogue = vec![0xA5; whole.len()];
    for (name, bytes) in [
        ("scrambled", &scrambled[..]),
        ("cut short", &whole[..whole.len() / 2 / page * page]),
        ("something else", &no_catalogue),
    ] {
        std::fs::write(&catalogue, bytes).unwrap();
        let refused = fixture
            .data_dir
            .run(&["serve", "--listen", "127.0.0.1:0"])
            .await;
        assert!(
            refused.code == 1
                && refused.err.contains("is damaged")
                && refused.err.contains("restore chatlake.db"),
            "{name}: {refused:?}"
        );
        assert!(
            std::fs::read(&catalogue).unwrap() == bytes,
            "{name}: it is left as it is"
        );
        let found = fixture.data_dir.run(&["verify"]).await;
        assert_eq!(found.code, 1, "{name}: {found:?}");
    }
    std::fs::write(&catalogue, &whole).unwrap();
    fixture.data_dir.serve().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_a_key_alone_is_a_new_installation_and_says_so() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    assert!(
        !server.err().contains("starts as a new installation"),
        "{}",
        server.err()
    );
    server.stop().await;
    let key = std::fs::read(data_dir.data().join("vault.key")).unwrap();
    for entry in std::fs::read_dir(data_dir.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("vault.key") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let server = data_dir.serve().await;
    assert!(
        server.err().contains("starts as a new installation"),
        "{}",
        server.err()
    );
    assert!(server.out().contains("No one can sign in yet"));
    server.stop().await;
    assert_eq!(
        std::fs::read(data_dir.data().join("vault.key")).unwrap(),
        key
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_copied_without_its_wal_is_refused_until_the_wal_returns_or_it_is_accepted() {
    let fixture = LostCatalogueFixture::new().await;
    let server = fixture.data_dir.serve().await;
    fixture.pull(&server).await;
    until("the commit is noted", async || {
        let noted = commits::CommitMark::read(&fixture.data_dir.data())?;
        (noted.commits >= 2).then_some(())
    })
    .await;
    server.kill();
    let whole = fixture.copy(&["chatlake.db", "chatlake.db-wal", commits::FILE]);
    assert!(
        std::fs::metadata(fixture.file("chatlake.db-wal"))
            .unwrap()
            .len()
            > 0
    );

    // Back after the crash, with all of it: no false alarm.
    let server = fixture.data_dir.serve().await;
    let rows = server.csv(&fixture.dataset, &fixture.token).await;
    server.stop().await;

    // A copy of the catalogue without its log.
    for name in ["chatlake.db-wal", "chatlake.db-shm"] {
        let _ = std::fs::remove_file(fixture.file(name));
    }
    copy(&whole.path().join("chatlake.db"), &fixture.data_dir.data());
    let said = fixture.is_refused("is older than the data directory").await;
    assert!(
        said.contains("chatlake.db-wal") && said.contains("delete "),
        "{said}"
    );
    let found = fixture.data_dir.run(&["verify"]).await;
    assert!(
        found.code == 1 && found.out.contains("commit_file: chatlake.commit"),
        "{found:?}"
    );

    // With its log it is whole.
    for name in ["chatlake.db", "chatlake.db-wal"] {
        copy(&whole.path().join(name), &fixture.data_dir.data());
    }
    let server = fixture.data_dir.serve().await;
    assert_eq!(server.csv(&fixture.dataset, &fixture.token).await, rows);
    server.stop().await;
    assert_eq!(
        fixture.data_dir.run(&["verify"]).await.good(),
        "No problems found."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_catalogue_is_refused_and_a_backup_with_its_commit_file_is_not() {
    let fixture = LostCatalogueFixture::new().await;
    let backup = fixture.copy(&["chatlake.db", commits::FILE]);
    let files = fixture.segments();
    let server = fixture.data_dir.serve().await;
    fixture.pull(&server).await;
    server.stop().await;
    let newer = fixture.segments();
    assert!(newer.len() > files.len());

    copy(&backup.path().join("chatlake.db"), &fixture.data_dir.data());
    let said = fixture.is_refused("is older than the data directory").await;
    assert!(
        said.contains("Restore chatlake.db together with its chatlake.db-wal, or delete"),
        "{said}"
    );

    // The backup as a whole is fine. Files that it does not know stay for now.
    copy(&backup.path().join(commits::FILE), &fixture.data_dir.data());
    let server = fixture.data_dir.serve().await;
    assert!(server.csv(&fixture.dataset, &fixture.token).await.rows > 0);
    server.stop().await;
    assert_eq!(fixture.segments(), newer);

    // So is an older catalogue that somebody decided for. Commands beside the server work, and the
    // commit file is made anew.
    std::fs::remove_file(fixture.file(commits::FILE)).unwrap();
    let server = fixture.data_dir.serve().await;
    fixture.pull(&server).await;
    assert!(
        fixture
            .data_dir
            .run(&["user", "list", "--json"])
            .await
            .json()
            .as_array()
            .unwrap()
            .len()
            == 1
    );
    assert_eq!(
        fixture.data_dir.run(&["verify"]).await.code,
        1,
        "files that the catalogue does not name are reported"
    );
    server.stop().await;
    assert!(
        commits::CommitMark::read(&fixture.data_dir.data())
            .unwrap()
            .commits
            > 0
    );
    assert!(
        fixture
            .data_dir
            .serve()
            .await
            .csv(&fixture.dataset, &fixture.token)
            .await
            .rows
            > 0
    );
    drop(fixture.vendor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_file_that_a_power_loss_tore_or_left_behind_is_no_alarm() {
    let fixture = LostCatalogueFixture::new().await;
    let path = fixture.file(commits::FILE);
    let older = std::fs::read(&path).unwrap();
    let server = fixture.data_dir.serve().await;
    fixture.pull(&server).await;
    server.stop().await;
    for content in [
        older.clone(),
        Vec::new(),
        vec![0; older.len()],
        older[..older.len() / 2].to_vec(),
    ] {
        std::fs::write(&path, &content).unwrap();
        let server = fixture.data_dir.serve().await;
        assert!(server.csv(&fixture.dataset, &fixture.token).await.rows > 0);
        server.stop().await;
        assert!(
            commits::CommitMark::read(&fixture.data_dir.data())
                .unwrap()
                .commits
                >= 2,
            "it is written again"
        );
    }
    assert_eq!(
        fixture.data_dir.run(&["verify"]).await.good(),
        "No problems found."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_catalogue_does_not_name_outlives_the_start() {
    let fixture = LostCatalogueFixture::new().await;
    let unknown = fixture
        .file("segments")
        .join(format!("{}.parquet", SegmentId::new()));
    std::fs::write(&unknown, "of another catalogue").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&unknown)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    // One of a version that was moved to the trash while another catalogue was there comes back.
    let of_version = fixture
        .segments()
        .into_iter()
        .find(|path| *path != unknown)
        .unwrap();
    std::fs::create_dir(fixture.file("trash")).unwrap();
    let moved = fixture.file("trash").join(of_version.file_name().unwrap());
    std::fs::rename(&of_version, &moved).unwrap();
    let found = fixture.data_dir.run(&["verify"]).await;
    assert!(found.out.contains("its file is in trash/"), "{found:?}");
    let server = fixture.data_dir.serve().await;
    until("the file is back", async || {
        of_version.exists().then_some(())
    })
    .await;
    assert!(server.csv(&fixture.dataset, &fixture.token).await.rows > 0);
    server.stop().await;
    assert!(unknown.exists() && !moved.exists());

    // One in the trash stays there for a day, unless the disk is nearly full.
    let waits = fixture.file("trash").join(unknown.file_name().unwrap());
    std::fs::rename(&unknown, &waits).unwrap();
    let content = std::fs::read(&waits).unwrap();
    std::fs::write(&waits, content).unwrap();
    let server = fixture.data_dir.serve_with(&["--keep-free-mib", "0"]).await;
    fixture.pull(&server).await;
    server.stop().await;
    assert!(waits.exists());
    let server = fixture
        .data_dir
        .serve_with(&["--keep-free-mib", "1000000000"])
        .await;
    until("the trash is empty", async || {
        (!waits.exists()).then_some(())
    })
    .await;
    server.stop().await;
}
