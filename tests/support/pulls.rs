//! Pulls from a vendor without the product: the request, and what the pull returned.

use std::collections::HashSet;

use arrow::array::{Array, RecordBatch, TimestampMicrosecondArray};
use arrow::util::display::array_value_to_string;
use chatlake::clock;
use chatlake::connectors::report::{GroupBy, Menu, Report};
use chatlake::connectors::{
    self, Connector, Menus, PullError, PullEvent, PullRequest, Source, Window, WindowCounts,
};
use chatlake::sandbox::truth::TruthQuestion;
use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::sandbox::Vendor;

pub const ZONE: &str = "Europe/Oslo";

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

/// What a pull returned.
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
    let collecting = async {
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
    let (done, ()) = tokio::join!(reading, collecting);
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

/// A pull of one report for these days, with the menus it needs and no more.
pub fn pull_request(report: &'static Report, days: Window) -> PullRequest {
    let mut pull_req = request(&[report.id], &[]);
    pull_req.menus = Menus::default().check(report).unwrap();
    pull_req.windows = connectors::windows(report, report.takes(Menu::StartDays).then_some(days));
    pull_req
}

pub fn truth(vendor: &Vendor, report: &Report, days: Window, menus: &Menus) -> Value {
    let question = TruthQuestion {
        report: report.id.to_owned(),
        date_from: Some(days.from),
        date_to: Some(days.to),
        timezone: Some(ZONE.to_owned()),
        group: menus.group.as_ref().map(|group| group.parse().unwrap()),
        agent: menus.login.clone(),
        tag: menus.tag.clone(),
        group_by: menus
            .group_by
            .filter(|by| *by != GroupBy::Automatic)
            .map(|by| by.word().to_owned()),
        weekday: menus.weekday.map(|day| day.word().to_owned()),
        include_pending: u8::from(menus.include_pending == Some(true)),
        ids: 1,
        ..TruthQuestion::default()
    };
    vendor
        .sandbox
        .truth(&question)
        .unwrap_or_else(|why| panic!("{}: {why}", report.id))
}
