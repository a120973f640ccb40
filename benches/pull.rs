//! Measures the hot path of a pull: pages of chats over loopback, from a test server that responds
//! from memory, into Arrow batches. For comparison, the minimum: the same pages, with the same
//! concurrency, parsed into plain typed structs. `bin/bench pull` runs it with criterion;
//! `bin/bench` prints a table of one large pull, with the test server in another process, so that
//! only the connector's memory is measured.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot measure has nothing better to do"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the baseline is a client of its own"
)]

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bytes::Bytes;
use chatlake::clock::Clock;
use chatlake::connectors::upstream::Upstreams;
use chatlake::connectors::{self, Connector, Menus, PullEvent, PullRequest, Source, Window};
use chatlake::sandbox::{Sandbox, SandboxOptions, livechat};
use chatlake::secret::Secret;
use criterion::{Criterion, Throughput};
use futures_util::{StreamExt, stream};
use jiff::tz::TimeZone;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const CHATS: u64 = 20_000;
/// The number of chats in the table.
const TABLE_CHATS: u64 = 100_000;
const DAYS: u32 = 34;
/// The number of measurements of each figure, in turn; the median counts.
const ROUNDS: usize = 5;
/// The argument that starts this program as the test server.
const VENDOR: &str = "be-the-vendor";
const MIB: f64 = 1_048_576.0;
/// The number of concurrent pages, as in the connector.
const AT_ONCE: usize = 8;
/// 2026-11-20 12:00 UTC, a Friday.
const NOW: i64 = 1_795_176_000_000;

fn main() {
    // `cargo test --all-targets` runs this file too.
    let has_argument = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    if has_argument(VENDOR) {
        return runtime().block_on(serve_as_vendor(TABLE_CHATS));
    }
    if has_argument("--table") {
        return runtime().block_on(table());
    }
    if !has_argument("--bench") {
        return;
    }
    let runtime = runtime();
    let bench = runtime.block_on(async { Bench::at(serve(CHATS).await) });
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(2))
        .measurement_time(Duration::from_secs(8));
    for report in ["chat", "chat_messages"] {
        // The first pull also fills the test server's cache.
        let rows = runtime.block_on(bench.pull(&[report], false));
        let (chats, messages) = runtime.block_on(bench.baseline());
        assert_eq!(rows, if report == "chat" { chats } else { messages });
        let mut group = criterion.benchmark_group(report);
        group.throughput(Throughput::Elements(rows));
        group.bench_function("connector", |b| {
            b.iter(|| runtime.block_on(bench.pull(&[report], false)))
        });
        group.bench_function("connector, with second reads", |b| {
            b.iter(|| runtime.block_on(bench.pull(&[report], true)))
        });
        group.bench_function("typed structs", |b| {
            b.iter(|| black_box(runtime.block_on(bench.baseline())))
        });
        group.finish();
    }
    criterion.final_summary();
}

struct Bench {
    address: String,
    source: Source,
    windows: Vec<Window>,
    client: reqwest::Client,
}

