//! The only HTTP client for vendors. All requests pass through here: the address guard (`guard`),
//! the account's rate limit (`pace`), timeouts and size limits (`call`), the minimum transfer rate
//! (`rate`), attempts (`retry`), the classification of answers (`classify`, `sniff`), the check of
//! rejected credentials (`confirm`), and messages without addresses and secrets (`mask`).
//! `allowed_hosts` applies the same address rules to the mail server, and `webhook_client` posts to
//! webhooks.

mod account_state;
pub mod allowed_hosts;
mod call;
mod call_stats;
mod classify;
mod confirm;
mod guard;
mod limits;
pub mod mask;
mod pace;
mod rate;
mod retry;
pub(in crate::connectors) mod sniff;
pub mod webhook_client;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;
use zeroize::Zeroizing;

use super::{Connector, PullError};
use crate::clock::{Clock, Millis};
use crate::config::AllowUpstream;
use crate::error::{Error, Result};
use crate::secret::Secret;
use account_state::AccountState;
pub use account_state::{Gauge, MAX_AUTH_FAILURES, VendorHints};
use call::BufferedBody;
use call_stats::CallCounters;
pub use call_stats::CallStats;
pub use guard::{DnsResolver, SystemResolver, check_address, is_public};
pub use limits::Limits;
pub use pace::MAX_PAUSE;

/// The maximum number of pulls that parse streamed answers at the same time. Each uses a few
/// threads, so slow hosts cannot use up all threads.
const MAX_PARSING: usize = 32;

/// The client for all vendors, with one rate limit per account. Cheap to clone.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    allow: Arc<[AllowUpstream]>,
    clock: Clock,
    limits: Limits,
    accounts: Mutex<HashMap<String, Arc<AccountState>>>,
    counters: TotalCounters,
    /// One permit for each pull that may start parser threads.
    parsing: Arc<Semaphore>,
}

#[derive(Default)]
struct TotalCounters {
    calls: AtomicU64,
    retries: AtomicU64,
    limited: AtomicU64,
    waited_ms: AtomicU64,
}

/// The counters since the start, over all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamStats {
    /// Requests that were sent.
    pub calls: u64,
    /// Of these, repeated attempts.
    pub retries: u64,
    /// Rate limit answers.
    pub limited: u64,
    /// Time spent waiting for the rate limit or because a vendor asked for it, in milliseconds.
    pub waited_ms: u64,
}

impl Upstreams {
    /// `allow`: the private or plain-http hosts that accounts may use. Fails if the machine has no
    /// root certificates.
    pub fn new(allow: Vec<AllowUpstream>, clock: Clock) -> Result<Self> {
        Self::with(allow, clock, Limits::default(), Arc::new(SystemResolver))
    }

