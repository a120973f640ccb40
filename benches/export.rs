//! Measures the hot path of a LiveLeader pull: one export document with more than a million
//! messages, from a test server in another process that holds it in memory, into Arrow batches of
//! all three reports. For comparison, the same bytes through the bare event loop of quick-xml and
//! through the document reader alone. `bin/bench export` runs it and prints a line `| what |
//! measured | bound
//! |` for each figure.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot measure has nothing better to do"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::Bytes;
use chatlake::clock::Clock;
use chatlake::connectors::liveleader::xml;
use chatlake::connectors::upstream::Upstreams;
use chatlake::connectors::{self, Connector, Menus, PullEvent, PullRequest, Source, Window};
use chatlake::sandbox::{Sandbox, SandboxOptions, liveleader};
use chatlake::secret::Secret;
use futures_util::stream;
use jiff::civil::date;
use jiff::tz::TimeZone;
use quick_xml::Reader;
use quick_xml::events::Event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const CHATS: u64 = 110_000;
const MIN_MESSAGES: u64 = 1_000_000;
/// 2026-11-20 12:00 UTC.
const NOW: i64 = 1_795_176_000_000;
/// All days on which the sandbox has chats: one response contains them all.
const ALL_DAYS: Window = Window {
    from: date(2026, 9, 1),
    to: date(2026, 12, 31),
};
/// The number of measurements of each figure, in turn; the median counts.
const ROUNDS: usize = 5;
/// The argument that starts this program as the test server, followed by the file for the document.
const VENDOR: &str = "be-the-vendor";
/// The size of the pieces that are sent.
const PIECE: usize = 256 << 10;
/// The size of the long document, and of the part of the other document that it repeats.
const LONG: usize = 2 << 30;
const PART: usize = 4 << 20;
const MB: f64 = 1_000_000.0;
const MIB: f64 = 1_048_576.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    if let Some(at) = arguments.iter().position(|argument| argument == VENDOR) {
        return runtime().block_on(serve_as_vendor(Path::new(&arguments[at + 1])));
    }
    // `cargo test --all-targets` runs this file too.
    if arguments.iter().any(|argument| argument == "--bench") {
        let scratch = tempfile::tempdir().unwrap();
        let document = scratch.path().join("document.xml");
        let vendor = Vendor::start(&document);
        runtime().block_on(table(&vendor.address, &document, scratch.path()));
    }
}

/// Prints a line `| what | measured | bound |` for each figure.
async fn table(address: &str, document: &Path, scratch: &Path) {
    let size = std::fs::metadata(document).unwrap().len();
    // Measured first, while this process uses little memory.
    let idle = resident("VmRSS:");
    let (began, used) = (Instant::now(), processor_time());
    let (chats, _) = pull(&format!("{address}/long"), scratch).await;
    let (wall, own, peak) = (
        began.elapsed().as_secs_f64(),
        processor_time() - used,
        resident("VmHWM:"),
    );
    println!(
        "| LiveLeader: a document of {} MiB by the connector, all reports: {chats} chats | \
         {:.0} MB/s, {own:.0} s of processor time; \
         {:.0} MiB above the {idle:.0} MiB at rest | under 64 MiB above |",
        LONG >> 20,
        LONG as f64 / MB / wall,
        peak - idle
    );

    let speeds: [fn(&Path) -> u64; 2] = [bare, read];
    let (mut alone, mut ours, mut own) = ([Vec::new(), Vec::new()], Vec::new(), Vec::new());
    let mut rows = (0, 0);
    let mut peaks = [0.0_f64; 3];
    let mb = size as f64 / MB;
    for _ in 0..ROUNDS {
        for (at, measured) in speeds.iter().enumerate() {
            let began = measure();
            black_box(measured(document));
            alone[at].push(mb / began.elapsed().as_secs_f64());
            peaks[at] = peaks[at].max(resident("VmHWM:"));
        }
        let (began, used) = (measure(), processor_time());
        rows = pull(address, scratch).await;
        ours.push(mb / began.elapsed().as_secs_f64());
        own.push(mb / ((processor_time() - used) / 2.0));
        peaks[2] = peaks[2].max(resident("VmHWM:"));
    }
    assert!(rows.1 >= MIN_MESSAGES, "{rows:?}");
    let [bare, read] = alone.map(|mut speeds| median(&mut speeds));
    let (ours, own) = (median(&mut ours), median(&mut own));
    println!(
        "| LiveLeader: the bare event loop of quick-xml over {mb:.0} MB \
         with {} chats and {} messages | {bare:.0} MB/s; {:.0} MiB |  |",
        rows.0, rows.1, peaks[0]
    );
    println!(
        "| LiveLeader: the document's reader alone | {read:.0} MB/s, {:.0} % of the bare loop; \
         {:.0} MiB |  |",
        read / bare * 100.0,
        peaks[1]
    );
    println!(
        "| LiveLeader: the connector, all reports, over the loopback | \
         {ours:.0} MB/s, {:.0} % of the bare loop, with the test server on the same two cores; \
         computed from the processor time, {own:.0} MB/s on two cores of its own; \
         {:.0} MiB | at least 50 % |",
        ours / bare * 100.0,
        peaks[2]
    );
}

