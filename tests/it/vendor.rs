//! A sandbox on the loopback address, a way to it that has little patience, and what a pull from it
//! gave.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch, TimestampMicrosecondArray};
use arrow::util::display::array_value_to_string;
use chatlake::clock::{self, Clock};
use chatlake::config::AllowUpstream;
use chatlake::connectors::upstream::{Limits, SystemResolver, Upstreams};
use chatlake::connectors::{
    self, Connector, Menus, PullError, PullEvent, PullRequest, Source, Window, WindowCounts,
};
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::sandbox::truth::TruthQuestion;
use chatlake::sandbox::{Sandbox, SandboxOptions};
use chatlake::secret::Secret;
use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// 2026-11-20 12:00 UTC.
pub const NOW: i64 = 1_795_176_000_000;
pub const ZONE: &str = "Europe/Oslo";

/// Limits that make a test of patience short.
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

pub struct Vendor {
    pub sandbox: Sandbox,
    pub address: String,
    pub clock: Clock,
    _stop: tokio_util::sync::DropGuard,
}

impl Vendor {
    pub async fn new(chats: u64, days: u32) -> Self {
        let clock = Clock::stopped_at(NOW);
        let sandbox = Sandbox::new(
            SandboxOptions {
                chats,
                days,
                ..SandboxOptions::default()
            },
            clock.clone(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let (served, token) = (sandbox.clone(), stop.clone());
        tokio::spawn(async move { served.serve(listener, token).await });
        Self {
            sandbox,
            address,
            clock,
            _stop: stop.drop_guard(),
        }
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

pub fn request(reports: &[&str], windows: &[Window]) -> PullRequest {
    PullRequest {
        reports: reports
            .iter()
            .map(|id| Connector::LiveChat.report(id).unwrap())
            .collect(),
        menus: Menus {
            start_days: Some(14),
            end_days: Some(1),
            ..Menus::default()
        },
        zone: TimeZone::get(ZONE).unwrap(),
        extras: Vec::new(),
        previous_window: None,
        second_read: true,
        scratch: std::env::temp_dir(),
        windows: windows.to_vec(),
        cancel: CancellationToken::new(),
    }
}

pub const WEEK: Window = Window {
    from: date(2026, 11, 8),
    to: date(2026, 11, 14),
};
pub const TODAY: Window = Window {
    from: date(2026, 11, 20),
    to: date(2026, 11, 20),
};

/// What a pull gave.
#[derive(Debug, Default)]
pub struct PulledRows {
    pub batches: Vec<Vec<RecordBatch>>,
    pub window_counts: Vec<WindowCounts>,
    /// Records that became no row, by report.
    pub empty_parents: Vec<Vec<String>>,
    pub progress: usize,
}

impl PulledRows {
    pub fn rows(&self, report: usize) -> usize {
        self.batches[report].iter().map(RecordBatch::num_rows).sum()
    }

    pub fn column(&self, report: usize, name: &str) -> Vec<Option<String>> {
        let cells =
            self.batches[report]
                .iter()
                .flat_map(|batch| match batch.column_by_name(name) {
                    None => vec![None; batch.num_rows()],
                    Some(array) => (0..array.len())
                        .map(|row| (!array.is_null(row)).then(|| shown(array, row)))
                        .collect(),
                });
        cells.collect()
    }

    pub fn set(&self, report: usize, name: &str) -> HashSet<String> {
        self.column(report, name).into_iter().flatten().collect()
    }
}

pub fn shown(array: &dyn Array, row: usize) -> String {
    match array.as_any().downcast_ref::<TimestampMicrosecondArray>() {
        Some(moments) => clock::iso(moments.value(row).div_euclid(1_000)),
        None => array_value_to_string(array, row).unwrap(),
    }
}

pub async fn pull(source: &Source, request: &PullRequest) -> (PulledRows, Result<(), PullError>) {
    let (out, mut pulled) = mpsc::channel(4);
    let reports = request.reports.len();
    let mut got = PulledRows {
        batches: vec![Vec::new(); reports],
        empty_parents: vec![Vec::new(); reports],
        ..PulledRows::default()
    };
    let reading = async {
        let done = connectors::pull(source, request, &out).await;
        drop(out);
        done
    };
    let keeping = async {
        while let Some(pulled) = pulled.recv().await {
            match pulled {
                PullEvent::Rows { report, batch } => got.batches[report].push(batch),
                PullEvent::WindowDone { counts, .. } => got.window_counts.push(counts),
                PullEvent::EmptyParents { report, parents } => {
                    got.empty_parents[report].extend(parents)
                }
                PullEvent::Progress { .. } => got.progress += 1,
            }
        }
    };
    let (done, ()) = tokio::join!(reading, keeping);
    (got, done)
}

pub fn ids(truth: &Value) -> HashSet<String> {
    truth["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect()
}
