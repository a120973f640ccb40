//! The connection that a request came on, between the HTTP server and the socket. It is closed when its client takes too little of what
//! is to be sent, and when a handler says so, also while the client reads nothing. Without it a body that waits for its client is never
//! asked again, so that nothing could end it. Of one address only so many connections are open at once.

mod lines;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::middleware::AddExtension;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Layer;

use crate::clock::{Clock, Millis, millis};
use crate::metrics::Metrics;
use lines::Lines;

/// A client must take at least `MIN_BYTES` in this time. Only the time counts in which the server waits for the client.
pub const SLOW_PERIOD: Duration = Duration::from_secs(60);
/// 1 KiB a second.
pub const MIN_BYTES: u64 = 60 << 10;
/// So many bytes that are not yet sent may wait in the kernel, for each connection. Without a limit that is megabytes.
const UNSENT: u32 = 64 << 10;

/// Names the connection to the handlers of its requests. One that is made by `default` stands for no connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    aborted: CancellationToken,
    bare_line_feed: Arc<AtomicBool>,
}

impl Connection {
    /// Closes the connection at once; what was not sent is dropped.
    pub fn abort(&self) {
        self.aborted.cancel();
    }

    /// Returns once `abort` was called.
    pub async fn aborted(&self) {
        self.aborted.cancelled().await;
    }

    /// Whether the head of a request had a line that ended in a line feed alone.
    pub fn had_bare_line_feed(&self) -> bool {
        self.bare_line_feed.load(Ordering::Acquire)
    }
}

impl<S: Sync> FromRequestParts<S> for Connection {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// The address as limits count it: an IPv6 client has a /64 to choose from, so that counts as one.
pub fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

/// How many connections of each address are open at once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PerAddress(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    max: usize,
    /// Who connects from these does so for many.
    proxies: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
struct Counted {
    of: PerAddress,
    address: IpAddr,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.of.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

impl PerAddress {
    /// `max`: 0 for no limit. Connections from the networks `proxies` are not limited.
    pub fn new(max: usize, proxies: Vec<IpNet>) -> Self {
        Self(Arc::new(Counts { max, proxies, open: Mutex::default() }))
    }

    /// Counts a connection from this address; `Err` when there are too many.
    fn count(&self, address: IpAddr) -> Result<Option<Counted>, TooMany> {
        if self.0.max == 0 || self.0.proxies.iter().any(|net| net.contains(&address.to_canonical())) {
            return Ok(None);
        }
        let address = one_client(address);
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.0.max {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(Counted { of: self.clone(), address }))
    }
}

/// An address has all the connections that it may have.
#[derive(Debug)]
struct TooMany;

/// Accepts connections: so many of each address. It gives each a limit on slow clients, and its requests a `Connection`.
#[derive(Clone)]
pub struct Acceptor {
    clock: Clock,
    metrics: Metrics,
    per_address: PerAddress,
}

impl Acceptor {
    pub fn new(clock: Clock, metrics: Metrics, per_address: PerAddress) -> Self {
        Self { clock, metrics, per_address }
    }
}

impl<S> axum_server::accept::Accept<TcpStream, S> for Acceptor {
    type Stream = Limited<TcpStream>;
    type Service = AddExtension<S, Connection>;
    type Future = std::future::Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let counted = match stream.peer_addr().map(|peer| self.per_address.count(peer.ip())) {
            Ok(Ok(counted)) => counted,
            // It is gone already.
            Err(why) => return std::future::ready(Err(why)),
            Ok(Err(TooMany)) => {
                stream.reset();
                self.metrics.refused_connections.inc();
                return std::future::ready(Err(io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections from one address")));
            }
        };
        if let Err(why) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%why, "the unsent bytes of a connection are not limited");
        }
        let connection = Connection::default();
        let service = Extension(connection.clone()).layer(service);
        std::future::ready(Ok((Limited::new(stream, self.clock.clone(), self.metrics.clone(), &connection, counted), service)))
    }
}

/// A stream that fails when its client is too slow or its connection was aborted.
pub struct Limited<S> {
    stream: S,
    clock: Clock,
    metrics: Metrics,
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Since when the client is waited for, by `Clock::passed`.
    blocked_since: Option<Millis>,
    /// How long it was waited for before, and how much it took, since everything was last handed over.
    blocked: Millis,
    taken: u64,
    /// Fires when the client was waited for too long.
    too_long: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    lines: Lines,
    bare_line_feed: Arc<AtomicBool>,
    _counted: Option<Counted>,
}

/// A stream that can be closed without sending what waits in the kernel.
pub trait Reset {
    fn reset(&self);
}

impl Reset for TcpStream {
    fn reset(&self) {
        if let Err(why) = self.set_zero_linger() {
            tracing::debug!(%why, "a connection is closed in the slow way");
        }
    }
}

impl<S> Limited<S> {
    fn new(stream: S, clock: Clock, metrics: Metrics, connection: &Connection, counted: Option<Counted>) -> Self {
        let aborted = Box::pin(connection.aborted.clone().cancelled_owned());
        let (lines, bare_line_feed) = (Lines::default(), connection.bare_line_feed.clone());
        Self { stream, clock, metrics, aborted, blocked_since: None, blocked: 0, taken: 0, too_long: None, lines, bare_line_feed, _counted: counted }
    }

