//! The only HTTP client for vendors. All requests (`api_request`) of an account (`account_client`)
//! pass through here: the address guard (`guard`), the account's rate limit (`pace`), timeouts and
//! size limits (`call`), the minimum transfer rate (`rate`), attempts (`retry`, `retry_after`), the
//! classification of answers (`classify`, `sniff`), the check of rejected credentials (`confirm`),
//! and messages without addresses and secrets (`mask`). A `body_reader` consumes the body of a good
//! answer. `allowed_hosts` applies the same address rules to the mail server, and `webhook_client`
//! posts to webhooks.

mod account_client;
mod account_state;
pub mod allowed_hosts;
mod api_request;
mod body_reader;
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
mod retry_after;
pub(in crate::connectors) mod sniff;
pub mod webhook_client;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Connector, PullError};
use crate::clock::Clock;
use crate::config::AllowUpstream;
use crate::error::{Error, Result};
pub use account_client::Upstream;
use account_state::AccountState;
pub use account_state::{Gauge, MAX_AUTH_FAILURES, VendorHints};
pub use api_request::{ApiRequest, Auth, ErrorClassifier, encoded};
pub use body_reader::{BodyReader, OkResponse, ReadError};
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
