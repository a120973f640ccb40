//! The way out: which addresses are refused however they are spelled, and that the address checked
//! is the address dialled.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chatlake::clock::Clock;
use chatlake::config::AllowUpstream;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::upstream::{
    ApiRequest, Auth, BodyReader, DnsResolver, Limits, ReadError, SystemResolver, Upstreams,
    check_address, is_public,
};
use chatlake::connectors::{Connector, PullError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::tls_vendor::TlsVendor;

const ASK: ApiRequest<'static> = ApiRequest {
    path: "/agents",
    query: &[],
    auth: Auth::None,
    headers: &[],
    classify_error: |_, _| None,
    auth_check: ("/agents", &[]),
};

fn limits() -> Limits {
    Limits {
        connect: Duration::from_millis(500),
        first_byte: Duration::from_millis(500),
        first_delay: Duration::from_millis(1),
        ..Limits::default()
    }
}

fn upstreams(allow: &[&str], resolver: Arc<dyn DnsResolver>) -> Upstreams {
    Upstreams::with(
        allow.iter().map(|text| text.parse().unwrap()).collect(),
        Clock::system(),
        limits(),
        resolver,
    )
    .unwrap()
}

/// Hosts of this machine, of private networks, and of ranges that stand for them, in every
/// spelling.
const HOSTS: [&str; 64] = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "1.1.1.1.127.0.0.1.localhost",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "printer.local",
    "metadata.google.internal",
    "intranet",
    "0",
    "0.0.0.0",
    "0.1.2.3",
    "00000000",
    "10.0.0.1",
    "10.255.255.255",
    "167772161",
    "0xa.0.0.1",
    "012.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "0xA9FEA9FE",
    "2852039166",
    "169.254.43518",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "3232235521",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:8.8.8.8]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[fd00::1]",
    "[fe80::1]",
];

#[test]
fn no_spelling_of_an_inside_address_passes() {
    for host in HOSTS {
        for address in [
            format!("https://{host}"),
            format!("https://{host}/v2/"),
            format!("http://{host}:8080"),
        ] {
            let said = check_address(Connector::LiveChat, &address, &[]).unwrap_err();
            assert!(
                said.ends_with('.') && !said.to_lowercase().contains("invalid"),
                "{address}: {said}"
            );
            let made = upstreams(&[], Arc::new(SystemResolver)).for_account(
                "",
                Connector::LiveChat,
                Some(&address),
                60,
            );
            assert!(
                matches!(made, Err(PullError::AddressRefused { .. })),
                "{address}"
            );
        }
    }
    for address in [
        "https://[fe80::1%25eth0]",
        "http://api.livechatinc.com",
        "ftp://api.livechatinc.com",
        "file:///etc/passwd",
        "gopher://api.livechatinc.com",
        "javascript:alert(1)",
        "//api.livechatinc.com",
        "api.livechatinc.com",
        "",
        "https://",
        "https://u@api.livechatinc.com",
        "https://u:p@api.livechatinc.com",
        "https://api.livechatinc.com@127.0.0.1",
        "https://api.livechatinc.com:8443",
        "https://api.livechatinc.com/?a=b",
        "https://api.livechatinc.com/#a",
        " https://api.livechatinc.com",
        "https://api.livechatinc.com\n",
        "https://api.live\tchatinc.com",
    ] {
        assert!(
            check_address(Connector::LiveChat, address, &[]).is_err(),
            "{address:?}"
        );
    }
    for address in [
        "https://api.livechatinc.com",
        "https://api.livechatinc.com/",
        "https://api.livechatinc.com:443",
        "https://eu.example.com/proxy/livechat",
        "https://8.8.8.8",
    ] {
        assert!(
            check_address(Connector::LiveChat, address, &[]).is_ok(),
            "{address:?}"
        );
    }
}