    /// Like `new`, with other limits and another resolver.
    pub fn with(
        allow: Vec<AllowUpstream>,
        clock: Clock,
        limits: Limits,
        resolver: Arc<dyn DnsResolver>,
    ) -> Result<Self> {
        let allow: Arc<[AllowUpstream]> = allow.into();
        let client = guard::client(resolver, &allow, limits.connect)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|why| Error::internal(why.without_url()))?;
        let parsing = Arc::new(Semaphore::new(MAX_PARSING));
        Ok(Self(Arc::new(Inner {
            client,
            allow,
            clock,
            limits,
            accounts: Mutex::default(),
            counters: TotalCounters::default(),
            parsing,
        })))
    }

    /// The client for one account. `key` is the account's id: all clients with the same key share
    /// one rate limit. With an empty key (credentials that are not saved yet) the client has its
    /// own. `api_url` `None` is the vendor's own address. `requests_per_minute` 0 is no limit,
    /// which only measurements use; a changed number applies at once.
    pub fn for_account(
        &self,
        key: &str,
        connector: Connector,
        api_url: Option<&str>,
        requests_per_minute: u32,
    ) -> Result<Upstream, PullError> {
        let base = check_address(
            connector,
            api_url.unwrap_or(connector.api_url()),
            &self.0.allow,
        )
        .map_err(|why| PullError::AddressRefused { why })?;
        let new = || Arc::new(AccountState::new(requests_per_minute));
        let account_state = if key.is_empty() {
            new()
        } else {
            let account_state = self
                .accounts()
                .entry(key.to_owned())
                .or_insert_with(new)
                .clone();
            account_state.pace.set_rate(requests_per_minute);
            account_state
        };
        let max_wait = self.0.limits.max_wait;
        Ok(Upstream {
            all: self.clone(),
            base,
            account_state,
            call_counters: Arc::default(),
            max_wait,
        })
    }

    /// Like `for_account`, for credentials that are only tested: requests use the account's rate
    /// limit, but the vendor's answers do not change the state of the stored credentials.
    pub fn for_trial(
        &self,
        key: &str,
        connector: Connector,
        api_url: Option<&str>,
        requests_per_minute: u32,
    ) -> Result<Upstream, PullError> {
        let shared = self.for_account(key, connector, api_url, requests_per_minute)?;
        Ok(Upstream {
            account_state: Arc::new(AccountState::with_pace(shared.account_state.pace.clone())),
            ..shared
        })
    }

    /// The account has new credentials: it keeps its rate limit, and answers to requests with the
    /// old credentials no longer change its state.
    pub fn credentials_changed(&self, key: &str) {
        if let Some(account_state) = self.accounts().get_mut(key) {
            *account_state = Arc::new(AccountState::with_pace(account_state.pace.clone()));
        }
    }

    /// Whether this client's answers still count for the account: it was not deleted and its
    /// address and credentials did not change.
    pub fn is_current(&self, key: &str, upstream: &Upstream) -> bool {
        self.accounts()
            .get(key)
            .is_some_and(|account_state| Arc::ptr_eq(account_state, &upstream.account_state))
    }

    /// Drops the rate limit and the vendor hints of a deleted account.
    pub fn forget(&self, key: &str) {
        self.accounts().remove(key);
    }

    /// The current load of each account, by key; accounts without a request since the start are
    /// missing.
    pub fn gauges(&self) -> HashMap<String, Gauge> {
        self.accounts()
            .iter()
            .map(|(key, account_state)| (key.clone(), account_state.gauge()))
            .collect()
    }

    fn accounts(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<AccountState>>> {
        self.0
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The private or plain-http hosts that accounts may use.
    pub fn allowed(&self) -> &[AllowUpstream] {
        &self.0.allow
    }

    pub fn stats(&self) -> UpstreamStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let TotalCounters {
            calls,
            retries,
            limited,
            waited_ms,
        } = &self.0.counters;
        UpstreamStats {
            calls: read(calls),
            retries: read(retries),
            limited: read(limited),
            waited_ms: read(waited_ms),
        }
    }
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstreams")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The client for one account. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    all: Upstreams,
    base: Url,
    account_state: Arc<AccountState>,
    call_counters: Arc<CallCounters>,
    /// If the vendor asks for a longer pause than this, a request fails at once instead of waiting.
    max_wait: Duration,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("host", &self.base.host_str().unwrap_or_default())
            .finish_non_exhaustive()
    }
}

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

/// Consumes the body of a good answer piece by piece.
pub trait BodyReader: Send {
    type Out: Send;
    /// The body is streamed: it has no total time limit, and its maximum size is
    /// `Limits::max_streamed_bytes`.
    const STREAMED: bool;

    /// Called before the first piece, with the headers and the Content-Length.
    fn on_head(&mut self, _headers: &HeaderMap, _length: Option<u64>) {}

    /// Called with each decompressed piece. Returns false to stop reading.
    fn piece(&mut self, piece: Bytes) -> impl Future<Output = bool> + Send;

    /// Called after the last piece.
    fn end(self) -> impl Future<Output = Result<Self::Out, ReadError>> + Send;

    /// The vendor said twice, with the same status and body, that there is no data: 204, 404, or
    /// 200 with an empty answer. Returns the value for that, or `None` if it is not acceptable.
    fn on_empty(self, _status: u16) -> impl Future<Output = Option<Self::Out>> + Send
    where
        Self: Sized,
    {
        std::future::ready(None)
    }
}

/// Why a complete answer cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadError {
    /// Another attempt may succeed.
    Retry(String),
    /// The answer is a web page.
    WebPage,
    /// The answer has no data: an empty body, or JSON that is null or empty. `why`: the error if
    /// that is not acceptable.
    Empty {
        body: Bytes,
        why: String,
    },
    Fatal(PullError),
}

impl From<String> for ReadError {
    fn from(why: String) -> Self {
        ReadError::Retry(why)
    }
}

/// A reader that collects the body and passes it to `read`.
struct CheckedReader<'r, F, T> {
    buffer: BufferedBody,
    read: &'r F,
    on_empty: fn(u16) -> Option<T>,
}

impl<T: Send, E: Into<ReadError>, F: Fn(&Bytes) -> Result<T, E> + Sync> BodyReader
    for CheckedReader<'_, F, T>
{
    type Out = (OkResponse, T);
    const STREAMED: bool = false;

    fn on_head(&mut self, headers: &HeaderMap, length: Option<u64>) {
        self.buffer.on_head(headers, length);
    }

    async fn piece(&mut self, piece: Bytes) -> bool {
        self.buffer.piece(piece).await
    }

    async fn end(self) -> Result<Self::Out, ReadError> {
        let body = self.buffer.end().await?;
        match (self.read)(&body).map_err(Into::into) {
            Ok(value) => Ok((OkResponse { body }, value)),
            Err(ReadError::Retry(_)) if sniff::looks_like_web_page(&body) => {
                Err(ReadError::WebPage)
            }
            Err(ReadError::Retry(why)) if sniff::is_empty_body(&body) => {
                Err(ReadError::Empty { body, why })
            }
            Err(why) => Err(why),
        }
    }

    async fn on_empty(self, status: u16) -> Option<Self::Out> {
        (self.on_empty)(status).map(|value| (OkResponse { body: Bytes::new() }, value))
    }
}

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