/// Serves chats from memory. Returns the address.
async fn serve(chats: u64) -> String {
    let sandbox = Sandbox::new(
        SandboxOptions {
            chats,
            days: DAYS,
            ..SandboxOptions::default()
        },
        Clock::stopped_at(NOW),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let vendor = Router::new().fallback(from_memory).with_state(Memory {
        vendor: sandbox.router(),
        pages: Arc::default(),
    });
    tokio::spawn(async move { axum::serve(listener, vendor).await });
    address
}

async fn serve_as_vendor(chats: u64) {
    println!("{}", serve(chats).await);
    // Runs until the parent process ends it.
    std::future::pending::<()>().await;
}

/// Prints a line `| what | measured | bound |` for each figure.
async fn table() {
    let mut vendor = Command::new(std::env::current_exe().unwrap())
        .arg(VENDOR)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(vendor.stdout.take().unwrap())
        .read_line(&mut address)
        .unwrap();
    let bench = Bench::at(address.trim().to_owned());
    // The first pull also fills the test server's cache.
    let (chats, messages) = bench.baseline().await;
    for (report, name, rows, goal) in [
        ("chat", "Chat", chats, 80_000),
        ("chat_messages", "Chat Messages", messages, 600_000),
    ] {
        let (mut ours, mut twice, mut plain, mut own, mut peak) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0.0_f64);
        for _ in 0..ROUNDS {
            std::fs::write("/proc/self/clear_refs", "5").unwrap();
            let (began, used) = (Instant::now(), processor_time());
            assert_eq!(bench.pull(&[report], false).await, rows);
            ours.push(rows as f64 / began.elapsed().as_secs_f64());
            own.push(rows as f64 / ((processor_time() - used) / 2.0));
            peak = peak.max(peak_memory());
            let began = Instant::now();
            assert_eq!(bench.pull(&[report], true).await, rows);
            twice.push(rows as f64 / began.elapsed().as_secs_f64());
            let began = Instant::now();
            black_box(bench.baseline().await);
            plain.push(rows as f64 / began.elapsed().as_secs_f64());
        }
        let (ours, twice, plain, own) = (
            median(&mut ours),
            median(&mut twice),
            median(&mut plain),
            median(&mut own),
        );
        println!(
            "| {name} by the connector, from memory: {rows} rows of {TABLE_CHATS} chats | {ours:.0} rows/s with the test server on the same two cores; \
             computed from the processor time, {own:.0} rows/s on two cores of its own; {peak:.0} MiB | at least {goal} rows/s, under 120 MiB |"
        );
        println!(
            "| The same, with the second read of days that are not settled | {twice:.0} rows/s | |"
        );
        println!(
            "| The same pages into plain structs | {plain:.0} rows/s; the connector reaches {:.0} % of that | at least 50 % |",
            ours / plain * 100.0
        );
    }
    vendor.kill().unwrap();
    vendor.wait().unwrap();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The processor time of this process on all cores, in seconds.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Skips the process name, which may contain anything and ends with the last parenthesis. Times
    // are in hundredths of a second.
    let after: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (after[11].parse::<f64>().unwrap() + after[12].parse::<f64>().unwrap()) / 100.0
}

/// `VmHWM` of this process, in MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1_024.0 / MIB
}

impl Bench {
    fn at(address: String) -> Self {
        let upstreams =
            Upstreams::new(vec!["127.0.0.1".parse().unwrap()], Clock::stopped_at(NOW)).unwrap();
        let source = Source {
            connector: Connector::LiveChat,
            fields: BTreeMap::from([("username".to_owned(), livechat::LOGIN.to_owned())]),
            secrets: BTreeMap::from([("api_key".to_owned(), Secret::new(livechat::API_KEY))]),
            zone: TimeZone::UTC,
            // 0: no rate limit.
            upstream: upstreams
                .for_account("", Connector::LiveChat, Some(&address), 0)
                .unwrap(),
        };
        let today = jiff::Timestamp::from_millisecond(NOW)
            .unwrap()
            .to_zoned(TimeZone::UTC)
            .date();
        let range = Menus {
            start_days: Some(DAYS),
            end_days: Some(0),
            ..Menus::default()
        }
        .range(today);
        let windows = connectors::windows(Connector::LiveChat.report("chat").unwrap(), range);
        Self {
            address,
            source,
            windows,
            client: reqwest::Client::builder()
                .no_proxy()
                .no_gzip()
                .build()
                .unwrap(),
        }
    }

    /// The number of rows that the connector reads from all pages. `second_read`: whether days that
    /// are not settled are read twice.
    async fn pull(&self, reports: &[&str], second_read: bool) -> u64 {
        let request = PullRequest {
            reports: reports
                .iter()
                .map(|id| Connector::LiveChat.report(id).unwrap())
                .collect(),
            menus: Menus::default(),
            zone: TimeZone::UTC,
            extras: Vec::new(),
            previous_window: None,
            second_read,
            scratch: std::env::temp_dir(),
            windows: self.windows.clone(),
            cancel: CancellationToken::new(),
        };
        let (out, mut come) = mpsc::channel(4);
        let source = self.source.clone();
        let reading = tokio::spawn(async move { connectors::pull(&source, &request, &out).await });
        let mut rows = 0;
        while let Some(pulled) = come.recv().await {
            if let PullEvent::Rows { batch, .. } = pulled {
                rows += black_box(batch).num_rows() as u64;
            }
        }
        reading.await.unwrap().unwrap();
        rows
    }

