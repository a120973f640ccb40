//! The connectors: LiveChat and LiveLeader. A connector declares the reports of its vendor and
//! pulls their rows. Start at `livechat/reports/` for the reports and at `pull` for the event
//! stream. This module does not depend on the database, the vault or runs.

pub mod completeness;
mod convert;
pub mod livechat;
pub mod liveleader;
mod menus;
pub mod pull_error;
pub mod report;
mod table;
pub mod upstream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;

use arrow::array::RecordBatch;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::secret::Secret;
pub use completeness::Completeness;
pub use menus::{MAX_DAYS, Menus};
pub use pull_error::PullError;
use report::{Menu, Report};
use upstream::Upstream;

/// A vendor that accounts can connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Connector {
    LiveChat,
    LiveLeader,
}

/// A field of a connector's credentials.
#[derive(Debug)]
pub struct CredentialField {
    pub id: &'static str,
    pub label: &'static str,
    /// Stored encrypted in the vault and never shown again.
    pub secret: bool,
    /// Help text below the field.
    pub help: &'static str,
}

impl Connector {
    pub const ALL: [Connector; 2] = [Connector::LiveChat, Connector::LiveLeader];

    pub fn id(self) -> &'static str {
        match self {
            Connector::LiveChat => "livechat",
            Connector::LiveLeader => "liveleader",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Connector::LiveChat => "LiveChat",
            Connector::LiveLeader => "LiveLeader",
        }
    }

    /// A two-letter badge of our own; not the vendor's logo.
    pub fn monogram(self) -> &'static str {
        match self {
            Connector::LiveChat => "LC",
            Connector::LiveLeader => "LL",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Connector::LiveChat => "Chats, messages, agents, groups and reports from LiveChat.",
            Connector::LiveLeader => {
                "Chats with their messages and operators from LiveLeader's data export."
            }
        }
    }

    /// What Connect and Test request, for the sentence "Tests the credentials by requesting the
    /// list of agents."
    pub fn auth_check_subject(self) -> &'static str {
        match self {
            Connector::LiveChat => "the list of agents",
            Connector::LiveLeader => "the chats of the last minute",
        }
    }

    /// A note about this vendor for the person who enters credentials.
    pub fn credentials_note(self) -> Option<&'static str> {
        match self {
            Connector::LiveChat => None,
            Connector::LiveLeader => Some(liveleader::PASSWORD_IN_ADDRESS),
        }
    }

    /// The vendor sends times without a time zone, so the account's time zone is required to read
    /// them.
    pub fn has_zoneless_times(self) -> bool {
        self == Connector::LiveLeader
    }

    /// Whether the choices of this menu are read from the account.
    pub fn fills_menu(self, menu: Menu) -> bool {
        menu.kind() == "choice"
            && self
                .reports()
                .iter()
                .any(|report| report.takes(menu) && !report.is_free_text(menu))
    }

    /// The vendor's API URL, used unless the account has its own.
    pub fn api_url(self) -> &'static str {
        match self {
            Connector::LiveChat => "https://api.livechatinc.com",
            Connector::LiveLeader => "https://www.liveleader.com",
        }
    }

    pub fn fields(self) -> &'static [CredentialField] {
        match self {
            Connector::LiveChat => livechat::FIELDS,
            Connector::LiveLeader => liveleader::FIELDS,
        }
    }

    pub fn reports(self) -> &'static [Report] {
        match self {
            Connector::LiveChat => livechat::REPORTS,
            Connector::LiveLeader => liveleader::REPORTS,
        }
    }

    pub fn report(self, id: &str) -> Option<&'static Report> {
        self.reports().iter().find(|report| report.id == id)
    }

    /// Whether one read of the vendor can serve several reports like this one.
    pub fn can_share_request(self, report: &Report) -> bool {
        self.reports()
            .iter()
            .filter(|other| other.request == report.request)
            .count()
            > 1
    }

    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|connector| connector.id() == id)
    }
}

/// A closed range of days in the DataSet's time zone; both days are included. A pull reads and
/// completes one window at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    pub from: Date,
    pub to: Date,
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{} to {}", self.from, self.to)
        }
    }
}

