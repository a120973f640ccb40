//! Whose request it is, by address. What a proxy says is believed only of proxies that the settings name: the client is the
//! right-most hop that is none of them, since everything left of it could be the client's own invention.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The client's address. `security::around` puts it on every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(of(&parts.extensions))
    }
}

/// The address that was found for this request; 0.0.0.0 when it came through no socket.
pub fn of(extensions: &Extensions) -> ClientAddress {
    extensions.get().copied().unwrap_or(ClientAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// Finds the client behind `extensions`' connection.
pub fn find(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> ClientAddress {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    ClientAddress(behind(peer, headers, trusted))
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_proxy = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().unwrap_or_default()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_proxy(client) {
            break;
        }
        // A hop that is no address: what stands left of it cannot be trusted either.
        let Some(address) = address(hop.trim()) else { break };
        client = address;
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:80`.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let parsed = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
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
        behind(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn forged_hops_change_nothing() {
        let proxies = ["10.0.0.0/8"];
        for (peer, forwarded, trusted, expected) in [
            ("192.0.2.7", &["203.0.113.1"][..], &[][..], "192.0.2.7"),
            ("192.0.2.7", &["203.0.113.1"], &proxies, "192.0.2.7"),
            ("10.0.0.1", &["203.0.113.1"], &proxies, "203.0.113.1"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.1, 10.0.0.2"], &proxies, "203.0.113.1"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.1, 10.0.0.2"], &proxies, "203.0.113.1"),
            ("10.0.0.1", &["1.1.1.1, nonsense"], &proxies, "10.0.0.1"),
            ("10.0.0.1", &[], &proxies, "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.1:4711"], &proxies, "203.0.113.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], &proxies, "2001:db8::1"),
            ("::ffff:10.0.0.1", &["2001:db8::1"], &proxies, "2001:db8::1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &proxies, "10.0.0.3"),
        ] {
            assert_eq!(client(peer, forwarded, trusted), expected, "{peer} {forwarded:?}");
        }
    }
}
