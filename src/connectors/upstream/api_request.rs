//! A request to a vendor: its path, query, credentials and headers, and the HTTP request for them.

use base64::Engine;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Method, Request};
use url::Url;
use zeroize::Zeroizing;

use crate::connectors::PullError;
use crate::secret::Secret;

/// How a request authenticates.
#[derive(Clone, Copy, Debug)]
pub enum Auth<'a> {
    None,
    Basic {
        user: &'a str,
        secret: &'a Secret,
    },
    /// Name and value as query parameters, for a vendor without another method.
    Arguments {
        user: (&'a str, &'a str),
        secret: (&'a str, &'a Secret),
    },
}

/// Classifies an answer with a status other than 200 by its first bytes, if the connector knows
/// more than the status says. A `Refused` without a message gets the message of the answer.
pub type ErrorClassifier = fn(u16, &[u8]) -> Option<PullError>;

/// A request below the account's root. All fields except `auth` and the query may be logged.
#[derive(Clone, Copy, Debug)]
pub struct ApiRequest<'a> {
    /// With a leading slash; parts that come from data must be percent-encoded.
    pub path: &'a str,
    pub query: &'a [(&'a str, String)],
    pub auth: Auth<'a>,
    pub headers: &'a [(&'static str, &'static str)],
    pub classify_error: ErrorClassifier,
    /// Path and query of the connector's auth check call, which is sent with the same credentials
    /// and decides whether they are rejected.
    pub auth_check: (&'a str, &'a [(&'a str, String)]),
}

impl ApiRequest<'_> {
    /// Builds the HTTP request. `base` is the root of the account. `None` if the credentials cannot
    /// be sent as a header.
    pub(super) fn http_request(&self, base: &Url, region: Option<HeaderValue>) -> Option<Request> {
        let mut url = base.clone();
        let path = format!("{}{}", base.path().trim_end_matches('/'), self.path);
        url.set_path(&path);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(self.query);
        }
        let mut request = Request::new(Method::GET, url);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        for (name, value) in self.headers {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        if let Some(region) = region {
            headers.insert(HeaderName::from_static("x-region"), region);
        }
        if let Auth::Arguments { user, secret } = self.auth {
            request
                .url_mut()
                .query_pairs_mut()
                .append_pair(user.0, user.1)
                .append_pair(secret.0, secret.1.reveal());
        }
        let headers = request.headers_mut();
        if let Auth::Basic { user, secret } = self.auth {
            let pair = Zeroizing::new(format!("{user}:{}", secret.reveal()));
            let text = Zeroizing::new(format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())
            ));
            let mut value = HeaderValue::from_str(&text).ok()?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Some(request)
    }
}

/// Percent-encodes one part of a path.
pub fn encoded(part: &str) -> String {
    url::form_urlencoded::byte_serialize(part.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}