/// An account as a connector needs it: address, credentials, time zone and HTTP client.
#[derive(Clone, Debug)]
pub struct Source {
    pub connector: Connector,
    /// The fields that are not secret, by id.
    pub fields: BTreeMap<String, String>,
    /// The secret fields, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// The account's time zone, in which the vendor's times without a zone are read.
    pub zone: TimeZone,
    /// The HTTP client, with the account's rate limit.
    pub upstream: Upstream,
}

/// The probable mistake in credentials that the vendor rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The id of the field to correct.
    pub field: &'static str,
    /// Sentences for the person who entered the credentials.
    pub text: &'static str,
}

/// Finds the most likely mistake in credentials that the vendor rejected; `None` if their form
/// shows none.
pub fn hint(source: &Source) -> Option<Hint> {
    match source.connector {
        Connector::LiveChat => Some(livechat::hint(source)),
        Connector::LiveLeader => None,
    }
}

/// A choice of a menu that is read from the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    pub value: String,
    pub label: String,
}

/// What to pull: a set of reports that are read together from one source.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// All have the same `request` and the same kind of `shape`; not empty.
    pub reports: Vec<&'static Report>,
    pub menus: Menus,
    /// The DataSet's time zone; windows are days in it.
    pub zone: TimeZone,
    /// Undeclared fields that an earlier part of this pull found, by report. They already have
    /// columns.
    pub extras: Vec<Vec<String>>,
    /// In the order in which they are read; empty for a report without days, which has one implicit
    /// window.
    pub windows: Vec<Window>,
    /// The window before the first one, if an earlier part of this pull has read it. A chat that is
    /// in both windows is stored once.
    pub previous_window: Option<Window>,
    /// Archive windows that are not final are read again until two consecutive reads agree; see
    /// `Completeness`.
    pub second_read: bool,
    /// Directory for data that is too large for memory until it is complete. Its files are
    /// unlinked, so they disappear with the process.
    pub scratch: PathBuf,
    pub cancel: CancellationToken,
}

/// The events of a pull, in order. All events of a window come before its `WindowDone`.
#[derive(Debug)]
pub enum PullEvent {
    /// Rows of report number `report` of the request. A batch may have more columns than declared
    /// and more than the batch before it; within a pull, columns are only added. At most 8,192 rows
    /// or about 1 MiB.
    Rows { report: usize, batch: RecordBatch },
    /// Records of this window that have no rows in report number `report`, by the id that their
    /// rows would have as parent. Only for a report with `Report::parent`.
    EmptyParents { report: usize, parents: Vec<String> },
    /// The current position of the read.
    Progress {
        window: Option<usize>,
        page: u64,
        pages: u64,
        read: u64,
        calls: u64,
    },
    /// A window is complete for all reports of the request. `is_boundary`: no event of an
    /// unfinished window was sent so far, so a pull can resume after this one.
    WindowDone {
        window: Option<usize>,
        counts: WindowCounts,
        is_boundary: bool,
    },
}

/// The counters of a window. `read = kept + duplicates + left_out + rejected`, in records of the
/// vendor. Pages that are read again add only their new records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowCounts {
    pub pages: u64,
    /// How many of `pages` were read again after the first complete read.
    #[serde(default)]
    pub pages_again: u64,
    pub calls: u64,
    pub read: u64,
    pub kept: u64,
    pub duplicates: u64,
    pub left_out: u64,
    pub rejected: u64,
    /// Cells whose value did not fit the column's type and was stored in `_misfit`, over all
    /// reports.
    pub misfits: u64,
    /// For an export document: ampersands, entities and character references that are not valid XML
    /// and were read anyway.
    #[serde(default)]
    pub repaired: u64,
    /// The vendor's total for the window; `None` if the vendor gives none.
    pub total: Option<u64>,
    /// The completeness of the window; `None` before the window is done.
    #[serde(default)]
    pub completeness: Option<Completeness>,
    /// Time spent waiting for the rate limit or because the vendor asked for it, in milliseconds.
    pub waited_ms: u64,
}

