//! Vendors that do not answer use no worker, no thread and no memory that other accounts need.

use chatlake::sandbox::faults::{Fault, FaultKind};

use super::RunFixture;
use super::SilentServer;
use crate::support::sandbox::LocalSandbox;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn accounts_with_silent_hosts_take_no_worker_thread_or_memory_from_another() {
    let (fixture, vendor) = (RunFixture::new("1").await, LocalSandbox::new(100).await);
    let mut hosts = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..3 {
        hosts.push(SilentServer::silent().await);
        runs.push(
            fixture
                .run_at("livechat", &hosts.last().unwrap().address)
                .await,
        );
    }
    fixture.all_wait(&runs, "Waiting for LiveChat").await;
    let (threads, memory) = (fixture.threads(), fixture.memory());
    for _ in 0..17 {
        hosts.push(SilentServer::silent().await);
        runs.push(
            fixture
                .run_at("livechat", &hosts.last().unwrap().address)
                .await,
        );
    }
    fixture.all_wait(&runs, "Waiting for LiveChat").await;
    // Some threads depend on writes; a thread for each of 17 hosts would be more.
    assert!(
        fixture.threads() < threads + 12,
        "{threads} threads became {}",
        fixture.threads()
    );
    assert!(
        fixture.memory() < memory + 48 * 1024,
        "{memory} KiB became {}",
        fixture.memory()
    );

    let good = fixture.run_at("livechat", &vendor.address).await;
    let over = fixture.server.over(&good, &fixture.token).await;
    assert_eq!(over["state"], "succeeded", "{over}");
    for (run, host) in runs.iter().zip(&hosts) {
        let run = fixture.get(run).await;
        assert_eq!(
            (run["state"].as_str(), run["progress"]["phase"].as_str()),
            (Some("running"), Some("Waiting for LiveChat")),
            "{run}"
        );
        assert!(host.calls() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eleven_runs_that_start_together_begin_together_though_ten_get_no_answer() {
    let (fixture, vendor) = (RunFixture::new("1").await, LocalSandbox::new(100).await);
    let mut hosts = Vec::new();
    let mut datasets = Vec::new();
    for _ in 0..10 {
        hosts.push(SilentServer::silent().await);
        let account = fixture
            .account("livechat", &hosts.last().unwrap().address)
            .await;
        datasets.push(fixture.dataset(&account, "chat").await);
    }
    let last = fixture
        .dataset(&fixture.account("livechat", &vendor.address).await, "chat")
        .await;
    let mut silent = Vec::new();
    for dataset in &datasets {
        silent.push(fixture.server.run(dataset, &fixture.token).await);
    }
    let over = fixture
        .server
        .over(
            &fixture.server.run(&last, &fixture.token).await,
            &fixture.token,
        )
        .await;
    assert_eq!(over["state"], "succeeded", "{over}");
    for run in &silent {
        assert_eq!(fixture.get(run).await["state"], "running");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_exports_occupy_no_worker_and_no_threads() {
    let (fixture, vendor) = (RunFixture::new("1").await, LocalSandbox::new(100).await);
    let mut hosts = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..2 {
        hosts.push(SilentServer::dripping("<chats>").await);
        runs.push(
            fixture
                .run_at("liveleader", &hosts.last().unwrap().address)
                .await,
        );
    }
    fixture.all_wait(&runs, "Waiting for LiveLeader").await;
    let threads = fixture.threads();
    for _ in 0..6 {
        hosts.push(SilentServer::dripping("<chats>").await);
        runs.push(
            fixture
                .run_at("liveleader", &hosts.last().unwrap().address)
                .await,
        );
    }
    for host in &hosts {
        until("the host is asked", async || {
            (host.calls() > 0).then_some(())
        })
        .await;
    }
    for connector in ["livechat", "liveleader"] {
        let over = fixture
            .server
            .over(
                &fixture.run_at(connector, &vendor.address).await,
                &fixture.token,
            )
            .await;
        assert_eq!(over["state"], "succeeded", "{over}");
    }
    // Up to four answers of each host are in progress.
    assert!(
        fixture.threads() < threads + 12,
        "{threads} threads became {}",
        fixture.threads()
    );
    for run in &runs {
        assert_eq!(fixture.get(run).await["state"], "running");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_of_one_account_leave_a_worker_to_others_and_say_what_they_wait_for() {
    let (fixture, slow, vendor) = (
        RunFixture::new("2").await,
        LocalSandbox::new(100).await,
        LocalSandbox::new(100).await,
    );
    slow.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Late { ms: 300_000 })]);
    let account = fixture.account("livechat", &slow.address).await;
    let mut runs = Vec::new();
    for report in ["chat", "agents", "groups", "tickets"] {
        runs.push(
            fixture
                .server
                .run(&fixture.dataset(&account, report).await, &fixture.token)
                .await,
        );
    }
    fixture.all_wait(&runs[..2], "Waiting for LiveChat").await;
    for run in &runs[2..] {
        let run = fixture.get(run).await;
        assert_eq!(
            (run["state"].as_str(), run["waits_for"].as_str()),
            (
                Some("queued"),
                Some("the account's other runs: 2 are running")
            ),
            "{run}"
        );
    }
    let over = fixture
        .server
        .over(
            &fixture.run_at("livechat", &vendor.address).await,
            &fixture.token,
        )
        .await;
    assert_eq!(over["state"], "succeeded", "{over}");
    // The next run of the account begins when one of its runs ends.
    slow.sandbox.faults().clear();
    for run in &runs[..2] {
        fixture
            .server
            .post(&format!("/runs/{run}/cancel"), &fixture.token)
            .await;
    }
    for run in &runs[2..] {
        assert_eq!(
            fixture.server.over(run, &fixture.token).await["state"],
            "succeeded"
        );
    }
}
