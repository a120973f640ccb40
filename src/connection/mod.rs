//! The connection of a request, between the HTTP server and the socket. It is closed when its
//! client reads too slowly, and when a handler aborts it even though the client reads nothing: a
//! response body that waits for its client is never polled again, so it could not end itself. The
//! number of open connections per address is limited.

mod address_limit;
mod client_stream;
mod head_scanner;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::middleware::AddExtension;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Layer;

use crate::clock::Clock;
use crate::metrics::Metrics;
pub use address_limit::AddressLimit;
use address_limit::TooManyConnections;
pub use client_stream::{ClientStream, Reset};

/// A client must read at least `MIN_BYTES` in this time. Only the time in which the server waits
/// for the client counts.
pub const SLOW_PERIOD: Duration = Duration::from_secs(60);
/// 1 KiB per second.
pub const MIN_BYTES: u64 = 60 << 10;
/// The maximum number of unsent bytes in the kernel per connection. The default would be megabytes.
const MAX_UNSENT_BYTES: u32 = 64 << 10;

/// A handle on the connection, for the handlers of its requests. The default value belongs to no
/// connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    aborted: CancellationToken,
    bare_line_feed: Arc<AtomicBool>,
}

impl Connection {
    /// Closes the connection at once. Unsent bytes are dropped.
    pub fn abort(&self) {
        self.aborted.cancel();
    }

    /// Returns once `abort` was called.
    pub async fn aborted(&self) {
        self.aborted.cancelled().await;
    }

    /// Whether a request head had a line that ended in a line feed without carriage return.
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

/// The network that counts as one client: a whole /64 for IPv6, because a client can use any
/// address in it.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

/// Accepts connections within the limit per address, disconnects slow clients, and adds a
/// `Connection` to each request.
#[derive(Clone)]
pub struct Acceptor {
    clock: Clock,
    metrics: Metrics,
    address_limit: AddressLimit,
}

impl Acceptor {
    pub fn new(clock: Clock, metrics: Metrics, address_limit: AddressLimit) -> Self {
        Self {
            clock,
            metrics,
            address_limit,
        }
    }
}

impl<S> axum_server::accept::Accept<TcpStream, S> for Acceptor {
    type Stream = ClientStream<TcpStream>;
    type Service = AddExtension<S, Connection>;
    type Future = std::future::Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let counted = match stream
            .peer_addr()
            .map(|peer| self.address_limit.count(peer.ip()))
        {
            Ok(Ok(counted)) => counted,
            // The client has already disconnected.
            Err(why) => return std::future::ready(Err(why)),
            Ok(Err(TooManyConnections)) => {
                stream.reset();
                self.metrics.refused_connections.inc();
                return std::future::ready(Err(io::Error::new(
                    io::ErrorKind::ConnectionRefused,
                    "too many connections from one address",
                )));
            }
        };
        if let Err(why) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT_BYTES) {
            tracing::debug!(%why, "the unsent bytes of a connection are not limited");
        }
        let connection = Connection::default();
        let service = Extension(connection.clone()).layer(service);
        std::future::ready(Ok((
            ClientStream::new(
                stream,
                self.clock.clone(),
                self.metrics.clone(),
                &connection,
                counted,
            ),
            service,
        )))
    }
}
