//! The connectors: what each vendor can be asked for, and how to pull it. Start at `livechat/reports/` for what there is and at
//! `pull` for how it comes. This folder knows neither the database, nor the vault, nor runs.

pub mod completeness;
mod convert;
pub mod livechat;
pub mod liveleader;
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
pub use pull_error::PullError;
use report::{GroupBy, Menu, Report, Weekday};
use upstream::Upstream;

/// A vendor that can be connected.
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
    /// Sealed in the vault and never shown again.
    pub secret: bool,
    /// Shown below the field.
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

    /// Two letters of ours; not the vendor's logo.
    pub fn monogram(self) -> &'static str {
        match self {
            Connector::LiveChat => "LC",
            Connector::LiveLeader => "LL",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Connector::LiveChat => "Chats, messages, agents, groups and reports from LiveChat.",
            Connector::LiveLeader => "Chats with their messages and operators from LiveLeader's data export.",
        }
    }

    /// What Connect and Test request: "Tests the credentials by requesting the list of agents."
    pub fn proof(self) -> &'static str {
        match self {
            Connector::LiveChat => "the list of agents",
            Connector::LiveLeader => "the chats of the last minute",
        }
    }

    /// What whoever enters credentials has to know of this vendor.
    pub fn notice(self) -> Option<&'static str> {
        match self {
            Connector::LiveChat => None,
            Connector::LiveLeader => Some(liveleader::PASSWORD_IN_ADDRESS),
        }
    }

    /// The vendor tells times without a zone, so that the account's zone decides what they mean.
    pub fn tells_bare_times(self) -> bool {
        self == Connector::LiveLeader
    }

    /// Whether a menu is filled from the account.
    pub fn lists(self, menu: Menu) -> bool {
        menu.kind() == "choice" && self.reports().iter().any(|report| report.takes(menu) && !report.types(menu))
    }

    /// The vendor's root, used unless an account names another one.
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

    /// Whether one reading of the vendor can serve other reports beside this one.
    pub fn shares(self, report: &Report) -> bool {
        self.reports().iter().filter(|other| other.request == report.request).count() > 1
    }

    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|connector| connector.id() == id)
    }
}

/// A closed range of days that a pull asks for: both days included, in the DataSet's zone. The unit of completeness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    pub from: Date,
    pub to: Date,
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.from == self.to { write!(f, "{}", self.from) } else { write!(f, "{} to {}", self.from, self.to) }
    }
}

/// What the menus of the Details pane hold. A value that exists is valid: see `Menus::check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Menus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_days: Option<u32>,
    /// A group's id; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// A login; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// None is automatic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// Only what has this tag; none is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekday: Option<Weekday>,
    /// Chats that wait for an answer too; none is no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_pending: Option<bool>,
    /// A call more for each agent; none is no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_details: Option<bool>,
}

/// No report is asked for further back than this many days.
pub const MOST_DAYS: u32 = 3_660;

impl Menus {
    /// Whether these values fit the report: field and sentence for each that does not. Days that are absent where the report takes
    /// them become 7 and 1 (a week until yesterday), a weekday becomes Monday; menus the report does not take must be absent.
    pub fn check(mut self, report: &Report) -> Result<Self, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        // What says the same is written the same way: DataSets that ask for the same share a reading.
        self.include_pending = self.include_pending.filter(|on| *on || !report.takes(Menu::IncludePending));
        self.agent_details = self.agent_details.filter(|on| *on || !report.takes(Menu::AgentDetails));
        self.group_by = self.group_by.filter(|by| *by != GroupBy::Automatic || !report.takes(Menu::GroupBy));
        let given = [
            (Menu::StartDays, self.start_days.is_some()),
            (Menu::EndDays, self.end_days.is_some()),
            (Menu::Group, self.group.is_some()),
            (Menu::Login, self.login.is_some()),
            (Menu::GroupBy, self.group_by.is_some()),
            (Menu::Tag, self.tag.is_some()),
            (Menu::Weekday, self.weekday.is_some()),
            (Menu::IncludePending, self.include_pending.is_some()),
            (Menu::AgentDetails, self.agent_details.is_some()),
        ];
        for (menu, given) in given {
            if given && !report.takes(menu) {
                wrong.push((menu.id().to_owned(), format!("{} does not support {}. Leave it out.", report.title, menu.label())));
            }
            let required = report.menus.iter().any(|m| m.menu == menu && m.required);
            if required && !given && menu.kind() == "choice" {
                wrong.push((menu.id().to_owned(), format!("{} requires a {}.", report.title, menu.label())));
            }
        }
        if report.takes(Menu::StartDays) && wrong.is_empty() {
            let start = *self.start_days.get_or_insert(7);
            let end = *self.end_days.get_or_insert(1.min(start));
            if start > MOST_DAYS {
                wrong.push(("start_days".to_owned(), format!("Start Days must be {MOST_DAYS} or less (10 years).")));
            } else if end > start {
                wrong.push(("end_days".to_owned(), format!("End Days must be {start} or less (Start Days is {start}).")));
            }
        }
        if report.takes(Menu::Weekday) {
            self.weekday.get_or_insert(Weekday::Mon);
        }
        for (name, text) in [("group", &self.group), ("login", &self.login), ("tag", &self.tag)] {
            if text.as_ref().is_some_and(|t| t.is_empty() || t.len() > 320 || t.chars().any(char::is_control)) {
                let typed = Menu::parse(name).is_some_and(|menu| report.types(menu));
                let how = if typed { "Enter the exact value" } else { "Choose a value from the list" };
                wrong.push((name.to_owned(), format!("{how}, or leave it out for all.")));
            }
        }
        if wrong.is_empty() { Ok(self) } else { Err(wrong) }
    }

    /// The days that a run on `today` pulls; none for a report without days.
    pub fn range(&self, today: Date) -> Option<Window> {
        let back = |days: u32| today.saturating_sub(jiff::Span::new().days(i64::from(days)));
        Some(Window { from: back(self.start_days?), to: back(self.end_days?) })
    }
}