    /// The client took `bytes`.
    fn took(&mut self, bytes: usize) {
        if let Some(since) = self.blocked_since.take() {
            self.blocked += self.clock.passed() - since;
            self.too_long = None;
        }
        self.taken += bytes as u64;
        if self.taken >= MIN_BYTES {
            (self.blocked, self.taken) = (0, 0);
        }
    }

    /// The client takes nothing just now. Ready once it has been so for too long.
    fn waits(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.blocked_since.get_or_insert_with(|| self.clock.passed());
        let (clock, left) = (self.clock.clone(), millis(SLOW_PERIOD) - self.blocked - (self.clock.passed() - since));
        let wait = move || -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move { clock.wait(Duration::from_millis(left.max(0).unsigned_abs())).await })
        };
        self.too_long.get_or_insert_with(wait).as_mut().poll(context)
    }
}

impl<S: Reset> Limited<S> {
    fn check_aborted(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.aborted.as_mut().poll(context));
        self.stream.reset();
        // A future that is over must not be asked again.
        self.aborted = Box::pin(cancelled());
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was ended by the server"))
    }

    fn written(&mut self, context: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.took(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
            Poll::Pending => {
                if let Poll::Ready(why) = self.check_aborted(context) {
                    return Poll::Ready(Err(why));
                }
                ready!(self.waits(context));
                self.stream.reset();
                self.too_long = None;
                self.metrics.slow_clients.inc();
                tracing::info!("a client received less than 1 KiB per second for a minute and was disconnected");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client took too little")))
            }
        }
    }
}

/// A wait that is over already.
fn cancelled() -> WaitForCancellationFutureOwned {
    let token = CancellationToken::new();
    token.cancel();
    token.cancelled_owned()
}

impl<S: AsyncRead + Reset + Unpin> AsyncRead for Limited<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(why) = this.check_aborted(context) {
            return Poll::Ready(Err(why));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.lines.read(buffer.filled().get(before..).unwrap_or_default()) {
            this.bare_line_feed.store(true, Ordering::Release);
        }
        read
    }
}

impl<S: AsyncWrite + Reset + Unpin> AsyncWrite for Limited<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        if result.is_ready() {
            this.lines.written(bytes);
        }
        this.written(context, result)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        if result.is_ready() {
            this.lines.written(parts.first().map(|part| &**part).unwrap_or_default());
        }
        this.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if flushed.is_ready() && this.blocked_since.is_none() {
            // Everything was handed over: what comes next is measured by itself.
            (this.blocked, this.taken) = (0, 0);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    impl Reset for DuplexStream {
        fn reset(&self) {}
    }

    struct Pair {
        clock: Clock,
        metrics: Metrics,
        connection: Connection,
        client: DuplexStream,
        sends: tokio::task::JoinHandle<io::Result<()>>,
    }

    /// A server that sends without end through a buffer of `kernel` bytes.
    fn pair(kernel: usize) -> Pair {
        let (clock, metrics, connection) = (Clock::stopped_at(1_795_262_400_000), Metrics::new(), Connection::default());
        let (server, client) = tokio::io::duplex(kernel);
        let mut server = Limited::new(server, clock.clone(), metrics.clone(), &connection, None);
        let sends = tokio::spawn(async move {
            loop {
                server.write_all(&[b'x'; 4_096]).await?;
            }
        });
        Pair { clock, metrics, connection, client, sends }
    }

    /// Lets the server go on as far as it can.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_a_byte_a_second_is_disconnected_after_a_minute() {
        let mut pair = pair(1_024);
        for second in 0..60 {
            settle().await;
            assert!(!pair.sends.is_finished(), "after {second} seconds");
            pair.client.read_exact(&mut [0]).await.unwrap();
            settle().await;
            pair.clock.advance(1_000);
        }
        let ended = pair.sends.await.unwrap().unwrap_err();
        assert_eq!((ended.kind(), pair.metrics.slow_clients.get()), (io::ErrorKind::TimedOut, 1));
    }

    #[tokio::test]
    async fn a_client_that_takes_a_little_more_than_a_kilobyte_a_second_is_served() {
        let mut pair = pair(512);
        let mut bytes = vec![0; 1_100];
        for _ in 0..600 {
            pair.client.read_exact(&mut bytes).await.unwrap();
            settle().await;
            pair.clock.advance(1_000);
        }
        settle().await;
        assert!(!pair.sends.is_finished());
        // It stops reading.
        pair.clock.advance(60_000);
        assert!(pair.sends.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_server_that_has_nothing_to_send_does_not_blame_the_client() {
        let clock = Clock::stopped_at(1_795_262_400_000);
        let (server, mut client) = tokio::io::duplex(64);
        let mut server = Limited::new(server, clock.clone(), Metrics::new(), &Connection::default(), None);
        for _ in 0..10 {
            let (sent, _) = tokio::join!(
                async {
                    server.write_all(&[b'x'; 100]).await?;
                    server.flush().await
                },
                async {
                    settle().await;
                    clock.advance(30_000);
                    client.read_exact(&mut [0; 100]).await.unwrap();
                }
            );
            sent.unwrap();
            clock.advance(600_000);
        }
    }

    #[tokio::test]
    async fn a_connection_is_ended_while_its_client_reads_nothing() {
        let pair = pair(1_024);
        settle().await;
        pair.connection.abort();
        assert_eq!(pair.sends.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
