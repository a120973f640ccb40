//! Limits of the time and of the size of a request.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::data_dir::DataDir;
use crate::support::server::{Server, connect, read_to_end};

fn assert_ten_seconds_since(began: Instant) {
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(13)).contains(&took),
        "{took:?}"
    );
}

async fn check_half_sent_heads(server: &Server) {
    let began = Instant::now();
    let mut halves = Vec::new();
    for _ in 0..50 {
        let mut half = connect(&server.address()).await;
        half.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127")
            .await
            .unwrap();
        halves.push(half);
    }
    assert_eq!(
        server.send("GET", "/healthz", "", None).await.status(),
        200,
        "the others are served meanwhile"
    );
    for half in &mut halves {
        let said = read_to_end(half).await;
        assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    }
    assert_ten_seconds_since(began);
}

/// A connection that got an answer and sends no further request.
async fn check_idle_connection(address: &str) {
    let mut idle = connect(address).await;
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    let began = Instant::now();
    read_to_end(&mut idle).await;
    assert_ten_seconds_since(began);
}

/// A connection on which nothing was sent.
async fn check_silent_connection(address: &str) {
    let mut silent = connect(address).await;
    let began = Instant::now();
    let said = read_to_end(&mut silent).await;
    assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
    assert_ten_seconds_since(began);
}

/// A form that arrives at one byte per second.
async fn check_dripping_body(address: &str) {
    let mut slow = connect(address).await;
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nHost: {address}\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let (began, mut said) = (Instant::now(), Vec::<u8>::new());
    let mut drops = tokio::time::interval(Duration::from_secs(1));
    let (mut from, mut to) = slow.split();
    loop {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the connection stays open"
        );
        tokio::select! {
            read = from.read_buf(&mut said) => if !read.is_ok_and(|bytes| bytes > 0) { break },
            _ = drops.tick() => drop(to.write_all(b"x").await),
        }
    }
    let (took, said) = (began.elapsed(), String::from_utf8_lossy(&said).into_owned());
    assert!(
        (Duration::from_secs(29)..Duration::from_secs(35)).contains(&took),
        "{took:?}"
    );
    assert!(said.starts_with("HTTP/1.1 4"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_never_complete_time_out() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let address = server.address();
    // All at the same time, since each of them only waits.
    tokio::join!(
        check_half_sent_heads(&server),
        check_idle_connection(&address),
        check_silent_connection(&address),
        check_dripping_body(&address)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_too_large_are_refused() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let address = server.address();
    let many: String = (0..150).map(|n| format!("X-{n}: 1\r\n")).collect();
    let heads = [
        (
            "a long head",
            format!(
                "GET /healthz HTTP/1.1\r\nHost: {address}\r\nX-Long: {}\r\n\r\n",
                "x".repeat(40 * 1024)
            ),
        ),
        (
            "many heads",
            format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n{many}\r\n"),
        ),
        (
            "a long address",
            format!(
                "GET /{} HTTP/1.1\r\nHost: {address}\r\n\r\n",
                "x".repeat(40 * 1024)
            ),
        ),
        (
            "a long body",
            format!(
                "POST /api/v1/accounts HTTP/1.1\r\nHost: {address}\r\nContent-Length: 70000\r\n\r\n"
            ),
        ),
    ];
    for (name, request) in heads {
        let mut stream = connect(&address).await;
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 4"), "{name}: {answer}");
    }
    // Without a length: the limit applies to the bytes that arrive.
    let mut stream = connect(&address).await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let head = format!(
        "POST /api/v1/accounts HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    for _ in 0..8 {
        // The server may close the connection before everything is sent.
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
