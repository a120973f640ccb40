//! The provenance of a version: its report, request and last day. A later run derives from it which
//! days it need not pull again.

use std::collections::BTreeMap;

use jiff::Span;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Dataset;
use super::columns::{self, ColumnInfo};
use crate::connectors::Window;
use crate::datasets::options::ReportSetup;

/// How a version was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The report's id. Rows of another report are not merged.
    pub report: String,
    /// Identifies what was requested from which account: `Dataset::request_key`.
    #[serde(rename = "asked")]
    pub request_key: String,
    /// The last day that was pulled; none for a report without days.
    pub to: Option<Date>,
    /// The columns of the run, and columns that were filled so rarely that their absence means
    /// nothing. The next run is compared with them. Empty until a run has pulled rows.
    pub columns: Vec<ColumnInfo>,
    /// For columns that the report does not declare: the number of filled cells per million.
    #[serde(default)]
    pub filled: BTreeMap<String, u32>,
}

/// A column counts as removed if the probability that it has no filled cell by chance is lower than
/// this.
const MAX_CHANCE: f64 = 0.001;

/// The columns of a run's rows, the number of filled cells of each, and the number of rows.
pub struct PulledColumns<'a> {
    pub columns: &'a [ColumnInfo],
    pub filled: &'a BTreeMap<String, u64>,
    pub rows: u64,
}

impl Provenance {
    /// The previous columns without filled cells in this run that were filled too rarely before to
    /// be expected.
    pub fn rare(&self, pulled: &PulledColumns<'_>) -> Vec<ColumnInfo> {
        let is_rare = |column: &&ColumnInfo| {
            let share =
                f64::from(self.filled.get(&column.name).copied().unwrap_or(1_000_000)) / 1e6;
            let gone = pulled.columns.iter().all(|other| other.name != column.name);
            gone && !column.declared && (1.0 - share).powf(pulled.rows as f64) >= MAX_CHANCE
        };
        self.columns.iter().filter(is_rare).cloned().collect()
    }

    /// The columns and their shares of filled cells that the next run is compared with. A run
    /// without rows changes neither.
    pub fn for_next_run(
        before: Option<&Provenance>,
        pulled: &PulledColumns<'_>,
    ) -> (Vec<ColumnInfo>, BTreeMap<String, u32>) {
        if pulled.rows == 0 {
            return before.map_or_else(Default::default, |before| {
                (before.columns.clone(), before.filled.clone())
            });
        }
        let rare = before.map_or_else(Vec::new, |before| before.rare(pulled));
        let share = |column: &ColumnInfo| {
            let cells = pulled.filled.get(&column.name).copied().unwrap_or(0);
            (
                column.name.clone(),
                u32::try_from(u128::from(cells) * 1_000_000 / u128::from(pulled.rows))
                    .unwrap_or(1_000_000),
            )
        };
        let mut filled: BTreeMap<String, u32> = pulled
            .columns
            .iter()
            .filter(|column| !column.declared)
            .map(share)
            .collect();
        filled.extend(
            rare.iter().filter_map(|column| {
                Some((column.name.clone(), *before?.filled.get(&column.name)?))
            }),
        );
        (columns::union([pulled.columns, &rare]), filled)
    }
}

impl Dataset {
    /// Identifies the request: account, report, time zone and menus, without the days.
    pub fn request_key(&self) -> String {
        let account = self.account_id.as_ref().map_or("none", |id| id.as_str());
        let menus = serde_json::to_string(&self.menus).unwrap_or_default();
        format!(
            "{account} {} {} {menus}",
            self.report.request.path, self.time_zone
        )
    }

    /// Identifies what a run reads from the vendor. Runs with equal keys share one pull.
    pub fn source_key(&self) -> String {
        let reads = if self.options.second_read || !self.setup().takes_second_read() {
            ""
        } else {
            " read once"
        };
        let request = format!("{}{reads}", self.request_key());
        self.incremental_start().map_or(request.clone(), |day| {
            format!("{request} from {day}, at least {}", self.options.look_back)
        })
    }

    /// The report and settings that its options must fit.
    pub fn setup(&self) -> ReportSetup<'_> {
        ReportSetup {
            report: self.report,
            mode: self.update_mode,
            menus: &self.menus,
        }
    }

    /// The first day of an incremental run; `None` when all days must be pulled. The current
    /// version must hold the same report and request.
    fn incremental_start(&self) -> Option<Date> {
        let provenance = self.current.as_ref()?.provenance.as_ref()?;
        let holds =
            provenance.report == self.report.id && provenance.request_key == self.request_key();
        let wanted = self.options.look_back > 0 && self.setup().takes_look_back();
        let next = provenance.to.filter(|_| holds && wanted)?.tomorrow().ok()?;
        Some(next.saturating_sub(days(self.options.look_back)))
    }

    /// The days that a run on `today` pulls; `None` for a report without days. With look-back:
    /// starts that many days before the first missing day, covers at least that many days, and
    /// never starts before Start Days.
    pub fn range(&self, today: Date) -> Option<Window> {
        let full_range = self.menus.range(today)?;
        let Some(from) = self.incremental_start() else {
            return Some(full_range);
        };
        let last = full_range
            .to
            .saturating_sub(days(self.options.look_back.saturating_sub(1)));
        Some(Window {
            from: from.min(last).max(full_range.from),
            to: full_range.to,
        })
    }

    /// Whether new rows can be merged with this version: it has rows of the same report, or none
    /// are known.
    pub fn is_same_report(&self, provenance: Option<&Provenance>) -> bool {
        provenance.is_none_or(|provenance| provenance.report == self.report.id)
    }
}

fn days(number: u32) -> Span {
    Span::new().days(i64::from(number))
}
