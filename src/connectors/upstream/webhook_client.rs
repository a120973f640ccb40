//! The HTTP client for webhooks, behind the same address guard as the vendors' client. It posts
//! once, follows no redirect, reads only the status of the answer, and its errors contain no
//! address.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use super::guard::{self, Blocked, DnsResolver, SystemResolver};
use crate::config::AllowUpstream;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// From the first byte to the head of the answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct WebhookClient {
    client: reqwest::Client,
    allow: Arc<[AllowUpstream]>,
    timeout: Duration,
}

impl std::fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookClient(...)")
    }
}

impl WebhookClient {
    /// `allow`: the private or plain-http hosts that are allowed. Fails if the machine has no root
    /// certificates.
    pub fn new(allow: &[AllowUpstream]) -> Result<Self> {
        Self::with(allow, TIMEOUT, Arc::new(SystemResolver))
    }

    /// Like `new`, with another timeout and another resolver.
    pub fn with(
        allow: &[AllowUpstream],
        timeout: Duration,
        resolver: Arc<dyn DnsResolver>,
    ) -> Result<Self> {
        let allow: Arc<[AllowUpstream]> = allow.into();
        let client = guard::client(resolver, &allow, timeout)
            .timeout(timeout)
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|why| Error::internal(why.without_url()))?;
        Ok(Self {
            client,
            allow,
            timeout,
        })
    }

    /// Validates a webhook address: https on port 443 of a public host, unless the server's
    /// settings allow the host. `Err` is a sentence for the person who typed it; it does not repeat
    /// the address, which may be a secret.
    pub fn check(&self, address: &str) -> std::result::Result<Url, String> {
        let written = "Example: https://hooks.example.com/services/….";
        if address.chars().any(|c| c.is_control() || c.is_whitespace()) || address.len() > 2_000 {
            return Err(format!(
                "The URL must be at most 2,000 characters, without spaces or line breaks. {written}"
            ));
        }
        let url = Url::parse(address).map_err(|_| format!("This is not a URL. {written}"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err("The URL must start with https://.".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("The URL must not contain a user name or password.".to_owned());
        }
        if url.fragment().is_some() {
            return Err("The URL must not contain #.".to_owned());
        }
        let allowed = match url.host() {
            None => return Err(format!("The URL must contain a host. {written}")),
            Some(Host::Ipv4(ip)) => guard::check_literal(ip.into(), &self.allow)?,
            Some(Host::Ipv6(ip)) => guard::check_literal(ip.into(), &self.allow)?,
            Some(Host::Domain(name)) => guard::allows_host(name, &self.allow),
        };
        let host = url.host_str().unwrap_or_default();
        if allowed {
            return Ok(url);
        }
        if url.scheme() != "https" || url.port().is_some() {
            return Err(format!(
                "The URL must start with https:// and contain no port, unless the server runs with --allow-upstream {host}."
            ));
        }
        if matches!(url.host(), Some(Host::Domain(_))) && guard::is_local_name(host) {
            return Err(format!(
                "{host} is a local host name. To allow it, start the server with --allow-upstream {host}."
            ));
        }
        Ok(url)
    }

    /// Posts JSON once. The address is checked again, because the allowed hosts may have changed.
    /// `Err` is the reason, without the address and without text of the answer.
    pub async fn post(
        &self,
        address: &Secret,
        headers: &[(&'static str, String)],
        body: String,
    ) -> std::result::Result<(), String> {
        let url = self.check(address.reveal())?;
        let mut head = HeaderMap::new();
        head.insert(
            reqwest::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| "A request header could not be built.".to_owned())?;
            head.insert(HeaderName::from_static(name), value);
        }
        // The client has the same timeout; this one also covers the time before the request is
        // sent.
        let sent = tokio::time::timeout(
            self.timeout,
            self.client.post(url).headers(head).body(body).send(),
        )
        .await;
        let seconds = self.timeout.as_secs().max(1);
        let slow = format!("The webhook did not answer within {seconds} seconds.");
        match sent.map_err(|_| slow.clone())? {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) if answer.status().is_redirection() => Err(format!(
                "The webhook returned a redirect (status {}). Chatlake does not follow redirects. Enter the final URL.",
                answer.status().as_u16()
            )),
            Ok(answer) => Err(format!(
                "The webhook returned status {}.",
                answer.status().as_u16()
            )),
            Err(why) if why.is_timeout() => Err(slow),
            Err(why) => Err(describe_failure(&why).to_owned()),
        }
    }
}

fn describe_failure(error: &reqwest::Error) -> &'static str {
    let mut at = std::error::Error::source(error);
    while let Some(inner) = at {
        if inner.is::<Blocked>() {
            return "The host of the webhook does not have a public address.";
        }
        if inner.is::<rustls::Error>() {
            return "The TLS certificate of the webhook could not be verified.";
        }
        at = match inner
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            // `source` of an io error skips the error that it wraps.
            Some(wrapped) => Some(wrapped as &(dyn std::error::Error + 'static)),
            None => inner.source(),
        };
    }
    "Could not reach the webhook."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_https_may_be_named_unless_it_is_allowed() {
        let closed = WebhookClient::new(&[]).unwrap();
        for good in [
            "https://hooks.example.com/services/T0/B0/x",
            "https://hooks.example.com/a?sig=canary",
            "https://93.184.216.34/x",
        ] {
            assert!(closed.check(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "hooks.example.com",
            "ftp://hooks.example.com/x",
            "http://hooks.example.com/canary",
            "https://hooks.example.com:8443/canary",
            "https://ann:canary@hooks.example.com/x",
            "https://hooks.example.com/x#canary",
            "https://127.0.0.1/canary",
            "https://2130706433/canary",
            "https://0x7f.1/canary",
            "https://[::ffff:127.0.0.1]/canary",
            "https://169.254.169.254/latest/canary",
            "https://10.1.2.3/canary",
            "https://localhost/canary",
            "https://hooks/canary",
            "https://hooks.internal/canary",
            "https://hooks.example.com/a b",
        ];
        for address in bad {
            let message = closed.check(address).unwrap_err();
            assert!(!message.contains("canary"), "{address}: {message}");
        }
        let open = WebhookClient::new(&[
            "127.0.0.1".parse().unwrap(),
            "hooks.internal".parse().unwrap(),
        ])
        .unwrap();
        for good in ["http://127.0.0.1:9000/x", "https://hooks.internal/x"] {
            assert!(open.check(good).is_ok(), "{good}");
        }
    }

    /// A resolver that returns an address of this machine.
    struct Rebound;

    impl DnsResolver for Rebound {
        fn addresses(
            &self,
            _: String,
        ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<std::net::IpAddr>>> + Send>>
        {
            Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
        }
    }

    #[tokio::test]
    async fn a_public_name_with_a_private_address_is_not_contacted() {
        let http = WebhookClient::with(&[], Duration::from_secs(2), Arc::new(Rebound)).unwrap();
        let message = http
            .post(
                &Secret::new("https://hooks.example.com/canary"),
                &[],
                "{}".to_owned(),
            )
            .await
            .unwrap_err();
        assert_eq!(
            message,
            "The host of the webhook does not have a public address."
        );
    }
}
