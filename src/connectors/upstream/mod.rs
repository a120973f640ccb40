//! The only HTTP client. Everything that asks a vendor goes through here: the address guard (`guard`), the account's pace (`pace`),
//! timeouts and size caps (`call`), the minimum rate (`rate`), tries (`retry`), what an answer means (`meaning`, `page`), whether rejected
//! credentials are bad (`confirm`), and errors without addresses and secrets (`mask`). The mail server, which is not asked by HTTP, is held
//! to the same addresses by `hosts`.

mod call;
mod confirm;
mod guard;
pub mod hosts;
mod limits;
pub mod mask;
mod meaning;
pub mod outgoing;
mod pace;
pub(in crate::connectors) mod page;
mod rate;
mod retry;
mod spent;
mod standing;

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
use call::Whole;
pub use guard::{Names, SystemNames, check_address, is_public};
pub use limits::Limits;
pub use pace::LONGEST_PAUSE;
use spent::Counted;
pub use spent::Spent;
use standing::Standing;
pub use standing::{Gauge, MAX_REFUSALS, Told};

/// Pulls at a time whose streamed answers are parsed, each with a few threads of its own: more hosts that send slowly take no more threads.
const MAX_PARSING: usize = 32;

/// The way out to all vendors: one client, and one pace per account. Cheap to clone.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    allow: Arc<[AllowUpstream]>,
    clock: Clock,
    limits: Limits,
    accounts: Mutex<HashMap<String, Arc<Standing>>>,
    counters: Counters,
    /// Pulls that may have threads parsing streamed answers.
    parsing: Arc<Semaphore>,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    retries: AtomicU64,
    limited: AtomicU64,
    waited_ms: AtomicU64,
}

/// What was counted since the start, over all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that were sent.
    pub calls: u64,
    /// Of these, repetitions.
    pub retries: u64,
    /// Answers that asked to wait.
    pub limited: u64,
    /// Spent waiting for a pace, or because a vendor asked, in milliseconds.
    pub waited_ms: u64,
}

impl Upstreams {
    /// `allow`: the private or plain-http hosts that accounts may name. Fails when the machine has no certificates to verify with.
    pub fn new(allow: Vec<AllowUpstream>, clock: Clock) -> Result<Self> {
        Self::with(allow, clock, Limits::default(), Arc::new(SystemNames))
    }

    /// As `new`, with other limits and another resolver.
    pub fn with(allow: Vec<AllowUpstream>, clock: Clock, limits: Limits, names: Arc<dyn Names>) -> Result<Self> {
        let allow: Arc<[AllowUpstream]> = allow.into();
        let client = guard::client(names, &allow, limits.connect)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|why| Error::internal(why.without_url()))?;
        let parsing = Arc::new(Semaphore::new(MAX_PARSING));
        Ok(Self(Arc::new(Inner { client, allow, clock, limits, accounts: Mutex::default(), counters: Counters::default(), parsing })))
    }

    /// The way to one account's vendor. `key` is the account's id: all that share it share one pace; with an empty key (credentials
    /// that are not saved yet) the pace is this `Upstream`'s own. `api_url` none is the vendor's own. `requests_per_minute` 0 is no
    /// pace at all, which only measurements use; another number than before takes over at once.
    pub fn for_account(&self, key: &str, connector: Connector, api_url: Option<&str>, requests_per_minute: u32) -> Result<Upstream, PullError> {
        let base = check_address(connector, api_url.unwrap_or(connector.api_url()), &self.0.allow).map_err(|why| PullError::Forbidden { why })?;
        let new = || Arc::new(Standing::new(requests_per_minute));
        let standing = if key.is_empty() {
            new()
        } else {
            let standing = self.accounts().entry(key.to_owned()).or_insert_with(new).clone();
            standing.pace.set(requests_per_minute);
            standing
        };
        let patience = self.0.limits.patience;
        Ok(Upstream { all: self.clone(), base, standing, spent: Arc::default(), patience })
    }

    /// As `for_account`, for credentials that are only tried: they leave in the account's pace, and what the vendor says to them is
    /// nothing against those that are stored.
    pub fn aside(&self, key: &str, connector: Connector, api_url: Option<&str>, requests_per_minute: u32) -> Result<Upstream, PullError> {
        let beside = self.for_account(key, connector, api_url, requests_per_minute)?;
        Ok(Upstream { standing: Arc::new(Standing::in_pace(beside.standing.pace.clone())), ..beside })
    }

    /// The credentials of an account are others now: it keeps its pace, and what is still asked with the old ones says nothing about it.
    pub fn renew(&self, key: &str) {
        if let Some(standing) = self.accounts().get_mut(key) {
            *standing = Arc::new(Standing::in_pace(standing.pace.clone()));
        }
    }

    /// Whether what is asked through this still counts for the account: it was not deleted, moved or given other credentials since.
    pub fn is_current(&self, key: &str, upstream: &Upstream) -> bool {
        self.accounts().get(key).is_some_and(|standing| Arc::ptr_eq(standing, &upstream.standing))
    }

    /// Forgets the pace of an account that was deleted, and what its vendor told.
    pub fn forget(&self, key: &str) {
        self.accounts().remove(key);
    }

    /// How much each account is asked just now, by its key; those that were not asked since the start are not among them.
    pub fn gauges(&self) -> HashMap<String, Gauge> {
        self.accounts().iter().map(|(key, standing)| (key.clone(), standing.gauge())).collect()
    }

    fn accounts(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Standing>>> {
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The private or plain-http hosts that accounts may name.
    pub fn allowed(&self) -> &[AllowUpstream] {
        &self.0.allow
    }

    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { calls, retries, limited, waited_ms } = &self.0.counters;
        Stats { calls: read(calls), retries: read(retries), limited: read(limited), waited_ms: read(waited_ms) }
    }
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstreams").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The way to one account's vendor. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    all: Upstreams,
    base: Url,
    standing: Arc<Standing>,
    spent: Arc<Counted>,
    /// The longest wait that is waited out; a longer one is an error at once.
    patience: Duration,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("host", &self.base.host_str().unwrap_or_default()).finish_non_exhaustive()
    }
}

