//! Downloads whose clients read slowly, a byte a second or nothing: pages do not wait for them,
//! there are only so many, and they end. Over sockets where it matters what the kernel holds back,
//! through the router elsewhere.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use chatlake::actor::{Actor, Role, Scope};
use chatlake::auth::{tokens, users};
use chatlake::clock::Clock;
use chatlake::connection::{Acceptor, AddressLimit};
use chatlake::puller::run::Trigger;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::support::context::TestContext;
use crate::support::exports::{CLASSIC, ExportFixture, HERE, chat, fill, many};
use crate::support::http::read_body;
use crate::support::{NOON, TIMEOUT};

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: it hangs"))
}

/// What `/metrics` says of this name.
async fn gauge(export_fixture: &ExportFixture, name: &str) -> u64 {
    let text = export_fixture.ask("GET", "/metrics", &[], "").await.text;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("chatlake_{name} ")))
        .unwrap_or_else(|| panic!("{name} is not in {text}"));
    line.parse().unwrap()
}

async fn until(export_fixture: &ExportFixture, name: &str, wanted: u64) {
    within(name, async {
        while gauge(export_fixture, name).await != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

async fn export_fixture(per_person: usize, total: usize) -> ExportFixture {
    let change = |config: &mut chatlake::config::Config| {
        (config.downloads_per_person, config.downloads) = (per_person, total)
    };
    ExportFixture::of(
        TestContext::with(Clock::stopped_at(NOON), change).await,
        &many(400),
    )
    .await
}

// ---- over sockets ----

/// The story's server, with the limit on slow clients that the product has.
struct Served {
    export_fixture: ExportFixture,
    address: SocketAddr,
    token: String,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Served {
    async fn new(per_person: usize, total: usize) -> Self {
        let export_fixture = export_fixture(per_person, total).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor::new(
            export_fixture.ctx.clock.clone(),
            export_fixture.ctx.app.metrics.clone(),
            AddressLimit::new(0, Vec::new()),
        );
        let mut server = axum_server::from_tcp(listener)
            .unwrap()
            .acceptor(acceptor)
            .http1_only();
        server.http_builder().http1().max_buf_size(32 << 10);
        let service = export_fixture
            .ctx
            .router
            .clone()
            .into_make_service_with_connect_info::<SocketAddr>();
        let serving = tokio::spawn(server.serve(service));
        let token = export_fixture
            .ctx
            .token(&export_fixture.owner, Scope::Read)
            .await;
        Self {
            export_fixture,
            address,
            token,
            serving,
        }
    }

    fn csv(&self) -> String {
        format!("/api/v1/datasets/{}/data", self.export_fixture.dataset)
    }

    /// Sends a request on a connection that holds little, and reads the first byte of the answer.
    async fn begin(&self, path: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        // The LiveLeader API takes one password, which is in the address.
        let bearer = if path.starts_with("/api/") {
            format!("Authorization: Bearer {}\r\n", self.token)
        } else {
            String::new()
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{bearer}\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        within("the answer", stream.read_exact(&mut [0]))
            .await
            .unwrap();
        stream
    }

    /// The whole of a small answer.
    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.address, self.token
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        within(path, stream.read_to_string(&mut text))
            .await
            .unwrap();
        text
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_that_nobody_reads_delay_no_page_and_end_with_the_right_to_them() {
    let served = Served::new(40, 40).await;
    let export_fixture = &served.export_fixture;
    // More than there are connections to the catalogue, of both kinds.
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(served.begin(&served.csv()).await);
        clients.push(served.begin(&export_fixture.classic(CLASSIC)).await);
    }
    assert_eq!(gauge(export_fixture, "downloads").await, 24);
    // Their rights are checked again and again while their sockets are full.
    for _ in 0..4 {
        export_fixture.ctx.clock.advance(10_000);
        for path in ["/api/v1/datasets", "/readyz", "/sign-in"] {
            let page = served.get(path).await;
            assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        }
    }
    assert_eq!(
        gauge(export_fixture, "downloads").await,
        24,
        "nobody was cut off so soon"
    );
    // A person who is shut out loses all of them, though none of the clients reads.
    users::disable(
        &export_fixture.ctx.app.db,
        &export_fixture.ctx.clock,
        &export_fixture.owner.user,
        None,
    )
    .await
    .unwrap();
    export_fixture.ctx.clock.advance(10_000);
    until(export_fixture, "downloads", 0).await;
    assert_eq!(
        gauge(export_fixture, "slow_clients_disconnected_total").await,
        0
    );
    let mut rest = Vec::new();
    let end = within("the end", clients[0].read_to_end(&mut rest)).await;
    assert!(
        end.is_err() || !rest.ends_with(b"0\r\n\r\n"),
        "what is cut off does not look whole"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_a_byte_a_second_or_nothing_are_disconnected_and_others_are_not() {
    let served = Served::new(4, 4).await;
    let clock = &served.export_fixture.ctx.clock;
    let mut slow = served.begin(&served.csv()).await;
    let _silent = served.begin(&served.csv()).await;
    let idle = served.begin("/readyz").await;
    let mut seconds = 0;
    while gauge(&served.export_fixture, "slow_clients_disconnected_total").await < 2 {
        seconds += 1;
        assert!(seconds < 1_000, "they are still there");
        let _ = slow.read_exact(&mut [0]).await;
        clock.advance(1_000);
    }
    assert!(seconds >= 60, "{seconds} seconds");
    until(&served.export_fixture, "downloads", 0).await;
    // Whoever asks for nothing more is no slow client, and a download that is read is served as
    // ever.
    clock.advance(600_000);
    drop(idle);
    let whole = served.get(&served.csv()).await;
    assert!(
        whole.starts_with("HTTP/1.1 200") && whole.ends_with("0\r\n\r\n"),
        "{}",
        &whole[..200]
    );
    assert_eq!(
        gauge(&served.export_fixture, "slow_clients_disconnected_total").await,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_slow_downloads_than_readers_are_all_served_whole() {
    let served = Served::new(40, 40).await;
    let whole = served.get(&served.csv()).await;
    let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.len();
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(served.begin(&served.csv()).await);
    }
    for mut client in clients {
        let mut text = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        // The connection stays open after the answer.
        while !text.ends_with(b"\r\n0\r\n\r\n") {
            let read = within("a download", client.read(&mut buffer))
                .await
                .unwrap();
            assert!(read > 0, "it broke off after {} bytes", text.len());
            text.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8(text).unwrap();
        let rows = |text: &str| text.matches(",ada@x.test,").count();
        assert_eq!(rows(&text), rows(&whole));
        assert!(text.len() > body(&whole) / 2);
    }
}

// ---- how many ----

async fn csv(export_fixture: &ExportFixture, token: &str) -> Response<Body> {
    let bearer = format!("Bearer {token}");
    export_fixture
        .send(
            HERE,
            "GET",
            &format!("/api/v1/datasets/{}/data", export_fixture.dataset),
            &[("authorization", &bearer)],
            "",
        )
        .await
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8(read_body(answer.into_body()).await).unwrap()
}

/// Lets a request wait for its slot, then a minute pass.
async fn after_a_minute<T>(export_fixture: &ExportFixture, action: impl Future<Output = T>) -> T {
    let (answer, ()) = tokio::join!(action, async {
        until(export_fixture, "downloads_waiting", 1).await;
        export_fixture.ctx.clock.advance(59_000);
        assert_eq!(
            gauge(export_fixture, "downloads_waiting").await,
            1,
            "it waits for a whole minute"
        );
        export_fixture.ctx.clock.advance(1_000);
    });
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn all_downloads_share_the_slots_and_waiting_ones_fail_after_a_minute() {
    let export_fixture = export_fixture(2, 3).await;
    let token = export_fixture
        .ctx
        .token(&export_fixture.owner, Scope::Read)
        .await;
    let mut browser = export_fixture.ctx.signed_in(&export_fixture.owner).await;
    let first = csv(&export_fixture, &token).await;
    let second = export_fixture
        .send(HERE, "GET", &export_fixture.classic(CLASSIC), &[], "")
        .await;
    assert_eq!(
        (first.status(), second.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    // The person has two.
    let refused = after_a_minute(&export_fixture, csv(&export_fixture, &token)).await;
    assert_eq!(
        (
            refused.status(),
            refused.headers()["retry-after"].as_bytes()
        ),
        (StatusCode::TOO_MANY_REQUESTS, b"30".as_slice())
    );
    let said: serde_json::Value = serde_json::from_str(&text(refused).await).unwrap();
    assert_eq!(said["error"]["code"], "too_many_downloads");
    let page = after_a_minute(
        &export_fixture,
        browser.get(&format!("/datasets/{}/download", export_fixture.dataset)),
    )
    .await;
    assert_eq!(
        (page.status, page.headers["retry-after"].as_bytes()),
        (StatusCode::TOO_MANY_REQUESTS, b"30".as_slice())
    );
    assert!(
        page.text
            .contains("you had 2 downloads in progress or the server had 3."),
        "{}",
        page.text
    );
    let exported = after_a_minute(
        &export_fixture,
        export_fixture.ask("GET", &export_fixture.classic(CLASSIC), &[], ""),
    )
    .await;
    assert_eq!(exported.status, 429);
    exported.has_security_headers("an export");
    // What the client has already needs no slot.
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let known = [
        ("authorization", bearer.as_str()),
        ("if-none-match", tag.as_str()),
    ];
    assert_eq!(
        export_fixture
            .ask(
                "GET",
                &format!("/api/v1/datasets/{}/data", export_fixture.dataset),
                &known,
                ""
            )
            .await
            .status,
        304
    );
    // Another person has the last one, and then nobody has any.
    let others = export_fixture
        .ctx
        .token(&export_fixture.admin, Scope::Read)
        .await;
    let third = csv(&export_fixture, &others).await;
    assert_eq!(third.status(), StatusCode::OK);
    assert_eq!(
        after_a_minute(&export_fixture, csv(&export_fixture, &others))
            .await
            .status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    // One that waits begins when another one ends.
    let waits = tokio::join!(csv(&export_fixture, &others), async {
        until(&export_fixture, "downloads_waiting", 1).await;
        drop(second);
    })
    .0;
    assert_eq!(waits.status(), StatusCode::OK);
    assert!(text(waits).await.lines().count() > 400);
    drop((first, third));
    until(&export_fixture, "downloads", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_waited_has_the_newest_rows_and_needs_its_right_still() {
    let export_fixture = export_fixture(1, 1).await;
    let token = export_fixture
        .ctx
        .token(&export_fixture.owner, Scope::Read)
        .await;
    let running = csv(&export_fixture, &token).await;
    let waited = tokio::join!(csv(&export_fixture, &token), async {
        until(&export_fixture, "downloads_waiting", 1).await;
        fill(
            &export_fixture.ctx,
            &export_fixture.dataset,
            &[chat("only", NOON, "Hi")],
        )
        .await;
        drop(running);
    })
    .0;
    assert_eq!(
        (
            waited.status(),
            waited.headers()["x-chatlake-rows"].as_bytes()
        ),
        (StatusCode::OK, b"1".as_slice())
    );
    let (_, late) = tokens::create(
        &export_fixture.ctx.app.db,
        &export_fixture.ctx.clock,
        &export_fixture.owner,
        &short(),
    )
    .await
    .unwrap();
    let refused = tokio::join!(csv(&export_fixture, late.reveal()), async {
        until(&export_fixture, "downloads_waiting", 1).await;
        let all = tokens::list(&export_fixture.ctx.app.db, Some(&export_fixture.owner.user))
            .await
            .unwrap();
        let made = all.iter().find(|token| token.name == "late").unwrap();
        tokens::revoke(
            &export_fixture.ctx.app.db,
            &export_fixture.ctx.clock,
            &made.id,
            None,
        )
        .await
        .unwrap();
        drop(waited);
    })
    .0;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
}

fn short() -> tokens::NewToken {
    tokens::NewToken {
        name: "late".to_owned(),
        scope: Scope::Read,
        days: 1,
    }
}

// ---- pages that follow a run ----

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_are_limited_per_person_and_the_page_works_without() {
    let ctx = TestContext::new().await;
    let olga: Actor = ctx.person("olga", Role::Editor).await;
    let account = ctx.account(&olga, "Support").await;
    let dataset = ctx.dataset(&olga, &account.id, "chat", "Chats").await;
    // Nobody pulls here, so it stays queued.
    let run = ctx
        .app
        .puller
        .run_now(&olga, &dataset, Trigger::Manual)
        .await
        .unwrap();
    let mut browser = ctx.signed_in(&olga).await;
    let path = format!("/runs/{}/events", run.id);
    let cookies: Vec<String> = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let open = async || {
        let request = axum::http::Request::get(&path)
            .header("host", "127.0.0.1:8080")
            .header("cookie", cookies.join("; "));
        tower::ServiceExt::oneshot(ctx.router.clone(), request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = open().await;
        assert_eq!(stream.status(), StatusCode::OK);
        let first = within("the first event", stream.body_mut().frame())
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        assert!(first.starts_with(b"event: progress\n"), "{first:?}");
        streams.push(stream);
    }
    let refused = open().await;
    assert_eq!(
        (
            refused.status(),
            refused.headers().contains_key("retry-after")
        ),
        (StatusCode::TOO_MANY_REQUESTS, true)
    );
    assert_eq!(
        browser
            .get(&format!("/runs/{}/progress", run.id))
            .await
            .status,
        StatusCode::OK,
        "which the page asks for instead"
    );
    assert_eq!(
        browser.get(&format!("/runs/{}", run.id)).await.status,
        StatusCode::OK
    );
    streams.pop();
    assert_eq!(open().await.status(), StatusCode::OK, "there is room again");
}
