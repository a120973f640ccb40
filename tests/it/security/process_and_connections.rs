//! The process leaves no core dump, and limits and checks its connections.

use axum::http::Method;
use chatlake::actor::{Role, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::{until, within};

#[tokio::test(flavor = "multi_thread")]
async fn no_command_leaves_a_core_dump() {
    let data_dir = DataDir::new();
    // Starts it like a shell with "ulimit -c unlimited".
    let server = data_dir.spawn_under(
        "ulimit -c unlimited 2>/dev/null || ulimit -c $(ulimit -Hc)",
        &[],
    );
    server.ready().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "{line}"
    );
    // What belongs to root cannot be read by the user that runs it: memory, environment, open
    // files.
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(format!("/proc/{}/mem", server.id())).unwrap(),
    );
    assert_eq!(owner, 0, "it is dumpable");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_all_connections() {
    let data_dir = DataDir::new();
    let server = data_dir
        .serve_with(&["--connections-per-address", "8"])
        .await;
    let address = server.address();
    let is_served = async || {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(
                format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.starts_with("HTTP/1.1 200").then_some(())
    };
    // The open connections of the HTTP client of the test end first.
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let from = |last: u8| async move {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        // A refused connection may already be closed here.
        socket.connect(([127, 0, 0, 1], port).into()).await.ok()
    };
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.extend(from(2).await);
    }
    // A client with another address is still served.
    within(
        "another address",
        until("another address is served", is_served),
    )
    .await;
    until("72 were refused", async || {
        let metrics = server
            .send("GET", "/metrics", "", None)
            .await
            .text()
            .await
            .unwrap();
        metrics
            .contains("chatlake_refused_connections_total 72\n")
            .then_some(())
    })
    .await;
    // The accepted connections wait for a request.
    let mut served = 0;
    for stream in &mut idle {
        let written = stream
            .write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
            .await;
        served += usize::from(
            written.is_ok()
                && within("an answer", stream.read_exact(&mut [0]))
                    .await
                    .is_ok(),
        );
    }
    assert_eq!(served, 8);
    // When they close, the address can connect again.
    drop(idle);
    until("the address is served again", async || {
        let mut stream = from(2).await?;
        stream
            .write_all(
                format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_with_a_bare_line_feed_is_refused_and_its_connection_closed() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let address = server.address();
    let good = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    for bad in [
        format!("GET /healthz HTTP/1.1\nHost: {address}\n\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nX-A: b\n\r\n"),
    ] {
        // Alone, and after a valid request on the same connection.
        for first in ["", &good] {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            if !first.is_empty() {
                stream.write_all(first.as_bytes()).await.unwrap();
                let mut answer = [0; 15];
                within("the first answer", stream.read_exact(&mut answer))
                    .await
                    .unwrap();
                assert_eq!(&answer, b"HTTP/1.1 200 OK");
                until("all of it is read", async || {
                    let mut some = [0; 1_024];
                    stream.try_read(&mut some).is_err().then_some(())
                })
                .await;
            }
            stream.write_all(bad.as_bytes()).await.unwrap();
            let mut text = String::new();
            within("the end", stream.read_to_string(&mut text))
                .await
                .unwrap();
            assert!(text.contains("HTTP/1.1 400 Bad Request"), "{bad:?}: {text}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_content_type_and_a_too_large_body_are_distinguished() {
    let ctx = TestContext::new().await;
    let (ada, mut browser) = ctx.signed_in_person("ada", Role::Admin).await;
    let bearer = format!("Bearer {}", ctx.token(&ada, Scope::Manage).await);
    let origin = ("origin", "http://127.0.0.1:8080");
    let long = "x".repeat(70_000);
    for (kind, body, wanted) in [
        ("text/plain", "name=Ada", 415),
        ("application/json", "{}", 415),
        ("multipart/form-data; boundary=x", "--x--", 415),
        // Like a chunked body, without a length.
        ("application/x-www-form-urlencoded", long.as_str(), 413),
    ] {
        let page = browser
            .send(
                Method::POST,
                "/me/name",
                Some(body.to_owned()),
                &[("content-type", kind), origin],
            )
            .await;
        assert_eq!(page.status.as_u16(), wanted, "form {kind}: {}", page.text);
    }
    for (kind, body, wanted) in [
        ("text/plain", "{}", 415),
        ("application/x-www-form-urlencoded", "name=x", 415),
        ("application/json", "{", 400),
        ("application/json", "{\"nonsense\":1}", 422),
        ("application/json", long.as_str(), 413),
    ] {
        let page = ctx
            .browser()
            .send(
                Method::POST,
                "/api/v1/accounts",
                Some(body.to_owned()),
                &[("content-type", kind), ("authorization", &bearer)],
            )
            .await;
        assert_eq!(page.status.as_u16(), wanted, "api {kind}: {}", page.text);
    }
}

#[tokio::test]
async fn a_host_is_served_by_its_whole_name_and_every_answer_forbids_frames() {
    let ctx = TestContext::new().await;
    for (host, wanted) in [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("127.0.0.1:8080.evil.test", 421),
        ("127.0.0.1:evil.test", 421),
        ("127.0.0.1:", 421),
        ("127.0.0.1:80:80", 421),
        ("127.0.0.1.evil.test", 421),
        ("localhost.evil.test", 421),
        ("ann@127.0.0.1", 421),
        ("[::1].evil.test", 421),
        ("[::1]evil.test:80", 421),
        ("127.0.0.1:99999", 421),
    ] {
        let request = axum::http::Request::get("/sign-in")
            .header("host", host)
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = tower::ServiceExt::oneshot(ctx.router.clone(), request)
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), wanted, "{host}");
        assert_eq!(answer.headers()["x-frame-options"], "DENY", "{host}");
    }
}