/// Starts a measurement and resets the peak memory.
fn measure() -> Instant {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    Instant::now()
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

/// A value of `/proc/self/status`, in MiB.
fn resident(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1_024.0 / MIB
}

// ---- what is measured ----

fn bare(document: &Path) -> u64 {
    let mut reader = Reader::from_reader(BufReader::with_capacity(
        64 << 10,
        File::open(document).unwrap(),
    ));
    let (mut piece, mut events) = (Vec::new(), 0);
    loop {
        piece.clear();
        if matches!(
            black_box(reader.read_event_into(&mut piece).unwrap()),
            Event::Eof
        ) {
            return events;
        }
        events += 1;
    }
}

fn read(document: &Path) -> u64 {
    let mut chats = 0;
    let take = |chat: &xml::ExportedChat| {
        black_box(chat);
        chats += 1;
        true
    };
    xml::read(File::open(document).unwrap(), None, take).unwrap();
    chats
}

/// The numbers of chats and messages that the connector reads from the document at this address.
async fn pull(address: &str, scratch: &Path) -> (u64, u64) {
    let upstreams =
        Upstreams::new(vec!["127.0.0.1".parse().unwrap()], Clock::stopped_at(NOW)).unwrap();
    let source = Source {
        connector: Connector::LiveLeader,
        fields: BTreeMap::from([("email".to_owned(), liveleader::EMAIL.to_owned())]),
        secrets: BTreeMap::from([("password".to_owned(), Secret::new(liveleader::PASSWORD))]),
        zone: TimeZone::UTC,
        // 0: no rate limit.
        upstream: upstreams
            .for_account("", Connector::LiveLeader, Some(address), 0)
            .unwrap(),
    };
    let request = PullRequest {
        reports: ["chats", "chat_messages", "chat_operators"]
            .map(|id| Connector::LiveLeader.report(id).unwrap())
            .to_vec(),
        menus: Menus::default(),
        zone: TimeZone::UTC,
        extras: Vec::new(),
        previous_window: None,
        second_read: false,
        scratch: scratch.to_owned(),
        windows: vec![ALL_DAYS],
        cancel: CancellationToken::new(),
    };
    let (out, mut come) = mpsc::channel(4);
    let reading = tokio::spawn(async move { connectors::pull(&source, &request, &out).await });
    let mut rows = [0; 3];
    while let Some(pulled) = come.recv().await {
        if let PullEvent::Rows { report, batch } = pulled {
            rows[report] += black_box(batch).num_rows() as u64;
        }
    }
    reading.await.unwrap().unwrap();
    (rows[0], rows[1])
}

// ---- the vendor ----

struct Vendor {
    process: Child,
    address: String,
}

impl Vendor {
    /// Starts the test server. Returns when the document is in its file and can be requested.
    fn start(document: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(VENDOR)
            .arg(document)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        Self {
            process,
            address: address.trim().to_owned(),
        }
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

async fn serve_as_vendor(file: &Path) {
    let document = made(file.to_owned()).await;
    let long = Long::of(&document);
    let router = Router::new()
        .route(
            "/a/Srv",
            get(async move || {
                answer(
                    (0..document.len())
                        .step_by(PIECE)
                        .map(move |at| document.slice(at..document.len().min(at + PIECE))),
                )
            }),
        )
        .route("/long/a/Srv", get(async move || answer(long.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    axum::serve(
        listener.tap_io(|stream| drop(stream.set_nodelay(true))),
        router,
    )
    .await
    .unwrap();
}

/// Creates the sandbox's document and writes it to the file.
async fn made(file: PathBuf) -> Bytes {
    let sandbox = Sandbox::new(
        SandboxOptions {
            chats: CHATS,
            days: 34,
            ..SandboxOptions::default()
        },
        Clock::stopped_at(NOW),
    );
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("a", "export"),
            ("email", liveleader::EMAIL),
            ("password", liveleader::PASSWORD),
        ])
        .extend_pairs([
            ("start", "2026-09-01T00:00:00.000+00:00"),
            ("stop", "2027-01-01T00:00:00.000+00:00"),
        ])
        .finish();
    let answer = sandbox
        .router()
        .oneshot(
            Request::get(format!("/a/Srv?{query}"))
                .body(Body::empty())
                .unwrap(),
        )
        .await
        .unwrap();
    assert!(answer.status().is_success());
    let document = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    std::fs::write(file, &document).unwrap();
    document
}

fn answer(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)));
    Response::builder()
        .header("content-type", "text/xml; charset=utf-8")
        .body(body)
        .unwrap()
}

/// A document that is generated while it is sent: the same chats again and again, with new ids each
/// time.
#[derive(Clone)]
struct Long {
    head: Bytes,
    chats: Bytes,
    /// The positions of ids.
    ids: Vec<usize>,
    round: usize,
}

impl Long {
    fn of(document: &[u8]) -> Self {
        let find = |from: usize, what: &str| {
            document[from..]
                .windows(what.len())
                .position(|bytes| bytes == what.as_bytes())
                .map(|at| from + at)
        };
        let begin = find(0, "<chats>").unwrap() + "<chats>".len();
        let end = find(begin + PART, "</chat>").unwrap() + "</chat>".len();
        let mut ids = Vec::new();
        let mut at = begin;
        while let Some(found) = find(at, "<id>").filter(|found| *found < end) {
            at = found + "<id>".len();
            // Skips white space and a CDATA prefix before the id.
            let bare = document[at..].trim_ascii_start();
            let bare = bare.strip_prefix(b"<![CDATA[").unwrap_or(bare);
            ids.push(document.len() - bare.len() - begin);
        }
        Self {
            head: Bytes::copy_from_slice(&document[..begin]),
            chats: Bytes::copy_from_slice(&document[begin..end]),
            ids,
            round: 0,
        }
    }
}

impl Iterator for Long {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let rounds = LONG.div_ceil(self.chats.len());
        self.round += 1;
        match self.round - 1 {
            0 => Some(self.head.clone()),
            round if round <= rounds => {
                let mut chats = self.chats.to_vec();
                for at in &self.ids {
                    chats[*at..*at + 4].copy_from_slice(format!("{round:04x}").as_bytes());
                }
                Some(chats.into())
            }
            last => (last == rounds + 1).then(|| Bytes::from_static(b"\n</chats>\n")),
        }
    }
}
