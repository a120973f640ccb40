//! Clients that read slowly or nothing delay no page, over sockets because the kernel buffers
//! answers.

use std::net::SocketAddr;

use chatlake::actor::Scope;
use chatlake::auth::users;
use chatlake::connection::{Acceptor, AddressLimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::export_fixture;
use super::gauge;
use super::until;
use crate::support::exports::{CLASSIC, ExportFixture};
use crate::support::within;

/// A server on a socket, with the limit for slow clients that the product has.
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

    /// Sends a request on a connection with a small buffer, and reads the first byte of the answer.
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
async fn unread_downloads_delay_no_page_and_end_with_their_permission() {
    let served = Served::new(40, 40).await;
    let export_fixture = &served.export_fixture;
    // More downloads of both kinds than there are connections to the catalogue.
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(served.begin(&served.csv()).await);
        clients.push(served.begin(&export_fixture.classic(CLASSIC)).await);
    }
    assert_eq!(gauge(export_fixture, "downloads").await, 24);
    // Their permissions are checked regularly while their sockets are full.
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
    // All downloads of a deactivated person end, although the clients do not read.
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
    // An idle client is not a slow client, and a download that is read is served
    // as before.
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