#[test]
fn only_what_is_named_is_allowed() {
    let allow: Vec<AllowUpstream> = ["127.0.0.1", "10.1.0.0/16", "vendor.lan", "::1"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    for (address, good) in [
        ("http://127.0.0.1:9999", true),
        ("https://127.0.0.1", true),
        ("http://2130706433:9999", true),
        ("http://127.0.0.2:9999", false),
        ("http://10.1.2.3", true),
        ("http://10.2.2.3", false),
        ("http://VENDOR.lan:81/api", true),
        ("http://other.lan", false),
        ("http://[::1]:81", true),
        ("http://[::ffff:127.0.0.1]:81", false),
        ("http://localhost:81", false),
        ("https://api.livechatinc.com", true),
        ("http://api.livechatinc.com", false),
    ] {
        assert_eq!(
            check_address(Connector::LiveChat, address, &allow).is_ok(),
            good,
            "{address}"
        );
    }
}

#[test]
fn public_is_what_the_internet_hands_out() {
    for (ip, public) in [
        ("8.8.8.8", true),
        ("172.32.0.1", true),
        ("100.128.0.1", true),
        ("192.0.1.1", true),
        ("2a00:1450::1", true),
        ("2001:db8::1", false),
        ("3fff::1", false),
        ("ff02::1", false),
    ] {
        assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
    }
}

/// Answers each time with the next list; the last one stays.
struct ChangingNames(Mutex<Vec<Vec<IpAddr>>>, AtomicUsize);

impl ChangingNames {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers
            .iter()
            .rev()
            .map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect())
            .collect();
        Arc::new(Self(Mutex::new(answers), AtomicUsize::new(0)))
    }
}

impl DnsResolver for ChangingNames {
    fn addresses(
        &self,
        _: String,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.0.lock().unwrap();
        let now = if answers.len() > 1 {
            answers.pop().unwrap()
        } else {
            answers[0].clone()
        };
        Box::pin(async move {
            if now.is_empty() {
                Err(std::io::Error::other("no such name: canary"))
            } else {
                Ok(now)
            }
        })
    }
}

async fn ask(upstreams: &Upstreams, address: Option<&str>) -> PullError {
    let upstream = upstreams
        .for_account("", Connector::LiveChat, address, 0)
        .unwrap();
    upstream
        .get(ASK, &CancellationToken::new())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_name_is_judged_by_the_addresses_it_leads_to() {
    for inside in [
        &["127.0.0.1"][..],
        &["10.0.0.1", "::1"],
        &["::ffff:127.0.0.1"],
        &["169.254.169.254"],
        &["64:ff9b::7f00:1"],
    ] {
        let error = ask(&upstreams(&[], ChangingNames::new(&[inside])), None).await;
        assert!(
            matches!(error, PullError::AddressRefused { ref why } if why.contains("does not have a public address")),
            "{inside:?}: {error:?}"
        );
    }
    assert_eq!(
        ask(&upstreams(&[], ChangingNames::new(&[&[]])), None).await,
        PullError::Unavailable(Cause::NameNotFound)
    );
}

#[tokio::test]
async fn a_host_name_is_checked_at_every_connection() {
    // 127.0.0.2 is allowed and refuses the connection; the next try is led elsewhere.
    let resolver = ChangingNames::new(&[&["127.0.0.2"], &["127.0.0.3"]]);
    let error = ask(
        &upstreams(&["127.0.0.2"], resolver.clone()),
        Some("https://vendor.example.com"),
    )
    .await;
    assert!(
        matches!(error, PullError::AddressRefused { .. }),
        "{error:?}"
    );
    assert_eq!(resolver.1.load(Ordering::Relaxed), 2);
}

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
async fn a_port_without_a_listener_and_one_that_speaks_no_tls() {
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
async fn a_certificate_that_nobody_here_vouches_for_is_refused_and_nothing_is_sent() {
    // That a good authority vouches for the wrong name, or did so once, is in `binary.rs`: which
    // authorities are good is for the machine to say.
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

/// A vendor whose answers come as a stream of these pieces, so far apart.
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

/// Counts what comes, and takes its time for each piece.
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
async fn an_answer_that_drips_is_cut_and_one_that_is_slow_or_slowly_taken_is_not() {
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
    // A minute of this would bring twice the minimum.
    let slow = streaming(&[b'x'; 256], 20, Duration::from_millis(30)).await;
    assert_eq!(
        (
            read_slowly::<false>(&slow, Duration::ZERO).await,
            read_slowly::<true>(&slow, Duration::ZERO).await
        ),
        (Ok(5_120), Ok(5_120))
    );
    // All of it is there long before it is taken: that is not the vendor's time.
    let ready = streaming(b"xy", 3, Duration::ZERO).await;
    assert_eq!(
        read_slowly::<true>(&ready, Duration::from_millis(400)).await,
        Ok(6)
    );
}

/// A vendor that answers in one region only: 421 elsewhere, naming it. Counts its calls.
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

    // A region that does not help is tried once; one that is no region is not sent.
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
