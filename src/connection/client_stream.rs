//! The stream of a connection, which fails when its client is too slow or a handler aborted it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::address_limit::ConnectionPermit;
use super::head_scanner::HeadScanner;
use super::{Connection, MIN_BYTES, SLOW_PERIOD};
use crate::clock::{Clock, Millis, millis};
use crate::metrics::Metrics;

/// A stream that fails when its client is too slow or its connection was aborted.
pub struct ClientStream<S> {
    stream: S,
    clock: Clock,
    metrics: Metrics,
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Since when the client is waited for, by `Clock::monotonic`.
    blocked_since: Option<Millis>,
    /// How long the server has waited and how many bytes the client has read since the buffer was
    /// last empty.
    blocked: Millis,
    taken: u64,
    /// Fires when the server has waited too long for the client.
    slow_timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    head_scanner: HeadScanner,
    bare_line_feed: Arc<AtomicBool>,
    _counted: Option<ConnectionPermit>,
}

/// A stream that can be closed without sending the bytes in the kernel buffer.
pub trait Reset {
    fn reset(&self);
}

impl Reset for TcpStream {
    fn reset(&self) {
        if let Err(why) = self.set_zero_linger() {
            tracing::debug!(%why, "a connection cannot be reset and is closed normally");
        }
    }
}

impl<S> ClientStream<S> {
    pub(super) fn new(
        stream: S,
        clock: Clock,
        metrics: Metrics,
        connection: &Connection,
        counted: Option<ConnectionPermit>,
    ) -> Self {
        let aborted = Box::pin(connection.aborted.clone().cancelled_owned());
        let (head_scanner, bare_line_feed) =
            (HeadScanner::default(), connection.bare_line_feed.clone());
        Self {
            stream,
            clock,
            metrics,
            aborted,
            blocked_since: None,
            blocked: 0,
            taken: 0,
            slow_timer: None,
            head_scanner,
            bare_line_feed,
            _counted: counted,
        }
    }

    /// Records that the client has read `bytes`.
    fn record_taken(&mut self, bytes: usize) {
        if let Some(since) = self.blocked_since.take() {
            self.blocked += self.clock.monotonic() - since;
            self.slow_timer = None;
        }
        self.taken += bytes as u64;
        if self.taken >= MIN_BYTES {
            (self.blocked, self.taken) = (0, 0);
        }
    }

    /// Called while the client reads nothing. Ready once the client was too slow for `SLOW_PERIOD`
    /// in total.
    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self
            .blocked_since
            .get_or_insert_with(|| self.clock.monotonic());
        let (clock, left) = (
            self.clock.clone(),
            millis(SLOW_PERIOD) - self.blocked - (self.clock.monotonic() - since),
        );
        let wait = move || -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                clock
                    .wait(Duration::from_millis(left.max(0).unsigned_abs()))
                    .await
            })
        };
        self.slow_timer
            .get_or_insert_with(wait)
            .as_mut()
            .poll(context)
    }
}

impl<S: Reset> ClientStream<S> {
    fn poll_aborted(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.aborted.as_mut().poll(context));
        self.stream.reset();
        // A completed future must not be polled again.
        self.aborted = Box::pin(cancelled());
        Poll::Ready(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the server closed the connection",
        ))
    }

    fn after_write(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.record_taken(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
            Poll::Pending => {
                if let Poll::Ready(why) = self.poll_aborted(context) {
                    return Poll::Ready(Err(why));
                }
                ready!(self.poll_too_slow(context));
                self.stream.reset();
                self.slow_timer = None;
                self.metrics.slow_clients.inc();
                tracing::info!(
                    "a client received less than 1 KiB per second for a minute and was disconnected"
                );
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client read too slowly",
                )))
            }
        }
    }
}

/// A future that is already completed.
fn cancelled() -> WaitForCancellationFutureOwned {
    let token = CancellationToken::new();
    token.cancel();
    token.cancelled_owned()
}

impl<S: AsyncRead + Reset + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(why) = this.poll_aborted(context) {
            return Poll::Ready(Err(why));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this
            .head_scanner
            .on_read(buffer.filled().get(before..).unwrap_or_default())
        {
            this.bare_line_feed.store(true, Ordering::Release);
        }
        read
    }
}

impl<S: AsyncWrite + Reset + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        if result.is_ready() {
            this.head_scanner.on_write(bytes);
        }
        this.after_write(context, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        if result.is_ready() {
            this.head_scanner
                .on_write(parts.first().map(|part| &**part).unwrap_or_default());
        }
        this.after_write(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if flushed.is_ready() && this.blocked_since.is_none() {
            // The buffer is empty, so the measurement starts again.
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
        let (clock, metrics, connection) = (
            Clock::stopped_at(1_795_262_400_000),
            Metrics::new(),
            Connection::default(),
        );
        let (server, client) = tokio::io::duplex(kernel);
        let mut server =
            ClientStream::new(server, clock.clone(), metrics.clone(), &connection, None);
        let sends = tokio::spawn(async move {
            loop {
                server.write_all(&[b'x'; 4_096]).await?;
            }
        });
        Pair {
            clock,
            metrics,
            connection,
            client,
            sends,
        }
    }

    /// Lets the server continue until it has to wait.
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
        assert_eq!(
            (ended.kind(), pair.metrics.slow_clients.get()),
            (io::ErrorKind::TimedOut, 1)
        );
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
        // The client stops reading.
        pair.clock.advance(60_000);
        assert!(pair.sends.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_server_that_has_nothing_to_send_does_not_blame_the_client() {
        let clock = Clock::stopped_at(1_795_262_400_000);
        let (server, mut client) = tokio::io::duplex(64);
        let mut server = ClientStream::new(
            server,
            clock.clone(),
            Metrics::new(),
            &Connection::default(),
            None,
        );
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
        assert_eq!(
            pair.sends.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
    }
}
