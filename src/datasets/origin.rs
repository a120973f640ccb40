//! What a version was made from, and what of that a later run need not pull again.

use std::collections::BTreeMap;

use jiff::Span;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Dataset;
use super::columns::{self, ColumnInfo};
use crate::connectors::Window;
use crate::datasets::options::Setup;

/// What a version was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The report's id: rows of another one are not merged with.
    pub report: String,
    /// Of whom and what was asked: `Dataset::asked_key`.
    pub asked: String,
    /// The last day that was pulled; none for a report without days.
    pub to: Option<Date>,
    /// The columns that the run brought, and those that are so rarely filled that nothing follows from their absence: what the next run
    /// is compared with. None at all when no run has brought rows yet.
    pub columns: Vec<ColumnInfo>,
    /// How many of a million cells are filled, of the columns that the report does not declare.
    #[serde(default)]
    pub filled: BTreeMap<String, u32>,
}

/// A column has gone away when it would be without a filled cell by chance less often than this.
const BY_CHANCE: f64 = 0.001;

/// What a run brought: its columns, how many cells of each are filled, and how many rows.
pub struct Came<'a> {
    pub columns: &'a [ColumnInfo],
    pub filled: &'a BTreeMap<String, u64>,
    pub rows: u64,
}

impl Origin {
    /// The columns that this run did not bring, and would not be expected to by how rarely they were filled before.
    pub fn rare(&self, came: &Came<'_>) -> Vec<ColumnInfo> {
        let is_rare = |column: &&ColumnInfo| {
            let share = f64::from(self.filled.get(&column.name).copied().unwrap_or(1_000_000)) / 1e6;
            let gone = came.columns.iter().all(|other| other.name != column.name);
            gone && !column.declared && (1.0 - share).powf(came.rows as f64) >= BY_CHANCE
        };
        self.columns.iter().filter(is_rare).cloned().collect()
    }

    /// The columns and their shares that the run after this one is compared with. A run without rows changes neither.
    pub fn known(before: Option<&Origin>, came: &Came<'_>) -> (Vec<ColumnInfo>, BTreeMap<String, u32>) {
        if came.rows == 0 {
            return before.map_or_else(Default::default, |before| (before.columns.clone(), before.filled.clone()));
        }
        let rare = before.map_or_else(Vec::new, |before| before.rare(came));
        let share = |column: &ColumnInfo| {
            let cells = came.filled.get(&column.name).copied().unwrap_or(0);
            (column.name.clone(), u32::try_from(u128::from(cells) * 1_000_000 / u128::from(came.rows)).unwrap_or(1_000_000))
        };
        let mut filled: BTreeMap<String, u32> = came.columns.iter().filter(|column| !column.declared).map(share).collect();
        filled.extend(rare.iter().filter_map(|column| Some((column.name.clone(), *before?.filled.get(&column.name)?))));
        (columns::union([came.columns, &rare]), filled)
    }
}

impl Dataset {
    /// What is asked, and of whom, whatever the days.
    pub fn asked_key(&self) -> String {
        let account = self.account_id.as_ref().map_or("none", |id| id.as_str());
        let menus = serde_json::to_string(&self.menus).unwrap_or_default();
        format!("{account} {} {} {menus}", self.report.request.path, self.time_zone)
    }

    /// Runs with equal keys ask the vendor for the same things, so one reading serves them all.
    pub fn source_key(&self) -> String {
        let reads = if self.options.second_read || !self.setup().takes_second_read() { "" } else { " read once" };
        let asked = format!("{}{reads}", self.asked_key());
        self.again_from().map_or(asked.clone(), |day| format!("{asked} from {day}, at least {}", self.options.look_back))
    }

    /// What its options have to fit.
    pub fn setup(&self) -> Setup<'_> {
        Setup { report: self.report, mode: self.update_mode, menus: &self.menus }
    }

    /// The first day that a run pulls again, when it need not pull all: the current version must hold the same things.
    fn again_from(&self) -> Option<Date> {
        let origin = self.current.as_ref()?.origin.as_ref()?;
        let holds = origin.report == self.report.id && origin.asked == self.asked_key();
        let wanted = self.options.look_back > 0 && self.setup().takes_look_back();
        let next = origin.to.filter(|_| holds && wanted)?.tomorrow().ok()?;
        Some(next.saturating_sub(days(self.options.look_back)))
    }

    /// The days that a run on `today` pulls; none for a report without days. With look-back, those from so many days before the first
    /// one that is not held, and at least the last so many; never further back than Start Days.
    pub fn range(&self, today: Date) -> Option<Window> {
        let whole = self.menus.range(today)?;
        let Some(from) = self.again_from() else { return Some(whole) };
        let last = whole.to.saturating_sub(days(self.options.look_back.saturating_sub(1)));
        Some(Window { from: from.min(last).max(whole.from), to: whole.to })
    }

    /// The version that is merged with must be of the same report.
    pub fn is_of(&self, origin: Option<&Origin>) -> bool {
        origin.is_none_or(|origin| origin.report == self.report.id)
    }
}

fn days(number: u32) -> Span {
    Span::new().days(i64::from(number))
}