/// A complete answer with status 200.
#[derive(Clone, Debug)]
pub struct OkResponse {
    pub body: Bytes,
}

impl Upstream {
    /// The current time.
    pub fn now(&self) -> Millis {
        self.all.0.clock.now()
    }

    /// Scheme, host and port.
    pub fn address(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// The vendor hints of this account so far.
    pub fn vendor_hints(&self) -> VendorHints {
        self.account_state.vendor_hints(self.now())
    }

    /// Whether `vendor_hints` should be saved now: requests were sent and the last save is at least
    /// `every` ago.
    pub fn is_save_due(&self, every: Duration) -> bool {
        self.account_state.is_save_due(every)
    }

    /// Restores the vendor hints that were saved before a restart; newer hints take precedence.
    pub fn restore(&self, hints: &VendorHints) {
        self.account_state.restore(hints, self.now());
    }

    /// Allows another request although the credentials were rejected: a person wants to test them
    /// again.
    pub fn reset_auth(&self) {
        self.account_state.reset_auth();
    }

    /// The current load of the account.
    pub fn gauge(&self) -> Gauge {
        self.account_state.gauge()
    }

    pub fn call_stats(&self) -> CallStats {
        self.call_counters.snapshot()
    }

    /// For interactive use: if the vendor asks for a longer pause than `max_wait`, the request
    /// fails at once.
    pub fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = self.max_wait.min(max_wait);
        self
    }

    /// Bytes of answers that this client and its clones received so far, before decompression.
    pub fn received(&self) -> u64 {
        self.call_counters.received.load(Ordering::Relaxed)
    }

    /// The permit to hold while parser threads run.
    pub fn parsing(&self) -> Arc<Semaphore> {
        self.all.0.parsing.clone()
    }

    /// Sends the request and retries it, within the account's rate limit and the limits.
    pub async fn get(
        &self,
        api_request: ApiRequest<'_>,
        cancel: &CancellationToken,
    ) -> Result<OkResponse, PullError> {
        self.get_checked(api_request, cancel, |_| Ok::<_, ReadError>(()))
            .await
            .map(|(answer, ())| answer)
    }

    /// Like `get`, and passes the body to `read`. If `read` returns `Err`, the request is repeated,
    /// up to three times in total; then the error is `Malformed`.
    pub async fn get_checked<T: Send, E: Into<ReadError>>(
        &self,
        api_request: ApiRequest<'_>,
        cancel: &CancellationToken,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
    ) -> Result<(OkResponse, T), PullError> {
        self.get_or_empty(api_request, cancel, read, |_| None).await
    }

    /// Like `get_checked`. `on_empty` returns the value for an answer that says twice that there is
    /// no data; see `BodyReader::on_empty`.
    pub async fn get_or_empty<T: Send, E: Into<ReadError>>(
        &self,
        api_request: ApiRequest<'_>,
        cancel: &CancellationToken,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
        on_empty: fn(u16) -> Option<T>,
    ) -> Result<(OkResponse, T), PullError> {
        self.read(api_request, cancel, || CheckedReader {
            buffer: BufferedBody::new(usize::MAX),
            read: &read,
            on_empty,
        })
        .await
    }

    /// Like `get`, but streams the body. Each attempt starts with a new reader.
    pub async fn read<R: BodyReader>(
        &self,
        api_request: ApiRequest<'_>,
        cancel: &CancellationToken,
        begin: impl Fn() -> R,
    ) -> Result<R::Out, PullError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(PullError::Cancelled),
            done = retry::run(self, api_request, begin) => done,
        }
    }

    fn count_call(&self) {
        self.all.0.counters.calls.fetch_add(1, Ordering::Relaxed);
        self.call_counters.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn request(&self, api_request: &ApiRequest<'_>) -> Option<Request> {
        let mut url = self.base.clone();
        let path = format!(
            "{}{}",
            self.base.path().trim_end_matches('/'),
            api_request.path
        );
        url.set_path(&path);
        if !api_request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(api_request.query);
        }
        let mut request = Request::new(Method::GET, url);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        for (name, value) in api_request.headers {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        if let Some(region) = self.account_state.region() {
            headers.insert(HeaderName::from_static("x-region"), region);
        }
        if let Auth::Arguments { user, secret } = api_request.auth {
            request
                .url_mut()
                .query_pairs_mut()
                .append_pair(user.0, user.1)
                .append_pair(secret.0, secret.1.reveal());
        }
        let headers = request.headers_mut();
        if let Auth::Basic { user, secret } = api_request.auth {
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
