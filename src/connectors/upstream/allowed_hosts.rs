//! Decides which mail servers may be connected to. Their connection is not HTTP, so the HTTP
//! client's guard does not apply. Connections use the same addresses that were checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use url::Host;

use super::guard::{self, DnsResolver, SystemResolver};
use crate::config::AllowUpstream;

/// Allows public hosts and those in a setting. Cheap to clone.
#[derive(Clone)]
pub struct AllowedHosts {
    resolver: Arc<dyn DnsResolver>,
    allow: Arc<[AllowUpstream]>,
    /// The flag that allows more hosts, for error messages.
    setting: &'static str,
}

/// Why a host has no usable address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAddress {
    /// The host name was not found.
    Unknown,
    /// All its addresses are blocked.
    Blocked,
}

impl AllowedHosts {
    /// `allow`: the private hosts that are allowed; `setting`: the flag that sets them, for error
    /// messages.
    pub fn new(allow: &[AllowUpstream], setting: &'static str) -> Self {
        Self::with(allow, setting, Arc::new(SystemResolver))
    }

    /// Like `new`, with another resolver.
    pub fn with(
        allow: &[AllowUpstream],
        setting: &'static str,
        resolver: Arc<dyn DnsResolver>,
    ) -> Self {
        Self {
            resolver,
            allow: allow.into(),
            setting,
        }
    }

    /// Normalizes a host without network access: a name in lower case or an address in its usual
    /// form. `Err` is a sentence for the person who typed it.
    pub fn check(&self, typed: &str) -> Result<String, String> {
        let typed = typed.trim().to_ascii_lowercase();
        let host = match parse(&typed) {
            Some(host) if typed.len() <= 253 => host,
            _ => {
                return Err(
                    "Enter the host name of the mail server, for example smtp.example.com."
                        .to_owned(),
                );
            }
        };
        match host {
            Host::Ipv4(ip) => self.check_address(ip.into()),
            Host::Ipv6(ip) => self.check_address(ip.into()),
            Host::Domain(name) => self.check_name(name),
        }
    }

    fn check_address(&self, ip: IpAddr) -> Result<String, String> {
        if guard::is_public(ip) || guard::allows_address(ip, &self.allow) {
            return Ok(ip.to_string());
        }
        Err(format!(
            "{ip} is not a public address. To allow it, start the server with {} {ip}.",
            self.setting
        ))
    }

    fn check_name(&self, name: String) -> Result<String, String> {
        if guard::is_local_name(&name) && !guard::allows_host(&name, &self.allow) {
            return Err(format!(
                "{name} is a local host name. To allow it, start the server with {} {name}.",
                self.setting
            ));
        }
        Ok(name)
    }

    /// Resolves a host that `check` returned. Returns only allowed addresses, with this port.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, NoAddress> {
        let found = match parse(host) {
            Some(Host::Ipv4(ip)) => vec![ip.into()],
            Some(Host::Ipv6(ip)) => vec![ip.into()],
            Some(Host::Domain(name)) if self.check_name(name.clone()).is_err() => {
                return Err(NoAddress::Blocked);
            }
            Some(Host::Domain(name)) => self
                .resolver
                .addresses(name)
                .await
                .map_err(|_| NoAddress::Unknown)?,
            None => return Err(NoAddress::Unknown),
        };
        let is_allowed = guard::allows_host(host, &self.allow);
        let good: Vec<SocketAddr> = found
            .iter()
            .filter(|ip| {
                is_allowed || guard::is_public(**ip) || guard::allows_address(**ip, &self.allow)
            })
            .map(|ip| SocketAddr::new(*ip, port))
            .collect();
        match (good.is_empty(), found.is_empty()) {
            (false, _) => Ok(good),
            (true, true) => Err(NoAddress::Unknown),
            (true, false) => Err(NoAddress::Blocked),
        }
    }
}

impl std::fmt::Debug for AllowedHosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AllowedHosts(...)")
    }
}

/// Parses a host like a browser: `2130706433` and `0x7f.1` are addresses. An IPv6 address may have
/// no brackets.
fn parse(host: &str) -> Option<Host> {
    if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some(Host::Ipv6(ip));
    }
    Host::parse(host).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: [&str; 14] = [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "fd00::1",
        "localhost",
        "mail",
        "mail.internal",
    ];

    #[test]
    fn only_public_hosts_may_be_named_unless_the_setting_names_them() {
        let closed = AllowedHosts::new(&[], "--allow-x");
        for host in INSIDE {
            let message = closed.check(host).unwrap_err();
            assert!(message.contains("--allow-x"), "{host}: {message}");
        }
        for odd in [
            "",
            "not a host",
            "http://smtp.example.com",
            "smtp.example.com:25",
            "a@b",
            &"x".repeat(254),
        ] {
            assert!(closed.check(odd).is_err(), "{odd}");
        }
        assert_eq!(
            closed.check(" SMTP.Example.com ").unwrap(),
            "smtp.example.com"
        );
        assert_eq!(closed.check("93.184.216.34").unwrap(), "93.184.216.34");
        assert_eq!(
            closed.check("2606:2800:220:1::1").unwrap(),
            "2606:2800:220:1::1"
        );
        let open = AllowedHosts::new(
            &[
                "10.0.0.0/8".parse().unwrap(),
                "mail.internal".parse().unwrap(),
            ],
            "--allow-x",
        );
        assert_eq!(open.check("10.1.2.3").unwrap(), "10.1.2.3");
        assert!(open.check("mail.internal").is_ok() && open.check("127.0.0.1").is_err());
    }

    /// A resolver that returns the given addresses for each name.
    struct Rebound(Vec<IpAddr>);

    impl DnsResolver for Rebound {
        fn addresses(
            &self,
            _: String,
        ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
            let found = self.0.clone();
            Box::pin(async move { Ok(found) })
        }
    }

    #[tokio::test]
    async fn a_public_name_with_a_private_address_has_no_address() {
        let leads = |to: &[&str], allow: &[AllowUpstream]| {
            AllowedHosts::with(
                allow,
                "--allow-x",
                Arc::new(Rebound(to.iter().map(|ip| ip.parse().unwrap()).collect())),
            )
        };
        let of = async |hosts: AllowedHosts| {
            hosts
                .addresses("smtp.example.com", 25)
                .await
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            of(leads(&["127.0.0.1", "10.0.0.1"], &[])).await,
            Err(NoAddress::Blocked)
        );
        assert_eq!(of(leads(&[], &[])).await, Err(NoAddress::Unknown));
        assert_eq!(
            of(leads(&["10.0.0.1", "93.184.216.34"], &[]))
                .await
                .unwrap(),
            ["93.184.216.34:25"]
        );
        assert_eq!(
            of(leads(&["10.0.0.1"], &["10.0.0.0/8".parse().unwrap()]))
                .await
                .unwrap(),
            ["10.0.0.1:25"]
        );
        assert_eq!(
            of(leads(&["10.0.0.1"], &["smtp.example.com".parse().unwrap()]))
                .await
                .unwrap(),
            ["10.0.0.1:25"]
        );
        // A host that was allowed when it was saved may be blocked later.
        for host in ["127.0.0.1", "localhost", "mail.internal"] {
            assert_eq!(
                leads(&["127.0.0.1"], &[]).addresses(host, 25).await,
                Err(NoAddress::Blocked),
                "{host}"
            );
        }
    }
}