/// How a request proves who asks.
#[derive(Clone, Copy, Debug)]
pub enum Auth<'a> {
    None,
    Basic {
        user: &'a str,
        secret: &'a Secret,
    },
    /// Name and value among the arguments, in the clear, for a vendor that knows no other way.
    Arguments {
        user: (&'a str, &'a str),
        secret: (&'a str, &'a Secret),
    },
}

/// What an answer with another status than 200 means, by its first bytes, where the connector knows better than the status tells. A
/// `Refused` without words gets those of the answer.
pub type Judge = fn(u16, &[u8]) -> Option<PullError>;

/// Takes the body of a good answer as it comes.
pub trait Reader: Send {
    type Out: Send;
    /// It keeps no more than a part in memory: it may take as long as it goes on, and is as large as `Limits::most_streamed`.
    const ENDLESS: bool;

    /// Before the first piece: the head of the answer, and how long it says that the body is.
    fn begins(&mut self, _headers: &HeaderMap, _length: Option<u64>) {}

    /// The next piece, unpacked; false when no more is wanted.
    fn piece(&mut self, piece: Bytes) -> impl Future<Output = bool> + Send;

    /// After the last piece that was wanted or came.
    fn end(self) -> impl Future<Output = Result<Self::Out, Unread>> + Send;

    /// The vendor said twice, in the same words and with this status, that there is nothing: 204, 404, or 200 with an empty answer.
    /// What that stands for; none where it is not to be believed.
    fn nothing(self, _status: u16) -> impl Future<Output = Option<Self::Out>> + Send
    where
        Self: Sized,
    {
        std::future::ready(None)
    }
}

/// Why a whole answer is not what it should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Unread {
    /// It may come better the next time.
    Again(String),
    /// A web page for people.
    Page,
    /// Nothing: an empty body, or JSON that is null or holds nothing. `why`: what it is where that is not to be believed.
    Nothing {
        body: Bytes,
        why: String,
    },
    Stop(PullError),
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Unread::Again(why)
    }
}

/// A whole answer that `read` has looked at.
struct Checked<'r, F, T> {
    whole: Whole,
    read: &'r F,
    nothing: fn(u16) -> Option<T>,
}

impl<T: Send, E: Into<Unread>, F: Fn(&Bytes) -> Result<T, E> + Sync> Reader for Checked<'_, F, T> {
    type Out = (Answer, T);
    const ENDLESS: bool = false;

    fn begins(&mut self, headers: &HeaderMap, length: Option<u64>) {
        self.whole.begins(headers, length);
    }

    async fn piece(&mut self, piece: Bytes) -> bool {
        self.whole.piece(piece).await
    }

    async fn end(self) -> Result<Self::Out, Unread> {
        let body = self.whole.end().await?;
        match (self.read)(&body).map_err(Into::into) {
            Ok(value) => Ok((Answer { body }, value)),
            Err(Unread::Again(_)) if page::looks_like_one(&body) => Err(Unread::Page),
            Err(Unread::Again(why)) if page::is_nothing(&body) => Err(Unread::Nothing { body, why }),
            Err(why) => Err(why),
        }
    }

    async fn nothing(self, status: u16) -> Option<Self::Out> {
        (self.nothing)(status).map(|value| (Answer { body: Bytes::new() }, value))
    }
}