    /// The numbers of chats and messages of all pages.
    async fn baseline(&self) -> (u64, u64) {
        let (mut chats, mut messages) = (0, 0);
        for window in &self.windows {
            let first = self.page(*window, 1).await;
            let rest = stream::iter(2..=first.pages)
                .map(|page| self.page(*window, page))
                .buffered(AT_ONCE);
            let mut pages = std::pin::pin!(stream::iter([first]).chain(rest));
            while let Some(page) = pages.next().await {
                chats += page.chats.len() as u64;
                messages += page
                    .chats
                    .iter()
                    .map(|chat| chat.messages.len() as u64)
                    .sum::<u64>();
            }
        }
        (chats, messages)
    }

    /// Reads and parses a page in a separate task.
    fn page(&self, window: Window, page: u64) -> impl Future<Output = Page> + use<> {
        let url = format!(
            "{}/chats?date_from={}&date_to={}&timezone=UTC&page={page}",
            self.address, window.from, window.to
        );
        let request = self
            .client
            .get(url)
            .basic_auth(livechat::LOGIN, Some(livechat::API_KEY))
            .header("x-api-version", "2");
        let task = tokio::spawn(async move {
            let body = request.send().await.unwrap().bytes().await.unwrap();
            serde_json::from_slice(&body).unwrap()
        });
        async move { task.await.unwrap() }
    }
}

// ---- a vendor that answers from memory ----

#[derive(Clone)]
struct Memory {
    vendor: Router,
    pages: Arc<RwLock<HashMap<String, Bytes>>>,
}

async fn from_memory(State(memory): State<Memory>, request: Request) -> Response {
    let question = request.uri().to_string();
    let held = memory.pages.read().unwrap().get(&question).cloned();
    let body = match held {
        Some(body) => body,
        None => {
            let answer = memory.vendor.oneshot(request).await.unwrap();
            if !answer.status().is_success() {
                return answer;
            }
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            memory.pages.write().unwrap().insert(question, body.clone());
            body
        }
    };
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(body),
    )
        .into_response()
}

// ---- what a page is, in plain structs ----

#[derive(Deserialize)]
struct Page {
    chats: Vec<Chat>,
    pages: u64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Chat {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    visitor: Option<Visitor>,
    visitor_id: Option<String>,
    visitor_name: Option<String>,
    visitor_ip: Option<String>,
    agents: Vec<Agent>,
    supervisors: Vec<Agent>,
    rate: String,
    duration: i64,
    chat_start_url: String,
    referrer: Option<String>,
    group: Vec<u32>,
    started: String,
    started_timestamp: i64,
    ended: String,
    ended_timestamp: i64,
    timezone: String,
    prechat_survey: Vec<Answer>,
    postchat_survey: Vec<Answer>,
    custom_variables: Option<Vec<Pair>>,
    integration_variables: Option<Vec<Pair>>,
    goals: Option<Vec<Goal>>,
    queue: Option<Queue>,
    tags: Vec<String>,
    tickets: Option<Vec<Ticket>>,
    messages: Vec<Message>,
    events: Vec<Event>,
    engagement: String,
    pending: Option<bool>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Visitor {
    id: String,
    name: String,
    email: Option<String>,
    ip: String,
    city: String,
    region: String,
    country: String,
    country_code: String,
    timezone: String,
    user_agent: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Agent {
    display_name: String,
    email: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Answer {
    key: String,
    value: String,
    id: u64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Pair {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Goal {
    id: u64,
    name: String,
    date: String,
    timestamp: i64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Queue {
    duration: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "parsed, never looked at")]
enum Ticket {
    Id(String),
    Object { id: String },
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Message {
    author_name: String,
    text: String,
    date: String,
    timestamp: i64,
    user_type: String,
    agent_id: Option<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, never looked at")]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    event_type: Option<String>,
    files: Option<Vec<String>>,
    author_name: Option<String>,
    text: Option<String>,
    date: Option<String>,
    timestamp: Option<i64>,
    user_type: Option<String>,
    agent_id: Option<String>,
}
