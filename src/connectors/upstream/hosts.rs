//! Which hosts may be connected to beside vendors and webhooks: for the mail server, whose connection is not HTTP. The addresses that were
//! checked are the ones that are dialled.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use url::Host;

use super::guard::{self, Names, SystemNames};
use crate::config::AllowUpstream;

/// Public hosts, and those that a setting names. Cheap to clone.
#[derive(Clone)]
pub struct Hosts {
    names: Arc<dyn Names>,
    allow: Arc<[AllowUpstream]>,
    /// The flag that names more of them.
    setting: &'static str,
}

/// Why there is no address to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAddress {
    /// Its name was not found.
    Unknown,
    /// It leads to addresses that may not be dialled.
    Blocked,
}

impl Hosts {
    /// `allow`: the private hosts that may be named; `setting`: the flag that says so, for error messages.
    pub fn new(allow: &[AllowUpstream], setting: &'static str) -> Self {
        Self::with(allow, setting, Arc::new(SystemNames))
    }

    /// As `new`, with another resolver.
    pub fn with(allow: &[AllowUpstream], setting: &'static str, names: Arc<dyn Names>) -> Self {
        Self { names, allow: allow.into(), setting }
    }

    /// The host as it is kept, without a look at the network: a name in lower case or an address in its usual form. `Err` is a sentence for
    /// the person who typed it.
    pub fn check(&self, typed: &str) -> Result<String, String> {
        let typed = typed.trim().to_ascii_lowercase();
        let host = match parse(&typed) {
            Some(host) if typed.len() <= 253 => host,
            _ => return Err("Enter the host name of the mail server, for example smtp.example.com.".to_owned()),
        };
        match host {
            Host::Ipv4(ip) => self.check_address(ip.into()),
            Host::Ipv6(ip) => self.check_address(ip.into()),
            Host::Domain(name) => self.check_name(name),
        }
    }

    fn check_address(&self, ip: IpAddr) -> Result<String, String> {
        if guard::is_public(ip) || guard::names_address(ip, &self.allow) {
            return Ok(ip.to_string());
        }
        Err(format!("{ip} is not a public address. To allow it, start the server with {} {ip}.", self.setting))
    }

    fn check_name(&self, name: String) -> Result<String, String> {
        if guard::is_local_name(&name) && !guard::names_host(&name, &self.allow) {
            return Err(format!("{name} is a local host name. To allow it, start the server with {} {name}.", self.setting));
        }
        Ok(name)
    }

    /// The addresses of a host as `check` answers it, at this port: those that may be dialled.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, NoAddress> {
        let found = match parse(host) {
            Some(Host::Ipv4(ip)) => vec![ip.into()],
            Some(Host::Ipv6(ip)) => vec![ip.into()],
            Some(Host::Domain(name)) if self.check_name(name.clone()).is_err() => return Err(NoAddress::Blocked),
            Some(Host::Domain(name)) => self.names.addresses(name).await.map_err(|_| NoAddress::Unknown)?,
            None => return Err(NoAddress::Unknown),
        };
        let named = guard::names_host(host, &self.allow);
        let good: Vec<SocketAddr> =
            found.iter().filter(|ip| named || guard::is_public(**ip) || guard::names_address(**ip, &self.allow)).map(|ip| SocketAddr::new(*ip, port)).collect();
        match (good.is_empty(), found.is_empty()) {
            (false, _) => Ok(good),
            (true, true) => Err(NoAddress::Unknown),
            (true, false) => Err(NoAddress::Blocked),
        }
    }
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hosts(...)")
    }
}

/// As a browser reads it: `2130706433` and `0x7f.1` are addresses. One of IPv6 may stand without brackets.
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
        let closed = Hosts::new(&[], "--allow-x");
        for host in INSIDE {
            let said = closed.check(host).unwrap_err();
            assert!(said.contains("--allow-x"), "{host}: {said}");
        }
        for odd in ["", "not a host", "http://smtp.example.com", "smtp.example.com:25", "a@b", &"x".repeat(254)] {
            assert!(closed.check(odd).is_err(), "{odd}");
        }
        assert_eq!(closed.check(" SMTP.Example.com ").unwrap(), "smtp.example.com");
        assert_eq!(closed.check("93.184.216.34").unwrap(), "93.184.216.34");
        assert_eq!(closed.check("2606:2800:220:1::1").unwrap(), "2606:2800:220:1::1");
        let open = Hosts::new(&["10.0.0.0/8".parse().unwrap(), "mail.internal".parse().unwrap()], "--allow-x");
        assert_eq!(open.check("10.1.2.3").unwrap(), "10.1.2.3");
        assert!(open.check("mail.internal").is_ok() && open.check("127.0.0.1").is_err());
    }

    /// Names that lead where they like.
    struct Rebound(Vec<IpAddr>);

    impl Names for Rebound {
        fn addresses(&self, _: String) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
            let found = self.0.clone();
            Box::pin(async move { Ok(found) })
        }
    }

    #[tokio::test]
    async fn a_public_name_that_leads_inside_has_no_address() {
        let leads =
            |to: &[&str], allow: &[AllowUpstream]| Hosts::with(allow, "--allow-x", Arc::new(Rebound(to.iter().map(|ip| ip.parse().unwrap()).collect())));
        let of = async |hosts: Hosts| hosts.addresses("smtp.example.com", 25).await.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(leads(&["127.0.0.1", "10.0.0.1"], &[])).await, Err(NoAddress::Blocked));
        assert_eq!(of(leads(&[], &[])).await, Err(NoAddress::Unknown));
        assert_eq!(of(leads(&["10.0.0.1", "93.184.216.34"], &[])).await.unwrap(), ["93.184.216.34:25"]);
        assert_eq!(of(leads(&["10.0.0.1"], &["10.0.0.0/8".parse().unwrap()])).await.unwrap(), ["10.0.0.1:25"]);
        assert_eq!(of(leads(&["10.0.0.1"], &["smtp.example.com".parse().unwrap()])).await.unwrap(), ["10.0.0.1:25"]);
        // What was allowed when it was saved may be so no more.
        for host in ["127.0.0.1", "localhost", "mail.internal"] {
            assert_eq!(leads(&["127.0.0.1"], &[]).addresses(host, 25).await, Err(NoAddress::Blocked), "{host}");
        }
    }
}