/// An account as a connector needs it: where to ask, and with what.
#[derive(Clone, Debug)]
pub struct Source {
    pub connector: Connector,
    /// The fields that are not secret, by id.
    pub fields: BTreeMap<String, String>,
    /// The secret fields, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// The account's zone: times that the vendor tells without one are meant in it.
    pub zone: TimeZone,
    /// The way out, with the account's pace.
    pub upstream: Upstream,
}

/// What is probably wrong with credentials that a vendor rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The id of the field to correct.
    pub field: &'static str,
    /// Sentences for the person who entered it.
    pub text: &'static str,
}

/// The most likely mistake in credentials that the vendor rejected; none where their form tells nothing.
pub fn hint(source: &Source) -> Option<Hint> {
    match source.connector {
        Connector::LiveChat => Some(livechat::hint(source)),
        Connector::LiveLeader => None,
    }
}

/// A choice of a menu that is filled from the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    pub value: String,
    pub label: String,
}

/// What to pull: a set of reports over one source, read once.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// All with the same `request` and `shape` family; not empty.
    pub reports: Vec<&'static Report>,
    pub menus: Menus,
    /// The DataSet's zone, in which the windows are days.
    pub zone: TimeZone,
    /// Fields that no column declares and that came in an earlier part of the same pull, by report: they have their columns already.
    pub extras: Vec<Vec<String>>,
    /// In the order in which they are to be read; empty for a report without days (which then is one window of its own).
    pub windows: Vec<Window>,
    /// The window right before the first of them, when an earlier part of the same pull has brought it: what stands in both is kept once.
    pub behind: Option<Window>,
    /// Windows of an archive that are not settled are read again until two consecutive reads agree; see `Completeness`.
    pub second_read: bool,
    /// A directory for what is too large for memory until it is known to be whole; files in it have no name and go with the process.
    pub scratch: PathBuf,
    pub cancel: CancellationToken,
}

/// What comes out of a pull, in order. Everything of a window comes before its `WindowDone`.
#[derive(Debug)]
pub enum Pulled {
    /// Rows of report number `report` of the request. Columns may be more than declared, and more than in the batch before:
    /// within a pull they only grow. At most 8,192 rows or about 1 MiB.
    Rows { report: usize, batch: RecordBatch },
    /// Records of this window that gave report number `report` no row, by the ids that its rows would bear as their parent: only of a
    /// report with `Report::parent`.
    Childless { report: usize, parents: Vec<String> },
    /// What is being read just now.
    Progress { window: Option<usize>, page: u64, pages: u64, read: u64, calls: u64 },
    /// A window is complete, for all reports of the request.
    /// `settled`: nothing of any window that is not done came so far.
    WindowDone { window: Option<usize>, tally: Tally, settled: bool },
}