impl WindowCounts {
    /// See `Completeness::verified`.
    pub fn verified(&self) -> Option<bool> {
        self.completeness.and_then(Completeness::verified)
    }

    /// Adds the completeness of a part of the window. The weakest one counts.
    pub(crate) fn add_evidence(&mut self, completeness: Completeness) {
        self.completeness = Some(completeness.with(self.completeness));
    }
}

/// Whether more than 1 in 100 records was rejected. Then the records are not what the report
/// expects.
pub fn too_many_rejected(rejected: u64, of: u64) -> bool {
    rejected.saturating_mul(100) > of
}

/// Splits a range of days into windows: one day each up to 31 days, else one week each. An export
/// always gets one day each and requests several at once. A report with one answer (list, periods),
/// and an archive whose records have no day, gets the whole range as one window.
pub fn windows(report: &Report, range: Option<Window>) -> Vec<Window> {
    let Some(range) = range else {
        return Vec::new();
    };
    let days = i64::from((range.to - range.from).get_days());
    let step = match report.shape {
        report::Shape::Export(_) => 1,
        report::Shape::Archive { .. } if report.day.is_some() => {
            if days < 31 {
                1
            } else {
                7
            }
        }
        _ => return vec![range],
    };
    let mut windows = Vec::new();
    let mut from = range.from;
    while from <= range.to {
        let to = from
            .saturating_add(jiff::Span::new().days(step - 1))
            .min(range.to);
        windows.push(Window { from, to });
        let Ok(next) = to.tomorrow() else { break };
        from = next;
    }
    windows
}

/// Whether the vendor's refusal message is about the requested time zone.
pub fn is_about_time_zones(vendor_message: &str) -> bool {
    livechat::is_about_zones(vendor_message)
}

/// Boxed, so that all connectors return one type: the compiler cannot handle the nested future
/// types of all readers.
fn boxed<'a, T>(
    future: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

/// Tests the credentials with the cheapest request. Returns a sentence with the result, for example
/// "12 agents visible".
pub async fn check(source: &Source) -> Result<String, PullError> {
    match source.connector {
        Connector::LiveChat => boxed(livechat::check(source)).await,
        Connector::LiveLeader => boxed(liveleader::check(source)).await,
    }
}

/// Reads the choices of a menu from the account.
pub async fn choices(source: &Source, menu: Menu) -> Result<Vec<Choice>, PullError> {
    match source.connector {
        Connector::LiveChat => boxed(livechat::choices(source, menu)).await,
        // Its only menu besides the days is typed.
        Connector::LiveLeader => Ok(Vec::new()),
    }
}

/// Pulls a set of reports, window by window, into `out`. Ends early with `Cancelled` if the token
/// fires or the receiver is dropped.
pub async fn pull(
    source: &Source,
    request: &PullRequest,
    out: &mpsc::Sender<PullEvent>,
) -> Result<(), PullError> {
    match source.connector {
        Connector::LiveChat => livechat::pull(source, request, out).await,
        Connector::LiveLeader => liveleader::pull(source, request, out).await,
    }
}

/// The first rows of a report for Load preview: at most the requested number, with as few API calls
/// as possible.
#[derive(Debug)]
pub struct Sample {
    pub batch: RecordBatch,
    /// The number of records that were read for the preview. If a record becomes several rows, the
    /// last ones may be missing.
    pub records: u64,
    /// The vendor's total of records in the whole range; `None` if the vendor gives none.
    pub total: Option<u64>,
    /// The rows are all rows of the range.
    pub is_complete: bool,
    /// The rows are the newest ones, not the first ones of a list.
    pub newest: bool,
    pub calls: u64,
}

/// Reads the first rows of a report without storing them.
pub async fn sample(
    source: &Source,
    report: &'static Report,
    menus: &Menus,
    zone: &TimeZone,
    range: Option<Window>,
    limit: usize,
) -> Result<Sample, PullError> {
    match source.connector {
        Connector::LiveChat => {
            boxed(livechat::sample(source, report, menus, zone, range, limit)).await
        }
        Connector::LiveLeader => {
            boxed(liveleader::sample(
                source, report, menus, zone, range, limit,
            ))
            .await
        }
    }
}
