//! Redirects, TLS errors, slow responses and misdirected requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chatlake::clock::Clock;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::upstream::{BodyReader, Limits, ReadError, SystemResolver, Upstreams};
use chatlake::connectors::{Connector, PullError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ASK;
use super::ask;
use super::limits;
use super::upstreams;
use crate::support::tls_vendor::TlsVendor;

#[tokio::test]
async fn a_redirect_is_an_error_and_the_other_host_sees_nothing() {
    let seen = Arc::new(AtomicUsize::new(0));
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/stolen", other.local_addr().unwrap());
    let counted = seen.clone();
    tokio::spawn(async move {
        while other.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    for status in [301_u16, 302, 303, 307, 308] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let to = target.clone();
        let router = axum::Router::new().fallback(move || {
            let to = to.clone();
            async move {
                (
                    axum::http::StatusCode::from_u16(status).unwrap(),
                    [("location", to)],
                )
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let error = ask(
            &upstreams(&["127.0.0.1"], Arc::new(SystemResolver)),
            Some(&address),
        )
        .await;
        assert_eq!(error, PullError::Unavailable(Cause::Redirected(status)));
    }
    assert_eq!(seen.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_closed_port_and_a_port_without_tls_are_distinguished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let error = ask(
        &upstreams(&["127.0.0.1"], Arc::new(SystemResolver)),
        Some(&format!("http://{closed}")),
    )
    .await;
    assert_eq!(error, PullError::Unavailable(Cause::ConnectionRefused));
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused_and_nothing_is_sent() {
    // The tests in `binary` cover a wrong name and an expired certificate, because the machine
    // decides which authorities are trusted.
    for name in ["self_signed.pem", "right.pem"] {
        let vendor = TlsVendor::new(name);
        let patient = Limits {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(10),
            ..limits()
        };
        let allow = vec!["127.0.0.1".parse().unwrap()];
        let upstreams =
            Upstreams::with(allow, Clock::system(), patient, Arc::new(SystemResolver)).unwrap();
        assert_eq!(
            ask(&upstreams, Some(&vendor.address)).await,
            PullError::Unavailable(Cause::Certificate),
            "{name}"
        );
        assert_eq!(vendor.calls(), 0, "{name}");
    }
}

/// A vendor that streams its answers in these pieces, with this interval.
async fn streaming(piece: &'static [u8], pieces: usize, every: Duration) -> String {
    let answer = move || async move {
        let stream = futures_util::stream::unfold(0, move |sent| async move {
            if sent > 0 {
                tokio::time::sleep(every).await;
            }
            (sent < pieces).then(|| {
                (
                    Ok::<_, std::io::Error>(bytes::Bytes::from_static(piece)),
                    sent + 1,
                )
            })
        });
        axum::body::Body::from_stream(stream)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    address
}

/// Counts the received bytes, and waits after each piece.
struct Slow<const STREAMED: bool> {
    takes: Duration,
    came: usize,
}

impl<const STREAMED: bool> BodyReader for Slow<STREAMED> {
    type Out = usize;
    const STREAMED: bool = STREAMED;

    async fn piece(&mut self, piece: bytes::Bytes) -> bool {
        self.came += piece.len();
        tokio::time::sleep(self.takes).await;
        true
    }

    async fn end(self) -> Result<usize, ReadError> {
        Ok(self.came)
    }
}

async fn read_slowly<const STREAMED: bool>(
    address: &str,
    takes: Duration,
) -> Result<usize, PullError> {
    let quick = Limits {
        rate_window: Duration::from_millis(300),
        min_bytes: 1_024,
        tries: 2,
        ..limits()
    };
    let upstreams = Upstreams::with(
        vec!["127.0.0.1".parse().unwrap()],
        Clock::system(),
        quick,
        Arc::new(SystemResolver),
    )
    .unwrap();
    let upstream = upstreams
        .for_account("", Connector::LiveChat, Some(address), 0)
        .unwrap();
    let read = upstream
        .read(ASK, &CancellationToken::new(), || Slow::<STREAMED> {
            takes,
            came: 0,
        })
        .await;
    assert!(upstream.received() > 0);
    read
}

#[tokio::test]
async fn a_response_below_the_minimum_rate_is_aborted_and_a_slow_reader_is_not() {
    let drip = streaming(b" ", 10_000, Duration::from_millis(20)).await;
    for error in [
        read_slowly::<false>(&drip, Duration::ZERO).await,
        read_slowly::<true>(&drip, Duration::ZERO).await,
    ] {
        assert!(
            matches!(
                error,
                Err(PullError::Unavailable(Cause::BelowMinRate {
                    received: 1..=100,
                    min: 1_024
                }))
            ),
            "{error:?}"
        );
    }
    // This rate is more than twice the minimum.
    let slow = streaming(&[b'x'; 256], 20, Duration::from_millis(30)).await;
    assert_eq!(
        (
            read_slowly::<false>(&slow, Duration::ZERO).await,
            read_slowly::<true>(&slow, Duration::ZERO).await
        ),
        (Ok(5_120), Ok(5_120))
    );
    // The data arrives long before it is read, so the delay is not the vendor's.
    let ready = streaming(b"xy", 3, Duration::ZERO).await;
    assert_eq!(
        read_slowly::<true>(&ready, Duration::from_millis(400)).await,
        Ok(6)
    );
}

/// A vendor that answers in one region, and elsewhere with 421 and its name. Counts its calls.
async fn regional(region: &'static str, named: serde_json::Value) -> (String, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let answer = move |headers: axum::http::HeaderMap| {
        counted.fetch_add(1, Ordering::SeqCst);
        let here = headers.get("x-region").is_some_and(|value| value == region);
        let body = serde_json::json!({"error": {"type": "misdirected_request", "message": "Wrong region", "data": {"region": named}}});
        let status = if here {
            axum::http::StatusCode::OK
        } else {
            axum::http::StatusCode::MISDIRECTED_REQUEST
        };
        async move { (status, axum::Json(body)) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    (address, calls)
}

#[tokio::test]
async fn a_misdirected_request_is_repeated_once_in_the_region_it_names_and_that_is_remembered() {
    let upstreams = upstreams(&["127.0.0.1"], Arc::new(SystemResolver));
    let (address, calls) = regional("fra", "fra".into()).await;
    let get = async |key: &str| {
        let upstream = upstreams
            .for_account(key, Connector::LiveChat, Some(&address), 0)
            .unwrap();
        upstream
            .get(ASK, &CancellationToken::new())
            .await
            .map(|_| upstream.call_stats().calls)
    };
    assert_eq!(
        (get("a").await, get("a").await),
        (Ok(2), Ok(1)),
        "the second time it is known"
    );
    assert_eq!(get("b").await, Ok(2), "another account may live elsewhere");
    upstreams.forget("a");
    assert_eq!(get("a").await, Ok(2));
    assert_eq!(calls.load(Ordering::SeqCst), 7);

    // A region that does not help is tried once; an invalid region is not sent.
    for (named, times) in [
        ("dal".into(), 2),
        ("a\r\nb: c".into(), 1),
        ("".into(), 1),
        ("x".repeat(99).into(), 1),
        (serde_json::Value::Null, 1),
    ] {
        let (address, calls) = regional("fra", named).await;
        let upstream = upstreams
            .for_account("", Connector::LiveChat, Some(&address), 0)
            .unwrap();
        let error = upstream
            .get(ASK, &CancellationToken::new())
            .await
            .unwrap_err();
        assert_eq!(
            error,
            PullError::Refused {
                status: 421,
                vendor_message: "Wrong region".to_owned()
            }
        );
        assert_eq!(calls.load(Ordering::SeqCst), times);
    }
}
