//! The client for one account: sends requests, and reads and restores the state of the account.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Request;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::account_state::{AccountState, Gauge, VendorHints};
use super::body_reader::CheckedReader;
use super::call::BufferedBody;
use super::call_stats::{CallCounters, CallStats};
use super::{ApiRequest, BodyReader, OkResponse, ReadError, Upstreams, retry};
use crate::clock::Millis;
use crate::connectors::PullError;

/// The client for one account. Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    pub(super) all: Upstreams,
    pub(super) base: Url,
    pub(super) account_state: Arc<AccountState>,
    pub(super) call_counters: Arc<CallCounters>,
    /// If the vendor asks for a longer pause than this, a request fails at once instead of waiting.
    pub(super) max_wait: Duration,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("host", &self.base.host_str().unwrap_or_default())
            .finish_non_exhaustive()
    }
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

    pub(super) fn count_call(&self) {
        self.all.0.counters.calls.fetch_add(1, Ordering::Relaxed);
        self.call_counters.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The HTTP request; `None` if the credentials cannot be sent as a header.
    pub(super) fn request(&self, api_request: &ApiRequest<'_>) -> Option<Request> {
        api_request.http_request(&self.base, self.account_state.region())
    }
}
