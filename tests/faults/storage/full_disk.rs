//! The disk is full: changes are refused until there is space, and reading goes on.

use std::time::Duration;

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use super::Disk;
use super::Faults;
use super::Template;
use super::agents_answer;
use super::change_dataset;
use super::copy_dir;
use super::logins;
use super::pull_rows;
use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::{Server, json_of};
use crate::support::{until, until_within};

/// Changes the DataSet until there is no space for it, and returns the last answer.
async fn change_until_refused(server: &Server, dataset: &str, token: &str) -> (u16, Value) {
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
    copy_dir(&template.data_dir.data().join("."), &data_dir.data());
    let server = faults.serve(&data_dir).await;
    let rows = pull_rows(&server, &template, "before").await;
    let (_, cookies) = server.sign_in(email).await;
    // Work of each kind is active in the meantime.
    for round in 0..2 {
        disk.fill_but(0);
        let (status, answer) = change_until_refused(&server, dataset, token).await;
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
        assert_eq!(change_until_refused(&server, dataset, token).await.0, 503);
        disk.free();
        let about = change_dataset(
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
        assert_eq!(pull_rows(&server, &template, "freed").await, rows);
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
    copy_dir(&template.data_dir.data().join("."), &data_dir.data());
    let mut server = faults.serve(&data_dir).await;
    let rows = pull_rows(&server, &template, "before").await;
    let (_, cookies) = server.sign_in(email).await;
    for dies in [false, true] {
        if dies {
            server.kill();
            // The index of the log would have to be created, and there is no space for it.
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
        let (status, answer) = change_until_refused(&full, dataset, token).await;
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
        assert_eq!(pull_rows(&full, &template, "freed").await, rows);
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
async fn a_run_that_can_save_nothing_ends_once_there_is_space() {
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
    copy_dir(&template.data_dir.data().join("."), &data_dir.data());
    let server = faults.serve(&data_dir).await;
    let rows = pull_rows(&server, &template, "before").await;
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 3_000 })
            .on("/agents")
            .times(1),
        agents_answer(),
    ]);
    let run = server.run(dataset, token).await;
    until("it is at work", async || {
        (server.run_state(&run, token).await == "running").then_some(())
    })
    .await;
    disk.fill_but(0);
    assert_eq!(change_until_refused(&server, dataset, token).await.0, 503);
    // After the answer of the vendor and some heartbeats.
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
    assert_eq!(pull_rows(&server, &template, "freed").await, rows);
    let log = server.err();
    assert!(log.lines().count() < 40, "{log}");
    server.stop().await;
    assert_eq!(
        data_dir.run(&["verify", "--deep"]).await.good(),
        "No problems found."
    );
}
