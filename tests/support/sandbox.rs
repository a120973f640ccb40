//! Sandboxes in the process of a test, as vendors.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chatlake::clock::Clock;
use chatlake::config::AllowUpstream;
use chatlake::connectors::upstream::{Limits, SystemResolver, Upstreams};
use chatlake::connectors::{Connector, Source, Window};
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::sandbox::truth::TruthQuestion;
use chatlake::sandbox::{Sandbox, SandboxOptions};
use chatlake::secret::Secret;
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::NOON;
use super::pulls::ZONE;

/// A sandbox with this number of chats in this number of days.
pub fn of_size(chats: u64, days: u32) -> SandboxOptions {
    SandboxOptions {
        chats,
        days,
        ..SandboxOptions::default()
    }
}

/// A sandbox that listens on the loopback address. It stops when this value is dropped.
pub struct LocalSandbox {
    pub sandbox: Sandbox,
    pub address: String,
    _stop: DropGuard,
}

impl LocalSandbox {
    pub async fn new(chats: u64) -> Self {
        Self::slow(chats, Duration::ZERO).await
    }

    pub async fn slow(chats: u64, delay: Duration) -> Self {
        Self::ten_days(chats, delay, Clock::system()).await
    }

    /// The clock is stopped, so no chat begins or ends.
    pub async fn still(chats: u64, delay: Duration) -> Self {
        Self::ten_days(chats, delay, Clock::stopped_at(Clock::system().now())).await
    }

    async fn ten_days(chats: u64, delay: Duration, clock: Clock) -> Self {
        let options = SandboxOptions {
            delay,
            ..of_size(chats, 10)
        };
        Self::with(options, clock).await
    }

    pub async fn with(options: SandboxOptions, clock: Clock) -> Self {
        let sandbox = Sandbox::new(options, clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let (served, token) = (sandbox.clone(), stop.clone());
        tokio::spawn(async move { served.serve(listener, token).await });
        Self {
            sandbox,
            address,
            _stop: stop.drop_guard(),
        }
    }
}

/// A sandbox with a clock that is stopped at `NOON`, and a connection to it whose timeouts are
/// short.
pub struct Vendor {
    pub clock: Clock,
    local: LocalSandbox,
}

impl Deref for Vendor {
    type Target = LocalSandbox;

    fn deref(&self) -> &LocalSandbox {
        &self.local
    }
}

impl Vendor {
    pub async fn new(chats: u64, days: u32) -> Self {
        let clock = Clock::stopped_at(NOON);
        let local = LocalSandbox::with(of_size(chats, days), clock.clone()).await;
        Self { clock, local }
    }

    pub fn upstreams(&self) -> Upstreams {
        Upstreams::with(
            vec![allow("127.0.0.1")],
            self.clock.clone(),
            limits(),
            Arc::new(SystemResolver),
        )
        .unwrap()
    }

    /// A source for tests that count calls: a slow machine does not make it repeat one.
    pub fn patient_source(&self) -> Source {
        let limits = Limits {
            first_byte: Duration::from_secs(30),
            no_progress: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(60),
            ..limits()
        };
        let upstreams = Upstreams::with(
            vec![allow("127.0.0.1")],
            self.clock.clone(),
            limits,
            Arc::new(SystemResolver),
        );
        source(&upstreams.unwrap(), &self.address, "sandbox-key")
    }

    pub fn source(&self) -> Source {
        self.source_with("sandbox-key")
    }

    pub fn source_with(&self, key: &str) -> Source {
        source(&self.upstreams(), &self.address, key)
    }

    pub fn truth(&self, report: &str, window: Window) -> Value {
        self.sandbox
            .truth(&TruthQuestion {
                report: report.to_owned(),
                date_from: Some(window.from),
                date_to: Some(window.to),
                timezone: Some(ZONE.to_owned()),
                ids: 1,
                ..TruthQuestion::default()
            })
            .unwrap()
    }

    pub fn fault(&self, kind: FaultKind) {
        self.sandbox.faults().set(vec![Fault::new(kind)]);
    }
}

/// Limits with short timeouts, so that a test of a timeout is short.
pub fn limits() -> Limits {
    Limits {
        connect: Duration::from_millis(500),
        first_byte: Duration::from_millis(500),
        no_progress: Duration::from_millis(500),
        attempt_timeout: Duration::from_secs(5),
        first_delay: Duration::from_millis(1),
        confirm_after: Duration::from_millis(1),
        min_wait: Duration::from_millis(10),
        max_wait: Duration::from_secs(3),
        ..Limits::default()
    }
}

pub fn allow(text: &str) -> AllowUpstream {
    text.parse().unwrap()
}

pub fn source(upstreams: &Upstreams, address: &str, key: &str) -> Source {
    Source {
        connector: Connector::LiveChat,
        fields: BTreeMap::from([("username".to_owned(), "agent@sandbox.test".to_owned())]),
        secrets: BTreeMap::from([("api_key".to_owned(), Secret::new(key))]),
        zone: TimeZone::UTC,
        upstream: upstreams
            .for_account("", Connector::LiveChat, Some(address), 0)
            .unwrap(),
    }
}
