//! Vendors that accept connections and never answer, and such that send next to nothing: they keep
//! no worker, no thread and no memory from the runs of other accounts, and their own runs can be
//! stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::upstream::{Limits, SystemResolver, Upstreams};
use chatlake::connectors::{Connector, PullError, PullRequest, Source};
use chatlake::puller::queue;
use chatlake::puller::run::{RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::pulls::{WEEK, pull, request};
use crate::support::sandbox::{LocalSandbox, Vendor, allow, limits, source};
use crate::support::server::{Server, json_of};
use crate::support::{HOUR, NOON, until};

/// A host on the loopback address that never answers, or only a byte at a time. It stops with its
/// last handle.
struct SilentServer {
    address: String,
    /// Requests whose head came whole.
    calls: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl SilentServer {
    /// Accepts and never answers.
    async fn silent() -> Self {
        Self::new(None).await
    }

    /// Begins an answer with this and then sends a space now and then.
    async fn dripping(begin: &str) -> Self {
        Self::new(Some(begin.to_owned())).await
    }

    async fn new(begin: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (calls, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (counted, stopped) = (calls.clone(), stop.clone());
        tokio::spawn(stopped.clone().run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(stopped.clone().run_until_cancelled_owned(answer(
                    socket,
                    begin.clone(),
                    counted.clone(),
                )));
            }
        }));
        Self {
            address,
            calls,
            _stop: stop.drop_guard(),
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn answer(mut socket: TcpStream, begin: Option<String>, calls: Arc<AtomicUsize>) {
    let (mut head, mut piece) = (Vec::new(), [0; 4_096]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match socket.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(&piece[..count]),
        }
    }
    calls.fetch_add(1, Ordering::SeqCst);
    let Some(begin) = begin else {
        // Until the other side has enough of it.
        let _ = socket.read(&mut piece).await;
        return;
    };
    let start = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{begin}\r\n",
        begin.len()
    );
    let mut next = socket.write_all(start.as_bytes()).await;
    while next.is_ok() {
        tokio::time::sleep(Duration::from_millis(300)).await;
        next = socket.write_all(b"1\r\n \r\n").await;
    }
}

/// A server with somebody who asks it.
struct RunFixture {
    server: Server,
    token: String,
    data_dir: DataDir,
}

impl RunFixture {
    async fn new(workers: &str) -> Self {
        let data_dir = DataDir::new();
        let email = data_dir.person("olga", "admin").await;
        let token = data_dir.token(&email, "manage").await;
        let server = data_dir.serve_with(&["--workers", workers]).await;
        Self {
            server,
            token,
            data_dir,
        }
    }

    async fn made(&self, path: &str, body: Value) -> String {
        let answer = self
            .server
            .send("POST", &format!("/api/v1{path}"), &self.token, Some(body))
            .await;
        let (status, made) = json_of(answer).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    async fn account(&self, connector: &str, address: &str) -> String {
        let credentials = match connector {
            "livechat" => json!({"username": "agent@sandbox.test", "api_key": "sandbox-key"}),
            _ => json!({"email": "operator@sandbox.test", "password": "sandbox-password"}),
        };
        let account = json!({"connector": connector, "name": "Support", "credentials": credentials, "api_url": address, "requests_per_minute": 60_000});
        self.made("/accounts", account).await
    }

    async fn dataset(&self, account: &str, report: &str) -> String {
        self.made(
            "/datasets",
            json!({"name": report, "account_id": account, "report": report}),
        )
        .await
    }

    /// A run on an account of its own at this address.
    async fn run_at(&self, connector: &str, address: &str) -> String {
        let report = if connector == "livechat" {
            "chat"
        } else {
            "chats"
        };
        let dataset = self
            .dataset(&self.account(connector, address).await, report)
            .await;
        self.server.run(&dataset, &self.token).await
    }

    async fn get(&self, run: &str) -> Value {
        self.server
            .get(&format!("/runs/{run}"), &self.token)
            .await
            .1
    }

    async fn all_wait(&self, runs: &[String], phase: &str) {
        for run in runs {
            until("the page says that it waits for the vendor", async || {
                let run = self.get(run).await;
                assert_eq!(run["error"], Value::Null, "{run}");
                (run["progress"]["phase"] == phase).then_some(())
            })
            .await;
        }
    }

    fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.server.id()))
            .unwrap()
            .count()
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_whose_hosts_never_answer_keep_no_worker_no_thread_and_no_memory_from_another() {
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
    // A few come and go with what is written; each of 17 hosts would be more.
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
async fn exports_that_drip_keep_no_worker_and_take_no_threads() {
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
    // Up to four answers of each host are on their way.
    assert!(
        fixture.threads() < threads + 12,
        "{threads} threads became {}",
        fixture.threads()
    );
    for run in &runs {
        assert_eq!(fixture.get(run).await["state"], "running");
    }
}

#[tokio::test]
async fn answers_of_both_vendors_that_bring_less_than_the_minimum_are_cut() {
    let vendor = Vendor::new(200, 20).await;
    let limits = Limits {
        rate_window: Duration::from_millis(400),
        min_bytes: 1_024,
        tries: 2,
        no_progress: Duration::from_secs(30),
        ..limits()
    };
    let upstreams = Upstreams::with(
        vec![allow("127.0.0.1")],
        vendor.clock.clone(),
        limits,
        Arc::new(SystemResolver),
    )
    .unwrap();
    let livechat = source(&upstreams, &vendor.address, "sandbox-key");
    let liveleader = Source {
        connector: Connector::LiveLeader,
        fields: [("email".to_owned(), "operator@sandbox.test".to_owned())].into(),
        secrets: [("password".to_owned(), Secret::new("sandbox-password"))].into(),
        upstream: upstreams
            .for_account("", Connector::LiveLeader, Some(&vendor.address), 0)
            .unwrap(),
        ..livechat.clone()
    };
    let chats = request(&["chat"], &[WEEK]);
    let exported = PullRequest {
        reports: vec![Connector::LiveLeader.report("chats").unwrap()],
        ..request(&[], &[WEEK])
    };
    for (source, request) in [(&livechat, &chats), (&liveleader, &exported)] {
        vendor.fault(FaultKind::Drip {
            bytes: 1,
            every_ms: 30,
        });
        let (got, error) = pull(source, request).await;
        assert!(
            matches!(
                error,
                Err(PullError::Unavailable(Cause::BelowMinRate {
                    received: 1..=100,
                    min: 1_024
                }))
            ),
            "{error:?}"
        );
        assert_eq!(got.rows(0), 0);
        // One that is merely slow comes to its end.
        vendor.fault(FaultKind::Drip {
            bytes: 2_000,
            every_ms: 5,
        });
        let (got, done) = pull(source, request).await;
        assert!(done.is_ok() && got.rows(0) > 0, "{done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_for_their_vendor_are_stopped_by_a_person_and_given_back_at_the_servers_end()
{
    let fixture = RunFixture::new("1").await;
    let mut hosts = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..4 {
        hosts.push(SilentServer::silent().await);
        runs.push(
            fixture
                .run_at("livechat", &hosts.last().unwrap().address)
                .await,
        );
    }
    fixture.all_wait(&runs, "Waiting for LiveChat").await;
    assert_eq!(
        fixture
            .server
            .post(&format!("/runs/{}/cancel", runs[0]), &fixture.token)
            .await
            .0,
        200
    );
    assert_eq!(
        fixture.server.over(&runs[0], &fixture.token).await["state"],
        "cancelled"
    );
    fixture.server.stop().await;
    let calls: Vec<usize> = hosts.iter().map(SilentServer::calls).collect();
    let again = fixture.data_dir.serve_with(&["--workers", "1"]).await;
    for ((run, host), calls) in runs.iter().zip(&hosts).zip(calls).skip(1) {
        until("it goes on", async || (host.calls() > calls).then_some(())).await;
        let run = again.get(&format!("/runs/{run}"), &fixture.token).await.1;
        assert_eq!(
            (run["state"].as_str(), run["attempt"].as_u64()),
            (Some("running"), Some(1)),
            "the stop is no attempt: {run}"
        );
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

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_the_time_limit_is_stopped_notified_and_retried() {
    let ctx = TestContext::with(Clock::stopped_at(NOON), |config| {
        (config.workers, config.max_run_hours) = (1, 2)
    })
    .await;
    ctx.app.start_pulling().await.unwrap();
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Late { ms: 300_000 })]);
    let run = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    until("the vendor is asked", async || {
        ctx.app
            .accounts
            .gauges()
            .get(account.as_str())
            .filter(|gauge| gauge.in_flight > 0)
            .map(|_| ())
    })
    .await;
    ctx.clock.advance(2 * HOUR);
    let over = until("it is over", async || {
        queue::get(&ctx.app.db, &run)
            .await
            .unwrap()
            .filter(|run| run.state.is_final())
    })
    .await;
    let failure = over.failure.unwrap();
    assert_eq!(
        (over.state, failure.code.as_str()),
        (RunState::Failed, "run_too_long"),
        "{failure:?}"
    );
    assert!(
        failure.message.contains("longer than 2 hours") && failure.action.contains("retry 1 of 3"),
        "{failure:?}"
    );
    ctx.sandbox.faults().clear();
    let retry = until("it is tried again", async || {
        ctx.clock.advance(60_000);
        queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
            .await
            .unwrap()
            .into_iter()
            .next()
            .filter(|run| run.state == RunState::Succeeded)
    })
    .await;
    assert_eq!(retry.trigger, Trigger::Retry);
}
