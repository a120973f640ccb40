//! Finds the client address and the transport of a request. Forwarding headers are trusted only
//! from configured proxies: the client is the right-most hop that is not one of them, because hops
//! further left can be forged by the client.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

use crate::auth::Transport;

/// The client address. `security::with_request_checks` adds it to every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(from_extensions(&parts.extensions))
    }
}

/// The client address of this request; 0.0.0.0 if it came through no socket.
pub fn from_extensions(extensions: &Extensions) -> ClientAddress {
    extensions
        .get()
        .copied()
        .unwrap_or(ClientAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// Finds the client behind the connection in `extensions`.
pub fn find(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> ClientAddress {
    let peer = extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| {
            peer.ip()
        });
    ClientAddress(resolve_client(peer, headers, trusted))
}

/// The transport of a request of `client`. The server itself speaks plain http, so only a trusted
/// proxy can make it secure. For a proxy that sends no header, the scheme of the public URL counts.
pub fn transport(
    extensions: &Extensions,
    headers: &HeaderMap,
    client: ClientAddress,
    trusted: &[IpNet],
    https: bool,
) -> Transport {
    let peer = extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| peer.ip().to_canonical());
    let is_from_proxy = peer.is_some_and(|peer| trusted.iter().any(|net| net.contains(&peer)));
    // The right-most value comes from the nearest proxy.
    let proto = headers
        .get_all("x-forwarded-proto")
        .iter()
        .next_back()
        .map(|proto| proto.to_str().unwrap_or_default());
    let proto = proto.map(|proto| proto.rsplit(',').next().unwrap_or_default().trim());
    let is_encrypted =
        is_from_proxy && proto.map_or(https, |proto| proto.eq_ignore_ascii_case("https"));
    if is_encrypted || client.0.is_loopback() {
        Transport::Secure
    } else {
        Transport::Insecure
    }
}

fn resolve_client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_proxy = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    let lines: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|line| line.to_str().unwrap_or_default())
        .collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_proxy(client) {
            break;
        }
        // The hop is not an address, so the hops left of it cannot be trusted either.
        let Some(address) = address(hop.trim()) else {
            break;
        };
        client = address;
    }
    client
}

/// Parses `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:80`.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    let parsed = bare
        .parse()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        for ignored in ["forwarded", "x-real-ip", "x-client-ip"] {
            headers.insert(ignored, "for=203.0.113.99".parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        resolve_client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_way_is_closed_by_https_of_a_trusted_proxy_or_on_this_machine() {
        let proxies = ["127.0.0.1/32", "10.0.0.0/8"];
        for (peer, forwarded, proto, trusted, https, expected) in [
            ("127.0.0.1", "", "", &[][..], false, Transport::Secure),
            ("::1", "", "", &[], false, Transport::Secure),
            ("::ffff:127.0.0.1", "", "", &[], true, Transport::Secure),
            ("192.0.2.7", "", "", &[], false, Transport::Insecure),
            ("192.0.2.7", "", "https", &[], true, Transport::Insecure),
            (
                "192.0.2.7",
                "127.0.0.1",
                "https",
                &proxies,
                true,
                Transport::Insecure,
            ),
            ("127.0.0.1", "", "http", &[], false, Transport::Secure),
            (
                "127.0.0.1",
                "192.0.2.7",
                "https",
                &proxies,
                true,
                Transport::Secure,
            ),
            (
                "127.0.0.1",
                "192.0.2.7",
                "http",
                &proxies,
                true,
                Transport::Insecure,
            ),
            (
                "127.0.0.1",
                "192.0.2.7",
                "",
                &proxies,
                true,
                Transport::Secure,
            ),
            (
                "127.0.0.1",
                "192.0.2.7",
                "",
                &proxies,
                false,
                Transport::Insecure,
            ),
            (
                "127.0.0.1",
                "127.0.0.1",
                "http",
                &proxies,
                true,
                Transport::Secure,
            ),
            (
                "10.0.0.1",
                "192.0.2.7",
                "http, https",
                &proxies,
                true,
                Transport::Secure,
            ),
            (
                "10.0.0.1",
                "192.0.2.7",
                "https, http",
                &proxies,
                true,
                Transport::Insecure,
            ),
            (
                "10.0.0.1",
                "192.0.2.7",
                "HTTPS",
                &proxies,
                false,
                Transport::Secure,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [("x-forwarded-for", forwarded), ("x-forwarded-proto", proto)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
            let client = find(&extensions, &headers, &trusted);
            assert_eq!(
                transport(&extensions, &headers, client, &trusted, https),
                expected,
                "{peer} {forwarded} {proto} {trusted:?} {https}"
            );
        }
        assert_eq!(
            transport(
                &Extensions::new(),
                &HeaderMap::new(),
                ClientAddress(Ipv4Addr::UNSPECIFIED.into()),
                &[],
                true
            ),
            Transport::Insecure
        );
    }

    #[test]
    fn forged_hops_change_nothing() {
        let proxies = ["10.0.0.0/8"];
        for (peer, forwarded, trusted, expected) in [
            ("192.0.2.7", &["203.0.113.1"][..], &[][..], "192.0.2.7"),
            ("192.0.2.7", &["203.0.113.1"], &proxies, "192.0.2.7"),
            ("10.0.0.1", &["203.0.113.1"], &proxies, "203.0.113.1"),
            (
                "10.0.0.1",
                &["1.1.1.1, 203.0.113.1, 10.0.0.2"],
                &proxies,
                "203.0.113.1",
            ),
            (
                "10.0.0.1",
                &["1.1.1.1", "203.0.113.1, 10.0.0.2"],
                &proxies,
                "203.0.113.1",
            ),
            ("10.0.0.1", &["1.1.1.1, nonsense"], &proxies, "10.0.0.1"),
            ("10.0.0.1", &[], &proxies, "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.1:4711"], &proxies, "203.0.113.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], &proxies, "2001:db8::1"),
            ("::ffff:10.0.0.1", &["2001:db8::1"], &proxies, "2001:db8::1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &proxies, "10.0.0.3"),
        ] {
            assert_eq!(
                client(peer, forwarded, trusted),
                expected,
                "{peer} {forwarded:?}"
            );
        }
    }
}
