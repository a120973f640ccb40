//! The load bench of `bin/bench`: runs the release binary with its own sandbox as vendor over
//! loopback. Prints a line `| what | measured | bound |` for each figure and fails if one is beyond
//! its bound. Resource usage is read from `/proc`; the peak is reset before each step, so that
//! every step shows its own. `--downloads` measures only downloads.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot measure has nothing better to do"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "it is a client of the server, and its clock is a stopwatch"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

const CHATS: u64 = 100_000;
const MANY_CHATS: u64 = 400_000;
const DAYS: u32 = 360;
/// The duration of a call when the time of a pull is compared with the time of its calls, and the
/// number of concurrent calls.
const LATENCY_MS: u64 = 100;
const AT_ONCE: f64 = 8.0;
/// The maximum number of unsettled days: today, and the days that ended less than 48 hours ago.
const UNSETTLED_DAYS: u32 = 3;
/// The number of slow clients (of ten people), and the seconds for which they are observed.
const SLOW_CLIENTS: usize = 500;
const SLOW_SECONDS: u64 = 90;
/// The default rate limit of an account.
const PER_MINUTE: f64 = 180.0;
const PASSWORD: &str = "a long enough passphrase 7";
const MIB: f64 = 1_048_576.0;

fn main() -> ExitCode {
    // `cargo test --all-targets` runs this file too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let missed = runtime.block_on(measure());
    for line in &missed {
        eprintln!("beyond its bound: {line}");
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn measure() -> Vec<String> {
    let mut table = Table::new();
    let (dir, mut starts) = (tempfile::tempdir().unwrap(), Vec::new());
    let downloads_alone = std::env::args().any(|argument| argument == "--downloads");
    for n in 0..if downloads_alone { 1 } else { 5 } {
        let data = dir.path().join(format!("start-{n}"));
        let began = Instant::now();
        let server = Server::start(&data).await;
        starts.push(began.elapsed().as_secs_f64() * 1_000.0);
        drop(server);
    }
    table.line(
        "From start to ready, new data directory (median of 5)",
        &format!("{:.0} ms", median(&mut starts)),
        median(&mut starts),
        Some((1_000.0, "1,000 ms")),
    );

    let data = dir.path().join("data");
    let server = Server::start(&data).await;
    let api = Api::new(&server, &data);
    let vendor = Vendor::start(CHATS);
    let account = api.account(&vendor).await;
    sleep(Duration::from_secs(3)).await;
    table.memory(
        "Memory at rest, before the first pull",
        server.memory("VmRSS"),
        60.0,
    );

    let chats = api.dataset(&account, "chat").await;
    let messages = {
        table
            .pull(&server, &api, &chats, "Chat", CHATS * 9 / 10)
            .await;
        let messages = api.dataset(&account, "chat_messages").await;
        table
            .pull(
                &server,
                &api,
                &messages,
                "Chat Messages of the same chats",
                1_000_000,
            )
            .await;
        messages
    };
    table.download(&server, &api, &chats, "Chat").await;
    table
        .download(&server, &api, &messages, "Chat Messages")
        .await;
    table.pages(&server, &api, &messages, "").await;
    let tokens: Vec<String> = (0..10)
        .map(|n| new_admin(&data, &format!("reader-{n}@bench.test")))
        .collect();
    for reads in [Reads::Nothing, Reads::Slowly, Reads::AByteASecond] {
        table
            .slow_clients(&server, &api, &messages, &tokens, reads)
            .await;
    }
    drop(vendor);
    if downloads_alone {
        return table.missed;
    }

    // The same number of pages with many and with few chats per day.
    for (chats, days) in [(25_000, 30), (25_000, 360), (2_300, 30)] {
        let vendor = Vendor::with(chats, days, &["--delay", &LATENCY_MS.to_string()]);
        table.latency(&api, &vendor, days).await;
    }
    let vendor = Vendor::with(9_000, 30, &["--requests-per-minute", "180"]);
    table.pace(&api, &vendor).await;
    drop(vendor);

    let vendor = Vendor::start(MANY_CHATS);
    let account = api.account(&vendor).await;
    let many = api.dataset(&account, "chat_messages").await;
    table
        .pull(
            &server,
            &api,
            &many,
            &format!("Chat Messages of {} chats", thousands(MANY_CHATS)),
            4_000_000,
        )
        .await;
    sleep(Duration::from_secs(3)).await;
    table.line(
        "Memory at rest, after all of this",
        &format!("{:.0} MiB", server.memory("VmRSS")),
        0.0,
        None,
    );
    drop(server);

    // The same rows without checksums: shows what the check of each block costs a page.
    forget_checksums(&data).await;
    let server = Server::start(&data).await;
    let api = Api {
        base: format!("{}api/v1", server.url),
        ..api
    };
    table
        .pages(&server, &api, &messages, ", without checksums")
        .await;
    table.missed
}

/// Removes the checksums of all segments from the catalogue of a stopped server.
async fn forget_checksums(data: &Path) {
    let options = SqliteConnectOptions::new().filename(data.join("chatlake.db"));
    let mut catalogue = SqliteConnection::connect_with(&options).await.unwrap();
    let changed = sqlx::query("UPDATE segments SET checksums = NULL")
        .execute(&mut catalogue)
        .await
        .unwrap();
    assert!(changed.rows_affected() > 0);
    catalogue.close().await.unwrap();
}

// ---- what is printed ----

struct Table {
    missed: Vec<String>,
}

impl Table {
    fn new() -> Self {
        println!("| what | measured | bound |\n| --- | --- | --- |");
        Self { missed: Vec::new() }
    }

    fn line(&mut self, what: &str, measured: &str, value: f64, bound: Option<(f64, &str)>) {
        println!(
            "| {what} | {measured} | {} |",
            bound.map_or(String::new(), |(_, words)| if words.starts_with("none") {
                words.to_owned()
            } else {
                format!("under {words}")
            })
        );
        std::io::stdout().flush().unwrap();
        if bound.is_some_and(|(most, _)| value >= most) {
            self.missed.push(format!("{what}: {measured}"));
        }
    }

    /// The time from the first call of a pull to its last one, compared with the minimum for that
    /// number of calls: for settled days, and for the newest days, which are read twice.
    async fn latency(&mut self, api: &Api, vendor: &Vendor, days: u32) {
        let account = api.account(vendor).await;
        let settled = api
            .dataset_between(&account, "chat", days, UNSETTLED_DAYS)
            .await;
        self.latency_of(
            api,
            vendor,
            &settled,
            &format!("{days} settled days"),
            Some((1.3, "1.3 times")),
        )
        .await;
        let newest = api
            .dataset_between(&account, "chat", UNSETTLED_DAYS - 1, 0)
            .await;
        self.latency_of(
            api,
            vendor,
            &newest,
            &format!("the newest {UNSETTLED_DAYS} days, read twice"),
            None,
        )
        .await;
    }

    async fn latency_of(
        &mut self,
        api: &Api,
        vendor: &Vendor,
        dataset: &str,
        what: &str,
        bound: Option<(f64, &str)>,
    ) {
        vendor.forget_calls(api).await;
        let run = api.run(dataset).await;
        let calls = vendor.calls(api).await;
        assert!(
            bound.is_none() || run["completeness"] == "verified",
            "{run}"
        );
        let least = calls.len() as f64 * LATENCY_MS as f64 / AT_ONCE / 1_000.0;
        let seconds =
            (calls[calls.len() - 1].0 - calls[0].0) as f64 / 1_000.0 + LATENCY_MS as f64 / 1_000.0;
        self.line(
            &format!(
                "Chat at {LATENCY_MS} ms per call: {} calls over {what}, {AT_ONCE:.0} at once",
                thousands(calls.len() as u64)
            ),
            &format!(
                "{seconds:.2} s, {:.2} times pages x latency / concurrency",
                seconds / least
            ),
            seconds / least,
            bound,
        );
    }

    /// The share of its rate limit that an account uses with a vendor that counts calls.
    async fn pace(&mut self, api: &Api, vendor: &Vendor) {
        let account = api.account_in_pace(vendor, PER_MINUTE as u32).await;
        let dataset = api.dataset_of(&account, "chat", 30).await;
        api.run(&dataset).await;
        let calls = vendor.calls(api).await;
        let refused = calls.iter().filter(|(_, status)| *status == 429).count();
        let minutes = (calls[calls.len() - 1].0 - calls[0].0) as f64 / 60_000.0;
        let used = calls.len() as f64 / minutes.max(1.0) / PER_MINUTE * 100.0;
        self.line(
            &format!(
                "A limit of {PER_MINUTE} calls per minute: {} calls in {:.0} s",
                calls.len(),
                minutes * 60.0
            ),
            &format!("{used:.0} % of the limit, {refused} refused"),
            f64::from(u32::from(used < 95.0 || refused > 0)),
            Some((1.0, "none refused, at least 95 %")),
        );
    }

    fn memory(&mut self, what: &str, mib: f64, most: f64) {
        self.line(
            what,
            &format!("{mib:.0} MiB"),
            mib,
            Some((most, &format!("{most:.0} MiB"))),
        );
    }

    /// A run from its request to its commit.
    async fn pull(&mut self, server: &Server, api: &Api, dataset: &str, name: &str, least: u64) {
        server.forget_peak();
        let began = Instant::now();
        let run = api.run(dataset).await;
        let seconds = began.elapsed().as_secs_f64();
        let rows = run["rows"].as_u64().unwrap();
        assert!(
            rows >= least && run["verified"] == json!(true) && run["misfits"] == json!(0),
            "{run}"
        );
        let rate = thousands((rows as f64 / seconds) as u64);
        self.line(
            &format!(
                "{name}: {} rows from {} calls",
                thousands(rows),
                thousands(run["calls"].as_u64().unwrap())
            ),
            &format!("{rate} rows/s, {seconds:.1} s"),
            0.0,
            None,
        );
        self.memory(
            &format!("{name}: peak memory"),
            server.memory("VmHWM"),
            256.0,
        );
    }

    /// The whole DataSet as CSV.
    async fn download(&mut self, server: &Server, api: &Api, dataset: &str, name: &str) {
        server.forget_peak();
        let mut best: Option<(f64, f64, u64, u64)> = None;
        for _ in 0..3 {
            let began = Instant::now();
            let mut answer = api
                .request("GET", &format!("/datasets/{dataset}/data?format=csv"))
                .send()
                .await
                .unwrap()
                .error_for_status()
                .unwrap();
            let rows: u64 = answer.headers()["x-chatlake-rows"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            let (mut first, mut bytes) = (None, 0);
            while let Some(chunk) = answer.chunk().await.unwrap() {
                first.get_or_insert_with(|| began.elapsed().as_secs_f64() * 1_000.0);
                bytes += chunk.len() as u64;
            }
            let one = (began.elapsed().as_secs_f64(), first.unwrap(), bytes, rows);
            best = Some(best.filter(|best| best.0 < one.0).unwrap_or(one));
        }
        let (seconds, first, bytes, rows) = best.unwrap();
        let megabytes = bytes as f64 / 1e6;
        let what = format!(
            "{name} as CSV: {} rows, {megabytes:.0} MB (best of 3)",
            thousands(rows)
        );
        self.line(
            &what,
            &format!(
                "{:.0} MB/s, first byte after {first:.0} ms",
                megabytes / seconds
            ),
            0.0,
            None,
        );
        self.memory(
            &format!("{name} as CSV: peak memory"),
            server.memory("VmHWM"),
            256.0,
        );
    }

    /// The first and the last 100 rows, and all rows page by page. `how`: a description of the
    /// segments for the output.
    async fn pages(&mut self, server: &Server, api: &Api, dataset: &str, how: &str) {
        server.forget_peak();
        let rows = format!("/datasets/{dataset}/rows");
        let (mut cursor, mut seen, began) = (String::new(), 0, Instant::now());
        loop {
            let page = api.get(&format!("{rows}?limit=1000{cursor}")).await;
            seen += page["items"].as_array().unwrap().len() as u64;
            let Some(next) = page["next"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        let walked = thousands((seen as f64 / began.elapsed().as_secs_f64()) as u64);
        for (which, cursor) in [("first", ""), ("last", cursor.as_str())] {
            let mut times = Vec::new();
            for _ in 0..41 {
                let began = Instant::now();
                let page = api.get(&format!("{rows}?limit=100{cursor}")).await;
                times.push(began.elapsed().as_secs_f64() * 1_000.0);
                assert!(!page["items"].as_array().unwrap().is_empty());
            }
            let what = format!(
                "API: a page of 100 rows, the {which} of {} (median of 41){how}",
                thousands(seen)
            );
            self.line(&what, &format!("{:.1} ms", median(&mut times)), 0.0, None);
        }
        self.line(
            &format!("API: all {} rows, 1,000 per page{how}", thousands(seen)),
            &format!("{walked} rows/s"),
            0.0,
            None,
        );
        self.memory(
            &format!("API pages{how}: peak memory"),
            server.memory("VmHWM"),
            256.0,
        );
    }
}

/// How a client of a download reads.
#[derive(Clone, Copy)]
enum Reads {
    Nothing,
    Slowly,
    AByteASecond,
}

impl Reads {
    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "read nothing",
            Self::Slowly => "read 20 kB per second",
            Self::AByteASecond => "read one byte per second",
        }
    }

    fn bytes_a_second(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Slowly => 20_000,
            Self::AByteASecond => 1,
        }
    }
}

impl Table {
    /// Many clients start a download and read slowly or not at all: measures the server's memory,
    /// and the response time of pages meanwhile.
    async fn slow_clients(
        &mut self,
        server: &Server,
        api: &Api,
        dataset: &str,
        tokens: &[String],
        reads: Reads,
    ) {
        let before = server.memory("VmRSS");
        server.forget_peak();
        let address = server
            .url
            .strip_prefix("http://")
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        let mut clients = Vec::new();
        for token in tokens.iter().cycle().take(SLOW_CLIENTS) {
            let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            let head = format!(
                "GET /api/v1/datasets/{dataset}/data HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            clients.push(stream);
        }
        let (began, mut times, mut second) = (Instant::now(), Vec::new(), 0);
        let mut buffer = vec![0; reads.bytes_a_second()];
        while began.elapsed() < Duration::from_secs(SLOW_SECONDS) {
            if began.elapsed().as_secs() >= second {
                second += 1;
                // Reads what has arrived; disconnected clients have nothing.
                clients
                    .iter()
                    .for_each(|client| drop(client.try_read(&mut buffer)));
            }
            for path in [
                "/datasets".to_owned(),
                format!("/datasets/{dataset}/rows?limit=20"),
            ] {
                let sent_at = Instant::now();
                api.get(&path).await;
                times.push(sent_at.elapsed().as_secs_f64() * 1_000.0);
            }
            sleep(Duration::from_millis(20)).await;
        }
        let peak = server.memory("VmHWM") - before;
        times.sort_by(f64::total_cmp);
        let slowest = times[times.len() * 99 / 100];
        drop(clients);
        sleep(Duration::from_secs(10)).await;
        let after = server.memory("VmRSS") - before;
        let what = format!("{SLOW_CLIENTS} clients that {}", reads.words());
        self.line(
            &format!("{what}: memory growth, at most"),
            &format!("{peak:.0} MiB"),
            peak,
            Some((200.0, "200 MiB")),
        );
        self.line(
            &format!("{what}: ten seconds after they disconnected"),
            &format!("{after:.0} MiB more than before"),
            after,
            Some((100.0, "100 MiB")),
        );
        self.line(
            &format!("{what}: API response time, 99th percentile"),
            &format!("{slowest:.0} ms"),
            slowest,
            Some((100.0, "100 ms")),
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

// ---- what is measured ----

fn chatlake() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatlake"));
    // Removes settings from the environment, so that they do not affect the server.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CHATLAKE_")) {
        command.env_remove(name);
    }
    command
}

/// Waits for the line that contains `before` and returns the word after it.
fn word_after(child: &mut Child, before: &str) -> String {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.contains(before))
        .expect("it says where it listens");
    line.split(before)
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

struct Server {
    child: Child,
    /// Ends with a slash.
    url: String,
}

impl Server {
    async fn start(data: &Path) -> Self {
        let mut child = chatlake()
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--allow-upstream",
                "127.0.0.1",
                "--connections-per-address",
                "0",
                "--log",
                "warn",
                "--data",
            ])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let url = word_after(&mut child, "Chatlake is ready at ");
        let server = Self { child, url };
        let address = server
            .url
            .strip_prefix("http://")
            .unwrap()
            .trim_end_matches('/');
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let head = BufReader::new(stream).lines().next().unwrap().unwrap();
        assert!(head.contains(" 200 "), "/readyz answers {head}");
        server
    }

    /// `VmRSS` (current) or `VmHWM` (peak), in MiB.
    fn memory(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1_024.0 / MIB
    }

    fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

struct Vendor {
    child: Child,
    url: String,
}

impl Vendor {
    fn start(chats: u64) -> Self {
        Self::with(chats, DAYS, &[])
    }

    fn with(chats: u64, days: u32, more: &[&str]) -> Self {
        let mut child = chatlake()
            .args([
                "sandbox",
                "--listen",
                "127.0.0.1:0",
                "--chats",
                &chats.to_string(),
                "--days",
                &days.to_string(),
            ])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let url = word_after(&mut child, "LiveChat at ");
        Self { child, url }
    }

    async fn forget_calls(&self, api: &Api) {
        api.client
            .delete(format!("{}/__calls", self.url))
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }

    /// Time in milliseconds and status of every call for chats, in order.
    async fn calls(&self, api: &Api) -> Vec<(i64, u64)> {
        let response: Value = serde_json::from_slice(
            &api.client
                .get(format!("{}/__calls", self.url))
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap(),
        )
        .unwrap();
        let chats = response["calls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|call| call["path"] == "/chats");
        let mut calls: Vec<_> = chats
            .map(|call| {
                (
                    call["at"].as_i64().unwrap(),
                    call["status"].as_u64().unwrap(),
                )
            })
            .collect();
        calls.sort_unstable();
        calls
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Adds an admin and returns a token of theirs.
fn new_admin(data: &Path, email: &str) -> String {
    let command = |arguments: &[&str], input: &str| {
        let mut child = chatlake()
            .args(arguments)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "chatlake {} ends with {}",
            arguments.join(" "),
            output.status
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    command(
        &[
            "user", "add", "--email", email, "--name", "Owner", "--role", "admin",
        ],
        &format!("{PASSWORD}\n"),
    );
    command(
        &[
            "token", "create", "--user", email, "--name", "bench", "--scope", "manage",
        ],
        "",
    )
}

/// A client of the server's API with an admin token.
struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    fn new(server: &Server, data: &Path) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .no_gzip()
            .build()
            .unwrap();
        Self {
            client,
            base: format!("{}api/v1", server.url),
            token: new_admin(data, "owner@bench.test"),
        }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method.parse().unwrap(), format!("{}{path}", self.base))
            .bearer_auth(&self.token)
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        assert!(
            status.is_success(),
            "{method} {path} answers {status}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).await
    }

    /// Runs a DataSet and returns the run after it has succeeded.
    async fn run(&self, dataset: &str) -> Value {
        let run = self
            .ask(
                "POST",
                &format!("/datasets/{dataset}/runs"),
                Some(json!({})),
            )
            .await;
        loop {
            sleep(Duration::from_millis(10)).await;
            let run = self
                .get(&format!("/runs/{}", run["id"].as_str().unwrap()))
                .await;
            match run["state"].as_str().unwrap() {
                "queued" | "running" => {}
                "succeeded" => return run,
                other => panic!("the run is {other}: {}", run["error"]),
            }
        }
    }

    async fn account(&self, vendor: &Vendor) -> String {
        self.account_in_pace(vendor, 60_000).await
    }

    async fn account_in_pace(&self, vendor: &Vendor, per_minute: u32) -> String {
        let new = json!({
            "connector": "livechat", "name": "Sandbox", "api_url": vendor.url, "requests_per_minute": per_minute,
            "credentials": {"username": "agent@sandbox.test", "api_key": "sandbox-key"},
        });
        self.ask("POST", "/accounts", Some(new)).await["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn dataset(&self, account: &str, report: &str) -> String {
        self.dataset_of(account, report, DAYS).await
    }

    async fn dataset_of(&self, account: &str, report: &str, days: u32) -> String {
        self.dataset_between(account, report, days, 0).await
    }

    async fn dataset_between(
        &self,
        account: &str,
        report: &str,
        start_days: u32,
        end_days: u32,
    ) -> String {
        let menus = json!({"start_days": start_days, "end_days": end_days});
        let new = json!({"name": report, "account_id": account, "report": report, "menus": menus});
        self.ask("POST", "/datasets", Some(new)).await["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}
