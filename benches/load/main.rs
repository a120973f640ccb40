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

mod api_client;
mod processes;
mod pulls_and_reads;
mod slow_clients;
mod table;
mod vendor_calls;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::time::sleep;

use api_client::Api;
use processes::{Server, Vendor, new_admin};
use slow_clients::Reads;
use table::{Table, median, thousands};

const CHATS: u64 = 100_000;
const MANY_CHATS: u64 = 400_000;
const DAYS: u32 = 360;
/// The duration of a call when the time of a pull is compared with the time of its calls.
const LATENCY_MS: u64 = 100;
/// The maximum number of unsettled days: today, and the days that ended less than 48 hours ago.
const UNSETTLED_DAYS: u32 = 3;

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