/// What was counted in a window. `read = kept + duplicates + left_out + rejected`, in records of the vendor. Pages that are read again
/// add to it only the records that are new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub pages: u64,
    /// Of `pages`, those that were read again after a first read to the end.
    #[serde(default)]
    pub pages_again: u64,
    pub calls: u64,
    pub read: u64,
    pub kept: u64,
    pub duplicates: u64,
    pub left_out: u64,
    pub rejected: u64,
    /// Cells whose value did not fit the column's type and went to `_misfit`, over all reports.
    pub misfits: u64,
    /// Of an export document: ampersands, entities and character references that are not XML and were read all the same.
    #[serde(default)]
    pub repaired: u64,
    /// What the vendor said the window holds; none where it says nothing.
    pub total: Option<u64>,
    /// How far it is proven that this is all; none before the window is done.
    #[serde(default)]
    pub completeness: Option<Completeness>,
    /// Time spent waiting for the pace or because the vendor asked, in milliseconds.
    pub waited_ms: u64,
}

impl Tally {
    /// As `Completeness::verified`.
    pub fn verified(&self) -> Option<bool> {
        self.completeness.and_then(Completeness::verified)
    }

    /// Notes evidence for a part of the window: the weakest counts.
    pub(crate) fn note(&mut self, completeness: Completeness) {
        self.completeness = Some(completeness.with(self.completeness));
    }
}

/// Whether so many of the vendor's records were rejected that they are not what the report expects: more than one in a hundred.
pub fn too_many_rejected(rejected: u64, of: u64) -> bool {
    rejected.saturating_mul(100) > of
}

/// Splits the resolved range into the windows a run asks for: a day each up to 31 days, else a week each, and always a day each of an
/// export, which asks for several small ones at once. A report that answers in one piece (list, periods), and an archive whose records
/// have no day of their own, has the whole range as its one window.
pub fn windows(report: &Report, range: Option<Window>) -> Vec<Window> {
    let Some(range) = range else { return Vec::new() };
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
        let to = from.saturating_add(jiff::Span::new().days(step - 1)).min(range.to);
        windows.push(Window { from, to });
        let Ok(next) = to.tomorrow() else { break };
        from = next;
    }
    windows
}

/// Whether a vendor's refusal, in its own words, is about the time zone that was asked in.
pub fn is_about_time_zones(said: &str) -> bool {
    livechat::is_about_zones(said)
}

/// What a page waits for has one type, whoever is asked: the compiler loses its way in the types of all the readers below.
fn boxed<'a, T>(asking: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(asking)
}

/// Proves the credentials with the cheapest call there is. The sentence says what was seen, for example "12 agents visible".
pub async fn check(source: &Source) -> Result<String, PullError> {
    match source.connector {
        Connector::LiveChat => boxed(livechat::check(source)).await,
        Connector::LiveLeader => boxed(liveleader::check(source)).await,
    }
}

/// What a menu offers, read from the account just now.
pub async fn choices(source: &Source, menu: Menu) -> Result<Vec<Choice>, PullError> {
    match source.connector {
        Connector::LiveChat => boxed(livechat::choices(source, menu)).await,
        // Its only menu beside the days is typed.
        Connector::LiveLeader => Ok(Vec::new()),
    }
}

/// Pulls a set of reports, window by window, into `out`. Ends early with `Cancelled` when the token fires or nobody receives.
pub async fn pull(source: &Source, request: &PullRequest, out: &mpsc::Sender<Pulled>) -> Result<(), PullError> {
    match source.connector {
        Connector::LiveChat => livechat::pull(source, request, out).await,
        Connector::LiveLeader => liveleader::pull(source, request, out).await,
    }
}

/// The first rows of a report, for Load Preview: at most so many as were asked for, from as few calls as possible.
#[derive(Debug)]
pub struct Sample {
    pub batch: RecordBatch,
    /// The records of the vendor that were read for it. Of one that becomes several rows, the last ones may be left out.
    pub records: u64,
    /// What the vendor says the whole range holds, in records; none where it says nothing.
    pub total: Option<u64>,
    /// There is nothing besides these rows.
    pub whole: bool,
    /// They are the newest ones rather than the first of a list.
    pub newest: bool,
    pub calls: u64,
}

/// Reads the first rows of a report without keeping anything.
pub async fn sample(source: &Source, report: &'static Report, menus: &Menus, zone: &TimeZone, range: Option<Window>, most: usize) -> Result<Sample, PullError> {
    match source.connector {
        Connector::LiveChat => boxed(livechat::sample(source, report, menus, zone, range, most)).await,
        Connector::LiveLeader => boxed(liveleader::sample(source, report, menus, zone, range, most)).await,
    }
}
