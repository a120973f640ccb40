//! How a server ends after a signal, and what it has saved by then.

use std::time::{Duration, Instant};

use chatlake::sandbox::faults::{Fault, FaultKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::{connect, read_to_end};
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_stalled_downloads_idle_connections_and_half_sent_heads_within_thirty_seconds()
{
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(4_000).await);
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let run = server.run(&dataset, &token).await;
    assert_eq!(server.over(&run, &token).await["state"], "succeeded");
    let whole = server.csv(&dataset, &token).await;

    let address = server.address();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stalled = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /api/v1/datasets/{dataset}/data HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    stalled.read_exact(&mut [0; 1024]).await.unwrap();
    let mut idle = connect(&address).await;
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    let mut half = connect(&address).await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nHo")
        .await
        .unwrap();
    // A pull that waits for the vendor.
    vendor
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Late { ms: 120_000 })]);
    let hanging = server.run(&dataset, &token).await;
    until("it runs", async || {
        (server.run_state(&hanging, &token).await == "running").then_some(())
    })
    .await;

    let began = Instant::now();
    server.terminate();
    assert_eq!(
        server.exit(Duration::from_secs(30)).await,
        0,
        "{}",
        server.err()
    );
    assert!(
        began.elapsed() < Duration::from_secs(28),
        "{:?}",
        began.elapsed()
    );
    let received = read_to_end(&mut stalled).await;
    assert!(
        received.len() + 1024 < whole.bytes,
        "the download was not stalled: {} of {}",
        received.len(),
        whole.bytes
    );
    assert!(
        !received.ends_with("0\r\n\r\n"),
        "a download that was cut must not look whole"
    );

    vendor.sandbox.faults().clear();
    let again = data_dir.serve().await;
    assert_eq!(
        again.over(&hanging, &token).await["state"],
        "succeeded",
        "a run that was given back goes on"
    );
    assert_eq!(
        again.get(&format!("/runs/{hanging}"), &token).await.1["attempt"],
        1,
        "and has used up no attempt"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_were_read_before_sigterm_are_not_requested_again() {
    let (data_dir, vendor) = (
        DataDir::new(),
        LocalSandbox::still(40, Duration::ZERO).await,
    );
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let whole = server
        .over(&server.run(&dataset, &token).await, &token)
        .await;
    // The requested days.
    let days = || {
        vendor
            .sandbox
            .calls()
            .iter()
            .filter_map(|call| call.argument("date_from"))
            .collect::<std::collections::BTreeSet<_>>()
    };
    let all = days();
    assert_eq!(all.len() as u64, whole["windows_done"].as_u64().unwrap());
    // The pull waits in the middle.
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 120_000 })
            .on("/chats")
            .skip(10),
    ]);
    let run = server.run(&dataset, &token).await;
    let done = until("some days are done", async || {
        let (_, run) = server.get(&format!("/runs/{run}"), &token).await;
        run["windows_done"].as_u64().filter(|done| *done >= 1)
    })
    .await;
    server.stop().await;
    vendor.sandbox.faults().clear();
    vendor.sandbox.forget_calls();
    let again = data_dir.serve().await;
    let over = again.over(&run, &token).await;
    assert_eq!(
        (
            over["state"].as_str(),
            over["attempt"].as_u64(),
            &over["rows"]
        ),
        (Some("succeeded"), Some(1), &whole["rows"]),
        "{over}"
    );
    assert_eq!(
        (&over["read"], &over["windows_done"]),
        (&whole["read"], &whole["windows_done"]),
        "{over}"
    );
    let requested = days();
    let again: Vec<_> = all
        .iter()
        .take(done as usize)
        .filter(|day| requested.contains(*day))
        .collect();
    assert!(
        again.is_empty(),
        "of {done} days that were done, these were asked for again: {again:?}"
    );
    assert!(!requested.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_server_at_once() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(4_000).await);
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    let run = server.run(&dataset, &token).await;
    server.over(&run, &token).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let mut stalled = socket
        .connect(server.address().parse().unwrap())
        .await
        .unwrap();
    let request = format!(
        "GET /api/v1/datasets/{dataset}/data HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
        server.address()
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    stalled.read_exact(&mut [0; 1024]).await.unwrap();
    server.terminate();
    until("it is stopping", async || {
        server.err().contains("stopping").then_some(())
    })
    .await;
    server.terminate();
    assert_eq!(server.exit(Duration::from_secs(5)).await, 130);
}
