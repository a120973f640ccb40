//! The guard against server-side request forgery: decides which addresses may be connected to. An
//! account's address is checked when it is saved and at each use. The addresses of a host name are
//! checked inside the HTTP client's own resolver, so the address that was checked is the address
//! that is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::ClientBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config::AllowUpstream;
use crate::connectors::Connector;

/// Builds every HTTP client of Chatlake. It connects only to allowed addresses, follows no
/// redirect, uses no proxy from the environment and sends no Referer header.
pub fn client(
    resolver: Arc<dyn DnsResolver>,
    allow: &Arc<[AllowUpstream]>,
    connect: Duration,
) -> ClientBuilder {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that makes a client"
    )]
    let client = reqwest::Client::builder();
    client
        .dns_resolver(GuardedResolver {
            resolver,
            allow: allow.clone(),
        })
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .gzip(false)
        .http1_only()
        .connect_timeout(connect)
        .user_agent(concat!("Chatlake/", env!("CARGO_PKG_VERSION")))
}

/// Validates an account's API URL: https on port 443 of a public host, unless `allow` contains the
/// host. The vendor's own address is always allowed. `Err` is a sentence for the person who typed
/// it.
pub fn check_address(
    connector: Connector,
    api_url: &str,
    allow: &[AllowUpstream],
) -> Result<Url, String> {
    let example = connector.api_url();
    if api_url.trim() != api_url || api_url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!(
            "The API URL must not contain spaces. Example: {example}."
        ));
    }
    let url = Url::parse(api_url).map_err(|_| format!("This is not a URL. Example: {example}."))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err("The API URL must start with https://.".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || api_url.contains('@') {
        return Err(
            "The API URL must not contain a user name or password. Enter them in their own fields."
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "The API URL must not contain ? or #. Example: {example}."
        ));
    }
    let is_allowed = match url.host() {
        None => {
            return Err(format!(
                "The API URL must contain a host. Example: {example}."
            ));
        }
        Some(Host::Ipv4(ip)) => check_literal(IpAddr::V4(ip), allow)?,
        Some(Host::Ipv6(ip)) => check_literal(IpAddr::V6(ip), allow)?,
        Some(Host::Domain(name)) => allows_host(name, allow),
    };
    if is_allowed {
        return Ok(url);
    }
    let host = url.host_str().unwrap_or_default();
    if url.scheme() != "https" {
        return Err(format!(
            "The API URL must start with https://. To allow http for this host, start the server with --allow-upstream {host}."
        ));
    }
    if url.port().is_some() {
        return Err(format!(
            "The API URL must not contain a port, unless the server runs with --allow-upstream {host}."
        ));
    }
    if matches!(url.host(), Some(Host::Domain(_))) && is_local_name(host) {
        return Err(format!(
            "{host} is a local host name. To allow it, start the server with --allow-upstream {host}."
        ));
    }
    Ok(url)
}

/// `Ok(true)`: the IP address is on the allow list. `Ok(false)`: it is public.
pub(super) fn check_literal(ip: IpAddr, allow: &[AllowUpstream]) -> Result<bool, String> {
    if allows_address(ip, allow) {
        Ok(true)
    } else if is_public(ip) {
        Ok(false)
    } else {
        Err(format!(
            "{ip} is not a public address. To allow it, start the server with --allow-upstream {ip}."
        ))
    }
}

pub(super) fn allows_host(name: &str, allow: &[AllowUpstream]) -> bool {
    let name = name.trim_end_matches('.');
    allow.iter().any(|entry| matches!(entry, AllowUpstream::Host(host) if host.trim_end_matches('.').eq_ignore_ascii_case(name)))
}

/// Whether the name belongs to this machine or a local network.
pub(super) fn is_local_name(name: &str) -> bool {
    let bare = name.trim_end_matches('.');
    !bare.contains('.')
        || [".localhost", ".local", ".internal"]
            .iter()
            .any(|end| bare.ends_with(end))
}

pub(super) fn allows_address(ip: IpAddr, allow: &[AllowUpstream]) -> bool {
    allow
        .iter()
        .any(|entry| matches!(entry, AllowUpstream::Net(net) if net.contains(&ip)))
}

/// Whether the address is on the public internet: not this machine, a private network, a reserved
/// range, or an IPv6 range that maps to IPv4 addresses and could reach any of these.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let blocked = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    );
    !blocked
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Only 2000::/3 is assigned. Of it, 2001::/23 is for protocols (such as Teredo), 2002::/16 is
    // 6to4, and 2001:db8::/32 and 3fff::/20 are for documentation.
    let global = a & 0xe000 == 0x2000;
    let special =
        (a == 0x2001 && (b < 0x0200 || b == 0x0db8)) || a == 0x2002 || (a == 0x3fff && b < 0x1000);
    global && !special
}

/// The error for a name that has only addresses that are not allowed.
#[derive(Debug)]
pub(super) struct Blocked;

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the host does not have a public address")
    }
}

impl std::error::Error for Blocked {}

/// Resolves host names. Tests replace the system's resolver.
pub trait DnsResolver: Send + Sync + 'static {
    fn addresses(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;
}

/// The system's resolver.
#[derive(Debug)]
pub struct SystemResolver;

impl DnsResolver for SystemResolver {
    fn addresses(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0))
                .await?
                .map(|address| address.ip())
                .collect())
        })
    }
}

/// The resolver of the HTTP client: returns only allowed addresses.
pub(super) struct GuardedResolver {
    pub resolver: Arc<dyn DnsResolver>,
    pub allow: Arc<[AllowUpstream]>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let allow = self.allow.clone();
        let found = self.resolver.addresses(name.clone());
        Box::pin(async move {
            let found = found.await?;
            let listed = allows_host(&name, &allow);
            let good: Vec<SocketAddr> = found
                .iter()
                .filter(|ip| listed || is_public(**ip) || allows_address(**ip, &allow))
                .map(|ip| SocketAddr::new(*ip, 0))
                .collect();
            if good.is_empty() && !found.is_empty() {
                return Err(Blocked.into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}
