//! Private addresses are refused in every spelling, and the checked address is the dialled one.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chatlake::config::AllowUpstream;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::upstream::{DnsResolver, SystemResolver, check_address, is_public};
use chatlake::connectors::{Connector, PullError};

use super::ask;
use super::upstreams;

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
fn every_spelling_of_a_private_address_is_refused() {
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
fn only_addresses_of_the_internet_are_public() {
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

/// Resolves to the next list each time; the last list is repeated.
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

#[tokio::test]
async fn a_host_name_is_checked_by_its_resolved_addresses() {
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
    // 127.0.0.2 is allowed and refuses the connection; the next attempt resolves to another address.
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
