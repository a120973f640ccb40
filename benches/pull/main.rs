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

mod cached_vendor;
mod connector_bench;
mod plain_chats;
mod process_figures;

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

use cached_vendor::{serve, serve_as_vendor};
use connector_bench::Bench;
use process_figures::{median, peak_memory, processor_time};

const CHATS: u64 = 20_000;
/// The number of chats in the table.
const TABLE_CHATS: u64 = 100_000;
const DAYS: u32 = 34;
/// The number of measurements of each figure, in turn; the median counts.
const ROUNDS: usize = 5;
/// The argument that starts this program as the test server.
const VENDOR: &str = "be-the-vendor";
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
            "| {name} by the connector, from memory: {rows} rows of {TABLE_CHATS} chats | \
             {ours:.0} rows/s with the test server on the same two cores; \
             computed from the processor time, {own:.0} rows/s on two cores of its own; \
             {peak:.0} MiB | at least {goal} rows/s, under 120 MiB |"
        );
        println!(
            "| The same, with the second read of days that are not settled | {twice:.0} rows/s | |"
        );
        println!(
            "| The same pages into plain structs | \
             {plain:.0} rows/s; the connector reaches {:.0} % of that | at least 50 % |",
            ours / plain * 100.0
        );
    }
    vendor.kill().unwrap();
    vendor.wait().unwrap();
}
