//! Metrics for monitoring. No name, address or text of a person is ever a label.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rustix::param::{clock_ticks_per_second, page_size};

use crate::clock::Clock;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AccountLabel {
    account: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DatasetLabel {
    dataset: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResponseLabels {
    route: String,
    class: &'static str,
}

/// The metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    runs: Family<OutcomeLabel, Counter>,
    answers: Family<ResponseLabels, Counter>,
    answer_seconds: Histogram,
    account_calls: Family<AccountLabel, Gauge>,
    account_max_calls: Family<AccountLabel, Gauge>,
    account_paused: Family<AccountLabel, Gauge>,
    dataset_age: Family<DatasetLabel, Gauge>,
    datasets_late: Gauge,
    /// Calls to vendors.
    pub vendor_calls: Counter<u64, AtomicU64>,
    /// Code points in exported chats that XML forbids, each written as U+FFFD.
    pub replaced_code_points: Counter<u64, AtomicU64>,
    /// NUL characters in rows, each written as U+FFFD into a CSV file.
    pub replaced_nul: Counter<u64, AtomicU64>,
    /// Runs that are queued, running or waiting.
    pub runs_alive: Gauge,
    pub downloads: Gauge,
    pub downloads_waiting: Gauge,
    pub event_streams: Gauge,
    /// Clients that were disconnected because they read too slowly.
    pub slow_clients: Counter<u64, AtomicU64>,
    /// Connections that were refused because of the limit per address.
    pub refused_connections: Counter<u64, AtomicU64>,
    /// When the newest successful run of any DataSet ended, in seconds since 1970.
    pub last_success: Gauge,
    pub damaged_segments: Gauge,
    /// Free bytes on the disk of the data directory.
    pub data_free: Gauge,
    /// The process metrics, with the names of Prometheus' own client libraries.
    process_registry: Arc<Registry>,
    resident: Gauge,
    descriptors: Gauge,
    cpu_seconds: Counter<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("chatlake");
        let runs = Family::<OutcomeLabel, Counter>::default();
        let answers = Family::<ResponseLabels, Counter>::default();
        let answer_seconds = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let (account_calls, account_max_calls, account_paused) = <(
            Family<AccountLabel, Gauge>,
            Family<AccountLabel, Gauge>,
            Family<AccountLabel, Gauge>,
        )>::default();
        let (vendor_calls, replaced_code_points, replaced_nul) = <(
            Counter<u64, AtomicU64>,
            Counter<u64, AtomicU64>,
            Counter<u64, AtomicU64>,
        )>::default();
        let (dataset_age, datasets_late) = <(Family<DatasetLabel, Gauge>, Gauge)>::default();
        let (runs_alive, last_success, damaged_segments) =
            (Gauge::default(), Gauge::default(), Gauge::default());
        let (downloads, downloads_waiting, event_streams) = <(Gauge, Gauge, Gauge)>::default();
        let (slow_clients, refused_connections) =
            <(Counter<u64, AtomicU64>, Counter<u64, AtomicU64>)>::default();
        // Initialized with 0, so that the first failure is an increase.
        for outcome in ["succeeded", "failed", "cancelled"] {
            drop(runs.get_or_create(&OutcomeLabel { outcome }));
        }
        registry.register("runs", "Runs that ended, by outcome", runs.clone());
        registry.register(
            "answers",
            "Answers, by route template and class of status",
            answers.clone(),
        );
        registry.register(
            "answer_seconds",
            "Time until an answer's head was ready",
            answer_seconds.clone(),
        );
        registry.register(
            "account_calls_last_minute",
            "Calls to LiveChat or LiveLeader in the last 60 seconds, by the id of the account",
            account_calls.clone(),
        );
        registry.register(
            "account_calls_most",
            "The most calls that are made in any 60 seconds, by the id of the account",
            account_max_calls.clone(),
        );
        registry.register(
            "account_paused_seconds",
            "Seconds until LiveChat or LiveLeader accepts calls again, by the id of the account",
            account_paused.clone(),
        );
        let age = "Since a run of the DataSet last succeeded, or since it was made, by its id";
        registry.register("dataset_last_success_age_seconds", age, dataset_age.clone());
        registry.register(
            "datasets_late",
            "DataSets that were not updated within the expected time",
            datasets_late.clone(),
        );
        registry.register(
            "vendor_calls",
            "Calls to LiveChat and LiveLeader made by runs",
            vendor_calls.clone(),
        );
        registry.register(
            "replaced_code_points",
            "Code points in exported chats that XML forbids, each written as U+FFFD",
            replaced_code_points.clone(),
        );
        registry.register(
            "replaced_nul_characters",
            "NUL characters in rows, each written as U+FFFD into a CSV file",
            replaced_nul.clone(),
        );
        registry.register(
            "runs_alive",
            "Runs that are queued, running or waiting",
            runs_alive.clone(),
        );
        registry.register(
            "damaged_segments",
            "Stored files that are damaged or missing, as far as reads and the integrity check met \
             them",
            damaged_segments.clone(),
        );
        registry.register(
            "last_success_timestamp_seconds",
            "When a run last succeeded",
            last_success.clone(),
        );
        registry.register("downloads", "Downloads in progress", downloads.clone());
        registry.register(
            "downloads_waiting",
            "Downloads that wait for others to end",
            downloads_waiting.clone(),
        );
        registry.register(
            "event_streams",
            "Pages that follow a run by events",
            event_streams.clone(),
        );
        registry.register(
            "slow_clients_disconnected",
            "Clients that were disconnected because they read too slowly",
            slow_clients.clone(),
        );
        registry.register(
            "build",
            "The running program",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let data_free = Gauge::default();
        registry.register_with_unit(
            "data_free",
            "What can still be written to the disk of the data directory",
            Unit::Bytes,
            data_free.clone(),
        );
        let mut process_registry = Registry::with_prefix("process");
        let (started, resident, descriptors, cpu_seconds) = (
            Gauge::<i64>::default(),
            Gauge::default(),
            Gauge::default(),
            Counter::<f64, AtomicU64>::default(),
        );
        started.set(Clock::system().now() / 1_000);
        process_registry.register(
            "start_time_seconds",
            "When the process started, since 1970",
            started,
        );
        process_registry.register(
            "resident_memory_bytes",
            "Memory that the process holds",
            resident.clone(),
        );
        process_registry.register(
            "open_fds",
            "File descriptors that are open",
            descriptors.clone(),
        );
        process_registry.register(
            "cpu_seconds",
            "Time on a processor, in user and system mode",
            cpu_seconds.clone(),
        );
        registry.register(
            "refused_connections",
            "Connections that were refused because their address had too many",
            refused_connections.clone(),
        );
        Self {
            data_free,
            process_registry: Arc::new(process_registry),
            resident,
            descriptors,
            cpu_seconds,
            registry: Arc::new(registry),
            runs,
            answers,
            answer_seconds,
            account_calls,
            account_max_calls,
            account_paused,
            dataset_age,
            datasets_late,
            vendor_calls,
            replaced_code_points,
            replaced_nul,
            runs_alive,
            last_success,
            damaged_segments,
            downloads,
            downloads_waiting,
            event_streams,
            slow_clients,
            refused_connections,
        }
    }

    pub fn run_ended(&self, outcome: &'static str) {
        self.runs.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a response by the template of its route, never by its path.
    pub fn record_response(&self, route: &str, status: u16, seconds: f64) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.answers
            .get_or_create(&ResponseLabels {
                route: route.to_owned(),
                class,
            })
            .inc();
        self.answer_seconds.observe(seconds);
    }

    /// Sets the gauges of an account: calls in the last minute, their maximum, and the seconds for
    /// which the vendor asked to pause.
    pub fn set_account_calls(
        &self,
        account: &str,
        calls: u32,
        max_calls: u32,
        paused_seconds: u64,
    ) {
        let label = AccountLabel {
            account: account.to_owned(),
        };
        self.account_calls.get_or_create(&label).set(calls.into());
        self.account_max_calls
            .get_or_create(&label)
            .set(max_calls.into());
        self.account_paused
            .get_or_create(&label)
            .set(i64::try_from(paused_seconds).unwrap_or(i64::MAX));
    }

    /// Sets the age of the data of every DataSet, by id, in seconds, and the number of late
    /// DataSets.
    pub fn set_dataset_ages(&self, ages: impl Iterator<Item = (String, i64)>, late: usize) {
        self.dataset_age.clear();
        for (dataset, seconds) in ages {
            self.dataset_age
                .get_or_create(&DatasetLabel { dataset })
                .set(seconds);
        }
        self.datasets_late
            .set(i64::try_from(late).unwrap_or(i64::MAX));
    }

    /// Removes the gauges of all accounts before they are set again.
    pub fn clear_accounts(&self) {
        self.account_calls.clear();
        self.account_max_calls.clear();
        self.account_paused.clear();
    }

    /// Reads the process metrics from `/proc`. Does nothing on systems without it. Blocks for a
    /// moment.
    fn update_process_metrics(&self) {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let number = |text: Option<&str>| {
            text.and_then(|text| text.parse::<u64>().ok())
                .unwrap_or_default()
        };
        let pages = number(text("/proc/self/statm").split_whitespace().nth(1));
        self.resident
            .set(i64::try_from(pages.saturating_mul(page_size() as u64)).unwrap_or(i64::MAX));
        self.descriptors.set(
            std::fs::read_dir("/proc/self/fd")
                .map_or(0, |all| i64::try_from(all.count()).unwrap_or(i64::MAX)),
        );
        // The process name in parentheses may contain any characters.
        let stat = text("/proc/self/stat");
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(11);
        let ticks = number(fields.next()) + number(fields.next());
        let seconds = ticks as f64 / clock_ticks_per_second().max(1) as f64;
        self.cpu_seconds
            .inner()
            .store(seconds.to_bits(), Ordering::Relaxed);
    }

    /// All metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        self.update_process_metrics();
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode_registry(&mut text, &self.process_registry);
        let _ = encode(&mut text, &self.registry);
        text
    }
}