/// A request below the account's root. Everything in it but `auth` may be logged, save the query.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// With a leading slash; parts that come from data must be percent-encoded.
    pub path: &'a str,
    pub query: &'a [(&'a str, String)],
    pub auth: Auth<'a>,
    pub headers: &'a [(&'static str, &'static str)],
    pub judge: Judge,
    /// The connector's check call, by path and query, sent as this request is: what it is told decides whether the credentials are
    /// rejected.
    pub check: (&'a str, &'a [(&'a str, String)]),
}

/// A good answer (status 200), whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub body: Bytes,
}

impl Upstream {
    /// This moment.
    pub fn now(&self) -> Millis {
        self.all.0.clock.now()
    }

    /// Scheme, host and port.
    pub fn address(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    /// What the vendor has told of this account so far.
    pub fn told(&self) -> Told {
        self.standing.told(self.now())
    }

    /// Whether what `told` has is to be kept now: requests left, and nobody was told so for `every`.
    pub fn is_to_be_kept(&self, every: Duration) -> bool {
        self.standing.is_to_be_kept(every)
    }

    /// Takes over what the vendor had told before a restart; what it told since counts more.
    pub fn recall(&self, told: &Told) {
        self.standing.recall(told, self.now());
    }

    /// Somebody wants to know whether the credentials are good again, whatever the vendor said before.
    pub fn trust_again(&self) {
        self.standing.trust_again();
    }

    /// How much its account is asked just now.
    pub fn gauge(&self) -> Gauge {
        self.standing.gauge()
    }

    pub fn spent(&self) -> Spent {
        self.spent.told()
    }

    /// For somebody in front of a page: a pause of the vendor that is longer than `patience` is an error at once, not waited out.
    pub fn hurried(mut self, patience: Duration) -> Self {
        self.patience = self.patience.min(patience);
        self
    }

    /// Bytes of answers that came through this and its clones so far, as they came.
    pub fn received(&self) -> u64 {
        self.spent.received.load(Ordering::Relaxed)
    }

    /// Held while threads parse what a pull streams.
    pub fn parsing(&self) -> Arc<Semaphore> {
        self.all.0.parsing.clone()
    }

    /// Asks until there is an answer, within the account's pace and the limits.
    pub async fn get(&self, ask: Ask<'_>, cancel: &CancellationToken) -> Result<Answer, PullError> {
        self.get_checked(ask, cancel, |_| Ok::<_, Unread>(())).await.map(|(answer, ())| answer)
    }

    /// As `get`, and `read` says whether the body is what it should be. `Err` is why not: the page is then asked for again, up to
    /// three times in all, before it is `Malformed`.
    pub async fn get_checked<T: Send, E: Into<Unread>>(
        &self,
        ask: Ask<'_>,
        cancel: &CancellationToken,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
    ) -> Result<(Answer, T), PullError> {
        self.get_or_nothing(ask, cancel, read, |_| None).await
    }

    /// As `get_checked`, and `nothing` says what it stands for when the vendor says twice that there is nothing; see `Reader::nothing`.
    pub async fn get_or_nothing<T: Send, E: Into<Unread>>(
        &self,
        ask: Ask<'_>,
        cancel: &CancellationToken,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
        nothing: fn(u16) -> Option<T>,
    ) -> Result<(Answer, T), PullError> {
        self.read(ask, cancel, || Checked { whole: Whole::new(usize::MAX), read: &read, nothing }).await
    }

    /// As `get`, handing the body on while it comes; each try begins with a reader of its own.
    pub async fn read<R: Reader>(&self, ask: Ask<'_>, cancel: &CancellationToken, begin: impl Fn() -> R) -> Result<R::Out, PullError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(PullError::Cancelled),
            done = retry::run(self, ask, begin) => done,
        }
    }

    fn count_call(&self) {
        self.all.0.counters.calls.fetch_add(1, Ordering::Relaxed);
        self.spent.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn request(&self, ask: &Ask<'_>) -> Option<Request> {
        let mut url = self.base.clone();
        let path = format!("{}{}", self.base.path().trim_end_matches('/'), ask.path);
        url.set_path(&path);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        let mut request = Request::new(Method::GET, url);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        for (name, value) in ask.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Some(region) = self.standing.region() {
            headers.insert(HeaderName::from_static("x-region"), region);
        }
        if let Auth::Arguments { user, secret } = ask.auth {
            request.url_mut().query_pairs_mut().append_pair(user.0, user.1).append_pair(secret.0, secret.1.reveal());
        }
        let headers = request.headers_mut();
        if let Auth::Basic { user, secret } = ask.auth {
            let pair = Zeroizing::new(format!("{user}:{}", secret.reveal()));
            let text = Zeroizing::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())));
            let mut value = HeaderValue::from_str(&text).ok()?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Some(request)
    }
}

/// One part of a path that comes from data.
pub fn encoded(part: &str) -> String {
    url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>().replace('+', "%20")
}
