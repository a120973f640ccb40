//! What a newcomer starts first: the built binary's demo. Also the commands that no other test
//! covers.

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use chatlake::connectors::Connector;
use scraper::{Html, Selector};
use serde_json::json;

use crate::support::data_dir::{BINARY, DataDir};
use crate::support::process::ChildProcess;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::client;
use crate::support::until;

/// A demo process, and the directory in which it creates its own directory.
struct Demo {
    process: ChildProcess,
    temporary: tempfile::TempDir,
}

impl Demo {
    fn start(listen: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let process = ChildProcess::spawn(
            Command::new(BINARY)
                .env_clear()
                .env("TMPDIR", temporary.path())
                .current_dir(temporary.path())
                .args(["demo", "--chats", "800", "--listen", listen]),
        );
        Self { process, temporary }
    }

    /// The rest of the line that begins with `start`.
    fn output_value(&self, start: &str) -> Option<String> {
        self.process
            .out()
            .lines()
            .find_map(|line| line.strip_prefix(start))
            .map(str::to_owned)
    }

    fn remaining_files(&self) -> Vec<std::path::PathBuf> {
        std::fs::read_dir(self.temporary.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }
}

fn texts(page: &Html, css: &str) -> Vec<String> {
    let selector = Selector::parse(css).unwrap();
    page.select(&selector)
        .map(|found| found.text().collect::<String>().trim().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_signs_in_to_a_week_of_history_and_nothing_stays_behind() {
    let demo = Demo::start("127.0.0.1:0");
    let url = until("the demo is ready", async || {
        demo.output_value("Chatlake is ready at ")
    })
    .await;
    let url = url.trim_end_matches('/').to_owned();
    let words = until("the demo says how to sign in", async || {
        demo.output_value("Sign in as ")
    })
    .await;
    let (email, password) = words.split_once(" with the password ").unwrap();
    assert_eq!(
        demo.remaining_files().len(),
        1,
        "it has a directory of its own: {:?}",
        demo.remaining_files()
    );

    let client = client();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("email", email), ("password", password)])
        .finish();
    let answer = until("the server answers", async || {
        let request = client
            .post(format!("{url}/sign-in"))
            .header("Origin", &url)
            .header("Content-Type", "application/x-www-form-urlencoded");
        request.body(form.clone()).send().await.ok()
    })
    .await;
    assert_eq!(answer.status(), 303, "{email} {password}");
    let cookies: Vec<&str> = answer
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().unwrap().split(';').next().unwrap())
        .collect();
    let page = client
        .get(format!("{url}/datasets"))
        .header("Cookie", cookies.join("; "))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();

    let html = Html::parse_document(&page);
    let about = texts(&html, "tr[data-row] .name-cell .second");
    let shapes: HashSet<_> = about
        .iter()
        .map(|line| {
            let title = line.split(" · ").next().unwrap();
            let report = Connector::ALL
                .iter()
                .flat_map(|c| c.reports())
                .find(|report| report.title == title)
                .unwrap_or_else(|| panic!("{line}"));
            std::mem::discriminant(&report.shape)
        })
        .collect();
    let every: HashSet<_> = Connector::ALL
        .iter()
        .flat_map(|c| c.reports())
        .map(|report| std::mem::discriminant(&report.shape))
        .collect();
    assert_eq!(shapes, every, "a DataSet of each shape: {about:?}");
    let statuses = texts(&html, "tr[data-row] .status-cell .status");
    // Its credentials were refused all week, so it is off its schedule by now.
    assert_eq!(
        statuses
            .iter()
            .filter(|status| *status == "Schedule stopped")
            .count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses
            .iter()
            .filter(|status| *status == "Up to date")
            .count()
            >= 4,
        "{statuses:?}"
    );
    assert_eq!(
        texts(&html, "tr.band-row").len(),
        1,
        "the one that fails says why"
    );

    drop(client);
    demo.process.terminate();
    assert_eq!(
        demo.process.exit(Duration::from_secs(30)).await,
        0,
        "{}",
        demo.process.err()
    );
    assert_eq!(demo.remaining_files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_reported_before_sample_data_is_generated() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let demo = Demo::start(&taken.local_addr().unwrap().to_string());
    assert_eq!(demo.process.exit(Duration::from_secs(10)).await, 1);
    let output = until("it says why", async || {
        Some(demo.process.err()).filter(|err| err.contains('\n'))
    })
    .await;
    assert!(
        output.contains("Cannot listen on 127.0.0.1:") && output.contains("--listen"),
        "{output}"
    );
    assert_eq!(demo.process.out(), "", "nothing was begun");
    assert_eq!(demo.remaining_files(), Vec::<std::path::PathBuf>::new());
}

// ---- commands that no other test covers ----

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_is_stored_only_after_the_vendor_accepted_it() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(20).await);
    let email = data_dir.person("olga", "admin").await;
    let account = data_dir
        .account(&email, &vendor.address, "a key that was withdrawn")
        .await;
    let rotate = ["account", "rotate-secret", account.as_str()];
    for wrong in ["another wrong key\n", "\n", ""] {
        let ended = data_dir.run_with(&rotate, wrong).await;
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (1, ""),
            "{wrong:?}: {}",
            ended.err
        );
        assert!(!ended.err.contains("another wrong key"), "{}", ended.err);
        assert_eq!(
            data_dir.run(&["account", "check", &account]).await.code,
            1,
            "{wrong:?}: the old one is still there"
        );
    }
    assert_eq!(
        data_dir
            .run_with(&["account", "rotate-secret", "acc_1"], "sandbox-key")
            .await
            .code,
        1
    );
    let output = data_dir.run_with(&rotate, "sandbox-key\n").await.good();
    assert!(output.ends_with(" visible"), "{output}");
    assert_eq!(
        data_dir.run(&["account", "list", "--json"]).await.json()[0]["health"],
        "valid"
    );
    assert_eq!(
        data_dir.run(&["account", "check", &account]).await.good(),
        output
    );
    let file = data_dir.data().join("key.txt");
    std::fs::write(&file, "dal:sandbox-token\n").unwrap();
    let from_file = [&rotate[..], &["--secret-file", file.to_str().unwrap()]].concat();
    assert_eq!(data_dir.run(&from_file).await.good(), output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_is_made_with_its_description() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(20).await);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "read").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let make = [
        "dataset",
        "create",
        "--user",
        email.as_str(),
        "--name",
        "Agents",
        "--account",
        account.as_str(),
        "--report",
        "agents",
    ];
    let plain = data_dir.run(&make).await.good();
    let output = data_dir
        .run(&[&make[..], &["--description", "Who answers,\nand when"]].concat())
        .await
        .good();
    let too_long = "x".repeat(2_001);
    assert_eq!(
        data_dir
            .run(&[&make[..], &["--description", too_long.as_str()]].concat())
            .await
            .code,
        1
    );
    let server = data_dir.serve().await;
    for (dataset, description) in [(plain, ""), (output, "Who answers,\nand when")] {
        let (status, dataset) = server.get(&format!("/datasets/{dataset}"), &token).await;
        assert_eq!(
            (status, &dataset["description"]),
            (200, &json!(description)),
            "{dataset}"
        );
    }
    server.stop().await;
}
